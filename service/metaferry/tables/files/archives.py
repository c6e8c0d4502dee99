"""What an archive around a table holds, as blocks: gzip and zstd as streams, zip with one file.

An archive that is damaged or cut short is one error for the whole file: what came before the damage is
not half used, since the run ends with it. Memory is bounded by a few blocks.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.reader import RangeFile
from metaferry.tables.files.find import TableObject
from metaferry.tables.files.proof import BLOCK

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Files that programs put into archives by themselves.
_BESIDES: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


def unpacked(stored: Iterator[bytes], codec: str, url: str, place: str) -> Iterator[bytes]:
    """Blocks of what `codec` ("gzip", "zstd") has packed. JobError where that is not whole."""
    pull = Pull(stored)
    try:
        with pa.CompressedInputStream(pa.PythonFile(pull, mode="r"), codec) as stream:
            while block := stream.read(BLOCK):
                yield block
        pull.drain()  # what is stored is compared at its end, which the archive may not ask for
    except OSError as error:
        pull.drain()  # Corrupt, where it came damaged: then the archive is not at fault
        raise JobError(
            f"{url} is no whole {codec} file: {error}", place=place, advice="upload it again"
        ) from error


def zip_member(file: TableObject, token: str, portal: Portal, place: str) -> tuple[str, Iterator[bytes]]:
    """Name and blocks of the one file in a zip archive; the bytes are proved by its own checksum.

    Raises JobError for an archive of several files, of none, one that is damaged or encrypted.
    """
    raw = RangeFile(file.storage, portal, file.path, size=file.size, version=token or None)
    try:
        archive = zipfile.ZipFile(raw)
    except ValueError as error:  # a seek before its start
        raise _damaged(file.url, "it is empty or cut short", place) from error
    except zipfile.BadZipFile as error:
        raise _damaged(file.url, error, place) from error
    if not archive.namelist():  # Python 3.14 opens it, those before raise ValueError
        raise _damaged(file.url, "it is empty or cut short", place)
    names = [name for name in archive.namelist() if not name.endswith("/") and not _is_beside(name)]
    for known, called in _NO_TABLES.items():
        if known in archive.namelist():
            return called, iter(())
    if len(names) != 1:
        listed = f": {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""
        raise JobError(
            f"{file.url} is a zip archive of {len(names):,} files{listed}",
            place=place,
            advice="an archive with one file can be read: unpack it, or pack each table by itself",
        )
    return names[0], _member(archive, names[0], file.url, place)


#: Members that tell a workbook, and what it is then called (see `content.REFUSALS`).
_NO_TABLES: Final = {
    "xl/workbook.xml": "excel",
    "xl/workbook.bin": "excel",
    "content.xml": "opendocument",
}


def _member(archive: zipfile.ZipFile, name: str, url: str, place: str) -> Iterator[bytes]:
    if archive.getinfo(name).flag_bits & 1:
        raise JobError(f"{url} is encrypted", place=place, advice="pack it without a password")
    try:
        with archive.open(name) as member:
            while block := member.read(BLOCK):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _damaged(url, error, place) from error


def _damaged(url: str, error: Exception | str, place: str) -> JobError:
    return JobError(f"{url} is no whole zip file: {error}", place=place, advice="upload it again")


def _is_beside(name: str) -> bool:
    return name.startswith(_BESIDES[0]) or name.rpartition("/")[2] in _BESIDES[1:]


#: Bytes of the end that are kept.
_LAST: Final = 16


class Pull(io.RawIOBase):
    """An iterator of blocks as the file that pyarrow wants to read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self.received = 0
        self.last = b""  # the last bytes that came
        self._blocks = blocks
        self._block = b""
        self._at = 0

    def drain(self) -> None:
        """Reads what nobody asked for to its end."""
        while self._next():
            pass

    def _next(self) -> bytes:
        block = next(self._blocks, b"")
        self.received += len(block)
        self.last = (self.last + block[-_LAST:])[-_LAST:]
        return block

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer only at the end; without a size those of a block."""
        parts: list[bytes] = []
        wanted = size if size is not None and size >= 0 else 1
        while wanted > 0:
            if self._at >= len(self._block):
                self._block, self._at = self._next(), 0
                if not self._block:
                    break
            rest = len(self._block) - self._at
            count = rest if size is None or size < 0 else min(wanted, rest)
            parts.append(self._block[self._at : self._at + count])
            self._at += count
            wanted -= count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
