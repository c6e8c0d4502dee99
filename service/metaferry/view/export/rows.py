"""The rows of the table in their order, as Arrow batches or lines of text, one batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from metaferry.planning.database import Database, arrow_batches, disk_errors
from metaferry.planning.sql import rules as sql
from metaferry.view.export.files import Format, TextColumn, line_of
from metaferry.view.export.values import FIXED, INVALID, MISNAMED, ORPHAN, TABLE, Values

#: Rows of a batch.
ROWS: Final = 20_000


def selected(*, as_written: bool) -> str:
    """SQL of which rows an export has. What no consumer shows is no row of what it shows."""
    left_out = (INVALID,) if as_written else (INVALID, ORPHAN, MISNAMED)
    return f"state NOT IN ({', '.join(map(sql.quote_text, left_out))})"


def schema_of(values: Values) -> pa.Schema:
    """The Arrow schema of `batches`."""
    head = [pa.field(name, pa.int64() if name == "frame" else pa.string()) for name in FIXED]
    return pa.schema([*head, *(pa.field(column.name, column.type) for column in values.columns)])


def batches(database: Database, values: Values, *, as_written: bool) -> Iterator[pa.RecordBatch]:
    """The rows, ordered by target, under the names of their columns.

    Until the iterator has ended or is closed, the connection can run nothing else.
    """
    schema = schema_of(values)
    columns = [*FIXED, *(column.column for column in values.columns)]
    for batch in _stream(database, ", ".join(columns), as_written):
        named = pa.RecordBatch.from_arrays(batch.columns, names=schema.names)
        yield named.cast(schema)


def lines(
    database: Database, values: Values, format: Format, *, as_written: bool
) -> Iterator[pa.RecordBatch]:
    """The rows as text: batches of one column, a line of the file in each row."""
    yield from _stream(database, line_of(format, text_columns(database, values)), as_written)


def text_columns(database: Database, values: Values) -> Sequence[TextColumn]:
    """The columns as a text file has them."""
    types = {name: kind for name, kind, *_ in database.rows(f"DESCRIBE {TABLE}")}
    named = [*((name, name) for name in FIXED), *((c.name, c.column) for c in values.columns)]
    return [TextColumn(name, column, types[column]) for name, column in named]


def _stream(database: Database, what: str, as_written: bool) -> Iterator[pa.RecordBatch]:
    query = f"SELECT {what} FROM {TABLE} WHERE {selected(as_written=as_written)} ORDER BY target, media"
    with disk_errors(database.scratch):
        yield from arrow_batches(database.connection.sql(query), ROWS)
