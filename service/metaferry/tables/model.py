"""The values of this package: what loading a source answers, and what passes between its steps.

The rows themselves stay in the engine, in the table that `Loaded.table` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

#: Columns of a staged table that are ours; no column of a user's table may be called so.
FILE: Final = "__metaferry_file"
ROW: Final = "__metaferry_row"
OURS: Final = "__metaferry_"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a source. `url` is for people (no credentials), `size` in bytes as stored.

    `token` is the version that was read, `rows` how many rows were read, malformed ones included.
    """

    url: str
    size: int
    token: str
    rows: int


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A leaf key path of a source: its steps, its column in the source's table, the engine's type.

    `cell` is the column of a text table whose cells are the values as they stand; "" for all others.
    Of JSON, `mixed` says in which lines values of several kinds are that make text of all, and `source` is
    the SQL of the key in the table.
    """

    path: tuple[str, ...]
    column: str
    type: str
    cell: str = ""
    mixed: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class ShownColumn:
    """A column with the engine's type and up to three different values as text.

    Of one that is not used the first rows tell both, and where reading them would cost much, only the type.
    """

    name: str
    type: str
    values: tuple[str, ...]
    used: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """How a source was read, where that was found out and not said; "" for what has no meaning.

    Of several files it is the first that tells; `delimiter` is the character itself, `packed` the archive.
    """

    name: str = ""
    format: str = ""
    delimiter: str = ""
    encoding: str = ""
    packed: str = ""
    columns: tuple[ShownColumn, ...] = ()
    #: The version of a table that has several: `version 12`, `snapshot 5904918039666197432`.
    version: str = ""


@dataclass(frozen=True, slots=True)
class Frames:
    """What the frame columns of a source hold: one index a row, a range of them, or times in seconds; or
    (`joined`) the indices that samples were joined to, `frame_bad` being a code and a sentence then.

    `until` is for a second time, the end of a range, that is excluded; `max_gap` is the most seconds from a
    time to the nearest frame.
    """

    kind: Literal["one", "range", "second", "seconds", "joined"] = "one"
    until: bool = False
    max_gap: float = 0.0

    @property
    def is_range(self) -> bool:
        """Whether a row may speak of several frames."""
        return self.kind in ("range", "seconds")

    @property
    def by_time(self) -> bool:
        """Whether it is presentation times that tell the frames."""
        return self.kind in ("second", "seconds")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A source in the engine.

    `table`, which may be a view, has a `rowid` and the columns

    - `file` INTEGER: index into `files`;
    - `row` BIGINT: the line where the record starts for text files (a header is line 1), the row
      number from 1 otherwise;
    - `file_name` VARCHAR: what the expression gave, as text, not cleaned;
    - `frame` VARCHAR: what the expression gave, as text; `frame_index` BIGINT: counted from 0, null
      where the frame is null or no whole number; `frame_bad` VARCHAR: the text of a frame that is no
      whole number;
    - of a range `frame_last` BIGINT: its last frame, included; of times, in place of `frame_index`, the
      DOUBLEs `second_first` and `second_last`, null where there is no range. Of both, `frame_bad` says in
      whole words what is wrong;
    - one column for each of `keys`.

    Malformed rows are not in it: they are in the table `rejects`, and counted in `read` and
    `malformed`. Nor are those that the source's `where` leaves out: they are counted in `read` and
    `filtered`.
    """

    label: str
    table: str
    files: tuple[TableFile, ...]
    read: int
    malformed: int
    keys: tuple[KeyColumn, ...]
    has_frame: bool
    reading: Reading = Reading()
    filtered: int = 0
    #: The expression of the file name, as the job has it.
    file_name: str = "file_name"
    frames: Frames = Frames()
    #: What of a name and a media file has to be the same: path, basename or stem.
    match: str = "path"
    #: Whether its rows are those of a query, which have no place in a file.
    is_query: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column that expressions may name, with the engine's type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Staged:
    """A source's rows as they were read, before any expression.

    `relation(where)` is a SELECT of `FILE`, `ROW` and `columns`, the condition being on the rowid
    of `table`. `names` are all columns of the files, staged or not, for suggestions. `why_text`
    tells why a column that mostly holds numbers is text, "" where there is nothing to tell. `empty` are
    the URLs of files that a glob matched and that hold nothing.
    """

    table: str
    columns: tuple[Column, ...]
    names: tuple[str, ...]
    files: tuple[TableFile, ...]
    malformed: int
    relation: Callable[[str], str]
    why_text: Callable[..., str]
    #: The same SELECT with the `rowid` of `table` before its columns, where it does no more than name them;
    #: "" where it computes values.
    plain: str = ""
    reading: Reading = Reading()
    empty: tuple[str, ...] = ()
    #: Columns of the first file that are not used, for people.
    others: tuple[ShownColumn, ...] = ()
    #: Of a text table, by the folded name of a column: the relation's column with its cells as text.
    cells: Mapping[str, str] = field(default_factory=dict)
    #: By the same names, words that are read as no value (all others are numbers, booleans or dates), with
    #: how many cells hold each.
    nulls: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: Whether its types are known without rows too, as those of a reader are.
    is_typed: bool = False

    @property
    def read(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def is_empty(self) -> bool:
        """Without rows, and without columns that could be known: a JSONL file without lines."""
        return not self.names and self.read == self.malformed


def folded(name: str) -> str:
    """A column's name as the engine compares it: ASCII letters in one case."""
    return name.translate(_LOWER)


_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
