"""SQL as the engine's own tree: parsed, walked, and written as text again. Pure but for the engine's parser.

The shape of the tree differs between versions of the engine: arguments are `children` of a function, or
`arguments` that may have names.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import duckdb

Node: TypeAlias = dict[str, Any]

_LOCATIONS: Final = ("query_location", "query_location_length")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a query, and where: a position in bytes of its text, None for all of it.

    `no_such_name`: it names what is not there, whatever the types of the columns are.
    """

    message: str
    at: int | None = None
    advice: str = ""
    no_such_name: bool = False


def parse(con: duckdb.DuckDBPyConnection, text: str) -> Node:
    """The tree of a text; `error` in it is true where it is none."""
    ((serialized,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    tree: Node = json.loads(serialized)
    return tree


def write(con: duckdb.DuckDBPyConnection, query: Node) -> str:
    """A query node (SELECT, UNION …) as text."""
    tree = {"error": False, "statements": [{"node": query, "named_param_map": []}]}
    ((text,),) = con.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
    return str(text)


def write_expression(con: duckdb.DuckDBPyConnection, expression: Node) -> str:
    """An expression as text, as it stands in a SELECT list."""
    return write(con, select([copy.deepcopy(expression)], None)).removeprefix("SELECT ")


def select(items: list[Node], source: Node | None, ctes: list[Node] | None = None) -> Node:
    """A bare SELECT of the items from a source, with common table expressions in reach."""
    return {
        "type": "SELECT_NODE",
        "modifiers": [],
        "cte_map": {"map": list(ctes or ())},
        "select_list": items,
        "from_table": source or {"type": "EMPTY", "alias": "", "sample": None, "query_location": _NOWHERE},
        "where_clause": None,
        "group_expressions": [],
        "group_sets": [],
        "aggregate_handling": "STANDARD_HANDLING",
        "having": None,
        "sample": None,
        "qualify": None,
    }


#: What the engine writes for a node that no text stands for.
_NOWHERE: Final = 18446744073709551615


def is_query(part: object) -> bool:
    """Whether a part of a tree is a query node."""
    return isinstance(part, dict) and "cte_map" in part and str(part.get("type", "")).endswith("_NODE")


def common_tables(query: Node) -> list[Node]:
    """The entries `{key, value}` of the WITH of a query node."""
    found = (query.get("cte_map") or {}).get("map") or []
    return list(found)


def arguments(call: Node) -> list[Node]:
    """The arguments of a FUNCTION or WINDOW node; the list is a copy, its nodes are not."""
    listed = call["arguments"] if "arguments" in call else call.get("children", ())
    return [one.get("expression", one) for one in listed]


def set_arguments(call: Node, values: list[Node]) -> None:
    """Puts other arguments, without names, in place of those that are there."""
    if "arguments" in call:
        call["arguments"] = [{"name": "", "expression": value} for value in values]
    else:
        call["children"] = values


def column(*steps: str) -> Node:
    """A column's node."""
    return _bare("COLUMN_REF", "COLUMN_REF", column_names=list(steps))


def star(relation: str = "") -> Node:
    """All columns, or those of one relation."""
    return _bare(
        "STAR",
        "STAR",
        relation_name=relation,
        exclude_list=[],
        replace_list=[],
        columns=False,
        expr=None,
        qualified_exclude_list=[],
        rename_list=[],
    )


def order(expression: Node) -> Node:
    """One item of an ORDER BY, ascending."""
    return {"type": "ORDER_DEFAULT", "null_order": "ORDER_DEFAULT", "expression": expression}


def expression_of(con: duckdb.DuckDBPyConnection, text: str) -> Node:
    """The tree of an expression that is known to be one."""
    node: Node = parse(con, f"SELECT {text}")["statements"][0]["node"]["select_list"][0]
    bare: Node = without_locations(node)
    return bare


def nodes(part: Any, *, below_queries: bool = True) -> Iterator[Node]:
    """Every node of a part that has a class, outermost first; on demand not those of queries within it."""
    stack = [part]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, dict):
            if not below_queries and is_query(one):
                continue
            if "class" in one:
                yield one
            stack.extend(reversed(list(one.values())))


def same(first: Any, second: Any) -> bool:
    """Whether two parts say the same, wherever they stand and whatever they are called."""
    return bool(_said(first) == _said(second))


def without_locations(part: Any) -> Any:
    """A copy that stands nowhere."""
    if isinstance(part, dict):
        return {
            key: _NOWHERE if key == _LOCATIONS[0] else 0 if key == _LOCATIONS[1] else without_locations(value)
            for key, value in part.items()
        }
    return [without_locations(item) for item in part] if isinstance(part, list) else part


def is_copy(written: Any, parsed: Any) -> bool:
    """Whether a tree that was written and parsed again says what it said."""
    return bool(_plain(written) == _plain(parsed))


def _plain(part: Any) -> Any:
    """Without positions, and without the query that the engine writes around VALUES."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {key: _plain(value) for key, value in part.items() if key not in _LOCATIONS}
    if part.get("type") == "EXPRESSION_LIST":
        return {"column_name_alias": [], **part, "alias": part.get("alias", "").replace("valueslist", "")}
    if part.get("type") == "SUBQUERY" and "subquery" in part and "class" not in part:
        inner = (part["subquery"] or {}).get("node") or {}
        source = inner.get("from_table") or {}
        items = [item.get("class") for item in inner.get("select_list") or ()]
        if source.get("type") == "EXPRESSION_LIST" and items == ["STAR"]:
            return {**source, "alias": part["alias"], "column_name_alias": part["column_name_alias"]}
    return part


def at(part: Node) -> int | None:
    """Where a part stands, in bytes; None for what no text stands for."""
    location = part.get("query_location")
    return None if location is None or location == _NOWHERE else int(location)


def _said(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _said(value) for key, value in part.items() if key not in (*_LOCATIONS, "alias")}
    return [_said(item) for item in part] if isinstance(part, list) else part


def _bare(kind: str, type: str, **more: Any) -> Node:
    return {"class": kind, "type": type, "alias": "", "query_location": _NOWHERE, **more}
