"""JPEG: markers up to the first scan. Exif and XMP are in APP1 segments, the size is in the frame header.

The Exif block may go on in further segments, each with the prefix again; one that begins with a TIFF header
is another block, and the first one counts.
"""

from __future__ import annotations

import re
from typing import Final

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.ifds import TIFF_HEADERS
from metaferry.media.facts.images.window import MAX_PIECE, Damaged, Window
from metaferry.media.frames.containers.reading import Asking

_EXIF: Final = b"Exif\0"  # and a padding byte, which some writers fill
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_SCAN: Final = 0xDA
_END: Final = 0xD9
#: Markers without a length: TEM, RST0 to RST7, SOI.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
#: SOF0 to SOF15 but DHT, JPG and DAC: ITU-T T.81, table B.1.
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP1: Final = 0xE1
#: Bytes between two markers that are passed over, at most, and that are looked at in one go: encoders pad
#: with FF, and some leave others there.
_JUNK: Final = 64 << 10
_STEP: Final = 1 << 10
#: Second bytes of what is no marker, and one that is.
_NO_MARKER: Final = frozenset({0x00, 0xFF})
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
#: Segments before the first scan, at most.
_MAX_SEGMENTS: Final = 10_000


def walk(window: Window, parts: Parts) -> Asking[None]:
    """Fills the parts of a JPEG. Raises `Damaged` where its structure ends too early."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        marker, at = yield from _marker(window, at, parts)
        if marker in (_SCAN, _END):
            return
        if marker in _ALONE:
            continue
        length = int.from_bytes((yield from window.get(at, 2, "a segment")), "big")
        if length < 2:
            raise Damaged(f"a segment at byte {at:,} has the length {length}")
        if marker in _FRAMES and parts.width is None:
            header = yield from window.get(at + 2, 5, "the frame header")
            height, width = int.from_bytes(header[1:3], "big"), int.from_bytes(header[3:5], "big")
            # A height of 0 follows in a DNL segment after the scan: it is not known here.
            parts.width, parts.height = width or None, height or None
        elif marker == _APP1:
            yield from _app1(window, at + 2, length - 2, parts)
        at += length
    raise Damaged(f"there are more than {_MAX_SEGMENTS:,} segments before the first scan")


def _marker(window: Window, at: int, parts: Parts) -> Asking[tuple[int, int]]:
    """The next marker, and where it ends. What stands before it is passed over, as decoders do."""
    code = yield from window.get(at, 2, "its structure")
    if code[0] == 0xFF and code[1] not in _NO_MARKER:
        return code[1], at + 2
    start, is_padding = at, True
    while start < at + _JUNK:
        data = yield from window.get(start, min(_STEP, max(2, window.size - start)), "its structure")
        found = _MARKER.search(data)
        passed = data[: found.start()] if found is not None else data[:-1]
        is_padding = is_padding and not passed.strip(b"\xff")
        if found is not None:
            if not is_padding:
                parts.problems.append(f"there is no marker at byte {at:,}")
            return data[found.end() - 1], start + found.end()
        start += len(data) - 1  # the last byte may be the first of a marker
    raise Damaged(f"there is no marker at byte {at:,}")


def _app1(window: Window, at: int, length: int, parts: Parts) -> Asking[None]:
    head = yield from window.get(at, min(length, len(_XMP)), "an APP1 segment")
    if head.startswith(_EXIF) and length > 6:
        data = (yield from window.get(at, length, "the Exif segment"))[6:]
        if parts.exif is None:
            parts.exif = data
        elif not data.startswith(TIFF_HEADERS) and len(parts.exif) + len(data) <= MAX_PIECE:
            parts.exif += data
    elif head == _XMP and parts.xmp is None:
        parts.xmp = (yield from window.get(at, length, "the XMP segment"))[len(_XMP) :]
