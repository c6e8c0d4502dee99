"""Times of samples as int64 nanoseconds since 1970, in SQL; nothing here reads or guesses.

What says its zone is an instant. What says none is a time of a clock, and the zone of the job makes an
instant of it; without one it has no meaning. A number has a unit, said or told by its magnitude.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from metaferry.job.readers.time_join import Unit
from metaferry.tables.binding import nearest
from metaferry.tables.records.frames import INTEGERS
from metaferry.tables.staging import quote_text

if TYPE_CHECKING:
    import duckdb

#: Nanoseconds of each unit of a number.
UNITS: Final[dict[Unit, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
#: Nanoseconds from 1970 beyond which no instant is taken: 133 years. Any two of them have a difference that
#: an int64 holds.
LIMIT: Final = 4_200_000_000_000_000_000
#: Seconds of 1990 and of 2100: numbers between them are times in seconds, and so on for the other units.
_YEARS: Final = (631_152_000, 4_102_444_800)
#: Text of a date and a time of day that ends with a zone.
_ZONED: Final = r"^(.*[0-9]:[0-9]{2}(?:\.[0-9]+)?)\s*(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)\s*$"
_NUMBER: Final = r"^\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*$"

#: What a column of times holds: instants, times without a zone, numbers, or text that may be any of them.
Kind: TypeAlias = Literal["instant", "clock", "number", "text"]


def kind_of(type_: str) -> Kind | None:
    """What times of a type of the engine are; None where it holds none."""
    if type_ in ("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"):
        return "instant"
    if type_.startswith("TIMESTAMP"):
        return "clock"
    if type_ in INTEGERS | {"FLOAT", "DOUBLE"} or type_.startswith("DECIMAL"):
        return "number"
    return "text" if type_ in ("VARCHAR", '"NULL"') else None


def unit_of(least: float, most: float) -> Unit | None:
    """The unit in which numbers from `least` to `most` are times between 1990 and 2100; None where they are
    in none, such as seconds of a video."""
    for unit, factor in UNITS.items():
        scale = UNITS["s"] // factor
        if _YEARS[0] * scale <= least and most <= _YEARS[1] * scale:
            return unit
    return None


def number_sql(value: str, type_: str, unit: Unit) -> str:
    """SQL of a number in `unit` as nanoseconds, rounded; NULL for what is none or too large. Exact: of a
    double all its digits, of a decimal nine after the point."""
    factor = UNITS[unit]
    if type_ in INTEGERS:
        return f"TRY_CAST(TRY({value}::HUGEINT * {factor}) AS BIGINT)"
    if type_ in ("FLOAT", "DOUBLE"):
        whole = f"floor({value}::DOUBLE)"
        rest = f"round(({value}::DOUBLE - {whole}) * {factor})"
        total = f"TRY_CAST({whole} AS HUGEINT) * {factor} + TRY_CAST({rest} AS HUGEINT)"
        return f"CASE WHEN isfinite({value}) THEN TRY_CAST(TRY({total}) AS BIGINT) END"
    decimal = f"TRY_CAST({value} AS DECIMAL(28,9))"
    return f"TRY_CAST(round(TRY({decimal} * {factor}::DECIMAL(10,0))) AS BIGINT)"


def within(instant: str) -> str:
    """SQL of an instant that can be computed with; NULL for one that is centuries away."""
    return f"CASE WHEN ({instant}) BETWEEN -{LIMIT} AND {LIMIT} THEN {instant} END"


def clock_sql(local: str, zone: str) -> str:
    """SQL of nanoseconds of a clock in `zone` as those of an instant. `zone` is known (`check_zone`).

    Of an hour that a clock shows twice it is the second; a time that it leaps over is as long after the leap.
    """
    offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", zone)
    if offset is not None:
        shift = (int(offset[2]) * 60 + int(offset[3])) * 60 * UNITS["s"]
        return f"({local} {'-' if offset[1] == '+' else '+'} {shift})"
    if zone.upper() in ("UTC", "Z", "GMT"):
        return local
    below = f"((({local}) % 1000 + 1000) % 1000)"
    shown = f"make_timestamp((({local}) - {below}) // 1000)"
    return f"(epoch_us(timezone({quote_text(zone)}, {shown})) * 1000 + {below})"


def text_sql(value: str, zone: str | None) -> str:
    """SQL of ISO 8601 text as nanoseconds; NULL for what is none, and for a time without a zone where there
    is no `zone` for it."""
    plain = f"TRY(epoch_ns(TRY_CAST({value} AS TIMESTAMP_NS)))"
    local = clock_sql(plain, zone) if zone is not None else "NULL::BIGINT"
    # A cast to TIMESTAMP_NS passes over an offset, and one to TIMESTAMPTZ knows no nanoseconds.
    without = f"regexp_extract({value}, {quote_text(_ZONED)}, 1)"
    written = f"replace(regexp_extract({value}, {quote_text(_ZONED)}, 2), ':', '')"
    hours = f"TRY_CAST(nullif(substr({written}, 2, 2), '') AS BIGINT)"
    minutes = f"TRY_CAST(nullif(substr({written}, 4, 2), '') AS BIGINT)"
    seconds = f"(coalesce({hours}, 0) * 3600 + coalesce({minutes}, 0) * 60)"
    shift = f"CASE WHEN starts_with({written}, '-') THEN -{seconds} ELSE {seconds} END"
    parsed = f"(TRY(epoch_ns(TRY_CAST({without} AS TIMESTAMP_NS))) - {shift} * {UNITS['s']})"
    return f"CASE WHEN {has_zone(value)} THEN {parsed} ELSE {local} END"


def has_zone(value: str) -> str:
    """SQL of whether text says its zone."""
    return f"regexp_matches({value}, {quote_text(_ZONED)})"


def is_number(value: str) -> str:
    """SQL of whether text is a number."""
    return f"regexp_matches({value}, {quote_text(_NUMBER)})"


@dataclass(frozen=True, slots=True)
class Clock:
    """How the times of a column are read: its type, and what the job says of unit and zone."""

    type: str
    unit: Unit | None = None
    zone: str | None = None

    @property
    def kind(self) -> Kind | None:
        """What the type holds."""
        return kind_of(self.type)

    def sql(self, value: str) -> str:
        """SQL of the column as nanoseconds; NULL where it has no time. Of numbers the unit is known then."""
        match self.kind:
            case "instant":
                return f"TRY(epoch_ns({value}))"
            case "clock":
                local = f"TRY(epoch_ns({value}::TIMESTAMP_NS))"
                return clock_sql(local, self.zone) if self.zone is not None else "NULL::BIGINT"
            case "number" if self.unit is not None:
                return number_sql(value, self.type, self.unit)
            case "text" if self.unit is not None:
                number = number_sql(value, "DECIMAL", self.unit)
                return f"CASE WHEN {is_number(value)} THEN {number} ELSE {text_sql(value, self.zone)} END"
            case "text":
                return text_sql(value, self.zone)
        return "NULL::BIGINT"


def known_zone(con: duckdb.DuckDBPyConnection, zone: str) -> tuple[bool, str]:
    """Whether the engine knows a zone; and the names that look like one that it does not, for advice."""
    if re.fullmatch(r"[+-]\d\d:\d\d", zone) or zone.upper() in ("UTC", "Z", "GMT"):
        return True, ""
    names = [name for (name,) in con.execute("SELECT name FROM pg_timezone_names() ORDER BY name").fetchall()]
    if zone in names:
        return True, ""
    return False, " or ".join(nearest(zone, names))
