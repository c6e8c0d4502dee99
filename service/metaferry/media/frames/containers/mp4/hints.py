"""Where the fragments of an MP4 should begin, by its `sidx` or `mfra` box. Pure; requests ranges.

Used only for ranges to fetch together: these boxes are not trusted, and the chain of boxes is walked
as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from metaferry.media.frames.containers.mp4.boxes import Box, Budget, box_at
from metaferry.media.frames.containers.reading import Asking, NoProof, Range, Source

#: Most fragments that are fetched beforehand; the others are read one by one.
MAX_HINTS: Final = 4_096

#: What is read of a fragment's moof; most are shorter.
MOOF: Final = 4 << 10


def hints(source: Source, moov: Box, budget: Budget) -> Asking[list[int]]:
    """Where fragments should begin; used only for ranges to fetch."""
    at = moov.end
    for _ in range(4):
        if at + 16 > source.size:
            break
        try:
            box = yield from box_at(source, at, source.size, budget, ahead=MOOF)
        except NoProof:
            break
        if box.kind == b"moof":
            break
        if box.kind == b"sidx" and box.end - box.start <= 1 << 20:
            return list(_segment_starts((yield from source.get(box.body, box.end)), box.end))
        at = box.end
    last = yield from source.get(source.size - 16, source.size)
    size = int.from_bytes(last[12:16], "big")
    if last[4:8] == b"mfro" and 16 <= size <= min(source.size, 1 << 20):
        data = yield from source.get(source.size - size, source.size)
        return list(_random_access(data))
    return []


def merged(places: list[int]) -> list[Range]:
    """The beginning of a moof at each place; ranges that touch are one."""
    ranges: list[Range] = []
    for at in sorted(places):
        if ranges and at <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], at + MOOF)
        else:
            ranges.append((at, at + MOOF))
    return ranges


def _segment_starts(sidx: bytes, at: int) -> Iterator[int]:
    version = sidx[0] if sidx else 0
    start = 12 + (16 if version else 8)
    if len(sidx) < start + 4:
        return
    at += int.from_bytes(sidx[12 + (8 if version else 4) : start], "big")
    for (word,) in list(struct.iter_unpack(">I8x", sidx[start + 4 :][: (len(sidx) - start - 4) // 12 * 12]))[
        :MAX_HINTS
    ]:
        yield at
        at += word & 0x7FFFFFFF


def _random_access(mfra: bytes) -> Iterator[int]:
    """The moof offsets of the first tfra box of an mfra box."""
    if mfra[4:8] != b"mfra" or mfra[12:16] != b"tfra" or len(mfra) < 32:
        return
    size = int.from_bytes(mfra[8:12], "big")
    wide = mfra[16] == 1
    lengths = int.from_bytes(mfra[24:28], "big")
    entry = (16 if wide else 8) + sum(1 + (lengths >> shift & 3) for shift in (4, 2, 0))
    number = int.from_bytes(mfra[28:32], "big")
    seen: set[int] = set()
    for index in range(min(number, MAX_HINTS)):
        at = 32 + index * entry
        if at + entry > min(len(mfra), 8 + size):
            return
        place = mfra[at + 8 : at + 16] if wide else mfra[at + 4 : at + 8]
        offset = int.from_bytes(place, "big")
        if offset not in seen:
            seen.add(offset)
            yield offset
