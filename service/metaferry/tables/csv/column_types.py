"""Types of text columns, exactly: decided over every row, never over a sample.

A column is BIGINT when every cell is an integer as it would be printed again (`7`, not `007` or
`+7`), else DOUBLE when every cell is a decimal number that a double can hold (an integer of 16
digits or more cannot surely be), else BOOLEAN when every cell is true or false in any letter case,
else text. So no cell ever changes its meaning: an identifier such as `007` stays what it is.

Words that many programs write for a missing value (`NULL_WORDS`) are none in a column that otherwise
holds numbers, booleans or dates, and text like any other in a column of text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from metaferry.tables.model import FILE, ROW, Column
from metaferry.tables.staging import quote_ident, quote_text

if TYPE_CHECKING:
    import duckdb

#: Cells that are no value beside numbers, booleans and dates, where the job does not name others.
NULL_WORDS: Final = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", r"\N", "-", "#N/A")

_DATE: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
#: Without a fraction and an exponent it has 15 digits at most.
_DECIMAL: Final = r"-?((0|[1-9][0-9]{0,14})?|(0|[1-9][0-9]*)?(\.[0-9]*([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))"
_FIRST_ROWS: Final = 10_240


@dataclass(frozen=True, slots=True)
class Numbers:
    """How numbers are written: the mark before their fraction, and the one between groups of thousands."""

    decimal: str = "."
    thousands: str = ""

    def plain(self, cell: str) -> str:
        """SQL of a cell with its number as SQL writes it; null where that is none.

        A mark between thousands stands between groups of three digits, or nowhere.
        """
        if self == _PLAIN:
            return cell
        point, mark = (re.escape(text) for text in (self.decimal, self.thousands))
        whole = f"([0-9]*|[0-9]{{1,3}}({mark}[0-9]{{3}})+)" if self.thousands else "[0-9]*"
        form = quote_text(f"-?{whole}({point}[0-9]*)?([eE][+-]?[0-9]+)?")
        plain = f"replace({cell}, {quote_text(self.thousands)}, '')" if self.thousands else cell
        plain = f"replace({plain}, {quote_text(self.decimal)}, '.')" if self.decimal != "." else plain
        return f"CASE WHEN regexp_full_match({cell}, {form}) THEN {plain} END"

    @property
    def are_told_apart(self) -> bool:
        """Whether the marks are none that a number has for another reason, such as a sign."""
        return not set(self.decimal + self.thousands) & set("+-0123456789eEinfaINFA")

    def point(self, cell: str, kind: str) -> str:
        """SQL of a cell with a point for the mark before a fraction, where values of the kind have one."""
        return f"replace({cell}, {quote_text(self.decimal)}, '.')" if self._has_mark(kind) else cell

    def written(self, value: str, kind: str) -> str:
        """SQL of a value as the text that the engine writes, with the decimal mark of the table."""
        text = f"{value}::VARCHAR"
        return f"replace({text}, '.', {quote_text(self.decimal)})" if self._has_mark(kind) else text

    def is_written(self, cell: str, point: str, value: str, kind: str) -> str:
        """SQL: whether a cell is what `written` makes of its value, which is finite; false for null.

        `point` is what the method of that name makes of the cell, `value` a cast of it that may fail. It is
        compared instead of the cell, which saves the way back: the same, where the cell has no point itself.
        """
        tests = [f"{value}::VARCHAR = {point}"]
        if kind == "DOUBLE":
            tests.append(f"isfinite({value})")
        if self._has_mark(kind):
            tests.append(f"NOT contains({cell}, '.')")
        return f"coalesce({' AND '.join(tests)}, false)"

    def _has_mark(self, kind: str) -> bool:
        return kind == "DOUBLE" and self.decimal != "."


_PLAIN: Final = Numbers()
_NO_VALUES: Final[Mapping[str, tuple[str, str]]] = {}


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A staged text column, and the type that its cells have."""

    con: duckdb.DuckDBPyConnection
    table: str
    name: str
    type: str
    #: SQL of its cells as they stand, and of its values where these are stored.
    cell: str
    value: str = ""
    numbers: Numbers = _PLAIN
    #: Null words that stand in it and are read as no value, and how many cells hold each.
    nulls: Mapping[str, int] = field(default_factory=dict)

    @property
    def plain(self) -> Column:
        return Column(self.name, self.type)

    @property
    def is_stored(self) -> bool:
        """Whether its values are what a column of the table holds, so that nothing is computed."""
        return bool(self.value) or (self.type == "VARCHAR" and not self.nulls and self.cell.isidentifier())

    @property
    def cast(self) -> str:
        """SQL of the typed value; never fails, since every cell was looked at."""
        if self.value:
            return self.value
        quoted = self.cell
        if self.nulls:
            quoted = f"CASE WHEN {_is_null_word(quoted)} THEN NULL ELSE {quoted} END"
        if self.type == "VARCHAR":
            return quoted
        cell = quoted if self.type == "BOOLEAN" else self.numbers.plain(quoted)
        return f"CAST({cell} AS {self.type})"

    def why_text(self) -> str:
        """The first cell that keeps a column of numbers from being one; "" where there are no numbers."""
        if self.type != "VARCHAR":
            return ""
        cell = self.cell
        table = quote_ident(self.table)
        plain = self.numbers.plain(cell)
        (numbers,) = self._one(f"SELECT count(*) FROM {table} WHERE {is_decimal(plain)}")
        if not numbers:
            return ""
        found = self._one(
            f"SELECT {ROW}, left({cell}, 40) FROM {table} "
            f"WHERE {cell} IS NOT NULL AND NOT {is_decimal(plain)} ORDER BY {FILE}, {ROW} LIMIT 1"
        )
        return f'line {found[0]} holds "{found[1]}"'

    def _one(self, sql: str) -> tuple[object, ...]:
        (row,) = self.con.execute(sql).fetchall()
        return tuple(row)


