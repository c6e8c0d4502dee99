"""The records of MCAP, one after the other."""

from __future__ import annotations

import struct
from collections.abc import Callable

from metaferry.tables.readers.telemetry.messages.sections import Broken, Buffered


class Records:
    """Operation code and length of each, then as much of it as is wanted.

    `left`: the bytes of a record whose head was read already.
    """

    def __init__(self, read: Callable[[int], bytes], left: int = 0) -> None:
        self._bytes = Buffered(read)
        self._left = left  # bytes of the record that were not read

    def next(self) -> tuple[int, int] | None:
        """The operation code and the length of the next record; None at the end. Raises Broken."""
        self._bytes.skip(self._left)
        head = self._bytes.up_to(9)
        if not head:
            return None
        if len(head) < 9:
            raise Broken("ends within a record", is_cut=True)
        code, self._left = struct.unpack("<BQ", head)
        return code, self._left

    def take(self, size: int) -> bytes:
        """The next bytes of the record. Raises Broken where it has fewer."""
        if size > self._left:
            raise Broken("has a record that ends too early")
        found = self._bytes.exactly(size)
        self._left -= size
        return found
