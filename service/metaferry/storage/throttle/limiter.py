"""The limits on requests to one datasource: how many may be under way, and how many a second.

One limiter is shared by everything that uses a datasource, coroutines and plain threads alike. It starts
with a moderate concurrency limit, finds the best one (`concurrency.py`), halves it when the store
throttles, and pauses for as long as the store asks. It never drops a request: those beyond the limit wait
in order of arrival. Threads wait for their turn like coroutines, but not for a pause or `max_rate`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Final

from metaferry.storage.rates import Rates
from metaferry.storage.throttle.concurrency import ConcurrencyController
from metaferry.storage.waits import Budget, Deferred, Drain

#: The concurrency limit at first: enough for a store nearby, moderate for any.
START: Final = 8

#: The rate at one limit is measured for so many seconds at least; for less while it still grows, since
#: the effect of a higher limit shows at once then.
_WHILE: Final = 0.25
_WHILE_CLIMBING: Final = 0.1
#: Rounds of a measurement, each as many turns as the limit. The first round is left out: it has the cost
#: of new threads and new connections, and turns that have not ended.
_ROUNDS: Final = 3
#: Seconds without throttling after which the limit is no longer reduced.
_CALM: Final = 10.0
#: First and longest pause where even a single request at a time is throttled.
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 20.0


_URGENT: ContextVar[bool] = ContextVar("urgent", default=False)
_UNDRAINED: ContextVar[bool] = ContextVar("undrained", default=False)


def is_undrained() -> bool:
    """Whether no drain ends the waits of this request."""
    return _UNDRAINED.get()


@contextmanager
def urgent(*, drained: bool = False) -> Iterator[None]:
    """Requests of this block begin at once, whatever the limits and whatever pause the store asks for.

    No drain ends them either, unless `drained`. For the few requests that a run depends on: a lease that
    is not renewed in time ends the run.
    """
    urgent, undrained = _URGENT.set(True), _UNDRAINED.set(not drained)
    try:
        yield
    finally:
        _URGENT.reset(urgent)
        _UNDRAINED.reset(undrained)


class Outcome(Enum):
    """How a request ended, as far as the limits are concerned."""

    GOOD = "good"  # the store answered; also with "not found" or a conflict
    THROTTLED = "slower"  # the store throttled it
    NONE = "none"  # says nothing about its load: a broken connection, a cancelled call


class _Coroutine:
    """A coroutine in the queue; `granted` says that its turn has been counted as begun."""

    __slots__ = ("future", "granted")

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.granted = False

    def wake(self) -> bool:
        """Gives it the turn; False where it no longer waits."""
        loop = self.future.get_loop()
        if self.future.done() or loop.is_closed():  # cancelled, or ended by a drain
            return False
        self.granted = True
        loop.call_soon_threadsafe(self._take)
        return True

    def _take(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class _Thread:
    """A thread in the queue."""

    __slots__ = ("wait", "wake_")

    def __init__(self) -> None:
        lock = threading.Lock()
        lock.acquire()
        self.wait, self.wake_ = lock.acquire, lock.release

    def wake(self) -> bool:
        self.wake_()
        return True


class Limiter:
    """`turn = await acquire()` or `acquire_blocking()`, the request, `release(turn, answer)`.

    `most` bounds the requests under way, `max_rate` those begun in a second (None: no bound), and
    `longest` (seconds) every pause that the store asks for. A set `drain` ends the waits here.
    `clock` is monotonic seconds. Safe from any thread and any event loop.
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_rate: float | None = None,
        longest: float = float("inf"),
        start: int = START,
    ) -> None:
        self.drain: Drain | None = None
        self._longest = longest
        self._most = max(1, most)
        self._clock = clock
        self._sleep = sleep
        #: Seconds between two requests under `max_rate`; 0 without one.
        self.spacing = 0.0 if max_rate is None else 1.0 / max_rate
        self._lock = threading.Lock()
        self._waiting: deque[_Coroutine | _Thread] = deque()
        self._under_way = 0
        self._controller = ConcurrencyController(start, self._most)
        self._cap = float(self._most)  # the limit after throttling
        self._next_at = float("-inf")  # when `max_rate` allows the next request
        self._held_until = float("-inf")  # when the pause that the store asked for ends
        self._cuts = 0
        self._refused = 0  # refusals of a single request at a time, with no good answer between them
        self._slowed_at = float("-inf")
        #: Answers and refusals over time.
        self.rates = Rates(clock)
        self._since = clock()
        self._answers = 0
        self._turns = 0
        self._full = False  # the limit was nearly reached at least once since `_since`

    @property
    def allowed(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(min(self._controller.now, self._cap)))

    async def acquire(self, budget: Budget | None = None) -> int:
        """Waits for a turn, then for pauses and `max_rate`; returns what `release` takes.

        Pauses that the store asks for count against `budget` once it has begun, and end with it; the turn
        and `max_rate` do not. Raises `Deferred` where a drain comes first.
        """
        drain = None if _UNDRAINED.get() else self.drain
        if drain is not None:
            drain.check()
        with self._lock:
            waiter: _Coroutine | None = None
            if _URGENT.get():
                self._begin()
                self._next_at += self.spacing  # the next request waits the longer for `max_rate`
                return self._cuts
            if self._under_way < self.allowed and not self._waiting:
                self._begin()
            else:
                waiter = _Coroutine()
                self._waiting.append(waiter)
        if waiter is not None:
            since = self._clock()
            await self._wait_for(waiter, drain)
            if budget is not None:
                budget.excuse(self._clock() - since)
        try:
            await self._wait_for_rate(budget, drain)
        except BaseException:
            self.release(self._cuts, Outcome.NONE)
            raise
        return self._cuts

    def acquire_blocking(self, ended: Callable[[], bool] = lambda: False) -> int | None:
        """`acquire` from a thread: blocks for a turn, but not for a pause or `max_rate`.

        None where one of these applies, or where `ended()` is true when the turn comes. A turn may serve
        several requests, one after the other; `release` takes the number of good answers.
        """
        with self._lock:
            if self.spacing or self._clock() < self._held_until:
                return None
            if self._under_way < self.allowed and not self._waiting:
                self._begin()
                return self._cuts
            waiter = _Thread()
            self._waiting.append(waiter)
        waiter.wait()
        over = ended()
        with self._lock:
            if over or self._clock() < self._held_until:
                self._under_way -= 1
                self._wake()
                return None
            return self._cuts

    def release(self, turn: int, answer: Outcome, *, good: int = 0, retry_after: float | None = None) -> None:
        """Ends a turn with `answer`, after `good` more answers that were good.

        `retry_after` is what a refusal asked for, in seconds.
        """
        with self._lock:
            now = self._clock()
            busy = self._under_way
            self._under_way -= 1
            good += answer is Outcome.GOOD
            if good:
                self._good(now, good)
            if answer is Outcome.THROTTLED:
                self._throttled(turn, busy, now, retry_after)
            self._wake()

    # -- adjusting the limit; called with the lock held

    def _good(self, now: float, count: int) -> None:
        self.rates.answered(now, count)
        self._refused = 0
        if self._cap < self._controller.now:
            # Plus one for each round of answers; after a while without throttling, no cap at all.
            calm = now - self._slowed_at >= _CALM
            self._cap = float(self._most) if calm else self._cap + count / self._cap
            return
        self._answers += count
        self._turns += 1
        if self._turns == self.allowed and self._full:
            self._since, self._answers = now, 0
        while_ = _WHILE_CLIMBING if self._controller.climbing else _WHILE
        # Counted by turns: the answers of a turn with many requests all come at its end.
        if self._turns >= _ROUNDS * self.allowed and now - self._since >= while_:
            if self._full:
                self._controller.measured(self._answers / (now - self._since), now)
            else:
                self._controller.disturbed()  # the limit was not reached
            self._measure_anew(now)

    def _throttled(self, turn: int, busy: int, now: float, retry_after: float | None) -> None:
        self.rates.refused(now)
        self._slowed_at = now
        self._controller.disturbed()
        self._measure_anew(now)
        if turn == self._cuts:  # else it began before the last cut, which has already dealt with it
            self._cuts += 1
            self._refused += self._cap <= 1.0
            # Half of what was really under way: the limit may never have been reached.
            self._cap = max(1.0, min(self.allowed, busy) / 2)
        if retry_after is not None:
            self._held_until = max(self._held_until, now + min(retry_after, self._longest))
        elif self._refused:
            pause = _FIRST_PAUSE * 2.0 ** min(self._refused - 1, 30)
            pause = min(_LONGEST_PAUSE, self._longest, pause)
            self._held_until = max(self._held_until, now + pause)

    def _measure_anew(self, now: float) -> None:
        self._since, self._answers, self._turns = now, 0, 0
        self._full = self._under_way >= 0.8 * self.allowed

    # -- turns

    def _begin(self) -> None:
        self._under_way += 1
        if not self._full and self._under_way >= 0.8 * self.allowed:
            self._measure_anew(self._clock())  # until now the callers set the rate

    def _wake(self) -> None:
        while self._waiting and self._under_way < self.allowed:
            if self._waiting.popleft().wake():
                self._begin()

    async def _wait_for(self, waiter: _Coroutine, drain: Drain | None) -> None:
        try:
            if drain is None:
                await waiter.future
            else:
                with drain.ending(waiter.future):
                    await waiter.future
        except (asyncio.CancelledError, Deferred):
            with self._lock:
                if waiter.granted:  # this turn is not going to be used: hand it on
                    self._under_way -= 1
                    self._wake()
                elif waiter in self._waiting:
                    self._waiting.remove(waiter)
            raise

    async def _wait_for_rate(self, budget: Budget | None, drain: Drain | None) -> None:
        reserved = False
        while True:
            with self._lock:
                now = self._clock()
                wait = self._held_until - now
                held = wait > 0
                if held:
                    reserved = False  # a time that was reserved before the pause is void
                elif reserved or not self.spacing:
                    return
                else:
                    begin = max(now, self._next_at)
                    self._next_at = begin + self.spacing
                    wait, reserved = begin - now, True
            if held and budget is not None and (left := budget.left) is not None:
                if left <= 0:
                    return  # the pause is longer than the time left: the last attempt is made now
                wait = min(wait, left)
            if wait > 0:
                await sleeping(self._sleep, wait, drain)
                if not held and budget is not None:
                    budget.excuse(self._clock() - now)


async def sleeping(sleep: Callable[[float], Awaitable[None]], seconds: float, drain: Drain | None) -> None:
    """Sleeps; raises `Deferred` where a drain comes first."""
    if drain is None:
        await sleep(seconds)
    else:

        async def asleep() -> None:
            await sleep(seconds)

        await drain.race(asleep())
