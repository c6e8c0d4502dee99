"""From the text of a query to SQL that the engine may run: parsed, sealed, bound, and made repeatable.

`parse_query` needs no table and is done before any is read. `bind_query` knows their columns, on empty
copies in an engine that reaches nothing. Both answer all faults that they find, with positions in the text.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from metaferry.storage.local.disk_names import a_working_directory
from metaferry.tables.binding import nearest, plain_message, written
from metaferry.tables.expressions import parser, sealed
from metaferry.tables.model import Column, folded
from metaferry.tables.query import seal
from metaferry.tables.query.names import asked_of, named_columns, of_the_engine, unnamed
from metaferry.tables.query.qualify import Relations, qualify
from metaferry.tables.query.repeatable import make_repeatable
from metaferry.tables.query.tree import (
    Fault,
    Node,
    arguments,
    at,
    expression_of,
    is_copy,
    parse,
    set_arguments,
    write,
    write_expression,
)
from metaferry.tables.staging import quote_ident, quote_text

if TYPE_CHECKING:
    import duckdb

_DESCRIBE: Final = "DESCRIBE ("


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query whose form is right.

    `tables` are those that it reads, `columns` what it names of them (as `folded` gives them; None: all).
    """

    text: str
    node: Node
    tables: frozenset[str]
    columns: frozenset[str] | None
    #: Of each table, the columns that are named as its own: `s.weather`, or in USING.
    asked: Mapping[str, frozenset[str]]
    #: The relations of the tables that a reader reads.
    readers: Relations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query that fits its tables: the SQL to run, its columns, and where each part of the SQL came from."""

    sql: str
    columns: tuple[Column, ...]
    origins: Mapping[int, int]

    def origin(self, position: int) -> int | None:
        """The position in the text as written, of one in `sql`; both in bytes."""
        before = [place for place in self.origins if place <= position]
        return self.origins[max(before)] if before else None


def parse_query(
    text: str, tables: Iterable[str], readers: Relations | None = None
) -> tuple[ParsedQuery | None, list[Fault]]:
    """The query of a text over tables of these names, and over the relations of readers (`coco.images`).

    None where there are faults.
    """
    import duckdb

    readers = readers or {}
    relations = [f"{name}.{relation}" for name, own in readers.items() for relation in own]
    names = [*tables, *relations]
    if not text.strip():
        return None, [Fault("the query is empty", None, "write a SELECT over the tables of the job")]
    if "\0" in text:
        return None, [Fault("the query holds a NUL character", len(text.partition("\0")[0].encode()))]
    with parser() as con:
        try:
            several = len(con.extract_statements(text)) != 1
        except duckdb.Error:
            several = False  # said better below
        tree = parse(con, text)
        if several:
            return None, [Fault("the query is several statements", None, "write one SELECT")]
        if tree.get("error"):
            return None, [_syntax(text, tree)]
        node: Node = tree["statements"][0]["node"]
        found = _in_order([*(qualify(node, readers) or seal.faults(node, names)), *unnamed(node)])
        if found:
            return None, found
        reads = seal.used_tables(node, names)
        asked = {name: asked_of(node, name) for name in reads}
        return ParsedQuery(
            _without_end(text), node, frozenset(reads), named_columns(node), asked, readers
        ), []


def bind_query(
    query: ParsedQuery,
    schema: Mapping[str, Sequence[Column]],
    names: Mapping[str, str],
    known: Collection[str] = (),
) -> tuple[BoundQuery | None, list[Fault]]:
    """The query over tables with these columns; `names` are what the tables are called in the SQL.

    `known` are all columns of the files, for advice.
    """
    import duckdb

    with _EmptyTables(schema, query.readers) as tables:
        try:
            described = tables.described(query.text)
        except duckdb.Error as error:
            return None, [_misfit(error, known)]
        node = copy.deepcopy(query.node)
        found = _in_order([*of_the_engine(node, schema), *make_repeatable(node, tables)])
        if found:
            return None, found
        _rename(node, names)
        with _EmptyTables({names[name]: columns for name, columns in schema.items()}) as renamed:
            sql = write(renamed.con, node)
            again: Node = parse(renamed.con, sql)["statements"][0]["node"]
            try:
                kinds = [column.type for column in renamed.described(sql)]
                same = kinds == [one.type for one in described] and (
                    is_copy(node, again)
                    # Older engines write list(x ORDER BY x) as list_sort(list(x)).
                    or is_copy(again, parse(renamed.con, write(renamed.con, again))["statements"][0]["node"])
                )
            except duckdb.Error as error:
                message, _ = plain_message(error)
                return None, [
                    Fault(
                        f"an order that makes it the same on every run does not fit in here: {message}",
                        None,
                        "use the columns themselves in aggregates and windows, not names that SELECT gives",
                    )
                ]
        if not same:
            return None, [
                Fault(
                    "this query cannot be made the same on every run", None, "write a plain SELECT … FROM …"
                )
            ]
        return BoundQuery(sql, described, dict(_origins(node, again))), []


class _EmptyTables:
    """Empty copies of tables in an engine of their own; answers what `repeatable.Tables` asks."""

    @a_working_directory()
    def __init__(self, schema: Mapping[str, Sequence[Column]], readers: Relations | None = None) -> None:
        self.con = sealed()
        for name, columns in schema.items():
            listed = ", ".join(f"NULL::{column.type} AS {quote_ident(column.name)}" for column in columns)
            # A view, so that there is no rowid.
            view = f"CREATE VIEW {quote_ident(name)} AS SELECT {listed or 'NULL AS nothing'} WHERE false"
            self.con.execute(view).fetchall()
        for name, relations in (readers or {}).items():
            self._as_written(name, [one for one in relations if f"{name}.{one}" in schema])

    def _as_written(self, name: str, relations: Sequence[str]) -> None:
        """The relations of a reader under the names that a query gives them."""
        if relations:
            self.con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_ident(name)}").fetchall()
        for one in relations:
            own = quote_ident(f"{name}.{one}")
            view = f"{quote_ident(name)}.{quote_ident(one)} AS FROM main.{own}"
            self.con.execute(f"CREATE VIEW IF NOT EXISTS {view}").fetchall()
            self.con.execute(
                f"CREATE VIEW IF NOT EXISTS main.{quote_ident(name)} AS FROM main.{own}"
            ).fetchall()

    def __enter__(self) -> _EmptyTables:
        return self

    def __exit__(self, *exc: object) -> None:
        self.con.close()

    def described(self, text: str) -> tuple[Column, ...]:
        """The columns of a query, with names as it gives them. Raises duckdb.Error, with positions in it."""
        rows = self.con.execute(f"{_DESCRIBE}{text}\n)").fetchall()
        return tuple(Column(str(row[0]), str(row[1])) for row in rows)

    def columns(self, query: Node) -> list[str] | None:
        import duckdb

        try:
            return [column.name for column in self.described(write(self.con, query))]
        except duckdb.Error:
            return None

    def sum_type(self, root: Node, call: Node) -> str:
        import duckdb

        # No sum takes a struct, and the engine says of which type it was.
        given = arguments(call)
        if len(given) != 1:
            return ""
        probe = expression_of(self.con, "struct_pack(metaferry_probe := 1)")
        (inner,) = arguments(probe)
        name = inner.get("alias", "")
        set_arguments(probe, [{**given[0], "alias": name}])
        if "arguments" in probe:
            probe["arguments"][0]["name"] = "metaferry_probe"
        try:
            set_arguments(call, [probe])
            self.described(write(self.con, root))
        except duckdb.Error as error:
            match = _PROBED.search(str(error).replace('\\"', '"'))
            return match[1] if match else ""
        finally:
            set_arguments(call, given)
        return ""

    def text(self, expression: Node) -> str:
        return write_expression(self.con, expression)

    def expression(self, text: str) -> Node:
        return expression_of(self.con, text)


_PROBED: Final = re.compile(r'sum\(STRUCT\("?metaferry_probe"? ([^)]*\)|[^)]*)\)\)')


def _without_end(text: str) -> str:
    """A statement without the semicolon that ends it, and without what follows that."""
    import duckdb

    ends = [start for start, kind in duckdb.tokenize(text) if str(kind).endswith("operator")]
    encoded = text.encode()
    end = next((start for start in ends if encoded[start : start + 1] == b";"), len(encoded))
    return encoded[:end].decode()


def _rename(node: Node, names: Mapping[str, str]) -> None:
    """Other names for the tables, under which no planner's table can be met; columns see the old ones."""
    known = {folded(name): new for name, new in names.items()}
    for part in seal.base_tables(node, frozenset()):
        new = known[folded(str(part["table_name"]))]
        part["alias"] = part.get("alias") or part["table_name"]
        part["table_name"] = new
        if "qualified_name" in part:
            part["qualified_name"] = {"path": [new]}


