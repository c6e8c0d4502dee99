"""How many requests at once are worth having: found by trying, since nobody can know it beforehand.

Too few leave a distant store idle; too many only make threads wait for each other, at the cost of
the rate. So a width is doubled while that makes answers come clearly faster, and from time to time
the next wider and the next narrower one are tried again. Pure: rates go in, widths come out.
"""

from __future__ import annotations

from typing import Final

#: A wider window has to be so much faster than the one before it; a narrower one almost as fast.
GAIN: Final = 1.10
AS_GOOD: Final = 0.97
#: Seconds between two trials, once a width has been found.
PAUSE: Final = 5.0


class ConcurrencyController:
    """`now` is how many requests may be under way; `measured` is told what came of it."""

    def __init__(self, start: int, most: int) -> None:
        self._most = max(1, most)
        self.now = min(self._most, max(1, start))
        self._base: tuple[int, float] | None = None  # the width before the trial under way, and its rate
        self._next_trial = float("-inf")
        self._up = True  # which way the next trial goes
        self.climbing = True  # no trial has failed yet: the next one follows at once

    def measured(self, rate: float, when: float) -> None:
        """A while at the present width, all of it in use, had so many answers a second."""
        if self._base is None:
            self._try(rate, when)
            return
        limit, before = self._base
        self._base = None
        wider = self.now > limit
        if rate >= before * (GAIN if wider else AS_GOOD):
            self._up = wider  # it went well this way: go on
            if self.climbing:
                self._try(rate, when)
                return
        else:
            self.now = limit
            self.climbing = False
            self._up = not self._up
        self._next_trial = when + PAUSE

    def disturbed(self) -> None:
        """What was measured so far tells nothing: not all was in use, or the store asked for less."""
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
