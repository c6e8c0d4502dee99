"""What a reader is: relations with documented columns, and their rows as batches in one pass.

Values and protocols; nothing here reads. `stage.py` is what calls a reader, `registry.py` what finds it. To
add one:

1. Write a class with the attributes of `Reader`, whose `open` answers an `Opened`.
2. Name it in `registry._OURS`, or as an entry point of the group `metaferry.readers`.
3. A further key of the job is a field of `job/readers/keys.py:ReaderKeys` with a model of its own, which has
   `shown` and `for_digest` as `Annotations` has; one that is a location is named in `job/keys.py:TABLES` too.
4. Write `docs/sources/NAME.md` with a job that a test runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.parts import Location
from metaferry.secret_files import SecretFileError, has_changed, read_again
from metaferry.tables.model import TableFile, folded
from metaferry.tables.readers.files import ReaderFile
from metaferry.tables.readers.media_access import MediaAccess

#: Levels of objects, lists or elements below the top of a document.
MAX_DEPTH: Final = 64
#: Bytes of one element of a document (an image, an annotation), and of one text in it.
MAX_ELEMENT: Final = 64 << 20
#: Rows of a batch, at most; what is held as Python objects before it becomes one.
BATCH_ROWS: Final = 4_096

#: The relations that a run wants, and of each the columns, as `folded` gives them; None: all.
Wanted = Mapping[str, "frozenset[str] | None"]


@dataclass(frozen=True, slots=True)
class ReaderColumn:
    """A column: its name, its type, and what it holds, in one line.

    `json`: a column of text, each a JSON object, of which queries see a STRUCT with the types that hold
    every value over all rows, found as those of a JSON table are. Null where a row has none. `decimal`: a
    column of text, each a decimal number of any length, of which queries see the DECIMAL(38, s) that holds
    as many rows as one can; the others are rejected. `if_named`: in documents only where `metadata` of the
    source names it.
    """

    name: str
    type: pa.DataType
    meaning: str
    json: bool = False
    decimal: bool = False
    if_named: bool = False


@dataclass(frozen=True, slots=True)
class ReaderRelation:
    """A relation: its name in FROM after the table's, what one row is, its columns, and what the number is
    that tells a row's place, for people: `element`, `line`, `byte`, `row`. `is_typed` is false where nobody
    knows the types of its columns while it has no rows."""

    name: str
    meaning: str
    columns: tuple[ReaderColumn, ...]
    place: str = "element"
    is_typed: bool = True

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return pa.schema([(column.name, column.type) for column in self.columns])

    def taken(self, wanted: frozenset[str] | None) -> tuple[ReaderColumn, ...]:
        """The columns that are wanted, as `Wanted` names them."""
        return tuple(each for each in self.columns if wanted is None or folded(each.name) in wanted)


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader noticed, and is no row: told to the user as a finding.

    `advice` says what to do, where there is something to do. `place` is a row's, where one shows it, `media`
    the path of the media that it is about.
    """

    code: Code
    severity: Literal["warning", "info"]
    message: str
    advice: str = ""
    file: int = 0
    place: int | None = None
    media: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one relation, of one file.

    `batch` has the columns that are wanted, in the order of the relation. `places` (int64, as many) tells
    each row's place; several rows may have one. `file` is the position in `Opened.files`. Of at most a few
    ten thousand rows, so that memory is bounded. `notes` are about some of them: with those of `Opened` all
    would be in memory at the end.
    """

    relation: str
    places: pa.Array
    batch: pa.RecordBatch
    file: int = 0
    notes: Sequence[Note] = ()


class Reject(Protocol):
    """Names what is in a source and is no row of `relation`: it is counted as read, and told to the user.

    `value` is what stands there, `expected` what should. Neither may hold a credential. `code` says what is
    wrong.
    """

    def __call__(
        self,
        relation: str,
        place: int,
        message: str,
        *,
        file: int = 0,
        column: str = "",
        value: str = "",
        expected: str = "",
        code: Code = Code.SOURCE_MALFORMED,
    ) -> None: ...


class Facts(Protocol):
    """What is staged, for a default query: the columns that a relation has, and what a SELECT over its
    relations (under their own names) answers. `ORDER BY` is the caller's: rows have no order."""

    def columns(self, relation: str) -> Mapping[str, str]:
        """The engine's type of each column of a relation."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT."""
        ...

    def contradiction(self, message: str, advice: str) -> None:
        """Tells the user of what contradicts itself and still makes records, such as an annotation of an
        image that is not listed: finding `source.contradiction`."""
        ...


