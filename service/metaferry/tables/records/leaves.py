"""Which values a document can hold, and how a nested one parts into leaf key paths. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: Types whose values have one JSON form: text, truth values, numbers, and what ISO 8601 writes as text.
_PLAIN: Final = frozenset(
    [
        "varchar",
        "enum",
        "boolean",
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "hugeint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "uhugeint",
        "bignum",
        "float",
        "double",
        "decimal",
        "uuid",
        "date",
        "time",
        "time_ns",
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
        "null",
    ]
) | {"time with time zone", "timestamp with time zone", "timestamptz_ns"}


def unfit(kind: str) -> str:
    """The part of a type (as `DESCRIBE` gives it) that no document can hold; "" where all of it can."""
    import duckdb

    return _unfit(duckdb.sqltype(kind))


def leaves(kind: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The leaves of a type: `((), kind)` for a plain one, the fields' paths and types for a STRUCT."""
    import duckdb

    yield from _leaves(duckdb.sqltype(kind), ())


def _leaves(kind: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if str(kind.id) != "struct":
        yield path, str(kind)
        return
    for name, child in kind.children:
        yield from _leaves(child, (*path, name))


def _unfit(kind: Any) -> str:
    name, text = str(kind.id), str(kind)
    if text.upper() == "JSON":  # calls itself a varchar, and may be written in many ways
        return text
    if name in ("list", "array"):
        return _unfit(dict(kind.children)["child"])
    if name == "struct":
        return next((bad for _, child in kind.children if (bad := _unfit(child))), "")
    if name == "map":
        parts = dict(kind.children)
        return _unfit(parts["value"]) if str(parts["key"].id) in ("varchar", "enum") else text
    return "" if name in _PLAIN else text