def find_types(
    con: duckdb.DuckDBPyConnection,
    table: str,
    cells: Mapping[str, str],
    numbers: Numbers = _PLAIN,
    *,
    null_words: bool,
    values: Mapping[str, tuple[str, str]] = _NO_VALUES,
) -> list[TextColumn]:
    """The type of each text column of a table, in a few scans. A column without cells is text.

    `cells` has SQL of the columns by name; `values` SQL and type of those that are stored as values.
    `null_words`: whether `NULL_WORDS` may be no values.
    """
    open_ones = [name for name in cells if name not in values]
    filled = _counts(con, table, [f"count({cells[name]})" for name in open_ones])
    types = {name: values[name][1] if name in values else "VARCHAR" for name in cells}
    left = [name for name, count in zip(open_ones, filled, strict=True) if count]
    for kind, test in _TESTS.items():
        # One misfit proves that a column is not of a kind, so a look at the first rows spares most
        # columns the scan of all of them. What is left is decided by every row.
        fitting = left
        for rows in (f" WHERE rowid < {_FIRST_ROWS}", ""):
            counts = [f"count(*) FILTER (NOT {_test(test, kind, cells[name], numbers)})" for name in fitting]
            misfits = _counts(con, table, counts, rows)
            fitting = [name for name, count in zip(fitting, misfits, strict=True) if not count]
        types |= dict.fromkeys(fitting, kind)
        left = [name for name in left if name not in fitting]
    nulls = _with_null_words(con, table, left, cells, types, numbers) if null_words else {}
    return [
        TextColumn(
            con,
            table,
            name,
            kind,
            cells[name],
            values[name][0] if name in values else "",
            numbers,
            nulls.get(name, {}),
        )
        for name, kind in types.items()
    ]


def _with_null_words(
    con: duckdb.DuckDBPyConnection,
    table: str,
    left: list[str],
    cells: Mapping[str, str],
    types: dict[str, str],
    numbers: Numbers,
) -> dict[str, dict[str, int]]:
    """Sets the types of columns that hold null words and else values of one type; answers their words.

    A column of text shows that within the first rows, so only what may hold numbers is read to its end.
    """
    found: dict[str, dict[str, int]] = {}
    for kind, test in (*_TESTS.items(), ("VARCHAR", _is_date)):
        fitting = left
        for rows in (f" WHERE rowid < {_FIRST_ROWS}", ""):
            tests = [
                f"{_test(test, kind, cells[name], numbers)} OR {_is_null_word(cells[name])}"
                for name in fitting
            ]
            counts = [f"count(*) FILTER (NOT ({either}))" for either in tests]
            misfits = _counts(con, table, counts, rows)
            fitting = [name for name, count in zip(fitting, misfits, strict=True) if not count]
        others = [f"count({cells[name]}) FILTER (NOT {_is_null_word(cells[name])})" for name in fitting]
        filled = dict(zip(fitting, _counts(con, table, others), strict=True))
        for name in fitting:
            if filled[name]:
                types[name] = kind
                found[name] = _words_of(con, table, cells[name])
        left = [name for name in left if name not in found]
    return found


def _words_of(con: duckdb.DuckDBPyConnection, table: str, cell: str) -> dict[str, int]:
    rows = con.execute(
        f"SELECT {cell}, count(*) FROM {quote_ident(table)} WHERE {_is_null_word(cell)} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return dict(rows)


def _is_null_word(cell: str) -> str:
    """False for a null cell."""
    return f"coalesce({cell} IN ({', '.join(map(quote_text, NULL_WORDS))}), false)"


def _is_date(cell: str) -> str:
    return f"({cell} IS NULL OR regexp_full_match({cell}, '{_DATE}'))"


def _test(test: Callable[[str], str], kind: str, cell: str, numbers: Numbers) -> str:
    if kind not in ("BIGINT", "DOUBLE") or numbers == _PLAIN:
        return test(cell)
    return f"({cell} IS NULL OR ({numbers.plain(cell)} IS NOT NULL AND {test(numbers.plain(cell))}))"


def _counts(con: duckdb.DuckDBPyConnection, table: str, counts: list[str], rows: str = "") -> tuple[int, ...]:
    if not counts:
        return ()
    (row,) = con.execute(f"SELECT {', '.join(counts)} FROM {quote_ident(table)}{rows}").fetchall()
    return tuple(row)


def _is_integer(cell: str) -> str:
    """NULL for a null cell, which no filter counts."""
    return f"({cell} IS NULL OR coalesce(TRY_CAST({cell} AS BIGINT)::VARCHAR = {cell}, false))"


def is_decimal(cell: str) -> str:
    """SQL: whether a cell is a decimal number that a double holds; false for a null cell."""
    return (
        f"({cell} IS NOT NULL AND regexp_full_match({cell}, '{_DECIMAL}') "
        f"AND coalesce(isfinite(TRY_CAST({cell} AS DOUBLE)), false))"
    )


_TESTS: Final[dict[str, Callable[[str], str]]] = {
    "BIGINT": _is_integer,
    "DOUBLE": lambda cell: f"({cell} IS NULL OR {is_decimal(cell)})",
    "BOOLEAN": lambda cell: f"({cell} IS NULL OR lower({cell}) IN ('true', 'false'))",
}
