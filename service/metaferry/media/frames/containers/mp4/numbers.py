"""What an MP4 table is made of: numbers in network order, and runs of them. Pure.

Every function checks that the table holds what it says; one that does not is a `NoProof`.
"""

from __future__ import annotations

import struct
from array import array
from typing import Final

from metaferry.media.frames.containers.reading import NoProof

#: Times from here on are impossible: FFmpeg keeps them in 32 signed bits.
LONGEST: Final = 1 << 31

_LITTLE: Final = struct.pack("=H", 1) == b"\1\0"


def u32(data: bytes, at: int) -> int:
    """The 32-bit number at `at`."""
    if at + 4 > len(data):
        raise NoProof("a box that is cut")
    return int.from_bytes(data[at : at + 4], "big")


def numbers(data: bytes, at: int, count: int, kind: str = "I") -> array[int]:
    """`count` numbers from `at` on; kind: `I` of 4 bytes, `H` of 2, `Q` of 8."""
    width = array(kind).itemsize
    if at + count * width > len(data):
        raise NoProof("a table that is shorter than it says")
    values = array(kind, data[at : at + count * width])
    if _LITTLE:
        values.byteswap()
    return values


def runs(data: bytes, name: str, *, signed: bool) -> list[tuple[int, int]]:
    """(how many samples, what each has) of an stts or ctts box; none of an absent one."""
    if not data:
        return []
    number = u32(data, 4)
    if 8 + 8 * number > len(data):
        raise NoProof(f"a {name} table that is cut")
    return list(struct.iter_unpack(">Ii" if signed else ">II", data[8 : 8 + 8 * number]))


def expand(runs: list[tuple[int, int]], count: int) -> array[int]:
    """The value of each of the first `count` samples."""
    values = array("q")
    for number, value in runs:
        left = count - len(values)
        if left <= 0:
            break
        values.extend(array("q", [value]) * min(number, left))
    return values


def rescale(value: int, to: int, scale: int) -> int:
    """`value` ticks of 1/scale in ticks of 1/to, rounded as `av_rescale` does."""
    return (value * to + scale // 2) // scale


def scale_of(header: bytes, name: str) -> int:
    """Ticks a second of an mvhd or mdhd box."""
    scale = u32(header, 20 if header[:1] == b"\1" else 12)
    if not 0 < scale < LONGEST:
        raise NoProof(f"an {name} box without a time scale")
    return scale
