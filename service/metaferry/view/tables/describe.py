"""Looks at the tables of a job, or at one file: what a reader sees, and a query to start from.

A reader's source is read to its end, or until a thousand rows of each relation were seen: types and rows are
those of what was seen. A plain table is read as a run reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any, Final

from metaferry.errors import JobError, UsageError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.keys import Given as Asked
from metaferry.job.readers.telemetry import Telemetry
from metaferry.job.sources import Source
from metaferry.job.tables import Table
from metaferry.planning.database import Database
from metaferry.progress import Progress, Silent
from metaferry.runs.context import open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.listings.media import FirstMedia
from metaferry.runs.storages import Storages
from metaferry.storage.protocol import Storage
from metaferry.tables.files.find import format_of
from metaferry.tables.load import staged_table
from metaferry.tables.model import FILE, ROW, Staged, TableFile
from metaferry.tables.readers.contract import Facts, Note, Opened, ReaderRelation, Reject, Rows, Wanted
from metaferry.tables.readers.cut import EndsEarly
from metaferry.tables.readers.media_access import MediaAccess
from metaferry.tables.readers.registry import key_of, readers_of
from metaferry.tables.readers.source import ReaderSource, UnknownFormat, find_source
from metaferry.tables.staging import quote_ident
from metaferry.view.tables.model import (
    DescribedColumn,
    DescribedRelation,
    DescribedTable,
    DescribedTables,
)
from metaferry.view.tree.target import job_at, url_of

#: Rows of a relation that are looked at, those that are shown, and characters of a value.
_LOOKED_AT: Final = 1_000
_SHOWN: Final = 3
_CHARACTERS: Final = 60
#: Rejects that are named.
_REJECTS: Final = 3
#: Notes that are shown.
_NOTES: Final = 10
_JOB_FILES: Final = (".yaml", ".yml")
#: Formats of which no reader has to be asked.
_PLAIN: Final = ("csv", "tsv", "parquet", "arrow")


def describe_tables(
    target: Job | str | PathLike[str],
    *,
    reader: str = "",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> DescribedTables:
    """The tables and sources of a job (or of a .yaml file), or the one file, glob or folder of a URL.

    `reader` names the reader of a URL whose format is not to be found out. Raises JobError for what cannot be
    read, UsageError for a reader beside a job, TableMissing and StorageError.
    """
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    if isinstance(target, Job) or fspath(target).lower().endswith(_JOB_FILES):
        if reader:
            raise UsageError("a reader is for a URL; a job names it beside its files: reader: …")
        job = target if isinstance(target, Job) else Job.load(target, overrides)
        owners = _owners(job)
    else:
        url = url_of(fspath(target))
        url += "/" if fspath(target).endswith("/") and not url.endswith("/") else ""
        job = job_at(".", overrides)
        owners = {"": url}
    with open_job(job, deps) as (storages, database):
        media = FirstMedia(job, storages, database, progress, deps.now())
        look = _Look(job, storages, database, progress, media)
        found = [
            look.url(owner, reader) if isinstance(owner, str) else look.owner(key, owner)
            for key, owner in owners.items()
        ]
    return DescribedTables(tuple(found))


def _owners(job: Job) -> dict[str, Any]:
    sources = {f"sources[{at}]": one for at, one in enumerate(job.sources) if not _is_query(one)}
    return {**{f"tables.{name}": table for name, table in job.tables.items()}, **sources}


def _is_query(source: Source) -> bool:
    return source.query is not None or (source.telemetry is not None and source.telemetry.query is not None)


class _Look:
    """Looks at one table after the other, in one engine."""

    def __init__(
        self, job: Job, storages: Storages, database: Database, progress: Progress, media: MediaAccess
    ) -> None:
        self._media = media
        self._job = job
        self._storages = storages
        self._con = database.connection
        self._progress = progress
        self._number = 0

    def url(self, url: str, reader: str) -> DescribedTable:
        """What a URL names: of a reader that knows it, or a plain table."""
        if not reader and _plain_format(url):
            return self.owner("", Table(table=Location(url=url)))
        if reader:
            return self._described(self._find(_asked(key_of(reader), url, reader), ""), "", url)
        try:
            source = self._recognised(url)
        except EndsEarly:
            raise
        except JobError:
            if not _plain_format(url, (*_PLAIN, "json", "jsonl")):
                raise
            return self.owner("", Table(table=Location(url=url)))
        return self._described(source, "", url)

    def _recognised(self, url: str) -> ReaderSource:
        """The source that a reader of annotations knows, or one of telemetry; an error is the former's, and
        where neither key has a format for it, it names all that there are."""
        try:
            return self._find(_asked("annotations", url), "")
        except JobError as error:
            try:
                return self._find(_asked("telemetry", url), "")
            except UnknownFormat:
                raise _every_format(error) if isinstance(error, UnknownFormat) else error from None
            except JobError:
                raise error from None

    def owner(self, key: str, owner: Table | Source) -> DescribedTable:
        """A table, or a source that is no query."""
        name = key.removeprefix("tables.")
        if isinstance(owner, Source):
            owner = owner.sample_table or owner
        if owner.given is not None:
            return self._described(self._find(owner.given, key), key, owner.given.value.shown)
        shown = owner.location.shown
        self._progress.phase(f"Reading {shown}", None)
        with staged_table(
            self._con,
            owner,
            name=self._table(),
            label=key or shown,
            used=None,
            storage_for=self._storage_for,
            portal=self._storages.portal,
            place=key,
            progress=self._progress.advance,
            allow_none=True,
        ) as staged:
            table = name if key.startswith("tables.") else "t"
            relation = self._relation(table, "", {}, staged, whole=True)
            query = f"SELECT * FROM {quote_ident(table)}"
            return DescribedTable(
                key, shown, "", staged.reading.format, (relation,), query, rejects=self._rejects(key or shown)
            )

    def _described(self, source: ReaderSource, key: str, shown: str) -> DescribedTable:
        self._progress.phase(f"Reading {shown}", None)
        reader = source.reader
        table = key.removeprefix("tables.") if key.startswith("tables.") else source.asked_key
        opened = source.open()
        first = _First(opened, dict.fromkeys(reader.relations, 0))
        with source.staged(
            self._con, first, dict.fromkeys(reader.relations), table=self._table(), label=table
        ) as staged:
            relations = []
            for known in opened.relations:
                meanings = {column.name: column.meaning for column in known.columns}
                relations.append(
                    self._relation(
                        f"{table}.{known.name}",
                        known.meaning,
                        meanings,
                        staged[known.name],
                        whole=first.whole,
                        seen=first.seen[known.name],
                    )
                )
        return DescribedTable(
            key,
            shown,
            reader.name,
            reader.title,
            tuple(relations),
            opened.example(table),
            reader.frame_base,
            self._rejects(table),
            _notes(source, opened),
        )

    def _relation(
        self,
        name: str,
        meaning: str,
        meanings: Mapping[str, str],
        staged: Staged,
        *,
        whole: bool,
        seen: int | None = None,
    ) -> DescribedRelation:
        columns = tuple(
            DescribedColumn(column.name, column.type.replace('"NULL"', "NULL"), meanings.get(column.name, ""))
            for column in staged.columns
        )
        listed = ", ".join(
            f"left({quote_ident(column.name)}::VARCHAR, {_CHARACTERS})" for column in staged.columns
        )
        rows: list[tuple[str | None, ...]] = []
        if listed and not staged.is_empty:
            rows = self._con.execute(
                f"SELECT {listed} FROM ({staged.relation('')}) r ORDER BY {FILE}, {ROW} LIMIT {_SHOWN}"
            ).fetchall()
        read = staged.read - staged.malformed if seen is None else seen
        return DescribedRelation(name, meaning, columns, read, staged.malformed, tuple(rows), whole)

    def _rejects(self, label: str) -> tuple[str, ...]:
        rows = self._con.execute(
            f"SELECT file, message FROM rejects WHERE source = $1 OR starts_with(source, $1 || '.') "
            f'ORDER BY source, file, "row" LIMIT {_REJECTS}',
            [label],
        ).fetchall()
        return tuple(f"{file}: {message}" for file, message in rows)

    def _find(self, asked: Asked, key: str) -> ReaderSource:
        return find_source(
            self._job,
            asked,
            key,
            storage_for=self._storage_for,
            portal=self._storages.portal,
            progress=self._progress.advance,
            media=self._media,
        )

    def _storage_for(self, url: str, options: Mapping[str, Any]) -> Storage:
        return self._storages.at(Location(url=url, options=dict(options)))

    def _table(self) -> str:
        self._number += 1
        return f"look_{self._number}"


def _notes(source: ReaderSource, opened: Opened) -> tuple[str, ...]:
    """What the reader noticed of the files that it has read so far."""
    files = source.given.files
    notes: Sequence[Note] = getattr(opened, "notes", ())
    return tuple(
        f"{files[note.file].url}: {note.message}" if files else note.message for note in notes[:_NOTES]
    )


def _asked(key: str, url: str, reader: str = "") -> Asked:
    """What a job would say of a URL."""
    kinds: dict[str, type[Annotations | Telemetry]] = {"annotations": Annotations, "telemetry": Telemetry}
    return Asked(key, kinds[key](url=url, reader=reader or None))


def _every_format(error: JobError) -> JobError:
    """The same error, with what else a URL may be."""

    def names(key: str) -> str:
        return ", ".join(reader.name for reader in readers_of(key, ""))

    return JobError(
        str(error),
        advice="there are tables by their extension (.csv, .tsv, .parquet, .arrow, .jsonl, .json), "
        f"annotations ({names('annotations')}) and recordings ({names('telemetry')}): name one of these "
        "with --reader; others go into a job file: delta: or iceberg: with a folder, and "
        "sql: {uri: sqlite:///FILE, query: …}",
    )


def _plain_format(url: str, formats: Sequence[str] = _PLAIN) -> bool:
    try:
        return format_of(url, url, "") in formats
    except JobError:
        return False


@dataclass(slots=True)
class _First:
    """A source of which the first rows of each relation pass; `seen` counts the others too."""

    opened: Opened
    seen: dict[str, int]
    _ended: bool = field(default=False)

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        return self.opened.relations

    @property
    def files(self) -> Sequence[TableFile]:
        return self.opened.files

    @property
    def whole(self) -> bool:
        """Whether all rows were seen."""
        return self._ended

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        for rows in self.opened.read(wanted, reject):
            left = _LOOKED_AT - self.seen[rows.relation]
            self.seen[rows.relation] += len(rows.places)
            if left > 0:
                yield Rows(rows.relation, rows.places[:left], rows.batch[:left], rows.file)
            if all(count >= _LOOKED_AT for count in self.seen.values()):
                return
        self._ended = True

    def needs(self) -> Wanted:
        return self.opened.needs()

    def records(self, facts: Facts) -> str:
        return self.opened.records(facts)

    def example(self, table: str) -> str:
        return self.opened.example(table)
