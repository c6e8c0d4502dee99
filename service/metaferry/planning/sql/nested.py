"""SQL text of values inside lists and objects under the entries that point into them.

The twin of `lightly/nested.py`, over the types of the engine; held equal to it by property tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from metaferry.lightly.document import json_string
from metaferry.lightly.nested import A_LIST, AN_OBJECT, Steps, by_step, position
from metaferry.lightly.schema import ValueType, expected
from metaferry.planning.sql.canonical_json import (
    ColumnType,
    as_list,
    column_type,
    field,
    json_of,
    json_value,
)
from metaferry.planning.sql.casts import cast_value
from metaferry.planning.sql.text import NULL_TEXT, escape_json, members, quote_text

#: Positions that the engine can count to; no list is longer.
_LAST: Final = 2**31 - 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What stands at a path below a column: its value, why it does not fit (NULL: it does), what would."""

    value_sql: str
    misfit_sql: str
    expected: str


def cast_within(
    expr: str, duckdb_type: str, types: Mapping[Steps, ValueType]
) -> tuple[str, dict[Steps, Endpoint]]:
    """`nested.cast_within` of a column of that type: canonical JSON text as VARCHAR, and the places.

    `misfit_sql` of a place is 'type', 'range', 'not_finite' or NULL.
    """
    kind = column_type(duckdb_type)
    places = {steps: _place(expr, kind, steps, value_type) for steps, value_type in types.items()}
    return _json(expr, kind, types, 0), places


def step_into(expr: str, kind: ColumnType, step: str) -> tuple[str, ColumnType] | None:
    """SQL of what one step leads to (NULL: not there) and its type; None where the step leads nowhere."""
    index = position(step)
    if index is not None:
        if kind.id not in ("list", "array"):
            return None
        child = kind.part("child")
        if index > _LAST:
            return f"NULL::{child.text}", child
        return f"({as_list(expr, kind)})[{index + 1}]", child
    if kind.id == "struct":
        parts = dict(kind.fields)
        return (field(expr, step), parts[step]) if step in parts else (NULL_TEXT, column_type('"NULL"'))
    if kind.id == "map":
        key = kind.part("key")
        text = quote_text(step)
        return f"{expr}[{text if key.id == 'varchar' else f'TRY_CAST({text} AS {key.text})'}]", kind.part(
            "value"
        )
    return None


def _place(expr: str, kind: ColumnType, steps: Steps, value_type: ValueType) -> Endpoint:
    if kind.id == "null":
        return Endpoint(NULL_TEXT, NULL_TEXT, expected(value_type))
    if not steps:
        return Endpoint(expr, cast_value(expr, kind.text, value_type).misfit_sql, expected(value_type))
    below = step_into(expr, kind, steps[0])
    if below is None:
        wanted = AN_OBJECT if position(steps[0]) is None else A_LIST
        return Endpoint(expr, f"CASE WHEN {expr} IS NOT NULL THEN 'type' END", wanted)
    return _place(*below, steps[1:], value_type)


def _json(
    expr: str, kind: ColumnType, types: Mapping[Steps, ValueType], depth: int, *, element: bool = False
) -> str:
    """As `sql_json.json_value`; its variables are called otherwise, so that the two can be nested."""
    if not types or kind.id == "null":
        return json_of(expr, kind, element=element)
    if () in types:
        cast = cast_value(expr, kind.text, types[()])
        return json_value(cast.value_sql, cast.type)
    inside = by_step(types)
    if kind.id in ("list", "array"):
        return _list(expr, kind, inside, depth)
    if kind.id == "struct":
        inner = members(
            f"{quote_text(json_string(name) + ':')} || "
            f"{_json(field(expr, name), child, inside.get(name, {}), depth)}"
            for name, child in sorted(kind.fields)
        )
    elif kind.id == "map" and kind.part("key").is_text:
        inner = _map(expr, kind, inside, depth)
    else:
        return json_of(expr, kind, element=element)
    if element:
        return f"CASE WHEN {expr} IS NOT NULL THEN '{{' || {inner} || '}}' END"
    return f"('{{' || nullif({inner}, '') || '}}')"


def _list(expr: str, kind: ColumnType, inside: Mapping[str, Mapping[Steps, ValueType]], depth: int) -> str:
    item, at, child = f"y{depth}", f"i{depth}", kind.part("child")
    cases = " ".join(
        f"WHEN {index + 1} THEN {_json(item, child, below, depth + 1, element=True)}"
        for step, below in inside.items()
        if (index := position(step)) is not None and index <= _LAST
    )
    text = json_of(item, child, element=True)
    if cases:
        text = f"CASE {at} {cases} ELSE {text} END"
    items = f"list_transform({as_list(expr, kind)}, lambda {item}, {at}: coalesce({text}, 'null'))"
    return f"CASE WHEN {expr} IS NOT NULL THEN '[' || coalesce(array_to_string({items}, ','), '') || ']' END"


def _map(expr: str, kind: ColumnType, inside: Mapping[str, Mapping[Steps, ValueType]], depth: int) -> str:
    key, child = f"y{depth}", kind.part("value")
    value = f"{expr}[{key}]"
    cases = " ".join(
        f"WHEN {quote_text(step)} THEN {_json(value, child, below, depth + 1)}"
        for step, below in inside.items()
        if position(step) is None
    )
    text = json_of(value, child)
    if cases:
        text = f"CASE {key}::VARCHAR {cases} ELSE {text} END"
    return (
        f"coalesce(array_to_string(list_filter(list_transform(list_sort(map_keys({expr})), "
        f"lambda {key}: {escape_json(f'{key}::VARCHAR')} || ':' || {text}), "
        f"lambda m{depth}: m{depth} IS NOT NULL), ','), '')"
    )
