"""What an XMP packet says, as facts, for what no Exif block says. Pure.

A packet is RDF in XML: properties are attributes or elements of a Description. One with a document type is
refused, so that there are no entities; its depth and its length are bounded.
"""

from __future__ import annotations

import re
from typing import Any, Final
from xml.parsers import expat

from metaferry.media.facts.images.values import degrees, number, offset_of, positive, taken, text, utc_of

_EXIF: Final = "http://ns.adobe.com/exif/1.0/"
_EXIF_EX: Final = "http://cipa.jp/exif/1.0/"
_TIFF: Final = "http://ns.adobe.com/tiff/1.0/"
_AUX: Final = "http://ns.adobe.com/exif/1.0/aux/"
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
#: Between a namespace and a name, as expat joins them.
_MARK: Final = " "
_MAX_DEPTH: Final = 64
#: Properties that are remembered, and characters of each.
_MAX_TEXT: Final = 4 << 10
_WANTED: Final = {
    **{
        f"{_EXIF}{_MARK}{name}": name
        for name in (
            *("GPSLatitude", "GPSLongitude", "GPSAltitude", "GPSAltitudeRef", "GPSTimeStamp"),
            *("DateTimeOriginal", "ExposureTime", "FNumber", "FocalLength", "ISOSpeedRatings"),
            *("FocalLengthIn35mmFilm",),
        )
    },
    f"{_EXIF_EX}{_MARK}LensModel": "LensModel",
    f"{_EXIF_EX}{_MARK}PhotographicSensitivity": "ISOSpeedRatings",
    f"{_AUX}{_MARK}Lens": "Lens",
    f"{_TIFF}{_MARK}Make": "Make",
    f"{_TIFF}{_MARK}Model": "Model",
    f"{_TIFF}{_MARK}Orientation": "Orientation",
}
#: `0,4.21601S` and `54,59,22.8N`: degrees, minutes with a fraction or seconds, and the reference.
_COORDINATE: Final = re.compile(
    r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEWnsew])", re.ASCII
)
_RATIONAL: Final = re.compile(r"(-?\d{1,20})/(\d{1,20})|(-?\d{1,20}(?:\.\d{1,20})?)", re.ASCII)


class NoPacket(Exception):
    """What was taken for a packet is none; `str` says why, in one line."""


def xmp_facts(packet: bytes) -> dict[str, Any]:
    """The facts that are known, by name; and `orientation`. Raises `NoPacket`."""
    said = _properties(packet)
    found: dict[str, Any] = {
        "make": text(said.get("Make")),
        "model": text(said.get("Model")),
        "lens": text(said.get("LensModel")) or text(said.get("Lens")),
        "exposure_time": positive(_number(said.get("ExposureTime"))),
        "f_number": positive(_number(said.get("FNumber"))),
        "iso": _whole(said.get("ISOSpeedRatings"), 1, (1 << 31) - 1),
        "focal_length": positive(_number(said.get("FocalLength"))),
        "focal_length_35mm": positive(_number(said.get("FocalLengthIn35mmFilm"))),
        "orientation": _whole(said.get("Orientation"), 1, 8),
    }
    found |= _time(said) | _place(said)
    return {name: value for name, value in found.items() if value is not None}


def _time(said: dict[str, str]) -> dict[str, Any]:
    known = taken(said.get("DateTimeOriginal"))
    # The time of GPS is UTC, whether it says so or not (XMP part 2, exif:GPSTimeStamp).
    gps_time = taken(said.get("GPSTimeStamp"))
    by_gps = utc_of(gps_time[0], gps_time[1] or "+00:00") if gps_time is not None else None
    if known is None:
        return {"taken_utc": by_gps}
    local, offset = known[0], offset_of(known[1])
    utc = utc_of(local, offset) if offset is not None else None
    return {"taken": local, "taken_offset": offset, "taken_utc": utc or by_gps}


def _place(said: dict[str, str]) -> dict[str, Any]:
    lat = _coordinate(said.get("GPSLatitude"), 90)
    lon = _coordinate(said.get("GPSLongitude"), 180)
    found: dict[str, Any] = {}
    if lat is not None and lon is not None:
        found |= {"lat": lat, "lon": lon}
    height, reference = number(_number(said.get("GPSAltitude"))), said.get("GPSAltitudeRef", "0").strip()
    if height is not None and reference in ("0", "1"):
        found["altitude"] = -height if reference == "1" and height > 0 else height
    return found


def _coordinate(written: str | None, most: int) -> float | None:
    found = _COORDINATE.fullmatch((written or "").strip())
    if found is None:
        return None
    return degrees([float(part) for part in found.groups()[:3] if part is not None], found[4], most=most)


def _number(written: str | None) -> Any:
    """A rational as XMP writes it, `1/60`, or a decimal number."""
    found = _RATIONAL.fullmatch((written or "").strip())
    if found is None:
        return None
    return float(found[3]) if found[3] is not None else (int(found[1]), int(found[2]))


def _whole(written: str | None, least: int, most: int) -> int | None:
    found = number(_number(written))
    return int(found) if found is not None and found == int(found) and least <= found <= most else None


def _properties(packet: bytes) -> dict[str, str]:
    """The wanted properties by name, the first of each; of a list its first item."""
    found: dict[str, str] = {}
    open_names: list[str] = []
    pieces: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_names) >= _MAX_DEPTH:
            raise NoPacket(f"the XMP is nested deeper than {_MAX_DEPTH} levels")
        open_names.append(name)
        pieces.clear()
        if name == f"{_RDF}{_MARK}Description":
            for key, value in attributes.items():
                if key in _WANTED:
                    found.setdefault(_WANTED[key], value[:_MAX_TEXT])

    def end(name: str) -> None:
        open_names.pop()
        own = name if name in _WANTED else _list_of(name, open_names)
        if own in _WANTED and (written := "".join(pieces).strip()):
            found.setdefault(_WANTED[own], written[:_MAX_TEXT])
        pieces.clear()

    def characters(data: str) -> None:
        if len(pieces) < _MAX_TEXT:
            pieces.append(data[:_MAX_TEXT])

    def refuse(*_: Any) -> None:
        raise NoPacket("the XMP has a document type")

    parser = expat.ParserCreate(namespace_separator=_MARK)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = refuse
    try:
        # Writers pad a packet with white space, and some with NUL, which is half a character of UTF-16.
        wide = b"\0" in packet[:2] or packet.startswith((b"\xff\xfe", b"\xfe\xff"))
        parser.Parse(packet if wide else packet.strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise NoPacket(f"the XMP is no XML: {_reason(error)}") from None
    return found


def _list_of(name: str, open_names: list[str]) -> str:
    """The property that an item of a list belongs to; "" for any other element."""
    if name == f"{_RDF}{_MARK}li" and len(open_names) >= 2:
        return open_names[-2]
    return ""


def _reason(error: Exception) -> str:
    return expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else type(error).__name__
