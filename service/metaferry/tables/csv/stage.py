"""Delimited text into a staging table: the files of a source, and then the types of their columns.

Cells that are empty are null. What types the columns have is found out at the end, over all rows.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.tables.csv.cell_table import CellTable
from metaferry.tables.csv.column_types import Numbers, find_types
from metaferry.tables.csv.dialect import BLANKS, Dialect
from metaferry.tables.csv.rows import LARGEST_CELL, EmptyTable, Reader
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.model import FILE, OURS, ROW, Reading, ShownColumn, Staged, TableFile, folded
from metaferry.tables.samples import of_text
from metaferry.tables.staging import (
    Rejects,
    arrow_pool,
    check_width,
    plain_rows,
    quote_ident,
    taken_unasked,
    used_columns,
)

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
    nulls: Sequence[str] | None,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The columns of `used` (names as `folded` gives them; None: all) of all files, as text.

    Cells that are one of `nulls` are no value; None: `NULL_WORDS` beside numbers, booleans and dates.

    Columns are united by name: one that a file does not have is null in its rows. Raises JobError for a file
    without a usable header.
    """
    if csv.field_size_limit() < LARGEST_CELL:
        # One number for the process: it is only ever raised, so no other reader is refused anything.
        csv.field_size_limit(LARGEST_CELL)
    names: dict[str, str] = {}  # of all files, used or not, by what they are folded to
    columns: dict[str, str] = {}
    empty: list[str] = []
    numbers = Numbers(dialect.decimal, dialect.thousands)
    staging = CellTable(con, table, progress, numbers, nulls=("", *(nulls or ())))
    done: list[TableFile] = []
    reading = Reading()
    others: tuple[ShownColumn, ...] = ()
    with staging:
        for index, stream in enumerate(streams):
            url = stream.file.url
            try:
                reader = Reader(stream, dialect, rejects, place)
            except EmptyTable:
                if stream.file.listed is None:  # the job names it
                    raise
                empty.append(url)
                done.append(TableFile(url, stream.size, stream.token, 0))
                continue
            log.debug("%s: cells are parted by %r", url, reader.delimiter)
            if not reading.format:
                reading = Reading(
                    format="csv", delimiter=reader.delimiter, encoding=stream.encoding, packed=stream.packed
                )
                others = _others(con, reader, dialect, used, nulls)
            for name in filter(None, reader.header):
                names.setdefault(folded(name), name)
            here = {folded(name): at for name, at in used_columns(reader.header, used, url, place).items()}
            more = {key: names[key] for key in here if key not in columns}
            columns |= more
            check_width(len(columns), url, place)
            for lines, cells in reader.batches(list(here.values())):
                if dialect.trim:
                    # By Arrow, for which it is a look at both ends: the engine takes ten times as long.
                    cells = [pc.utf8_trim(each, BLANKS, memory_pool=arrow_pool()) for each in cells]
                given = dict(zip(here, cells, strict=True))
                if more:
                    staging.add_cells({key: given[key] for key in more})
                    more = {}
                nothing = pa.nulls(len(lines), pa.string())
                staging.append(index, lines, [given.get(key, nothing) for key in columns])
            staging.add_cells(dict.fromkeys(more))
            done.append(TableFile(url, stream.size, stream.token, reader.rows))
        staging.flush()
    stored = {columns[key]: value for key, value in staging.values().items()}
    cells_of = {columns[key]: cell for key, cell in staging.cells().items()}
    typed = find_types(con, table, cells_of, numbers, null_words=nulls is None, values=stored)
    raw = {folded(column.name): f"{OURS}cell_{number}" for number, column in enumerate(typed)}
    casts = ", ".join(
        f"{column.cast} AS {quote_ident(column.name)}, {column.cell} AS {raw[folded(column.name)]}"
        for column in typed
    )
    return Staged(
        table=table,
        columns=tuple(column.plain for column in typed),
        names=tuple(names.values()),
        files=tuple(done),
        malformed=rejects.count,
        relation=lambda where: (
            f"SELECT {FILE}, {ROW}{', ' if casts else ''}{casts} "
            f"FROM (SELECT * FROM {quote_ident(table)}{where}) s"
        ),
        why_text=lambda name: next(
            (column.why_text() for column in typed if folded(column.name) == folded(name)), ""
        ),
        plain=plain_rows(table, {column.name: column.cast for column in typed})
        if all(column.is_stored for column in typed)
        else "",
        reading=reading,
        empty=tuple(empty),
        cells=raw,
        nulls={folded(column.name): column.nulls for column in typed if column.nulls},
        others=others,
    )


def _others(
    con: duckdb.DuckDBPyConnection,
    reader: Reader,
    dialect: Dialect,
    used: frozenset[str] | None,
    nulls: Sequence[str] | None,
) -> tuple[ShownColumn, ...]:
    """The columns of a file that are not used."""
    places = [
        at
        for at, name in enumerate(reader.header)
        if not (taken_unasked(name) if used is None else folded(name) in used)
    ]
    if not places:
        return ()
    rows = reader.first_rows()
    no_values = set(nulls or ())
    cells = [["" if row[at] in no_values else row[at] for row in rows] for at in places]
    numbers = Numbers(dialect.decimal, dialect.thousands)
    return of_text(con, [reader.header[at] for at in places], cells, numbers, null_words=nulls is None)
