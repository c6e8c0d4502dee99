"""Makes the result of a query the same on every run: an order where its value depends on one.

The engine's threads return rows in another order each time, so `list(x)`, a sum of doubles or
`row_number()` over ties differ between two runs over the same rows, and a run that changes nothing would
write. Here each function that depends on the order gets one that is total: aggregates an ORDER BY over
their arguments, window functions and LIMIT all columns as further keys. Aggregates of one SELECT that take
values as they are (`list(label)`, `list(score)`) get the arguments of all of them, so that what belongs
together stays together. What cannot be made repeatable is a fault, with the text to write instead.

`Tables` answers what only the engine knows: columns and types. Nothing here runs a query.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from metaferry.tables.query import functions
from metaferry.tables.query.inputs import groups, is_grouped, relations
from metaferry.tables.query.tree import (
    Fault,
    Node,
    arguments,
    at,
    column,
    common_tables,
    is_query,
    nodes,
    order,
    same,
    star,
    without_locations,
)

_VARYING: Final = frozenset({"COLUMN_REF", "STAR", "SUBQUERY"})
_ALIKE: Final = "its value would be another one on each run"
#: All columns of FROM as one value that rows are ordered by.
_ALL_COLUMNS: Final = "row(*COLUMNS(*))"
_EXACT: Final = re.compile(r"(BOOLEAN|U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\(\d+,\d+\))")


class Tables(Protocol):
    """The engine's answers about a query over empty copies of its tables."""

    def columns(self, query: Node) -> list[str] | None:
        """The names of a query's columns; None where it cannot be bound on its own."""

    def sum_type(self, root: Node, call: Node) -> str:
        """The type of the argument of a sum within the query `root`; "" where it is not known."""

    def text(self, expression: Node) -> str:
        """An expression as SQL."""

    def expression(self, text: str) -> Node:
        """SQL as an expression."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where a node is: the SELECT around it, what its WITH clauses name, and whether in QUALIFY."""

    query: Node | None = None
    ctes: tuple[Node, ...] = ()
    in_qualify: bool = False
    outermost: bool = True


def make_repeatable(query: Node, tables: Tables) -> list[Fault]:
    """Puts orders into the query node, in scope; answers what cannot be made repeatable, in no order."""
    work = _Work(query, tables)
    work.visit(query, _Scope())
    for step in reversed(work.later):  # what is within another is ordered before it is copied
        step()
    return work.faults


