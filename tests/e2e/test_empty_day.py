"""A scheduled run over today's partition, before there is any: it pages nobody, and loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import Ran, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.put("data/a.png", b"image")
    made.put("tables/day=26/t.csv", "file_name,n\na.png,1\n")
    made.job = {"input": "data", "sources": [{"table": "tables/day=26/*.csv"}]}
    made.write_job()
    assert made.run("sync", "job.yaml").code == 0
    made.job["policy"] = {"allow_empty": True}
    return made


def today(world: World, table: str, *flags: str) -> Ran:
    world.job["sources"] = [
        {"table": table, "metadata": {"n": "n * 1"}, "where": "n > 0", "match": "basename"}
    ]
    world.write_job()
    return world.run("sync", "job.yaml", "--format", "json", *flags)


def warnings(ran: Ran) -> list[tuple[str, str, str]]:
    found: list[dict[str, Any]] = ran.report["finding_examples"]
    return [(one["code"], one["severity"], one["message"]) for one in found if one["severity"] != "info"]


def document(world: World) -> Any:
    return json.loads((world.data / ".lightly/metadata/a.json").read_bytes())["metadata"]


@pytest.mark.parametrize("flag", [True, False])
def test_a_partition_without_rows_is_a_warning(world: World, flag: bool) -> None:
    world.put("tables/day=27/t.csv", "file_name,n\n")
    ran = today(world, "tables/day=27/*.csv", f"--set=policy.allow_empty={str(flag).lower()}")
    assert ran.code == 0, ran.err
    assert ("source.empty", "warning", "the table has no rows") in warnings(ran)
    assert (ran.report["sources"][0]["read"], document(world)) == (0, {"n": 1})


@pytest.mark.parametrize("frame", [None, {"from": "a", "to": "b"}, {"seconds": "t"}])
def test_a_glob_without_a_match_is_a_warning(world: World, frame: Any) -> None:
    flags = [] if frame is None else [f"--set=sources[0].frame={json.dumps(frame)}"]
    ran = today(world, "tables/day=28/*.csv", *flags)
    assert ran.code == 0, ran.err
    assert ("source.empty", "warning", "no file matches it yet") in warnings(ran)
    assert document(world) == {"n": 1}


def test_without_the_policy_a_glob_without_a_match_is_tried_again(world: World) -> None:
    ran = today(world, "tables/day=28/*.csv", "--set=policy.allow_empty=false")
    assert ran.code == 1
    assert "sources[0].table: " in ran.err


def test_a_day_of_which_where_leaves_nothing_is_a_warning(world: World) -> None:
    world.put("tables/day=29/t.csv", "file_name,n\na.png,0\n")
    ran = today(world, "tables/day=29/*.csv")
    assert (ran.code, ran.report["sources"][0]["filtered"]) == (0, 1)
    assert ("source.empty", "warning", "`where` leaves out all of its 1 rows") in warnings(ran)


def test_a_column_that_a_table_without_rows_does_not_have_is_still_a_fault(world: World) -> None:
    world.put("tables/day=30/t.csv", "file_name,m\n")
    ran = today(world, "tables/day=30/*.csv")
    assert ran.code == 2
    assert "has no column n" in ran.err
