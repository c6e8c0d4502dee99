"""COCO and Lightly's custom metadata as sources: the short form, and queries over their relations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.world import World

COCO: dict[str, Any] = {
    "annotations": [  # before what they speak of, as some tools write it
        {"id": 1, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
        {
            "id": 2,
            "image_id": 5,
            "category_id": 1,
            "bbox": [1, 2, 3, 4],
            "segmentation": [[1, 2, 3, 4, 5, 6]],
        },
        {
            "id": 3,
            "image_id": 5,
            "category_id": 2,
            "iscrowd": 1,
            "segmentation": {"counts": "aPQ", "size": [1, 1]},
        },
        {"id": 4, "image_id": "c", "category_id": 3},
    ],
    "info": None,
    "images": [
        {"id": 5, "file_name": "a.png", "width": 10, "height": 5, "weather": {"sky": "clear"}},
        {"id": 6, "file_name": "b.png", "width": 10, "height": 5},
        {"id": "c", "file_name": "c.png", "width": 10, "height": 5, "weather": {"sky": "fog", "temp": 2.5}},
    ],
    "categories": [
        {"id": 1, "name": "car", "supercategory": "vehicle"},
        {"id": 2, "name": "traffic.light"},
        {"id": 3, "name": "bus [articulated]"},
        {"id": 4, "name": "dog"},
    ],
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in "abc":
        made.put(f"data/{name}.png", b"image")
    made.put("coco.json", json.dumps(COCO))
    made.job = {"input": "data", "sources": [{"annotations": "coco.json"}]}
    made.write_job()
    return made


def documents(world: World) -> dict[str, Any]:
    paths = sorted((world.data / ".lightly/metadata").rglob("*.json"))
    return {
        path.stem: json.loads(path.read_text())["metadata"] for path in paths if path.name != "schema.json"
    }


def with_query(world: World, query: str) -> World:
    world.job |= {"tables": {"coco": {"annotations": "coco.json"}}, "sources": [{"query": query}]}
    world.write_job()
    return world


def test_a_file_alone_makes_a_record_of_each_image(world: World) -> None:
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    none = {"bus _articulated_": 0, "car": 0, "dog": 0, "traffic_light": 0}
    assert documents(world) == {
        "a": {
            "objects": 2,
            "categories": {**none, "car": 2},
            "crowds": 1,
            "attributes": {"weather": {"sky": "clear"}},
        },
        "b": {"objects": 0, "categories": none, "crowds": 0},
        "c": {
            "objects": 1,
            "categories": {**none, "bus _articulated_": 1},
            "crowds": 0,
            "attributes": {"weather": {"sky": "fog", "temp": 2.5}},
        },
    }
    again = world.run("sync", "job.yaml", "--format", "json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["documents"]["keep"] == 3


def test_a_query_reads_the_relations(world: World) -> None:
    with_query(
        world,
        "SELECT coco.images.file_name, count(o.id) AS n, list(DISTINCT c.name) AS names, max(o.area) AS area "
        "FROM coco.images LEFT JOIN coco.objects AS o ON o.image_id = images.id "
        "LEFT JOIN coco.categories AS c ON c.id = o.category_id GROUP BY images.file_name",
    )
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    found = documents(world)
    assert found["a"] == {"n": 3, "names": ["car", "traffic.light"], "area": 12.0}
    assert found["c"] == {"n": 1, "names": ["bus [articulated]"]}
    report = json.loads(ran.out)
    assert [(one["name"], one["read"]) for one in report["relations"]] == [
        ("coco.images", 3),
        ("coco.objects", 4),
        ("coco.categories", 4),
    ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT file_name FROM coco", "coco is several relations"),
        ("SELECT file_name FROM coco.image", "did you mean coco.images?"),
        ("SELECT i.file_name FROM coco.images i JOIN other.images o USING (id)", "within a schema"),
        ("SELECT file_nam AS file_name FROM coco.images", "file_nam"),
    ],
)
def test_what_is_no_relation_is_named(world: World, query: str, message: str) -> None:
    ran = with_query(world, query).run("plan", "job.yaml")
    assert ran.code == 2, ran.err
    assert message in ran.err


def test_packed_files_of_a_glob_keep_their_identifiers_apart(world: World) -> None:
    one = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "category_id": 1}]}
    two = {"images": [{"id": 1, "file_name": "b.png"}], "annotations": []}
    for name, held in (("one", one), ("two", two)):
        held["categories"] = [{"id": 1, "name": "car"}]
        (world.root / f"{name}.json.gz").write_bytes(gzip.compress(json.dumps(held).encode()))
    world.job["sources"] = [{"annotations": "*.json.gz"}]
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {"objects": 1, "categories": {"car": 1}},
        "b": {"objects": 0, "categories": {"car": 0}},
    }


def test_custom_metadata_of_lightly_becomes_documents_as_it_stands(world: World) -> None:
    held = {
        "images": [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "metadata": [
            {"image_id": 1, "people": 3, "weather": {"scenario": "cloudy", "temperature": 20.5}},
            {"image_id": 0, "people": 0},
        ],
    }
    (world.root / "coco.json").write_text(json.dumps(held))
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {"people": 0},
        "b": {"people": 3, "weather": {"scenario": "cloudy", "temperature": 20.5}},
    }


def test_an_element_that_is_none_stops_a_run_and_is_named(world: World) -> None:
    held = {**COCO, "annotations": [*COCO["annotations"], {"id": 9, "category_id": 1}]}
    (world.root / "coco.json").write_text(json.dumps(held))
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 5, ran.err
    assert "--set sources[0].max_rejects=1" in ran.out
    assert "annotation 5: it has no image_id" in ran.out
    let = world.run("sync", "job.yaml", "--set", "sources[0].max_rejects=1")
    assert let.code == 3, let.err
    assert documents(world)["a"]["objects"] == 2


def test_what_contradicts_itself_is_told(world: World) -> None:
    held = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1},
            {"id": 1, "image_id": 1, "category_id": 7},
            {"id": 2, "image_id": 99, "category_id": 1},
        ],
    }
    world.put("coco.json", json.dumps(held))
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    messages = sorted(
        one["message"]
        for one in json.loads(ran.out)["finding_examples"]
        if one["code"] == "source.contradiction"
    )
    assert messages == [
        "1 annotation is of a category that the file does not list, and is counted under its number: 7",
        "1 annotation is of an image that the file does not list, and is not counted: image_id 99",
        "1 identifier is of several annotations of an image, and all are counted: 1",
        "1 identifier is of several images, and each of them has the annotations of all: 1",
    ]
    assert documents(world)["a"] == {"objects": 2, "categories": {"7": 1, "car": 1}}


def many(names: list[str]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 0}],
        "categories": [{"id": at, "name": name} for at, name in enumerate(names)],
    }


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"c{at:03}" for at in range(201)], "201 categories, and at most 200 have a key of their own"),
        (["traffic.light", "traffic_light"], "the categories 'traffic.light' and 'traffic_light'"),
        (["Car", "car"], "the categories 'Car' and 'car' would have one key"),
    ],
)
def test_categories_that_have_no_keys_stop_with_a_query_to_paste(
    world: World, names: list[str], message: str
) -> None:
    world.put("coco.json", json.dumps(many(names)))
    ran = world.run("sync", "job.yaml")
    assert ran.code == 2, ran.err
    assert message in ran.err
    pasted = yaml.safe_load(ran.err.partition("write the query yourself:\n")[2])
    world.job |= pasted
    world.write_job()
    again = world.run("sync", "job.yaml")
    assert again.code == 0, again.err
    assert documents(world)["a"]["objects"] == 1


def test_two_hundred_categories_are_not_too_many(world: World) -> None:
    world.put("coco.json", json.dumps(many([f"c{at:03}" for at in range(200)])))
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert documents(world)["a"]["categories"] == {f"c{at:03}": int(at == 0) for at in range(200)}


def test_a_mapping_stands_over_the_records_of_a_file(world: World) -> None:
    world.job["sources"] = [
        {
            "annotations": "coco.json",
            "where": "objects > 0",
            "file_name": "'data/' || file_name",
            "match": "basename",
            "metadata": {"n": "objects", "sky": "attributes.weather.sky", "cars": '"categories.car"'},
        }
    ]
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        "a": {"n": 2, "sky": "clear", "cars": 2},
        "c": {"n": 1, "sky": "fog", "cars": 0},
    }


def test_the_job_of_the_page_runs(world: World) -> None:
    page = (Path(__file__).parents[3] / "docs/sources/coco.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    (world.root / "job.yaml").write_text(text)
    ran = world.run("sync", "job.yaml")
    assert ran.code == 0, ran.err
    found = documents(world)["a"]
    for key in found:
        assert f"`{key}" in page, key


def test_doctor_reads_each_source_by_itself(world: World) -> None:
    world.put("sizes.csv", "file_name,size\na.png,1\n")
    world.job |= {
        "tables": {"coco": {"annotations": "coco.json"}},
        "sources": [
            {"table": "sizes.csv"},
            {"annotations": "coco.json"},
            {"name": "widths", "query": "SELECT file_name, width FROM coco.images"},
            {"name": "ids", "query": "SELECT file_name, id FROM coco.images"},
        ],
    }
    world.write_job()
    ran = world.run("doctor", "job.yaml", "--format", "json")
    checks = [one for one in json.loads(ran.out)["checks"] if one["name"] == "table"]
    assert [one["status"] for one in checks] == ["ok"] * 4, checks


def test_shards_of_a_plan_are_applied_and_finished(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "2").code == 0
    ran = world.run("sync", "job.yaml", "--plan", "kept", "--shard-index", "0", "--num-shards", "1")
    assert ran.code == 0, ran.err
    assert world.run("finish", "kept").code == 0
    assert documents(world)["a"]["objects"] == 2
    assert world.run("check", "job.yaml").code == 0
    one = world.run("sync", "job.yaml", "--prefix", "a", "--format", "json")
    assert one.code == 0, one.err
    assert json.loads(one.out)["documents"]["keep"] == 1
