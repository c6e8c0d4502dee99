"""What a source of samples reads: files of a telemetry format, a table or a query; and starts in a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.job.sources import Source
from metaferry.storage.io.portal import Portal
from metaferry.tables.expressions import Expression
from metaferry.tables.files.find import StorageFor
from metaferry.tables.load import staged_table
from metaferry.tables.mapping import Mapping
from metaferry.tables.model import Staged, folded
from metaferry.tables.query.faults import QueryText
from metaferry.tables.query.load import ReadyQuery, Relations, bound_columns, stage_query
from metaferry.tables.query.prepare import ParsedQuery, parse_query
from metaferry.tables.query.qualify import Relations as Readers
from metaferry.tables.readers.source import ReaderSource
from metaferry.tables.readers.telemetry.columns import SAMPLES
from metaferry.tables.staging import quote_ident
from metaferry.tables.telemetry.instants import Clock, kind_of, unit_of, within
from metaferry.tables.telemetry.parsed import SampleMapping

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class SampleQueries:
    """The queries of a source of samples: for the samples themselves, and for starts from a table."""

    samples: tuple[ParsedQuery, QueryText] | None
    starts: tuple[ParsedQuery, QueryText] | None

    @property
    def all(self) -> list[tuple[ParsedQuery, QueryText]]:
        """Those that there are."""
        return [one for one in (self.samples, self.starts) if one is not None]


def parse_queries(job: Job, index: int, tables: list[str], readers: Readers) -> SampleQueries:
    """The queries of source number `index`, their form checked. Raises JobError."""
    source, place = job.sources[index], f"sources[{index}]"
    samples = starts = None
    if source.telemetry is not None and source.telemetry.query is not None:
        text = QueryText(
            source.telemetry.query, f"{place}.telemetry.query", job.places.of(index, "telemetry.query")
        )
        samples = _parsed(text, tables, readers), text
    start = source.start
    if start is not None and start.from_ == "table":
        known = [*tables, *(f"{name}.{one}" for name, own in readers.items() for one in own)]
        if start.table not in known:
            raise JobError(
                f"there is no table {start.table!r}",
                place=f"{place}.start.table",
                advice=f"tables: has {', '.join(known)}"
                if known
                else "name it in tables:, and here by that name",
            )
        table = ".".join(
            map(quote_ident, start.table.split(".", 1) if start.table not in tables else [start.table])
        )
        sql = f"SELECT ({start.video or 'video'}) AS video, ({start.column}) AS start FROM {table}"
        text = QueryText(sql, f"{place}.start", None)
        starts = _parsed(text, tables, readers), text
    return SampleQueries(samples, starts)


def _parsed(text: QueryText, tables: list[str], readers: Readers) -> ParsedQuery:
    query, faults = parse_query(text.text, tables, readers)
    if query is None:
        raise text.error(faults)
    return query


@contextlib.contextmanager
def staged_samples(
    con: duckdb.DuckDBPyConnection,
    job: Job,
    index: int,
    mapping: SampleMapping,
    queries: SampleQueries,
    relations: Relations,
    *,
    find: Callable[[], ReaderSource],
    storage_for: StorageFor,
    portal: Portal,
    progress: Callable[[int], None],
) -> Iterator[Staged]:
    """The rows of the samples, for one block. Raises what reading them raises."""
    source, name = job.sources[index], f"sampled_{index}"
    label = source.label
    if queries.samples is not None:
        ready = _ready(source, index, *queries.samples, relations)
        rows = stage_query(con, name, ready, progress) if ready.bound is not None else 0
        try:
            yield ready.staged(name, rows)
        finally:
            con.execute(f"DROP TABLE IF EXISTS {name}").fetchall()
    elif (table := source.sample_table) is not None:
        with staged_table(
            con,
            table,
            name=name,
            label=label,
            used=mapping.used,
            storage_for=storage_for,
            portal=portal,
            place=f"sources[{index}].telemetry.table",
            progress=progress,
            allow_none=job.policy.allow_empty,
        ) as staged:
            yield staged
    else:
        found = find()
        relation = SAMPLES if SAMPLES in found.reader.relations else found.reader.relations[0]
        wanted = {relation: mapping.used}
        with found.staged(con, found.open(), wanted, table=name, label=label) as tables:
            yield tables[relation]


def _ready(
    source: Source, index: int, query: ParsedQuery, text: QueryText, relations: Relations
) -> ReadyQuery:
    bound, columns = bound_columns(query, text, relations)
    nothing = Mapping(None, Expression("NULL", text.place), None, None, text.place)
    return ReadyQuery(source, index, text, nothing, bound, columns)


def stated_starts(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    index: int,
    queries: SampleQueries,
    relations: Relations,
    progress: Callable[[int], None],
) -> str:
    """The table `(name, value)` of starts that a table states, in nanoseconds; "" for other kinds of start.

    Raises JobError for times whose unit or zone is not known.
    """
    if queries.starts is None or source.start is None:
        return ""
    query, text = queries.starts
    ready, table = _ready(source, index, query, text, relations), f"stated_{index}"
    con.execute(f"CREATE TABLE {table} (name VARCHAR, value BIGINT)").fetchall()
    if ready.bound is None:
        return table
    raw = f"stated_{index}_read"
    stage_query(con, raw, ready, progress)
    staged = ready.staged(raw, 0)
    ((kind,),) = [[column.type] for column in staged.columns if folded(column.name) == "start"]
    unit, zone, place = source.start.unit, source.start.zone, f"{text.place}.column"
    if kind_of(kind) is None:
        raise JobError(f"a start cannot be {kind}", place=place, advice="give a timestamp, text, or a number")
    video, start = (quote_ident(ready.own[column.name]) for column in ready.columns)
    if kind_of(kind) == "number" and unit is None:
        ((least, most),) = con.execute(
            f"SELECT min({start})::DOUBLE, max({start})::DOUBLE FROM {raw}"
        ).fetchall()
        unit = "s" if least is None else unit_of(least, most)
        if unit is None:
            raise JobError(
                f"the starts are numbers from {least:.15g} to {most:.15g}, which may be in several units",
                place=text.place,
                advice="state it: start: {…, unit: s}, or ms, us, ns",
            )
    if kind_of(kind) == "clock" and zone is None:
        raise JobError(
            "the starts in the table say no zone", place=text.place, advice="say it: start: {…, zone: UTC}"
        )
    value = within(Clock(kind, unit, zone).sql(start))
    con.execute(
        f"INSERT INTO {table} SELECT regexp_replace({video}::VARCHAR, '^(\\./|/)+', ''), {value} FROM {raw}"
    ).fetchall()
    con.execute(f"DROP TABLE {raw}").fetchall()
    return table
