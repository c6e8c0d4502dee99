"""`metaferry tables`: what a reader and a plain table hold, of a job and of a URL, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.sources.test_coco import COCO
from e2e.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.put("data/a.png", b"image")
    made.put("coco.json", json.dumps(COCO))
    made.put("scenes.csv", "scene,weather\n1,dry\n2,wet\n3,dry\n4,dry\n")
    made.job = {
        "input": "data",
        "tables": {"boxes": {"annotations": "coco.json"}, "scenes": "scenes.csv"},
        "sources": [
            {"query": "SELECT file_name FROM boxes.images"},
            {"annotations": {"url": "coco.json", "reader": "coco"}},
        ],
    }
    made.write_job()
    return made


def described(world: World, *arguments: str) -> list[dict[str, Any]]:
    ran = world.run("tables", *arguments, "--format", "json")
    assert ran.code == 0, ran.err
    tables: list[dict[str, Any]] = json.loads(ran.out)["tables"]
    return tables


def test_a_job_shows_its_tables_and_sources(world: World) -> None:
    boxes, scenes, source = described(world, "job.yaml")
    assert [boxes["key"], scenes["key"], source["key"]] == ["tables.boxes", "tables.scenes", "sources[1]"]
    names = ["boxes.images", "boxes.objects", "boxes.categories", "boxes.metadata"]
    assert [one["name"] for one in boxes["relations"]] == names
    assert [one["rows"] for one in boxes["relations"]] == [3, 4, 4, 0]
    images = boxes["relations"][0]
    columns = {one["name"]: (one["type"], one["meaning"]) for one in images["columns"]}
    assert columns["width"] == ("BIGINT", "in pixels")
    assert columns["attributes"][0] == 'STRUCT(weather STRUCT(sky VARCHAR, "temp" DOUBLE))'
    first = dict(zip(columns, images["first"][0], strict=True))
    assert (first["id"], first["file_name"], first["width"]) == ("5", "a.png", "10")
    assert (scenes["reader"], scenes["relations"][0]["rows"]) == ("", 4)
    assert scenes["relations"][0]["first"] == [["1", "dry"], ["2", "wet"], ["3", "dry"]]


def test_the_query_to_start_from_runs_as_it_stands(world: World) -> None:
    boxes, *_ = described(world, "job.yaml")
    world.job["sources"] = [{"query": boxes["query"]}]
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 0, ran.err


def test_a_url_is_read_by_the_reader_that_knows_it(world: World) -> None:
    (table,) = described(world, "coco.json")
    assert (table["key"], table["reader"]) == ("", "coco")
    assert [one["name"] for one in table["relations"]][:2] == ["annotations.images", "annotations.objects"]
    (plain,) = described(world, "scenes.csv")
    assert (plain["reader"], plain["title"]) == ("", "csv")
    ran = world.run("tables", "coco.json")
    assert "A query to start from" in ran.out
    assert "one image, with or without annotations" in ran.out


def test_rejects_are_counted_and_named(world: World) -> None:
    world.put("coco.json", json.dumps({"images": [{"id": 1}, {"id": 2, "file_name": "a.png"}]}))
    (table,) = described(world, "coco.json")
    assert (table["relations"][0]["rows"], table["relations"][0]["malformed"]) == (1, 1)
    assert "image 1: it has no file_name" in table["rejects"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coco.xml",), "there is no file"),
        (("odd.xml",), "is of no format that is known here"),
        (("odd.xml",), "annotations (lightly, nuscenes, cvat"),
        (("odd.xml",), "recordings (gpx, nmea, mcap, rosbag)"),
        (("odd.xml",), "sql: {uri: sqlite:///FILE"),
        (("first.json",), "ends early, in line 1 at byte 40"),
        (("first.jsonl",), "copy it again"),
        (("coco.json", "--reader", "coca"), "did you mean coco?"),
        (("job.yaml", "--reader", "coco"), "a reader is for a URL"),
        (("cut.json", "--reader", "coco"), "it is cut short"),
    ],
)
def test_what_cannot_be_shown_is_one_error(world: World, arguments: tuple[str, ...], message: str) -> None:
    world.put("odd.xml", "<a/>")
    world.put("cut.json", json.dumps(COCO)[:-20])
    for name in ("first.json", "first.jsonl"):
        world.put(name, json.dumps({"info": {"description": "a dataset of cars", **COCO}})[:40])
    ran = world.run("tables", *arguments)
    assert ran.code == 2, ran.err
    assert message in ran.err


def test_the_call_of_the_library_reads_no_more_than_it_shows(tmp_path: Path) -> None:
    many = {"images": [{"id": n, "file_name": f"{n}.png"} for n in range(2_500)]}
    (tmp_path / "coco.json").write_text(json.dumps(many))
    (table,) = metaferry.describe_tables(tmp_path / "coco.json").tables
    images = table.relations[0]
    assert (images.rows, images.whole, len(images.first)) == (2_500, True, 3)
