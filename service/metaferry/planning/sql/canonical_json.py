"""SQL text of canonical JSON: the value of a column as it stands in its document.

The twin of `lightly/document.py`, over the types of the engine, and the one place that knows those
types. Held byte-equal to it by property tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import duckdb

from metaferry.lightly.document import json_string
from metaferry.lightly.schema import Observed
from metaferry.planning.sql.text import NULL_TEXT, escape_json, members, quote_text

NARROW: Final = ("tinyint", "smallint", "integer", "utinyint", "usmallint", "uinteger")
WIDE: Final = ("bigint", "ubigint", "hugeint", "uhugeint")
FLOATS: Final = ("float", "double")
#: Types that a document holds as the text of their one ISO form.
WRITTEN_OUT: Final = (
    "uuid",
    "date",
    "time",
    "time_ns",
    "time with time zone",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "timestamp_ns",
    "timestamp with time zone",
    "timestamptz_ns",
)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type of the engine: its name (lower case), the type as text, and what it is made of."""

    id: str
    text: str
    fields: tuple[tuple[str, ColumnType], ...] = ()  # of a STRUCT; "child", or "key" and "value"
    scale: int = 0  # of a DECIMAL

    def part(self, name: str) -> ColumnType:
        return dict(self.fields)[name]

    @property
    def is_text(self) -> bool:
        # The engine's JSON calls itself a varchar, but is text that may be written in many ways.
        return self.id == "enum" or (self.id == "varchar" and self.text != "JSON")

    @property
    def is_integer(self) -> bool:
        return self.id in (*NARROW, *WIDE, "bignum") or (self.id == "decimal" and self.scale == 0)

    @property
    def is_date_like(self) -> bool:
        return self.id == "date" or self.id.startswith("timestamp")

    def as_text(self, expr: str) -> str:
        return expr if self.id == "varchar" else f"{expr}::VARCHAR"

    def as_double(self, expr: str) -> str:
        # The float nearest to the digits a FLOAT is printed with: 0.1, not 0.10000000149011612.
        return expr if self.id == "double" else f"{expr}::VARCHAR::DOUBLE"


@lru_cache(maxsize=1024)
def column_type(duckdb_type: str) -> ColumnType:
    """A type from its text, as `DESCRIBE` or `typeof` give it."""
    return _column_type(duckdb.sqltype(duckdb_type))


def json_value(expr: str, duckdb_type: str) -> str:
    """Canonical JSON text of a value of that type, as VARCHAR; NULL where its key is left out.

    ValueError for a type that no document can hold (see `storable`).
    """
    return _json(expr, column_type(duckdb_type), 0)


def json_of(expr: str, kind: ColumnType, *, element: bool = False) -> str:
    """`json_value` of a type that is parsed already; `element`: as it stands inside a list."""
    return _json(expr, kind, 0, element=element)


def storable(duckdb_type: str) -> bool:
    """Whether documents can hold values of a type. Not: BLOB, BIT, INTERVAL, JSON, UNION, VARIANT …

    The engine's JSON is text that may be written in many ways: it is to be unpacked or cast first.
    """
    try:
        json_value("x", duckdb_type)
    except ValueError:
        return False
    return True


def not_finite(expr: str, duckdb_type: str) -> str:
    """'not_finite' for a value that has no JSON, or holds one that has none, and is left out; else NULL.

    That is NaN and Infinity, and dates outside the years 1 to 9999.
    """
    test = _not_finite(expr, column_type(duckdb_type), 0)
    return f"CASE WHEN {test} THEN 'not_finite' END" if test else NULL_TEXT


def instead_of_not_finite(duckdb_type: str) -> str:
    """What a document has where `not_finite` finds something in a value of that type, for a finding."""
    holders = _holders(column_type(duckdb_type), "key")
    in_list, in_object = "the list has null there", "the key is left out"
    return f"{in_list}, or {in_object}" if len(holders) > 1 else in_list if "list" in holders else in_object


def _holders(kind: ColumnType, holder: str) -> set[str]:
    """What holds the values that may have no JSON: a list, or a key."""
    if kind.id in ("list", "array"):
        return _holders(kind.part("child"), "list")
    if kind.id == "struct":
        return set().union(*(_holders(child, "key") for _, child in kind.fields))
    if kind.id == "map":
        return _holders(kind.part("value"), "key")
    return {holder} if _not_finite("x", kind, 0) else set()


def observed(duckdb_type: str) -> Observed:
    """What the values of a column of that type are, for inference."""
    kind = column_type(duckdb_type)
    if kind.is_integer:
        return Observed.INTEGER
    if kind.id in (*FLOATS, "decimal"):
        return Observed.FLOAT
    if kind.id == "boolean":
        return Observed.BOOLEAN
    return Observed.STRING if kind.is_text or kind.id in WRITTEN_OUT else Observed.OTHER


def field(expr: str, name: str) -> str:
    """A field of a STRUCT."""
    return f"struct_extract({expr}, {quote_text(name)})"


def as_list(expr: str, kind: ColumnType) -> str:
    """A LIST, or an ARRAY as one."""
    return f"{expr}::{kind.part('child').text}[]" if kind.id == "array" else expr


