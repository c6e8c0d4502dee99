"""What loading a source answers: its files, its counts and the key paths that it gives values for.

The rows themselves stay in the engine, in the table that `Loaded.table` names.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """A leaf key path of a source: its steps, its column in the source's table, the engine's type."""

    path: tuple[str, ...]
    column: str
    type: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A source in the engine.

    `table` has the columns

    - `file` INTEGER: index into `files`;
    - `row` BIGINT: the line where the record starts for text files (a header is line 1), the row
      number from 1 otherwise;
    - `file_name` VARCHAR: what the expression gave, as text, not cleaned;
    - `frame` VARCHAR: what the expression gave, as text; `frame_index` BIGINT: counted from 0, null
      where the frame is null or no whole number; `frame_bad` VARCHAR: the text of a frame that is no
      whole number;
    - one column for each of `keys`.

    Malformed rows are not in it: they are in the table `rejects`, and counted in `read` and
    `malformed`.
    """

    label: str
    table: str
    files: tuple[TableFile, ...]
    read: int
    malformed: int
    keys: tuple[KeyColumn, ...]
    has_frame: bool
