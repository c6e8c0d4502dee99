"""The recipes of docs/sources/recipes.md, each run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import PAGES, jobs_of, synced
from e2e.world import World

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[4] / "shared/samples"))
YOLO, KITTI, MOT, VOC = jobs_of("recipes.md")
VOC_XML = """\
<?xml version="1.0"?>
<annotation><folder>x</folder><filename>{name}.jpg</filename>
<object><name>cat</name><part><name>head</name></part></object>
<object><name>cat</name></object><object><name>person</name></object></annotation>
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def by_stem(documents: dict[str, Any]) -> dict[str, Any]:
    return {path.rpartition("/")[2]: one for path, one in documents.items()}


def run(world: World, job: dict[str, Any], media: list[str]) -> dict[str, Any]:
    for name in media:
        world.put(f"{job['input']}/{name}", b"image")
    found = Path(world.root / job["input"])
    (world.root / "data").symlink_to(found)  # where the documents are looked for
    return by_stem(synced(world, job))


def test_yolo(world: World) -> None:
    world.put("labels/train/1.txt", "0 0.1 0.2 0.3 0.4\n2 0.1 0.2 0.3 0.4\n2 0.1 0.2 0.3 0.4\n")
    world.put("labels/val/2.txt", "0 0.1 0.3 0.2 0.2 0.1 0.2 2 0.3 0.4 2\n1 0.1 0.2 0.3 0.4")
    world.put("labels/val/3.txt", "")
    assert run(world, YOLO, ["train/1.jpg", "val/2.png", "val/3.png"]) == {
        "1": {"objects": 3, "categories": {"person": 1, "car": 2}},
        "2": {"objects": 2, "categories": {"person": 1, "car": 0}},
    }


@pytest.mark.skipif(not (SAMPLES / "yolo").is_dir(), reason=f"there are no sample files in {SAMPLES}/yolo")
def test_yolo_of_real_tools(world: World) -> None:
    (world.root / "labels").mkdir()
    shutil.copy(SAMPLES / "yolo/yolov8_detection/1.txt", world.root / "labels/1.txt")
    shutil.copy(SAMPLES / "yolo/yolov8_pose/1.txt", world.root / "labels/2.txt")
    assert run(world, YOLO, ["1.jpg", "2.jpg"]) == {
        "1": {"objects": 2, "categories": {"person": 0, "car": 1}},
        "2": {"objects": 1, "categories": {"person": 1, "car": 0}},
    }


def test_kitti(world: World) -> None:
    cells = [
        "49.015",
        "8.43",
        "114.5",
        "0.07",
        "0.001",
        "1.5707963267948966",
        "-3",
        "10",
        "3",
        "4",
        *["0"] * 20,
    ]
    world.put("drive/oxts/data/0000000000.txt", " ".join(cells) + "\n")
    cells[5], cells[8] = "-1.5707963267948966", "0.0"
    world.put("drive/oxts/data/0000000001.txt", " ".join(cells) + "\n")
    found = run(world, KITTI, [f"image_02/data/{n:010}.png" for n in range(2)])
    assert found == {
        "0000000000": {
            "speed": 5.0,
            "heading": pytest.approx(0.0),
            "position": {"latitude": 49.015, "longitude": 8.43},
        },
        "0000000001": {
            "speed": 4.0,
            "heading": pytest.approx(180.0),
            "position": {"latitude": 49.015, "longitude": 8.43},
        },
    }


@pytest.mark.skipif(not (SAMPLES / "kitti").is_dir(), reason=f"there are no sample files in {SAMPLES}/kitti")
def test_the_numbers_of_kitti_are_those_of_real_files(world: World) -> None:
    first = (SAMPLES / "kitti/0001.txt").read_text().splitlines()[0]
    world.put("drive/oxts/data/0000000000.txt", f"{first}\n")
    (found,) = run(world, KITTI, ["image_02/data/0000000000.png"]).values()
    assert found["position"] == {"latitude": 49.009347760599, "longitude": 8.4371344308375}
    assert found["heading"] == pytest.approx(90 + 15.451, abs=0.01)  # nearly south-east


def test_mot(world: World) -> None:
    lines = [
        "1,1,912,484,97,109,1,1,0.5",
        "1,2,10,20,30,40,1,1,1",
        "1,3,1,1,1,1,0,7,1",
        "2,1,912,482,97,109,1,1,0.25",
    ]
    world.put("MOT17/MOT17-02/gt/gt.txt", "\n".join(lines) + "\n")
    assert run(world, MOT, [f"MOT17-02/img1/{n:06}.jpg" for n in (1, 2, 3)]) == {
        "000001": {"pedestrians": 2, "least_visible": 0.5},
        "000002": {"pedestrians": 1, "least_visible": 0.25},
    }


def test_voc(world: World) -> None:
    world.put("Annotations/a.xml", VOC_XML.format(name="a"))
    world.put("Annotations/b.xml", VOC_XML.format(name="other").replace("cat", "dog"))
    page = (PAGES / "recipes.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=world.root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Annotations/b.xml: it says other.jpg\n"
    assert run(world, VOC, ["2007/a.jpg", "b.png"]) == {
        "a": {"objects": 3, "categories": {"cat": 2, "person": 1}},
        "b": {"objects": 3, "categories": {"dog": 2, "person": 1}},
    }
