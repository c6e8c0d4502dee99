"""The planning engine: one DuckDB database in a scratch folder, sealed before any user SQL runs.

Everything enters it as Arrow record batches that we read through the storage contract, so it
needs no access to anything: external access is off from the first statement, except to its own
scratch folder, where it spills and where the plan is written. It has no knowledge of plans.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from metaferry.errors import MetaferryError, ScratchFull, UsageError
from metaferry.findings import Code
from metaferry.planning.formats import (
    DAMAGE_COLUMNS,
    FINDING_COLUMNS,
    JOINED_COLUMNS,
    JOINED_VIDEOS,
    REJECT_COLUMNS,
    ddl,
)
from metaferry.planning.scratch import scratch_folder
from metaferry.planning.sql.rules import quote_ident, quote_text
from metaferry.storage.local.disk_names import a_working_directory
from metaferry.tables.macros import define_macros

#: Rows gathered before they are handed to DuckDB: an insert costs about as much for 50,000 as for one.
BATCH_ROWS = 50_000

#: Rows that one thread of the engine takes at a time; 122,880 by default, which leaves most jobs to one.
_ROW_GROUP = 30_720

#: Bytes that a thread of the engine should have: below, joins of many threads run out of memory.
_THREAD_MEMORY = 96_000_000

#: The system's messages for a full disk, a quota or a file size limit, which the engine repeats.
_NO_ROOM = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
#: Messages of a commit that failed for want of memory.
_NO_MEMORY = ("could not allocate", "failed to pin", "Out of Memory")


class Database:
    """A thin wrapper of a DuckDB connection: `run`, `rows`, `value`, `insert`. Close with the scratch."""

    @a_working_directory()  # the engine asks for one when it is opened and sealed
    def __init__(self, scratch: Path, *, memory_limit: str) -> None:
        self.scratch = scratch
        spill = scratch / "spill"
        spill.mkdir()
        try:
            self.connection = duckdb.connect(
                ":memory:",
                config={
                    "memory_limit": memory_limit,
                    "temp_directory": str(spill),
                    "threads": _threads(memory_limit),
                },
            )
        except duckdb.Error as error:
            raise UsageError(
                f"memory_limit: {memory_limit!r} is not a size", advice="write it like 1GB or 512MB"
            ) from error
        # The order matters: once external access is off, the rest cannot be set any more. This file is
        # never recovered, so no write-ahead log is written.
        for statement in (
            f"ATTACH {quote_text(str(scratch / 'plan.duckdb'))} AS plan "
            f"(RECOVERY_MODE no_wal_writes, ROW_GROUP_SIZE {_ROW_GROUP})",
            "USE plan",
            "PRAGMA disable_checkpoint_on_shutdown",  # the file is deleted once it is closed
            "SET TimeZone = 'UTC'",
            "SET preserve_insertion_order = false",
            "SET autoinstall_known_extensions = false",
            "SET autoload_known_extensions = false",
            f"SET allowed_directories = [{quote_text(str(scratch) + '/')}]",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
            ddl("rejects", REJECT_COLUMNS),
            ddl("findings", FINDING_COLUMNS),
            ddl("damaged", DAMAGE_COLUMNS),
            ddl(JOINED_VIDEOS, JOINED_COLUMNS),
        ):
            self.run(statement)
        define_macros(self.connection)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Executes a statement for its effect."""
        self.rows(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; only for results known to be small."""
        with disk_errors(self.scratch):
            return self.connection.execute(sql, list(parameters)).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The one row of a query that always has one."""
        (row,) = self.rows(sql, parameters)
        return row

    def value(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The one value of a query that always has one."""
        return self.row(sql, parameters)[0]

    def numbered(self, columns: str, table: str, *, size: int = 1_000) -> Iterator[tuple[Any, ...]]:
        """The rows of a table by its column `n`, which counts from 1: `size` of them in memory at a time.

        Between two rows the connection may be used for something else.
        """
        total: int = self.value(f"SELECT count(*) FROM {table}")
        for start in range(0, total, size):
            yield from self.rows(
                f"SELECT {columns} FROM {table} WHERE n > {start} AND n <= {start + size} ORDER BY n"
            )

    def create_like(self, table: str, columns: pa.Schema) -> None:
        """Makes a table with the columns of an Arrow schema."""
        self.connection.register("incoming_batch", columns.empty_table())
        self.run(f"CREATE TABLE {quote_ident(table)} AS SELECT * FROM incoming_batch")
        self.connection.unregister("incoming_batch")

    def insert(self, table: str, batch: pa.Table, *, select: str = "*") -> None:
        """Appends an Arrow table: its columns in the table's order, or what `select` makes of them."""
        with disk_errors(self.scratch):
            self.connection.register("incoming_batch", batch)
            try:
                self.connection.execute(
                    f"INSERT INTO {quote_ident(table)} SELECT {select} FROM incoming_batch"
                ).fetchall()
            finally:
                self.connection.unregister("incoming_batch")

    def insert_rows(self, table: str, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> None:
        """Appends Python rows, in batches, through Arrow (row by row costs 200 times as much)."""
        for chunk in _chunks(rows, BATCH_ROWS):
            columns = list(zip(*chunk, strict=True))
            arrays = [pa.array(column, type=f.type) for column, f in zip(columns, schema, strict=True)]
            self.insert(table, pa.Table.from_arrays(arrays, schema=schema))

    def finding(
        self,
        code: Code,
        severity: str,
        message: str,
        *,
        advice: str = "",
        source: str = "",
        media: str = "",
        target: str = "",
    ) -> None:
        """Adds one finding that Python noticed; those about many rows are inserted by SQL."""
        self.run(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, '', NULL, ?, ?)",
            [str(code), severity, message, advice, source, media, target],
        )

    def close(self) -> None:
        self.connection.close()


def arrow_batches(relation: duckdb.DuckDBPyRelation, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a relation, at most `rows` of them in a batch, as they come."""
    # DuckDB 2 has one name for it and warns of the other, DuckDB 1 knows only that one.
    make = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    with make(rows) as reader:
        yield from reader


@contextmanager
def open_database(*, memory_limit: str, scratch: str | None) -> Iterator[Database]:
    """A database in a folder of its own below `scratch`; the folder goes when the block ends.

    Whatever the block does there, a disk that is full is `ScratchFull`.
    """
    with scratch_folder(scratch) as folder, disk_errors(folder):
        database = Database(folder, memory_limit=memory_limit)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def disk_errors(scratch: Path) -> Iterator[None]:
    """For work in the scratch folder: clear errors for a full disk and for too small a memory limit."""
    try:
        yield
    except duckdb.Error as error:
        # The engine keeps what it spills below what the disk had free when it began.
        if any(words in str(error) for words in (*_NO_ROOM, "max_temp_directory_size")):
            raise ScratchFull(scratch.parent) from error
        if isinstance(error, duckdb.OutOfMemoryException) or any(words in str(error) for words in _NO_MEMORY):
            raise MetaferryError(
                "this needs more memory than memory_limit allows",
                advice="raise memory_limit in the job file (1GB serves tens of millions of rows)",
            ) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ScratchFull(scratch.parent) from error
        raise


def _threads(memory_limit: str) -> int:
    """As many threads as there are cores, but each of them with enough memory to work in.

    An invalid size gives one thread here; the engine refuses it.
    """
    size = re.fullmatch(r"([0-9.]+) ?([KMGT]?)(i?)B", memory_limit)
    if size is None:
        return 1
    number, unit, binary = size.groups()
    limit = float(number) * (1024 if binary else 1000) ** " KMGT".index(unit or " ")
    return max(1, min(os.cpu_count() or 1, int(limit // _THREAD_MEMORY)))


def _chunks(rows: Iterable[Sequence[Any]], size: int) -> Iterator[list[Sequence[Any]]]:
    chunk: list[Sequence[Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
