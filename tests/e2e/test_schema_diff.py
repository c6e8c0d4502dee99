"""`metaferry schema diff`: what a sync would change in schema.json, as the plan and the sync have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import Ran, World

SCHEMA = "data/.lightly/metadata/schema.json"


def entry(path: str, kind: str, default: Any, name: str = "") -> dict[str, Any]:
    return {"name": name or path, "path": path, "defaultValue": default, "valueDataType": kind}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three images; the table speaks of two, with whole numbers. Synced."""
    made = World(tmp_path)
    for number in range(3):
        made.put(f"data/{number}.png", b"image")
    made.put("t.csv", "file_name,n\n0.png,1\n1.png,2\n")
    made.job = {"input": "data", "sources": [{"table": "t.csv"}]}
    made.write_job()
    return made


def sync(world: World) -> None:
    assert world.run("sync", "job.yaml").code == 0


def in_place(world: World) -> Any:
    path = world.root / SCHEMA
    return json.loads(path.read_bytes()) if path.exists() else None


def diff(world: World, *flags: str) -> Ran:
    """The difference as JSON, once it was seen to be that of the plan, and to write nothing."""
    before = in_place(world)
    ran = world.run("schema", "diff", "job.yaml", *flags, "--format", "json")
    assert in_place(world) == before
    plan = world.run("plan", "job.yaml", *flags, "--exit-code", "--format", "json").report
    found, planned = ran.report, plan["schema"]
    assert [one["path"] for one in found["added"]] == planned["added"]
    assert [(one["before"], one["after"]) for one in found["changed"]] == [
        (one["before"], one["after"]) for one in planned["changed"]
    ]
    assert [one["path"] for one in found["removed"]] == planned["removed"]
    assert (found["written"], found["stopped"]) == (planned["written"], plan["stopped"])
    assert len(found["added"]) + len(found["changed"]) + found["kept"] == planned["entries"]
    return ran


def test_new_entries_then_none(world: World) -> None:
    ran = diff(world)
    assert ran.code == 4
    assert (ran.report["exists"], ran.report["added"]) == (False, [entry("n", "NUMERIC_INT", 0)])
    assert world.run("schema", "diff", "job.yaml").out.splitlines() == [
        "+ n  NUMERIC_INT, default 0",
        "there is no schema.json yet: 1 added, 0 changed, 0 removed, 0 unchanged",
        "A sync would write schema.json.",
    ]
    sync(world)
    assert in_place(world) == ran.report["added"]
    ran = diff(world)
    assert (ran.code, ran.report["written"], ran.report["kept"]) == (0, False, 1)
    text = world.run("schema", "diff", "job.yaml")
    assert text.code == 0
    assert text.out.splitlines() == [
        "schema.json: 0 added, 0 changed, 0 removed, 1 unchanged",
        "A sync would leave schema.json as it is.",
    ]


def test_a_type_that_is_widened_with_the_documents_that_are_written_again(world: World) -> None:
    sync(world)
    world.put("t.csv", "file_name,n,m\n0.png,1,x\n1.png,2.5,\n2.png,,y\n")
    world.job["schema"] = {"infer": {"widen": True}}
    world.write_job()
    ran = diff(world)
    assert ran.code == 4
    before, after = entry("n", "NUMERIC_INT", 0), entry("n", "NUMERIC_FLOAT", 0.0)
    assert ran.report["changed"] == [{"before": before, "after": after, "documents": 2}]
    assert world.run("schema", "diff", "job.yaml").out.splitlines() == [
        '+ m  CATEGORICAL_STRING, default "undefined"',
        '~ n  valueDataType "NUMERIC_INT" → "NUMERIC_FLOAT"; 2 documents are written again with it',
        "schema.json: 1 added, 1 changed, 0 removed, 0 unchanged",
        "A sync would write schema.json.",
    ]
    sync(world)
    assert in_place(world) == [after, *ran.report["added"]]
    assert diff(world).code == 0


def test_entries_that_the_job_changes_and_removes(world: World) -> None:
    sync(world)
    mine = [entry("m", "NUMERIC_INT", 7, name="Mine")]
    world.job["schema"] = {"entries": mine, "exact": True}
    world.write_job()
    ran = diff(world)
    assert (ran.code, ran.report["added"], ran.report["removed"]) == (4, mine, [entry("n", "NUMERIC_INT", 0)])
    assert world.run("schema", "diff", "job.yaml").out.splitlines()[:2] == [
        '+ m  NUMERIC_INT, default 7, shown as "Mine"',
        "- n  NUMERIC_INT, default 0",
    ]
    world.job["schema"] = [entry("n", "NUMERIC_INT", 5)]
    world.write_job()
    ran = diff(world)
    assert (ran.code, ran.report["changed"][0]["documents"], ran.report["removed"]) == (4, 0, [])


def test_a_sync_that_would_be_stopped_is_said_and_is_5(world: World) -> None:
    world.put("t.csv", "file_name,n,m\n0.png,1,x\nnope.png,2,y\n")
    world.job["policy"] = {"unmatched": "reject"}
    world.write_job()
    ran = diff(world)
    assert (ran.code, ran.report["written"]) == (5, True)
    text = world.run("schema", "diff", "job.yaml").out
    assert "A sync would stop before it writes anything: 1 row was rejected" in text
    assert "  → mend the rows" in text


def test_rejected_rows_within_the_limit_are_about_rows(world: World) -> None:
    """A plan ends with 3 for them; schema.json is written all the same, so here it is 4, and then 0."""
    world.put("t.csv", "file_name,n\n0.png,1\nnope.png,2\n")
    world.job["policy"] = {"unmatched": "reject", "max_rejects": 1}
    world.write_job()
    assert diff(world).code == 4
    assert world.run("plan", "job.yaml", "--exit-code").code == 3
    assert world.run("sync", "job.yaml").code == 3
    assert diff(world).code == 0


def test_prefix_and_limit_are_those_of_a_plan(world: World) -> None:
    assert diff(world, "--limit", "1").code == 4
    assert diff(world, "--prefix", "0").code == 4