def _origins(node: Any, again: Any) -> Iterable[tuple[int, int]]:
    """Positions in the SQL with those in the text, of two trees of one shape."""
    if isinstance(node, dict) and isinstance(again, dict):
        old, new = at(node), at(again)
        if old is not None and new is not None:
            yield new, old
        for key in node.keys() & again.keys():
            yield from _origins(node[key], again[key])
    elif isinstance(node, list) and isinstance(again, list):
        for one, other in zip(node, again, strict=False):
            yield from _origins(one, other)


def _in_order(faults: Iterable[Fault]) -> list[Fault]:
    unique = dict.fromkeys(faults)
    return sorted(unique, key=lambda fault: (fault.at is None, fault.at or 0, fault.message))


def _syntax(text: str, tree: Node) -> Fault:
    position = int(tree["position"]) if str(tree.get("position", "")).isdigit() else None
    message = str(tree.get("error_message", "it is no SQL"))
    if message.startswith("Only SELECT"):
        if re.search(r"\bpivot\b", text, re.IGNORECASE):
            return Fault(seal.PIVOT[0], None, seal.PIVOT[1])
        return Fault("this is no query", None, "write one SELECT over the tables of the job")
    if position is not None and position >= len(text.rstrip().encode()):
        return Fault("the query is not complete", position)
    return Fault(message, position, _quoting(text, position))


