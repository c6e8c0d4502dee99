"""`metaferry schema check`: every fault at once, each with its place."""

from __future__ import annotations

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from e2e.world import World
from metaferry.planning.database import Database
from metaferry.planning.existing import MOST_READ
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.view.schema import documents
from servers.datasource import FreshDatasource

SCHEMA = "data/.lightly/metadata/schema.json"


def entry(path: str, kind: str = "NUMERIC_INT", default: Any = 0, name: str = "") -> dict[str, Any]:
    return {"name": name or path, "path": path, "defaultValue": default, "valueDataType": kind}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three images with a table, synced: documents and a schema.json are in place."""
    made = World(tmp_path)
    rows = ["file_name,n,scene"]
    for number in range(3):
        made.put(f"data/{number}.png", b"image")
        rows.append(f"{number}.png,{number},day")
    made.put("t.csv", "\n".join(rows) + "\n")
    made.job = {"input": "data", "sources": [{"table": "t.csv"}]}
    made.write_job()
    assert made.run("sync", "job.yaml").code == 0
    return made


#: The seed's own examples have both of these: a comma that is missing, and one too many.
BROKEN = """\
[
  {"name": "Scene", "path": "scene" "defaultValue": "undefined", "valueDataType": "CATEGORICAL_STRING"},
  {"name": "n", "path": "n", "defaultValue": 1.5, "valueDataType": "NUMERIC_INT"},
  {"name": "n", "path": "lightly.x", "defaultValue": 0, "valueDataType": "NUMERICAL_INT",},
  {"name": "deep", "path": "n", "valueDataType": "NUMERIC_INT", "defaultValue": 0, "more": 1}
]
"""
FAULTS = [
    '2:36: a comma is missing here, before "\\"defaultValue\\": \\"und"',
    '3:46: entry 2 ("n"): the default of NUMERIC_INT is a whole number within ±2^53, not 1.5',
    '4:12: entry 3 ("n"): the name "n" is that of entry 2 too',
    '4:25: entry 3 ("n"): keys that begin with "lightly" are reserved',
    '4:74: entry 3 ("n"): "NUMERICAL_INT" is no valueDataType; did you mean NUMERIC_INT?',
    "4:89: a trailing comma: JSON allows none before }",
    '5:28: entry 4 ("deep"): the path "n" is that of entry 2 too',
    '5:84: entry 4 ("deep"): unknown key "more"',
]


def test_all_faults_of_a_file_with_line_and_column(world: World) -> None:
    world.put("mine.json", BROKEN)
    ran = world.run("schema", "check", "mine.json")
    file = world.root / "mine.json"
    assert ran.code == 4
    assert ran.out.splitlines() == [*(f"{file}:{fault}" for fault in FAULTS), f"{file}: 8 faults"]


@pytest.mark.parametrize("target", ["data", "data/.lightly/metadata/", "job.yaml"])
def test_the_schema_in_place_of_a_datasource_and_of_a_job(world: World, target: str) -> None:
    ran = world.run("schema", "check", target)
    assert (ran.code, ran.out) == (0, f"{world.root}/{SCHEMA}: no fault; 3 of 3 documents read\n")
    world.put(SCHEMA, BROKEN)
    ran = world.run("schema", "check", target)
    assert ran.code == 4
    assert [line for line in ran.out.splitlines() if line.startswith(f"{world.root}/{SCHEMA}:")] == [
        *(f"{world.root}/{SCHEMA}:{fault}" for fault in FAULTS),
        f"{world.root}/{SCHEMA}: 8 faults; 3 of 3 documents read",
    ]


@pytest.mark.parametrize("target", ["data", "job.yaml"])
def test_documents_in_place_that_do_not_fit_are_named(world: World, target: str) -> None:
    world.put(SCHEMA, json.dumps([entry("n", "CATEGORICAL_STRING", "?"), entry("scene", "NUMERIC_FLOAT")]))
    world.put("data/.lightly/metadata/0.json", '{"file_name": "0.png",\n "type": "image" "metadata": {}}')
    ran = world.run("schema", "check", target, "--format", "json")
    assert ran.code == 4
    base = f"{world.root}/data/.lightly/metadata"
    assert [(one["file"], one["line"], one["column"], one["documents"]) for one in ran.report["faults"]] == [
        (f"{base}/0.json", 2, 17, 1),
        (f"{base}/1.json", 0, 0, 1),
        (f"{base}/2.json", 0, 0, 1),
        (f"{base}/1.json", 0, 0, 1),
        (f"{base}/2.json", 0, 0, 1),
    ]
    assert ran.report["faults"][1]["message"] == (
        f"n is 1, and by its entry in {base}/schema.json it is CATEGORICAL_STRING: text"
    )
    assert (ran.report["documents"], ran.report["read"], ran.report["entries"]) == (3, 3, 2)


def test_what_a_job_gives_is_checked_too(world: World) -> None:
    world.job["schema"] = "mine.json"
    world.write_job()
    world.put("mine.json", BROKEN)
    ran = world.run("schema", "check", "job.yaml")
    assert ran.code == 4
    assert [line for line in ran.out.splitlines() if ": entry" in line or "comma" in line] == [
        f"{world.root}/mine.json:{fault}" for fault in FAULTS
    ]
    world.put("mine.json", json.dumps([entry("n", "CATEGORICAL_BOOLEAN", False)]))
    ran = world.run("schema", "check", "job.yaml")
    assert ran.code == 4
    assert f"n is 0, and by its entry in {world.root}/mine.json it is CATEGORICAL_BOOLEAN" in ran.out
    world.put("mine.json", json.dumps([entry("x", name="scene")]))
    ran = world.run("schema", "check", "job.yaml")
    assert ran.code == 4
    assert f"{world.root}/mine.json: the name 'scene' of x is that of scene, which is in place" in ran.out


def test_entries_in_the_job_file_are_all_named_with_their_lines(world: World) -> None:
    world.put(
        "job.yaml",
        (world.root / "job.yaml").read_text()
        + "schema:\n"
        + "- {name: n, path: n, defaultValue: x, valueDataType: NUMERIC_INT}\n"
        + "- {name: n, path: lightly, defaultValue: 0, valueDataType: NUMERIC}\n"
        + "- {name: m, defaultValue: 0, valueDataType: NUMERIC_INT}\n"
        + "- 5\n",
    )
    ran = world.run("schema", "check", "job.yaml")
    assert ran.code == 4
    assert ran.out.splitlines() == [
        'job.yaml:5: entry 1 ("n"): the default of NUMERIC_INT is a whole number within ±2^53, '
        'not the string "x"',
        'job.yaml:6: entry 2 ("n"): the name "n" is that of entry 1 too',
        'job.yaml:6: entry 2 ("n"): keys that begin with "lightly" are reserved',
        'job.yaml:6: entry 2 ("n"): "NUMERIC" is no valueDataType; did you mean NUMERIC_INT?',
        "job.yaml:7: is missing",
        "job.yaml:8: should be a mapping, is 5",
        "job.yaml: 6 faults",
    ]
    assert world.run("plan", "job.yaml").code == 2


def test_other_faults_of_a_job_file_are_those_of_any_command(world: World) -> None:
    world.put("job.yaml", "input: data\nschema: [5]\n")
    ran = world.run("schema", "check", "job.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "sources: is missing" in ran.err


def test_what_is_not_there_is_said(world: World) -> None:
    ran = world.run("schema", "check", "nope.json")
    assert ran.code == 2
    assert f"there is no file {world.root}/nope.json" in ran.err
    (world.root / "empty").mkdir()
    ran = world.run("schema", "check", "empty")
    assert ran.code == 2
    assert "there is no .lightly/metadata/schema.json here, and no document" in ran.err
    assert world.run("schema", "check", "nope").code == 1
    (world.root / SCHEMA).unlink()
    ran = world.run("schema", "check", "job.yaml")
    assert ran.code == 0
    assert "there is no schema.json yet; a sync writes it" in ran.out
    ran = world.run("schema", "check", "data")
    assert ran.code == 4
    assert "there is no schema.json, so nothing of the documents is shown" in ran.out


def test_so_many_documents_are_read_unless_all_are_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert documents.MOST_READ == MOST_READ == 10_000
    monkeypatch.setattr(documents, "MOST_READ", 2)
    monkeypatch.setattr(Database, "numbered", partialmethod(Database.numbered, size=1))
    ran = world.run("schema", "check", "data")
    assert ran.out.splitlines() == [
        "note: 1 of 3 documents in place were not read",
        f"{world.root}/{SCHEMA}: no fault; 2 of 3 documents read",
    ]
    assert "3 of 3 documents read" in world.run("schema", "check", "data", "--all").out
    monkeypatch.setattr(documents, "LARGEST", 10)
    ran = world.run("schema", "check", "data", "--all")
    assert "note: 3 of 3 documents in place were not read, 3 of them too large" in ran.out


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_bucket_by_its_url_and_options(
    world: World, kind: str, fresh_datasource: FreshDatasource, portal: Portal
) -> None:
    url, options = fresh_datasource(kind)
    storage = open_storage(url, options)
    portal.run(storage.put(".lightly/metadata/schema.json", json.dumps([entry("n")]).encode()))
    for number in range(3):
        body = json.dumps({"file_name": f"{number}.png", "type": "image", "metadata": {"n": number + 0.5}})
        portal.run(storage.put(f".lightly/metadata/a/{number}.json", body.encode()))
    portal.run(storage.close())
    scheme = url.partition("://")[0]
    sets = [f"--set=storage.{scheme}={json.dumps(options)}"]
    ran = world.run("schema", "check", url, *sets, "--format", "json")
    assert (ran.code, ran.report["read"], len(ran.report["faults"])) == (4, 3, 3), ran.err
    alone = world.run("schema", "check", f"{url.rstrip('/')}/.lightly/metadata/schema.json", *sets)
    assert (alone.code, alone.err) == (0, "")
