"""Times of recordings as nanoseconds since 1970, and whether their zone is known. Pure functions.

A time without a zone stays one: what it is in UTC, only the owner of the clock knows. ISO 8601 as GPX has it:
xsd:dateTime (GPX 1.1 schema), with any number of digits after the second, of which nine count.
"""

from __future__ import annotations

import datetime
import re
from typing import Final, NamedTuple

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown

#: Nanoseconds of a second, and of a day.
SECOND: Final = 10**9
DAY: Final = 86_400 * SECOND
#: When the time of GPS began, 1980-01-06: a clock that shows less was never set, or counts from its start.
GPS_BEGAN: Final = 315_964_800 * SECOND
#: What 64 bits of nanoseconds hold: up to 2262-04-11.
_LAST: Final = 2**63
_EPOCH: Final = datetime.date(1970, 1, 1).toordinal()
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)? ?(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)


class Time(NamedTuple):
    """Nanoseconds since 1970, in UTC where `is_utc`, and otherwise as a clock on a wall shows them."""

    ns: int
    is_utc: bool


def iso_time(text: str) -> Time:
    """A time as ISO 8601 writes it. Raises Bad, also for one of a clock that was never set."""
    found = _ISO.fullmatch(text)
    if found is None:
        raise Bad(f"the time is {shown(text)}, and no time of ISO 8601", "time", text, "2026-05-01T12:00:00Z")
    year, month, day, hour, minute = map(int, found.group(1, 2, 3, 4, 5))
    second, fraction, zone = int(found[6] or 0), found[7] or "", found[8]
    try:
        days = days_since_1970(year, month, day)
        clock = clock_ns(hour, minute, second, fraction)
        offset = 0 if zone is None else _offset(zone)
    except ValueError as error:
        raise Bad(f"the time is {shown(text)}: {error}", "time", text) from None
    ns = days * DAY + clock - offset
    check_set(ns, text)
    return Time(ns, zone is not None)


def check_set(ns: int, text: str) -> None:
    """Raises Bad for a time that only a clock which was never set shows, or that no column holds."""
    if ns < GPS_BEGAN:
        raise Bad(
            f"the time is {shown(text)}, before there was GPS: the clock of the device was not set",
            "time",
            text,
            "a time after 1980",
        )
    if ns >= _LAST:
        raise Bad(f"the time is {shown(text)}, and times are known up to 2262", "time", text)


def ns_text(ns: int) -> str:
    """A time for people."""
    try:
        found = datetime.datetime.fromtimestamp(ns // SECOND, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ns} ns"
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def days_since_1970(year: int, month: int, day: int) -> int:
    """Raises ValueError for a day that no calendar has."""
    try:
        return datetime.date(year, month, day).toordinal() - _EPOCH
    except (ValueError, OverflowError):  # its words depend on the version of Python
        raise ValueError("no calendar has that day") from None


def clock_ns(hour: int, minute: int, second: int, fraction: str = "") -> int:
    """Nanoseconds since midnight; a leap second is the one that follows it. Raises ValueError."""
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second or fraction.strip("0"))):
        raise ValueError("no clock shows that")
    return ((hour * 60 + minute) * 60 + second) * SECOND + int(fraction[:9].ljust(9, "0") or 0)


def _offset(zone: str) -> int:
    if zone in "Zz":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 18 or minutes > 59:
        raise ValueError("there is no such zone")
    return (hours * 60 + minutes) * 60 * SECOND * (-1 if zone[0] == "-" else 1)
