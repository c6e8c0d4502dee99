"""Sentences of a log with their lines, among binary messages and whatever else a serial line carries. Pure.

A sentence begins with `$`, has a talker of two letters and a type of three, and ends with its line, or where
the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

#: Types that say when, where, and how fast.
TYPES: Final = (b"RMC", b"GGA", b"GNS", b"GLL", b"ZDA", b"VTG", b"HDT")
_SENTENCE: Final = re.compile(rb"\$[A-Z]{2}(?:" + b"|".join(TYPES) + rb"),[^$\r\n]*", re.IGNORECASE)
#: Bytes of a line that are kept: binary data may have no line ends at all. Sentences have 82, by the book.
_LONGEST: Final = 64 << 10
_CARRIED: Final = 1 << 10


class Line(NamedTuple):
    """A sentence as it stands, the number of its line from 1, and whether the file ends within it."""

    text: bytes
    line: int
    is_last: bool = False


def sentences_in(blocks: Iterator[bytes]) -> Iterator[Line]:
    """The sentences that say when, where and how fast, in the order of the file, in bounded memory."""
    rest, number = b"", 1
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        if len(rest) > _LONGEST:
            rest = rest[-_CARRIED:]
        for at, line in enumerate(lines, number):
            if b"$" in line:
                for found in _SENTENCE.finditer(line):
                    yield Line(found[0], at)
        number += len(lines)
    found_last = list(_SENTENCE.finditer(rest))
    for found in found_last:
        yield Line(found[0], number, found is found_last[-1] and found.end() == len(rest))
