"""Decimals of which nothing says how many digits they have, as one exact type over all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from metaferry.findings import Code
from metaferry.tables.model import FILE, ROW
from metaferry.tables.staging import quote_ident

if TYPE_CHECKING:
    import duckdb

#: Digits of the engine's largest decimal.
DIGITS: Final = 38
_BATCH: Final = 10_000
#: Digits of a value that a message shows.
_SHOWN: Final = 60


class RejectDecimal(Protocol):
    """Names a row whose decimal has more digits than fit; it was counted as read."""

    def __call__(
        self, place: int, message: str, *, file: int, column: str, value: str, expected: str, code: Code
    ) -> None: ...


def fit_decimals(
    con: duckdb.DuckDBPyConnection, table: str, column: str, name: str, reject: RejectDecimal
) -> None:
    """Makes the text column `column` of a staged table a DECIMAL(38, s), without rounding anything.

    s is the number of digits behind the point with which most rows fit. Those that do not are taken out, and
    `reject` is told of each; so are NaN and the infinities. `name` is what the user calls the column.
    """
    ((database, schema),) = con.execute("SELECT current_database(), current_schema()").fetchall()
    # A cursor is a connection with other defaults.
    text, quoted = quote_ident(column), ".".join(map(quote_ident, (database, schema, table)))
    is_one = rf"regexp_full_match({text}, '-?([0-9]+(\.[0-9]*)?|\.[0-9]+)')"
    before = f"length(ltrim(split_part(ltrim({text}, '-'), '.', 1), '0'))"
    behind = f"length(rtrim(split_part({text}, '.', 2), '0'))"
    found = con.execute(
        f"SELECT {before}, {behind}, count(*) FROM {quoted} WHERE {is_one} GROUP BY ALL"
    ).fetchall()
    scale = best_scale({(int(i), int(f)): int(count) for i, f, count in found})
    unfit = f"{text} IS NOT NULL AND NOT ({is_one} AND {behind} <= {scale} AND {before} <= {DIGITS - scale})"
    cursor = con.cursor()
    try:
        cursor.execute(f"SELECT {FILE}, {ROW}, {text} FROM {quoted} WHERE {unfit} ORDER BY ALL")
        while rows := cursor.fetchmany(_BATCH):
            for file, row, value in rows:
                _tell(reject, name, file, row, value, scale)
    finally:
        cursor.close()
    con.execute(f"DELETE FROM {quoted} WHERE {unfit}").fetchall()
    # The engine casts what is deleted too.
    kind = f"DECIMAL({DIGITS}, {scale})"
    con.execute(
        f"ALTER TABLE {quoted} ALTER COLUMN {text} TYPE {kind} USING try_cast({text} AS {kind})"
    ).fetchall()


def best_scale(counts: dict[tuple[int, int], int]) -> int:
    """The digits behind the point with which most rows fit, the fewest of several, of how many rows have so
    many digits before the point and behind it."""

    def fitting(scale: int) -> int:
        return sum(
            count
            for (before, behind), count in counts.items()
            if behind <= scale and before <= DIGITS - scale
        )

    return max(range(DIGITS + 1), key=lambda scale: (fitting(scale), -scale))


def _tell(reject: RejectDecimal, name: str, file: int, row: int, value: str, scale: int) -> None:
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    expected = f"a number of at most {DIGITS - scale} digits before the point and {scale} behind it"
    reject(
        row,
        f"{name} is {shown}, which does not fit DECIMAL({DIGITS}, {scale})",
        file=file,
        column=name,
        value=value,
        expected=expected,
        code=Code.VALUE_RANGE,
    )
