"""The job's mapping over a staged table: records, in the table that the planner reads.

Every expression is checked and typed before a row is touched. Nested values are parted into their
leaf key paths, so that what follows knows plain columns only. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from metaferry.errors import JobError
from metaferry.job.places import TextPlace
from metaferry.job.sources import Source
from metaferry.lightly.key_paths import RESERVED_PREFIX, column_is_ambiguous, split_path
from metaferry.tables.binding import Binder
from metaferry.tables.csv.cells import as_text, name_nulls
from metaferry.tables.csv.column_types import NULL_WORDS
from metaferry.tables.expressions import Expression, Reference, parse_expression, parser
from metaferry.tables.failures import execute
from metaferry.tables.faults import Collected
from metaferry.tables.model import FILE, ROW, KeyColumn, Staged, folded
from metaferry.tables.records.frames import INTEGERS, FrameMapping, frame_columns, parse_frame
from metaferry.tables.records.leaves import leaves, unfit
from metaferry.tables.staging import Findings, check_width, quote_ident, quote_text

if TYPE_CHECKING:
    import duckdb


#: Where the job file has the text under a key of the source, such as `metadata.speed`.
Origins: TypeAlias = Callable[[str], TextPlace | None]


def nowhere(key: str) -> None:
    """The origins of a job that comes from no file."""


@dataclass(frozen=True, slots=True)
class Records:
    """The key columns of a table of records. `is_view`: it reads the staged table, which has to stay."""

    keys: tuple[KeyColumn, ...]
    is_view: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """The expressions of a source. `values` is None where all other columns are taken."""

    where: Expression | None
    file_name: Expression
    frame: FrameMapping | None
    values: tuple[tuple[tuple[str, ...], Expression], ...] | None
    place: str
    #: Whether the names of the columns that are taken are key paths, as those of a query are.
    key_paths: bool = False
    origins: Origins = nowhere

    @property
    def used(self) -> frozenset[str] | None:
        """The columns that any expression names, as `folded` gives them; None for all there are."""
        if self.values is None:
            return None
        tested = self.where.columns if self.where else frozenset()
        return self.located.union(tested, *(expression.columns for _, expression in self.values))

    @property
    def located(self) -> frozenset[str]:
        """The columns that say what a row is about."""
        return self.file_name.columns | (self.frame.columns if self.frame else frozenset())


def parse_mapping(source: Source, place: str, origins: Origins = nowhere) -> Mapping:
    """The mapping of a source, its form checked. Raises JobError below `place`, such as `sources[0]`."""
    faults = Collected()

    with parser() as con:

        def parsed(text: str, where: str) -> Expression:
            try:
                return parse_expression(text, f"{place}.{where}", con, origins(where))
            except JobError as error:
                faults.add(error)
                return Expression(text, f"{place}.{where}")

        mapping = Mapping(
            where=parsed(source.where, "where") if source.where is not None else None,
            file_name=parsed(source.file_name, "file_name"),
            frame=parse_frame(source.frame, parsed) if source.frame else None,
            # The keys themselves were checked with the job.
            values=tuple(
                (split_path(key), parsed(text, f"metadata.{key}")) for key, text in source.expressions.items()
            )
            if source.expressions is not None
            else None,
            place=place,
            origins=origins,
        )
    faults.raise_all()
    return mapping


def build_records(
    con: duckdb.DuckDBPyConnection,
    staged: Staged,
    mapping: Mapping,
    *,
    table: str,
    source: str,
    findings: Findings,
    texts: Collection[str] = (),
) -> Records:
    """Makes `table` as `Loaded` describes it, of the rows that `where` lets through.

    Where every expression is a column it is a view, and the rows are written once.

    `texts` are the dotted key paths whose schema entries want text: a column of a text table that is mapped
    to one as it stands is read as text, whatever its cells look like.

    Raises JobError for an expression that does not fit the table, a value that no document can
    hold, and a row for which an expression fails. Key paths never collide here: the job has compared
    those of a mapping, and fields only lengthen the path of their own.
    """
    if staged.is_empty:
        return Records(_build_empty(con, mapping, table))
    if _has_no_types(staged, mapping):
        taken_all = mapping.values if mapping.values is not None else tuple(_all_values(staged, mapping))
        return Records(_build_empty(con, replace(mapping, values=taken_all), table))
    binder = Binder(
        staged.columns,
        staged.names,
        staged.why_text,
        source,
        cells=staged.cells,
        nulls=staged.nulls,
        words=NULL_WORDS,
    )
    try:
        values = _all_values(staged, mapping) if mapping.values is None else list(mapping.values)
        values = [
            (path, binder.over_cells(as_text(path, expression, staged, texts, findings)))
            for path, expression in values
        ]
        name = binder.over_cells(mapping.file_name)
        frame = mapping.frame
        if frame is not None:
            frame = replace(frame, ends=tuple(map(binder.over_cells, frame.ends)))
        where = binder.over_cells(mapping.where) if mapping.where else None
        mapping = replace(mapping, file_name=name, frame=frame, where=where)
        faults, frames = Collected(), list[str]()
        with faults.one():
            _check_where(binder, where)
        with faults.one():
            name_type = binder.type_of(mapping.file_name)
            if unfit(name_type) or is_nested(name_type):
                raise mapping.file_name.fault(
                    f"a file name cannot be {name_type}",
                    advice=f"where the bytes are text, write decode({mapping.file_name.text})"
                    if name_type == "BLOB"
                    else "give it as text",
                )
        with faults.one():
            frames = frame_columns(frame, binder)
        taken: list[tuple[tuple[str, ...], str, str]] = []  # path, SQL over the columns below, type
        for number, (path, expression) in enumerate(values):
            with faults.one():
                taken.extend(_leaves(path, f"e{number}", binder.type_of(expression), expression, mapping))
            check_width(len(taken), source, mapping.file_name.place)
        faults.raise_all()
    finally:
        binder.close()
    ends = frame.ends if frame else ()
    expressions = [mapping.file_name, *ends]
    expressions += [expression for _, expression in values]
    kept = f" WHERE ({where.sql})" if where else ""
    inner = [f"({mapping.file_name.sql}) AS f"]
    inner += [f"({end.sql}) AS g{number}" for number, end in enumerate(ends)]
    inner += [f"({expression.sql}) AS e{number}" for number, (_, expression) in enumerate(values)]
    outer = [f'{FILE} AS file, {ROW} AS "row", f::VARCHAR AS file_name', *frames]
    outer += [f"{sql} AS k{number}" for number, (_, sql, _) in enumerate(taken)]
    computed = kept or frame is not None or not all(map(_is_column, expressions))
    is_view = bool(staged.plain) and not computed
    if is_view:
        con.execute(
            f"CREATE VIEW {quote_ident(table)} AS SELECT rowid, {', '.join(outer)} FROM "
            f"(SELECT rowid, {FILE}, {ROW}, {', '.join(inner)} FROM ({staged.plain}) r) s"
        ).fetchall()
    else:
        statement = (
            f"CREATE TABLE {quote_ident(table)} AS SELECT {', '.join(outer)} FROM "
            f"(SELECT {FILE}, {ROW}, {', '.join(inner)} FROM ({staged.relation('')}) r{kept}) s"
        )
        execute(con, statement, staged, expressions, where)
    described = {row[0]: row[1] for row in con.execute(f"DESCRIBE {quote_ident(table)}").fetchall()}
    name_nulls(staged, [*expressions, *([where] if where else [])], findings)
    cells = {path: expression.plain_column for path, expression in values if staged.cells}
    mixed = _mixed(staged, values, [path for path, _, _ in taken])
    keys = tuple(
        KeyColumn(path, f"k{number}", described[f"k{number}"], cells.get(path, ""), *mixed.get(path, ()))
        for number, (path, _, _) in enumerate(taken)
    )
    return Records(keys, is_view)


def _mixed(
    staged: Staged,
    values: Sequence[tuple[tuple[str, ...], Expression]],
    paths: Sequence[tuple[str, ...]],
) -> dict[tuple[str, ...], tuple[str, str]]:
    """Why values of JSON are text where they are of several kinds, and the SQL of the key, by path."""
    if staged.reading.format not in ("json", "jsonl"):
        return {}
    columns = {path: expression.plain_column for path, expression in values if expression.plain_column}
    found = {}
    for path in paths:
        own = next((path[:count] for count in range(len(path), 0, -1) if path[:count] in columns), ())
        if own and (why := staged.why_text(columns[own], *path[len(own) :])):
            found[path] = why, ".".join(map(quote_ident, (columns[own], *path[len(own) :])))
    return found


def _is_column(expression: Expression) -> bool:
    return bool(expression.plain_column) and not expression.over_cells


def _check_where(binder: Binder, where: Expression | None) -> None:
    """Raises JobError for a condition that is neither true nor false."""
    if where is None:
        return
    kind = binder.type_of(where)
    if kind != "BOOLEAN":
        raise where.fault(
            f"a condition is true or false, and this is {kind}",
            advice=f"compare it with something, such as ({where.text}) <> 0"
            if kind in INTEGERS
            else "compare it with something, such as quality > 0.5",
        )


def _check_reserved(path: tuple[str, ...], place: str) -> None:
    if path[0].startswith(RESERVED_PREFIX):
        raise JobError(
            f"keys that begin with {RESERVED_PREFIX} are reserved: {path[0]}",
            place=place,
            advice="map the column to another key in metadata:",
        )


def _all_values(staged: Staged, mapping: Mapping) -> list[tuple[tuple[str, ...], Expression]]:
    return own_values((column.name for column in staged.columns), mapping)


def own_values(columns: Iterable[str], mapping: Mapping) -> list[tuple[tuple[str, ...], Expression]]:
    """Those of the columns that do not say what a row is about, each under its own name. Raises JobError for
    names that documents cannot have."""
    values: list[tuple[tuple[str, ...], Expression]] = []
    for name in columns:
        if folded(name) in mapping.located:
            continue
        itself = Reference((name,), 0)
        if mapping.key_paths:
            origin = mapping.origins("query")
            expression = Expression(quote_ident(name), mapping.place, (itself,), origin=origin)
            values.append((split_path(name), expression))
            continue
        if column_is_ambiguous(name):
            raise JobError(
                f"the column {name} has a name that would be read as a path",
                place=f"{mapping.place}.metadata",
                advice=f"map the columns that are wanted, such as key: {quote_ident(name)}",
            )
        _check_reserved((name,), f"{mapping.place}.metadata")
        key = f"metadata.{name}"
        place, origin = f"{mapping.place}.{key}", mapping.origins(key)
        values.append(((name,), Expression(quote_ident(name), place, (itself,), origin=origin)))
    return values


def _leaves(
    path: tuple[str, ...], value: str, kind: str, expression: Expression, mapping: Mapping
) -> list[tuple[tuple[str, ...], str, str]]:
    bad = unfit(kind)
    if bad:
        advice = (
            "cast it, for instance to VARCHAR"
            if mapping.values is not None or mapping.key_paths
            else "map the columns that are wanted in metadata:, and leave this one out"
        )
        if kind in _AS_VALUES:
            advice = f"{advice}; or write {_AS_VALUES[kind].format(expression.text)}"
        raise expression.fault(f"{'.'.join(path)} is {bad}, which a document cannot hold", advice=advice)
    found = []
    for below, leaf in leaves(kind):
        sql = value
        for step in below:
            if not step or column_is_ambiguous(step):
                raise expression.fault(
                    f"a field of {'.'.join(path)} is called {step!r}, which would be read as a path",
                    advice="map its fields one by one",
                )
            sql = f"struct_extract({sql}, {quote_text(step)})"
        found.append(((*path, *below), f"{sql}::VARCHAR" if leaf == '"NULL"' else sql, leaf))
    return found


#: What makes values of what a document cannot hold.
_AS_VALUES: Final = {"INTERVAL": "epoch({}) for its seconds", "BLOB": "decode({}) where the bytes are text"}


def is_nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP"))


def _has_no_types(staged: Staged, mapping: Mapping) -> bool:
    """Whether it is a text table without rows, whose columns nobody can tell a type of.

    An expression that is right on all other days would not fit them. One that names no column still does not.
    """
    if staged.read != staged.malformed or staged.reading.format not in ("csv", "tsv"):
        return False
    used = mapping.used if mapping.used is not None else mapping.located
    tested = mapping.where.columns if mapping.where else frozenset()
    return used | tested <= {folded(column.name) for column in staged.columns}


def _build_empty(con: duckdb.DuckDBPyConnection, mapping: Mapping, table: str) -> tuple[KeyColumn, ...]:
    """A table without rows; what its columns would hold nobody can tell, so they are text."""
    paths = [path for path, _ in mapping.values or ()]
    keys = tuple(KeyColumn(path, f"k{number}", "VARCHAR") for number, path in enumerate(paths))
    columns = ", ".join(
        [
            'file INTEGER, "row" BIGINT, file_name VARCHAR',
            "frame VARCHAR, frame_index BIGINT, frame_last BIGINT, frame_bad VARCHAR",
            "second_first DOUBLE, second_last DOUBLE",
            *(f"{key.column} VARCHAR" for key in keys),
        ]
    )
    con.execute(f"CREATE TABLE {quote_ident(table)} ({columns})").fetchall()
    return keys
