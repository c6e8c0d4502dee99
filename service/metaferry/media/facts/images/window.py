"""The bytes of one image as far as they are read, and the budget for reading more.

Containers, IFDs and blocks are walked over it: it asks for a range only where one is not there yet. A block
that is in memory as a whole is a window too, which never asks.
"""

from __future__ import annotations

from typing import Final

from metaferry.media.frames.containers.reading import Asking

#: Bytes that are read of every image first: the Exif block of a JPEG is in them, whoever wrote it.
HEAD: Final = 64 << 10
#: Reads beyond the head, and the bytes that each asks for at least. The later ones ask for more: they follow
#: segments of 64 KiB, such as colour profiles and previews (measured: up to 688 kB of them).
READS: Final = 8
SMALL_READS: Final = 4
SMALL_READ: Final = 32 << 10
LARGE_READ: Final = 128 << 10
#: Bytes of one piece: an Exif block, an XMP packet, a table.
MAX_PIECE: Final = 128 << 10


class Damaged(Exception):
    """What should be there is not, or is not what it should be; `str` says what, in one line."""


class Window:
    """A file of `size` bytes, of which `head` is read, or a block that is all there."""

    def __init__(self, size: int, head: bytes) -> None:
        self.size = size
        self._parts: list[tuple[int, bytes]] = [(0, head)]
        self._reads = 0

    def known(self, start: int, end: int) -> bytes | None:
        """Bytes that are read already; None where some are not."""
        for first, data in self._parts:
            if first <= start and end <= first + len(data):
                return data[start - first : end - first]
        return None

    def get(self, start: int, length: int, what: str) -> Asking[bytes]:
        """`length` bytes; `what` they are, for the message.

        Raises `Damaged` where the file ends before them, where they are too many, and where it takes too
        many reads to come to them.
        """
        end = start + length
        if start < 0 or end > self.size:
            raise Damaged(f"the file ends before {what} does")
        if length > MAX_PIECE:
            raise Damaged(f"{what} has {length:,} bytes, and at most {MAX_PIECE:,} are read")
        found = self.known(start, end)
        if found is not None:
            return found
        if self._reads >= READS:
            raise Damaged(f"{what} is too far from the beginning: it takes more than {READS} reads")
        least = SMALL_READ if self._reads < SMALL_READS else LARGE_READ
        self._reads += 1
        end = min(self.size, start + max(length, least))
        [data] = yield [(start, end)]
        if len(data) != end - start:
            raise Damaged(f"the file ends before {what} does")
        self._parts.append((start, data))
        return data[:length]
