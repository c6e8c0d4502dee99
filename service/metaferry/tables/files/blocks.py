"""The bytes of a table, in blocks: pinned to one version, unpacked, as UTF-8, cut at line ends.

What a file is its first bytes tell, not its name (`content`). Memory is bounded by a few blocks,
whatever the size of the file.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Generator, Iterator
from typing import Final

from metaferry.errors import JobError, NotFound
from metaferry.storage.io.portal import Portal
from metaferry.tables.files.archives import unpacked, zip_member
from metaferry.tables.files.content import HEAD, REFUSALS, Content, content_of, looks_like_text, mark_of
from metaferry.tables.files.find import TableObject, missing
from metaferry.tables.files.proof import BLOCK, WHOLE, Running, proof_of, ranges, read_whole

#: A line longer than this is no line of a table: it bounds memory where a file has no lines at all.
LONGEST_LINE: Final = 64 << 20
UTF8_BOM: Final = b"\xef\xbb\xbf"


class ByteStream:
    """The content of one file, unpacked and as UTF-8.

    `size` (bytes as stored), `token`, `content` (what the file holds, by its first bytes), `packed` (the
    archive around it) and `encoding` are known once it is open. `encoding` "" is UTF-8, or what a byte
    order mark says.
    """

    def __init__(self, file: TableObject, portal: Portal, place: str, encoding: str = "") -> None:
        self.size = file.size or 0
        self.token = file.token or ""
        self.content: Content = ""
        self.packed: Content = ""
        self.encoding = encoding
        self.file = file
        self._portal = portal
        self._place = place
        self._blocks: Iterator[bytes] | None = None
        self._ahead: Iterator[bytes] | None = None

    def open(self) -> None:
        """Reads the first block, once. Raises JobError or TableMissing for a file that is not there, JobError
        for an archive that is not whole, and Corrupt where the bytes are not those that the store has."""
        if self._blocks is not None:
            return
        stored = self._stored()
        head, blocks = _beginning(stored)
        content, named, url = content_of(head), self.file.compression, self.file.url
        if content in ("gzip", "zstd"):
            self.packed = content
            head, blocks = _beginning(unpacked(blocks, content, url, self._place))
            content = content_of(head)
        elif content == "zip":
            self.packed = content
            stored.close()
            name, member = zip_member(self.file, self.token, self._portal, self._place)
            head, blocks = _beginning(member)
            content = name if name in REFUSALS else content_of(head)
        elif named and not head:
            raise JobError(f"{url} is no {named} file: it is empty", place=self._place)
        elif named and not content and not looks_like_text(head):
            raise JobError(
                f"{url} is no whole {named} file: it does not begin as one",
                place=self._place,
                advice="upload it again, or correct its extension",
            )
        if self.packed and content in ("gzip", "zstd", "zip"):
            raise JobError(f"{url} is packed twice", place=self._place, advice="unpack it once")
        self.content = content
        marked, length = mark_of(head)
        self.encoding = marked or self.encoding or "utf-8"
        self._blocks = _without(blocks, length)

    def blocks(self) -> Iterator[bytes]:
        """Blocks of the content, without a byte order mark; to be read once. Raises as `open` does."""
        self.open()
        assert self._blocks is not None
        yield from self._blocks

    def text(self) -> Iterator[bytes]:
        """Blocks of text as UTF-8, cut anywhere. Raises JobError for what is no text."""
        if self._ahead is not None:
            return self._ahead
        self.open()
        refuse(self, self._place)
        blocks = self.blocks()
        if self.encoding != "utf-8":
            return as_utf8(blocks, self.encoding, self.file.url, self._place)
        return blocks

    def ahead(self) -> tuple[bytes, bool]:
        """The first block of the text, which is still to be read, and whether it is all of it."""
        blocks = self.text()
        first, second = next(blocks, b""), next(blocks, b"")
        self._ahead = itertools.chain([first, second] if second else [first], blocks)
        return first, not second

    def pieces(self, *, carriage_returns: bool) -> Iterator[bytes]:
        """Text as UTF-8, cut after line ends; the last piece may lack its end.

        `carriage_returns`: a lone CR ends a line too, as in the tables of very old programs. What is no
        text in its encoding is no UTF-8 in what is answered. Raises JobError for what is no text table.
        """
        blocks = self.text()
        carried: list[bytes] = []
        length = 0
        for data in blocks:
            block = data
            cut = block.rfind(b"\n") + 1
            if not cut and carriage_returns:
                # Not the last byte: it may be the first half of CR LF.
                cut = block.rfind(b"\r", 0, len(block) - 1) + 1
            if cut:
                yield b"".join([*carried, memoryview(block)[:cut]])  # copied once
                carried, length = [], 0
                block = block[cut:]
            carried.append(block)
            length += len(block)
            if length > LONGEST_LINE:
                raise JobError(
                    f"{self.file.url} has a line of more than {LONGEST_LINE >> 20} MiB: it is no text table",
                    place=self._place,
                    advice="name the format if the extension misleads: format: parquet",
                )
        rest = b"".join(carried)
        if rest:
            yield rest

    def _stored(self) -> Generator[bytes, None, None]:
        file = self.file
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


def refuse(stream: ByteStream, place: str) -> None:
    """Raises JobError for a file that is open and holds no text."""
    url = stream.file.url
    known = REFUSALS.get(stream.content)
    if known is not None:
        raise JobError(f"{url} is {known.called}", place=place, advice=known.advice)
    if stream.content and stream.packed:
        raise JobError(
            f"{url} is {stream.content.title()} inside {stream.packed}, which cannot be read",
            place=place,
            advice="unpack the file",
        )
    if stream.content:
        raise JobError(
            f"{url} is {stream.content.title()}, and the files before it are text",
            place=place,
            advice="make it a source of its own",
        )


def as_utf8(blocks: Iterator[bytes], encoding: str, url: str, place: str) -> Iterator[bytes]:
    """Blocks of text in another encoding as UTF-8.

    A byte that is no text in it comes out as no text in UTF-8 either, so that its row can be named.
    """
    # One half of a surrogate pair, or a byte that stands for nothing.
    errors = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    read = 0
    try:
        for block in blocks:
            yield decoder.decode(block).encode(errors=errors)
            read += len(block)
        yield decoder.decode(b"", True).encode(errors=errors)
    except UnicodeDecodeError as error:
        raise JobError(
            f"{url} is not {encoding}: {error.reason} near byte {read:,}",
            place=place,
            advice="name the encoding that it was saved with, or save it as UTF-8",
        ) from None


def _beginning(blocks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """What tells the content of a file, and all its blocks."""
    head = b""
    for block in blocks:
        head += block
        if len(head) >= HEAD:
            break
    return head[:HEAD], itertools.chain([head] if head else [], blocks)


def _without(blocks: Iterator[bytes], length: int) -> Iterator[bytes]:
    """The blocks without so many bytes of the first, which is longer."""
    for block in blocks:
        yield block[length:]
        length = 0
