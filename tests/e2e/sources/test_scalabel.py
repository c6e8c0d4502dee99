"""BDD100K and Scalabel as sources: the jobs of their page, and the four shapes."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World
from unit.media import synthetic

IMAGES, FRAMES = jobs_of("bdd100k.md")


def label(category: str | None, **more: Any) -> dict[str, Any]:
    return {"id": 1, "category": category, "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4}, **more}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("val/a.jpg", "val/b.jpg", "c.jpg"):
        made.put(f"data/{name}", b"image")
    return made


def test_images_by_their_names(world: World) -> None:
    frames = [
        {
            "name": "a.jpg",
            "attributes": {"weather": "clear", "scene": "city street", "timeofday": "undefined"},
            "timestamp": 10000,
            "labels": [label("car"), label("car"), label("traffic light"), label(None)],
        },
        {"name": "b.jpg", "attributes": {"weather": "undefined"}, "labels": None},
        {
            "name": "https://host/bucket/c.jpg?X-Signature=abc",
            "attributes": None,
            "videoName": "",
            "index": 2,
        },
    ]
    world.put("labels.json", "\ufeff" + json.dumps(frames))
    assert synced(world, IMAGES) == {
        "val/a": {
            "objects": 4,
            "categories": {"car": 2, "traffic light": 1},
            "attributes": {"weather": "clear", "scene": "city street", "timeofday": "undefined"},
        },
        "val/b": {
            "objects": 0,
            "categories": {"car": 0, "traffic light": 0},
            "attributes": {"weather": "undefined"},
        },
        "c": {"objects": 0, "categories": {"car": 0, "traffic light": 0}},
    }


def test_a_dataset_has_its_frames_in_an_object(world: World) -> None:
    held = {
        "config": {"imageSize": None},
        "frames": [{"name": "a.jpg", "labels": [label("bus")]}],
        "groups": [],
    }
    world.put("labels.json", json.dumps(held))
    assert synced(world, IMAGES) == {"val/a": {"objects": 1, "categories": {"bus": 1}}}


def test_files_of_one_image_are_one_source(world: World) -> None:
    for name, objects in (("a", [label("car"), label("bus")]), ("b", [])):
        one = {
            "name": name,
            "frames": [{"timestamp": 10000, "objects": objects}],
            "attributes": {"scene": name},
        }
        world.put(f"labels/{name}.json", json.dumps(one))
    job = {"input": "data", "sources": [{"annotations": "labels/*.json", "match": "stem"}]}
    assert synced(world, job) == {
        "val/a": {"objects": 2, "categories": {"bus": 1, "car": 1}, "attributes": {"scene": "a"}},
        "val/b": {"objects": 0, "categories": {"bus": 0, "car": 0}, "attributes": {"scene": "b"}},
    }


def test_frames_of_a_video_are_counted_from_0_whatever_their_names(world: World) -> None:
    world.put("data/clip.mov", synthetic.video(3))
    frames = [
        {
            "name": f"clip-000000{frame + 1}.jpg",
            "videoName": "clip",
            "frameIndex": frame,
            "attributes": {"weather": "clear"},
            "labels": [label("car")] * frame,
        }
        for frame in range(3)
    ]
    world.put("tracks.json", json.dumps(frames))
    assert synced(world, FRAMES) == {
        f"clip-{frame}-mov": {"objects": frame, "weather": "clear"} for frame in range(3)
    }


def test_frames_that_share_a_name_are_no_images(world: World) -> None:
    frames = [{"name": "a.jpg", "videoName": "a", "frameIndex": at, "labels": []} for at in range(2)]
    world.put("labels.json", json.dumps(frames))
    world.job = IMAGES
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "several frames of videos have one name" in ran.err
    assert "i.video || '.mp4' AS file_name, i.frame" in ran.err


def test_an_image_with_a_label_that_cannot_be_read_stops_the_run(world: World) -> None:
    frames = [{"name": "a.jpg", "labels": [3]}, {"name": "b.jpg", "labels": [label("car")]}]
    world.put("labels.json", json.dumps(frames))
    world.job = IMAGES
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5, ran.err
    assert "frame 1: labels[0] is 3, and no object" in ran.out
    let = world.run("sync", "job.yaml", "--set", "sources[0].max_rejects=1")
    assert let.code == 3, let.err
    assert documents(world) == {"val/b": {"objects": 1, "categories": {"car": 1}}}


def test_too_many_categories_stop_the_run_with_a_query_that_runs(world: World) -> None:
    frames = [{"name": "a.jpg", "labels": [label(f"c{number:03}") for number in range(201)]}]
    world.put("labels.json", json.dumps(frames))
    world.job = IMAGES
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "201 categories, and at most 200 have a key of their own" in ran.err
    _, first, rest = ran.err.partition("  tables:\n")
    job = {"input": "data", **yaml.safe_load(textwrap.dedent(first + rest))}
    job["sources"][0]["match"] = "basename"
    assert synced(world, job) == {
        "val/a": {"objects": 201, "category_1": 1, "category_2": 1, "category_3": 1}
    }


def test_categories_that_would_be_one_key_stop_the_run(world: World) -> None:
    world.put("labels.json", json.dumps([{"name": "a.jpg", "labels": [label("a.b"), label("a_b")]}]))
    world.job = IMAGES
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "the categories 'a.b' and 'a_b' would have one key" in ran.err
