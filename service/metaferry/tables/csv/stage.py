"""Delimited text into a staging table: the files of a source, and then the types of their columns.

Cells that are empty are null. What types the columns have is found out at the end, over all rows.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.csv.column_types import Numbers, find_types
from metaferry.tables.csv.dialect import BLANKS, Dialect
from metaferry.tables.csv.rows import LARGEST_CELL, Reader
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.model import FILE, ROW, Reading, Staged, TableFile, folded
from metaferry.tables.staging import Rejects, StagingTable, check_width, quote_ident, used_columns

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)


def stage_delimited(
    con: duckdb.DuckDBPyConnection,
    streams: Iterable[ByteStream],
    *,
    table: str,
    dialect: Dialect,
    used: frozenset[str] | None,
    rejects: Rejects,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The columns of `used` (names as `folded` gives them; None: all) of all files, as text.

    Raises JobError for a file without a usable header, or whose columns are not those of the first.
    """
    if csv.field_size_limit() < LARGEST_CELL:
        # One number for the process: it is only ever raised, so no other reader is refused anything.
        csv.field_size_limit(LARGEST_CELL)
    header: list[str] = []
    columns: list[str] = []
    staging: StagingTable | None = None
    done: list[TableFile] = []
    reading = Reading()
    for index, stream in enumerate(streams):
        file = stream.file
        reader = Reader(stream, dialect, rejects, place)
        log.debug("%s: cells are parted by %r", file.url, reader.delimiter)
        here = used_columns(reader.header, used, file.url, place)
        if staging is None:
            reading = Reading(
                format="csv", delimiter=reader.delimiter, encoding=stream.encoding, packed=stream.packed
            )
            header = reader.header
            columns = list(here)
            check_width(len(columns), file.url, place)
            schema = pa.schema([(name, pa.string()) for name in columns])
            staging = StagingTable(
                con, table, schema, progress, empty_is_null=True, trim=BLANKS if dialect.trim else ""
            )
        picks = _picks(here, columns, file.url, done[0].url if done else file.url, place)
        for lines, cells in reader.batches(picks):
            staging.append(index, lines, cells)
        done.append(TableFile(file.url, stream.size, stream.token, reader.rows))
    if staging is not None:
        staging.flush()
    typed = find_types(con, table, columns, Numbers(dialect.decimal, dialect.thousands))
    casts = ", ".join(f"{column.cast} AS {quote_ident(column.name)}" for column in typed)
    return Staged(
        table=table,
        columns=tuple(column.plain for column in typed),
        names=tuple(header),
        files=tuple(done),
        malformed=rejects.count,
        relation=lambda where: (
            f"SELECT {FILE}, {ROW}{', ' if casts else ''}{casts} FROM {quote_ident(table)}{where}"
        ),
        why_text=lambda name: next(
            (column.why_text() for column in typed if folded(column.name) == folded(name)), ""
        ),
        reading=reading,
    )


def _picks(here: Mapping[str, int], columns: Sequence[str], url: str, first: str, place: str) -> list[int]:
    """Where each column stands in this file. Raises JobError when files disagree on what is used."""
    at = {folded(name): position for name, position in here.items()}
    lacking = [name for name in columns if folded(name) not in at]
    more = set(at) - {folded(name) for name in columns}
    if lacking or more:
        column = lacking[0] if lacking else next(name for name in here if folded(name) in more)
        there, by = (first, url) if lacking else (url, first)
        raise JobError(
            f"{by} has no column {column}, and {there} has one",
            place=place,
            advice="files of one source must have the same columns: make them two sources, or map the "
            "columns that all of them have in metadata:",
        )
    return [at[folded(name)] for name in columns]
