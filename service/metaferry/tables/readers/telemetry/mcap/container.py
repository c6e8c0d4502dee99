"""Where the chunks of an MCAP file are, and what its channels carry: mcap.dev/spec.

The mcap package reads single records; lengths and places are checked here before anything is read by them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Footer, Schema, Statistics

from metaferry.storage.io.reader import RangeFile
from metaferry.tables.readers.telemetry.mcap.stream import Records
from metaferry.tables.readers.telemetry.messages.sections import Broken, Expansion, Part, Section, Unpacked

MAGIC: Final = b"\x89MCAP0\r\n"
#: The record of the footer and the mark after it.
_FOOTER: Final = 9 + 20
#: Bytes of a record of the summary, of a channel, or of the head of a chunk.
_MOST: Final = 16 << 20
#: Channels and schemas of a file.
_MOST_CHANNELS: Final = 10_000
_LONGEST_CODEC: Final = 40


class Message(NamedTuple):
    """A message as it stands; `data` is None where it is larger than `most`, `size` is its own."""

    channel: int
    log: int
    publish: int
    size: int
    data: bytes | None


class Chunk(NamedTuple):
    """Where a chunk is, by the index, and the channels with messages in it."""

    start: int
    length: int
    channels: frozenset[int]


@dataclass(slots=True)
class Summary:
    """What the end of a file says of the whole."""

    chunks: list[Chunk] = field(default_factory=list)
    #: Messages by channel; None where the file does not count them.
    counts: dict[int, int] | None = None


class McapFile:
    """One file. `channels` and `schemas` grow while it is read. Raises Broken."""

    def __init__(self, file: RangeFile, still_wanted: Callable[[], None], *, most: int) -> None:
        self.channels: dict[int, Channel] = {}
        self.schemas: dict[int, Schema] = {}
        self._file = file
        self._still_wanted = still_wanted
        self._most = most
        self._expansion = Expansion()
        self.is_cut = False

    def summary(self) -> Summary | None:
        """What the end of the file says; None where it says nothing, or not enough to go by."""
        size = self._file.size
        if size < len(MAGIC) or self._read(0, len(MAGIC)) != MAGIC:
            raise Broken("does not begin as an MCAP file")
        tail = self._read(max(0, size - _FOOTER - len(MAGIC)), size)
        if not tail.endswith(MAGIC) or len(tail) < _FOOTER + len(MAGIC) or tail[0] != Opcode.FOOTER:
            self.is_cut = True
            return None
        footer = _parsed(Footer, tail[9:_FOOTER])
        end = size - _FOOTER - len(MAGIC)
        if not footer.summary_start:
            return None
        if not len(MAGIC) <= footer.summary_start <= end:
            raise Broken("has a summary at a place that is not in it")
        return self._summary(footer.summary_start, footer.summary_offset_start or end, end)

    def _summary(self, start: int, stop: int, end: int) -> Summary | None:
        found, chunks, messages = Summary(), 0, 0
        stop = stop if start <= stop <= end else end
        records = Records(Section(self._file, start, stop, self._still_wanted).read)
        while (record := records.next()) is not None:
            code, length = record
            if code in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._learn(code, _content(records, length))
            elif code == Opcode.CHUNK_INDEX:
                index = _parsed(ChunkIndex, _content(records, length))
                if not len(MAGIC) <= index.chunk_start_offset <= start - index.chunk_length:
                    raise Broken("has an index with a chunk at a place that is not in it")
                at = index.chunk_start_offset
                found.chunks.append(Chunk(at, index.chunk_length, frozenset(index.message_index_offsets)))
            elif code == Opcode.STATISTICS:
                counted = _parsed(Statistics, _content(records, length))
                chunks, messages = counted.chunk_count, counted.message_count
                found.counts = dict(counted.channel_message_counts) or None
        found.chunks.sort()
        known = {channel for chunk in found.chunks for channel in chunk.channels}
        is_enough = bool(found.chunks) or not messages
        # Channels in the summary, and indexes within chunks, are both a writer's to leave out.
        if (
            not is_enough
            or len(found.chunks) < chunks
            or not known <= self.channels.keys()
            or (messages and not known)
        ):
            return None
        return found

    def in_chunk(self, chunk: Chunk, wanted: Callable[[int], bool]) -> Iterator[Message]:
        """The messages of a chunk that the index names."""
        section = Section(self._file, chunk.start, chunk.start + chunk.length, self._still_wanted)
        code, length = struct.unpack("<BQ", section.exactly(9))
        if (code, length) != (Opcode.CHUNK, chunk.length - 9):
            raise Broken("has an index that names a place where no chunk begins")
        yield from self._chunk(section, length, wanted)

    def all(self, wanted: Callable[[int], bool]) -> Iterator[Message]:
        """The messages of the whole file, in its order, without an index."""
        section = Section(self._file, len(MAGIC), self._file.size, self._still_wanted)
        while True:
            head = section.read(9)
            if len(head) < 9:
                raise Broken("ends without its end mark", is_cut=True)
            code, length = struct.unpack("<BQ", head)
            after = section.at + length
            if code == Opcode.CHUNK:
                yield from self._chunk(section, length, wanted)
            elif code in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
                records = Records(Part(section, length).read, length)
                yield from self._record(records, code, length, wanted)
            elif code in (Opcode.DATA_END, Opcode.FOOTER):
                return
            if after > self._file.size:
                raise Broken("ends within a record", is_cut=True)
            section.go_to(after)

    def _chunk(self, section: Section, length: int, wanted: Callable[[int], bool]) -> Iterator[Message]:
        """The messages of the chunk whose record goes on here."""
        _, _, held, crc, named = struct.unpack("<QQQII", section.exactly(32))
        if named > _LONGEST_CODEC:
            raise Broken("has a chunk packed with what has no name")
        codec = section.exactly(named).decode(errors="replace")
        (stored,) = struct.unpack("<Q", section.exactly(8))
        if stored > length - 40 - named:
            raise Broken("has a chunk that is longer than its record")
        self._expansion.add(stored, held)
        records = Records(Unpacked(Part(section, stored), codec, held, crc).read)
        while (record := records.next()) is not None:
            yield from self._record(records, *record, wanted)

    def _record(
        self, records: Records, code: int, length: int, wanted: Callable[[int], bool]
    ) -> Iterator[Message]:
        """The message that a record is, where it is one that is wanted."""
        if code in (Opcode.SCHEMA, Opcode.CHANNEL):
            self._learn(code, _content(records, length))
        elif code == Opcode.MESSAGE:
            channel, _, log, publish = struct.unpack("<HIQQ", records.take(22))
            if wanted(channel):
                size = length - 22
                yield Message(channel, log, publish, size, records.take(size) if size <= self._most else None)

    def _learn(self, code: int, content: bytes) -> None:
        if code == Opcode.SCHEMA:
            schema = _parsed(Schema, content)
            self.schemas.setdefault(schema.id, schema)
        else:
            channel = _parsed(Channel, content)
            self.channels.setdefault(channel.id, channel)
        if len(self.channels) + len(self.schemas) > _MOST_CHANNELS:
            raise Broken(f"has more than {_MOST_CHANNELS:,} channels and schemas")

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(end - start)


def _content(records: Records, length: int) -> bytes:
    if length > _MOST:
        raise Broken(f"has a record of {length >> 20:,} MiB that describes others")
    return records.take(length)


def _parsed(kind: Any, content: bytes) -> Any:
    """A record of the mcap package, out of its bytes alone."""
    stream = io.BytesIO(content)
    try:
        return kind.read(ReadDataStream(stream))
    except Exception as error:  # noqa: BLE001 - whatever the package meets in damaged bytes
        raise Broken(f"has a record that cannot be read ({kind.__name__}, {type(error).__name__})") from None
