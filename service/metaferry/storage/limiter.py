"""The pace of one datasource: how many requests may be under way, and how many a second.

One limiter is shared by everything that talks to a datasource, coroutines and plain threads alike.
It starts moderate, doubles while that makes the answers come faster, halves when the store asks for
less, and waits as long as the store says. It never drops a request: who comes too many waits in
order of arrival. Threads do not wait here; they are told that it is not their turn.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from metaferry.storage.rates import Rates

#: Requests under way at first: enough for a store nearby, a moderate beginning for any.
START: Final = 32

#: A trial of a wider window: so many seconds at least, and the gain that makes it stay.
_TRIAL: Final = 0.25
_GAIN: Final = 1.10
#: Seconds until a width that did not pay is tried again, and until a throttled store counts as calm.
_SETTLED: Final = 15.0
_CALM: Final = 10.0
#: First and longest common wait, when even one request at a time is refused.
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 20.0


class Answer(Enum):
    """How a request ended, as far as the pace is concerned."""

    GOOD = "good"  # the store answered; also with "no such key" or "somebody else wrote"
    SLOWER = "slower"  # it asks for less
    NONE = "none"  # nothing that tells of its load: a broken connection, a cancelled call


class _Waiter:
    """Somebody in the queue; `granted` says that the turn has been counted as begun."""

    __slots__ = ("future", "granted")

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.granted = False

    def grant(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Limiter:
    """`turn = await enter()` or `try_enter()`, the request, `leave(turn, answer)`.

    `most` bounds the requests under way, `max_rate` those begun in a second (None: no bound).
    `clock` is monotonic seconds. Safe from any thread and any event loop.
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_rate: float | None = None,
        start: int = START,
    ) -> None:
        self._most = max(1, most)
        self._clock = clock
        self._sleep = sleep
        self._spacing = 0.0 if max_rate is None else 1.0 / max_rate
        self._lock = threading.Lock()
        self._waiting: deque[_Waiter] = deque()
        self._under_way = 0
        self._window = float(min(self._most, max(1, start)))
        self._next_at = float("-inf")  # when `max_rate` allows the next request
        self._held_until = float("-inf")  # when the store allows it
        self._cuts = 0
        self._refused = 0  # refusals with no good answer between them
        self._slowed_at = float("-inf")
        self._rates = Rates(clock)
        # A trial compares the rate at one width with the rate at the width before.
        self._since = clock()
        self._answers = 0
        self._peak = 0
        self._before: tuple[float, float] | None = None  # width and rate before the trial
        self._settled_until = float("-inf")

    @property
    def allowed(self) -> int:
        """Requests that may be under way now."""
        return max(1, int(self._window))

    @property
    def rates(self) -> Rates:
        """Answers and refusals over time."""
        return self._rates

    async def enter(self) -> int:
        """Waits for a turn and then for the moment that the pace allows; what `leave` takes."""
        with self._lock:
            waiter: _Waiter | None = None
            if self._under_way < self.allowed and not self._waiting:
                self._begin()
            else:
                waiter = _Waiter()
                self._waiting.append(waiter)
        if waiter is not None:
            await self._wait_for(waiter)
        try:
            await self._wait_for_pace()
        except BaseException:
            self.leave(self._cuts, Answer.NONE)
            raise
        return self._cuts

    def try_enter(self) -> int | None:
        """The same without waiting; None when there is no turn now."""
        with self._lock:
            now = self._clock()
            if self._under_way >= self.allowed or self._waiting or now < max(self._held_until, self._next_at):
                return None
            if self._spacing:
                self._next_at = now + self._spacing
            self._begin()
            return self._cuts

    def leave(self, turn: int, answer: Answer, *, retry_after: float | None = None) -> None:
        """Ends a request. `retry_after` is what a refusal asked for, in seconds."""
        with self._lock:
            now = self._clock()
            busy = self._under_way
            self._under_way -= 1
            if answer is Answer.GOOD:
                self._good(now)
            elif answer is Answer.SLOWER:
                self._slower(turn, busy, now, retry_after)
            self._wake()

    # -- what answers teach; called with the lock held

    def _good(self, now: float) -> None:
        self._rates.answered(now)
        self._refused = 0
        if now - self._slowed_at < _CALM:
            self._window = min(float(self._most), self._window + 1.0 / self._window)
            return
        self._answers += 1
        if self._answers >= 4 * self._window and now - self._since >= _TRIAL:
            self._judge(self._answers / (now - self._since), now)
            self._measure_anew(now)

    def _judge(self, rate: float, now: float) -> None:
        """A window of answers is complete: widen, keep, or go back."""
        if self._peak < 0.8 * self._window:
            self._before = None  # nobody wanted more, so nothing was learned
        elif self._before is not None and rate < _GAIN * self._before[1]:
            self._window, self._before = self._before[0], None
            self._settled_until = now + _SETTLED
        elif self._window < self._most and now >= self._settled_until:
            self._before = (self._window, rate)
            self._window = min(float(self._most), 2 * self._window)
        else:
            self._before = None

    def _slower(self, turn: int, busy: int, now: float, retry_after: float | None) -> None:
        self._rates.refused(now)
        self._refused += 1
        self._slowed_at = now
        self._before = None
        self._measure_anew(now)
        if turn == self._cuts:  # else it began before the last cut and tells nothing new
            self._cuts += 1
            # Half of what was really under way: a wide window that was never filled is no pace.
            self._window = max(1.0, min(self._window, busy) / 2)
        if retry_after is not None:
            self._held_until = max(self._held_until, now + retry_after)
        elif self._window <= 1.0 and self._refused > 1:
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._refused - 2, 30))
            self._held_until = max(self._held_until, now + pause)

    def _measure_anew(self, now: float) -> None:
        self._since, self._answers, self._peak = now, 0, self._under_way

    # -- turns

    def _begin(self) -> None:
        self._under_way += 1
        self._peak = max(self._peak, self._under_way)

    def _wake(self) -> None:
        while self._waiting and self._under_way < self.allowed:
            waiter = self._waiting.popleft()
            loop = waiter.future.get_loop()
            if not waiter.future.cancelled() and not loop.is_closed():
                waiter.granted = True
                self._begin()
                loop.call_soon_threadsafe(waiter.grant)

    async def _wait_for(self, waiter: _Waiter) -> None:
        try:
            await waiter.future
        except asyncio.CancelledError:
            with self._lock:
                if waiter.granted:  # nobody is going to use this turn: hand it on
                    self._under_way -= 1
                    self._wake()
                elif waiter in self._waiting:
                    self._waiting.remove(waiter)
            raise

    async def _wait_for_pace(self) -> None:
        reserved = False
        while True:
            with self._lock:
                now = self._clock()
                wait = self._held_until - now
                if wait > 0:
                    reserved = False  # a moment that was reserved before the store's word is void
                elif reserved or not self._spacing:
                    return
                else:
                    begin = max(now, self._next_at)
                    self._next_at = begin + self._spacing
                    wait, reserved = begin - now, True
            if wait > 0:
                await self._sleep(wait)
