"""Cells of text in the engine, as values where they are written as the engine writes those.

So a column of numbers is stored as numbers while it is read, and every cell can still be had as it stands in
the file: what a later row holds decides the type, and no row is read twice. A column of values has a column
of text beside it from the first batch on in which a cell is not so written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.tables.csv.column_types import Numbers
from metaferry.tables.model import FILE, OURS, ROW
from metaferry.tables.staging import INCOMING, StagingTable, quote_ident, quote_text

if TYPE_CHECKING:
    import duckdb

_SAMPLE: Final = "metaferry_cells"
#: Rows that tell which columns are worth a column of values; what they are is decided by every row.
_LOOKED_AT: Final = 10_240
#: What the engine raises for a batch with a cell that its columns have no place for.
_NO_PLACE: Final = f"{OURS}no_place"
#: Share of the cells among these that are written as the engine writes values of the kind.
_MOST: Final = 0.9
_KINDS: Final = ("BIGINT", "DOUBLE", "BOOLEAN")


class CellTable(StagingTable):
    """Text columns, by keys: of each cell its text or its value is stored, and of a null cell neither.

    Cells that are one of `nulls` are null.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        name: str,
        progress: Callable[[int], None],
        numbers: Numbers,
        *,
        nulls: Sequence[str],
    ) -> None:
        self._numbers = numbers
        self._nulls = nulls
        self._kinds: dict[str, str] = {}  # by key, in the order of the columns; "" for text alone
        self._texts: set[int] = set()  # columns that have one of text
        super().__init__(con, name, pa.schema([]), progress)

    def add_cells(self, given: Mapping[str, pa.Array | None]) -> None:
        """More columns, with their first cells where there are any."""
        if not given:
            return
        self.flush()
        kinds = self._kinds_of({key: cells for key, cells in given.items() if cells is not None})
        for at, key in enumerate(given, len(self._kinds)):
            kind = self._kinds[key] = kinds.get(key, "")
            if kind:
                self._alter(self._con, _value(at), kind)
            else:
                self._add_text(self._con, at)
        self._describe(pa.schema([(_cell(at), pa.string()) for at in range(len(self._kinds))]))

    def cells(self) -> dict[str, str]:
        """SQL of the cells as they stand in the file, by key."""
        found = {}
        for at, (key, kind) in enumerate(self._kinds.items()):
            shown = self._numbers.written(_value(at), kind) if kind else ""
            both = f"coalesce({_cell(at)}, {shown})" if at in self._texts else shown
            found[key] = both if kind else _cell(at)
        return found

    def values(self) -> dict[str, tuple[str, str]]:
        """SQL and type of the columns of which every cell is stored as a value of one type, by key."""
        typed = [(at, key, kind) for at, key, kind in self._typed() if at not in self._texts]
        if not typed:
            return {}
        counts = ", ".join(f"count({_value(at)})" for at, _, _ in typed)
        (row,) = self._con.execute(f"SELECT {counts} FROM {quote_ident(self.name)}").fetchall()
        return {key: (_value(at), kind) for (at, key, kind), count in zip(typed, row, strict=True) if count}

    def _typed(self) -> list[tuple[int, str, str]]:
        """Place, key and kind of the columns of values."""
        return [(at, key, kind) for at, (key, kind) in enumerate(self._kinds.items()) if kind]

    def _add_text(self, con: duckdb.DuckDBPyConnection, at: int) -> None:
        self._alter(con, _cell(at), "VARCHAR")
        self._texts.add(at)

    def _write(self, statement: str, batch: pa.Table) -> int:
        import duckdb

        try:
            return super()._write(statement, batch)
        except duckdb.Error as error:
            if _NO_PLACE not in str(error):
                raise
        alone = [at for at, _, _ in self._typed() if at not in self._texts]
        asked = ", ".join(f"bool_or({_cell(at)} IS NOT NULL AND NOT {_test(at)})" for at in alone)
        (row,) = self._execute(self._writer, f"SELECT {asked} FROM ({self._tested()})", batch)
        for at, is_text in zip(alone, row, strict=True):
            if is_text:
                self._add_text(self._writer, at)
        return super()._write(self._insert_sql(), batch)

    def _insert_sql(self) -> str:
        columns = {}
        for at, kind in enumerate(self._kinds.values()):
            cell, value, test = _cell(at), _value(at), _test(at)
            if not kind:
                columns[cell] = cell
            elif at in self._texts:
                columns[cell] = f"CASE WHEN {test} THEN NULL ELSE {cell} END"
                columns[value] = f"CASE WHEN {test} THEN {value} END"
            else:
                columns[value] = (
                    f"CASE WHEN {test} THEN {value} WHEN {cell} IS NOT NULL THEN error('{_NO_PLACE}') END"
                )
        names, chosen = ", ".join([FILE, ROW, *columns]), ", ".join([FILE, ROW, *columns.values()])
        return f"INSERT INTO {self._target} ({names}) SELECT {chosen} FROM ({self._tested()})"

    def _tested(self) -> str:
        """SQL of a batch with what its cells are as values, and whether they are written so."""
        numbers, typed = self._numbers, [(at, kind) for at, _, kind in self._typed()]
        cells = [_cell(at) for at in range(len(self._kinds))]
        given = [f"{self._null_of(cell)} AS {cell}" for cell in cells]
        source = f"SELECT {', '.join([FILE, ROW, *given])} FROM {INCOMING}"
        if not typed:
            return source
        # One step on top of the other, so that nothing is computed twice.
        plain = ", ".join(f"{numbers.point(_cell(at), kind)} AS {_point(at)}" for at, kind in typed)
        values = ", ".join(f"TRY_CAST({_point(at)} AS {kind}) AS {_value(at)}" for at, kind in typed)
        tests = ", ".join(
            f"{numbers.is_written(_cell(at), _point(at), _value(at), kind)} AS {_test(at)}"
            for at, kind in typed
        )
        for step in (plain, values, tests):
            source = f"SELECT *, {step} FROM ({source})"
        return source

    def _null_of(self, cell: str) -> str:
        if len(self._nulls) == 1:
            return f"nullif({cell}, {quote_text(self._nulls[0])})"
        return f"CASE WHEN {cell} IN ({', '.join(map(quote_text, self._nulls))}) THEN NULL ELSE {cell} END"

    def _kinds_of(self, given: Mapping[str, pa.Array]) -> dict[str, str]:
        """The kind of value, by key, that most of the first cells hold."""
        if not given or not self._numbers.are_told_apart:
            return {}
        names = [f"c{at}" for at in range(len(given))]
        first = pa.table([cells.slice(0, _LOOKED_AT) for cells in given.values()], names=names)
        counts = []
        for name in names:
            counts.append(f"count({name})")
            for kind in _KINDS:
                plain = self._numbers.point(name, kind)
                value = f"TRY_CAST({plain} AS {kind})"
                counts.append(f"count(*) FILTER ({self._numbers.is_written(name, plain, value, kind)})")
        cells = ", ".join(f"{self._null_of(name)} AS {name}" for name in names)
        self._con.register(_SAMPLE, first)
        try:
            (row,) = self._con.execute(
                f"SELECT {', '.join(counts)} FROM (SELECT {cells} FROM {_SAMPLE})"
            ).fetchall()
        finally:
            self._con.unregister(_SAMPLE)
        found = {}
        for at, key in enumerate(given):
            filled, *fitting = row[4 * at : 4 * at + 4]
            for kind, count in zip(_KINDS, fitting, strict=True):
                if filled and count >= _MOST * filled:
                    found[key] = kind
                    break
        return found


def _cell(number: int) -> str:
    return f"{OURS}c{number}"


def _point(number: int) -> str:
    return f"{OURS}p{number}"


def _value(number: int) -> str:
    return f"{OURS}t{number}"


def _test(number: int) -> str:
    return f"{OURS}is{number}"
