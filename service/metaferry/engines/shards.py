"""Runs the shards of a plan on any executor: a sliding window, and what is lost is run again.

The result of a task is small, and only the done-markers count. So a result that is lost costs one more
run of that shard, which finds in its marker or in the store what is done already. A shard that fails
again and again, or whose worker dies, is given up after a few attempts and named; the others go on.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from metaferry.errors import (
    Denied,
    Expired,
    Interrupted,
    LeaseHeld,
    LeaseLost,
    MetaferryError,
    NotFound,
    Outage,
    SafetyStop,
    Scope,
    StorageError,
    UsageError,
)
from metaferry.progress import Stop

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Errors that every shard would raise: no shard is begun after the first of them.
_CONCERN_ALL: Final = (Denied, Expired, LeaseHeld, LeaseLost, NotFound, Outage, SafetyStop, UsageError)
#: Runs of one shard before it is given up.
ATTEMPTS: Final = 3
#: Seconds between two looks at the stop while no task ends.
_POLL: Final = 0.25


@dataclass(frozen=True, slots=True)
class Workers:
    """An executor and its properties.

    `parallelism` is how many tasks it runs at once, `window` how many are submitted. `cancel` asks the
    tasks of this run to drain, in every process of it. `final` are errors after which a shard is not
    tried again, since the executor has done that itself.
    """

    executor: Executor
    parallelism: int
    window: int
    cancel: Callable[[], None]
    final: tuple[type[BaseException], ...] = ()


@dataclass(slots=True)
class Ran:
    """What became of shards that are not done: those given up, with why, and those left by a stop."""

    given_up: dict[int, str] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)
    runs: int = 0  # attempts, of which there may be more than shards


def run_shards(
    workers: Workers,
    work: Callable[[T], Mapping[str, Any]],
    shards: Mapping[int, T],
    *,
    stop: Stop,
    grace: float,
    done: Callable[[int, Mapping[str, Any]], None] = lambda shard, answer: None,
    attempts: int = ATTEMPTS,
) -> Ran:
    """Runs `work` on the task of every shard, `workers.window` of them at once.

    `work` must be importable where it runs; its result is given to `done`. When `stop` is set no task
    is begun any more, and those under way are cancelled and have `grace` seconds. Raises the error that
    every shard would raise (denied, no such bucket, another's lease), after the others have drained
    too; every other error concerns one shard.
    """
    waiting = deque(shards)
    running: dict[Future[Mapping[str, Any]], int] = {}
    failures: dict[int, int] = {}
    ran = Ran()
    fatal: BaseException | None = None
    written = False  # some shard wrote something
    try:
        while (waiting or running) and fatal is None and not stop.requested:
            while waiting and len(running) < workers.window:
                shard = waiting.popleft()
                running[workers.executor.submit(work, shards[shard])] = shard
                ran.runs += 1
            for future in wait(running, _POLL, FIRST_COMPLETED).done:
                shard = running.pop(future)
                error = _error_of(future)
                if error is None:
                    answer = future.result()
                    written = written or bool(answer.get("writes"))
                    done(shard, answer)
                elif _concerns_all(error, written=written):
                    fatal = fatal or error
                else:
                    _note(shard, error, failures)
                    if failures[shard] >= attempts or isinstance(error, workers.final):
                        ran.given_up[shard] = _why(error)
                    else:
                        waiting.append(shard)
                del future  # or it lives until the next one is done
        if running:
            _drain(workers, running, grace, done)
    finally:
        # A future keeps the state that the executor has of its task; on some of them that is run again when
        # the worker that has the answer is lost.
        ran.left = [*waiting, *running.values()]
        running.clear()
    if fatal is not None:
        raise fatal
    return ran


def _drain(
    workers: Workers,
    running: dict[Future[Mapping[str, Any]], int],
    grace: float,
    done: Callable[[int, Mapping[str, Any]], None],
) -> None:
    """Asks the tasks under way to drain, and takes their results for `grace` seconds."""
    workers.cancel()
    for future in wait(running, grace).done:
        if _error_of(future) is None:
            done(running.pop(future), future.result())
    late = [shard for future, shard in running.items() if not future.done()]
    if late:
        log.warning("shards %s did not end within %.0f s and are given up", late, grace)


def _error_of(future: Future[Mapping[str, Any]]) -> BaseException | None:
    """The exception of a task; also where the executor itself cancelled it."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _concerns_all(error: BaseException, *, written: bool) -> bool:
    """Whether every shard would raise it; of a refusal that may be one document's: where none was written."""
    if isinstance(error, StorageError) and error.scope is Scope.EITHER:
        return not written
    return isinstance(error, _CONCERN_ALL)


def _note(shard: int, error: BaseException, failures: dict[int, int]) -> None:
    failures[shard] = failures.get(shard, 0) + 1
    log.warning("shard %d failed, attempt %d: %s", shard, failures[shard], _why(error))


def _why(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "its worker was asked to stop"
    if isinstance(error, CancelledError):
        return "the executor let go of it"
    # The text of a foreign error may quote anything; its kind cannot.
    return error.message if isinstance(error, MetaferryError) else type(error).__name__
