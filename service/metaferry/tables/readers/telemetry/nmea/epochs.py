"""Sentences of one time as one sample, and the day that it was. Pure: sentences in, samples out.

Only RMC and ZDA say a day. Sentences before the first one have the day of that one, counted back; those after
it go on from it: at midnight the clock starts again, so a step back by more than half a day is the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from metaferry.tables.readers.telemetry.nmea.sentences import Sentence
from metaferry.tables.readers.telemetry.times import DAY

#: Samples that wait for a day, at most.
MOST_WAITING: Final = 20_000
_NOON: Final = DAY // 2
#: Types that say the time.
TIMED: Final = frozenset({"RMC", "GGA", "GNS", "GLL", "ZDA"})


@dataclass(slots=True)
class Epoch:
    """What the sentences of one time say; `line` is that of the first. `day` is of the sentences, or None."""

    line: int
    clock: int | None = None
    day: int | None = None
    is_invalid: bool = False
    has_fix: bool = False
    said: set[tuple[str, str]] = field(default_factory=set)
    values: dict[str, Any] = field(default_factory=dict)

    def takes(self, sentence: Sentence) -> bool:
        """Whether a sentence is of the same time, and the first of its kind: a clock may show whole seconds
        only, for several samples in each."""
        if (sentence.talker, sentence.type) in self.said:
            return False
        if sentence.type not in TIMED:
            return True
        if self.clock is None or sentence.clock is None:
            return self.clock == sentence.clock or TIMED.isdisjoint(kind for _, kind in self.said)
        return sentence.clock == self.clock

    def add(self, sentence: Sentence) -> None:
        """The first sentence that says something counts."""
        self.said.add((sentence.talker, sentence.type))
        if self.clock is None:
            self.clock = sentence.clock
        if self.day is None:
            self.day = sentence.day
        self.is_invalid |= sentence.is_valid is False
        self.has_fix |= sentence.is_valid is True
        for name, value in sentence.values.items():
            if value is not None:
                self.values.setdefault(name, value)
        self.values.setdefault("talker", sentence.talker)


class Epochs:
    """Samples out of sentences. `invalid` counts those that the receiver marks so."""

    def __init__(self) -> None:
        self.invalid = 0
        self._now: Epoch | None = None

    def add(self, sentence: Sentence, line: int) -> Iterator[Epoch]:
        """The sample that ends with this sentence, where one does."""
        if self._now is None or not self._now.takes(sentence):
            yield from self.end()
            self._now = Epoch(line)
        self._now.add(sentence)

    def end(self) -> Iterator[Epoch]:
        """The last one."""
        epoch, self._now = self._now, None
        if epoch is None:
            return
        if epoch.is_invalid:  # its clock may be a guess too, and dates nothing
            self.invalid += 1
        elif epoch.has_fix or epoch.day is not None:
            yield epoch


class Dated(NamedTuple):
    """A sample with its time: nanoseconds since 1970, or those since midnight of the first day."""

    epoch: Epoch
    ns: int | None
    elapsed: int | None


class Days:
    """Gives samples their day. `undated` counts those of which no sentence says it."""

    def __init__(self, first: int | None) -> None:
        self.undated = 0
        self._day = first
        self._clock: int | None = None
        self._waiting: list[Epoch] = []
        self._relative = False

    def add(self, epoch: Epoch) -> Iterator[Dated]:
        """The samples that have their time now."""
        clock = epoch.clock or 0
        if epoch.day is not None:
            if self._waiting:
                yield from self._back_from(epoch.day, clock)
            self._day, self._relative = epoch.day, False
        elif self._day is None:
            self._waiting.append(epoch)
            if len(self._waiting) >= MOST_WAITING:
                yield from self.end()
            return
        elif self._clock is not None:
            self._day += _step(self._clock, clock)
        self._clock = clock
        if epoch.has_fix:
            yield self._timed(epoch)

    def end(self) -> Iterator[Dated]:
        """Those that wait for a day, which does not come."""
        waiting, self._waiting = self._waiting, []
        if waiting and self._day is None:
            self._day, self._relative = 0, True
        for epoch in waiting:
            yield from self.add(epoch)

    def _timed(self, epoch: Epoch) -> Dated:
        ns = (self._day or 0) * DAY + (epoch.clock or 0)
        if self._relative:
            self.undated += 1
            return Dated(epoch, None, ns)
        return Dated(epoch, ns, None)

    def _back_from(self, day: int, clock: int) -> Iterator[Dated]:
        waiting, self._waiting = self._waiting, []
        days = []
        for epoch in reversed(waiting):
            day -= _step(epoch.clock or 0, clock)
            clock = epoch.clock or 0
            days.append(day)
        for epoch, its in zip(waiting, reversed(days), strict=True):
            if epoch.has_fix:
                yield Dated(epoch, its * DAY + (epoch.clock or 0), None)


def _step(before: int, after: int) -> int:
    """Days between two times of day: 1 over midnight, -1 back over it, else 0."""
    if before - after > _NOON:
        return 1
    return -1 if after - before > _NOON else 0
