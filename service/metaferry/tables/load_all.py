"""All sources of a job, and the tables that its queries read, from files to records in the engine.

Every expression and query is checked for its form before anything is read, and all faults are told at once. A
table that several queries read is staged once, with the columns that any of them names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.progress import Progress
from metaferry.storage.io.portal import Portal
from metaferry.tables.faults import Collected
from metaferry.tables.files.find import StorageFor
from metaferry.tables.load import load_source, staged_table
from metaferry.tables.mapping import parse_mapping
from metaferry.tables.model import Loaded, Reading, Staged, folded
from metaferry.tables.query.faults import QueryText
from metaferry.tables.query.load import Relation, load_query, make_relation, ready_query
from metaferry.tables.query.prepare import ParsedQuery, parse_query
from metaferry.tables.query.qualify import Relations as Readers
from metaferry.tables.readers.media_access import MediaAccess
from metaferry.tables.readers.source import ReaderSource, find_source, load_reader_source
from metaferry.tables.telemetry.account import JoinedSource
from metaferry.tables.telemetry.load import JoinedLoaded, load_samples
from metaferry.tables.telemetry.parsed import SampleMapping, parse_samples
from metaferry.tables.telemetry.sources import (
    SampleQueries,
    parse_queries,
    staged_samples,
    stated_starts,
)

if TYPE_CHECKING:
    import duckdb


_Query: TypeAlias = tuple[ParsedQuery, QueryText]


@dataclass(frozen=True, slots=True)
class LoadedJob:
    """The sources of a job in their order, and the tables that queries read."""

    sources: list[Loaded]
    relations: list[Relation]
    joined: list[JoinedSource] = field(default_factory=list)  # of the sources that are joined by time

    @property
    def readings(self) -> list[Reading]:
        """How everything was read: the tables of queries, then the sources."""
        sources = [source.reading for source in self.sources if source.frames.kind != "joined"]
        return [*(one.reading for one in self.relations), *sources]


def load_all(
    con: duckdb.DuckDBPyConnection,
    job: Job,
    *,
    storage_for: StorageFor,
    portal: Portal,
    progress: Progress,
    media: MediaAccess | None = None,
    texts: Collection[str] = (),
) -> LoadedJob:
    """The sources as `source_i`, as `load_source` and `load_query` make them; these raise what it raises."""
    find = partial(
        find_source, job, storage_for=storage_for, portal=portal, progress=progress.advance, media=media
    )
    readers = {
        name: find(table.given, f"tables.{name}")
        for name, table in job.tables.items()
        if table.given is not None and _may_be_read(name, job)
    }
    relations_of = {name: each.reader.relations for name, each in readers.items()}
    queries, samples = _parsed(job, relations_of)
    every = [*queries.values(), *(query for one in samples.values() for query in one.queries.all)]
    with contextlib.ExitStack() as stack:
        staged: dict[str, Staged] = {}
        for number, name in enumerate(_needed(job, every)):
            progress.phase(f"Reading {name}", None)
            if name in readers:
                staged |= stack.enter_context(_relations(con, readers[name], name, number, every))
                continue
            staged[name] = stack.enter_context(
                _staged(con, job, name, number, every, storage_for, portal, progress)
            )
        relations = {
            name: make_relation(con, name, number, one, _wanted(name, staged, every))
            for number, (name, one) in enumerate(staged.items())
        }
        ready, faults = {}, Collected()
        for index, (query, text) in queries.items():
            with faults.one():
                origins = partial(job.places.of, index)
                ready[index] = ready_query(job.sources[index], index, query, text, relations, origins)
        faults.raise_all()
        sources, parts, joined = [], list[Relation](), list[JoinedSource]()
        for index, source in enumerate(job.sources):
            if index in ready:
                progress.phase(f"Running {source.label}", None)
                loaded = load_query(con, ready[index], progress.advance)
            elif index in samples:
                progress.phase(f"Reading {source.label}", None)
                one = _joined(
                    con,
                    job,
                    index,
                    samples[index],
                    relations,
                    partial(find, source.given, f"sources[{index}]"),
                    media,
                    storage_for,
                    portal,
                    progress,
                )
                loaded = one.loaded
                parts.append(one.samples)
                joined.append(one.account)
            elif source.given is not None:
                progress.phase(f"Reading {source.label}", None)
                found = find(source.given, f"sources[{index}]")
                origins = partial(job.places.of, index)
                loaded, more = load_reader_source(
                    con, source, found, index=index, texts=texts, origins=origins
                )
                parts += more
            else:
                progress.phase(f"Reading {source.label}", None)
                loaded = load_source(
                    con,
                    source,
                    index=index,
                    storage_for=storage_for,
                    portal=portal,
                    progress=progress.advance,
                    allow_none=job.policy.allow_empty,
                    texts=texts,
                    origins=partial(job.places.of, index),
                )
            sources.append(loaded)
    return LoadedJob(sources, [*relations.values(), *parts], joined)


def _may_be_read(name: str, job: Job) -> bool:
    """Whether a query may read a table: one that none names is not looked for."""
    texts = [source.query for source in job.sources]
    texts += [source.telemetry.query for source in job.sources if source.telemetry is not None]
    texts += [source.start.table for source in job.sources if source.start is not None]
    return any(folded(name) in folded(text) for text in texts if text is not None)


@dataclass(frozen=True, slots=True)
class _Samples:
    """What a source of samples says, its form checked."""

    mapping: SampleMapping
    queries: SampleQueries


def _joined(
    con: duckdb.DuckDBPyConnection,
    job: Job,
    index: int,
    samples: _Samples,
    relations: Mapping[str, Relation],
    find: Callable[[], ReaderSource],
    media: MediaAccess | None,
    storage_for: StorageFor,
    portal: Portal,
    progress: Progress,
) -> JoinedLoaded:
    """A source of samples, joined to the frames of the media."""
    source = job.sources[index]
    if media is None:
        raise JobError(
            f"{source.label} is joined to the frames of media, and there are none here",
            place=f"sources[{index}]",
        )
    with staged_samples(
        con,
        job,
        index,
        samples.mapping,
        samples.queries,
        relations,
        find=find,
        storage_for=storage_for,
        portal=portal,
        progress=progress.advance,
    ) as staged:
        stated = stated_starts(con, source, index, samples.queries, relations, progress.advance)
        return load_samples(
            con, source, samples.mapping, staged, index=index, media=media, stated=stated, progress=progress
        )


@contextlib.contextmanager
def _relations(
    con: duckdb.DuckDBPyConnection,
    source: ReaderSource,
    name: str,
    number: int,
    queries: Collection[_Query],
) -> Iterator[dict[str, Staged]]:
    """The relations of a table that queries read, by their names in FROM."""
    read = {table for query, _ in queries for table in query.tables}
    wanted = {
        relation: _named(f"{name}.{relation}", queries)
        for relation in source.reader.relations
        if f"{name}.{relation}" in read
    }
    with source.staged(con, source.open(), wanted, table=f"table_{number}", label=name) as staged:
        yield {f"{name}.{relation}": one for relation, one in staged.items()}


def _parsed(job: Job, readers: Readers) -> tuple[dict[int, _Query], dict[int, _Samples]]:
    """The queries, and the sources of samples, by the number of their source. Raises JobError with the faults
    of all expressions."""
    faults = Collected()
    queries: dict[int, _Query] = {}
    samples: dict[int, _Samples] = {}
    plain = [name for name, table in job.tables.items() if table.given is None]
    for index, source in enumerate(job.sources):
        if source.telemetry is not None:
            with faults.one():
                mapping = parse_samples(source, f"sources[{index}]", partial(job.places.of, index))
                samples[index] = _Samples(mapping, parse_queries(job, index, plain, readers))
            continue
        with faults.one():
            parse_mapping(source, f"sources[{index}]", partial(job.places.of, index))
        if source.query is None:
            continue
        text = _text(job, index, source.query)
        with faults.one():
            query, found = parse_query(source.query, plain, readers)
            if query is None:
                raise text.error(found)
            queries[index] = query, text
    faults.raise_all()
    return queries, samples


def _text(job: Job, index: int, query: str) -> QueryText:
    return QueryText(query, f"sources[{index}].query", job.places.of(index, "query"))


def _needed(job: Job, queries: Collection[_Query]) -> list[str]:
    read = {name for query, _ in queries for name in query.tables}
    of_readers = {name.partition(".")[0] for name in read}
    return [
        name for name, table in job.tables.items() if name in (read if table.given is None else of_readers)
    ]


@contextlib.contextmanager
def _staged(
    con: duckdb.DuckDBPyConnection,
    job: Job,
    name: str,
    number: int,
    queries: Collection[_Query],
    storage_for: StorageFor,
    portal: Portal,
    progress: Progress,
) -> Iterator[Staged]:
    """A table of the job, for as long as queries are run."""
    with staged_table(
        con,
        job.tables[name],
        name=f"table_{number}",
        label=name,
        used=_named(name, queries),
        storage_for=storage_for,
        portal=portal,
        place=f"tables.{name}",
        progress=progress.advance,
        allow_none=job.policy.allow_empty,
    ) as staged:
        yield staged


def _named(name: str, queries: Collection[_Query]) -> frozenset[str] | None:
    """The columns that queries name of a table; None where they may mean all of them."""
    named: frozenset[str] = frozenset()
    for query, _ in queries:
        if name in query.tables:
            if query.columns is None:
                return None
            named |= query.columns
    return named


def _wanted(name: str, staged: Mapping[str, Staged], queries: Collection[_Query]) -> set[str]:
    """The columns that queries want of a table that has none to show, such as a JSONL file without lines."""
    found: set[str] = set()
    for query, _ in queries:
        if name in query.tables:
            others = {
                folded(column.name) for other in query.tables - {name} for column in staged[other].columns
            }
            found |= ((query.columns or frozenset()) - others) | query.asked[name]
    return found
