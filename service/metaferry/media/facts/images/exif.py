"""What the tags of an Exif block say, as facts. Pure (Exif 3.0, chapter 4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from metaferry.media.facts.images.ifds import Ifds, Value, whole
from metaferry.media.facts.images.values import (
    degrees,
    gps_utc,
    number,
    offset_of,
    positive,
    taken,
    text,
    utc_of,
)

#: The ISO of a camera that has no room for it: the recommended exposure index has it.
_ISO_BEYOND: Final = 65_535


def exif_facts(ifds: Ifds) -> dict[str, Any]:
    """The facts that are known, by name; and `orientation`."""
    found: dict[str, Any] = {
        "make": _text(ifds.main.get(0x010F)),
        "model": _text(ifds.main.get(0x0110)),
        "lens": _text(ifds.exif.get(0xA434)),
        "exposure_time": positive(_first(ifds.exif.get(0x829A))),
        "f_number": positive(_first(ifds.exif.get(0x829D))),
        "iso": _iso(ifds),
        "focal_length": positive(_first(ifds.exif.get(0x920A))),
        "focal_length_35mm": positive(_first(ifds.exif.get(0xA405))),
    }
    orientation = whole(ifds.main.get(0x0112))
    if orientation is not None and 1 <= orientation <= 8:
        found["orientation"] = orientation
    found |= _time(ifds) | _place(ifds)
    return {name: value for name, value in found.items() if value is not None}


def _time(ifds: Ifds) -> dict[str, Any]:
    known = taken(_text(ifds.exif.get(0x9003)), _text(ifds.exif.get(0x9291)))
    by_gps = gps_utc(_text(ifds.gps.get(29)), _list(ifds.gps.get(7)))
    if known is None:
        return {"taken_utc": by_gps}
    local, inside = known
    offset = offset_of(_text(ifds.exif.get(0x9011))) or inside
    utc = utc_of(local, offset) if offset is not None else None
    return {"taken": local, "taken_offset": offset, "taken_utc": utc or by_gps}


def _place(ifds: Ifds) -> dict[str, Any]:
    gps = ifds.gps
    lat = degrees(_list(gps.get(2)), _text(gps.get(1)), most=90)
    lon = degrees(_list(gps.get(4)), _text(gps.get(3)), most=180)
    found: dict[str, Any] = {}
    if lat is not None and lon is not None:
        found |= {"lat": lat, "lon": lon}
    height, reference = number(_first(gps.get(6))), _reference(gps.get(5))
    if height is not None and reference is not None:
        found["altitude"] = -height if reference == 1 and height > 0 else height
    return found


def _reference(value: Value | None) -> int | None:
    """0 above the level of the sea, 1 below: a byte, or what some writers take for one. Without it the
    standard says 0."""
    if value is None:
        return 0
    if isinstance(value, bytes):
        value = (value[0] if value else 0,)
    found = number(_first(value))
    # 2 and 3 are above and below the sea level as Exif 3.0 has them.
    return {0.0: 0, 1.0: 1, 2.0: 0, 3.0: 1, 48.0: 0, 49.0: 1}.get(found) if found is not None else None


def _iso(ifds: Ifds) -> int | None:
    found = whole(ifds.exif.get(0x8827))
    if found == _ISO_BEYOND:
        found = whole(ifds.exif.get(0x8832)) or found
    return found if found is not None and 0 < found < 1 << 31 else None


def _first(value: Value | None) -> Any:
    return value[0] if isinstance(value, tuple) and value else None


def _list(value: Value | None) -> Sequence[Any]:
    return value if isinstance(value, tuple) else ()


def _text(value: Value | None) -> str | None:
    """A text; some writers give the type of bytes to it."""
    if isinstance(value, tuple) and value and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        value = bytes(value).partition(b"\0")[0]
    return text(value) if isinstance(value, bytes) else None
