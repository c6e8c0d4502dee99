"""Answers and refusals over time, for the report: a fixed number of points however long a run is.

A point is one second at first; when there are too many, each two are merged and the span doubles.
For reports only: nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

_POINTS: Final = 60


@dataclass(frozen=True, slots=True)
class RateHistory:
    """Counts in consecutive spans of `seconds` each, the first beginning with the first request."""

    seconds: float = 1.0
    answered: tuple[int, ...] = ()
    throttled: tuple[int, ...] = ()

    def __add__(self, other: RateHistory) -> RateHistory:
        """The sum of both, as if they had begun at the same time."""
        span = max(self.seconds, other.seconds)
        ours, theirs = self._in_spans_of(span), other._in_spans_of(span)
        return RateHistory(
            span,
            tuple(sum(pair) for pair in zip_longest(ours.answered, theirs.answered, fillvalue=0)),
            tuple(sum(pair) for pair in zip_longest(ours.throttled, theirs.throttled, fillvalue=0)),
        )

    def _in_spans_of(self, span: float) -> RateHistory:
        history = self
        while history.seconds < span:
            history = RateHistory(
                history.seconds * 2, tuple(_halved(history.answered)), tuple(_halved(history.throttled))
            )
        return history


class Rates:
    """Counts answers and refusals, under the limiter's lock. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._start = clock()
        self._keyed = False
        self._span = 1.0
        self._answered: list[int] = []
        self._throttled: list[int] = []

    def answered(self, now: float, count: int = 1) -> None:
        point = self._point(now)  # first: it may replace the lists
        self._answered[point] += count

    def refused(self, now: float) -> None:
        point = self._point(now)
        self._throttled[point] += 1

    def history(self) -> RateHistory:
        return RateHistory(self._span, tuple(self._answered), tuple(self._throttled))

    def _point(self, now: float) -> int:
        if not self._keyed:
            self._start, self._keyed = now, True
        point = max(0, int((now - self._start) / self._span))
        while point >= _POINTS:
            self._answered = _halved(self._answered)
            self._throttled = _halved(self._throttled)
            self._span *= 2
            point = int((now - self._start) / self._span)
        while len(self._answered) <= point:
            self._answered.append(0)
            self._throttled.append(0)
        return point


def _halved(counts: Sequence[int]) -> list[int]:
    return [sum(counts[n : n + 2]) for n in range(0, len(counts), 2)]
