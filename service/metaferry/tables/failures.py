"""Runs a statement made of the job's expressions; where one of them fails for a row, the row is named.

Imported by `mapping`. The search costs a few scans, and only a run that is about to end makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metaferry.errors import JobError
from metaferry.tables.binding import engine_message
from metaferry.tables.expressions import Expression
from metaferry.tables.model import FILE, ROW, Staged
from metaferry.tables.staging import quote_ident

if TYPE_CHECKING:
    import duckdb


def execute(
    con: duckdb.DuckDBPyConnection,
    statement: str,
    staged: Staged,
    expressions: Sequence[Expression],
    where: Expression | None,
) -> None:
    """Executes `statement`, which computes the expressions of the rows that `where` lets through.

    Raises JobError that names the first row for which one of them fails.
    """
    import duckdb

    try:
        con.execute(statement).fetchall()
    except of_the_engine():
        raise
    except duckdb.Error as error:
        for expression in ([where] if where else []) + list(expressions):
            found = _first_failure(con, staged, expression, None if expression is where else where)
            if found is not None:
                raise found from error
        raise


def of_the_engine() -> tuple[type[Exception], ...]:
    """What is no fault of an expression: memory, the disk, an interrupt; and all after one of these."""
    import duckdb

    return (
        duckdb.OutOfMemoryException,
        duckdb.IOException,
        duckdb.InterruptException,
        duckdb.TransactionException,
        duckdb.FatalException,
    )


def _first_failure(
    con: duckdb.DuckDBPyConnection, staged: Staged, expression: Expression, where: Expression | None
) -> JobError | None:
    """The error of an expression, with the first row of `where` for which it fails; None where there is none.

    The first by file, then by row: the table holds them as the engine's threads brought them.
    """
    import duckdb

    kept = f" WHERE ({where.sql})" if where else ""

    def attempt(rows: str) -> str:
        try:
            # Through text, so that nothing lets the engine leave the value out.
            text = f"({expression.sql})::VARCHAR"
            con.execute(
                f"SELECT sum(length({text})) FROM ({staged.relation(f' WHERE {rows}')}) r{kept}"
            ).fetchall()
        except of_the_engine():
            raise
        except duckdb.Error as error:
            return engine_message(error)
        return ""

    def first(column: str, rows: str) -> int:
        """The least number in `column` among the rows that fail; some of those in `rows` does."""
        ((low, high),) = con.execute(
            f"SELECT min({column}), max({column}) FROM {quote_ident(staged.table)} WHERE {rows}"
        ).fetchall()
        while low < high:
            middle = (low + high) // 2
            if attempt(f"{rows} AND {column} BETWEEN {low} AND {middle}"):
                high = middle
            else:
                low = middle + 1
        return int(low)

    if not attempt("true"):
        return None
    file = first(FILE, "true")
    row = first(ROW, f"{FILE} = {file}")
    message = attempt(f"{FILE} = {file} AND {ROW} = {row}")
    return expression.fault(
        f"it fails for row {row} of {staged.files[file].url}: {message}",
        advice=f"try({expression.text}) is null where a value does not fit",
    )
