"""The listed media as a source: the jobs of its page, and what they do not touch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from e2e.sources.pages import jobs_of, synced
from e2e.world import World

ALONE, QUERY, _ = jobs_of("object.md")
#: When the files were written, and how a document says it.
WRITTEN, MODIFIED = 1_777_636_800.25, "2026-05-01T12:00:00.25Z"
FILES = {"bern/2026-05-01/a.jpg": b"12345", "bern/b.jpg": b"1", "c.mp4": b"123"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name, data in FILES.items():
        os.utime(made.put(f"data/{name}", data), (WRITTEN, WRITTEN))
    return made


def test_each_object_has_what_its_listing_and_its_path_say(world: World) -> None:
    assert synced(world, ALONE) == {
        "bern/2026-05-01/a": {
            "kind": "image",
            "size": 5,
            "site": "bern",
            "day": "2026-05-01",
        },
        "bern/b": {"kind": "image", "size": 1},
        "c": {"kind": "video", "size": 3},
    }


def test_what_changes_with_each_copy_is_there_where_it_is_named(world: World) -> None:
    alone = synced(world, {"input": "data", "sources": [{"object": {}, "where": "modified IS NOT NULL"}]})
    assert alone["c"] == {"kind": "video", "size": 3}
    named = {"object": {}, "metadata": {"modified": "modified", "size": "size"}}
    assert synced(world, {"input": "data", "sources": [named]})["c"] == {"size": 3, "modified": MODIFIED}


def test_a_query_reads_the_objects(world: World) -> None:
    assert synced(world, QUERY) == {
        "bern/2026-05-01/a": {"size": 5, "site": "bern"},
        "bern/b": {"size": 1, "site": "bern"},
    }


def test_a_prefix_and_the_globs_of_the_job_narrow_the_rows(world: World) -> None:
    job = ALONE | {"media": {"exclude": ["**/a.jpg"]}}
    assert synced(world, job, "--prefix", "bern/") == {"bern/b": {"kind": "image", "size": 1}}


def test_an_expression_that_cannot_be_used_is_one_fault(world: World) -> None:
    for parts, why in (
        ("(?P<x>a)(?=b)", "invalid perl operator"),
        ("(a)", "unnamed groups"),
        ("a", "has no named group"),
        ("(?P<Size>a)", "the group Size would be a second column"),
    ):
        world.job = {"input": "data", "sources": [{"object": {"parts": parts}}]}
        world.write_job()
        ran = world.run("plan", "job.yaml")
        assert ran.code == 2, ran.err
        assert why in ran.err
        assert "sources[0].object" in ran.err
        assert "(?P<site>" in ran.err


def test_tables_shows_the_first_objects_without_a_run(world: World) -> None:
    world.job = {"input": "data", "tables": {"files": {"object": {}}}, "sources": QUERY["sources"]}
    world.write_job()
    ran = world.run("tables", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    (table,) = json.loads(ran.out)["tables"]
    (relation,) = table["relations"]
    assert [column["name"] for column in relation["columns"]] == [
        *("file_name", "kind", "size", "modified", "etag", "content_type", "storage_class"),
        *("metadata", "tags", "folders"),
    ]
    assert relation["rows"] == 3
    assert not (world.data / ".metaferry").exists()


def test_schema_infer_and_doctor_know_such_a_source(world: World) -> None:
    world.job = ALONE
    world.write_job()
    inferred = world.run("schema", "infer", "job.yaml", "--format", "json")
    assert inferred.code == 0, inferred.err
    assert [entry["path"] for entry in json.loads(inferred.out)["entries"]] == [
        *("day", "kind", "site", "size")
    ]
    assert world.run("doctor", "job.yaml").code == 0
