"""The bytes of a text table, in blocks: pinned to one version, decompressed, cut at line ends.

Memory is bounded by a few blocks, whatever the size of the file. An archive that is damaged or cut
short is one error for the whole file: what came before the damage is not half used, since the run
ends with it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError, NotFound
from metaferry.storage.io.portal import Portal
from metaferry.tables.files.find import TableObject, missing
from metaferry.tables.files.proof import BLOCK, WHOLE, Running, proof_of, ranges, read_whole

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: A line longer than this is no line of a table: it bounds memory where a file has no lines at all.
LONGEST_LINE: Final = 64 << 20
UTF8_BOM: Final = b"\xef\xbb\xbf"


class ByteStream:
    """The content of one file. `size` (bytes as stored) and `token` are known after the first block."""

    def __init__(self, file: TableObject, portal: Portal, place: str) -> None:
        self.size = file.size or 0
        self.token = file.token or ""
        self._file = file
        self._portal = portal
        self._place = place

    def blocks(self) -> Iterator[bytes]:
        """Blocks of the content. Raises JobError or TableMissing for a file that is not there, JobError for
        an archive that is not whole, and Corrupt where the bytes are not those that the store has."""
        if not self._file.compression:
            yield from self._stored()
            return
        pull = _Pull(self._stored())
        try:
            with pa.CompressedInputStream(pa.PythonFile(pull, mode="r"), self._file.compression) as stream:
                while block := stream.read(BLOCK):
                    yield block
            pull.drain()  # what is stored is compared at its end, which the archive may not ask for
        except OSError as error:
            pull.drain()  # Corrupt, where it came damaged: then the archive is not at fault
            raise JobError(
                f"{self._file.url} is no whole {self._file.compression} file: {error}",
                place=self._place,
                advice="upload it again, or correct its extension",
            ) from error
        if not pull.received:
            raise JobError(
                f"{self._file.url} is no {self._file.compression} file: it is empty", place=self._place
            )

    def pieces(self, *, carriage_returns: bool) -> Iterator[bytes]:
        """The content cut after line ends, without a byte order mark; the last piece may lack its end.

        `carriage_returns`: a lone CR ends a line too, as in the tables of very old programs.
        """
        carried: list[bytes] = []
        length = 0
        first = True
        for data in self.blocks():
            block = data
            if first and (carried or len(block) >= len(UTF8_BOM)):
                block = b"".join([*carried, block])
                carried, length, first = [], 0, False
                self._check_encoding(block)
                block = block.removeprefix(UTF8_BOM)
            cut = block.rfind(b"\n") + 1
            if not cut and carriage_returns:
                # Not the last byte: it may be the first half of CR LF.
                cut = block.rfind(b"\r", 0, len(block) - 1) + 1
            if cut:
                first = False
                yield b"".join([*carried, block[:cut]])
                carried, length = [], 0
                block = block[cut:]
            carried.append(block)
            length += len(block)
            if length > LONGEST_LINE:
                raise JobError(
                    f"{self._file.url} has a line of more than {LONGEST_LINE >> 20} MiB: it is no text table",
                    place=self._place,
                    advice="name the format if the extension misleads: format: parquet",
                )
        rest = b"".join(carried)
        if rest:
            yield rest.removeprefix(UTF8_BOM) if first else rest

    def _check_encoding(self, start: bytes) -> None:
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise JobError(f"{self._file.url} is UTF-16", place=self._place, advice="save the table as UTF-8")

    def _stored(self) -> Iterator[bytes]:
        file = self._file
        proof = proof_of(file, self._portal)
        try:
            if proof is not None and proof.size <= WHOLE:
                data, self.token = read_whole(file, self._portal, proof)
                self.size = len(data)
                yield from (data[start : start + BLOCK] for start in range(0, len(data), BLOCK))
                return
            running = Running()
            for blob in self._portal.iterate(ranges(file.storage, file.path, file.token)):
                self.size, self.token = blob.size, blob.token
                if blob.data:
                    if proof is not None:
                        running.add(blob.data)
                    yield blob.data
            if proof is not None:
                running.check(file, self._portal, proof, self.token)
        except NotFound as error:
            raise missing(file, self._place, self._portal, error) from error


class _Pull(io.RawIOBase):
    """An iterator of blocks as the file that pyarrow wants to read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self.received = 0
        self._blocks = blocks
        self._block = b""
        self._at = 0

    def drain(self) -> None:
        """Reads what nobody asked for to its end."""
        for _ in self._blocks:
            pass

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if self._at >= len(self._block):
            self._block, self._at = next(self._blocks, b""), 0
            self.received += len(self._block)
        end = len(self._block) if size is None or size < 0 else self._at + size
        data = self._block[self._at : end]
        self._at += len(data)
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
