"""How the values of a column become codes of one byte: equal bins for numbers, the commonest for the rest.

Pure. Codes are in the order in which they are drawn; `code_sql` is the rule as SQL. A column has at most
`MOST_CODES` codes, those for values outside the bins and for missing ones included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metaferry.planning.sql.rules import quote_text

#: Bins of a number, and labels of a category with the one for all others.
MOST_BINS: Final = 40
#: And below, above, missing.
MOST_CODES: Final = MOST_BINS + 3

#: Bins cover the middle 99 % of the values alone where all values span this many times as much.
TAIL: Final = 3.0

_MANTISSAS: Final = (1, 2, 5)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
#: Bins of points in time, in seconds; above a year, years of 365 days times 1, 2, 5, 10 …
_TIME_STEPS: Final = (
    *(1.0, 2.0, 5.0, 10.0, 30.0, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 182 * _DAY),
)


@dataclass(frozen=True, slots=True)
class NumberBins:
    """Equal bins `[low + i * step, low + (i + 1) * step)`; the last one holds its upper end as well.

    `below` and `above`: there are values outside of the bins, which then have the first code, and the one
    after the last bin. `missing`: there are rows without a value, which have the last code.
    """

    low: float
    step: float
    count: int
    below: bool = False
    above: bool = False
    missing: bool = False

    @property
    def codes(self) -> int:
        return self.count + self.below + self.above + self.missing

    @property
    def high(self) -> float:
        return self.low + self.count * self.step

    def code_sql(self, value: str) -> str:
        """The code of a DOUBLE expression."""
        first = int(self.below)
        after = first + self.count
        at = f"floor(({value} - {self.low!r}) / {self.step!r})"
        inside = f"{first} + CAST(greatest(0, least({self.count - 1}, {at})) AS INTEGER)"
        return (
            f"CASE WHEN {value} IS NULL THEN {self.codes - 1} "
            + (f"WHEN {value} < {self.low!r} THEN 0 " if self.below else "")
            + (f"WHEN {value} > {self.high!r} THEN {after} " if self.above else "")
            + f"ELSE {inside} END"
        )

    def fine_sql(self, value: str) -> str:
        """Where in its bin a value is, 0 to 255; 128 for one outside."""
        at = f"({value} - {self.low!r}) / {self.step!r}"
        within = f"greatest(0, least(255, ({at} - greatest(0, least({self.count - 1}, floor({at})))) * 256))"
        return (
            f"CASE WHEN {value} BETWEEN {self.low!r} AND {self.high!r} "
            f"THEN CAST(floor({within}) AS INTEGER) ELSE 128 END"
        )


@dataclass(frozen=True, slots=True)
class Labels:
    """One code a value, in this order, then `other` for all others and `missing` for none."""

    values: tuple[str, ...]
    other: bool = False
    missing: bool = False

    @property
    def codes(self) -> int:
        return len(self.values) + self.other + self.missing

    def code_sql(self, value: str) -> str:
        """The code of a VARCHAR expression."""
        last = self.codes - 1
        if not self.values:
            return f"CASE WHEN {value} IS NULL THEN {last} ELSE 0 END"
        listed = ", ".join(quote_text(each) for each in self.values)
        known = f"enum_code(TRY_CAST({value} AS ENUM({listed})))"
        return f"CASE WHEN {value} IS NULL THEN {last} ELSE coalesce({known}, {len(self.values)}) END"


def number_bins(
    low: float,
    high: float,
    *,
    core: tuple[float, float],
    integer: bool = False,
    time: bool = False,
    missing: bool = False,
) -> NumberBins:
    """Bins for values from `low` to `high`, the middle 99 % of which are within `core`.

    Bins begin at round numbers. Those of integers all hold the same number of integers. Where a few values
    lie far out, the bins cover `core`, and the others are below or above.
    """
    from_, to = low, high
    if 0 < core[1] - core[0] < (high - low) / TAIL:
        from_, to = core
    if low == high or not math.isfinite(high - low):
        return NumberBins(low, _least_step(low, integer), 1, above=high > low, missing=missing)
    step = _nice(max((to - from_) / MOST_BINS, _least_step(to, integer)), time=time)
    while True:
        start = math.floor(from_ / step) * step
        count = math.floor((to - start) / step) + 1
        if not integer and count > 1 and start + (count - 1) * step >= to:
            count -= 1  # the last bin holds its upper end
        if count <= MOST_BINS:
            break
        step = _nice(step * 1.01, time=time)
    bins = NumberBins(start, step, count)
    return NumberBins(start, step, count, below=low < start, above=high > bins.high, missing=missing)


def labels(commonest: Sequence[str], *, distinct: int, missing: bool, numeric: bool = False) -> Labels:
    """Labels of a column: all of its values where they are few, else the 39 commonest and other.

    `commonest` are values by falling number; `distinct`: how many there are, at least. `numeric`: they are
    numbers, shown by size.
    """
    whole = distinct <= len(commonest) <= MOST_BINS
    values = tuple(commonest if whole else commonest[: MOST_BINS - 1])
    if numeric:
        values = tuple(sorted(values, key=lambda text: (float(text), text)))
    return Labels(values, other=not whole, missing=missing)


def _least_step(value: float, integer: bool) -> float:
    """The smallest step that a number of this size can be told apart by, times a few."""
    return 1.0 if integer else max(math.ulp(value) * 4, 1e-300)


def _nice(least: float, *, time: bool) -> float:
    """The smallest of 1, 2, 5, 10, 20 … that is `least` or above; of times, a round one."""
    if time:
        for step in _TIME_STEPS:
            if step >= least:
                return step
        return 365 * _DAY * max(1.0, _nice(least / (365 * _DAY), time=False))
    power = math.floor(math.log10(least))
    for exponent in (power, power + 1):
        for mantissa in _MANTISSAS:
            step = float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent
            if step >= least:
                return step
    return float(10.0 ** (power + 2))
