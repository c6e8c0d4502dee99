"""`where` and rows that say the same: what is left out is counted, nothing else changes, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import Ran, World
from metaferry.job.model import Job

PARTS = ("used", "rejected", "unmatched", "excluded", "filtered", "repeated")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        made.put(f"data/{name}", b"image")
    made.job = {"input": "data", "sources": [{"table": "tables/t.csv"}]}
    return made


def sync(world: World, table: str, *arguments: str, **source: Any) -> Ran:
    world.put("tables/t.csv", table)
    world.source.update(source)
    world.write_job()
    return world.run("sync", "job.yaml", "--format", "json", *arguments)


def counts(ran: Ran) -> dict[str, int]:
    """What became of the rows of the one source, without zeros; they add up."""
    source = ran.report["sources"][0]
    assert source["read"] == sum(source[part] for part in PARTS)
    return {part: source[part] for part in PARTS if source[part]}


def documents(world: World) -> dict[str, Any]:
    folder = world.data / ".lightly/metadata"
    return {path.stem: json.loads(path.read_bytes())["metadata"] for path in folder.glob("?.json")}


TABLE = "file_name,quality,scene\na.png,0.9,city\nb.png,0.2,tunnel\nc.png,,rural\n"


def test_rows_that_where_leaves_out_are_counted_and_no_rejects(world: World) -> None:
    ran = sync(world, TABLE, where="quality > 0.5")
    assert (ran.code, counts(ran)) == (0, {"used": 1, "filtered": 2})
    assert ran.report["sources"][0]["used_share"] == 1.0
    assert documents(world) == {"a": {"quality": 0.9, "scene": "city"}}
    assert ran.report["rejects"] == {}
    assert "filtered" in world.run("plan", "job.yaml").out


def test_the_document_of_a_filtered_row_is_an_orphan(world: World) -> None:
    assert sync(world, TABLE).code == 0
    assert set(documents(world)) == {"a", "b", "c"}
    world.job["policy"] = {"delete": "orphans", "max_delete": "100%"}
    ran = sync(world, TABLE, where="quality > 0.5 OR scene = 'rural'")
    assert (ran.code, ran.report["documents"]["delete"]) == (0, 1)
    assert set(documents(world)) == {"a", "c"}


def test_expressions_are_computed_for_the_rows_that_are_left_alone(world: World) -> None:
    table = "file_name,kind,value\na.png,number,7\nb.png,text,seven\n"
    ran = sync(world, table, where="kind = 'number'", metadata={"value": "value::INTEGER"})
    assert (ran.code, counts(ran)) == (0, {"used": 1, "filtered": 1})
    assert documents(world) == {"a": {"value": 7}}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"where": "scene::INTEGER > 1"}, ["sources[0].where: it fails for row 2 of", "'city'"]),
        (
            {"where": "scene <> 'city'", "metadata": {"n": "scene::INTEGER"}},
            ["sources[0].metadata.n: it fails for row 3 of", "'tunnel'"],
        ),
        ({"where": "quality"}, ["sources[0].where: a condition is true or false, and this is DOUBLE"]),
        ({"where": "qualty > 1"}, ["has no column qualty", "did you mean quality?", "^"]),
        ({"where": "count(*) > 1"}, ["sources[0].where", "aggregate"]),
        ({"where": ""}, ["sources[0].where: should not be empty"]),
    ],
)
def test_a_condition_that_fails_names_the_row_and_the_place(
    world: World, source: dict[str, Any], says: list[str]
) -> None:
    ran = sync(world, TABLE, **source)
    assert ran.code == 2
    assert [word for word in says if word not in ran.err] == [], ran.err


def test_a_condition_may_be_set_on_the_command_line(world: World) -> None:
    ran = sync(world, TABLE, "--set", "sources[0].where=quality > 0.5")
    assert counts(ran) == {"used": 1, "filtered": 2}


def test_a_table_of_which_where_leaves_nothing_is_a_warning(world: World) -> None:
    ran = sync(world, TABLE, where="quality > 5")
    assert (ran.code, counts(ran)) == (0, {"filtered": 3})
    (finding,) = [one for one in ran.report["finding_examples"] if one["code"] == "source.empty"]
    assert "`where` leaves out all of its 3 rows" in finding["message"]


def test_malformed_rows_are_rejected_whatever_where_says(world: World) -> None:
    ran = sync(world, TABLE + "d.png,1\n", "--set", "policy.max_rejects=1", where="quality > 0.5")
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 1, "filtered": 2})


def test_a_condition_over_cells_that_are_no_value(world: World) -> None:
    ran = sync(world, "file_name,speed\na.png,1\nb.png,NA\nc.png,3\n", where="speed <> 'NA'")
    assert (ran.code, counts(ran)) == (0, {"used": 2, "filtered": 1}), ran.err


def test_the_digest_has_a_condition_only_where_there_is_one() -> None:
    def digest(**source: Any) -> str:
        return Job.from_mapping({"input": "/in", "sources": [{"table": "/t.csv", **source}]}).digest()

    assert digest() != digest(where="x > 1") != digest(where="x > 2")
    assert (
        "where"
        not in Job.from_mapping({"input": "/in", "sources": [{"table": "/t.csv"}]}).sources[0].for_digest()
    )


# -- rows that say the same


def test_rows_that_say_the_same_are_used_once(world: World) -> None:
    ran = sync(world, "file_name,n,s\na.png,1,x\nb.png,2,\na.png,1,x\n./a.png,1.0,x\nb.png,2,\n")
    assert (ran.code, counts(ran)) == (0, {"used": 2, "repeated": 3})
    assert ran.report["sources"][0]["used_share"] == 1.0
    assert documents(world) == {"a": {"n": 1.0, "s": "x"}, "b": {"n": 2.0}}
    (finding,) = [one for one in ran.report["finding_examples"] if one["code"] == "record.repeated"]
    assert (finding["row"], finding["severity"]) == (4, "info")
    assert finding["message"].startswith("3 rows, this one first, say exactly what an earlier row says")
    assert ran.report["rejects"] == {}


def test_rows_that_differ_in_anything_are_rejected_with_those_that_agree(world: World) -> None:
    ran = sync(world, "file_name,n\na.png,1\na.png,1\na.png,\nb.png,3\n", "--set", "policy.max_rejects=3")
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 3})
    assert {row["code"] for row in world.rejects()} == {"record.duplicate"}
    assert [row["row"] for row in world.rejects()] == [2, 3, 4]


def test_zeros_of_two_signs_are_not_the_same(world: World) -> None:
    rows = [{"file_name": "a.png", "n": 0.0}, {"file_name": "a.png", "n": -0.0}]
    world.source["table"] = "tables/t.jsonl"
    world.put("tables/t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    ran = sync(world, "", "--set", "policy.max_rejects=2")
    assert (ran.code, counts(ran)) == (3, {"rejected": 2})


def test_the_same_nested_values_are_the_same(world: World) -> None:
    row = {"file_name": "a.png", "tags": ["x", None], "box": {"w": 1.5, "deep": {"k": [1, 2]}}}
    world.source["table"] = "tables/t.jsonl"
    world.put("tables/t.jsonl", 3 * (json.dumps(row) + "\n"))
    ran = sync(world, "")
    assert (ran.code, counts(ran)) == (0, {"used": 1, "repeated": 2})


def test_rows_with_the_same_fault_are_all_rejected(world: World) -> None:
    sync(world, "file_name,n\na.png,1\n")
    ran = sync(world, "file_name,n\na.png,x\na.png,x\nb.png,1\nb.png,1\n", "--set", "policy.max_rejects=2")
    assert (ran.code, counts(ran)) == (3, {"used": 1, "rejected": 2, "repeated": 1})
    assert [(row["row"], row["code"]) for row in world.rejects()] == [(2, "value.type"), (3, "value.type")]


def test_rows_of_media_that_are_not_meant_are_not_repeated(world: World) -> None:
    world.job["media"] = {"exclude": ["b.png"]}
    ran = sync(world, "file_name,n\na.png,1\nb.png,1\nb.png,1\nno.png,1\nno.png,1\n")
    assert counts(ran) == {"used": 1, "unmatched": 2, "excluded": 2}


def test_a_row_without_a_name_is_told_how_to_leave_it_out(world: World) -> None:
    ran = sync(world, "path,n\na.png,1\n,2\n", file_name="path")
    (finding,) = [one for one in ran.report["finding_examples"] if one["code"] == "record.unnamed"]
    assert finding["advice"] == "give the row a file name, or leave such rows out: where: path <> ''"
    again = sync(world, "path,n\na.png,1\n,2\n", where="path <> ''")
    assert (again.code, counts(again)) == (0, {"used": 1, "filtered": 1})
