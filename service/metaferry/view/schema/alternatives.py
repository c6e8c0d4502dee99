"""What else an entry could be, by the figures of its columns. Pure.

A type is named only where every value fits it (as it is, or by the expression that is named with it), so
that taking the proposal rejects no row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from metaferry.lightly.schema import Observed, ValueType, default_for
from metaferry.planning.advice.spelling import written
from metaferry.planning.sql.rules import quote_text
from metaferry.view.schema.profile import Profile

#: Different numbers up to which they may be categories, and different texts above which they may be none.
FEW: Final = 20
MANY: Final = 1_000
#: Rows below which it says nothing that each has another value.
_ENOUGH: Final = 20
#: Unix time between 2000 and 2100, in seconds; and how many of a unit a second has.
_FIRST, _LAST = 946_684_800, 4_102_444_800
_UNITS: Final = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}
_YES_NO: Final = {"yes": "no", "y": "n", "on": "off", "t": "f", "1": "0"}
_SIMPLE: Final = re.compile(r'[A-Za-z_][A-Za-z0-9_]*|"[^"]+"')


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another type, its default, why, and the line of `metadata:` that it needs ("" where none)."""

    type: ValueType
    default: Any
    why: str
    write: str = ""


def alternatives(path: str, value_type: ValueType, profiles: Sequence[Profile]) -> tuple[Alternative, ...]:
    """Other types for the entry of a key path, of which `value_type` is the one it has."""
    filled = [each for each in profiles if each.filled]
    kinds = {each.observed for each in filled}
    if not filled or Observed.OTHER in kinds:
        return ()
    if kinds == {Observed.INTEGER}:
        found = _of_integers(path, filled)
    elif kinds <= {Observed.INTEGER, Observed.FLOAT}:
        found = _of_floats(filled)
    elif kinds == {Observed.STRING}:
        found = _of_text(path, filled)
    else:
        return ()
    return tuple(each for each in found if each.type is not value_type)


def _of_integers(path: str, profiles: Sequence[Profile]) -> Iterator[Alternative]:
    low, high = min(each.minimum for each in profiles), max(each.maximum for each in profiles)
    distinct = sum(each.distinct for each in profiles)
    if any(each.unfit[ValueType.NUMERIC_INT] for each in profiles):
        why = "numbers beyond ±2^53 lose digits: as text they keep them"
        yield from _cast(ValueType.OTHER_STRING, why, path, profiles, lambda sql: f"{sql}::VARCHAR")
        return
    if low >= 0 and high <= 1:
        why = "all values are 0 or 1"
        yield from _cast(ValueType.CATEGORICAL_BOOLEAN, why, path, profiles, lambda sql: f"{sql}::BOOLEAN")
    if distinct <= FEW:
        yield _as_is(ValueType.CATEGORICAL_INT, f"only {distinct} different values")
    for unit, many in _UNITS.items():
        if _FIRST * many <= low and high <= _LAST * many:
            yield _as_is(ValueType.CATEGORICAL_TIMESTAMP, f"all could be Unix time in {unit}")
    yield _as_is(ValueType.NUMERIC_INT, "numbers to be compared")
    yield _as_is(ValueType.NUMERIC_FLOAT, "where numbers with fractions may come later")


def _of_floats(profiles: Sequence[Profile]) -> Iterator[Alternative]:
    if not _unfit(ValueType.NUMERIC_INT, profiles):
        yield _as_is(ValueType.NUMERIC_INT, "all values are whole numbers")
    yield _as_is(ValueType.NUMERIC_FLOAT, "numbers to be compared")


def _of_text(path: str, profiles: Sequence[Profile]) -> Iterator[Alternative]:
    if not _unfit(ValueType.CATEGORICAL_BOOLEAN, profiles):
        yield _as_is(ValueType.CATEGORICAL_BOOLEAN, "all values are true or false")
    if not _unfit(ValueType.NUMERIC_INT, profiles):
        yield _as_is(ValueType.NUMERIC_INT, "all values are whole numbers, written as text")
    elif not _unfit(ValueType.NUMERIC_FLOAT, profiles):
        yield _as_is(ValueType.NUMERIC_FLOAT, "all values are numbers, written as text")
    if not _unfit(ValueType.CATEGORICAL_DATETIME, profiles):
        yield _as_is(ValueType.CATEGORICAL_DATETIME, "all values are dates")
    words = {each.value for one in profiles for each in one.examples}
    yes = next(
        (word for word in words if _YES_NO.get(str(word).lower()) in {str(w).lower() for w in words}), ""
    )
    if yes and len(words) == 2 and all(each.distinct <= 2 for each in profiles):
        why = "there are only " + " and ".join(sorted(f'"{word}"' for word in words))
        yield from _cast(
            ValueType.CATEGORICAL_BOOLEAN, why, path, profiles, lambda sql: f"{sql} = {quote_text(yes)}"
        )
    filled, distinct = sum(each.filled for each in profiles), max(each.distinct for each in profiles)
    if distinct > MANY or (distinct == filled >= _ENOUGH):
        yield _as_is(ValueType.OTHER_STRING, f"{distinct:,} different values are no categories")
    yield _as_is(ValueType.CATEGORICAL_STRING, "text that is one of some words")


def _unfit(value_type: ValueType, profiles: Sequence[Profile]) -> int:
    return sum(each.unfit[value_type] for each in profiles)


def _as_is(value_type: ValueType, why: str) -> Alternative:
    return Alternative(value_type, default_for(value_type), why)


def _cast(
    value_type: ValueType,
    why: str,
    path: str,
    profiles: Sequence[Profile],
    cast: Callable[[str], str],
) -> Iterator[Alternative]:
    """An alternative by an expression, where there is one place to write it: one source has the key."""
    if len(profiles) == 1 and profiles[0].expression:
        sql = profiles[0].expression.strip()
        line = written(path, cast(sql if _SIMPLE.fullmatch(sql) else f"({sql})"))
        yield Alternative(value_type, default_for(value_type), why, line)
