"""Shards written by processes of this machine and by Dask: workers die, runs stop, the tree is the same."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import job_mapping, read_folder
from e2e.stores import DOCUMENT, Store
from e2e.test_killed import (
    PART,
    PART_DOCUMENTS,
    documents_below,
    job_file,
    part,
    running,
    wait_until,
)
from e2e.world import CANARIES, World
from metaferry import Job, ShardsMissing
from metaferry.demo import DemoDataset, make_dataset
from metaferry.engines import dask_cluster as cluster
from metaferry.engines.pool import start_worker
from metaferry.errors import JobError, UsageError
from metaferry.lightly.document import md5_hex
from metaferry.lightly.names import SCHEMA
from metaferry.runs.sharded.task import task_for, write_shard
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Rule, proxy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def clean(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tree that a plain sync leaves."""
    folder = tmp_path_factory.mktemp("clean") / "demo"
    shutil.copytree(made, folder)
    dataset = make_dataset(folder)
    metaferry.sync(Job.from_mapping(job_mapping(dataset, str(dataset.media), {})))
    return read_folder(dataset.media)


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


@pytest.fixture
def store(fresh_datasource: FreshDatasource, portal: Portal, made: Path, request: Any) -> Iterator[Store]:
    url, options = fresh_datasource("s3")
    server = request.getfixturevalue("s3_server")
    with proxy(server.endpoint) as before:
        store = Store("s3", url, options, before, portal, server)
        dataset = make_dataset(made)
        names = [*dataset.images, *(name for name in dataset.videos if name.startswith("videos/rear/"))]
        store.put_all({name: (dataset.media / name).read_bytes() for name in names})
        yield store
        store.close()


def s3_job(folder: Path, store: Store, made: Path, **changes: Any) -> Path:
    mapping = job_mapping(make_dataset(made), store.url, {}) | {"media": PART, "concurrency": 2}
    return job_file(folder, mapping | {"storage": {"s3": store.options}} | changes)


@contextlib.contextmanager
def two_dask_workers() -> Iterator[Any]:
    """A cluster of two processes, and a client of it that tells their process ids."""
    distributed = cluster._import()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as running,
        distributed.Client(running, set_as_default=False) as client,
    ):
        yield client


def fetched(store: Store) -> Counter[int]:
    """How often the rows of each shard were read: once an attempt at it."""
    asked = [each.key for each in store.proxy.requests if each.method == "GET"]
    found = [re.search(r"shard(?:%3D|=)(\d+)/", key) for key in asked]
    return Counter(int(shard[1]) for shard in found if shard)


class InTheMiddle(Rule):
    """Slows every document down until two shards are under way, both far from their end; then it acts."""

    act: Callable[[], None]

    def __init__(self, shards: int) -> None:
        super().__init__("wait", "PUT", DOCUMENT, times=1_000_000, seconds=0.05)
        self._shards = shards
        self._seen: Counter[int] = Counter()
        self.acted = False

    def matches(self, method: str, key: str, headers: Mapping[str, str]) -> bool:
        if self.acted or not super().matches(method, key, headers):
            return False
        target = key[key.index(".lightly/") :].partition("?")[0]
        self._seen[int(md5_hex(target.encode())[:8], 16) % self._shards] += 1
        under_way = [shard for shard, count in self._seen.items() if 3 <= count <= 30]
        if len(under_way) == 2:
            self.acted = True
            self.act()
        return True


# -- Dask


@pytest.mark.servers
@pytest.mark.slow
def test_a_dask_worker_is_killed_and_only_its_shards_run_again(
    store: Store, made: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = s3_job(tmp_path, store, made)
    plan = f"{store.url}.plans/1"
    metaferry.plan(job, out=plan, shards=4)
    with two_dask_workers() as client:
        pids = client.run(os.getpid)
        victim = next(iter(pids.values()))
        rule = InTheMiddle(4)
        rule.act = lambda: os.kill(victim, signal.SIGKILL)
        store.spoil(rule)
        report = metaferry.sync(job, plan=plan, engine=f"dask={client.scheduler.address}")
        assert rule.acted, "it was killed in the middle"
        assert victim not in client.run(os.getpid).values()
    assert (report.exit_code, report.documents.create) == (0, PART_DOCUMENTS)
    assert report.documents.failed == report.documents.conflict == 0
    tries = fetched(store)
    assert sorted(tries.values()) == [1, 1, 1, 2], "only the shard that it was writing is run again"
    assert store.documents() == part(clean)
    third = metaferry.sync(job)
    assert (third.exit_code, third.changes, third.schema.written) == (0, 0, False)
    assert third.documents.keep == PART_DOCUMENTS


@pytest.mark.slow
@pytest.mark.servers
def test_a_whole_sync_by_dask_that_is_stopped_goes_on(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    """`--engine dask` alone is a cluster of processes here; its plan lies in the state folder."""
    job = job_file(
        dataset.root,
        job_mapping(dataset, str(dataset.media), {}) | {"concurrency": 1, "workers": 2},
    )
    with running(job, "--engine", "dask") as process:
        wait_until(lambda: documents_below(dataset.media) >= 100, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err
    report = json.loads(out)
    assert report["exit_code"] == 143
    assert report["documents"]["deferred"] > 0
    left = read_folder(dataset.media)
    assert left.items() <= clean.items()
    assert SCHEMA not in left
    again = World(dataset.root).run_process("sync", str(job), "--engine", "dask", "--format", "json")
    assert (again.code, again.report["exit_code"]) == (0, 0)
    counts = again.report["documents"]
    assert counts["create"] + counts["update"] + counts["keep"] == len(clean) - 1
    assert counts["keep"] == report["documents"]["create"], "what was marked as done is in the ledger"
    assert again.report["findings"].get("document.modified_externally", 0) == 0
    assert read_folder(dataset.media) == clean
    run = dataset.media / ".metaferry/runs" / again.report["run_id"]
    assert not (run / "plan").exists() or not list((run / "plan").rglob("*.parquet"))
    assert metaferry.sync(job).changes == 0
    assert not (dataset.media / ".metaferry/lease.json").exists()


def test_nobody_at_the_address(dataset: DemoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 0.2)
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}))
    with pytest.raises(UsageError, match="no scheduler answers at tcp"):
        metaferry.sync(job, engine="dask=tcp://127.0.0.1:9")
    assert documents_below(dataset.media) == 0


