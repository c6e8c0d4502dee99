"""Bags of ROS 1, version 2.0: wiki.ros.org/Bags/Format/2.0.

A record is a head of `name=value` fields, and data. Chunks are found by the index at the end; a bag that was
not closed has none, and is read from its start.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from metaferry.storage.io.reader import RangeFile
from metaferry.tables.readers.telemetry.messages.sections import (
    Broken,
    Buffered,
    Expansion,
    Part,
    Section,
    Unpacked,
)
from metaferry.tables.readers.telemetry.times import SECOND

MAGIC: Final = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _CHUNK, _INFO, _CONNECTION = b"\x02", b"\x03", b"\x05", b"\x06", b"\x07"
#: Bytes of the head of a record, and of a description of a connection.
_MOST_HEAD: Final = 1 << 20
_MOST: Final = 16 << 20
_MOST_CONNECTIONS: Final = 10_000
_CODECS: Final = {b"none": "", b"lz4": "lz4", b"bz2": "bz2"}


class Connection(NamedTuple):
    """Messages of one topic, of one publisher."""

    topic: str
    type: str
    definition: bytes


class BagMessage(NamedTuple):
    """A message as it stands; `data` is None where it is larger than what is read, `size` is its own."""

    connection: int
    time: int
    size: int
    data: bytes | None


class Bag:
    """One bag. `connections` grows while it is read. Raises Broken."""

    def __init__(self, file: RangeFile, still_wanted: Callable[[], None], *, most: int) -> None:
        self.connections: dict[int, Connection] = {}
        self.is_cut = False
        self._file = file
        self._still_wanted = still_wanted
        self._most = most
        self._expansion = Expansion()
        self._chunks: list[tuple[int, frozenset[int]]] = []

    def messages(self, wanted: Callable[[int], bool]) -> Iterator[BagMessage]:
        """The messages of the connections that are wanted, in the order of the file."""
        size = self._file.size
        section = Section(self._file, 0, size, self._still_wanted)
        if section.read(len(MAGIC)) != MAGIC:
            raise Broken("is no bag of ROS 1 of version 2.0")
        head, length = _head(Buffered(section.read))
        at = _number(head, "index_pos", 8)
        start = (
            len(MAGIC) + 4 + sum(4 + len(key) + 1 + len(value) for key, value in head.items()) + 4 + length
        )
        if head.get("op") != _BAG or (at and not start <= at <= size):
            raise Broken("has a head with an index at a place that is not in it")
        if not at:
            self.is_cut = True
            yield from self._all(Section(self._file, start, size, self._still_wanted), wanted)
            return
        self._index(at, size)
        if len(self._chunks) != _number(head, "chunk_count", 4):
            raise Broken("has an index that does not name all of its chunks")
        for place, connections in sorted(self._chunks):
            if any(map(wanted, connections)):
                one = Section(self._file, place, at, self._still_wanted)
                fields, length = _head(one)
                if fields.get("op") != _CHUNK:
                    raise Broken("has an index that names a place where no chunk begins")
                yield from self._chunk(one, fields, length, wanted)

    def _index(self, start: int, end: int) -> None:
        records = Buffered(Section(self._file, start, end, self._still_wanted).read)
        while (found := _next(records)) is not None:
            fields, length = found
            if fields.get("op") == _CONNECTION:
                self._connect(fields, records, length)
            elif fields.get("op") == _INFO:
                count = _number(fields, "count", 4)
                if length != 8 * count or length > _MOST:
                    raise Broken("has an index that cannot be read")
                data = records.exactly(length)
                held = frozenset(struct.unpack_from("<I", data, 8 * number)[0] for number in range(count))
                place = _number(fields, "chunk_pos", 8)
                if not len(MAGIC) <= place < start:
                    raise Broken("has an index with a chunk at a place that is not in it")
                self._chunks.append((place, held))
            else:
                records.skip(length)

    def _all(self, section: Section, wanted: Callable[[int], bool]) -> Iterator[BagMessage]:
        while (found := _next(section)) is not None:
            fields, length = found
            after = section.at + length
            if fields.get("op") == _CHUNK:
                yield from self._chunk(section, fields, length, wanted)
            elif fields.get("op") == _CONNECTION:
                self._connect(fields, section, length)
            if after > self._file.size:
                raise Broken("ends within a record", is_cut=True)
            section.go_to(after)

    def _chunk(
        self, section: Section, fields: Mapping[str, bytes], length: int, wanted: Callable[[int], bool]
    ) -> Iterator[BagMessage]:
        codec = _CODECS.get(fields.get("compression", b""))
        if codec is None:
            raise Broken(
                f"has a chunk packed with {fields.get('compression', b'')[:40]!r}, which is not known"
            )
        held = _number(fields, "size", 4)
        self._expansion.add(length, held)
        records = Buffered(Unpacked(Part(section, length), codec, held, 0).read)
        while (found := _next(records)) is not None:
            own, size = found
            if own.get("op") == _CONNECTION:
                self._connect(own, records, size)
            elif own.get("op") == _MESSAGE and wanted(_number(own, "conn", 4)):
                seconds, nanoseconds = struct.unpack("<II", _field(own, "time", 8))
                data = records.exactly(size) if size <= self._most else None
                if data is None:
                    records.skip(size)
                yield BagMessage(_number(own, "conn", 4), seconds * SECOND + nanoseconds, size, data)
            else:
                records.skip(size)

    def _connect(self, fields: Mapping[str, bytes], source: Buffered | Section, length: int) -> None:
        if length > _MOST:
            raise Broken(f"has a connection of {length >> 20:,} MiB")
        said = _fields(source.exactly(length))
        self.connections.setdefault(
            _number(fields, "conn", 4),
            Connection(
                fields.get("topic", b"").decode(errors="replace"),
                said.get("type", b"").decode(errors="replace"),
                said.get("message_definition", b""),
            ),
        )
        if len(self.connections) > _MOST_CONNECTIONS:
            raise Broken(f"has more than {_MOST_CONNECTIONS:,} connections")


def _next(source: Buffered | Section) -> tuple[dict[str, bytes], int] | None:
    """The head of the next record and the length of its data; None at the end."""
    first = source.up_to(4) if isinstance(source, Buffered) else source.read(4)
    if not first:
        return None
    return _rest_of_head(source, first)


def _head(source: Buffered | Section) -> tuple[dict[str, bytes], int]:
    return _rest_of_head(source, source.exactly(4))


def _rest_of_head(source: Buffered | Section, first: bytes) -> tuple[dict[str, bytes], int]:
    if len(first) < 4:
        raise Broken("ends within a record", is_cut=True)
    (length,) = struct.unpack("<I", first)
    if length > _MOST_HEAD:
        raise Broken(f"has a record whose head has {length >> 20:,} MiB")
    fields = _fields(source.exactly(length))
    (size,) = struct.unpack("<I", source.exactly(4))
    return fields, size


def _fields(data: bytes) -> dict[str, bytes]:
    found = {}
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        name, equals, value = data[at + 4 : at + 4 + size].partition(b"=")
        at += 4 + size
        if not equals or at > len(data):
            raise Broken("has a record whose head cannot be read")
        found[name.decode(errors="replace")] = value
    return found


def _field(fields: Mapping[str, bytes], name: str, size: int) -> bytes:
    found = fields.get(name, b"")
    if len(found) != size:
        raise Broken(f"has a record without its {name}")
    return found


def _number(fields: Mapping[str, bytes], name: str, size: int) -> int:
    return int.from_bytes(_field(fields, name, size), "little")
