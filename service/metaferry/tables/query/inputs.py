"""What tells the rows apart that a SELECT works on: the relations of its FROM, or its groups."""

from __future__ import annotations

from metaferry.tables.query.functions import is_aggregate
from metaferry.tables.query.tree import Node, nodes, without_locations


def is_grouped(query: Node) -> bool:
    """Whether a SELECT makes groups of its rows, or one group of all."""
    if query.get("group_expressions") or query.get("group_sets"):
        return True
    if query.get("aggregate_handling") == "FORCE_AGGREGATES":
        return True
    parts = [query.get("select_list"), query.get("having"), query.get("qualify")]
    return any(
        node["class"] == "FUNCTION" and is_aggregate(str(node["function_name"]).lower())
        for node in nodes(parts, below_queries=False)
    )


def groups(query: Node) -> list[Node] | None:
    """What tells the groups of a query apart; None for several sets of groups."""
    if len(query.get("group_sets") or ()) > 1:
        return None
    items = query["select_list"]
    if query.get("aggregate_handling") == "FORCE_AGGREGATES":
        found = [item for item in items if not _looks_around(item)]
    else:
        found = []
        for group in query.get("group_expressions") or ():
            number = _as_number(group)
            if number is not None and 0 < number <= len(items):
                group = items[number - 1]
            steps = group.get("column_names", ())
            named = [item for item in items if len(steps) == 1 and _name(item) == steps[0].lower()]
            found.append(named[0] if named else group)
    if any(node["class"] == "STAR" for node in nodes(found)):
        return None
    varying = [one for one in found if one.get("class") != "CONSTANT"]
    return [without_locations({**one, "alias": ""}) for one in varying]


def _looks_around(item: Node) -> bool:
    return any(
        node["class"] == "WINDOW"
        or (node["class"] == "FUNCTION" and is_aggregate(str(node["function_name"]).lower()))
        for node in nodes(item, below_queries=False)
    )


def _name(item: Node) -> str:
    return str(item.get("alias") or "").lower()


def _as_number(group: Node) -> int | None:
    if group.get("class") != "CONSTANT":
        return None
    literal = group.get("literal") or {}
    text = str(literal.get("text", (group.get("value") or {}).get("value", "")))
    return int(text) if text.isdigit() else None


def relations(source: Node) -> list[str]:
    """The names under which the relations of a FROM are known; "" for one without a name."""
    kind = source.get("type")
    if kind == "JOIN":
        left = relations(source["left"])
        if source.get("join_type") in ("SEMI", "ANTI"):
            return left
        return left + relations(source["right"])
    if kind == "EMPTY":
        return []
    if source.get("alias"):
        return [str(source["alias"])]
    if kind == "BASE_TABLE":
        return [str(source["table_name"])]
    if kind == "TABLE_FUNCTION":
        return [str(source["function"]["function_name"])]
    return [""]
