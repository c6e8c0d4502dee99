"""Rejected rows within `max_rejects`: a failure at the end, or a warning (`policy.rejects_fail`)."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from e2e.world import World

PASS = "policy.rejects_fail=false"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("a", "b"):
        made.put(f"data/{name}.png", b"image")
    made.put("tables/t.csv", "file_name,scene\na.png,tunnel\nb.png,city\nb.png,bridge\n")
    made.job = {"input": "data", "sources": [{"table": "tables/t.csv"}], "policy": {"max_rejects": 5}}
    made.write_job()
    return made


def written(world: World) -> set[str]:
    folder = world.data / ".lightly/metadata"
    return {path.name for path in folder.glob("*.json")}


@pytest.mark.parametrize(("more", "code"), [((), 3), (("--set", PASS), 0)])
def test_the_policy_says_whether_rejected_rows_fail(world: World, more: tuple[str, ...], code: int) -> None:
    ran = world.run("sync", "job.yaml", "--format", "json", *more)
    report = ran.report
    assert (ran.code, report["exit_code"]) == (code, code)
    assert report["sources"][0]["rejected"] == 2
    assert report["schema"]["written"]
    assert written(world) == {"a.json", "schema.json"}
    assert len(pq.read_table(report["rejects_url"].removeprefix("file://"))) == 2
    warned = "2 rows were rejected, which is no failure: policy.rejects_fail is false"
    assert (warned in ran.err) == (code == 0)


def test_a_kept_plan_ends_as_its_policy_says(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--set", PASS).code == 0
    assert world.run("sync", "job.yaml", "--plan", "kept", "--set", PASS).code == 0
    assert world.run("finish", "kept", "--job", "job.yaml", "--set", PASS, "--format", "json").code == 0
    assert "a.json" in written(world)


def test_a_document_that_cannot_be_written_fails_whatever_the_policy(world: World) -> None:
    (world.data / ".lightly/metadata/a.json").mkdir(parents=True)
    ran = world.run("sync", "job.yaml", "--format", "json", "--set", PASS)
    assert (ran.code, ran.report["documents"]["failed"]) == (3, 1)
