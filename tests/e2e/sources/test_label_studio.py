"""Label Studio as a source: the jobs of its page, and which annotation counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.sources.pages import jobs_of, synced
from e2e.world import World
from unit.media import synthetic
from unit.tables.readers.test_label_studio import in_video, keyframe, rectangle, task

ALONE, FRAMES = jobs_of("label-studio.md")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("front/a.jpg", "b.jpg"):
        made.put(f"data/{name}", b"image")
    made.put("data/clip.mov", synthetic.video(4))
    return made


def test_images_with_regions_and_answers(world: World) -> None:
    weather = {"id": "w", "type": "choices", "from_name": "weather", "value": {"choices": ["rain"]}}
    tasks = [
        task(rectangle(), rectangle("bus", "r2"), weather, image="/data/upload/3/0a1b2c3d-a.jpg"),
        {"id": 2, "data": {"image": "s3://bucket/x/b.jpg"}, "annotations": []},
    ]
    world.put("project.json", json.dumps(tasks))
    assert synced(world, ALONE) == {
        "front/a": {"objects": 2, "categories": {"bus": 1, "car": 1}, "answers": {"weather": "rain"}},
        "b": {"objects": 0, "categories": {"bus": 0, "car": 0}},
    }


def test_frames_of_videos_are_counted_from_0(world: World) -> None:
    shown = in_video(keyframe(1), keyframe(3, enabled=False), count=4)
    world.put("project.json", json.dumps([task(shown, image="gs://bucket/clip.mov")]))
    assert synced(world, FRAMES) == {f"clip-{frame}-mov": {"objects": 1, "cars": 1} for frame in (0, 1, 2)}


def test_the_short_form_has_frames_too(world: World) -> None:
    shown = in_video(keyframe(4), count=4)
    world.put("project.json", json.dumps([task(shown, image="clip.mov")]))
    assert synced(world, ALONE) == {
        "clip": {"objects": 0, "categories": {"car": 0}},
        "clip-3-mov": {"objects": 1, "categories": {"car": 1}},
    }


def test_several_annotations_of_a_task_are_told(world: World) -> None:
    both = task(rectangle())
    both["annotations"] *= 2
    world.put("project.json", json.dumps([both]))
    world.job = ALONE
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert "1 task has several annotations, of which the latest is taken" in ran.out
