"""Gather: the job's tables, media, documents and schema, read into the planning engine.

Tables come first: a wrong mapping should show after seconds, not after the listing of a large
bucket. Where media and documents share a datasource, one listing serves both; else both are listed
at once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from metaferry.errors import NotFound, SchemaError
from metaferry.job import Job, Location
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.media.listing import MediaFilter, split_page
from metaferry.planning.database import Database
from metaferry.planning.entries import given_entries
from metaferry.planning.formats import MediaCounts
from metaferry.planning.listings import Listings, listing_prefixes
from metaferry.progress import Progress
from metaferry.runs.storages import Storages
from metaferry.storage.at_once import Disordered, list_at_once
from metaferry.storage.contract import Entry, Storage
from metaferry.storage.portal import Portal
from metaferry.tables.load import load_source
from metaferry.tables.model import Loaded

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is. The rows are in the engine's tables; see `planning/listings.py`, `tables/`."""

    sources: list[Loaded]
    media: MediaCounts
    schema_entry: Entry | None  # schema.json as listed
    in_place: tuple[rules.Entry, ...] | None  # its entries
    given: tuple[rules.Entry, ...] | None  # the entries that the job names

    @property
    def schema_token(self) -> str | None:
        """The token of schema.json as it was listed."""
        return None if self.schema_entry is None else self.schema_entry.token


def gather(
    job: Job,
    database: Database,
    storages: Storages,
    portal: Portal,
    *,
    prefix: str,
    progress: Progress,
    before_listing: Callable[[], None] | None = None,
) -> Gathered:
    """Reads everything a plan needs to know but frame counts and the ledger.

    `before_listing` is called when the tables have been read and nothing else has.

    Raises JobError for a table or mapping that cannot be read as asked, SchemaError for a
    schema.json that is not one, StorageError for a store that does not answer.
    """
    given = given_entries(job)
    if isinstance(job.schema_, str):
        given = _schema_file(job, storages, portal)
    sources = load_sources(job, database, storages, portal, progress)
    if before_listing is not None:
        before_listing()
    listings = Listings(database)
    try:
        _list(job, storages, portal, listings, prefix, progress, list_at_once)
    except Disordered:
        log.info("a store does not list in the order of bytes: everything is listed again, in one chain")
        listings.restart()
        _list(job, storages, portal, listings, prefix, progress, lambda storage, prefix: storage.list(prefix))
    media = listings.finish()
    in_place = None
    if listings.schema is not None:
        lightly = storages.at(job.lightly_location)
        text = portal.run(lightly.read(SCHEMA)).data
        in_place = rules.parse_schema(text, f"{lightly.url.rstrip('/')}/{SCHEMA}")
    return Gathered(sources, media, listings.schema, in_place, given)


def load_sources(
    job: Job, database: Database, storages: Storages, portal: Portal, progress: Progress
) -> list[Loaded]:
    """The tables of the job as `source_i`, and their files as `files_i(file, url)`."""
    sources = []
    for index, source in enumerate(job.sources):
        progress.phase(f"Reading {source.label}", None)
        loaded = load_source(
            database.connection,
            source,
            index=index,
            storage_for=lambda url, options: storages.at(Location(url=url, options=dict(options))),
            portal=portal,
            progress=progress.advance,
        )
        _name_files(database, loaded, index)
        sources.append(loaded)
    return sources


def _list(
    job: Job,
    storages: Storages,
    portal: Portal,
    listings: Listings,
    prefix: str,
    progress: Progress,
    pages: Callable[[Storage, str], AsyncIterator[list[Entry]]],
) -> None:
    source, lightly = storages.at(job.input), storages.at(job.lightly_location)
    rules_ = MediaFilter(job.media.include, job.media.exclude, prefix)
    media_prefix, document_prefix = listing_prefixes(prefix)
    if source is lightly and not media_prefix:
        progress.phase("Listing media and documents", None)
        for page in portal.iterate(pages(source, "")):
            media, documents = split_page(page)
            listings.add_media(rules_.page(media))
            listings.add_documents(documents)
            progress.advance(len(page))
        return
    progress.phase("Listing media and documents", None)
    media_pages = portal.iterate(pages(source, media_prefix))
    document_pages = portal.iterate(pages(lightly, document_prefix))
    for is_document, page in _in_turn(media_pages, document_pages):
        if is_document:
            listings.add_documents(page)
        else:
            media, _ = split_page(page)
            listings.add_media(rules_.page(media))
        progress.advance(len(page))
    if media_prefix:
        # schema.json lies at the root, outside the narrowed listing.
        for page in portal.iterate(lightly.list(SCHEMA)):
            listings.add_documents([entry for entry in page if entry.path == SCHEMA])


def _in_turn(*streams: Iterator[T]) -> Iterator[tuple[int, T]]:
    """The items of several iterators, one of each in turn, with the number of their iterator.

    Each reads ahead by itself, so one waits for the store while what another brought is taken in.
    """
    left = deque(enumerate(streams))
    while left:
        number, stream = left.popleft()
        for item in stream:
            yield number, item
            left.append((number, stream))
            break


def _schema_file(job: Job, storages: Storages, portal: Portal) -> tuple[rules.Entry, ...]:
    assert isinstance(job.schema_, str)
    folder, _, name = job.schema_.rpartition("/")
    storage = storages.at(Location(url=folder or "."))
    try:
        text = portal.run(storage.read(name)).data
    except NotFound as error:
        raise SchemaError(
            f"schema: there is no file {job.schema_}",
            advice="name a schema.json, or write schema: infer",
        ) from error
    return rules.parse_schema(text, job.schema_)


def _name_files(database: Database, loaded: Loaded, index: int) -> None:
    """Table `files_i(file, url)`: what a finding calls the file of a row."""
    columns = pa.schema([("file", pa.int32()), ("url", pa.string())])
    database.create_like(f"files_{index}", columns)
    database.insert_rows(f"files_{index}", columns, ((n, file.url) for n, file in enumerate(loaded.files)))
