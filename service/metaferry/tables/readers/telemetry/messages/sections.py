"""Bytes of a section of a file as they come, packed or not: what containers of messages have in common."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.storage.io.reader import RangeFile

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Bytes of one request, and of a piece that is unpacked.
_REQUEST: Final = 8 << 20
_PIECE: Final = 1 << 20
#: Times what is stored that chunks may hold, beyond the first `_FREE` bytes of a file.
MAX_EXPANSION: Final = 200
_FREE: Final = 1 << 30
#: What pyarrow unpacks, under the names that containers give it.
_CODECS: Final = ("zstd", "lz4", "bz2")


class Broken(Exception):
    """What is wrong with a file as a whole, to be read after its name. `is_cut`: it ends too early."""

    def __init__(self, message: str, *, is_cut: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.is_cut = is_cut


class Section:
    """The bytes from `start` to `end` of a file, in requests of a few MiB."""

    def __init__(self, file: RangeFile, start: int, end: int, still_wanted: Callable[[], None]) -> None:
        self._file = file
        self.at = start
        self._end = end
        self._still_wanted = still_wanted
        self._held = b""
        self._used = 0

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end of the section, or of the file."""
        wanted = min(size, self._end - self.at)
        parts = []
        while wanted > 0:
            if self._used >= len(self._held):
                self._still_wanted()
                self._file.seek(self.at)
                self._held = self._file.read(min(_REQUEST, self._end - self.at))
                self._used = 0
                if not self._held:
                    break
            part = self._held[self._used : self._used + wanted]
            parts.append(part)
            self._used += len(part)
            self.at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def exactly(self, size: int) -> bytes:
        """So many bytes. Raises Broken where the file ends before."""
        found = self.read(size)
        if len(found) < size:
            raise Broken("ends within a record", is_cut=True)
        return found

    def go_to(self, at: int) -> None:
        """Passes over bytes without reading them, up to a later place."""
        self._used += at - self.at
        self.at = at


class Part(io.RawIOBase):
    """The next `size` bytes of a section."""

    def __init__(self, section: Section, size: int) -> None:
        super().__init__()
        self._section = section
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer only at the end."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        found = self._section.read(wanted)
        self._left -= len(found)
        return found

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


class Unpacked:
    """The records of a chunk, unpacked as they come: no more than the chunk says, and of the sum it says."""

    def __init__(self, part: Part, codec: str, size: int, crc: int) -> None:
        if codec and codec not in _CODECS:
            raise Broken(f"has a chunk packed with {codec[:40]!r}, which is not known")
        self._stream = pa.CompressedInputStream(pa.PythonFile(part, mode="r"), codec) if codec else part
        self._size = size
        self._crc = crc
        self._sum = 0
        self._received = 0

    def read(self, size: int) -> bytes:
        """A piece; b"" at the end. Raises Broken."""
        try:
            piece: bytes = self._stream.read(min(size, _PIECE))
        except OSError as error:
            raise Broken(
                f"has a chunk that cannot be unpacked: {error}", is_cut="runcated" in str(error)
            ) from None
        self._received += len(piece)
        self._sum = zlib.crc32(piece, self._sum)
        if self._received > self._size:
            raise Broken(f"has a chunk of more than the {self._size:,} bytes that it says")
        if not piece:
            if self._received < self._size:
                raise Broken("ends within a chunk", is_cut=True)
            if self._crc and self._crc != self._sum:
                raise Broken("has a chunk whose bytes are not those that were written (CRC)")
        return piece


class Buffered:
    """Bytes in pieces as bytes of any number."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._held = b""
        self._at = 0

    def up_to(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        if self._at + size <= len(self._held):
            found = self._held[self._at : self._at + size]
            self._at += size
            return found
        parts = [self._held[self._at :]]
        count = len(parts[0])
        self._held, self._at = b"", 0
        while count < size and (piece := self._read(_PIECE)):
            rest = size - count
            parts.append(piece[:rest])
            count += len(parts[-1])
            if len(piece) > rest:
                self._held, self._at = piece, rest
        return b"".join(parts)

    def exactly(self, size: int) -> bytes:
        """So many bytes. Raises Broken where there are fewer."""
        found = self.up_to(size)
        if len(found) < size:
            raise Broken("ends within a record", is_cut=True)
        return found

    def skip(self, size: int) -> None:
        """Passes over so many bytes. Raises Broken where there are fewer."""
        while size > 0:
            found = self.up_to(min(size, _PIECE))
            if not found:
                raise Broken("ends within a record", is_cut=True)
            size -= len(found)


class Expansion:
    """Holds what chunks say that they hold to what is stored of them."""

    def __init__(self) -> None:
        self._stored = 0
        self._held = 0

    def add(self, stored: int, held: int) -> None:
        """Raises Broken where the file holds far more than can be meant."""
        self._stored += stored
        self._held += held
        if self._held > _FREE and self._held > MAX_EXPANSION * max(self._stored, 1 << 20):
            raise Broken(
                f"holds {self._held >> 20:,} MiB in chunks of {self._stored >> 20:,} MiB: it is no recording"
            )
