"""Loading a query: its tables as views of what was staged, and its result as the rows of a source.

What follows a query knows plain staged rows only: the mapping reads its columns as key paths. The views have
other names than the job gives its tables, so that a query meets no table of the planner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from metaferry.job.sources import FrameColumn, Source, key_paths
from metaferry.tables.binding import plain_message
from metaferry.tables.expressions import sealed
from metaferry.tables.failures import of_the_engine
from metaferry.tables.load import shown_columns
from metaferry.tables.mapping import Mapping, Origins, build_records, is_nested, nowhere, parse_mapping
from metaferry.tables.model import FILE, OURS, ROW, Column, Frames, Loaded, Reading, Staged, TableFile, folded
from metaferry.tables.query.faults import QueryText
from metaferry.tables.query.interruptible import run_interruptible
from metaferry.tables.query.prepare import BoundQuery, ParsedQuery, bind_query
from metaferry.tables.query.tree import Fault
from metaferry.tables.staging import Findings, own_names, plain_rows, quote_ident, rows_of

if TYPE_CHECKING:
    import duckdb

_FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})
_NOTHING: Final = '"NULL"'


@dataclass(frozen=True, slots=True)
class Relation:
    """A table of the job that queries read: its view in the engine, and the columns of that."""

    name: str
    view: str
    columns: tuple[Column, ...]
    names: tuple[str, ...]  # all columns of the files
    read: int
    malformed: int
    reading: Reading
    #: Whether a column may be a struct, of which nothing says so, and whose fields a query may name.
    hides_fields: bool = False
    #: Whether its types are known without rows too.
    is_typed: bool = False

    @property
    def is_empty(self) -> bool:
        """Without rows, so that nobody can tell the types of its columns."""
        return self.read == self.malformed and not self.is_typed


Relations: TypeAlias = MappingOf[str, Relation]


def make_relation(
    con: duckdb.DuckDBPyConnection, name: str, number: int | str, staged: Staged, named: Collection[str]
) -> Relation:
    """The view of a staged table. `named` are the columns that queries want of one without any."""
    view = f"relation_{number}"
    columns, hides_fields = staged.columns, False
    if staged.read == staged.malformed and not staged.is_typed:
        is_text = staged.reading.format in ("csv", "tsv")
        hides_fields = not is_text and any(column.type == _NOTHING for column in columns)
        # Fields are names, as columns are; all other types may be others on a day that has rows.
        columns = tuple(
            column if is_nested(column.type) else Column(column.name, _NOTHING) for column in columns
        ) or tuple(Column(one, _NOTHING) for one in sorted(named))
        listed = ", ".join(f"NULL::{column.type} AS {quote_ident(column.name)}" for column in columns)
        source = f"SELECT {listed or 'NULL AS nothing'} WHERE false"
    else:
        listed = ", ".join(_given(column) for column in columns)
        source = f"SELECT {listed or 'NULL AS nothing'} FROM ({staged.relation('')}) r"
    con.execute(f"CREATE VIEW {view} AS {source}").fetchall()
    return Relation(
        name,
        view,
        columns,
        staged.names,
        staged.read,
        staged.malformed,
        staged.reading,
        hides_fields,
        staged.is_typed,
    )


def _given(column: Column) -> str:
    """A column as queries see it: 0.0 and -0.0, which are equal, are the same."""
    name = quote_ident(column.name)
    return f"{name} + 0::{column.type} AS {name}" if column.type in _FLOATS else name


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """A query that fits its tables, and the mapping of its result. `bound` None: a result without rows."""

    source: Source
    index: int
    text: QueryText
    mapping: Mapping
    bound: BoundQuery | None
    columns: tuple[Column, ...]

    @property
    def own(self) -> dict[str, str]:
        """The names that its columns have in the table of its result."""
        names = [column.name for column in self.columns]
        return dict(zip(names, own_names(len(names)), strict=True))

    def staged(self, table: str, rows: int) -> Staged:
        """The result as the mapping sees it."""
        return Staged(
            table=table,
            columns=self.columns,
            names=tuple(column.name for column in self.columns),
            files=(TableFile("", 0, "", rows),) if self.bound is not None else (),
            malformed=0,
            relation=rows_of(table, self.own),
            why_text=lambda name: "",
            plain=plain_rows(table, self.own),
            reading=Reading(name=self.source.label, format="query"),
        )


def ready_query(
    source: Source,
    index: int,
    query: ParsedQuery,
    text: QueryText,
    relations: Relations,
    origins: Origins = nowhere,
    *,
    frame_base: Literal[0, 1] = 0,
) -> ReadyQuery:
    """The query over its tables, before it is run. Raises JobError with all that does not fit.

    `frame_base`: what a column `frame` counts from, where the source says nothing of frames.
    """
    bound, columns = bound_columns(query, text, relations)
    if source.frame is None and "frame" in {folded(column.name) for column in columns}:
        source = source.model_copy(update={"frame": FrameColumn(value='"frame"', base=frame_base)})
    mapping = parse_mapping(source, f"sources[{index}]", origins)
    mapping = replace(mapping, key_paths=True, place=text.place)
    ready = ReadyQuery(source, index, text, mapping, bound, columns)
    if bound is not None:
        _try(ready)
    return ready


def bound_columns(
    query: ParsedQuery, text: QueryText, relations: Relations
) -> tuple[BoundQuery | None, tuple[Column, ...]]:
    """The query bound to its tables, and the columns of its result. Raises JobError with all that does not
    fit."""
    reads = {name: relations[name] for name in sorted(query.tables)}
    schema = {name: relation.columns for name, relation in reads.items()}
    views = {name: relation.view for name, relation in reads.items()}
    known = [name for relation in reads.values() for name in relation.names]
    bound, faults = bind_query(query, schema, views, known)
    if bound is None:
        faults = _certain(faults, query, reads)
        if faults:
            raise text.error(faults)
    # Over a table without rows nobody can tell what types the columns would have: there are no rows then.
    return bound, _checked(bound.columns, text) if bound is not None else ()


def _certain(faults: list[Fault], query: ParsedQuery, reads: Relations) -> list[Fault]:
    """The faults that are some on a day with rows too: of a table without any only the names are known."""
    empty = [relation for relation in reads.values() if relation.is_empty]
    if not empty:
        return faults
    if not all(relation.names for relation in empty):
        return []
    if any(relation.hides_fields for relation in empty) and _SPREAD.search(query.text):
        return []
    return [fault for fault in faults if fault.no_such_name]


#: What makes columns of the fields of a struct.
_SPREAD: Final = re.compile(r"\bunnest\b|\.\s*\*", re.IGNORECASE)


def _try(ready: ReadyQuery) -> None:
    """Makes the records of an empty result: a query that takes an hour should not fail after it."""
    con = sealed()
    try:
        listed = [f"{ready.own[column.name]} {column.type}" for column in ready.columns]
        con.execute(f"CREATE TABLE empty ({FILE} INTEGER, {ROW} BIGINT, {', '.join(listed)})").fetchall()
        build_records(
            con,
            ready.staged("empty", 0),
            ready.mapping,
            table="records",
            source="the query",
            findings=Findings(con, ready.source.label),
        )
    finally:
        con.close()


def load_query(con: duckdb.DuckDBPyConnection, ready: ReadyQuery, progress: Callable[[int], None]) -> Loaded:
    """The result of a query as the table `source_{index}`; see `Loaded` for its columns.

    Its rows have no lines: `row` is a number that means nothing beyond the run. Raises JobError for a value
    that fails in the query.
    """
    source, staging, table = ready.source, f"staged_{ready.index}", f"source_{ready.index}"
    try:
        rows = stage_query(con, staging, ready, progress) if ready.bound is not None else 0
        staged = ready.staged(staging, rows)
        staged = replace(staged, reading=replace(staged.reading, columns=shown_columns(con, staged)))
        findings = Findings(con, source.label)
        records = build_records(
            con, staged, ready.mapping, table=table, source="the query", findings=findings
        )
        findings.flush()
        ((kept,),) = con.execute(f"SELECT count(*) FROM {table}").fetchall()
    except BaseException:
        con.execute(f"DROP TABLE IF EXISTS {staging}").fetchall()
        raise
    if not records.is_view:
        con.execute(f"DROP TABLE IF EXISTS {staging}").fetchall()
    return Loaded(
        label=source.label,
        table=table,
        files=staged.files,
        read=rows,
        malformed=0,
        keys=records.keys,
        has_frame=ready.mapping.frame is not None,
        reading=staged.reading,
        filtered=rows - kept,
        file_name=source.file_name,
        match=source.match,
        frames=ready.mapping.frame.frames if ready.mapping.frame is not None else Frames(),
        is_query=True,
    )


def stage_query(
    con: duckdb.DuckDBPyConnection,
    table: str,
    ready: ReadyQuery,
    progress: Callable[[int], None],
) -> int:
    """The result of the query as a table with `FILE` and `ROW`; how many rows it has."""
    import duckdb

    bound = ready.bound
    assert bound is not None  # whoever has none has no rows
    plain = list(ready.own.values())
    before = (
        f"CREATE TABLE {table} AS SELECT 0::INTEGER AS {FILE}, row_number() OVER () AS {ROW}, "
        f"{', '.join(plain)} FROM ("
    )
    try:
        run_interruptible(con, f"{before}{bound.sql}) AS q({', '.join(plain)})", lambda: progress(0))
    except of_the_engine():
        raise
    except duckdb.Error as error:
        message, _ = plain_message(error)
        at = _failed_at(str(error), bound, ready.text)
        advice = "try_cast(… AS …) and try(…) give null where a value does not fit"
        raise ready.text.error([Fault(message, at, advice)]) from error
    ((rows,),) = con.execute(f"SELECT count(*) FROM {table}").fetchall()
    progress(int(rows))
    return int(rows)


def _failed_at(error: str, bound: BoundQuery, text: QueryText) -> int | None:
    """Where a value failed, in bytes of the text, as far as the engine's message tells."""
    shown = _SHOWN.search(error)
    if shown is not None:
        lead, snippet, blanks = shown.groups()
        start = bound.sql.find(snippet.removesuffix("..."))
        if start >= 0:
            within = len(blanks) - len("LINE 1: ") - len(lead or "")
            return bound.origin(len(bound.sql[: start + max(within, 0)].encode()))
    column = _COLUMN.search(error)
    if column is not None:
        name = re.escape(column[1])
        cast = re.search(rf'"?\b{name}\b"?\s*::|\bcast\s*\(\s*"?{name}\b', text.text, re.IGNORECASE)
        return len(text.text[: cast.start()].encode()) if cast else text.find(column[1])
    return None


_SHOWN: Final = re.compile(r"^LINE \d+: (\.\.\.)?(.*)\n( *)\^", re.MULTILINE)
_COLUMN: Final = re.compile(r"when casting from source column (.+?)\s*$", re.MULTILINE)


def _checked(columns: Sequence[Column], text: QueryText) -> tuple[Column, ...]:
    """The columns of a result, where each is a key path that no other one stands in the way of."""
    seen: dict[str, str] = {}
    for column in columns:
        if folded(column.name).startswith(OURS):
            raise text.error(
                [Fault(f"a column cannot be called {column.name!r}", None, "give it another name")]
            )
        other = seen.get(column.name.casefold())
        seen[column.name.casefold()] = column.name
        if other is not None:
            both = (
                f'two columns of the query are called "{column.name}"'
                if other == column.name
                else f'the columns "{other}" and "{column.name}" differ in letter case only'
            )
            raise text.error([Fault(both, text.find(column.name), "give one of them another name with AS")])
    try:
        key_paths(name for name in seen.values() if name not in ("file_name", "frame"))
    except ValueError as error:
        raise text.error([Fault(str(error), None, "name the column otherwise with AS")]) from None
    return tuple(columns)
