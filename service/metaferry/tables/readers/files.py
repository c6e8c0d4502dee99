"""The files that a reader is opened on: one object, those that a glob matches, or those of a folder.

Bytes come through the storage contract, pinned to one version, unpacked, and in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from metaferry.errors import JobError
from metaferry.job.parts import Location
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.reader import RangeFile
from metaferry.storage.local.disk_names import to_disk
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.files.find import StorageFor, TableObject, find_objects
from metaferry.tables.model import TableFile
from metaferry.urls import split_scheme

#: Bytes of a file that tell its format.
HEAD: Final = 64 << 10
#: How many times larger than what is stored a packed file may be, beyond the first `FREE` bytes.
MAX_EXPANSION: Final = 200
FREE: Final = 1 << 30


class ReaderFile:
    """One file of a source. `url` is for people, `path` its path below the fixed part of the location."""

    def __init__(
        self, file: TableObject, portal: Portal, place: str, progress: Callable[[int], None]
    ) -> None:
        self.url = file.url
        self.path = file.path
        self.object = file
        self._portal = portal
        self._place = place
        self._progress = progress
        self._stream: ByteStream | None = None
        self._ranged: RangeFile | None = None
        self._head: bytes | None = None
        self._blocks: Iterator[bytes] = iter(())

    @property
    def stream(self) -> ByteStream:
        """Its bytes, open. Raises JobError, TableMissing, StorageError."""
        if self._stream is None:
            self._stream = ByteStream(self.object, self._portal, self._place)
            self._stream.open()
        return self._stream

    def head(self) -> bytes:
        """Its first bytes, unpacked and without a byte order mark; they are still to be read."""
        if self._head is None:
            blocks, head = self._limited(self.stream.blocks()), b""
            taken = []
            for block in blocks:
                taken.append(block)
                head += block[: HEAD - len(head)]
                if len(head) >= HEAD:
                    break
            self._head = head
            self._blocks = _again(taken, blocks)
        return self._head

    def blocks(self) -> Iterator[bytes]:
        """All bytes, unpacked and without a byte order mark, in blocks of a few MiB; to be read once.

        Raises JobError for an archive that is damaged or grows beyond all measure, StorageError for a store
        that does not answer, and Corrupt where the bytes are not those that the store has.
        """
        self.head()
        return self._blocks

    def utf8(self) -> Iterator[bytes]:
        """The same for a format that is UTF-8: raises JobError for UTF-16 and UTF-32, by their marks."""
        encoding = self.stream.encoding
        if encoding != "utf-8":
            raise JobError(
                f"{self.url} is {encoding.upper()}, and this format is UTF-8",
                place=self._place,
                advice="save it as UTF-8: iconv -f UTF-16 -t UTF-8",
            )
        return self.blocks()

    def local(self) -> bytes | None:
        """The path of the file on this machine, where its bytes are as stored; None for all others."""
        folder = self.object.storage.url
        scheme, rest = split_scheme(folder)
        if scheme not in ("", "file", "local") or self.stream.packed:
            return None
        return to_disk(f"{rest.rstrip('/')}/{self.path}")

    def ranged(self) -> RangeFile:
        """The file as it is stored, for a format that has an index: of one version, read in ranges."""
        if self._ranged is None:
            self._ranged = RangeFile(
                self.object.storage,
                self._portal,
                self.object.path,
                size=self.object.size,
                version=(self._stream.token if self._stream is not None else self.object.token) or None,
            )
        return self._ranged

    def ranged_head(self) -> bytes:
        """Its first bytes as they are stored."""
        file = self.ranged()
        file.seek(0)
        return file.read(64)

    def still_wanted(self) -> None:
        """To be called between two ranges: what it raises ends the run."""
        self._progress(0)

    def done(self) -> TableFile:
        """What was read, for the report; `rows` is the caller's."""
        if self._stream is None and self._ranged is not None:
            return TableFile(self.url, self._ranged.size, self._ranged.token or "", 0)
        return TableFile(self.url, self.stream.size, self.stream.token, 0)

    def _limited(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The blocks, until they are far more than can be meant: a small archive may hold petabytes.

        Between two of them a run may end."""
        count = 0
        for block in blocks:
            self._progress(0)
            count += len(block) if self.stream.packed else 0
            # What is stored is known once it was read, or by the listing.
            stored = max(self.stream.size, 1 << 20)
            if count > FREE and count > MAX_EXPANSION * stored:
                raise JobError(
                    f"{self.url} holds more than {count >> 20:,} MiB in {stored >> 20:,} MiB: it is "
                    "no file of annotations or of samples",
                    place=self._place,
                    advice="unpack it and look at what it holds",
                )
            yield block


def _again(taken: list[bytes], blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks that were taken, each let go of with the next, and those that follow."""
    while taken:
        yield taken.pop(0)
    yield from blocks


def reader_files(
    location: Location,
    *,
    place: str,
    storage_for: StorageFor,
    portal: Portal,
    allow_none: bool,
    progress: Callable[[int], None],
) -> tuple[list[ReaderFile], list[str]]:
    """The files that a location names, in the order of their paths, of a folder (`…/`) all that it holds; and
    the URLs of what a glob matched and is empty.

    Raises JobError and TableMissing as `find_files` does.
    """
    is_folder = location.url.endswith("/")
    if is_folder:
        location = Location(url=f"{location.url}**/*", options=location.options)
    found = find_objects(
        location, place=place, storage_for=storage_for, portal=portal, allow_none=allow_none and not is_folder
    )
    return [ReaderFile(file, portal, place, progress) for file in found.files], found.passed_over
