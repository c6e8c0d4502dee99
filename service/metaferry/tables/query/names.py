"""Names in a query: the columns that it may mean, and those that are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metaferry.tables.model import Column, folded
from metaferry.tables.query import seal
from metaferry.tables.query.functions import ENGINE_VALUES
from metaferry.tables.query.tree import Fault, Node, at, is_query, nodes


def named_columns(node: Node) -> frozenset[str] | None:
    """Every name that may be of a column, as `folded` gives it; None where all columns may be meant."""
    found: set[str] = set()
    relations: set[str] = set()
    for part in _dicts(node):
        if part.get("class") == "STAR" or part.get("ref_type") == "NATURAL":
            return None
        if part.get("class") == "COLUMN_REF":
            found.update(folded(step) for step in part["column_names"])
        if part.get("type") == "JOIN":
            found.update(folded(name) for name in part.get("using_columns") or ())
        if part.get("type") == "BASE_TABLE":
            relations.update({folded(str(part["table_name"])), folded(str(part.get("alias") or ""))})
            if part.get("column_name_alias"):
                return None
    single = {folded(part["column_names"][0]) for part in nodes(node) if _is_single(part)}
    return None if single & relations else frozenset(found)


def asked_of(node: Node, table: str) -> frozenset[str]:
    """The columns that are named as those of one table (`s.weather`), or in USING."""
    known = {
        folded(str(part.get("alias") or table))
        for part in seal.base_tables(node, frozenset())
        if folded(str(part["table_name"])) == folded(table)
    }
    found: set[str] = set()
    for part in _dicts(node):
        steps: list[str] = part.get("column_names") or []
        if len(steps) > 1 and folded(steps[0]) in known:
            found.add(folded(steps[1]))
        found.update(folded(name) for name in part.get("using_columns") or ())
    return frozenset(found)


def unnamed(node: Node) -> Iterable[Fault]:
    """The columns of a result that have no name: each is a key path."""
    while node["type"] == "SET_OPERATION_NODE":
        node = node["children"][0] if "children" in node else node["left"]
    for item in node.get("select_list", ()):
        if not item.get("alias") and item["class"] not in ("COLUMN_REF", "STAR"):
            yield Fault("this column has no name", at(item), "name its key path: … AS objects")


def _is_single(part: Node) -> bool:
    return part["class"] == "COLUMN_REF" and len(part["column_names"]) == 1


def _dicts(part: Any) -> Iterable[Node]:
    if isinstance(part, list):
        for item in part:
            yield from _dicts(item)
    elif isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _dicts(value)


def of_the_engine(node: Node, schema: Mapping[str, Sequence[Column]]) -> Iterable[Fault]:
    """Names that are columns where there is such a column, and else what the clock or the session says.

    Over several SELECTs it cannot be told from here which of them sees the column: it has to be qualified.
    """
    columns = {folded(column.name) for columns in schema.values() for column in columns}
    single = sum(is_query(part) for part in _dicts(node)) == 1
    for part in nodes(node):
        name = folded(part["column_names"][0]) if _is_single(part) else ""
        if name not in ENGINE_VALUES or (single and name in columns):
            continue
        yield Fault(
            f"{name} is not allowed: its value depends on more than the rows",
            at(part),
            f'where it is a column, name its table too: t."{name}"'
            if name in columns
            else "a run without changes must give the same values again",
        )
