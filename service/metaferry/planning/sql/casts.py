"""SQL text of casts: a column's values under the type of a schema entry.

The twin of `lightly/values.py`, over the types of the engine; held equal to it by property tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from metaferry.lightly.values import (
    DATETIME_LITERAL,
    DECIMAL_LITERAL,
    INTEGER_LITERAL,
    MAX_INTEGER,
    SHAPES,
    Shape,
    ValueType,
)
from metaferry.planning.sql.canonical_json import (
    FLOATS,
    NARROW,
    WIDE,
    WRITTEN_OUT,
    ColumnType,
    column_type,
    not_finite,
    written_out,
)
from metaferry.planning.sql.text import NULL_TEXT


@dataclass(frozen=True, slots=True)
class Cast:
    """A column under an entry's type.

    value_sql: the value as `type` (BIGINT, DOUBLE, VARCHAR or BOOLEAN); NULL when missing or misfit.
    misfit_sql: NULL when it fits, else 'type', 'range' or 'not_finite'.
    """

    value_sql: str
    misfit_sql: str
    type: str


def cast_value(expr: str, duckdb_type: str, value_type: ValueType) -> Cast:
    """`values.cast` of a column of that type."""
    kind = column_type(duckdb_type)
    shape = SHAPES[value_type]
    sql_type = _SQL_TYPES[shape]
    if kind.id == "null":
        return Cast(f"NULL::{sql_type}", NULL_TEXT, sql_type)
    made = _CASTS[shape](expr, kind)
    if made is None:
        return Cast(f"NULL::{sql_type}", f"CASE WHEN {expr} IS NOT NULL THEN 'type' END", sql_type)
    value, misfit = made
    return Cast(f"({value})", misfit, sql_type)


_Made: TypeAlias = tuple[str, str]  # value, misfit


def _to_integer(expr: str, kind: ColumnType) -> _Made | None:
    if kind.id in NARROW:
        return f"{expr}::BIGINT", NULL_TEXT
    if kind.id in WIDE:
        lowest = "" if kind.id.startswith("u") else f"{expr} >= {-MAX_INTEGER} AND "
        fits = f"({lowest}{expr} <= {MAX_INTEGER})"
        return f"CASE WHEN {fits} THEN {expr}::BIGINT END", f"CASE WHEN NOT {fits} THEN 'range' END"
    if kind.id in FLOATS:
        # A FLOAT's exact value, not its shortest text: 123456792, not 123456790.
        number = f"{expr}::DOUBLE"
        fits = f"isfinite({number}) AND {number} = trunc({number}) AND abs({number}) <= {MAX_INTEGER}"
        return (
            f"CASE WHEN {fits} THEN {number}::BIGINT END",
            f"CASE WHEN NOT isfinite({number}) THEN 'not_finite' "
            f"WHEN {number} <> trunc({number}) THEN 'type' "
            f"WHEN abs({number}) > {MAX_INTEGER} THEN 'range' END",
        )
    if kind.is_text or kind.id in ("decimal", "bignum"):
        text = kind.as_text(expr)
        if kind.id == "decimal":  # one without whole digits, DECIMAL(2, 2), is printed as .50
            text = f"regexp_replace({text}, '^(-?)\\.', '\\10.')"
        literal = f"regexp_full_match({text}, '{INTEGER_LITERAL}')"
        number = f"TRY_CAST(regexp_replace({text}, '\\.0*$', '') AS HUGEINT)"
        fits = f"{number} BETWEEN {-MAX_INTEGER} AND {MAX_INTEGER}"
        return (
            f"CASE WHEN {literal} AND {fits} THEN {number}::BIGINT END",
            f"CASE WHEN {text} IS NULL THEN NULL WHEN NOT {literal} THEN 'type' "
            f"WHEN NOT coalesce({fits}, false) THEN 'range' END",
        )
    return None


def _to_float(expr: str, kind: ColumnType) -> _Made | None:
    if kind.id in NARROW or kind.id in ("bigint", "ubigint"):
        return f"{expr}::DOUBLE", NULL_TEXT
    if kind.id in ("hugeint", "uhugeint", "decimal"):
        # Through text: the engine's own conversions of these do not round to the nearest.
        return f"{expr}::VARCHAR::DOUBLE", NULL_TEXT
    if kind.id in FLOATS:
        number = kind.as_double(expr)
        return (
            f"CASE WHEN isfinite({expr}) THEN {number} END",
            f"CASE WHEN NOT isfinite({expr}) THEN 'not_finite' END",
        )
    if kind.is_text or kind.id == "bignum":
        text = kind.as_text(expr)
        literal = f"regexp_full_match({text}, '{DECIMAL_LITERAL}')"
        finite = f"coalesce(isfinite(TRY_CAST({text} AS DOUBLE)), false)"
        return (
            f"CASE WHEN {literal} AND {finite} THEN TRY_CAST({text} AS DOUBLE) END",
            f"CASE WHEN {text} IS NULL THEN NULL WHEN NOT {literal} THEN 'type' "
            f"WHEN NOT {finite} THEN 'range' END",
        )
    return None


def _to_boolean(expr: str, kind: ColumnType) -> _Made | None:
    if kind.id == "boolean":
        return expr, NULL_TEXT
    if kind.is_text:
        text = f"lower({kind.as_text(expr)})"
        return (
            f"CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END",
            f"CASE WHEN {text} NOT IN ('true', 'false') THEN 'type' END",
        )
    return None


def _to_string(expr: str, kind: ColumnType) -> _Made | None:
    if kind.is_text:
        return kind.as_text(expr), NULL_TEXT
    if kind.id in WRITTEN_OUT:
        return written_out(expr, kind), not_finite(expr, kind.text)
    return None


def _to_datetime(expr: str, kind: ColumnType) -> _Made | None:
    if kind.is_date_like:
        return _to_string(expr, kind)
    if kind.is_text:
        text = kind.as_text(expr)
        fits = (
            f"(regexp_full_match({text}, '{DATETIME_LITERAL}') AND left({text}, 4) <> '0000' "
            f"AND TRY_CAST(left({text}, 10) AS DATE) IS NOT NULL)"
        )
        return (
            f"CASE WHEN {fits} THEN {text} END",
            f"CASE WHEN {text} IS NULL THEN NULL WHEN NOT {fits} THEN 'type' END",
        )
    return None


_CASTS: Final[dict[Shape, Callable[[str, ColumnType], _Made | None]]] = {
    Shape.INTEGER: _to_integer,
    Shape.FLOAT: _to_float,
    Shape.BOOLEAN: _to_boolean,
    Shape.STRING: _to_string,
    Shape.DATETIME: _to_datetime,
}
_SQL_TYPES: Final = {
    Shape.INTEGER: "BIGINT",
    Shape.FLOAT: "DOUBLE",
    Shape.BOOLEAN: "BOOLEAN",
    Shape.STRING: "VARCHAR",
    Shape.DATETIME: "VARCHAR",
}
