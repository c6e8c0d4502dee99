"""Whether the tables of a job can be read, and which columns they have.

Tables of up to 64 MB in all are read as a run reads them, each source on its own. Of larger ones only the
first byte of the first file is read, and what the end of a Parquet file says of its columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from metaferry.errors import JobError, MetaferryError, NotFound
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.sources import Source
from metaferry.job.tables import Table
from metaferry.planning.database import Database
from metaferry.progress import Silent
from metaferry.runs.gather import load_sources
from metaferry.runs.storages import Storages
from metaferry.storage.protocol import Storage
from metaferry.tables.files.find import Found, StorageFor, TableObject, find_files, missing
from metaferry.tables.load import load_source
from metaferry.tables.mapping import parse_mapping
from metaferry.tables.model import Loaded, folded
from metaferry.tables.readers.source import ReaderSource, find_source
from metaferry.tables.staging import quote_ident
from metaferry.tables.telemetry.parsed import parse_samples
from metaferry.view.doctor.model import Measured

#: Bytes of a source's files up to which it is read as a whole.
WHOLE: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a source is made of. `rows` is None where it was not read as a whole; `columns` are names with
    types, None where only reading all of it would tell."""

    files: int
    size: int
    rows: int | None = None
    malformed: int = 0
    columns: tuple[tuple[str, str], ...] | None = None


def measure_tables(
    job: Job, database: Database, storages: Storages
) -> Iterator[tuple[str, Measured[TableFacts]]]:
    """The label of each source with what was found. A fault of one is no fault of the next."""
    for index, source in enumerate(job.sources):
        try:
            measured = Measured(_facts(job, index, database, storages))
        except MetaferryError as error:
            measured = Measured(error=error)
        _forget(database)
        yield source.label, measured


#: What the loading of sources makes, by number.
_LOADED: Final = "^(source|staged|files|folders|relation|table|part)_[a-z0-9_]*$"


def _forget(database: Database) -> None:
    """Takes out of the engine what a source was loaded as: the next may be loaded under its number."""
    for kind in ("view", "table"):
        made = database.rows(
            f"SELECT {kind}_name FROM duckdb_{kind}s() "
            f"WHERE NOT internal AND regexp_matches({kind}_name, '{_LOADED}')"
        )
        for (name,) in made:
            database.run(f"DROP {kind.upper()} {quote_ident(name)}")


def _facts(job: Job, index: int, database: Database, storages: Storages) -> TableFacts:
    source = job.sources[index]
    samples = source.telemetry
    is_query = source.query is not None or (samples is not None and samples.query is not None)
    named: dict[str, Source | Table] = {}
    if samples is not None:
        parse_samples(source, f"sources[{index}]", partial(job.places.of, index))
    if is_query:
        named = {f"tables.{name}": table for name, table in job.tables.items()}
    else:
        table = source.sample_table
        named = {f"sources[{index}]": source} if table is None else {f"sources[{index}].telemetry": table}
    found = {_key(place, table): _found(table, place, job, storages) for place, table in named.items()}
    asked = {place: table.given for place, table in named.items() if _is_asked(table)}
    if asked:
        # How much it would give nobody knows before.
        seen = [_columns_of(named[place], place, job, storages) for place in asked]
        return TableFacts(0, 0, columns=() if is_query else seen[0])
    count = sum(len(each.files) for each in found.values())
    size = sum(_sizes(each.files, place, storages) for place, each in found.items())
    if samples is not None:
        return TableFacts(count, size)  # to join them the media would have to be listed
    if size <= WHOLE:
        loaded = _load(job, index, database, storages)
        columns = tuple((column.name, column.type) for column in loaded.reading.columns) or tuple(
            (".".join(key.path), key.type) for key in loaded.keys
        )
        return TableFacts(count, size, loaded.read, loaded.malformed, columns)
    if is_query or source.given is not None:
        return TableFacts(count, size)
    (place, one), *_ = found.items()
    if one.format != "parquet":
        return TableFacts(count, size)
    from metaferry.tables.parquet import schema_of

    schema = schema_of(one.files[0], storages.portal, place)
    used = parse_mapping(source, f"sources[{index}]", partial(job.places.of, index)).used
    absent = sorted((used or frozenset()) - {folded(name) for name in schema.names})
    if absent:
        raise JobError(
            f"{one.files[0].url} has no column {', '.join(absent)}",
            place=place,
            advice=f"its columns are {', '.join(schema.names)}",
        )
    return TableFacts(count, size, columns=tuple((field.name, str(field.type)) for field in schema))


def _is_asked(table: Source | Table) -> bool:
    """Whether a server, or a library of its own, is asked for it: no file of it can be looked at."""
    return table.given is not None and not isinstance(table.given.value, Location)


def _columns_of(
    table: Source | Table, place: str, job: Job, storages: Storages
) -> tuple[tuple[str, str], ...]:
    """The columns of what a server answers: connected, asked, and no row read."""
    opened = _reader_source(table, place, job, storages).open()
    try:
        return tuple(
            (column.name, str(column.type)) for relation in opened.relations for column in relation.columns
        )
    finally:
        if hasattr(opened, "close"):
            opened.close()


def _key(place: str, table: Source | Table) -> str:
    """The key in the job of what is read."""
    if table.given is not None:
        return f"{place}.{table.given.key}"
    return f"{place}.table" if place.startswith("sources") else place


def _storage_for(storages: Storages) -> StorageFor:
    def storage_for(url: str, options: Mapping[str, Any]) -> Storage:
        return storages.at(Location(url=url, options=dict(options)))

    return storage_for


def _reader_source(table: Source | Table, place: str, job: Job, storages: Storages) -> ReaderSource:
    assert table.given is not None  # whoever has none is a table
    return find_source(
        job,
        table.given,
        place,
        storage_for=_storage_for(storages),
        portal=storages.portal,
        progress=lambda rows: None,
    )


def _found(table: Source | Table, place: str, job: Job, storages: Storages) -> Found:
    if table.given is not None:
        source = _reader_source(table, place, job, storages)
        return Found("json", [file.object for file in source.given.files], source.passed_over)
    return find_files(
        table,
        place=_key(place, table),
        storage_for=_storage_for(storages),
        portal=storages.portal,
        allow_none=job.policy.allow_empty,
    )


def _sizes(files: Sequence[TableObject], place: str, storages: Storages) -> int:
    """The bytes of all files, by the listing; the first one is read at its start in any case."""
    total = 0
    for number, file in enumerate(files):
        if not number or file.size is None:
            try:
                blob = storages.portal.run(file.storage.read(file.path, 0, 1))
            except NotFound as error:
                raise missing(file, place, storages.portal, error) from None
            total += blob.size
        else:
            total += file.size
    return total


def _load(job: Job, index: int, database: Database, storages: Storages) -> Loaded:
    source = job.sources[index]
    if source.table is None:
        # As the only source, so that another's fault is not met.
        alone = job.model_copy(update={"sources": (source,)})
        if job.origin is not None:
            alone.read_from(job.origin, job.places.of_one(index))
        return load_sources(alone, database, storages, storages.portal, Silent()).sources[0]
    return load_source(
        database.connection,
        source,
        index=index,
        storage_for=lambda url, options: storages.at(Location(url=url, options=dict(options))),
        portal=storages.portal,
        progress=lambda rows: None,
        allow_none=job.policy.allow_empty,
        origins=partial(job.places.of, index),
    )