def _quoting(text: str, position: int | None) -> str:
    """The advice for words that are none of a name: keywords, and two words beside each other."""
    if position is None:
        return ""
    words = _words(text)
    here = next((n for n, word in enumerate(words) if word[0] == position), None)
    if here is None:
        return ""
    near = [words[n] for n in (here, here - 1) if n >= 0]
    for _, word, kind in near:
        if kind == "keyword" and word.lower() not in _STRUCTURE:
            return f'if {word} is a column, write "{word}"'
    for second in (here, here - 1):
        if second > 0 and words[second][2] == words[second - 1][2] == "identifier":
            both = f"{words[second - 1][1]} {words[second][1]}"
            return f'if {both} is a column, write "{both}"'
    return ""


#: Words that begin a part of a query: where one of them is met, the word before it is what is wrong.
_STRUCTURE: Final = frozenset({"select", "from", "where", "having", "limit", "union", "with", "as"})


def _words(text: str) -> list[tuple[int, str, str]]:
    """Position in bytes, text and kind of each word."""
    import duckdb

    found = []
    for start, kind in duckdb.tokenize(text):
        rest = text.encode()[start:].decode(errors="ignore")
        match = re.match(r"\w+", rest)
        found.append((start, match[0] if match else rest[:1], str(kind).rpartition(".")[2]))
    return found


def _misfit(error: duckdb.Error, known: Collection[str]) -> Fault:
    message, position = plain_message(error)
    place = None if position is None else position - len(_DESCRIBE)
    missing = _named(error)
    quoted = [name for name in known if missing and name.lower().startswith(f"{missing.lower()} ")]
    absent = bool(_ABSENT.search(str(error)))
    if quoted:
        return Fault(message, place, f"write {quote_ident(quoted[0])}, with its quotes", absent)
    near = nearest(missing, list(known)) if missing else []
    advice = f"did you mean {' or '.join(map(written, near))}?" if near else ""
    if missing and not near and message.startswith("Referenced column"):
        advice = f"where it is text, write {quote_text(missing)}, in single quotes"
    return Fault(message, place, advice, absent)


#: What the engine says of a name that is not there.
_ABSENT: Final = re.compile(
    "COLUMN_NOT_FOUND|does not have a column named|does not exist on (left|right) side of join|"
    "in (EXCLUDE|REPLACE|RENAME) list not found|Referenced table .* not found"
)


def _named(error: duckdb.Error) -> str:
    try:
        reported = json.loads(str(error).partition(": ")[2])
    except ValueError:
        return ""
    return str(reported.get("name", "")) if isinstance(reported, dict) else ""
