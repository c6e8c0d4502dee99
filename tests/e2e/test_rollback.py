"""`metaferry rollback` as a user runs it: on a local folder, with worker processes, and on real stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.world import Ran, World
from metaferry.job.model import Job
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from servers.datasource import FreshDatasource

TABLES = (
    ("name,scene", "a.png,city", "b.png,road", "c.png,park"),
    ("name,scene,speed", "a.png,city,1", "b.png,tunnel,2", "d.png,lake,3"),
)


def a_world(root: Path, **job: Any) -> World:
    """Images with documents of the first table, and the second one in its place."""
    world = World(
        root,
        {
            "input": "data",
            "sources": [{"table": "labels.csv", "file_name": "name"}],
            "policy": {"delete": "orphans", "max_delete": "100%"},
            "backup": {"keep": "30d"},
            **job,
        },
    )
    for name in "abcd":
        world.put(f"data/{name}.png", b"any bytes")
    world.write_job()
    world.put("labels.csv", "\n".join(TABLES[0]) + "\n")
    assert world.run("sync", "job.yaml", "-q").code == 0
    world.put("labels.csv", "\n".join(TABLES[1]) + "\n")
    return world


def bytes_of(world: World) -> dict[str, bytes]:
    return {name: data for name, (data, _) in world.tree().items()}


def test_a_user_takes_a_run_back(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    before = bytes_of(world)
    planned = world.run("plan", "job.yaml", "-q")
    assert "3 old versions" in planned.out
    assert "would be kept first, by 5 get and 2 put" in planned.out
    synced = world.run("sync", "job.yaml", "-q")
    run_id = world.run_folders()[-1].name
    assert f"undo: metaferry rollback JOB --run {run_id}" in synced.out

    def roll_back(*more: str) -> Ran:
        return world.run("rollback", "job.yaml", "--run", run_id, "-q", *more)

    left = bytes_of(world)
    plan = roll_back()
    assert plan.code == 0
    assert "With --apply it would write 3 documents" in plan.out
    assert "and delete 1 document, by about" in plan.out
    assert "schema.json would be as it was before the run" in plan.out
    assert bytes_of(world) == left

    done = roll_back("--apply")
    assert done.code == 0
    assert "Done: everything is as it was before that run." in done.out
    assert "the next sync makes these changes again" in done.out
    assert bytes_of(world) == before
    assert "Nothing to roll back: everything is as it was before that run." in roll_back("--apply").out

    # As docs/operations.md says of the next sync.
    assert world.run("sync", "job.yaml", "-q").code == 0
    assert bytes_of(world) == left


def test_conflicts_are_named_in_both_forms(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    report = world.run("sync", "job.yaml", "-q", "--format", "json").report
    target = f"{DOCUMENTS}b.json"
    world.put(f"data/{target}", b"theirs")
    command = ("rollback", "job.yaml", "--run", report["run_id"], "--apply", "-q")
    as_json = world.run(*command, "--format", "json")
    assert as_json.code == as_json.report["exit_code"] == 3
    assert as_json.report["documents"]["conflict"] == 1
    assert [finding["target"] for finding in as_json.report["finding_examples"]] == [target]
    again = world.run(*command)
    assert again.code == 3
    assert f"{target}: changed since the run; left as it is" in again.out
    assert (world.data / target).read_bytes() == b"theirs"


def test_a_run_without_a_backup_is_a_usage_error(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    known = world.run("sync", "job.yaml", "-q", "--format", "json").report["run_id"]
    refused = world.run("rollback", "job.yaml", "--run", "20200101T000000Z-1")
    assert refused.code == 2
    assert "there is no run '20200101T000000Z-1'" in refused.err
    assert f"runs that can be rolled back: {known}" in refused.err


@pytest.mark.parametrize("plan", [False, True], ids=["a run", "a plan in shards"])
def test_workers_write_only_what_is_kept(tmp_path: Path, plan: bool) -> None:
    """The documents are written by processes of their own; with a plan they keep the old versions, too."""
    world = a_world(tmp_path, workers=2)
    before = bytes_of(world)
    if plan:
        assert world.run("plan", "job.yaml", "-q", "--out", "plan", "--shards", "3").code == 0
        synced = world.run("sync", "job.yaml", "-q", "--plan", "plan", "--format", "json")
    else:
        synced = world.run("sync", "job.yaml", "-q", "--format", "json")
    assert synced.code == 0
    assert synced.report["documents"]["delete"] == 1
    run_id = synced.report["run_id"]
    kept = sorted(path.name for path in (world.data / ".metaferry/backup" / run_id).glob("*.json"))
    assert len(kept) >= 3 if plan else kept == ["all.json"]
    rolled = world.run("rollback", "job.yaml", "--run", run_id, "--apply", "-q")
    assert rolled.code == 0, rolled.out
    assert bytes_of(world) == before


def test_shares_of_a_plan_and_its_end_keep_what_they_overwrite(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    before = bytes_of(world)
    assert world.run("plan", "job.yaml", "-q", "--out", "plan", "--shards", "4").code == 0
    for index in ("0", "1"):
        share = ("--plan", "plan", "--num-shards", "2", "--shard-index", index)
        assert world.run("sync", "job.yaml", "-q", *share).code == 0
    finished = world.run("finish", "plan", "-q", "--format", "json")
    assert finished.code == 0
    assert finished.report["documents"]["delete"] == 1
    rolled = world.run("rollback", "job.yaml", "--run", finished.report["run_id"], "--apply", "-q")
    assert rolled.code == 0, rolled.out
    assert bytes_of(world) == before


@pytest.mark.slow
def test_the_workers_of_dask_keep_what_they_overwrite(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    before = bytes_of(world)
    synced = world.run("sync", "job.yaml", "-q", "--engine", "dask", "--format", "json")
    assert synced.code == 0
    assert synced.report["documents"]["delete"] == 1
    rolled = world.run("rollback", "job.yaml", "--run", synced.report["run_id"], "--apply", "-q")
    assert rolled.code == 0, rolled.out
    assert bytes_of(world) == before


@pytest.mark.servers
@pytest.mark.parametrize("kind", ["fast_s3", "gcs", "azure"])
def test_every_store_is_as_it_was(fresh_datasource: FreshDatasource, kind: str, tmp_path: Path) -> None:
    """Where documents are read, replaced and deleted under conditions, by each store's own client."""
    url, options = fresh_datasource(kind)
    table = tmp_path / "labels.csv"
    with Portal() as portal:
        lightly = open_storage(url, options)
        try:
            for name in "abcd":
                portal.run(lightly.put(f"{name}.png", b"any bytes"))
            job = Job.from_mapping(
                {
                    "input": {"url": url, "options": options},
                    "sources": [{"table": str(table), "file_name": "name"}],
                    "policy": {"delete": "orphans", "max_delete": "100%"},
                    "backup": "30d",
                }
            )
            table.write_text("\n".join(TABLES[0]) + "\n")
            assert metaferry.sync(job).exit_code == 0
            before = documents(lightly, portal)
            table.write_text("\n".join(TABLES[1]) + "\n")
            run = metaferry.sync(job)
            assert (run.documents.create, run.documents.update, run.documents.delete) == (1, 2, 1)
            left = documents(lightly, portal)
            rolled = metaferry.rollback(job, run.run_id, apply=True)
            assert (rolled.exit_code, rolled.schema, rolled.findings) == (0, "restore", {})
            assert documents(lightly, portal) == before
            again = metaferry.sync(job)
            assert again.documents == run.documents
            assert "document.modified_externally" not in again.findings
            assert documents(lightly, portal) == left
        finally:
            portal.run(lightly.close())


def documents(storage: Storage, portal: Portal) -> dict[str, bytes]:
    async def read() -> dict[str, bytes]:
        return {
            entry.path: (await storage.read(entry.path)).data
            async for page in storage.list(DOCUMENTS)
            for entry in page
        }

    found = portal.run(read())
    assert SCHEMA in found
    return found
