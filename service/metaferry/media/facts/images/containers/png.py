"""PNG: chunks. The size is in the first, Exif in eXIf, XMP in iTXt, before the pixels or after.

Pixels are often in thousands of chunks, which are not walked: what follows them is looked for in the last
bytes of the file, where a chunk is one when its check sum says so (PNG 3rd edition, 5.3 and 11.3.4).
ImageMagick writes Exif as a text chunk of hexadecimal digits, which is read too.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final

from metaferry.media.facts.images.containers.parts import Parts
from metaferry.media.facts.images.window import MAX_PIECE, SMALL_READ, Damaged, Window
from metaferry.media.frames.containers.reading import Asking

_SIGNATURE: Final = 8
#: Length, type and check sum.
_AROUND: Final = 12
_WANTED: Final = frozenset({b"eXIf", b"iTXt", b"zTXt", b"tEXt"})
_XMP: Final = b"XML:com.adobe.xmp"
_RAW: Final = (b"Raw profile type exif", b"Raw profile type APP1")
#: Chunks before the pixels, at most.
_MAX_CHUNKS: Final = 1_000
#: Check sums that are computed to find chunks behind the pixels, at most.
_MAX_TRIED: Final = 200


def walk(window: Window, parts: Parts) -> Asking[None]:
    """Fills the parts of a PNG. Raises `Damaged` where its structure is."""
    at = _SIGNATURE
    for _ in range(_MAX_CHUNKS):
        head = yield from window.get(at, 8, "a chunk")
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if parts.width is None:
            if kind != b"IHDR" or length < 8:
                raise Damaged("its first chunk is no IHDR")
            size = yield from window.get(at + 8, 8, "the IHDR chunk")
            parts.width, parts.height = int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big")
        elif kind == b"IDAT":
            break
        elif kind == b"IEND":
            return
        elif kind in _WANTED and not _is_long_text(kind, length):
            take_chunk(kind, (yield from window.get(at + 8, length, f"the {_name(kind)} chunk")), parts)
        if at + 8 + length + 4 > window.size:
            raise Damaged(f"the file ends before the {_name(kind)} chunk does")
        at += length + _AROUND
    if parts.exif is None and parts.xmp is None:
        yield from _after_pixels(window, at, parts)


def _after_pixels(window: Window, at: int, parts: Parts) -> Asking[None]:
    """What stands behind the pixels, which begin at `at`."""
    start = max(at, window.size - SMALL_READ)
    tail = yield from window.get(start, window.size - start, "its last chunk")
    for kind, data in _chunks(tail):
        take_chunk(kind, data, parts)


def _chunks(tail: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of the wanted types in the last bytes, in order, each with a check sum that is right."""
    tried = behind = 0
    for found in re.finditer(rb"eXIf|[iz]TXt|tEXt", tail):
        kind, at = found[0], found.start()
        if at - 4 < behind or tried >= _MAX_TRIED:
            continue
        tried += 1
        end = at + 4 + int.from_bytes(tail[at - 4 : at], "big")
        if end + 4 <= len(tail) and zlib.crc32(tail[at:end]) == int.from_bytes(tail[end : end + 4], "big"):
            yield kind, tail[at + 4 : end]
            behind = end + 4


def take_chunk(kind: bytes, data: bytes, parts: Parts) -> None:
    """Takes in one chunk, the first of a kind."""
    if kind == b"eXIf":
        parts.exif = parts.exif or data
        return
    keyword, _, rest = data.partition(b"\0")
    if keyword == _XMP and kind == b"iTXt" and parts.xmp is None:
        packed, rest = rest[:1] == b"\1", rest[2:]
        for _ in range(2):  # the language, and the keyword in it
            rest = rest.partition(b"\0")[2]
        parts.xmp = _unpacked(rest, "XMP", parts) if packed else rest
    elif keyword in _RAW and parts.exif is None:
        text = rest if kind == b"tEXt" else _unpacked(rest[1:], "Exif", parts)
        parts.exif = _raw_profile(text) if text is not None else None


def _is_long_text(kind: bytes, length: int) -> bool:
    """Whether it is a text that nobody looks for in here, such as a prompt."""
    return kind != b"eXIf" and length > MAX_PIECE


def _unpacked(data: bytes, what: str, parts: Parts) -> bytes | None:
    """The content of a packed text, of at most `MAX_PIECE` bytes: a few of them may hold gigabytes."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, MAX_PIECE + 1)
    except zlib.error:
        parts.problems.append(f"the packed {what} is damaged")
        return None
    if len(text) > MAX_PIECE:
        parts.problems.append(f"the packed {what} holds more than {MAX_PIECE:,} bytes")
        return None
    return text


def _raw_profile(text: bytes) -> bytes | None:
    """Of `\\nexif\\n   154\\n4578…`: the block behind its prefix."""
    found = re.match(rb"\s*\w+\s+\d+\s+([0-9a-fA-F\s]+)$", text)
    if found is None:
        return None
    digits = re.sub(rb"\s", b"", found[1])
    block = bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))
    return block[6:] if block.startswith(b"Exif\0") else block


def _name(kind: bytes) -> str:
    """The type of a chunk as people read it; four bytes of anything where it is damaged."""
    return kind.decode("ascii") if kind.isalnum() else f"0x{kind.hex()}"
