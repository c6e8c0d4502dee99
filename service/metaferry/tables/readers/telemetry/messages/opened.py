"""Messages as rows: what containers of them have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from metaferry.findings import Code
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.contract import ReaderColumn, Reject, Rows, Wanted
from metaferry.tables.readers.telemetry.columns import SAMPLES, samples_of
from metaferry.tables.readers.telemetry.messages.clocks import choose, own_time
from metaferry.tables.readers.telemetry.messages.decoders import Decoder
from metaferry.tables.readers.telemetry.messages.layouts import Unreadable
from metaferry.tables.readers.telemetry.messages.limits import MOST_BYTES, LeftOut, object_text
from metaferry.tables.readers.telemetry.messages.topics import Topics
from metaferry.tables.readers.telemetry.opened import OpenedRecordings

#: Besides the text of a message: about how many bytes a row holds.
_ROW: Final = 200

MESSAGES: Final = samples_of(
    ReaderColumn("clock", pa.string(), "whose time it is: header, log or publish"),
    ReaderColumn("topic", pa.string(), "the topic"),
    ReaderColumn("type", pa.string(), "the type of the message, as the file names it"),
    ReaderColumn("log_ns", pa.int64(), "when it was logged, as the file has it: nanoseconds"),
    ReaderColumn("publish_ns", pa.int64(), "when it was published, likewise"),
    ReaderColumn("message", pa.string(), "its fields; long lists and bytes are left out", json=True),
    meaning="a message of a topic that is read",
    place="message",
)


@dataclass(slots=True)
class Topic:
    """A topic that is read: how its messages are decoded, and what was left out of them."""

    name: str
    type: str
    decode: Decoder
    left_out: LeftOut


@dataclass(slots=True)
class OpenedMessages(OpenedRecordings):
    """The base of `contract.Opened` of containers of messages."""

    relations = (MESSAGES,)
    topics: Topics = field(init=False)
    _number: int = 0
    _left_out: dict[str, LeftOut] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.topics = Topics(getattr(self.given.value, "topics", ()))

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """As `contract.Opened.read`; a topic that the job names and no file has is an error."""
        yield from OpenedRecordings.read(self, wanted, reject)
        fault = self.topics.fault()
        if fault is not None:
            message, advice = fault
            raise self.given.fault(f"{self.given.value.shown}: {message}", advice=advice)

    def begin(self) -> None:
        """A file begins: its messages are counted from 1."""
        self._number, self._left_out = 0, {}

    def topic(self, name: str, kind: str, decoder: Any) -> Topic | None:
        """A topic of the file that is being read; None of one that is not read. `decoder` makes its decoder
        of what is to be left out. JobError where the job names a topic that cannot be read."""
        if not self.topics.takes(name, kind):
            return None
        left_out = self._left_out.setdefault(name, LeftOut())
        try:
            return Topic(name, kind, decoder(left_out), left_out)
        except Unreadable as error:
            if self.topics.is_named:
                raise self.given.fault(f"topic {name}: {error.message}", advice=error.advice) from None
            self.note(
                Code.TELEMETRY_UNREAD,
                f"the topic {name} is left out: {error.message}",
                error.advice or "name the topics that are wanted: topics: […]",
            )
            return None

    def row(self, topic: Topic, data: bytes, log: int, publish: int) -> Placed | Rejected:
        """A message as a row, or why it is none."""
        self._number += 1
        try:
            message = topic.decode(data)
            time, elapsed, clock = choose(self.given.value.clock, own_time(message), log, publish)
            text = object_text(message)
        except Bad as bad:
            return Rejected(SAMPLES, self._number, bad.of(f"a message of {topic.name}"))
        values = {
            "time": time,
            "elapsed_ns": elapsed,
            "clock": clock,
            "topic": topic.name,
            "type": topic.type,
            "log_ns": log if log < 2**63 else None,
            "publish_ns": publish if publish < 2**63 else None,
            "message": text,
        }
        return Placed(SAMPLES, self._number, _ROW + len(text or ""), values)

    def too_large(self, topic: Topic, size: int) -> Rejected:
        """A message that is not looked at."""
        self._number += 1
        message = f"a message of {topic.name} has {size >> 20:,} MiB, and at most {MOST_BYTES >> 20} are read"
        return Rejected(SAMPLES, self._number, Bad(message))

    def end(self) -> None:
        """The file ends: what was left out of its messages is told."""
        for name, left_out in self._left_out.items():
            if left_out.names:
                self.note(
                    Code.TELEMETRY_LEFT_OUT,
                    f"of the topic {name} long lists, bytes and texts are left out: "
                    f"{', '.join(left_out.names)}",
                    is_usual=True,
                )

    def example(self, table: str) -> str:
        """As `contract.Opened.example`."""
        return (
            "SELECT regexp_replace(_path, '[.][^.]*$', '.mp4') AS file_name, count(*) AS messages,\n"
            "       count(DISTINCT topic) AS topics, min(time) AS first, max(time) AS last\n"
            f"FROM {table}.samples GROUP BY _path"
        )
