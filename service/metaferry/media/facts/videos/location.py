"""Positions as containers write them: ISO 6709 texts, and the `loci` box of 3GPP. Pure."""

from __future__ import annotations

import re
import struct
from typing import Final, NamedTuple

#: ISO 6709, annex H: latitude, longitude, perhaps altitude, perhaps the reference system.
_ISO_6709: Final = re.compile(
    r"([+-]\d{2,6}(?:\.\d+)?)([+-]\d{3,7}(?:\.\d+)?)([+-]\d+(?:\.\d+)?)?(CRS[\w:.-]*)?/?", re.ASCII
)


class Location(NamedTuple):
    """Degrees, north and east positive; metres above the reference, where given."""

    latitude: float
    longitude: float
    altitude: float | None


def iso_6709(text: str) -> Location | None:
    """`+51.4169-000.0806/`; degrees, degrees and minutes, or degrees, minutes and seconds. None if not."""
    if len(text) > 200 or (found := _ISO_6709.fullmatch(text.strip(" \0\r\n"))) is None:
        return None
    latitude, longitude = _degrees(found[1], 2), _degrees(found[2], 3)
    if latitude is None or longitude is None:
        return None
    return _checked(latitude, longitude, float(found[3]) if found[3] else None)


def of_loci(body: bytes) -> Location | None:
    """The position of a `loci` box (3GPP TS 26.244, 8.10): 16.16 numbers behind a name."""
    wide = body[6:8] in (b"\xfe\xff", b"\xff\xfe")
    at = 6
    if wide:
        while at + 2 <= len(body) and body[at : at + 2] != b"\0\0":
            at += 2
        at += 2
    else:
        end = body.find(b"\0", at)
        if end < 0:
            return None
        at = end + 1
    if at + 13 > len(body):
        return None
    longitude, latitude, altitude = struct.unpack(">3i", body[at + 1 : at + 13])
    return _checked(latitude / 65536, longitude / 65536, altitude / 65536)


def _degrees(text: str, digits: int) -> float | None:
    """Degrees of a number whose whole part has `digits` digits, or two or four more for minutes, seconds."""
    sign = -1.0 if text[0] == "-" else 1.0
    whole, point, fraction = text[1:].partition(".")
    match len(whole) - digits:
        case 0:
            return sign * float(text[1:])
        case 2:
            degrees, minutes = whole[:digits], float(f"{whole[digits:]}{point}{fraction}")
            return None if minutes >= 60 else sign * (int(degrees) + minutes / 60)
        case 4:
            minutes, seconds = (
                int(whole[digits : digits + 2]),
                float(f"{whole[digits + 2 :]}{point}{fraction}"),
            )
            if minutes >= 60 or seconds >= 60:
                return None
            return sign * (int(whole[:digits]) + minutes / 60 + seconds / 3600)
    return None


def _checked(latitude: float, longitude: float, altitude: float | None) -> Location | None:
    if abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return Location(latitude, longitude, altitude)
