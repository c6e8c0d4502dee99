"""What the job says a reader shall read: files and reader found, and a source's short form made records.

A source that is no more than `annotations: coco.json` has the reader's own query over its relations. From
there on it is a query like those that a job spells out.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.readers.keys import Given as Asked
from metaferry.job.sources import Source
from metaferry.storage.io.portal import Portal
from metaferry.tables.files.find import StorageFor
from metaferry.tables.load import loaded_records, tell_passed_over
from metaferry.tables.mapping import Origins, nowhere, own_values, parse_mapping
from metaferry.tables.model import Loaded, Staged
from metaferry.tables.query.faults import QueryText
from metaferry.tables.query.load import Relation, load_query, make_relation, ready_query
from metaferry.tables.query.prepare import parse_query
from metaferry.tables.readers.contract import Given, OfMedia, Opened, Reader, TooMuch, Wanted
from metaferry.tables.readers.cut import raise_if_cut
from metaferry.tables.readers.files import ReaderFile, reader_files
from metaferry.tables.readers.media_access import MediaAccess
from metaferry.tables.readers.registry import reader_named, readers_of
from metaferry.tables.readers.stage import staged_relations
from metaferry.tables.staging import Findings, quote_ident

if TYPE_CHECKING:
    import duckdb


class UnknownFormat(JobError):
    """No reader of the key knows the files."""


@dataclass(frozen=True, slots=True)
class ReaderSource:
    """A source whose reader is known; its relations are staged when they are wanted."""

    reader: Reader
    given: Given
    asked_key: str
    passed_over: list[str]
    progress: Callable[[int], None]

    def open(self) -> Opened:
        """Opens it. Raises JobError, TableMissing, StorageError."""
        return self.reader.open(self.given)

    @contextlib.contextmanager
    def staged(
        self,
        con: duckdb.DuckDBPyConnection,
        opened: Opened,
        wanted: Wanted,
        *,
        table: str,
        label: str,
        keep: bool = False,
    ) -> Iterator[dict[str, Staged]]:
        """The wanted relations, as `staged_relations` gives them."""
        findings = Findings(con, label)
        tell_passed_over(findings, self.passed_over)
        findings.flush()
        with staged_relations(
            con,
            self.reader,
            opened,
            self.given,
            wanted=wanted,
            table=table,
            label=label,
            progress=self.progress,
            keep=keep,
        ) as staged:
            yield staged


def find_source(
    job: Job,
    asked: Asked,
    place: str,
    *,
    storage_for: StorageFor,
    portal: Portal,
    progress: Callable[[int], None],
    media: MediaAccess | None = None,
) -> ReaderSource:
    """The files of what the job names, and the reader that knows them.

    `place` is the key of the table or source; "" for a URL by itself. Raises JobError where no reader or
    several of them know the files, and what looking for files raises.
    """
    place = f"{place}.{asked.key}" if place else ""
    reader = reader_named(asked, place)
    files: list[ReaderFile] = []
    passed_over: list[str] = []
    if isinstance(asked.value, Location):
        files, passed_over = reader_files(
            asked.value,
            place=place,
            storage_for=storage_for,
            portal=portal,
            allow_none=job.policy.allow_empty,
            progress=progress,
        )
    given = Given(
        asked.value,
        files,
        place,
        job.storage_options,
        lambda: progress(0),
        retry_for=job.retry_for,
        media=media,
    )
    if reader is None:
        reader = _recognised(asked.key, given)
    counted = (lambda count: progress(0)) if isinstance(reader, OfMedia) else progress
    return ReaderSource(reader, given, asked.key, passed_over, counted)


def _recognised(key: str, given: Given) -> Reader:
    names = [file.path for file in given.files]
    if not names:
        raise given.fault(
            f"{given.value.shown} has no files yet, so the format cannot be found",
            advice=f"name it: {key}: {{url: …, reader: {next(readers_of(key, given.place)).name}}}",
        )
    is_folder = given.value.url.endswith("/")
    known = []
    for reader in readers_of(key, given.place):
        if reader.takes_folder(names) if is_folder else reader.recognises(given.files[0].head(), names):
            known.append(reader)
    if len(known) == 1:
        return known[0]
    what = given.value.shown if is_folder else given.files[0].url
    if known:
        listed = " and ".join(reader.name for reader in known)
        raise given.fault(
            f"{what} may be of several formats: {listed}", advice=f"name it: reader: {known[0].name}"
        )
    if not is_folder:
        raise_if_cut(given, given.files[0])
    every = ", ".join(f"{reader.name} ({reader.title})" for reader in readers_of(key, given.place))
    raise UnknownFormat(
        f"{what} is of no format that is known here",
        place=given.place,
        advice=f"there are {every}; name one with reader: …, or read a plain table with table:",
    )


def load_reader_source(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    found: ReaderSource,
    *,
    index: int,
    texts: Collection[str] = (),
    origins: Origins = nowhere,
) -> tuple[Loaded, list[Relation]]:
    """Source number `index` as the table `source_{index}`, and the relations that its records were made of.

    Of a reader with one relation the rows are the records, as those of a table are, and there are no
    relations beside. Raises what `load_source` and `load_query` raise.
    """
    reader = found.reader
    source = _counted_from(source, reader.frame_base)
    opened = found.open()
    if len(reader.relations) == 1:
        mapping = parse_mapping(source, f"sources[{index}]", origins)
        (name,) = reader.relations
        columns = opened.relations[0].columns
        if mapping.values is None and any(column.if_named for column in columns):
            own = own_values((column.name for column in columns if not column.if_named), mapping)
            mapping = replace(mapping, values=tuple(own))
        with found.staged(
            con, opened, {name: mapping.used}, table=f"staged_{index}", label=source.label, keep=True
        ) as tables:
            loaded = loaded_records(con, source, mapping, tables[name], index=index, texts=texts)
            return loaded, []
    with found.staged(con, opened, opened.needs(), table=f"part_{index}", label=source.label) as tables:
        relations = {
            name: make_relation(con, name, f"{index}_{number}", staged, ())
            for number, (name, staged) in enumerate(tables.items())
        }
        findings = Findings(con, source.label)
        try:
            query = opened.records(RelationFacts(con, relations, findings))
            findings.flush()
        except TooMuch as error:
            raise found.given.fault(
                f"{source.label}: {error.message}", advice=_query_form(found.given, error.query)
            ) from None
        text = QueryText(query, found.given.place, origins(""))
        parsed, faults = parse_query(query, relations)
        if parsed is None:
            raise text.error(faults)
        asked = source.model_copy(
            update={"query": query, "name": source.label, found.asked_key: None, "max_rejects": None}
        )
        ready = ready_query(asked, index, parsed, text, relations, origins, frame_base=reader.frame_base)
        loaded = load_query(con, ready, found.progress)
        for relation in relations.values():
            con.execute(f"DROP VIEW IF EXISTS {relation.view}").fetchall()
    return loaded, [replace(one, name=f"{source.label}.{name}") for name, one in relations.items()]


def _counted_from(source: Source, base: Literal[0, 1]) -> Source:
    """The source, its frames counted from `base` where it does not say itself what they are counted from."""
    frame = source.frame
    if frame is None or frame.seconds is not None or "base" in frame.model_fields_set or not base:
        return source
    return source.model_copy(update={"frame": frame.model_copy(update={"base": base})})


def _query_form(given: Given, query: str) -> str:
    """The advice to write a query, as text to paste into the job file."""
    lines = "".join(f"\n      {line}" for line in query.splitlines())
    return (
        "write the query yourself:\n"
        f"tables:\n  annotations: {{annotations: {json.dumps(given.value.shown, ensure_ascii=False)}}}\n"
        f"sources:\n  - query: |{lines}"
    )


class RelationFacts:
    """`contract.Facts` of relations that are in the engine."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, relations: Mapping[str, Relation], findings: Findings
    ) -> None:
        self._con = con
        self._relations = relations
        self._findings = findings

    def columns(self, relation: str) -> dict[str, str]:
        return {column.name: column.type for column in self._relations[relation].columns}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        given = ", ".join(
            f"{quote_ident(name)} AS (FROM {one.view})" for name, one in self._relations.items()
        )
        return self._con.execute(f"WITH {given} {sql}").fetchall()

    def contradiction(self, message: str, advice: str) -> None:
        self._findings.add(Code.SOURCE_CONTRADICTION, "warning", message, advice=advice)