def written_out(expr: str, kind: ColumnType) -> str:
    """`document.plain` of dates, times and UUIDs; NULL outside the calendar."""
    if kind.id == "uuid" or kind.id in ("time", "time_ns"):
        return f"{expr}::VARCHAR"
    if kind.id == "time with time zone":
        return f"regexp_replace({expr}::VARCHAR, '([+-][0-9][0-9])$', '\\1:00')"
    if kind.id == "date":
        text = f"{expr}::VARCHAR"
    elif kind.id == "timestamp with time zone":
        # By the instant: the engine's own text depends on the connection's time zone.
        text = f"replace(make_timestamp(epoch_us({expr}))::VARCHAR, ' ', 'T') || 'Z'"
    elif kind.id == "timestamptz_ns":
        text = f"replace(make_timestamp_ns(epoch_ns({expr}))::VARCHAR, ' ', 'T') || 'Z'"
    else:
        text = f"replace({expr}::VARCHAR, ' ', 'T')"
    return f"CASE WHEN {_in_calendar(expr, kind)} THEN {text} END"


def _column_type(kind: Any) -> ColumnType:
    name, text = str(kind.id), str(kind)
    if name not in ("list", "array", "struct", "map", "decimal"):
        return ColumnType(name, text)
    parts = dict(kind.children)
    if name == "decimal":
        return ColumnType(name, text, scale=parts["scale"])
    fields = tuple(
        (key, _column_type(part)) for key, part in parts.items() if key != "size" or name == "struct"
    )
    return ColumnType(name, text, fields)


def _json(expr: str, kind: ColumnType, depth: int, *, element: bool = False) -> str:
    """`element`: inside a list an empty object stays, and only a missing one is NULL."""
    if kind.id == "null":
        return NULL_TEXT
    if kind.id == "boolean" or kind.is_integer:
        return f"{expr}::VARCHAR"
    if kind.id in FLOATS:
        return f"CASE WHEN isfinite({expr}) THEN {kind.as_double(expr)}::VARCHAR END"
    if kind.id == "decimal":
        return f"{expr}::VARCHAR::DOUBLE::VARCHAR"
    if kind.is_text:
        return escape_json(kind.as_text(expr))
    if kind.id in WRITTEN_OUT:
        return f"""('"' || {written_out(expr, kind)} || '"')"""
    if kind.id in ("list", "array"):
        item = f"x{depth}"
        inner = _json(item, kind.part("child"), depth + 1, element=True)
        items = f"list_transform({as_list(expr, kind)}, lambda {item}: coalesce({inner}, 'null'))"
        # coalesce: to DuckDB 1.4 the joined items of an empty list are NULL.
        return (
            f"CASE WHEN {expr} IS NOT NULL THEN '[' || coalesce(array_to_string({items}, ','), '') || ']' END"
        )
    if kind.id == "struct":
        fields = sorted((name, child) for name, child in kind.fields)
        inner = members(
            f"{quote_text(json_string(name) + ':')} || {_json(field(expr, name), child, depth)}"
            for name, child in fields
        )
    elif kind.id == "map" and kind.part("key").is_text:
        key = f"k{depth}"
        value = _json(f"{expr}[{key}]", kind.part("value"), depth + 1)
        text = escape_json(f"{key}::VARCHAR")
        inner = (
            f"coalesce(array_to_string(list_filter(list_transform(list_sort(map_keys({expr})), "
            f"lambda {key}: {text} || ':' || {value}), lambda m{depth}: m{depth} IS NOT NULL), ','), '')"
        )
    else:
        raise ValueError(f"{kind.text} has no place in a document")
    if element:
        return f"CASE WHEN {expr} IS NOT NULL THEN '{{' || {inner} || '}}' END"
    return f"('{{' || nullif({inner}, '') || '}}')"


def _not_finite(expr: str, kind: ColumnType, depth: int) -> str | None:
    """SQL of the question whether anything in the value has no JSON; None where that cannot be."""
    if kind.id in FLOATS:
        return f"NOT isfinite({expr})"
    if kind.is_date_like:
        return f"NOT {_in_calendar(expr, kind)}"
    if kind.id in ("list", "array"):
        inner = _not_finite(f"x{depth}", kind.part("child"), depth + 1)
        items = as_list(expr, kind)
        return f"len(list_filter({items}, lambda x{depth}: {inner})) > 0" if inner else None
    if kind.id == "struct":
        tests = [_not_finite(field(expr, name), child, depth) for name, child in kind.fields]
        return "(" + " OR ".join(test for test in tests if test) + ")" if any(tests) else None
    if kind.id == "map":
        inner = _not_finite(f"x{depth}", kind.part("value"), depth + 1)
        return f"len(list_filter(map_values({expr}), lambda x{depth}: {inner})) > 0" if inner else None
    return None


def _in_calendar(expr: str, kind: ColumnType) -> str:
    """Within the years that ISO 8601 writes with four digits; infinities are outside."""
    if kind.id == "date":
        return f"({expr} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31')"
    if kind.id.endswith("_ns"):  # 1677 to 2262: only infinities could be outside
        return f"isfinite({expr}::{'TIMESTAMPTZ' if kind.id == 'timestamptz_ns' else 'TIMESTAMP'})"
    if kind.id == "timestamp with time zone":
        first, last = _YEARS_IN_US
        return f"(isfinite({expr}) AND epoch_us({expr}) BETWEEN {first} AND {last})"
    return f"({expr}::TIMESTAMP BETWEEN TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999')"


#: The years 1 to 9999 in microseconds since 1970.
_YEARS_IN_US: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
