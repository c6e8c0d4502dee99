"""Values of EXIF and XMP as facts: numbers, texts, times and degrees, or None for what is not known.

Pure functions. What is out of its range, what has no reference, and what may mean two things is not known:
nothing is guessed, a zone least of all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

#: Characters of a text; longer ones are no names of a camera.
_MAX_TEXT: Final = 500
_DATE: Final = r"(\d{4})[:\-/. ](\d{2})[:\-/. ](\d{2})"
_TIME: Final = r"(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?"
_TAKEN: Final = re.compile(_DATE + r"[ T]+" + _TIME + r"\s*(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d{2}):?(\d{2})", re.ASCII)
_DAY: Final = re.compile(_DATE, re.ASCII)
_INFINITE: Final = 0xFFFFFFFF
#: Digits of a fraction of a second that are kept.
_FRACTION: Final = 9
#: Minutes of the offsets that there are: from -12:00 to +14:00.
_OFFSETS: Final = (-12 * 60, 14 * 60)


def number(value: Any) -> float | None:
    """A number of whatever type: whole, rational as (numerator, denominator), or float.

    None for 0/0, for what is not finite, and for the largest numerator, which Exif has for infinity.
    """
    if isinstance(value, tuple):
        if len(value) != 2 or not value[1] or value[0] == _INFINITE:
            return None
        value = value[0] / value[1]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def positive(value: Any) -> float | None:
    """A number above 0: EXIF writes 0 for times, apertures and focal lengths that are not known."""
    found = number(value)
    return found if found is not None and found > 0 else None


def text(data: bytes | str | None) -> str | None:
    """A text without what pads it; None for an empty one, and for what is no text."""
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError:
            return None
    found = (data or "").strip(" \t\r\n\0")
    return found if found and len(found) <= _MAX_TEXT and found.isprintable() else None


def degrees(parts: Sequence[Any], reference: str | None, *, most: int) -> float | None:
    """Signed degrees of degrees, minutes and seconds, to 9 digits behind the point.

    `reference` is N, S, E or W in any case, `most` 90 or 180. None where one of the parts is not known or out
    of its range, and where there is no reference.
    """
    sign = {90: {"N": 1, "S": -1}, 180: {"E": 1, "W": -1}}[most].get((reference or "").strip().upper())
    numbers = [number(part) for part in parts]
    if sign is None or not 1 <= len(numbers) <= 3:
        return None
    found = 0.0
    for part, unit in zip(numbers, (1, 60, 3600), strict=False):
        if part is None or part < 0 or (unit > 1 and part > 60):
            return None
        found += part / unit
    return sign * round(found, 9) + 0.0 if found <= most else None  # + 0.0: no -0.0


def taken(date: str | None, fraction: str | None = None) -> tuple[str, str | None] | None:
    """The time that a camera wrote, `2008-10-22T16:28:39.68`, and the offset, if it is in the same text.

    `fraction` are the digits of SubSecTimeOriginal. None for what is no time, such as `0000:00:00 00:00:00`.
    """
    found = _TAKEN.fullmatch((date or "").strip(" \0"))
    if found is None:
        return None
    year, month, day, hour, minute, second, inside, offset = found.groups()
    try:
        instant = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
    except ValueError:
        return None
    digits = inside or (fraction or "").strip(" \0")
    tail = digits[:_FRACTION].rstrip("0") if digits.isascii() and digits.isdigit() else ""
    return instant.isoformat() + (f".{tail}" if tail else ""), offset_of(offset)


def offset_of(written: str | None) -> str | None:
    """An offset from UTC as `+09:00`. None for what is none."""
    written = (written or "").strip(" \0")
    if written == "Z":
        return "+00:00"
    found = _OFFSET.fullmatch(written)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    minutes = -minutes if found[1] == "-" else minutes
    if int(found[3]) > 59 or not _OFFSETS[0] <= minutes <= _OFFSETS[1]:
        return None
    return f"{found[1]}{found[2]}:{found[3]}"


def utc_of(local: str, offset: str) -> str | None:
    """The same instant as `2008-10-22T07:28:39.68Z`; of texts that `taken` and `offset_of` gave."""
    whole, point, fraction = local.partition(".")
    minutes = int(offset[1:3]) * 60 + int(offset[4:])
    try:
        instant = datetime.fromisoformat(whole) - timedelta(minutes=-minutes if offset[0] == "-" else minutes)
    except OverflowError:
        return None
    return f"{instant.isoformat()}{point}{fraction}Z"


def gps_utc(date: str | None, time: Sequence[Any]) -> str | None:
    """The instant of GPSDateStamp and GPSTimeStamp, which are UTC: `2008-10-23T14:27:07Z`."""
    found = _DAY.fullmatch((date or "").strip(" \0"))
    parts = [one for part in time if (one := number(part)) is not None]
    if found is None or len(parts) != 3 or min(parts) < 0:
        return None
    hour, minute, second = parts
    if hour % 1 or minute % 1:
        return None
    year, month, day = map(int, found.groups())
    try:
        instant = datetime(year, month, day, int(hour), int(minute), int(second))
    except (ValueError, OverflowError):
        return None
    tail = f"{second % 1:.6f}"[2:].rstrip("0")
    return f"{instant.isoformat()}{f'.{tail}' if tail else ''}Z"
