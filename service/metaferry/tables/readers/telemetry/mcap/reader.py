"""The reader of MCAP files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from metaferry.findings import Code
from metaferry.tables.files.content import content_of
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.contract import Given
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.telemetry.columns import SAMPLES
from metaferry.tables.readers.telemetry.messages.decoders import decoder_of
from metaferry.tables.readers.telemetry.messages.limits import MOST_BYTES
from metaferry.tables.readers.telemetry.messages.opened import OpenedMessages, Topic
from metaferry.tables.readers.telemetry.messages.sections import Broken

if TYPE_CHECKING:
    from metaferry.tables.readers.telemetry.mcap.container import McapFile, Message

MAGIC: Final = b"\x89MCAP"
_ADVICE: Final = "mcap recover FILE writes what can be saved; or upload it again"


class McapReader:
    """`contract.Reader` of MCAP."""

    key = "telemetry"
    name = "mcap"
    title = "MCAP: messages of ROS 2, ROS 1, Protocol Buffers and JSON"
    relations = (SAMPLES,)
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return head.startswith(MAGIC)

    def takes_folder(self, names: Sequence[str]) -> bool:
        return bool(names) and all(name.endswith(".mcap") for name in names)

    def open(self, given: Given) -> OpenedMcap:
        if find_spec("mcap") is None or find_spec("rosbags") is None:
            raise missing_extra("telemetry", f"{given.value.shown} is MCAP", given.place)
        return OpenedMcap(given)


class OpenedMcap(OpenedMessages):
    """`contract.Opened` of it."""

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        from metaferry.tables.readers.telemetry.mcap.container import McapFile

        self.begin()
        mcap = McapFile(file.ranged(), file.still_wanted, most=MOST_BYTES)
        wanted = _Wanted(self, mcap)
        try:
            summary = mcap.summary()
            if summary is None:
                for message in mcap.all(wanted):
                    yield self._row(wanted, message)
            else:
                read: dict[int, int] = {}
                for chunk in summary.chunks:
                    if any(map(wanted, chunk.channels)):
                        for message in mcap.in_chunk(chunk, wanted):
                            read[message.channel] = read.get(message.channel, 0) + 1
                            yield self._row(wanted, message)
                self._compare(wanted, read, summary.counts)
        except Broken as error:
            if not (error.is_cut and mcap.is_cut):
                packed = content_of(file.ranged_head())
                if packed in ("gzip", "zstd", "zip"):
                    raise self.fault(
                        file, f"is packed ({packed}), and is read in ranges", "unpack it"
                    ) from None
                raise self.fault(file, error.message, _ADVICE) from None
            self.note_cut(error.message)
        self.end()

    def _row(self, wanted: _Wanted, message: Message) -> Placed | Rejected:
        topic = wanted.topics[message.channel]
        assert topic is not None
        if message.data is None:
            return self.too_large(topic, message.size)
        return self.row(topic, message.data, message.log, message.publish)

    def _compare(self, wanted: _Wanted, read: dict[int, int], counts: dict[int, int] | None) -> None:
        """Tells of messages that the file counts and its index does not lead to."""
        for channel, topic in wanted.topics.items():
            count = (counts or {}).get(channel, 0)
            if topic is not None and counts is not None and count != read.get(channel, 0):
                self.note(
                    Code.SOURCE_CONTRADICTION,
                    f"the file counts {count:,} messages of {topic.name}, and its index leads to "
                    f"{read.get(channel, 0):,}",
                    _ADVICE,
                )


class _Wanted:
    """Which channels of a file are read; their topics, by the channel."""

    def __init__(self, opened: OpenedMcap, mcap: McapFile) -> None:
        self.topics: dict[int, Topic | None] = {}
        self._opened = opened
        self._mcap = mcap

    def __call__(self, number: int) -> bool:
        if number not in self.topics:
            self.topics[number] = self._topic(number)
        return self.topics[number] is not None

    def _topic(self, number: int) -> Topic | None:
        channel = self._mcap.channels.get(number)
        if channel is None:
            raise Broken(f"has messages of a channel ({number}) that it does not describe")
        schema = self._mcap.schemas.get(channel.schema_id)
        kind, encoding, description = (
            (schema.name, schema.encoding, schema.data) if schema is not None else ("", "", b"")
        )
        return self._opened.topic(
            channel.topic,
            kind,
            lambda left_out: decoder_of(channel.message_encoding, kind, encoding, description, left_out),
        )
