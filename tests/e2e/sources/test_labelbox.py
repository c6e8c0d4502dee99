"""Labelbox as a source: the jobs of its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import jobs_of, synced
from e2e.world import World
from unit.media import synthetic
from unit.tables.readers.test_labelbox import box, data_row, radio

ALONE, FRAMES = jobs_of("labelbox.md")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("front/a.jpg", "b.jpg"):
        made.put(f"data/{name}", b"image")
    made.put("data/clip.mov", synthetic.video(4))
    return made


def put_lines(world: World, *lines: dict[str, Any]) -> None:
    world.put("export.ndjson", "".join(json.dumps(line) + "\n" for line in lines))


def test_images_with_metadata_and_answers(world: World) -> None:
    taken = {"objects": [box(), box("bus", "f2")], "classifications": [radio("weather", "rain")]}
    put_lines(
        world,
        data_row("a.jpg", taken, fields=[{"schema_name": "city", "value": "Bern"}]),
        data_row("b.jpg"),
    )
    assert synced(world, ALONE) == {
        "front/a": {
            "objects": 2,
            "categories": {"bus": 1, "car": 1},
            "metadata": {"city": "Bern"},
            "answers": {"weather": "rain"},
        },
        "b": {"objects": 0, "categories": {"bus": 0, "car": 0}},
    }


def test_frames_of_videos_are_counted_from_0(world: World) -> None:
    frames = {
        "1": {"objects": {"f1": box()}, "classifications": [radio("weather", "rain")]},
        "4": {"objects": {}, "classifications": [radio("weather", "fog")]},
    }
    put_lines(world, data_row("clip.mov", {"frames": frames}))
    assert synced(world, FRAMES) == {
        "clip-0-mov": {"objects": 1, "weather": "rain"},
        "clip-3-mov": {"objects": 0, "weather": "fog"},
    }


def test_several_labels_of_a_data_row_are_told(world: World) -> None:
    put_lines(world, data_row("b.jpg", {"objects": []}, {"objects": [box()]}))
    world.job = ALONE
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert "1 data row has several labels, of which the latest is taken" in ran.out
