"""Writes the documents of a plan by several processes of this machine, a share of its shards each.

For stores whose client keeps one event loop busy (docs/storage.md). Each worker has a storage of its own
and sends what became of each document. Nothing is decided here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from metaferry.apply.apply import WRITES, apply_plan
from metaferry.apply.outage import Outage
from metaferry.apply.outcome import Applied, OutcomeRecorder, Tally
from metaferry.apply.shards import shard_numbers
from metaferry.apply.step import IfChanged
from metaferry.engines.cancellation import cancellation_scope
from metaferry.engines.channel import this_channel
from metaferry.engines.pool import ProcessPool, WorkerLost
from metaferry.errors import MetaferryError
from metaferry.progress import Stop
from metaferry.storage.counts import RequestCounts
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.rates import RateHistory

#: Outcomes that a worker sends at once.
_BATCH: Final = 256
#: Seconds between two looks at the stop.
_POLL: Final = 0.25
#: Signs of life within the silence after which a worker gives up.
_HEARTBEATS: Final = 8


@dataclass(frozen=True, slots=True)
class Opening:
    """How a worker opens the datasource: what `open_storage` takes. No option is in its repr."""

    url: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]

    def __repr__(self) -> str:
        return "Opening(…)"


@dataclass(frozen=True, slots=True)
class WriteTask:
    """The work of one worker."""

    opening: Opening
    plan: Path
    shards: tuple[int, ...]
    scope: str
    concurrency: int
    grace: float
    if_changed: IfChanged
    silence: float  # seconds without a sign of life of the run after which the work is given up


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The requests of a worker, and what ended it before the end of its work."""

    requests: RequestCounts
    rates: RateHistory
    error: BaseException | None
    outage: str = ""  # as `Tally.outage`


def write_in_processes(
    plan: Path,
    opening: Opening,
    *,
    workers: int,
    concurrency: int,
    record: Callable[[Sequence[Applied]], None],
    tally: Tally,
    stop: Stop,
    grace: float,
    silence: float = 30.0,
    advance: Callable[[int], None],
    absorb: Callable[[RequestCounts, RateHistory], None],
    if_changed: IfChanged = IfChanged.REPLACE,
) -> None:
    """Writes the documents of a plan (not its deletes), with `concurrency` requests at once in each worker.

    `record` and `advance` are called from several threads, one at a time; `absorb`, with the requests of
    a worker that has ended, from this one. The workers drain when `stop` is set, when one of them finds
    that the store takes nothing any more (`tally.outage`), and when they get no sign of life of this
    process for `silence` seconds, since one that is suspended keeps no lease. Raises the StorageError
    that ended one of them, after the others have drained too, and MetaferryError when a worker died or
    got no sign of life.
    """
    shards = shard_numbers(plan)
    workers = min(workers, len(shards))
    scope = f"writers-{os.getpid()}"
    outage = Outage(found=lambda: pool.cancel())
    recorder = OutcomeRecorder(record, tally, advance, outage)
    pool = ProcessPool(
        workers, scope=scope, grace=grace, receive=recorder.add, heartbeat=silence / _HEARTBEATS
    )
    errors: list[BaseException] = []
    try:
        running: set[Future[WriteResult]] = {
            pool.submit(
                write_shards,
                WriteTask(
                    opening,
                    plan,
                    tuple(shards[n::workers]),
                    scope,
                    concurrency,
                    grace,
                    if_changed,
                    silence,
                ),
            )
            for n in range(workers)
        }
        while running:
            ended, running = wait(running, _POLL, FIRST_COMPLETED)
            for future in ended:
                error = future.exception()
                if error is None:
                    result = future.result()
                    absorb(result.requests, result.rates)
                    error = result.error
                    if result.outage:
                        outage.see(result.outage)
                if error is not None:
                    errors.append(_died(error) if isinstance(error, WorkerLost) else error)
            if errors or stop.requested:  # what ended one will end the others
                pool.cancel()
    finally:
        pool.shutdown()
        recorder.close()
    tally.stopped = stop.requested
    tally.outage = "" if stop.requested else outage.reason
    if errors:
        raise errors[0]


def _died(error: WorkerLost) -> MetaferryError:
    return MetaferryError(
        f"a worker process {error.how}; what it had not reported is left for the next run",
        advice="run it again; where memory is short, set `workers: 1`",
    )


# -- in the worker


def write_shards(task: WriteTask) -> WriteResult:
    """Writes the documents of some shards, and sends their outcomes in batches."""
    channel = this_channel()
    batch: list[Applied] = []

    def flush() -> None:
        if batch:
            channel.send(batch)
            batch.clear()

    def record(outcomes: Sequence[Applied]) -> None:
        batch.extend(outcomes)
        if len(batch) >= _BATCH:
            flush()

    def check() -> MetaferryError | None:
        """Why the work is given up: a run that is suspended keeps no lease, so another may have it."""
        silent = channel.silence
        if silent < task.silence:
            return None
        return MetaferryError(
            f"a worker process heard nothing of its run for {silent:.0f} s and stopped",
            advice="run it again: it goes on where this one stopped",
        )

    result, tally = WriteResult(RequestCounts(), RateHistory(), None), Tally()
    with cancellation_scope(task.scope) as stop:
        stop.guard(check)
        try:
            with Portal() as portal:
                storage = open_storage(task.opening.url, task.opening.options, **task.opening.settings)
                try:
                    portal.run(
                        apply_plan(
                            task.plan,
                            storage,
                            concurrency=task.concurrency,
                            record=record,
                            tally=tally,
                            stop=stop,
                            grace=task.grace,
                            phases=(WRITES,),
                            shards=task.shards,
                            if_changed=task.if_changed,
                        )
                    )
                finally:
                    portal.run(storage.close())
                    result = WriteResult(storage.requests, storage.rates, stop.abandoned, tally.outage)
        except BaseException as error:  # noqa: BLE001 - the run raises it
            result = WriteResult(result.requests, result.rates, error)
    flush()
    return result
