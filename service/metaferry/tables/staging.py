"""Rows into the engine: Arrow tables appended to a staging table, malformed rows to `rejects`.

Appends are gathered to about a row group of the engine, and written by a thread of their own while the next
rows are read. Nothing here reads a file or knows a format.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.tables.model import FILE, OURS, ROW, folded

if TYPE_CHECKING:
    import duckdb

#: Rows handed over at once: the engine's row group, which it compresses and writes out as a whole.
BATCH_ROWS: Final = 122_880
#: Bytes handed over at once, of tables with many columns or long texts.
_BATCH_BYTES: Final = 64 << 20
#: Columns of a table, and key paths of a source, that can be used.
MAX_COLUMNS: Final = 2_000
#: Rows held as Python objects at once. Few: the garbage collector walks over all of them again and again.
PYTHON_ROWS: Final = 4_096
#: What statements call the rows that are handed over.
INCOMING: Final = "metaferry_incoming"
#: Seconds between two looks at whether the writer has heard that it is to end.
_LOOK: Final = 0.2
_FLUSH_REJECTS: Final = 10_000
#: The columns of the engine's tables `rejects` and `findings`.
REJECTS_SCHEMA: Final = pa.schema(
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
FINDINGS_SCHEMA: Final = pa.schema(
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


@functools.cache
def arrow_pool() -> pa.MemoryPool:
    """The memory that batches are read into.

    PyArrow's own choice, mimalloc, gives pages back to the system and takes them again all the time: clearing
    them was a quarter of the processor time of reading a CSV file. jemalloc keeps them for a second. A choice
    that the environment makes stands, and other users of PyArrow in the process keep theirs.
    """
    if not os.environ.get("ARROW_DEFAULT_MEMORY_POOL") and "jemalloc" in pa.supported_memory_backends():
        return pa.jemalloc_memory_pool()
    return pa.default_memory_pool()


def numbers_from(first: int, count: int) -> pa.Array:
    """The int64 `first`, `first` + 1, … as `count` row numbers, without an object of Python for each."""
    ones = pa.repeat(pa.scalar(1, pa.int64()), count, arrow_pool())
    return pc.cumulative_sum(ones, start=first - 1, memory_pool=arrow_pool())


def quote_ident(name: str) -> str:
    """A name as SQL writes it, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text literal. The engine knows no escapes in it but the doubled quote."""
    return "'" + text.replace("'", "''") + "'"


class StagingTable:
    """The table `name` with `FILE`, `ROW` and one column for each field of `columns`.

    A context manager: rows are written by a thread, which has ended when the block is left. An error of the
    engine is raised by the `append` or `flush` after it.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        columns: pa.Schema,
        progress: Callable[[int], None],
    ) -> None:
        self.name = name
        self._con = con
        self._progress = progress
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._describe(columns)
        ((database, schema),) = con.execute("SELECT current_database(), current_schema()").fetchall()
        #: Another connection has other defaults.
        self._target = ".".join(map(quote_ident, (database, schema, name)))
        self._execute(
            con, f"CREATE TABLE {self._target} AS SELECT * FROM {INCOMING}", self._schema.empty_table()
        )
        self._writer = con.cursor()
        self._thread = ThreadPoolExecutor(1, "metaferry-staging")
        self._written: Future[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._written is not None and wait([self._written], _LOOK).not_done:
            self._writer.interrupt()  # one before the statement began would be lost
        self._thread.shutdown()
        self._writer.close()

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
            self._alter(self._con, name, kind)

    def _alter(self, con: duckdb.DuckDBPyConnection, name: str, kind: str) -> None:
        """A column more, of a type of the engine's; nothing may be on its way into the table."""
        con.execute(f"ALTER TABLE {self._target} ADD COLUMN {quote_ident(name)} {kind}").fetchall()

    def _describe(self, columns: pa.Schema) -> None:
        self._schema = pa.schema([(FILE, pa.int32()), (ROW, pa.int64()), *columns])

    def _insert_sql(self) -> str:
        """The statement that appends `INCOMING`."""
        return f"INSERT INTO {self._target} SELECT * FROM {INCOMING}"

    def append(self, file: int, rows: pa.Array, columns: Sequence[pa.Array]) -> None:
        """Rows of one file: their lines or numbers (int64), and their values in the table's order."""
        index = pa.repeat(pa.scalar(file, pa.int32()), len(rows))
        self._waiting.append(pa.RecordBatch.from_arrays([index, rows, *columns], schema=self._schema))
        self._rows += len(rows)
        self._bytes += self._waiting[-1].nbytes
        if self._rows >= BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self._hand_over()

    def begin(self, columns: Mapping[str, str], source: str, rows: pa.Table) -> None:
        """Has the writer make rows of `rows`, which SQL calls `INCOMING`: `columns` with their SQL, over
        the relation `source`. Before more is appended, `is_inserted` has to be asked.
        """
        self.flush()
        names = ", ".join(map(quote_ident, columns))
        statement = f"INSERT INTO {self._target} ({names}) SELECT {', '.join(columns.values())} FROM {source}"
        self._written = self._thread.submit(self._write, statement, rows)

    def is_inserted(self) -> bool:
        """Whether the rows of `begin` are in the table; none of them is where the engine refuses one."""
        import duckdb

        try:
            self._await_writer()
        except duckdb.Error:
            return False
        return True

    def flush(self) -> None:
        """Writes all that was appended; to be called after the last append."""
        self._hand_over()
        self._await_writer()

    def _hand_over(self) -> None:
        """Has the writer begin with what is waiting, once it has written what it was given before."""
        self._await_writer()
        if not self._rows:
            return
        batch = pa.Table.from_batches(self._waiting, self._schema)
        self._written = self._thread.submit(self._write, self._insert_sql(), batch)
        self._waiting, self._rows, self._bytes = [], 0, 0

    def _await_writer(self) -> None:
        written = self._written
        if written is not None:
            wait([written])  # an interrupt leaves it to `__exit__`
            self._written = None
            self._progress(written.result())

    def _write(self, statement: str, batch: pa.Table) -> int:
        self._execute(self._writer, statement, batch)
        return int(batch.num_rows)

    def _execute(self, con: duckdb.DuckDBPyConnection, statement: str, batch: pa.Table) -> list[Any]:
        con.register(INCOMING, batch)
        try:
            return con.execute(statement).fetchall()
        finally:
            con.unregister(INCOMING)


class Rejects:
    """Malformed rows of one source, by name, into the engine's table `rejects`. `flush` at the end."""

    def __init__(self, con: duckdb.DuckDBPyConnection, label: str) -> None:
        self.count = 0
        self._con = con
        self._label = label
        self._rows: list[tuple[Any, ...]] = []
        self._before: int | None = None  # rowids from here on are of this source; None: none is flushed

    def add(
        self,
        file: str,
        row: int,
        message: str,
        *,
        column: str = "",
        value: str = "",
        expected: str = "",
        code: Code = Code.SOURCE_MALFORMED,
    ) -> None:
        """One row that is no record; `value` is what stands there, cut to 200 characters."""
        shown = value[:200].encode("utf-8", "backslashreplace").decode()
        self._rows.append((self._label, file, row, str(code), column, shown, expected, message))
        self.count += 1
        if len(self._rows) >= _FLUSH_REJECTS:
            self.flush()

    def flush(self) -> None:
        if self._before is None:
            self._before = _next_rowid(self._con, "rejects")
        _insert(self._con, "rejects", REJECTS_SCHEMA, self._rows)
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
        media: str = "",
    ) -> None:
        self._rows.append((str(code), severity, message, advice, self._label, file, row, media, ""))
        if len(self._rows) >= _FLUSH_REJECTS:
            self.flush()

    def flush(self) -> None:
        if self._before is None:
            self._before = _next_rowid(self._con, "findings")
        _insert(self._con, "findings", FINDINGS_SCHEMA, self._rows)
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
    con.register(INCOMING, pa.Table.from_arrays(arrays, schema=schema))
    try:
        con.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {INCOMING}").fetchall()
    finally:
        con.unregister(INCOMING)


def own_names(count: int) -> list[str]:
    """Names for columns of a staging table: one of a file's may be `rowid`, which is the engine's."""
    return [f"{OURS}v{number}" for number in range(count)]


def rows_of(table: str, columns: Mapping[str, str]) -> Callable[[str], str]:
    """`Staged.relation` of a table, by the names of columns and their SQL."""
    listed = "".join(f", s.{value} AS {quote_ident(name)}" for name, value in columns.items())
    return lambda where: f"SELECT {FILE}, {ROW}{listed} FROM (SELECT * FROM {quote_ident(table)}{where}) s"


def plain_rows(table: str, columns: Mapping[str, str]) -> str:
    """`Staged.plain` of a table, by the names of columns and their SQL; "" where a name hides its rowid."""
    if any(folded(name) == "rowid" for name in columns):
        return ""
    listed = "".join(f", {value} AS {quote_ident(name)}" for name, value in columns.items())
    return f"SELECT rowid, {FILE}, {ROW}{listed} FROM {quote_ident(table)}"


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
