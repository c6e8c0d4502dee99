"""Applies a plan: documents first, deletes after them, each with its outcome.

Documents go through a pool of threads where the store takes blocking puts (`threads.py`). Everything
else, and each document whose attempt in a thread failed, goes through coroutines on the event loop,
where the storage waits and retries. Both are fed from a bounded queue: memory is the same for a hundred
million documents as for a thousand. A document that fails alone is recorded and the others go on. An
error that every document would meet (expired or unknown credentials, no such bucket) stops the run at
once; one that may be either is held until the others show which (`refusals.py`). Nothing is decided
here, and nothing is retried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from metaferry.apply.outage import Outage
from metaferry.apply.outcome import Applied, OutcomeRecorder, Tally
from metaferry.apply.refusals import FEW, Refusals
from metaferry.apply.shards import Step, batches
from metaferry.apply.step import IfChanged, apply_step
from metaferry.apply.threads import PutThreadPool
from metaferry.errors import MetaferryError, Scope, StorageError
from metaferry.planning.formats import Action
from metaferry.progress import Stop
from metaferry.storage.protocol import Storage
from metaferry.storage.waits import Deferred, Drain

log = logging.getLogger(__name__)

#: Documents first, deletes after them, so that a document that is renamed is never missing.
WRITES: Final = frozenset({Action.CREATE, Action.UPDATE})
DELETES: Final = frozenset({Action.DELETE})
PHASES: Final = (WRITES, DELETES)


async def apply_plan(
    plan: Path,
    storage: Storage,
    *,
    concurrency: int,
    record: Callable[[Sequence[Applied]], None],
    tally: Tally,
    stop: Stop | None = None,
    grace: float = 20.0,
    advance: Callable[[int], None] = lambda done: None,
    phases: Sequence[frozenset[Action]] = PHASES,
    shards: Collection[int] | None = None,
    written: bool = False,
    if_changed: IfChanged = IfChanged.REPLACE,
) -> None:
    """Writes and deletes by the plan; every step is handed to `record` exactly once.

    `record` and `advance` are called from several threads, one at a time. `tally` is counted up as
    it goes, so that it is right also when this raises.

    Creates go out under "if absent", updates under the token that the plan expects, so that what
    somebody else wrote since the listing is read again and not overwritten blindly, or
    left (`if_changed`). When `stop` is set, no further step is taken, requests under way have `grace`
    seconds to finish, and `Tally.stopped` is true. The same where the store accepts no writes any more
    (`outage.py`); then `Tally.outage` has the reason. `phases` and `shards` narrow it to a part of the
    plan; `written`: documents of another part were written. Raises the `StorageError` that every other
    document would meet, after the steps under way have ended.
    """
    stop = stop or Stop()
    outage = Outage(storage.timeout, found=lambda: drain.request())
    drain = Drain(outage.attempted, cuts=False)
    stop.listen(drain.request)
    recorder = OutcomeRecorder(record, tally, advance, outage)
    storage.drained_by(drain)
    try:
        for actions in phases:
            if not stop.requested and not drain.requested:
                done = tally.delete if actions is DELETES else tally.create + tally.update
                refusals = Refusals(recorder, written=done > 0 or (written and actions is WRITES))
                phase = _Phase(
                    batches(plan, actions, shards), storage, refusals, stop, drain, concurrency, if_changed
                )
                await _within_grace(phase.run(direct=storage.direct and actions is WRITES), drain, grace)
    finally:
        storage.drained_by(None)
        recorder.close()
        tally.stopped = stop.requested
        tally.outage = "" if stop.requested else outage.reason


async def _within_grace(work: Coroutine[Any, Any, None], drain: Drain, grace: float) -> None:
    """Waits for the work; once it is to drain only `grace` seconds longer, then gives it up."""
    loop = asyncio.get_running_loop()
    draining = asyncio.Event()
    drain.listen(lambda: _notify(loop, draining.set))
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(draining.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace)
        if task.done():
            return task.result()
        log.warning("what was under way did not end within %.0f s and is given up", grace)
        task.cancel()
        await asyncio.wait({task})
    finally:
        waiting.cancel()
        task.cancel()


class _Phase:
    """All writes of a plan, or all deletes."""

    def __init__(
        self,
        source: Iterator[list[Step]],
        storage: Storage,
        recorder: Refusals,
        stop: Stop,
        drain: Drain,
        concurrency: int,
        if_changed: IfChanged,
    ) -> None:
        self._drain = drain
        self._source = source
        self._storage = storage
        self._recorder = recorder
        self._stop = stop
        self._concurrency = concurrency
        self._if_changed = if_changed
        # Steps for the event loop, with the error of a first attempt in a thread; None ends a worker.
        self._queue: asyncio.Queue[tuple[Step, StorageError | None] | None]
        self._queue = asyncio.Queue(maxsize=2 * concurrency)
        self._fatal: MetaferryError | None = None

    async def run(self, *, direct: bool) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._feed(direct))
                for _ in range(self._concurrency):
                    tasks.create_task(self._work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the first is what ended the others
        if self._fatal is None and not (self._stop.requested and self._recorder.undecided):
            self._fatal = self._recorder.settle()
        if self._fatal is not None:
            raise self._fatal

    async def _feed(self, direct: bool) -> None:
        batch = await asyncio.to_thread(_next, self._source)
        if batch is not None:
            source = _with_first(await self._first_of(batch), self._source)
            if direct:
                await self._through_threads(source)
            else:
                await self._through_loop(source)
        for _ in range(self._concurrency):
            await self._queue.put(None)

    async def _first_of(self, batch: list[Step]) -> list[Step]:
        """Takes the first step alone, and gives those that are left: what stops every document shows at
        the first, not at a queue full of them. Where that may concern one document, a
        few more, spread over the batch: those next to the first share its folder, and its permissions."""
        some = range(0, len(batch), max(1, len(batch) // FEW))
        for n, at in enumerate(some[:FEW]):
            if n and not self._recorder.undecided:
                some = some[:n]
                break
            await self._take(batch[at], None)
        taken = frozenset(some[:FEW])
        return [step for at, step in enumerate(batch) if at not in taken]

    async def _through_loop(self, source: Iterator[list[Step]]) -> None:
        while not self._ended() and (batch := await asyncio.to_thread(_next, source)) is not None:
            for step in batch:
                if self._ended():
                    return
                await self._queue.put((step, None))

    async def _through_threads(self, source: Iterator[list[Step]]) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def hand_over(step: Step, error: StorageError | None) -> None:
            asyncio.run_coroutine_threadsafe(self._queue.put((step, error)), loop).result()

        pool = PutThreadPool(
            source,
            self._storage,
            self._recorder,
            ended=self._ended,
            hand_over=hand_over,
            finished=lambda: _notify(loop, ended.set),
        )
        pool.start()
        await ended.wait()
        if pool.crash is not None:
            raise pool.crash

    async def _work(self) -> None:
        while (item := await self._queue.get()) is not None:
            await self._take(*item)

    async def _take(self, step: Step, failed: StorageError | None) -> None:
        if self._ended():
            return  # left for the next run, which sees in its listing what is in place
        try:
            applied = await apply_step(
                step, self._storage, failed, stop=self._stop, if_changed=self._if_changed
            )
        except Deferred:
            return
        except StorageError as error:
            fatal = self._recorder.hold(step, error) if error.scope is Scope.EITHER else error
            self._fatal = self._fatal or fatal
            if fatal is not None:
                self._drain.request()  # no pause is waited for any more
            return
        self._recorder.add([applied])

    def _ended(self) -> bool:
        return self._fatal is not None or self._drain.requested or self._stop.requested


def _notify(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
        loop.call_soon_threadsafe(call)


def _next(source: Iterator[list[Step]]) -> list[Step] | None:
    return next(source, None)


def _with_first(rest: list[Step], source: Iterator[list[Step]]) -> Iterator[list[Step]]:
    if rest:
        yield rest
    yield from source