def test_memory_cannot_be_divided(dataset: DemoDataset) -> None:
    mapping = job_mapping(dataset, str(dataset.media), {}) | {"lightly": "memory://engines"}
    with pytest.raises(UsageError, match="in the memory of one process"):
        metaferry.sync(Job.from_mapping(mapping), engine="dask")


# -- processes of this machine


def test_a_process_that_dies_costs_its_shard_alone(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def noting(*arguments: str) -> Any:
        pipe, process = start_worker(*arguments)
        pids.append(process.pid)
        return pipe, process

    monkeypatch.setattr("metaferry.engines.pool.start_worker", noting)
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"workers": 2, "media": PART})
    metaferry.plan(job, out=tmp_path / "plan", shards=8)

    class Killing:
        """Progress that kills the first worker when the first shard is done."""

        def phase(self, name: str, total: int | None) -> None: ...

        def note(self, text: str) -> None: ...

        def advance(self, count: int, size: int = 0) -> None:
            if len(pids) == 2:
                os.kill(pids[0], signal.SIGKILL)

    report = metaferry.sync(job, plan=tmp_path / "plan", progress=Killing())
    assert (report.exit_code, report.documents.create) == (0, PART_DOCUMENTS)
    assert len(pids) == 3
    assert metaferry.sync(job).changes == 0
    assert read_folder(dataset.media) == part(clean)


def test_a_shard_that_nobody_can_write_is_named(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_file(dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"workers": 2, "media": PART})
    metaferry.plan(job, out=tmp_path / "plan", shards=4)
    [file] = (tmp_path / "plan/shard=002").iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    with pytest.raises(ShardsMissing, match=r"1 of its 4 shard is not done: 2 \(.*not the file") as caught:
        metaferry.sync(job, plan=tmp_path / "plan")
    assert caught.value.shards == (2,)
    assert SCHEMA not in read_folder(dataset.media)
    file.write_bytes(good)
    assert metaferry.sync(job, plan=tmp_path / "plan").exit_code == 0
    assert read_folder(dataset.media) == part(clean)


def test_workers_of_a_run_that_is_stopped_drain(
    dataset: DemoDataset, clean: dict[str, bytes], tmp_path: Path
) -> None:
    job = job_file(
        dataset.root, job_mapping(dataset, str(dataset.media), {}) | {"workers": 2, "concurrency": 2}
    )
    metaferry.plan(job, out=tmp_path / "plan", shards=4)
    with running(job, "--plan", str(tmp_path / "plan")) as process:
        wait_until(lambda: documents_below(dataset.media) >= 100, process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (143, False)
    report = json.loads(out)
    assert report["documents"]["create"] + report["documents"]["deferred"] == len(clean) - 1
    again = metaferry.sync(job, plan=tmp_path / "plan")
    assert (again.exit_code, again.documents.create) == (0, len(clean) - 1)
    assert read_folder(dataset.media) == clean
    assert metaferry.sync(job).changes == 0


# -- what a worker is told


def test_an_order_shows_no_secret(dataset: DemoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = job_mapping(dataset, str(dataset.media), {})
    plain = Job.from_mapping(mapping | {"storage": {"s3": {"secret": CANARIES[1]}}})
    monkeypatch.setenv("CANARY", CANARIES[1])
    variable = Job.from_mapping(mapping | {"storage": {"s3": {"secret": "${CANARY}"}}})
    for job in (plain, variable):
        order = task_for(job, "s3://b/plan", 3, run_id="r", scope="b", share=2, alone=True)
        assert CANARIES[1] not in repr(order)
    assert CANARIES[1] not in str(order.job), "a variable travels as it was written"
    monkeypatch.delenv("CANARY")
    with pytest.raises(JobError, match=r"on the worker .*CANARY is not set"):
        write_shard(order)


def test_a_rate_is_for_all_of_them_together(dataset: DemoDataset) -> None:
    job = Job.from_mapping(job_mapping(dataset, str(dataset.media), {}) | {"max_rate": 100})
    here = task_for(job, "plan", 0, run_id="r", scope="b", share=4, alone=False)
    there = task_for(job, "plan", 0, run_id="r", scope="b", share=4, alone=True)
    assert (here.concurrency, here.max_rate) == (64, 25)
    assert (there.concurrency, there.max_rate) == (256, 25)
