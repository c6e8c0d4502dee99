"""nuScenes-like tables as a source: the jobs of their page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World
from unit.tables.readers.test_nuscenes import TABLES

ALONE, QUERY = jobs_of("nuscenes.md")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.put("data/samples/CAM_FRONT/a.jpg", b"image")
    made.put("data/sweeps/CAM_FRONT/b.jpg", b"image")
    return made


def put_tables(world: World, **more: list[Any]) -> None:
    first = TABLES["sample_data"][0]
    sweep = {**first, "token": "i3", "filename": "sweeps/CAM_FRONT/b.jpg", "is_key_frame": False}
    tables = {**TABLES, "sample_data": [*TABLES["sample_data"], sweep], **more}
    for name, rows in tables.items():
        world.put(f"v1.0-mini/{name}.json", json.dumps(rows))


def test_images_of_cameras_with_their_scenes(world: World) -> None:
    put_tables(world)
    of_all = {
        "channel": "CAM_FRONT",
        "time": "2018-07-18T03:12:10.449377Z",
        "scene": "scene-1",
        "description": "rain",
        "location": "boston",
        "vehicle": "v1",
        "date_captured": "2018-07-18",
    }
    assert synced(world, ALONE) == {
        "samples/CAM_FRONT/a": {
            **of_all,
            "is_key_frame": True,
            "objects": 1,
            "categories": {"vehicle_car": 1},
        },
        "sweeps/CAM_FRONT/b": {
            **of_all,
            "is_key_frame": False,
            "objects": 0,
            "categories": {"vehicle_car": 0},
        },
    }


def test_objects_of_a_sample_count_where_a_query_says_so(world: World) -> None:
    put_tables(world)
    assert synced(world, QUERY) == {
        "samples/CAM_FRONT/a": {
            "channel": "CAM_FRONT",
            "scene": "scene-1",
            "x": 1.0,
            "y": 2.5,
            "objects": 2,
            "vehicles": 2,
        }
    }


def test_a_link_that_leads_nowhere_stops_the_run(world: World) -> None:
    put_tables(world, scene=[{**TABLES["scene"][0], "log_token": "gone"}])
    world.job = ALONE
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5, ran.err
    assert "its log_token 'gone' is in no row of log.json" in ran.out
    assert documents(world) == {}
