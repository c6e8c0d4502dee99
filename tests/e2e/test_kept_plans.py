"""A plan that is kept in the state folder: applied by the URL that is shown, and gone with its run."""

from __future__ import annotations

from pathlib import Path

import pytest

import metaferry
from e2e.world import World
from metaferry import Job
from metaferry.errors import UsageError
from metaferry.runs.sharded.plan_files import kept_location, plan_location


def a_world(root: Path) -> World:
    world = World(
        root,
        {
            "input": "data",
            "sources": [{"table": "labels.csv", "file_name": "name"}],
            "keep_runs": 1,
        },
    )
    for name in "abcd":
        world.put(f"data/{name}.png", b"any bytes")
    world.write_job()
    label(world, "city")
    return world


def label(world: World, scene: str) -> None:
    world.put("labels.csv", "name,scene\n" + "".join(f"{name}.png,{scene}\n" for name in "abcd"))


def plans(world: World) -> list[str]:
    return sorted(path.parent.parent.name for path in world.data.glob(".metaferry/runs/*/plan/plan.json"))


def documents(world: World) -> dict[str, bytes]:
    return {key: data for key, (data, _) in world.tree().items()}


def test_the_url_that_plan_shows_is_the_one_to_apply(tmp_path: Path) -> None:
    world, plain = a_world(tmp_path / "kept"), a_world(tmp_path / "plain")
    assert plain.run("sync", "job.yaml", "-q").code == 0

    planned = world.run("plan", "job.yaml", "--keep", "--shards", "2", "--format", "json").report
    url = planned["report_url"]
    assert plans(world) == [planned["run_id"]]
    assert documents(world) == {}
    for index in range(2):
        share = ("--num-shards", "2", "--shard-index", str(index))
        assert world.run("sync", "job.yaml", "--plan", url, *share, "-q").code == 0
    assert world.run("finish", url, "-q").code == 0
    assert documents(world) == documents(plain)
    again = world.run("finish", url)
    assert again.code == 0
    assert "was finished at" in again.err


def test_a_plan_is_applied_whole_by_the_printed_command(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    printed = world.run("plan", "job.yaml", "--keep", "-q").out
    (command,) = [line.strip() for line in printed.splitlines() if "Apply it: " in line]
    words = command.removeprefix("Apply it: metaferry ").split()
    assert world.run(*[word.replace("JOB", "job.yaml") for word in words], "-q").code == 0
    assert len(documents(world)) == 5


def test_a_finished_plan_goes_with_its_run_and_one_that_waits_stays(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    job = world.root / "job.yaml"
    applied = metaferry.plan(job, keep=True)
    metaferry.sync(job, plan=applied.report_url)
    label(world, "market")
    waiting = metaferry.plan(job, keep=True)
    assert plans(world) == sorted([applied.run_id, waiting.run_id])
    assert metaferry.sync(job).changes == 4
    assert plans(world) == [waiting.run_id], "keep_runs is 1, and that run is the one"
    assert not (world.data / ".metaferry/runs" / applied.run_id / "plan").exists()


def test_a_plan_that_waits_is_no_run_that_was_cut_off(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    job = world.root / "job.yaml"
    metaferry.sync(job)
    metaferry.plan(job, keep=True)
    again = metaferry.sync(job)
    assert (again.changes, again.documents.keep) == (0, 4)
    refused = world.run("rollback", "job.yaml", "--run", plans(world)[0])
    assert refused.code == 2
    assert "there is no run" in refused.err


@pytest.mark.parametrize("given", [{"keep": True, "out": "plan"}, {"shards": 2}])
def test_where_a_plan_is_kept_is_said_once(tmp_path: Path, given: dict[str, object]) -> None:
    world = a_world(tmp_path)
    with pytest.raises(UsageError) as caught:
        metaferry.plan(world.root / "job.yaml", **given)  # type: ignore[arg-type]
    assert "give keep" in f"{caught.value.message} {caught.value.advice}"
    assert plans(world) == []


@pytest.mark.parametrize(
    "lightly",
    [
        "https://acc.blob.core.windows.net/c/p?sv=1&sig=canary",
        "az://c/p?sv=1&sig=canary",
        "abfss://c@acc.dfs.core.windows.net/p/?sv=1&sig=canary",
        "s3://bucket/a?b",
    ],
)
def test_a_plan_that_is_named_without_the_signature_is_found_with_it(lightly: str) -> None:
    job = Job.from_mapping({"input": lightly, "sources": [{"table": "/t.csv", "file_name": "name"}]})
    kept = kept_location(job, "20261128T070000Z-0a1b2c3d")
    place, mark, query = lightly.partition("?") if "sig" in lightly else (lightly, "", "")
    below = f"{place.rstrip('/')}/.metaferry/runs/20261128T070000Z-0a1b2c3d/plan"
    assert (kept.shown, kept.url) == (below, f"{below}{mark}{query}")
    assert plan_location(job, kept.shown) == kept
