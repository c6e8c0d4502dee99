"""Documents written by several processes: the same tree, the same report, and none outlives the run."""

from __future__ import annotations

import errno
import os
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import Popen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from metaferry.apply.outcome import Applied, Tally
from metaferry.demo import make_dataset
from metaferry.engines import pool
from metaferry.engines.writers import Opening, write_in_processes
from metaferry.errors import MetaferryError, NotFound
from metaferry.job.model import Job
from metaferry.lightly.document import md5_hex
from metaferry.lightly.names import SCHEMA
from metaferry.progress import Stop
from metaferry.storage.counts import RequestCounts
from metaferry.storage.rates import RateHistory


@dataclass
class WriterPool:
    """One call of `write_in_processes` on a local folder, and what it reported."""

    root: Path
    tally: Tally = field(default_factory=Tally)
    rows: list[Applied] = field(default_factory=list)
    requests: RequestCounts = field(default_factory=RequestCounts)
    stop: Stop = field(default_factory=Stop)

    def plan(self, count: int, shards: int = 8) -> Path:
        plan = self.root / f"plan-{uuid.uuid4()}"
        for shard in range(shards):
            names = [f"doc-{n:05d}.json" for n in range(shard, count, shards)]
            bodies = [f'{{"name":"{name}"}}' for name in names]
            columns = {
                "target": names,
                "action": ["create"] * len(names),
                "body": bodies,
                "md5": [md5_hex(body.encode()) for body in bodies],
                "expect": pa.nulls(len(names), pa.string()),
            }
            (plan / f"shard={shard:03d}").mkdir(parents=True)
            pq.write_table(pa.table(columns), plan / f"shard={shard:03d}/data_0.parquet")
        return plan

    @property
    def store(self) -> Path:
        return self.root / "store"

    def write(
        self, plan: Path, *, grace: float = 20.0, silence: float = 30.0, url: str | None = None
    ) -> None:
        self.store.mkdir(exist_ok=True)
        write_in_processes(
            plan,
            Opening(url or str(self.store), {}, {"concurrency": 8, "retry_for": 5.0}),
            workers=2,
            concurrency=8,
            record=self._record,
            tally=self.tally,
            stop=self.stop,
            grace=grace,
            silence=silence,
            advance=lambda count: None,
            absorb=self._absorb,
        )

    def _record(self, outcomes: Sequence[Applied]) -> None:
        self.rows.extend(outcomes)

    def _absorb(self, requests: RequestCounts, rates: RateHistory) -> None:
        self.requests = self.requests + requests

    def in_place(self) -> set[str]:
        return {path.name for path in self.store.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def writers(tmp_path: Path) -> WriterPool:
    return WriterPool(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process ids of the workers, as they are started; all of them are gone at the end."""
    pids: list[int] = []
    start = pool.start_worker

    def noting(scope: str) -> tuple[Connection, Popen[bytes]]:
        pipe, process = start(scope)
        pids.append(process.pid)
        return pipe, process

    monkeypatch.setattr(pool, "start_worker", noting)
    yield pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_all_that_the_plan_says_is_written_and_reported(writers: WriterPool, started: list[int]) -> None:
    writers.write(writers.plan(1000))
    assert len(started) == 2
    assert writers.tally.create == 1000
    assert {row.target for row in writers.rows} == writers.in_place()
    assert len(writers.rows) == 1000
    assert writers.requests.put == 1000
    assert writers.tally.bytes == sum(path.stat().st_size for path in writers.store.iterdir())


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_process_that_cannot_be_started_keeps_nobody_waiting(
    writers: WriterPool, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """Those that were started write everything; where none was, the run ends and says why."""
    start, calls = pool.start_worker, iter(range(10))

    def limited(scope: str) -> tuple[Connection, Popen[bytes]]:
        if next(calls) >= allowed:
            raise OSError(errno.ENOMEM, "no memory")
        return start(scope)

    monkeypatch.setattr(pool, "start_worker", limited)
    plan = writers.plan(100)
    if allowed:
        writers.write(plan)
        assert len(writers.in_place()) == 100
        return
    with pytest.raises(MetaferryError, match=r"could not be started \(Cannot allocate memory\)"):
        writers.write(plan)


def test_a_process_that_dies_before_its_order_is_told(
    writers: WriterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = pool.start_worker

    def dead(scope: str) -> tuple[Connection, Popen[bytes]]:
        pipe, process = start(scope)
        process.kill()
        process.wait()
        return pipe, process

    monkeypatch.setattr(pool, "start_worker", dead)
    with pytest.raises(MetaferryError, match="was killed by signal 9"):
        writers.write(writers.plan(100))


def test_a_stop_drains_all_of_them(writers: WriterPool, started: list[int]) -> None:
    plan = writers.plan(20_000)
    record = writers._record

    def stopping(outcomes: Sequence[Applied]) -> None:
        record(outcomes)
        writers.stop.request(signal.SIGTERM)

    writers._record = stopping  # type: ignore[method-assign]
    writers.write(plan)
    assert writers.tally.stopped
    assert 0 < writers.tally.create < 20_000
    assert {row.target for row in writers.rows} == writers.in_place()


def test_workers_of_a_run_that_is_suspended_stop_by_themselves(
    writers: WriterPool, started: list[int]
) -> None:
    """The run says nothing while it is kept busy in `record`, as one that is suspended would."""
    plan = writers.plan(60_000)
    record, never = writers._record, threading.Event()

    def busy(outcomes: Sequence[Applied]) -> None:
        record(outcomes)
        if len(writers.rows) == len(outcomes):
            never.wait(3.0)

    writers._record = busy  # type: ignore[method-assign]
    with pytest.raises(MetaferryError, match="heard nothing of its run"):
        writers.write(plan, silence=1.0)
    assert 0 < writers.tally.create < 60_000
    assert {row.target for row in writers.rows} == writers.in_place()


def test_a_worker_that_dies_ends_the_run_and_the_others_drain(
    writers: WriterPool, started: list[int]
) -> None:
    plan = writers.plan(20_000)
    record, once = writers._record, threading.Event()

    def killing(outcomes: Sequence[Applied]) -> None:
        record(outcomes)
        if not once.is_set():
            once.set()
            os.kill(started[0], signal.SIGKILL)

    writers._record = killing  # type: ignore[method-assign]
    with pytest.raises(MetaferryError, match="killed by signal 9"):
        writers.write(plan)
    assert {row.target for row in writers.rows} <= writers.in_place()
    assert len(writers.rows) < 20_000


def test_what_a_store_refuses_is_raised_as_what_it_is(writers: WriterPool, started: list[int]) -> None:
    with pytest.raises(NotFound) as caught:
        writers.write(writers.plan(100), url=str(writers.root / "missing"))
    assert caught.value.url.endswith("/missing")  # it came through the pipe whole
    assert writers.rows == []


def test_a_whole_sync_by_two_workers_is_the_same(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "demo")
    mapping = job_mapping(dataset, str(dataset.media), {}) | {"workers": 2}
    report = metaferry.sync(Job.from_mapping(mapping))
    tree = read_folder(dataset.media)
    tree.pop(SCHEMA)
    assert tree == expected_documents(dataset)
    assert (report.exit_code, report.documents.create) == (0, len(tree))
    assert sum(report.rate.answered) >= len(tree)
    again = metaferry.sync(Job.from_mapping(mapping))
    assert (again.changes, again.documents.keep) == (0, len(tree))


def test_one_process_cannot_see_the_memory_of_another(tmp_path: Path, started: list[int]) -> None:
    dataset = make_dataset(tmp_path / "demo")
    mapping = job_mapping(dataset, str(dataset.media), {}) | {
        "workers": 2,
        "lightly": f"memory://workers-{uuid.uuid4()}",
    }
    report = metaferry.sync(Job.from_mapping(mapping))
    assert (report.exit_code, started) == (0, [])


def test_options_are_in_no_repr() -> None:
    assert "canary" not in repr(Opening("s3://b", {"secret": "canary-secret"}, {}))
