"""What reports say of documents, names and shards is what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in range(62):
        made.put(f"data/{number}.png", b"image")
    rows = "".join(f"{number}.png,{number}\n" for number in range(62) if number not in (10, 11))
    made.put("tables/t.csv", "file_name,n\n" + rows)
    made.job = {"input": "data", "sources": [{"table": "tables/t.csv"}]}
    made.write_job()
    return made


def test_a_document_that_was_deleted_is_said_to_be_deleted(world: World) -> None:
    world.put("data/.lightly/metadata/11.json", "{}")
    world.job["policy"] = {"delete": "orphans", "max_delete": "100%"}
    world.write_job()
    planned = world.run("plan", "job.yaml")
    assert "to be deleted: no row is for it" in planned.out
    ran = world.run("sync", "job.yaml")
    assert "deleted: no row is for it" in ran.out
    assert "to be deleted" not in ran.out


def test_what_limit_leaves_is_not_said_to_be_nobodys(world: World) -> None:
    assert world.run("sync", "job.yaml").code == 0
    for number in (10, 11):
        world.put(f"data/.lightly/metadata/{number}.json", "{}")
    world.job["policy"] = {"delete": "orphans", "max_delete": "100%"}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--limit", "1")
    assert "in place, and not changed by this run" in ran.out
    assert "left in place: beyond --limit (delete)" in ran.out
    assert "a run without --limit deletes it" in ran.out
    assert "policy.delete: orphans would delete it" not in ran.out


def test_a_name_that_cannot_be_written_is_not_said_to_be_excluded(world: World) -> None:
    world.put("data/a\\b.png", b"image")
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert (ran.report["media"]["excluded"], ran.report["media"]["refused"]) == (0, 1)
    assert "1 under names that no document can have" in world.run("plan", "job.yaml").out


def test_finish_names_the_shares_that_are_missing(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "5").code == 0
    plan = ("sync", "job.yaml", "--plan", "kept", "--num-shards", "3")
    assert world.run(*plan, "--shard-index", "1").code == 0
    missing = world.run("finish", "kept")
    assert missing.code == 1
    assert "--num-shards 3 with --shard-index 0, 2" in missing.err
    for index in ("0", "2"):
        assert world.run(*plan, "--shard-index", index).code == 0
    assert world.run("finish", "kept").code == 0


def test_finish_says_how_to_find_the_share_where_none_was_written(world: World) -> None:
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "5").code == 0
    missing = world.run("finish", "kept")
    assert "shard N is of --shard-index N modulo S" in missing.err
