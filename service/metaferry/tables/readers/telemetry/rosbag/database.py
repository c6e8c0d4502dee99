"""Bags of ROS 2 in SQLite (db3), as rosbag2_storage_sqlite3 writes them.

SQLite needs a file of its own, so one that is not on this machine, or is packed, is copied first. It is
opened read-only, and only tables are read: a view could be a program.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from metaferry.errors import MetaferryError
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.telemetry.messages.layouts import Described, Unreadable, described
from metaferry.tables.readers.telemetry.messages.limits import MOST_SCHEMA
from metaferry.tables.readers.telemetry.messages.sections import Broken
from metaferry.tempfiles import no_temporary_folder

MAGIC: Final = b"SQLite format 3\0"
#: Rows between two looks at whether they are still wanted.
_LOOK: Final = 1_000
_MOST_TOPICS: Final = 10_000


class DatabaseTopic(NamedTuple):
    """A topic: its number, its name, its type, and how its messages are encoded."""

    number: int
    name: str
    type: str
    encoding: str


class DatabaseMessage(NamedTuple):
    """A message as it stands; `data` is None where it is larger than what is read, `size` is its own."""

    topic: int
    time: int
    size: int
    data: bytes | None


class NoBag(Broken):
    """A database of something else."""


@contextlib.contextmanager
def opened_database(file: ReaderFile) -> Iterator[Database]:
    """The database of a file, for one block. Raises Broken, and what reading a file raises."""
    with contextlib.ExitStack() as stack:
        path = file.local()
        if path is None:
            path = os.fsencode(_copy(file, stack))
        try:
            con = sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)
        except sqlite3.Error as error:
            raise Broken(f"is no SQLite database that can be read: {error}") from None
        stack.callback(con.close)
        con.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1 << 30)
        con.text_factory = lambda raw: raw.decode(errors="replace")
        yield Database(con, file.still_wanted)


def _copy(file: ReaderFile, stack: contextlib.ExitStack) -> str:
    """The path of a copy, unpacked. Raises MetaferryError where there is no room for it."""
    try:
        copy = tempfile.NamedTemporaryFile(suffix=".db3")  # noqa: SIM115 - the stack closes it
    except OSError as error:
        raise no_temporary_folder() from error
    stack.callback(copy.close)
    for block in file.blocks():
        try:
            copy.write(block)
            copy.flush()
        except OSError as error:
            raise MetaferryError(
                f"{file.url} cannot be copied to {tempfile.gettempdir()}: {error.strerror}",
                advice="name a folder with more room: TMPDIR in the environment",
            ) from error
    return copy.name


class Database:
    """A bag that is open. Raises Broken."""

    def __init__(self, con: sqlite3.Connection, still_wanted: Callable[[], None]) -> None:
        self._con = con
        self._still_wanted = still_wanted
        self._run("PRAGMA trusted_schema = OFF")
        self._tables = {
            name
            for name, root in self._run("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'")
            if root  # none of a virtual table
        }
        if not {"topics", "messages"} <= self._tables:
            raise NoBag("is a SQLite database, and no bag of ROS 2: it has no tables topics and messages")

    def topics(self) -> list[DatabaseTopic]:
        """The topics."""
        rows = self._run(
            f"SELECT id, name, type, serialization_format FROM topics ORDER BY id LIMIT {_MOST_TOPICS}"
        )
        return [DatabaseTopic(number, str(name), str(kind), str(how)) for number, name, kind, how in rows]

    def description(self, kind: str) -> tuple[Described, str]:
        """The types that a topic's needs, and where they are from: the bag, or a release of ROS 2.

        Raises Unreadable where neither has it.
        """
        if "message_definitions" in self._tables:
            for encoding, text in self._run(
                "SELECT encoding, encoded_message_definition FROM message_definitions WHERE topic_type = ? "
                f"AND length(encoded_message_definition) BETWEEN 1 AND {MOST_SCHEMA} ORDER BY id LIMIT 1",
                kind,
            ):
                return described(kind, str(text), is_idl=encoding == "ros2idl"), ""
        return _types_of_release(self._release(), kind)

    def _release(self) -> str:
        with contextlib.suppress(Broken):  # older bags do not say it
            for (name,) in self._run("SELECT ros_distro FROM schema LIMIT 1"):
                return str(name)
        return ""

    def messages(self, topics: list[int], most: int) -> Generator[DatabaseMessage, None, None]:
        """The messages of topics, in the order of the bag."""
        listed = ", ".join(str(int(number)) for number in topics)
        sql = (
            f"SELECT topic_id, timestamp, length(data), CASE WHEN length(data) <= {most} THEN data END "
            f"FROM messages WHERE topic_id IN ({listed}) ORDER BY rowid"
        )
        with contextlib.closing(self._run(sql)) as rows:
            for number, (topic, time, size, data) in enumerate(rows):
                if number % _LOOK == 0:
                    self._still_wanted()
                if not isinstance(time, int) or not isinstance(size, int):
                    raise Broken("has messages without a time, or without data")
                yield DatabaseMessage(topic, time, size, data.encode() if isinstance(data, str) else data)

    def _run(self, sql: str, *values: Any) -> Generator[tuple[Any, ...], None, None]:
        try:
            with contextlib.closing(self._con.execute(sql, values)) as rows:
                yield from rows
        except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:  # the text of an error, too
            raise Broken(f"is no SQLite database that can be read: {error}") from None


def _types_of_release(release: str, kind: str) -> tuple[Described, str]:
    """The types that come with ROS 2 itself."""
    from rosbags.typesys import Stores, get_typestore

    name = f"ROS2_{release.upper()}"
    store = Stores[name] if name in Stores.__members__ else Stores.LATEST
    types = get_typestore(store).fielddefs
    if kind not in types:
        raise Unreadable(
            f"neither the bag nor ROS 2 itself describes the type {kind}",
            "record with a newer ROS 2, or as MCAP: both write the description",
        )
    return types, store.value
