"""Time and place in the metadata boxes of an MP4: `udta`, and `meta` with keys and values. Pure.

`©xyz` and `loci` in udta, and the keys that Apple's cameras (and Android's, after them) write into a
meta box. What does not fit its place is passed over: these boxes hold anything. Layouts: Apple's QuickTime
File Format, "User data atoms" and "Metadata structure".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from metaferry.media.facts.videos.dates import with_zone
from metaferry.media.facts.videos.location import Location, iso_6709, of_loci

#: Bytes of a box that are read for it alone: thumbnails and sensor data of cameras may be in it.
MAX_METADATA: Final = 1 << 20
#: Boxes and keys that are looked at in one of them.
MAX_ENTRIES: Final = 2_000

_LOCATION: Final = "com.apple.quicktime.location.ISO6709"
_CREATION: Final = "com.apple.quicktime.creationdate"
#: Bytes of a value that is a date or a place at most.
_LONGEST: Final = 256


def metadata(kind: bytes, body: bytes) -> dict[str, Any]:
    """The fields of `VideoFacts` that a `udta` or `meta` box gives, by name."""
    if kind == b"meta":
        return _of_keys(body)
    found: dict[str, Any] = {}
    parts = list(boxes_in(body))
    for part, content in parts:
        if part == b"meta":
            found = {**_of_keys(content), **found}
    if "latitude" in found:
        return found
    for part, content in parts:
        location = None
        if part == b"\xa9xyz" and len(content) > 4:
            length = int.from_bytes(content[:2], "big")
            location = iso_6709(_text(content[4 : 4 + length]))
        elif part == b"loci":
            location = of_loci(content[:_LONGEST])
        if location is not None:
            return {**found, **_placed(location)}
    return found


def boxes_in(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) of boxes one behind the other, up to the first that does not fit."""
    at = 0
    for _ in range(MAX_ENTRIES):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 8 > len(data) or size < 8 or at + size > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def _of_keys(body: bytes) -> dict[str, Any]:
    """What the keys and values of a meta box say; in ISO files it begins with a version, in MOV not."""
    parts = dict(boxes_in(body if body[4:8] == b"hdlr" else body[4:]))
    names = _keys(parts.get(b"keys", b""))
    found: dict[str, Any] = {}
    for index, item in boxes_in(parts.get(b"ilst", b"")):
        name = names.get(int.from_bytes(index, "big"))
        if name not in (_LOCATION, _CREATION):
            continue
        data = dict(boxes_in(item)).get(b"data", b"")
        if len(data) <= 8 or int.from_bytes(data[:4], "big") != 1:  # 1: UTF-8
            continue
        text = _text(data[8:])
        if name == _CREATION:
            taken, taken_utc = with_zone(text)
            if taken is not None:
                found |= {"taken": taken, "taken_utc": taken_utc}
        elif (location := iso_6709(text)) is not None:
            found |= _placed(location)
    return found


def _keys(body: bytes) -> dict[int, str]:
    """The names of a keys box by their number, which begins at 1."""
    return {
        number: name.decode("utf-8", "replace")
        for number, (space, name) in enumerate(boxes_in(body[8:]), 1)
        if space == b"mdta"
    }


def _placed(location: Location) -> dict[str, Any]:
    return location._asdict()


def _text(data: bytes) -> str:
    return data[:_LONGEST].decode("utf-8", "replace")
