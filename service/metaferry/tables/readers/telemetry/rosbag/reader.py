"""The reader of ROS bags."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Final, Literal

import pyarrow as pa

from metaferry.findings import Code
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.contract import Given
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.telemetry.columns import SAMPLES
from metaferry.tables.readers.telemetry.mcap.reader import MAGIC as MCAP
from metaferry.tables.readers.telemetry.mcap.reader import OpenedMcap
from metaferry.tables.readers.telemetry.messages.decoders import Decoder, cdr_decoder, ros1_decoder, text_of
from metaferry.tables.readers.telemetry.messages.layouts import Unreadable, described, layout_of
from metaferry.tables.readers.telemetry.messages.limits import MOST_BYTES, LeftOut
from metaferry.tables.readers.telemetry.messages.opened import Topic
from metaferry.tables.readers.telemetry.messages.sections import Broken
from metaferry.tables.readers.telemetry.rosbag.bag1 import MAGIC as BAG1
from metaferry.tables.readers.telemetry.rosbag.bag1 import Bag
from metaferry.tables.readers.telemetry.rosbag.database import (
    MAGIC as SQLITE,
)
from metaferry.tables.readers.telemetry.rosbag.database import (
    Database,
    DatabaseTopic,
    NoBag,
    opened_database,
)

_METADATA: Final = "metadata.yaml"
_BAGS: Final = (".bag", ".db3", ".db3.zstd", ".mcap")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class RosbagReader:
    """`contract.Reader` of ROS bags."""

    key = "telemetry"
    name = "rosbag"
    title = "ROS bags: ROS 1 (.bag), ROS 2 (.db3, and folders of .db3 and .mcap)"
    relations = (SAMPLES,)
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return head.startswith((BAG1, SQLITE))

    def takes_folder(self, names: Sequence[str]) -> bool:
        bags = [name for name in names if name.rpartition("/")[2] != _METADATA]
        return (
            bool(bags) and all(name.endswith(_BAGS) for name in bags) and _has_metadata_or_bags(names, bags)
        )

    def open(self, given: Given) -> OpenedRosbag:
        if find_spec("mcap") is None or find_spec("rosbags") is None:
            raise missing_extra("telemetry", f"{given.value.shown} is a ROS bag", given.place)
        return OpenedRosbag(given)


def _has_metadata_or_bags(names: Sequence[str], bags: Sequence[str]) -> bool:
    """Not a folder of MCAP files alone, which are the other reader's."""
    return len(bags) < len(names) or not all(name.endswith(".mcap") for name in bags)


class OpenedRosbag(OpenedMcap):
    """`contract.Opened` of it. Files of one folder are one bag, each of its own format."""

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        if file.path.rpartition("/")[2] == _METADATA:
            return
        head = file.head()
        if head.startswith(MCAP):
            yield from OpenedMcap.rows(self, file)
            return
        self.begin()
        try:
            if head.startswith(SQLITE):
                with opened_database(file) as database:
                    yield from self._of_database(database)
            else:
                yield from self._of_bag(file)
        except NoBag as error:
            raise self.fault(
                file, error.message, "read it by a query: sql: {uri: sqlite:///FILE, query: …}"
            ) from None
        except Broken as error:
            raise self.fault(
                file, error.message, "rosbag reindex, or ros2 bag reindex; or upload it again"
            ) from None
        self.end()

    # -- ROS 1

    def _of_bag(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        if file.stream.packed:
            raise Broken(f"is packed ({file.stream.packed}), and is read in ranges: unpack it")
        bag = Bag(file.ranged(), file.still_wanted, most=MOST_BYTES)
        topics: dict[int, Topic | None] = {}

        def wanted(number: int) -> bool:
            if number not in topics:
                topics[number] = self._topic_of(bag, number)
            return topics[number] is not None

        try:
            for message in bag.messages(wanted):
                topic = topics[message.connection]
                assert topic is not None
                if message.data is None:
                    yield self.too_large(topic, message.size)
                else:
                    yield self.row(topic, message.data, message.time, message.time)
        except Broken as error:
            if not (error.is_cut and bag.is_cut):
                raise
            self.note_cut(error.message)

    def _topic_of(self, bag: Bag, number: int) -> Topic | None:
        connection = bag.connections.get(number)
        if connection is None:
            raise Broken(f"has messages of a connection ({number}) that it does not describe")

        def decoder(left_out: LeftOut) -> Decoder:
            types = described(connection.type, text_of(connection.type, connection.definition))
            return ros1_decoder(connection.type, types, left_out)

        return self.topic(connection.topic, connection.type, decoder)

    # -- ROS 2 in SQLite

    def _of_database(self, database: Database) -> Iterator[Placed | Rejected]:
        topics = {}
        for one in database.topics():
            topic = self.topic(
                one.name, one.type, lambda left_out, one=one: self._decoder(database, one, left_out)
            )
            if topic is not None:
                topics[one.number] = topic
        with contextlib.closing(database.messages(list(topics), MOST_BYTES)) as found:
            for message in found:
                topic = topics[message.topic]
                if message.data is None:
                    yield self.too_large(topic, message.size)
                else:
                    yield self.row(topic, message.data, message.time, message.time)

    def _decoder(self, database: Database, topic: DatabaseTopic, left_out: LeftOut) -> Decoder:
        if topic.encoding != "cdr":
            raise Unreadable(f"messages encoded as {topic.encoding} cannot be read")
        types, release = database.description(topic.type)
        if release:
            self.note(
                Code.TELEMETRY_ASSUMED,
                f"the bag does not describe the type {topic.type} of {topic.name}: it is read as that of "
                f"{release}",
                "record with ROS 2 Iron or later, or as MCAP: both write the description",
                is_usual=True,
            )
        decode = cdr_decoder(layout_of(topic.type, types, is_ros1=False), left_out)
        return lambda data: decode(_unpacked(data))


def _unpacked(data: bytes) -> bytes:
    """A message, which may be packed by itself: CDR never begins as zstd does. Raises Bad."""
    if not data.startswith(_ZSTD):
        return data
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            found: bytes = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise Bad(f"it cannot be unpacked: {error}") from None
    if len(found) > MOST_BYTES:
        raise Bad(f"it has more than {MOST_BYTES >> 20} MiB")
    return found
