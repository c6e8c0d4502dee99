"""The job's SQL expressions: which are accepted, what they name, and what type they have.

An expression is a value computed from one row. It is accepted when exactly one statement comes out
of `SELECT (…)`, when that statement is nothing but the one expression, and when its tree holds only
the kinds of nodes and functions that are known to be such: no subquery, no aggregate, no window, no
parameter, nothing that reads the outside, the clock or chance (a run without changes must not
write). The tree is the engine's own, so no text can mean something else to the check than to the
engine. Faults name the place in the job file, the expression, the position in it, and what to do.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from metaferry.errors import JobError
from metaferry.job.places import TextPlace
from metaferry.storage.local.disk_names import a_working_directory
from metaferry.tables.macros import MACROS, define_macros
from metaferry.tables.model import folded

if TYPE_CHECKING:
    import duckdb

BEFORE: Final = "SELECT ("
_IDENTIFIER: Final = re.compile(r'"(?:[^"]|"")*"|\w+')
#: Nodes of the engine's tree that are values of one row.
VALUE_NODES: Final = frozenset(
    [
        "CONSTANT",
        "COLUMN_REF",
        "FUNCTION",
        "OPERATOR",
        "COMPARISON",
        "CONJUNCTION",
        "CASE",
        "CAST",
        "BETWEEN",
        "COLLATE",
        "LAMBDA",
        "LAMBDA_REF",
        "TYPE",
    ]
)
_REFUSED_NODES: Final = {
    "SUBQUERY": "holds a query",
    "WINDOW": "holds a window function, which looks at other rows",
    "STAR": "names all columns at once",
    "PARAMETER": "holds a parameter",
    "POSITIONAL_REFERENCE": "names a column by its number",
}
#: Operators that are functions of other things than one row.
_REFUSED_OPERATORS: Final = frozenset({"GROUPING_FUNCTION", "OPERATOR_UNPACK"})
#: Said to be stable, yet their value depends on the clock, the machine or the engine's own state.
_UNSTABLE: Final = frozenset(
    [
        "age",
        "ago",
        "current_localtime",
        "current_localtimestamp",
        "version",
        "getenv",
        "index_key",
        "invoke",
        "finalize",
        "combine",
        "json_serialize_plan",
        "json_serialize_sql",
        "json_deserialize_sql",
        "parse_duckdb_log_message",
        "create_sort_key",
        "hash",
        "to_aggregate_state",
    ]
)
#: The engine's macros that are functions of their arguments. All others look at catalogs.
_MACROS: Final = re.compile(
    r"(array|list)_(?!.*comma_default)\w+|date_add|days_in_month|fdiv|fmod|if|json|md5_number_(lower|upper)|"
    r"nullif|split_part|map_contains_(entry|value)|pg_size_pretty"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A column that an expression names, and where (in characters)."""

    steps: tuple[str, ...]
    at: int

    @property
    def column(self) -> str:
        return self.steps[0]


@dataclass(frozen=True, slots=True)
class Expression:
    """An accepted expression. `place` is its key in the job, `origin` where the file has the text."""

    text: str
    place: str
    references: tuple[Reference, ...] = ()
    #: What is computed in its place, over the cells of a text table; "" where it is itself.
    over_cells: str = ""
    origin: TextPlace | None = field(default=None, compare=False, repr=False)

    @property
    def sql(self) -> str:
        return self.over_cells or self.text

    @property
    def plain_column(self) -> str:
        """The column that it is, and nothing more; "" for any other expression."""
        if len(self.references) != 1 or len(self.references[0].steps) != 1:
            return ""
        return self.references[0].column if _IDENTIFIER.fullmatch(self.text.strip()) else ""

    def with_cells(self, cells: Mapping[str, str]) -> Expression | None:
        """Over the columns of `cells` in place of those whose folded names they stand under.

        None where a column cannot be found at the place where it is named.
        """
        text, before = self.text, len(self.text)
        for reference in sorted(self.references, key=lambda one: -one.at):
            cell = cells.get(folded(reference.column))
            if cell is None:
                continue
            found = _IDENTIFIER.match(text, reference.at)
            if found is None or reference.at >= before:
                return None
            name = found[0][1:-1].replace('""', '"') if found[0].startswith('"') else found[0]
            if folded(name) != folded(reference.column):
                return None
            text, before = text[: reference.at] + cell + text[found.end() :], reference.at
        return replace(self, over_cells=text)

    @property
    def columns(self) -> frozenset[str]:
        """The columns it names, as `folded` gives them."""
        return frozenset(folded(reference.column) for reference in self.references)

    def fault(self, message: str, at: int | None = None, advice: str = "") -> JobError:
        """The error for this expression, with a caret below character `at`, which the place names too."""
        place = f"{self.origin.of(at or 0)}: {self.place}" if self.origin is not None else self.place
        return _fault(self.text, place, message, at, advice)


