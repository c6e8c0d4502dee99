"""Rows into the engine: Arrow tables appended to a staging table, malformed rows to `rejects`.

Appends are gathered to about a row group of the engine. Nothing here reads a file or knows a format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.tables.model import FILE, OURS, ROW, folded

if TYPE_CHECKING:
    import duckdb

#: Rows handed over at once: the engine's row group, which it compresses and writes out as a whole.
BATCH_ROWS: Final = 122_880
#: Columns of a table, and key paths of a source, that can be used.
MAX_COLUMNS: Final = 2_000
#: Rows held as Python objects at once. Few: the garbage collector walks over all of them again and again.
PYTHON_ROWS: Final = 4_096
_INCOMING: Final = "metaferry_incoming"
_FLUSH_REJECTS: Final = 10_000
_REJECTS: Final = pa.schema(
    [
        ("source", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("code", pa.string()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("expected", pa.string()),
        ("message", pa.string()),
    ]
)

_FINDINGS: Final = pa.schema(
    [
        ("code", pa.string()),
        ("severity", pa.string()),
        ("message", pa.string()),
        ("advice", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("media", pa.string()),
        ("target", pa.string()),
    ]
)


def quote_ident(name: str) -> str:
    """A name as SQL writes it, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text literal. The engine knows no escapes in it but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


class StagingTable:
    """The table `name` with `FILE`, `ROW` and one column for each field of `columns`."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        columns: pa.Schema,
        progress: Callable[[int], None],
        *,
        nulls: Sequence[str] = (),
        trim: str = "",
    ) -> None:
        self.name = name
        self._con = con
        self._progress = progress
        self._nulls = nulls
        self._trim = trim
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._describe(columns)
        self._execute("CREATE TABLE {} AS SELECT * FROM {}", self._schema.empty_table())

    def add_columns(self, columns: Sequence[tuple[str, pa.DataType]]) -> None:
        """More columns, null in the rows that are there already."""
        if not columns:
            return
        self.flush()
        known = list(self._schema)[2:]
        self._describe(pa.schema([*known, *columns]))
        added = pa.schema(columns).empty_table()
        kinds = [str(kind) for kind in self._con.from_arrow(added).types]
        for (name, _), kind in zip(columns, kinds, strict=True):
            statement = f"ALTER TABLE {quote_ident(self.name)} ADD COLUMN {quote_ident(name)} {kind}"
            self._con.execute(statement).fetchall()

    def _describe(self, columns: pa.Schema) -> None:
        self._schema = pa.schema([(FILE, pa.int32()), (ROW, pa.int64()), *columns])
        values = [quote_ident(field.name) for field in columns]
        if self._trim:
            values = [f"trim({value}, {quote_text(self._trim)})" for value in values]
        # Which cells of a text table are no values the engine tells faster than Python.
        self._select = ", ".join([FILE, ROW, *(_without(value, self._nulls) for value in values)])

    def append(self, file: int, rows: pa.Array, columns: Sequence[pa.Array]) -> None:
        """Rows of one file: their lines or numbers (int64), and their values in the table's order."""
        index = pa.repeat(pa.scalar(file, pa.int32()), len(rows))
        self._waiting.append(pa.RecordBatch.from_arrays([index, rows, *columns], schema=self._schema))
        self._rows += len(rows)
        if self._rows >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hands over what is waiting; to be called after the last append."""
        if not self._rows:
            return
        batch = pa.Table.from_batches(self._waiting, self._schema)
        self._execute(f"INSERT INTO {{}} SELECT {self._select} FROM {{}}", batch)
        self._progress(self._rows)
        self._waiting, self._rows = [], 0

    def _execute(self, statement: str, batch: pa.Table) -> None:
        self._con.register(_INCOMING, batch)
        try:
            self._con.execute(statement.format(quote_ident(self.name), _INCOMING)).fetchall()
        finally:
            self._con.unregister(_INCOMING)


def _without(value: str, nulls: Sequence[str]) -> str:
    if len(nulls) < 2:
        return f"nullif({value}, {quote_text(nulls[0])})" if nulls else value
    return f"CASE WHEN {value} IN ({', '.join(map(quote_text, nulls))}) THEN NULL ELSE {value} END"


class Rejects:
    """Malformed rows of one source, by name, into the engine's table `rejects`. `flush` at the end."""

    def __init__(self, con: duckdb.DuckDBPyConnection, label: str) -> None:
        self.count = 0
        self._con = con
        self._label = label
        self._rows: list[tuple[Any, ...]] = []
        self._before: int | None = None  # rowids from here on are of this source; None: none is flushed

    def add(
        self, file: str, row: int, message: str, *, column: str = "", value: str = "", expected: str = ""
    ) -> None:
        """One row that is no record; `value` is what stands there, cut to 200 characters."""
        shown = value[:200].encode("utf-8", "backslashreplace").decode()
        code = str(Code.SOURCE_MALFORMED)
        self._rows.append((self._label, file, row, code, column, shown, expected, message))
        self.count += 1
        if len(self._rows) >= _FLUSH_REJECTS:
            self.flush()

    def flush(self) -> None:
        if self._before is None:
            self._before = _next_rowid(self._con, "rejects")
        _insert(self._con, "rejects", _REJECTS, self._rows)
        self._rows = []

    def discard(self) -> None:
        """Forgets all rows: the source is read again."""
        _delete_from(self._con, "rejects", self._before)
        self._rows, self.count, self._before = [], 0, None