class TooMuch(Exception):
    """Raised by `Opened.records` where no sensible record can be made: why, and a query to start from, over
    relations of a table called `annotations`."""

    def __init__(self, message: str, query: str) -> None:
        super().__init__(message)
        self.message = message
        self.query = query


class Opened(Protocol):
    """A source that is open. One that holds a connection has a method `close` too, which is called at the
    end, also where `read` was not. One that notices more than rows has `notes`, a sequence of `Note` that is
    complete once `read` has ended."""

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        """All relations, wanted or not. The names are those of `Reader.relations`."""
        ...

    @property
    def files(self) -> Sequence[TableFile]:
        """The files in the order of `Given.files`, complete once `read` has ended; `rows` is set by the
        caller. A source that is no file is one of size 0, its URL without credentials."""
        ...

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The rows of the wanted relations in one pass, in bounded memory. To be called once.

        Raises JobError (by `Given.fault`) for a source that is broken as a whole, and StorageError; never for
        one row.
        """
        ...

    def needs(self) -> Wanted:
        """What `records` reads. Not asked of a reader with one relation, whose rows are the records."""
        ...

    def records(self, facts: Facts) -> str:
        """The SELECT over the relations (`FROM images`) that makes a record of each image, video or frame,
        for a source that says no more than where it is.

        Its columns are `file_name`, `frame` (where there are frames, as the format counts them), and key
        paths. Raises `TooMuch`. Not asked of a reader with one relation.
        """
        ...

    def example(self, table: str) -> str:
        """A query to start from, over a table of the job with this name."""
        ...


@dataclass(frozen=True, slots=True)
class Given:
    """What a reader is opened on.

    `value` is the model of the job's key; `files` what its location names (none for a kind without one);
    `place` the key in the job, for errors. `options_of` are the fsspec options of a location, those of
    `storage:` below its own, for libraries that open URLs themselves. `still_wanted` is to be called while
    there is nothing but to wait: what it raises ends the run. `retry_for` is the job's. A reader without
    files is opened again, as a whole, where `read` raises a StorageError that may pass. `media` are those of
    the job; None where there is no job to read for.
    """

    value: Any
    files: Sequence[ReaderFile]
    place: str
    options_of: Callable[[Location], Mapping[str, Any]] = lambda location: location.options
    still_wanted: Callable[[], None] = lambda: None
    retry_for: float = 0.0
    media: MediaAccess | None = None

    def renewed(self) -> Given | None:
        """The same with what the files of its secrets hold now; None where they hold what is in use, or
        cannot be read."""
        values = {name: getattr(self.value, name) for name in type(self.value).model_fields}
        location = getattr(self.value, "location", None)
        options = {} if location is None else self.options_of(location)
        if not has_changed(values) and not has_changed(options):
            return None
        try:
            value = self.value.model_copy(update=read_again(values))
            newer = read_again(options)
        except SecretFileError:  # replaced at this moment
            return None
        return replace(self, value=value, options_of=lambda _: newer)

    def fault(self, message: str, *, advice: str = "") -> JobError:
        """The error for a source that is broken as a whole; `message` says where, and what was expected."""
        return JobError(message, place=self.place, advice=advice)


class WithoutFiles:
    """What readers have in common that read no files: a base for them."""

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        """As `Reader.recognises`: there is nothing to look at."""
        return False

    def takes_folder(self, names: Sequence[str]) -> bool:
        """As `Reader.takes_folder`."""
        return False


class OfMedia(WithoutFiles):
    """The same of readers whose rows are the media themselves: whoever lists and reads the media tells how
    far that is, so their rows are not counted once more."""


class Reader(Protocol):
    """A format, or a kind of server."""

    #: The key of the job that it serves, and its name there (`reader:`), for people too.
    key: str
    name: str
    #: What it reads, in one line.
    title: str
    #: The names of its relations, in the order in which they are shown.
    relations: tuple[str, ...]
    #: What frame numbers of the format count from. `frame.base` of a source goes over it.
    frame_base: Literal[0, 1]

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        """Whether a source is of this format: the first bytes (unpacked, at most 64 KiB, may be cut within a
        token) of the first file, and the names of the files. False for a kind that has no files."""
        ...

    def takes_folder(self, names: Sequence[str]) -> bool:
        """Whether these files of one folder are a source of this format together."""
        ...

    def open(self, given: Given) -> Opened:
        """Opens a source. Raises JobError (by `Given.fault`), and StorageError."""
        ...
