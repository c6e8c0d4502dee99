"""`schema:` as a list: it adds and changes entries by path, names every change, and removes none unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.world import World

SCHEMA = ".lightly/metadata/schema.json"


def entry(path: str, kind: str = "NUMERIC_INT", default: Any = None, name: str = "") -> dict[str, Any]:
    return {"name": name or path, "path": path, "defaultValue": default, "valueDataType": kind}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two folders of images and a table of each: `a` has the key n, `b` the key m."""
    made = World(tmp_path)
    for folder, key in (("a", "n"), ("b", "m")):
        rows = [f"file_name,{key}"]
        for number in range(3):
            made.put(f"data/{folder}/{number}.png", b"image")
            rows.append(f"{folder}/{number}.png,{number}")
        made.put(f"tables/{folder}.csv", "\n".join(rows) + "\n")
    made.job = job_of("a", [entry("n")])
    made.write_job()
    return made


def job_of(folder: str, schema: Any) -> dict[str, Any]:
    return {
        "input": "data",
        "media": {"include": [f"{folder}/**"]},
        "sources": [{"table": f"tables/{folder}.csv"}],
        "schema": schema,
    }


def run(world: World, folder: str, schema: Any, *arguments: str, command: str = "sync") -> Any:
    world.job = job_of(folder, schema)
    world.write_job()
    return world.run(command, "job.yaml", *arguments)


def schema_of(world: World) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((world.data / SCHEMA).read_text())
    return entries


def test_two_jobs_over_disjoint_media_do_not_take_each_others_entries(world: World) -> None:
    assert run(world, "a", [entry("n")]).code == 0
    assert run(world, "b", [entry("m")]).code == 0
    both = [entry("n"), entry("m")]
    assert schema_of(world) == both
    before = world.tree()
    for folder, key in (("a", "n"), ("b", "m")) * 2:
        ran = run(world, folder, [entry(key)], "--format", "json")
        assert (ran.code, ran.report["schema"]["written"]) == (0, False)
    assert world.tree() == before


def test_what_changes_in_an_entry_is_shown_old_and_new(world: World) -> None:
    run(world, "a", [entry("n")])
    given = [entry("n", default=7, name="Number")]
    plan = run(world, "a", given, command="plan")
    assert 'changed: n: name "n" → "Number", defaultValue null → 7' in plan.out
    report = run(world, "a", given, "--format", "json").report
    assert report["schema"]["changed"] == [{"path": "n", "before": entry("n"), "after": given[0]}]
    assert report["findings"]["schema.changed"] == 1
    assert schema_of(world) == given


def test_a_path_to_a_schema_file_means_the_list_that_is_in_it(world: World) -> None:
    run(world, "a", [entry("n")])
    world.put("entries.json", json.dumps([entry("m")]))
    assert run(world, "b", "entries.json").code == 0
    assert schema_of(world) == [entry("n"), entry("m")]
    assert run(world, "b", {"entries": "entries.json", "exact": True}).code == 0
    assert schema_of(world) == [entry("m")]


def test_exact_removes_and_says_what(world: World) -> None:
    run(world, "a", [entry("n"), entry("x", "CATEGORICAL_STRING", "?")])
    exact = {"entries": [entry("n")], "exact": True}
    plan = run(world, "a", exact, command="plan")
    assert "removed: x" in plan.out
    ran = run(world, "a", exact, "--format", "json")
    assert ran.report["schema"]["removed"] == ["x"]
    assert schema_of(world) == [entry("n")]


