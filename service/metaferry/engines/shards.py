"""Runs the shards of a plan on any executor: a sliding window, and what is lost is run again.

What a task answers is small and is not what counts: the done-markers are. So an answer that never
comes costs one more run of that shard alone, which finds in its marker or in the store what was done
already. A shard that fails again and again, or takes its worker with it, is given up after a few
attempts and named, and the others go on.
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

#: What is the same for every shard: none is begun after the first of them.
_FOR_ALL: Final = (Denied, Expired, LeaseHeld, LeaseLost, NotFound, Outage, SafetyStop, UsageError)
#: Runs of one shard before it is given up.
ATTEMPTS: Final = 3
#: Seconds between two looks at the stop while nothing is heard of the workers.
_LOOK: Final = 0.25


class WorkerLost(MetaferryError):
    """A worker ended while it ran a shard. What it did is in its marker, or is done again."""


@dataclass(frozen=True, slots=True)
class Workers:
    """An executor, and what has to be known of it.

    `parallelism` is how many tasks it runs at once, `window` how many shards are with it. `cancel` asks the
    tasks of this run to stop, in every process of it. `hopeless` are errors after which a shard is not
    tried again, since the executor has done that itself.
    """

    executor: Executor
    parallelism: int
    window: int
    cancel: Callable[[], None]
    hopeless: tuple[type[BaseException], ...] = ()


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
    """Runs `work` on the order of every shard, `workers.window` of them at once.

    `work` must be importable where it runs; its answer is handed to `done` and forgotten. When `stop`
    is set nothing more is begun, the bell is rung, and what is under way has `grace` seconds. Raises
    the error that would meet every shard (denied, no such bucket, another's lease), after the others
    have drained too; every other error is one shard's own.
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
            for future in wait(running, _LOOK, FIRST_COMPLETED).done:
                shard = running.pop(future)
                error = _error_of(future)
                if error is None:
                    answer = future.result()
                    written = written or bool(answer.get("writes"))
                    done(shard, answer)
                elif _is_for_all(error, written=written):
                    fatal = fatal or error
                else:
                    _note(shard, error, failures)
                    if failures[shard] >= attempts or isinstance(error, workers.hopeless):
                        ran.given_up[shard] = _why(error)
                    else:
                        waiting.append(shard)
                del future  # or it lives until the next one is done
        if running:
            _drain(workers, running, grace, done)
    finally:
        # A future keeps what the executor knows of its task; on some of them that is run again when
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
    """Asks what is under way to stop, and hears what it has to say, for as long as `grace`."""
    workers.cancel()
    for future in wait(running, grace).done:
        if _error_of(future) is None:
            done(running.pop(future), future.result())
    late = [shard for future, shard in running.items() if not future.done()]
    if late:
        log.warning("shards %s did not end within %.0f s and are given up", late, grace)


def _error_of(future: Future[Mapping[str, Any]]) -> BaseException | None:
    """What ended the task badly; also where the executor itself let go of it."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _is_for_all(error: BaseException, *, written: bool) -> bool:
    """Whether every shard would meet it. A refusal that may be one document's is, where others wrote."""
    if isinstance(error, StorageError) and error.scope is Scope.EITHER:
        return not written
    return isinstance(error, _FOR_ALL)


def _note(shard: int, error: BaseException, failures: dict[int, int]) -> None:
    failures[shard] = failures.get(shard, 0) + 1
    log.warning("shard %d did not end well, attempt %d: %s", shard, failures[shard], _why(error))


def _why(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "its worker was told to stop"
    if isinstance(error, CancelledError):
        return "the executor let go of it"
    # The text of a foreign error may quote anything; its kind cannot.
    return error.message if isinstance(error, MetaferryError) else type(error).__name__
