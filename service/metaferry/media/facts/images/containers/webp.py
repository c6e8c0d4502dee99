"""WebP: chunks in a RIFF. The first one says the size, and whether Exif and XMP follow the pixels."""

from __future__ import annotations

from typing import Final

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.window import Damaged, Window
from metaferry.media.frames.containers.reading import Asking

_XMP_FLAG: Final = 0x04
_EXIF_FLAG: Final = 0x08
#: Chunks that are walked, at most: each frame of an animation is one.
_MAX_CHUNKS: Final = 2_000


def walk(window: Window, parts: Parts) -> Asking[None]:
    """Fills the parts of a WebP (RFC 9649). Raises `Damaged` where its structure is."""
    head = yield from window.get(12, 18, "its first chunk")
    kind, data = head[:4], head[8:]
    if kind == b"VP8X":
        parts.width = int.from_bytes(data[4:7], "little") + 1
        parts.height = int.from_bytes(data[7:10], "little") + 1
        flags = data[0] & (_EXIF_FLAG | _XMP_FLAG)
        if flags:
            yield from _metadata(window, flags, parts)
    elif kind == b"VP8L":
        if data[0] != 0x2F:
            raise Damaged("its VP8L chunk has no signature")
        bits = int.from_bytes(data[1:5], "little")
        parts.width, parts.height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        if data[3:6] != b"\x9d\x01\x2a":
            raise Damaged("its VP8 chunk has no start code")
        width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
        parts.width, parts.height = width & 0x3FFF or None, height & 0x3FFF or None
    else:
        raise Damaged("its first chunk is none of WebP")


def _metadata(window: Window, flags: int, parts: Parts) -> Asking[None]:
    """The chunks that the header says are there."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > window.size:
            raise Damaged("the file ends before the Exif and XMP that its header tells of")
        head = yield from window.get(at, 8, "a chunk")
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if kind == b"EXIF" and parts.exif is None:
            block = yield from window.get(at + 8, length, "the EXIF chunk")
            parts.exif = block[6:] if block.startswith(b"Exif\0") else block
            flags &= ~_EXIF_FLAG
        elif kind == b"XMP " and parts.xmp is None:
            parts.xmp = yield from window.get(at + 8, length, "the XMP chunk")
            flags &= ~_XMP_FLAG
        if not flags:
            return
        at += 8 + length + length % 2
    raise Damaged(f"its Exif and XMP are behind more than {_MAX_CHUNKS:,} chunks")
