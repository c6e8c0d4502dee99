"""What a query may hold: the job's tables, its own WITH, and what is the same on every run.

Like an expression, a query is judged by the engine's own tree. Everything is refused that is not known to be
harmless: other relations and table functions (files, settings, catalogs), functions that read the clock or
chance, parameters, and joins whose ties the engine settles at will.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Final

from metaferry.tables.expressions import (
    VALUE_NODES,
    aggregate_functions,
    known_functions,
    scalar_functions,
)
from metaferry.tables.model import folded
from metaferry.tables.query import functions
from metaferry.tables.query.tree import Fault, Node, at, common_tables, is_query

_NODES: Final = (VALUE_NODES - {"COLLATE"}) | {"SUBQUERY", "WINDOW", "STAR"}
_REFUSED_NODES: Final = {
    "PARAMETER": ("a query has no parameters", "write the value"),
    "POSITIONAL_REFERENCE": ("a column is named by its number", "name the column"),
    "COLLATE": ("a collation makes different texts the same", "compare lower(…) instead"),
}
#: Relations of a FROM, by what the engine calls them.
_SOURCES: Final = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EMPTY", "EXPRESSION_LIST"})
_JOINS: Final = frozenset({"REGULAR", "CROSS", "NATURAL", "DEPENDENT"})
_TABLE_FUNCTIONS: Final = frozenset({"unnest", "range", "generate_series"})
_QUERIES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
PIVOT: Final = (
    "PIVOT makes columns of values, so nobody can tell beforehand which keys there will be",
    "write a column for each value that is wanted: count(*) FILTER (WHERE label = 'car') AS cars",
)


def faults(query: Node, tables: Collection[str]) -> Iterator[Fault]:
    """What of a query node is not allowed, over tables of these names."""
    yield from _visit(query, {folded(name): name for name in tables}, frozenset())


def used_tables(query: Node, tables: Collection[str]) -> set[str]:
    """The tables of these names that a query reads, as they are spelled in `tables`."""
    known = {folded(name): name for name in tables}
    found = (part for part in base_tables(query, frozenset()) if _is(part, known))
    return {known[folded(str(part["table_name"]))] for part in found}


def base_tables(part: object, ctes: frozenset[str]) -> Iterator[Node]:
    """The BASE_TABLE nodes of a part that name no common table expression."""
    if isinstance(part, list):
        for item in part:
            yield from base_tables(item, ctes)
    elif isinstance(part, dict):
        if is_query(part):
            for entry in common_tables(part):
                recursive = _own_name(entry)
                yield from base_tables(entry["value"], ctes | recursive)
                ctes = ctes | {folded(str(entry["key"]))}
            part = {key: value for key, value in part.items() if key != "cte_map"}
        elif part.get("type") == "BASE_TABLE" and "table_name" in part:
            if part.get("schema_name") or part.get("catalog_name") or folded(part["table_name"]) not in ctes:
                yield part
            return
        for value in part.values():
            yield from base_tables(value, ctes)


def _is(part: Node, known: Collection[str]) -> bool:
    named = folded(str(part["table_name"])) in known
    return named and not part.get("schema_name") and not part.get("catalog_name")


def _own_name(entry: Node) -> frozenset[str]:
    """The name of a recursive expression, which it may read itself."""
    inner = entry["value"].get("query_node") or (entry["value"].get("query") or {}).get("node") or {}
    return (
        frozenset({folded(str(entry["key"]))}) if inner.get("type") == "RECURSIVE_CTE_NODE" else frozenset()
    )


def _visit(part: object, tables: dict[str, str], ctes: frozenset[str]) -> Iterator[Fault]:
    if isinstance(part, list):
        for item in part:
            yield from _visit(item, tables, ctes)
        return
    if not isinstance(part, dict):
        return
    if is_query(part):
        yield from _query(part)
        for entry in common_tables(part):
            yield from _common_table(entry)
            yield from _visit(entry["value"], tables, ctes | _own_name(entry))
            ctes = ctes | {folded(str(entry["key"]))}
        part = {key: value for key, value in part.items() if key != "cte_map"}
    elif "class" in part:
        yield from _expression(part)
    elif "sample" in part and "alias" in part:
        refused = list(_source(part, tables, ctes))
        yield from refused
        if refused:
            return
        if part["type"] == "TABLE_FUNCTION":
            # Judged by its name; as an expression it would be no function at all.
            yield from _visit({k: v for k, v in part["function"].items() if k != "class"}, tables, ctes)
            return
    for value in part.values():
        yield from _visit(value, tables, ctes)


def _query(query: Node) -> Iterator[Fault]:
    if query["type"] not in _QUERIES:
        yield Fault("this form of a query is not known here", None, "write a plain SELECT")
    if query.get("sample"):
        yield _sample(query["sample"], query.get("from_table") or query)


def _common_table(entry: Node) -> Iterator[Fault]:
    value = entry["value"]
    if value.get("key_targets"):
        yield Fault("WITH RECURSIVE … USING KEY depends on the order of rows", None, "leave USING KEY out")


def _source(part: Node, tables: dict[str, str], ctes: frozenset[str]) -> Iterator[Fault]:
    kind = part["type"]
    if kind == "PIVOT":
        message, advice = PIVOT
        yield Fault(message, at(part), advice)
    elif kind not in _SOURCES:
        yield Fault("this is no table of the job", at(part), _known(tables))
    elif part.get("sample"):
        yield _sample(part["sample"], part)
    elif kind == "JOIN":
        yield from _join(part)
    elif kind == "TABLE_FUNCTION":
        name = str(part["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS or part["function"].get("schema"):
            yield Fault(
                f"{name}(…) cannot be read from: a query reads the tables of the job, and unnest, range and "
                "generate_series",
                at(part),
                "name the file in tables:" if name.startswith(("read_", "parquet_", "glob")) else "",
            )
    elif kind == "BASE_TABLE":
        name = str(part["table_name"])
        if part.get("schema_name") or part.get("catalog_name"):
            yield Fault(f"{name} is named within a schema", at(part), _known(tables))
        elif part.get("at_clause"):
            yield Fault("AT is for tables with versions", at(part), "leave it out")
        elif folded(name) not in ctes and folded(name) not in tables:
            near = difflib.get_close_matches(folded(name), [*tables, *ctes], 1, 0.6)
            hint = f"did you mean {tables.get(near[0], near[0])}?" if near else _known(tables)
            looks_like_a_file = "/" in name or "." in name
            yield Fault(
                f'there is no table "{name}" in the job',
                at(part),
                "name the file in tables:, and its name there in FROM" if looks_like_a_file else hint,
            )


def _join(part: Node) -> Iterator[Fault]:
    kind = part.get("ref_type")
    if kind == "ASOF":
        yield Fault(
            "ASOF JOIN takes any of several rows of one time",
            at(part),
            "join by <= and keep one row: QUALIFY row_number() OVER (PARTITION BY … ORDER BY time DESC) = 1",
        )
    elif kind == "POSITIONAL":
        yield Fault("POSITIONAL JOIN joins rows in no order", at(part), "join by a column: JOIN … USING (…)")
    elif kind not in _JOINS:
        yield Fault("this kind of join is not known here", at(part), "write JOIN … ON …")


def _sample(sample: Node, part: Node) -> Fault:
    share = (sample.get("sample_size") or {}).get("value")
    number = f"{float(share):g}" if isinstance(share, int | float) else "10"
    wanted = (
        f"WHERE md5_number_lower(file_name) % 100 < {number}, with a column that names the rows"
        if sample.get("is_percentage")
        else f"ORDER BY md5(file_name) LIMIT {number}, with a column that names the rows"
    )
    return Fault("SAMPLE takes other rows on each run", at(part), f"write {wanted}")


def _expression(part: Node) -> Iterator[Fault]:
    kind = str(part["class"])
    if kind in _REFUSED_NODES:
        message, advice = _REFUSED_NODES[kind]
        yield Fault(message, at(part), advice)
    elif kind not in _NODES:
        yield Fault("this is not known here", at(part))
    elif kind in ("FUNCTION", "WINDOW"):
        yield from _function(part)


def _function(part: Node) -> Iterator[Fault]:
    name = str(part["function_name"]).lower()
    if part.get("schema") or part.get("catalog"):
        yield Fault(f"{name} is called on something", at(part), f"write {name}(…), with the value inside")
        return
    if name in scalar_functions() or name in aggregate_functions() or name in functions.ANY_ORDER:
        return
    if part["class"] == "WINDOW" or name == "unnest":
        return  # `repeatable` knows them
    if name in known_functions():
        yield Fault(
            f"{name} is not allowed: its value depends on more than the rows",
            at(part),
            "a run without changes must give the same values again",
        )
        return
    known = sorted(scalar_functions() | aggregate_functions())
    near = difflib.get_close_matches(name, known, 3)
    yield Fault(
        f"there is no function {name}",
        at(part),
        f"did you mean {' or '.join(near)}?" if near else "see DuckDB's functions",
    )


def _known(tables: dict[str, str]) -> str:
    listed = ", ".join(list(tables.values())[:20])
    return f"the tables of the job are {listed}" if listed else "name the files in tables:"