class Findings:
    """Findings about rows of one source, into the engine's table `findings`. `flush` at the end."""

    def __init__(self, con: duckdb.DuckDBPyConnection, label: str) -> None:
        self._con = con
        self._label = label
        self._rows: list[tuple[Any, ...]] = []
        self._before: int | None = None

    def add(
        self,
        code: Code,
        severity: str,
        message: str,
        *,
        advice: str = "",
        file: str = "",
        row: int | None = None,
    ) -> None:
        self._rows.append((str(code), severity, message, advice, self._label, file, row, "", ""))
        if len(self._rows) >= _FLUSH_REJECTS:
            self.flush()

    def flush(self) -> None:
        if self._before is None:
            self._before = _next_rowid(self._con, "findings")
        _insert(self._con, "findings", _FINDINGS, self._rows)
        self._rows = []

    def discard(self) -> None:
        """Forgets all rows: the source is read again."""
        _delete_from(self._con, "findings", self._before)
        self._rows, self._before = [], None


def _next_rowid(con: duckdb.DuckDBPyConnection, table: str) -> int:
    ((last,),) = con.execute(f"SELECT coalesce(max(rowid), -1) FROM {table}").fetchall()
    return int(last) + 1


def _delete_from(con: duckdb.DuckDBPyConnection, table: str, rowid: int | None) -> None:
    if rowid is not None:
        con.execute(f"DELETE FROM {table} WHERE rowid >= {rowid}").fetchall()


def _insert(
    con: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema, rows: list[tuple[Any, ...]]
) -> None:
    if not rows:
        return
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    names = ", ".join(quote_ident(name) for name in schema.names)
    con.register(_INCOMING, pa.Table.from_arrays(arrays, schema=schema))
    try:
        con.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {_INCOMING}").fetchall()
    finally:
        con.unregister(_INCOMING)


def check_width(count: int, url: str, place: str) -> None:
    """Raises JobError for more columns (or key paths) than a document can sensibly have.

    What planning costs grows with the square of them: a table of 100,000 would take memory and hours.
    """
    if count > MAX_COLUMNS:
        raise JobError(
            f"{url}: {count:,} columns are too many, at most {MAX_COLUMNS:,} can be used",
            place=place,
            advice="name those that are wanted in `metadata:`, or turn the table on its side",
        )


def used_columns(names: Sequence[str], used: frozenset[str] | None, url: str, place: str) -> dict[str, int]:
    """The columns that are used, by name, with their positions (from 0); the others may be anything.

    `used` has names as `folded` gives them. None takes all but those without a name and the index that
    pandas adds by itself. Raises JobError for names among them that the engine could not tell apart.
    """
    found: dict[str, int] = {}
    seen: dict[str, str] = {}
    for position, name in enumerate(names):
        if not (taken_unasked(name) if used is None else folded(name) in used):
            continue
        if "\0" in name or folded(name).startswith(OURS):
            raise JobError(f"{url}: a column cannot be called {name!r}", place=place, advice="rename it")
        other = seen.get(folded(name))
        if other is not None:
            both = f"columns {found[other] + 1} and {position + 1}"
            raise JobError(
                f"{url}: {both} are both called {name}"
                if other == name
                else f"{url}: {both} are called {other} and {name}, which differ in letter case only",
                place=place,
                advice="rename one of them: SQL does not tell them apart"
                + ("; or name the columns that are wanted in metadata:" if used is None else ""),
            )
        seen[folded(name)] = name
        found[name] = position
    return found


def taken_unasked(name: str) -> bool:
    """Whether a column is taken where a job does not say which."""
    return bool(name) and not _PANDAS_INDEX.fullmatch(name)


_PANDAS_INDEX: Final = re.compile(r"__index_level_[0-9]+__")
