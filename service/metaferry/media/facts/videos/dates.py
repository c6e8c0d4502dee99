"""Dates as containers write them. Pure; what is no date is None.

Whether a date is right is another matter: see `VideoFacts.creation_time`.
"""

from __future__ import annotations

import datetime
import re
from typing import Final

_UTC: Final = datetime.UTC

#: MP4 counts seconds from here (ISO/IEC 14496-12, 8.2.2).
_1904: Final = datetime.datetime(1904, 1, 1, tzinfo=_UTC)
#: Matroska counts nanoseconds from here (RFC 9559, 5.1.2.11).
_2001: Final = datetime.datetime(2001, 1, 1, tzinfo=_UTC)

#: No container is older, and none of today is younger: what lies outside is another unit or epoch, or a
#: clock that was never set.
_FIRST: Final = datetime.datetime(1970, 1, 2, tzinfo=_UTC)
_LAST: Final = datetime.datetime(2100, 1, 1, tzinfo=_UTC)

_WITH_ZONE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_OF_C: Final = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})", re.ASCII)
_OF_CAMERAS: Final = re.compile(r"(\d{4})[:/-](\d\d)[:/-](\d\d) +(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def since_1904(seconds: int) -> datetime.datetime | None:
    """The date of an mvhd box; None for 0, which means unset, and for dates before 1970."""
    return _plausible(_1904, seconds * 1_000_000) if seconds else None


def since_2001(nanoseconds: int) -> datetime.datetime | None:
    """The date of Matroska's DateUTC."""
    return _plausible(_2001, nanoseconds // 1000)


def with_zone(text: str) -> tuple[datetime.datetime | None, datetime.datetime | None]:
    """(local time without a zone, the instant in UTC) of an ISO 8601 text such as Apple's creationdate.

    The second is None where the text has no zone, both where it is no date.
    """
    found = _WITH_ZONE.fullmatch(text.strip())
    if found is None:
        return None, None
    day, hour, fraction, zone = found.groups()
    try:
        local = datetime.datetime.fromisoformat(f"{day}T{hour}{fraction.ljust(7, '0') if fraction else ''}")
        if zone is None:
            return local, None
        return local, datetime.datetime.fromisoformat(f"{local.isoformat()}{zone}").astimezone(_UTC)
    except (ValueError, OverflowError):
        return None, None


def of_avi(text: str) -> datetime.datetime | None:
    """The local time of an IDIT chunk: `Mon Mar 10 15:04:43 2003`, or `2003:03:10 15:04:43`."""
    text = text.strip(" \0\r\n\t")
    try:
        if found := _OF_C.fullmatch(text):
            if found[1] not in _MONTHS:
                return None
            day, hour, minute, second, year = (int(part) for part in found.groups()[1:])
            return datetime.datetime(year, _MONTHS.index(found[1]) + 1, day, hour, minute, second)
        if found := _OF_CAMERAS.fullmatch(text):
            year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
            return datetime.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    return None


def _plausible(epoch: datetime.datetime, microseconds: int) -> datetime.datetime | None:
    try:
        date = epoch + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return date if _FIRST <= date < _LAST else None