@a_working_directory()  # the engine asks for one when it is sealed
def sealed() -> duckdb.DuckDBPyConnection:
    """An engine in memory that can reach nothing and holds the macros alone; the caller closes it."""
    import duckdb

    con = duckdb.connect(config={"threads": 1})
    for statement in (
        "SET GLOBAL TimeZone = 'UTC'",  # for the connections of `probe` too
        "SET GLOBAL errors_as_json = true",
        "SET autoinstall_known_extensions = false",
        "SET autoload_known_extensions = false",
        "SET enable_external_access = false",
        "SET lock_configuration = true",
    ):
        con.execute(statement).fetchall()
    define_macros(con)
    return con


_parser_lock: Final = threading.RLock()


@contextlib.contextmanager
def parser() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine of `sealed` that only parses: one for all of this process, one user at a time.

    Nothing is made in it. To start an engine takes longer than to parse all expressions of a job.
    """
    with _parser_lock:
        yield _parser(os.getpid())  # an engine does not outlive a fork


@lru_cache(maxsize=1)
def _parser(pid: int) -> duckdb.DuckDBPyConnection:
    return sealed()


def probe() -> duckdb.DuckDBPyConnection:
    """A connection of its own to the engine of `parser`, for temporary tables alone; the caller closes it.

    Nobody else sees those, and nothing of them is left. An engine of `sealed` takes eight times as long.
    """
    with parser() as con:
        connection = con.cursor()
    define_macros(connection)
    return connection


def characters(text: str, position: int) -> int:
    """A position in bytes as one in characters, kept inside the text."""
    return len(text.encode()[: max(position, 0)].decode(errors="ignore"))


def parse_expression(
    text: str, place: str, con: duckdb.DuckDBPyConnection, origin: TextPlace | None = None
) -> Expression:
    """Checks the form of an expression, with an engine of `parser`.

    Raises JobError for what is not accepted.
    """
    import duckdb

    given = Expression(text, place, origin=origin)
    if not text.strip():
        raise given.fault("the expression is empty", advice="write a column's name, or any SQL value")
    if "\0" in text:
        raise given.fault("the expression holds a NUL character", text.index("\0"))
    comment = next((at for at, kind in duckdb.tokenize(text) if str(kind).endswith("comment")), None)
    if comment is not None:
        raise given.fault(
            "the expression holds a comment", characters(text, comment), "leave the comment out"
        )
    node = _single_select(given, con)
    references: list[Reference] = []
    for part, bound in _walk(node, frozenset()):
        _check_node(part, given)
        if part["class"] == "COLUMN_REF":
            steps = tuple(part["column_names"])
            if steps[0] not in bound:
                references.append(Reference(steps, _at(part, text) or 0))
    return replace(given, references=tuple(references))


def _single_select(given: Expression, con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The tree of the one expression in `SELECT (given.text)`; JobError when there is anything else."""
    import duckdb

    text = given.text
    statement = f"{BEFORE}{text})"
    try:
        several = len(con.extract_statements(statement)) != 1
    except duckdb.Error:
        several = False  # said better below
    ((serialized,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchall()
    tree = json.loads(serialized)
    if several:
        raise given.fault("the expression is several statements", None, "write one value")
    if tree.get("error"):
        position = tree.get("position")
        at = characters(text, int(position) - len(BEFORE)) if position else None
        message = str(tree.get("error_message", "it is no SQL"))
        if at is not None and at >= len(text):
            message, at = "the expression is not complete", len(text)
        raise given.fault(message, at)
    node = tree["statements"][0]["node"]
    bare = (
        len(tree["statements"]) == 1
        and node["type"] == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(node.get(key) for key in _CLAUSES)
        and not node.get("cte_map", {}).get("map")
    )
    if not bare:
        raise given.fault("the expression is a query, not a value", None, "write one value")
    expression: dict[str, Any] = node["select_list"][0]
    if expression.get("alias"):
        raise given.fault("the expression gives itself a name", None, "leave the AS out")
    return expression


_CLAUSES: Final = (
    "modifiers",
    "where_clause",
    "group_expressions",
    "group_sets",
    "having",
    "sample",
    "qualify",
)


def _walk(node: Any, bound: frozenset[str]) -> Iterator[tuple[dict[str, Any], frozenset[str]]]:
    """Every node of a tree that has a class, with the lambda parameters that are known there."""
    stack: list[tuple[Any, frozenset[str]]] = [(node, bound)]
    while stack:
        part, names = stack.pop()
        if isinstance(part, list):
            stack.extend((item, names) for item in reversed(part))
        elif isinstance(part, dict):
            if "class" in part:
                yield part, names
            if part.get("class") == "LAMBDA":
                names = names | _parameters(part.get("lhs"))
            stack.extend((value, names) for value in reversed(list(part.values())))


def _parameters(left: Any) -> frozenset[str]:
    """The names before the arrow or colon of a lambda: one, or several in parentheses."""
    if isinstance(left, list):
        return frozenset().union(*map(_parameters, left))
    if not isinstance(left, dict):
        return frozenset()
    if left.get("class") == "COLUMN_REF":
        return frozenset(left["column_names"][:1])
    return frozenset().union(*map(_parameters, left.values()))


def _check_node(part: dict[str, Any], given: Expression) -> None:
    kind = part["class"]
    at = _at(part, given.text)
    if kind in _REFUSED_NODES:
        raise given.fault(f"the expression {_REFUSED_NODES[kind]}", at, "write a value of one row")
    if kind not in VALUE_NODES or part.get("type") in _REFUSED_OPERATORS:
        raise given.fault("the expression holds something that is no value of one row", at)
    if kind != "FUNCTION":
        return
    name = str(part["function_name"]).lower()
    if part.get("schema") or part.get("catalog"):
        raise given.fault(f"{name} is called on something", at, f"write {name}(…), with the value inside")
    if part.get("filter") or part.get("distinct") or (part.get("order_bys") or {}).get("orders"):
        raise given.fault(f"{name} is used as an aggregate", at, "write a value of one row")
    allowed, aggregates, known = _functions()
    if name in allowed:
        return
    if name in aggregates:
        raise given.fault(f"{name} is an aggregate: it looks at other rows", at, "write a value of one row")
    if name in known:
        raise given.fault(
            f"{name} is not allowed: its value depends on more than the row, or it makes rows of its own",
            at,
            "a run without changes must give the same values again",
        )
    near = difflib.get_close_matches(name, sorted(allowed), 3)
    advice = f"did you mean {' or '.join(near)}?" if near else "see DuckDB's functions"
    raise given.fault(f"there is no function {name}", at, advice)


def scalar_functions() -> frozenset[str]:
    """The functions of one row that are allowed."""
    return _functions()[0]


def aggregate_functions() -> frozenset[str]:
    """The engine's aggregates, allowed or not."""
    return _functions()[1]


def known_functions() -> frozenset[str]:
    """All functions of the engine."""
    return _functions()[2]


#: SQL: whether a function gives the same for the same arguments. Since 2.0.1 the engine says of those about
#: time zones that it holds within one query alone, since the zone may be set; here it is UTC, and locked.
_STABLE: Final = (
    "(stability = 'CONSISTENT' OR (stability = 'CONSISTENT_WITHIN_QUERY' AND (function_name IN "
    "('timezone', 'make_timestamptz') OR list_has_any(parameter_types::VARCHAR[], "
    "['TIMESTAMP WITH TIME ZONE', 'TIMESTAMPTZ_NS']))))"
)


@lru_cache(maxsize=1)
def _functions() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names of functions: those allowed, the aggregates, and all that there are."""
    with parser() as con:
        rows = con.execute(
            f"SELECT DISTINCT lower(function_name), function_type, {_STABLE} FROM duckdb_functions() "
            "WHERE internal"
        ).fetchall()
    scalar = {name for name, kind, _ in rows if kind == "scalar"}
    unstable = {name for name, kind, stable in rows if kind == "scalar" and not stable}
    macros = {name for name, kind, _ in rows if kind == "macro" and _MACROS.fullmatch(name)}
    aggregates = {name for name, kind, _ in rows if kind == "aggregate"} - scalar
    allowed = (scalar - unstable - _UNSTABLE) | (macros - aggregates) | MACROS.keys()
    return frozenset(allowed), frozenset(aggregates), frozenset({name for name, _, _ in rows} | {"unnest"})


def _at(part: dict[str, Any], text: str) -> int | None:
    location = int(part.get("query_location") or 0) - len(BEFORE)
    return characters(text, location) if 0 <= location <= len(text.encode()) else None


def _fault(text: str, place: str, message: str, at: int | None, advice: str = "") -> JobError:
    shown = text
    if at is not None:
        start = text.rfind("\n", 0, at) + 1
        line = text[start:].split("\n", 1)[0]
        # A long line is cut around the position, so that the caret stays below it on a terminal.
        cut = max(0, at - start - 60)
        line, column = ("…" + line[cut + 1 :] if cut else line)[:100], at - start - cut
        shown = f"{line}\n    {' ' * column}^"
    elif len(text) > 200:
        shown = text[:200] + "…"
    return JobError(f"{message}\n    {shown}", place=place, advice=advice)
