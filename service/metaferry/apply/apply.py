"""Applies a plan: documents first, deletes after them, each with its outcome.

One event loop, a bounded queue, N workers: as much memory for a hundred million documents as for
a thousand. A document that fails alone is recorded and the others go on; an error that will be
the same for every document (denied, expired, no such bucket) stops the run at once. Nothing here
decides anything, and nothing retries: the storage it is given does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from metaferry.apply.shards import Step, batches
from metaferry.errors import Conflict, Denied, Expired, MetaferryError, NotFound, StorageError
from metaferry.planning.formats import Action, Outcome
from metaferry.progress import Stop
from metaferry.storage.contract import ABSENT, ANYTHING, Precondition, Storage

_WRITES = frozenset({Action.CREATE, Action.UPDATE})
_DELETES = frozenset({Action.DELETE})


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one step. `token` and `md5` are what is in place now, null after a delete."""

    target: str
    action: Action
    outcome: Outcome
    token: str | None
    md5: str | None
    message: str = ""


@dataclass(slots=True)
class Tally:
    """Counts of what was applied; the rows themselves went to `record`."""

    create: int = 0
    update: int = 0
    delete: int = 0
    failed: int = 0  # writes; a delete that failed is in `not_deleted`
    conflict: int = 0
    not_deleted: int = 0
    bytes: int = 0
    stopped: bool = False
    failures: list[Applied] = field(default_factory=list)  # the first hundred, for the report

    def add(self, applied: Applied, size: int) -> None:
        if applied.outcome is Outcome.DONE:
            setattr(self, applied.action, getattr(self, applied.action) + 1)
            self.bytes += size
            return
        if applied.action is Action.DELETE:
            self.not_deleted += 1
        elif applied.outcome is Outcome.CONFLICT:
            self.conflict += 1
        else:
            self.failed += 1
        if len(self.failures) < 100:
            self.failures.append(applied)


async def apply_plan(
    plan: Path,
    storage: Storage,
    *,
    concurrency: int,
    record: Callable[[Applied], None],
    tally: Tally,
    stop: Stop | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes and deletes what the plan says; every step is handed to `record` exactly once.

    `tally` is counted up as it goes, so that it tells what was done also when this raises.

    Creates go out under "if absent", updates under the token that the plan expects, so that what
    somebody else wrote since the listing is a conflict and not overwritten. When `stop` is set,
    no further step is taken, those under way are finished, and `Tally.stopped` is true. Raises
    the `StorageError` that makes going on pointless, after the steps under way have ended.
    """
    for actions in (_WRITES, _DELETES):
        if not tally.stopped:
            await _run_phase(plan, actions, storage, concurrency, record, stop, advance, tally)


async def _run_phase(
    plan: Path,
    actions: frozenset[Action],
    storage: Storage,
    concurrency: int,
    record: Callable[[Applied], None],
    stop: Stop | None,
    advance: Callable[[int], None],
    tally: Tally,
) -> None:
    queue: asyncio.Queue[Step | None] = asyncio.Queue(maxsize=2 * concurrency)
    source = batches(plan, actions)
    fatal: list[MetaferryError] = []

    def ended() -> bool:
        return bool(fatal) or (stop is not None and stop.requested)

    async def feed() -> None:
        alone = True
        while not ended() and (batch := await asyncio.to_thread(_next, source)) is not None:
            for step in batch:
                if ended():
                    break
                if alone:
                    # A right that is missing shows at the first document, not at a queue full of them.
                    await take(step)
                    alone = False
                else:
                    await queue.put(step)
        for _ in range(concurrency):
            await queue.put(None)

    async def work() -> None:
        while (step := await queue.get()) is not None:
            if not ended():  # else emptied, not done: what is queued is left for the next run
                await take(step)

    async def take(step: Step) -> None:
        try:
            applied = await _apply_step(step, storage)
        except (Denied, Expired, NotFound) as error:
            fatal.append(error)
            return
        record(applied)
        tally.add(applied, len(step.body))
        advance(1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed())
        for _ in range(concurrency):
            tasks.create_task(work())
    if fatal:
        raise fatal[0]
    tally.stopped = stop is not None and stop.requested


async def _apply_step(step: Step, storage: Storage) -> Applied:
    only_if: Precondition = ABSENT if step.expect is None else step.expect
    if not storage.traits.conditional:
        only_if = ANYTHING
    try:
        if step.action is Action.DELETE:
            await storage.delete(step.target, only_if=only_if)
            return Applied(step.target, step.action, Outcome.DONE, None, None)
        stamp = await storage.put(step.target, step.body, only_if=only_if)
        return Applied(step.target, step.action, Outcome.DONE, stamp.token, step.md5)
    except (Denied, Expired, NotFound):
        raise  # the same for every document
    except Conflict:
        return Applied(
            step.target,
            step.action,
            Outcome.CONFLICT,
            None,
            None,
            "changed by somebody else since it was listed; left as they wrote it",
        )
    except StorageError as error:
        return Applied(step.target, step.action, Outcome.FAILED, None, None, error.message)


def _next(source: Iterator[list[Step]]) -> list[Step] | None:
    return next(source, None)
