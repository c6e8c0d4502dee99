"""Columns that nobody uses, as a plan shows them: their types and a few values, from the first rows.

They are never staged, and nothing about them stops a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from metaferry.tables.csv.column_types import Numbers, find_types
from metaferry.tables.model import ShownColumn

if TYPE_CHECKING:
    import duckdb

#: Rows that are looked at, and columns that are shown of a source.
ROWS: Final = 100
MOST: Final = 200
_SAMPLE: Final = "metaferry_sample"
_INCOMING: Final = "metaferry_sampled"
#: Characters of a value.
_SHOWN: Final = 60


def of_text(
    con: duckdb.DuckDBPyConnection,
    names: Sequence[str],
    cells: Sequence[Sequence[str]],
    numbers: Numbers,
    *,
    null_words: bool,
) -> tuple[ShownColumn, ...]:
    """Columns of a text table, each with its first cells, with the types that these have."""
    names = names[:MOST]
    places = [f"c{at}" for at in range(len(names))]
    arrays = [pa.array([_plain(cell) or None for cell in column], pa.string()) for column in cells[:MOST]]
    if not names:
        return ()
    con.register(_INCOMING, pa.Table.from_arrays(arrays, names=places))
    try:
        con.execute(f"CREATE TABLE {_SAMPLE} AS SELECT * FROM {_INCOMING}").fetchall()
        typed = find_types(
            con, _SAMPLE, dict(zip(places, places, strict=True)), numbers, null_words=null_words
        )
        casts = ", ".join(f"({column.cast})::VARCHAR" for column in typed)
        rows = con.execute(f"SELECT {casts} FROM {_SAMPLE} ORDER BY rowid").fetchall()
    finally:
        con.execute(f"DROP TABLE IF EXISTS {_SAMPLE}").fetchall()
        con.unregister(_INCOMING)
    return tuple(
        ShownColumn(name, column.type, first_of(row[at] for row in rows), used=False)
        for at, (name, column) in enumerate(zip(names, typed, strict=True))
    )


def of_arrow(
    con: duckdb.DuckDBPyConnection, columns: Iterable[tuple[str, pa.DataType, pa.Array | None]]
) -> tuple[ShownColumn, ...]:
    """Columns by name and type, with their first values where these were read."""
    return tuple(
        ShownColumn(name, _type_of(con, kind), first_of(_texts(values)), used=False)
        for name, kind, values in list(columns)[:MOST]
    )


def first_of(values: Iterable[str | None]) -> tuple[str, ...]:
    """The first three different values."""
    return tuple(dict.fromkeys(value[:_SHOWN] for value in values if value is not None))[:3]


def _type_of(con: duckdb.DuckDBPyConnection, kind: pa.DataType) -> str:
    """The engine's name of a type, and Arrow's where the engine has none."""
    import duckdb

    try:
        (found,) = con.from_arrow(pa.schema([("x", kind)]).empty_table()).types
    except (duckdb.Error, pa.ArrowException):
        return str(kind)
    return str(found)


def _texts(values: pa.Array | None) -> Iterable[str | None]:
    if values is None:
        return
    for value in values:
        try:
            found: Any = value.as_py()
        except (ValueError, TypeError, OverflowError, ImportError, pa.ArrowException):
            continue  # bytes that are no text, a date that Python does not have
        yield None if found is None else str(found).lower() if isinstance(found, bool) else str(found)


def _plain(cell: str) -> str:
    return cell.encode(errors="replace").decode().replace("\0", "?")
