"""Kinds of runs whose sources have to make the same documents, whichever readers they have."""

from __future__ import annotations

from typing import Any

from e2e.sources.pages import documents
from e2e.world import World
from metaferry.engines import dask_cluster as cluster


def in_shards(world: World, expected: dict[str, Any]) -> None:
    """A plan in two shards that is applied by two shares and finished; the sync after it changes nothing."""
    assert world.run("plan", "job.yaml", "--out", "kept", "--shards", "2").code == 0
    for share in "01":
        ran = world.run("sync", "job.yaml", "--plan", "kept", "--shard-index", share, "--num-shards", "2")
        assert ran.code == 0, ran.err
    ran = world.run("finish", "kept", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == expected
    again = world.run("sync", "job.yaml", "--format", "json")
    assert (again.code, again.report["documents"]["keep"]) == (0, len(expected)), again.err


def by_dask(world: World, expected: dict[str, Any]) -> None:
    """A sync by a worker of Dask that is a process of its own."""
    distributed = cluster._import()
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    )
    with local as workers:
        engine = f"dask={workers.scheduler_address}"
        ran = world.run("sync", "job.yaml", "--engine", engine, "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == expected


def below_a_prefix(world: World, expected: dict[str, Any]) -> list[dict[str, Any]]:
    """A sync of the folder `second/`, then one of all; the sources of the first one's report."""
    ran = world.run("sync", "job.yaml", "--prefix", "second/", "--format", "json")
    assert ran.code == 0, ran.err
    assert documents(world) == {
        path: values for path, values in expected.items() if path.startswith("second/")
    }
    found: list[dict[str, Any]] = ran.report["sources"]
    for source in found:
        assert (source["rejected"], source["unmatched"]) == (0, 0), source
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world) == expected
    return found
