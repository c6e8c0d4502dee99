"""CVAT as a source: the jobs of its page, images with tags, and videos with original frames."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World
from unit.media import synthetic

ALONE, JOB = jobs_of("cvat.md")

IMAGES = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><mode>annotation</mode><labels>
<label><name>car</name></label><label><name>sign.round</name></label>
<label><name>weather</name><attributes>
<attribute><name>rain</name><input_type>checkbox</input_type></attribute>
<attribute><name>degrees</name><input_type>number</input_type></attribute></attributes></label>
</labels></task></meta>
<image id="0" name="day1/a.jpg" width="8" height="6">
  <box label="car" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2"></box>
  <polygon label="car" occluded="0" points="1,2;3,4;5,6"></polygon>
  <skeleton label="sign.round"><points label="1" outside="0" points="1,1"></points></skeleton>
  <tag label="weather"><attribute name="rain">true</attribute><attribute name="degrees">12</attribute></tag>
</image>
<image id="1" name="b.jpg" width="8" height="6"></image>
</annotations>"""


def video(shapes: str, kind: str = "task", source: str = "<source>clip.mov</source>") -> str:
    return (
        f"<annotations><meta><{kind}><mode>interpolation</mode><start_frame>2</start_frame>"
        f"<stop_frame>8</stop_frame><frame_filter>step=3</frame_filter></{kind}>{source}</meta>"
        f'<track id="0" label="car">{shapes}</track></annotations>'
    )


SHAPES = """
<box frame="2" outside="0" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"/>
<box frame="5" outside="0" occluded="1" keyframe="0" xtl="1" ytl="1" xbr="2" ybr="2"/>
<box frame="8" outside="1" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2"/>"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        made.put(f"data/{name}", b"image")
    made.put("data/front/clip.mov", synthetic.video(10))
    return made


def test_images_with_tags(world: World) -> None:
    world.put("annotations.xml", IMAGES)
    assert synced(world, ALONE) == {
        "a": {
            "objects": 3,
            "categories": {"car": 2, "sign_round": 1},
            "tags": ["weather"],
            "attributes": {"weather": {"rain": True, "degrees": 12}},
        },
        "b": {"objects": 0, "categories": {"car": 0, "sign_round": 0}},
    }


def test_the_archive_that_the_tool_gives(world: World) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("annotations.xml", IMAGES)
    world.put("export.zip", packed.getvalue())
    made = synced(world, {"input": "data", "sources": [{"annotations": "export.zip", "match": "basename"}]})
    assert made["a"]["objects"] == 3


def test_frames_of_a_task_are_those_of_the_original_video(world: World) -> None:
    world.put("annotations.xml", video(SHAPES))
    assert synced(world, ALONE) == {
        "front/clip-02-mov": {"objects": 1, "categories": {"car": 1}},
        "front/clip-05-mov": {"objects": 1, "categories": {"car": 1}},
        "front/clip-08-mov": {"objects": 0, "categories": {"car": 0}},
    }


def test_a_job_does_not_name_its_video_and_a_query_does(world: World) -> None:
    world.put("job.xml", video(SHAPES, "job", ""))
    assert synced(world, JOB) == {
        "front/clip-02-mov": {"objects": 1, "cars": 1},
        "front/clip-05-mov": {"objects": 1, "cars": 0},
    }
    world.job = {"input": "data", "sources": [{"annotations": "job.xml"}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "does not say of which video its frames are" in ran.err
    assert "SELECT 'clip.mp4' AS file_name, i.frame" in ran.err


def test_tracks_of_a_project_stop_the_run_before_anything_is_written(world: World) -> None:
    world.put("annotations.xml", video(SHAPES).replace("task>", "project>"))
    world.job = ALONE
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 2
    assert "export each task by itself as CVAT for video 1.1" in ran.err
    assert documents(world) == {}


def test_a_shape_that_cannot_be_read_stops_the_run(world: World) -> None:
    world.put("annotations.xml", video(SHAPES.replace('frame="5"', 'frame="1"')))
    world.job = ALONE
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5, ran.err
    assert "frame 1 comes after frame 2 in one track" in ran.out
    assert documents(world) == {}
