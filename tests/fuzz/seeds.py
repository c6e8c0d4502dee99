"""Real headers to damage: what each reader is fuzzed with, and the boxes or chunks that are hit.

Only what describes the media is damaged, never the coded pictures: of those an index says nothing.
"""

from __future__ import annotations

import io
import random
from typing import Final

from metaferry.media.frames import index
from metaferry.media.frames.containers.reading import Indexed, NoProof, Range
from metaferry.media.frames.model import CORRUPT
from metaferry.media.frames.worker import decode
from unit.media import synthetic

_TIMES: Final = [0, 3, 50, 51, 900, 1000, 1001, 1002, 1100, 1200, 2000, 4000]
_MOOV: Final = (b"stts", b"ctts", b"elst", b"stss", b"stsz", b"stsc", b"stco", b"mdhd", b"mvhd", b"tkhd")
_MOOF: Final = (b"trun", b"tfhd", b"tfdt", b"trex", b"elst", b"moof")
_AVI: Final = (b"strh", b"strf", b"avih", b"idx1")

#: By reader: real files, and the names of the boxes that are damaged.
SEEDS: Final[dict[str, list[tuple[bytes, tuple[bytes, ...]]]]] = {
    "mp4": [
        (synthetic.video(24, codec="libx264", options={"bf": "3"}), _MOOV),
        (synthetic.video(12, pts=_TIMES), _MOOV),
        (synthetic.video(12, codec="libx264", options={"bf": "3"}, pts=_TIMES, noise=True), _MOOV),
        (synthetic.video(12, format="mov", audio=True), _MOOV),
    ],
    "fragments": [
        (synthetic.video(24, movflags="frag_keyframe+empty_moov", codec="libx264", gop=4), _MOOF),
        (synthetic.video(24, movflags="frag_keyframe+empty_moov+global_sidx", gop=4), (*_MOOF, b"sidx")),
    ],
    "avi": [
        (synthetic.video(12, format="avi"), _AVI),
        (synthetic.video(12, format="avi", codec="msmpeg4v2"), _AVI),
    ],
    "matroska": [
        (synthetic.video(12, format="matroska", codec="libx264"), (b"\x16\x54\xae\x6b", b"\x15\x49\xa9\x66")),
        (synthetic.video(12, format="webm", codec="libvpx"), (b"\x16\x54\xae\x6b", b"\x15\x49\xa9\x66")),
    ],
}

_NUMBERS: Final = (0, 1, 2, 5, 24, 512, 1000, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(reader: str, chance: random.Random) -> bytes:
    """A real file of `reader` with one to three numbers of its headers replaced."""
    seed, names = chance.choice(SEEDS[reader])
    data = bytearray(seed)
    for _ in range(chance.randint(1, 3)):
        places = [at for name in names for at in _all(seed, name)]
        at = chance.choice(places) + 4 + chance.randrange(80)
        if chance.random() < 0.4:
            data[at : at + 1] = bytes([chance.choice([0, 1, 2, 3, 255, chance.randrange(256)])])
        else:
            data[at : at + 4] = chance.choice(_NUMBERS).to_bytes(4, "little" if reader == "avi" else "big")
    return bytes(data[: len(seed)])


def _all(data: bytes, name: bytes) -> list[int]:
    places, at = [], data.find(name)
    while at >= 0:
        places.append(at)
        at = data.find(name, at + 1)
    return places


def claimed(data: bytes, *, times: bool = False) -> Indexed | None:
    """What the index proves, None where it proves nothing."""

    def fetch(ranges: list[Range]) -> list[bytes]:
        return [data[start:end] for start, end in ranges]

    try:
        source, container = index.open_source(len(data), fetch)
        return index.count(source, container, fetch, times=times)
    except NoProof:
        return None


def decoded(data: bytes) -> int | None:
    """How many frames decode; None where some do not or are damaged, or where it takes too much memory."""
    try:
        found = decode.count(io.BytesIO(data), extension="", size=len(data), threads=1)
    except decode.OutOfMemory:
        return None
    return None if CORRUPT in found.flags else found.frames