def test_exact_can_be_set_over_the_file(world: World) -> None:
    run(world, "a", [entry("n"), entry("x")])
    ran = run(world, "a", {"entries": [entry("n")]}, "--set", "schema.exact=true")
    assert ran.code == 0
    assert schema_of(world) == [entry("n")]
    bad = run(world, "a", {"entries": [entry("n")]}, "--set", "schema.exact=maybe")
    assert bad.code == 2
    assert "should be true or false" in bad.err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([entry("m", name="n")], "the name 'n' of m is that of n"),
        ([entry("m"), entry("n.deep")], "n.deep and n, which is in place, cannot both hold a value"),
    ],
)
def test_an_entry_that_cannot_stand_beside_one_in_place_stops_the_run(
    world: World, given: list[dict[str, Any]], words: str
) -> None:
    run(world, "a", [entry("n")])
    before = world.tree()
    ran = run(world, "b", given)
    assert ran.code == 2
    assert words in ran.err
    assert "exact: true" in ran.err
    assert world.tree() == before


# -- another type, and the documents in place


def test_another_type_stops_where_documents_of_another_job_do_not_fit(world: World) -> None:
    run(world, "a", [entry("n")])
    before = world.tree()
    for command in ("plan", "sync"):
        ran = run(world, "b", [entry("m"), entry("n", "CATEGORICAL_STRING")], command=command)
        assert ran.code == 5
        assert "3 documents in place would not fit the new schema.json" in ran.out
        assert "n is 0 in this document, which is no CATEGORICAL_STRING" in ran.out
        assert world.tree() == before


def test_another_type_passes_where_the_documents_in_place_fit_it(world: World) -> None:
    run(world, "a", [entry("n")])
    ran = run(world, "b", [entry("m"), entry("n", "NUMERIC_FLOAT")], "--format", "json")
    assert ran.code == 0
    assert schema_of(world) == [entry("n", "NUMERIC_FLOAT"), entry("m")]


def test_another_type_passes_where_this_run_writes_the_documents(world: World) -> None:
    run(world, "a", [entry("n")])
    world.source["metadata"] = {}
    world.job = job_of("a", [entry("n", "CATEGORICAL_STRING")])
    world.source["metadata"] = {"n": "n::VARCHAR"}
    world.write_job()
    assert world.run("sync", "job.yaml", "--limit", "2").code == 5  # one would stay a number
    assert world.run("sync", "job.yaml").code == 0
    assert schema_of(world) == [entry("n", "CATEGORICAL_STRING")]


def test_a_new_entry_is_held_to_the_documents_in_place_too(world: World) -> None:
    world.put(
        "data/.lightly/metadata/b/9.json", '{"file_name":"b/9.png","type":"image","metadata":{"n":"x"}}'
    )
    ran = run(world, "a", [entry("n")])
    assert ran.code == 5
    assert 'n is "x" in this document, which is no NUMERIC_INT' in ran.out


def test_another_type_is_not_given_to_documents_that_were_not_listed(world: World) -> None:
    run(world, "a", [entry("n")])
    given = [entry("n", "NUMERIC_FLOAT")]
    ran = run(world, "a", given, "--prefix", "a/")
    assert ran.code == 5
    assert "documents outside a/ were not read" in ran.out
    assert run(world, "a", given).code == 0


def test_where_only_a_part_was_read_a_finding_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world, "a", [entry("n")])
    monkeypatch.setattr("metaferry.runs.schema_fit.MOST_READ", 2)
    ran = run(world, "b", [entry("m"), entry("n", "NUMERIC_FLOAT")])
    assert ran.code == 0
    assert "2 of 3 documents that stay as they are were read: all fit" in ran.out


def test_a_plan_in_shards_has_the_same_schema_and_says_the_same(world: World) -> None:
    run(world, "a", [entry("n")])
    given = [entry("m"), entry("n", default=1)]
    world.job = job_of("b", given)
    world.write_job()
    assert world.run("plan", "job.yaml", "--out", "kept").code == 0
    for index in ("0", "1"):
        ran = world.run("sync", "job.yaml", "--plan", "kept", "--shard-index", index, "--num-shards", "2")
        assert ran.code == 0
    assert schema_of(world) == [entry("n")]
    ended = world.run("finish", "kept", "--format", "json")
    assert ended.code == 0
    assert [edit["path"] for edit in ended.report["schema"]["changed"]] == ["n"]
    assert schema_of(world) == [entry("n", default=1), entry("m")]
