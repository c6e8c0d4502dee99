"""How an index reader requests bytes: ranges out, bytes in, and a budget on both. Pure.

A reader is a generator. It yields a list of ranges `[(start, end), …]` and is sent one `bytes`
for each; what drives it decides where they come from, so every reader can be run over bytes in
memory. Ranges that are yielded together may be fetched in parallel; each yield is one round trip. A
reader returns an `Indexed`, or raises `NoProof` with the reason: it never guesses, and what it has
spent is bounded before it spends it.
"""

from __future__ import annotations

import bisect
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, TypeVar

from metaferry.media.frames.model import Times

T = TypeVar("T")

Range: TypeAlias = tuple[int, int]
Asking: TypeAlias = Generator[list[Range], list[bytes], T]

#: Bytes read of every file before anything else is known of it; a file up to `SMALL` is read
#: whole instead: one request is cheaper than three, and its samples can be looked at.
HEAD: Final = 16 << 10
SMALL: Final = 256 << 10


def first_range(size: int) -> int:
    """Bytes to read of the beginning of a file of `size` bytes."""
    return size if size <= SMALL else HEAD


#: Most bytes of one file that index readers hold: beyond it, a scan is no dearer.
MAX_BYTES: Final = 96 << 20

#: Round trips that every reader may make, and the bytes of the file that buy one more. Only
#: fragmented MP4 without hints needs many; at 50 ms each they take less time than decoding would
#: (measured: 3.5 MB/s), which is what would have to be done instead.
ROUND_TRIPS: Final = 48
BYTES_A_TRIP: Final = 256 << 10


class NoProof(Exception):
    """The index does not prove a count; `str` says why, in one line."""


class Damaged(NoProof):
    """The container contradicts its own sizes: the file is cut or damaged."""


class Cut(NoProof):
    """The index speaks of more than the file holds: its end is missing. What is left may decode."""


class OverBudget(NoProof):
    """A reader used up one of its budgets: reads, bytes or boxes."""


class LeftToPackets(NoProof):
    """Everything that was read proves what it holds, and only the budget stopped the reader.

    The packets that FFmpeg makes of such a file may be counted in the place of its index.
    """


@dataclass(frozen=True, slots=True)
class Indexed:
    """What an index proves.

    frames: N. several: whether there is more than one video stream. explain: how it was proved,
    a line each. times: when every frame is shown, when requested and known; None otherwise.
    duration: seconds from the start of the first frame to the end of the last one, when the times were
    requested and the index proves it; None otherwise, and for no frames.
    """

    frames: int
    several: bool = False
    explain: tuple[str, ...] = ()
    times: Times | None = None
    duration: Fraction | None = None


class Source:
    """The bytes of one file as far as they are read; requests the others.

    `head` is what has been read of its beginning, `size` the size of the file.
    """

    def __init__(self, size: int, head: bytes) -> None:
        self.size = size
        # Parts in order; none lies inside another, so their starts and their ends both ascend.
        self._starts: list[int] = [0] if head else []
        self._parts: list[bytes] = [head] if head else []
        self._bytes = len(head)
        self._trips = 0

    def known(self, start: int, end: int) -> bool:
        return self._find(start, end) is not None

    def peek(self, start: int, end: int) -> bytes:
        """Bytes that are `known`."""
        found = self._find(start, end)
        if found is None:
            raise LookupError(f"[{start}, {end}) has not been read")
        return found

    def get(self, start: int, end: int, ahead: int = 0) -> Asking[bytes]:
        """The bytes `[start, end)`; `ahead` more are fetched with them where a request is made.

        Raises `NoProof` where the file ends before `end`, or where the budget does.
        """
        if not 0 <= start <= end <= self.size:
            raise NoProof("the file ends before its structure does")
        found = self._find(start, end)
        if found is None:
            yield from self.fetch([(start, min(self.size, end + ahead))])
            found = self._find(start, end)
            assert found is not None
        return found

    def fetch(self, ranges: Sequence[Range]) -> Asking[None]:
        """Fetches ranges in one round trip, those that are known left out."""
        wanted: list[Range] = []
        prefixes: list[bytes] = []
        for start, end in ranges:
            end = min(self.size, end)
            if start < end and self._find(start, end) is None:
                prefix = self._prefix(start)
                wanted.append((start + len(prefix), end))
                prefixes.append(prefix)
        if not wanted:
            return
        self._trips += 1
        self._bytes += sum(end - start for start, end in wanted)
        if self._trips > ROUND_TRIPS + self.size // BYTES_A_TRIP:
            raise OverBudget("its structure takes too many reads")
        if self._bytes > MAX_BYTES:
            raise OverBudget(f"its index is longer than {MAX_BYTES} bytes")
        parts = yield wanted
        for (start, end), prefix, data in zip(wanted, prefixes, parts, strict=True):
            if len(data) != end - start:
                raise NoProof("a read gave fewer bytes than the file has")
            self._keep(start - len(prefix), prefix + data)

    def _keep(self, start: int, data: bytes) -> None:
        """Adds a part, and drops those that lie inside it."""
        if self._find(start, start + len(data)) is not None:
            return
        first = last = bisect.bisect_left(self._starts, start)
        while last < len(self._starts) and self._starts[last] + len(self._parts[last]) <= start + len(data):
            last += 1
        self._starts[first:last] = [start]
        self._parts[first:last] = [data]

    def _prefix(self, start: int) -> bytes:
        """What is known from `start` on, so that only the rest is fetched."""
        index = bisect.bisect_right(self._starts, start) - 1
        return self._parts[index][start - self._starts[index] :] if index >= 0 else b""

    def _find(self, start: int, end: int) -> bytes | None:
        index = bisect.bisect_right(self._starts, start) - 1
        if index >= 0:
            at, data = self._starts[index], self._parts[index]
            if end <= at + len(data):
                return data[start - at : end - at]
        return b"" if start == end else None
