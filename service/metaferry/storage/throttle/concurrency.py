"""The concurrency limit that gives the best throughput, found by trial.

Too low a limit leaves a distant store idle; too high a one makes threads wait for each other and lowers
the rate. So the limit is doubled while the rate grows clearly, and from time to time twice and half of it
are tried again. Pure: rates go in, limits come out.
"""

from __future__ import annotations

from typing import Final

#: A higher limit has to be faster by this factor; a lower one at least this fast.
GAIN: Final = 1.10
AS_GOOD: Final = 0.97
#: Seconds between two trials, once a limit has been found.
PAUSE: Final = 5.0


class ConcurrencyController:
    """`now` is the concurrency limit; `measured` takes the rate that it gave."""

    def __init__(self, start: int, most: int) -> None:
        self._most = max(1, most)
        self.now = min(self._most, max(1, start))
        self._base: tuple[int, float] | None = None  # the limit before the trial under way, and its rate
        self._next_trial = float("-inf")
        self._up = True  # whether the next trial is of a higher limit
        self.climbing = True  # no trial has failed yet: the next one follows at once

    def measured(self, rate: float, when: float) -> None:
        """`rate` is the answers a second at the present limit while it was reached; `when` the time now."""
        if self._base is None:
            self._try(rate, when)
            return
        limit, before = self._base
        self._base = None
        higher = self.now > limit
        if rate >= before * (GAIN if higher else AS_GOOD):
            self._up = higher  # go on in this direction
            if self.climbing:
                self._try(rate, when)
                return
        else:
            self.now = limit
            self.climbing = False
            self._up = not self._up
        self._next_trial = when + PAUSE

    def disturbed(self) -> None:
        """Ends a trial without a result: the limit was not reached, or the store throttled."""
        if self._base is not None:
            self.now, self._base = self._base[0], None

    def _try(self, rate: float, when: float) -> None:
        if when < self._next_trial:
            return
        other = min(self._most, self.now * 2) if self._up else max(1, self.now // 2)
        if other == self.now:
            self._up = not self._up
            self._next_trial = when + PAUSE
            return
        self._base, self.now = (self.now, rate), other
