"""An inferred type stays, and whoever meets it is told where it is from and how to change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import World

WIDEN = ("--set", "schema={infer: {widen: true}}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in range(3):
        made.put(f"data/{number}.png", b"image")
    made.job = {"input": "data", "sources": [{"table": "t.jsonl"}]}
    made.write_job()
    return made


def table(world: World, *values: Any) -> None:
    rows = ({"file_name": f"{number}.png", "speed": value} for number, value in enumerate(values))
    world.put("t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def schema(world: World) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((world.data / ".lightly/metadata/schema.json").read_text())
    return entries


def bodies(world: World) -> list[str]:
    return [(world.data / f".lightly/metadata/{n}.json").read_text() for n in range(3)]


def found(report: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [one for one in report["finding_examples"] if one["code"] == code]


@pytest.mark.parametrize(
    ("yesterday", "today", "kind", "way"),
    [
        ([12, 7, 3], [12, 7, 2.5], "NUMERIC_INT", "schema: {infer: {widen: true}}"),
        (["NA", "7", "3"], [1, 2, 3], "CATEGORICAL_STRING", "give the entry another type"),
        ([1.5, 2.5, 3.5], ["x", "y", "z"], "NUMERIC_FLOAT", "give the entry another type"),
        ([True, False, True], [1, 2, 3], "CATEGORICAL_BOOLEAN", "give the entry another type"),
    ],
)
def test_the_finding_names_the_entry_and_who_inferred_it(
    world: World, yesterday: list[Any], today: list[Any], kind: str, way: str
) -> None:
    table(world, *yesterday)
    assert world.run("sync", "job.yaml").code == 0
    table(world, *today)
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5
    advice = found(ran.report, "value.type")[0]["advice"]
    assert f"an earlier run inferred the schema entry speed as {kind}" in advice
    assert way in advice


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_widen_makes_a_float_of_an_inferred_integer(world: World, command: str) -> None:
    table(world, 12, 7, 3)
    assert world.run("sync", "job.yaml").code == 0
    table(world, 12, 7, 2.5)
    before = world.tree()
    ran = world.run(command, "job.yaml", *WIDEN, "--format", "json")
    assert ran.code == 0, ran.err
    (told,) = found(ran.report, "schema.changed")
    assert "the entry speed, which an earlier run inferred, is widened" in told["message"]
    assert "3 documents are written again with it (12 becomes 12.0)" in told["message"]
    assert [edit["path"] for edit in ran.report["schema"]["changed"]] == ["speed"]
    if command == "plan":
        assert world.tree() == before
        return
    assert schema(world) == [
        {"name": "speed", "path": "speed", "defaultValue": 0.0, "valueDataType": "NUMERIC_FLOAT"}
    ]
    assert [json.loads(body)["metadata"]["speed"] for body in bodies(world)] == [12.0, 7.0, 2.5]
    assert '"speed":12.0' in bodies(world)[0]
    again = world.run("sync", "job.yaml", *WIDEN, "--format", "json")
    assert (again.code, again.report["documents"]["update"], again.report["schema"]["written"]) == (
        0,
        0,
        False,
    )
    # Whole numbers alone do not change it back.
    table(world, 12, 7, 3)
    assert world.run("sync", "job.yaml", *WIDEN).code == 0
    assert schema(world)[0]["valueDataType"] == "NUMERIC_FLOAT"


@pytest.mark.parametrize("how", ["default", "name", "state"])
def test_an_entry_that_somebody_edited_or_nobody_remembers_stays(world: World, how: str) -> None:
    table(world, 12, 7, 3)
    assert world.run("sync", "job.yaml").code == 0
    if how == "state":
        (world.data / ".metaferry/inferred.json").unlink()
    else:
        key = {"default": "defaultValue", "name": "name"}[how]
        edited = [{**schema(world)[0], key: 1 if how == "default" else "Speed"}]
        world.put("data/.lightly/metadata/schema.json", json.dumps(edited))
    before = schema(world)
    table(world, 12, 7, 2.5)
    ran = world.run("sync", "job.yaml", *WIDEN, "--format", "json")
    assert (ran.code, schema(world)) == (5, before)
    advice = found(ran.report, "value.type")[0]["advice"]
    assert "that a run inferred it is not known, so widen leaves it" in advice


def test_no_other_type_changes_by_itself(world: World) -> None:
    table(world, True, False, True)
    assert world.run("sync", "job.yaml").code == 0
    before = schema(world)
    table(world, 1.5, 2.5, 3)
    assert world.run("sync", "job.yaml", *WIDEN).code == 5
    assert schema(world) == before


def test_fractions_in_rows_that_are_not_used_widen_nothing(world: World) -> None:
    table(world, 12, 7, 3, 2.5)  # the last names no media
    assert world.run("sync", "job.yaml", *WIDEN).code == 0
    assert world.run("sync", "job.yaml", *WIDEN).code == 0
    table(world, 12, 7, 3)
    assert world.run("sync", "job.yaml", *WIDEN).code == 0


def test_a_document_that_would_not_be_rewritten_stops_it(world: World) -> None:
    table(world, 12, 7, 3)
    assert world.run("sync", "job.yaml").code == 0
    before = schema(world)
    table(world, 2.5)  # the documents of the others stay as they are
    ran = world.run("sync", "job.yaml", *WIDEN, "--format", "json")
    assert (ran.code == 5, schema(world) == before) in ((True, True), (False, False))


def test_a_plan_in_shards_widens_and_remembers(world: World) -> None:
    table(world, 12, 7, 3)
    for values in ([12, 7, 3], [12, 7, 2.5]):
        table(world, *values)
        assert world.run("plan", "job.yaml", *WIDEN, "--out", "kept").code == 0
        assert world.run("sync", "job.yaml", *WIDEN, "--plan", "kept").code == 0
        ended = world.run("finish", "kept", *WIDEN)
        assert ended.code == 0, ended.err
    assert schema(world)[0]["valueDataType"] == "NUMERIC_FLOAT"
    known = json.loads((world.data / ".metaferry/inferred.json").read_text())
    assert known["entries"] == schema(world)