class _Work:
    """One pass over a query. Orders are put in after the walk, so that no walk meets what was put in."""

    def __init__(self, root: Node, tables: Tables) -> None:
        self.faults: list[Fault] = []
        self.later: list[Callable[[], None]] = []
        #: Aggregates that see one order, by their SELECT and whether they have OVER.
        self._together: dict[tuple[int, bool], list[Node]] = {}
        self._root = root
        self._tables = tables

    def visit(self, part: object, scope: _Scope) -> None:
        if isinstance(part, list):
            for item in part:
                self.visit(item, scope)
        elif isinstance(part, dict):
            if is_query(part):
                self._query(part, scope)
                return
            if part.get("class") == "FUNCTION":
                self._call(part, scope)
            elif part.get("class") == "WINDOW":
                self._window(part, scope)
            for value in part.values():
                self.visit(value, scope)

    def _query(self, query: Node, scope: _Scope) -> None:
        ctes = scope.ctes
        for entry in common_tables(query):
            # Each sees those before it: one may have the name of a table that it reads.
            self.visit(entry["value"], _Scope(None, ctes, outermost=False))
            ctes = (*(one for one in ctes if one["key"].lower() != entry["key"].lower()), entry)
        inside = _Scope(query, ctes, outermost=False)
        self._modifiers(query, replace(inside, outermost=scope.outermost))
        for key, value in query.items():
            if key != "cte_map":
                self.visit(value, replace(inside, in_qualify=key == "qualify"))

    # -- ORDER BY, LIMIT, DISTINCT

    def _modifiers(self, query: Node, scope: _Scope) -> None:
        found = {str(one["type"]): one for one in query.get("modifiers") or ()}
        ordered = found.get("ORDER_MODIFIER")
        limit = found.get("LIMIT_MODIFIER") or found.get("LIMIT_PERCENT_MODIFIER")
        distinct = found.get("DISTINCT_MODIFIER")
        chosen = bool(distinct and distinct.get("distinct_on_targets"))
        if limit is None and not chosen:
            if ordered is not None and not scope.outermost:
                self._fault(
                    "this ORDER BY has no effect: what is built from these rows does not see their order",
                    ordered["orders"][0]["expression"],
                    "put the order where it counts, such as list(x ORDER BY y), or leave it out",
                )
            return
        what = "DISTINCT ON" if chosen else "LIMIT"
        if ordered is None:
            targets = (distinct or {}).get("distinct_on_targets") or []
            self._fault(
                f"{what} without ORDER BY takes other rows on each run",
                targets[0] if chosen else (limit or {}).get("limit") or (limit or {}).get("offset") or query,
                "say which come first: ORDER BY ALL" + (" before LIMIT" if not chosen else " at the end"),
            )
            return
        orders = ordered["orders"]
        if distinct is not None and not chosen and not self._selected(query, orders):
            self._fault(
                "SELECT DISTINCT is ordered by what it does not select, so LIMIT is not the same on each run",
                orders[0]["expression"],
                "order by columns that are selected, or ORDER BY ALL",
            )
            return
        if any(one["expression"].get("class") == "STAR" for one in orders):
            return  # ORDER BY ALL
        count = self._column_count(query, scope)
        if count is None:
            self._fault(
                f"it cannot be told which columns break the ties of {what} here",
                orders[0]["expression"],
                "write ORDER BY ALL",
            )
            return
        self.later.append(
            lambda: orders.extend(order(self._tables.expression(str(n))) for n in range(1, count + 1))
        )

    def _number(self, value: int) -> Node:
        """An item of ORDER BY that names a column by its number."""
        return order(self._tables.expression(str(value)))

    def _selected(self, query: Node, orders: Sequence[Node]) -> bool:
        """Whether a query is ordered by nothing but what it selects."""
        items = query.get("select_list", ())
        names = {str(item.get("alias") or "").lower() for item in items} - {""}

        def known(expression: Node) -> bool:
            steps = expression.get("column_names", ())
            return (
                expression.get("class") in ("CONSTANT", "STAR")
                or (len(steps) == 1 and steps[0].lower() in names)
                or any(same(expression, item) for item in items)
                or any(item.get("class") == "STAR" for item in items)
            )

        return all(known(one["expression"]) for one in orders)

    def _column_count(self, query: Node, scope: _Scope) -> int | None:
        """How many columns a query has."""
        alone = {**query, "modifiers": [], "cte_map": {"map": list(scope.ctes)}}
        names = self._tables.columns(alone)
        if names is not None:
            return len(names)
        items = query.get("select_list")
        if not items or any(node["class"] == "STAR" for node in nodes(items, below_queries=False)):
            return None
        spread = any(node.get("function_name") == "unnest" for node in nodes(items, below_queries=False))
        return None if spread else len(items)

    # -- aggregates

    def _call(self, call: Node, scope: _Scope) -> None:
        name = str(call["function_name"]).lower()
        orders = call.get("order_bys") or {}
        if not functions.is_aggregate(name) or not self._is_to_be_ordered(name, call):
            return
        given = orders.setdefault("orders", [])
        call["order_bys"] = {"type": "ORDER_MODIFIER", **orders, "orders": given}
        self._order_alike(name, call, given, scope, over=False)

    def _order_alike(self, name: str, call: Node, given: list[Node], scope: _Scope, *, over: bool) -> None:
        """Puts arguments behind what an aggregate is ordered by: its own, or those of all that go with it."""
        calls = [call]
        if name in functions.OF_ROWS and not call.get("distinct"):
            calls = self._together.setdefault((id(scope.query), over), [])
            calls.append(call)
        self.later.append(lambda: given.extend(_keys(call, calls)))

    def _is_to_be_ordered(self, name: str, call: Node) -> bool:
        """Whether an aggregate depends on the order of rows and can be given one; a fault where it cannot."""
        if name in functions.ANY_ORDER:
            return False
        if name in functions.SUMS and _EXACT.fullmatch(self._tables.sum_type(self._root, call)):
            return False
        if name not in functions.ORDERED:
            self._fault(
                f"{name} is not allowed: {_ALIKE}",
                call,
                "write it with count, sum or list, whose values metaferry keeps the same",
            )
            return False
        if not arguments(call) and (call.get("order_bys") or {}).get("orders"):
            self._fault(f"{name} WITHIN GROUP is not known here", call, f"write {name}(…), with its argument")
            return False
        return True

    # -- window functions

    def _window(self, call: Node, scope: _Scope) -> None:
        name = str(call["function_name"]).lower()
        rows = _by_rows(call)
        if rows and call.get("exclude_clause") in ("TIES", "GROUP"):
            self._fault(
                f"EXCLUDE {call['exclude_clause']} goes with RANGE and GROUPS, not with ROWS", call, ""
            )
            return
        if name in functions.RANKS:
            self._needs_order(call, scope)
        elif name in functions.PLACES:
            if self._needs_order(call, scope):
                self._add_columns(call, scope, "orders", "arg_orders")
        elif name in functions.ENDS:
            if not (call.get("arg_orders") or self._needs_order(call, scope)):
                return
            given = bool(call.get("arg_orders"))
            self._add_columns(call, scope, "arg_orders" if given else "", *(["orders"] if rows else []))
            if not given:
                self._add_columns(call, scope, "arg_orders", over=call.get("orders") or [])
        elif functions.is_aggregate(name):
            self._window_aggregate(name, call, scope, rows=rows)
        else:
            self._fault(f"{name} is not allowed: {_ALIKE}", call, "")

    def _window_aggregate(self, name: str, call: Node, scope: _Scope, *, rows: bool) -> None:
        if rows:
            if not self._needs_order(call, scope):
                return
            self._add_columns(call, scope, "orders")
        if not self._is_to_be_ordered(name, call):
            return
        given = call.setdefault("arg_orders", [])
        self._order_alike(name, call, given, scope, over=True)

    def _needs_order(self, call: Node, scope: _Scope) -> bool:
        if call.get("orders"):
            return True
        wanted = copy.deepcopy(call)
        keys = self._columns(scope, names=True)
        text = ""
        if keys:
            taken = wanted.get("partitions") or []
            free = [key for key in keys if not any(same(key, one) for one in taken)] or keys
            wanted["orders"] = [order(key) for key in free[:3]]
            text = f"write {self._tables.text({**wanted, 'alias': ''})}, with the columns that decide"
        self._fault(
            f"{call['function_name']} has no ORDER BY, so {_ALIKE}",
            call,
            text or "write ORDER BY into its OVER (…)",
        )
        return False

    def _add_columns(
        self, call: Node, scope: _Scope, *where: str, over: Sequence[Node] | None = None
    ) -> None:
        """All columns as further keys of the orders `where`; instead of them, after those of `over`."""
        keys = self._columns(scope)
        if keys is None:
            self._fault(
                f"it cannot be told here which columns break the ties of {call['function_name']}",
                call,
                "make the rows that it looks at in a WITH first, and use it over that",
            )
            return
        more = [order(one) for one in keys]
        for key in where:
            if over is not None:
                first = without_locations(list(over))
                self.later.append(_put(call, key, [*first, *more]))
            elif call.get(key):
                self.later.append(_put(call, key, [*call[key], *more]))

    def _columns(self, scope: _Scope, *, names: bool = False) -> list[Node] | None:
        """What tells the rows apart that a window function looks at; None where nobody can tell.

        `names`: as columns that can be shown to a person.
        """
        query = scope.query
        if query is None or query.get("type") != "SELECT_NODE":
            return None
        if is_grouped(query):
            return groups(query)
        if not scope.in_qualify and not names:
            return [self._tables.expression(_ALL_COLUMNS)]
        found: list[Node] = []
        for relation in relations(query["from_table"]):
            if not relation:
                return None
            probe = {
                **query,
                "select_list": [star(relation)],
                "modifiers": [],
                "where_clause": None,
                "group_expressions": [],
                "group_sets": [],
                "having": None,
                "qualify": None,
                "cte_map": {"map": list(scope.ctes)},
            }
            columns = self._tables.columns(probe)
            if columns is None:
                return None
            found += [column(relation, name) for name in columns]
        return found

    def _fault(self, message: str, part: Node, advice: str) -> None:
        self.faults.append(Fault(message, at(part), advice))


def _put(call: Node, key: str, orders: list[Node]) -> Callable[[], None]:
    return lambda: call.update({key: orders})


def _keys(call: Node, calls: Sequence[Node]) -> list[Node]:
    """The arguments of all the calls that are no constants, as items of an ORDER BY, each once.

    Of other calls, none that holds a query: whether that has its own orders yet is not known.
    """
    found: list[Node] = []
    for one in calls:
        for value in arguments(one):
            kinds = {node["class"] for node in nodes(value)}
            if not kinds & _VARYING or (one is not call and "SUBQUERY" in kinds):
                continue
            key = without_locations({**value, "alias": ""})
            if not any(same(key, other) for other in found):
                found.append(key)
    return [order(key) for key in found]


def _by_rows(call: Node) -> bool:
    """Whether the frame of a window function counts rows; not so where it is the whole partition."""
    return any(str(call.get(end, "")).endswith("_ROWS") for end in ("start", "end"))
