"""Gather: the job's tables, media, documents and schema, read into the planning database.

Tables come first: a wrong mapping should fail after seconds, not after the listing of a large bucket. Where
a source speaks of the media themselves, the listing is made when it asks (`listings/media.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pyarrow as pa

from metaferry.errors import NotFound, SafetyStop, SchemaError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.readers.object import asked_of_objects
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.masking import showable
from metaferry.media.facts.cache import FactsCache
from metaferry.media.facts.gather import read_facts
from metaferry.media.facts.model import FactsKind, KeptFacts
from metaferry.media.facts.videos.counts import keep_counts
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount
from metaferry.media.object_facts.ask import Wanted as WantedFacts
from metaferry.media.object_facts.ask import ask_facts
from metaferry.planning.database import Database, disk_errors
from metaferry.planning.entries import given_entries
from metaferry.planning.formats import MediaListing
from metaferry.planning.listings import listing_prefixes
from metaferry.planning.match import Video
from metaferry.planning.price.limit import judge_asked
from metaferry.planning.price.model import Requests
from metaferry.progress import Progress
from metaferry.runs.context import RunContext
from metaferry.runs.lease.held import RunLease
from metaferry.runs.listings.media import JobMedia
from metaferry.runs.listings.revalidate import revalidated
from metaferry.runs.state.capability_probe import recall_conditions
from metaferry.runs.state.folder import RunHistory
from metaferry.runs.state.listing_checkpoint import ListingCheckpoint
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Entry
from metaferry.tables.load_all import LoadedJob, load_all
from metaferry.tables.model import Loaded
from metaferry.tables.query.load import Relation
from metaferry.tables.readers.media_access import MediaAccess


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was read. The rows are in the planning database; see `planning/listings.py`, `tables/`."""

    sources: list[Loaded]
    relations: list[Relation]  # the tables that queries read
    listing: MediaListing
    schema_entry: Entry | None  # schema.json as listed
    in_place: tuple[rules.Entry, ...] | None  # its entries
    given: tuple[rules.Entry, ...] | None  # the entries that the job names
    history: RunHistory  # the runs before this one
    kept_pages: bool = False  # whether pages of the listing were kept while it was made

    @property
    def schema_token(self) -> str | None:
        """The token of schema.json as it was listed."""
        return None if self.schema_entry is None else self.schema_entry.token


def gather(
    run: RunContext, prefix: str, *, lease: RunLease | None = None, keep_listing: bool = False
) -> Gathered:
    """Reads everything a plan needs to know but frame counts and the ledger.

    The `lease` is taken just before the listing: who lists without it may
    plan on what another run is about to change. A plan has none. `keep_listing`: the pages of a large
    listing are kept for the next run, should this one be killed.

    Raises JobError for a table or mapping that cannot be read as asked, SchemaError for a
    schema.json that is not one, LeaseHeld, and StorageError for a store that does not answer.
    """
    with run.timed("gather"):
        before = _BeforeListing(run, prefix, lease, keep_listing=keep_listing)
        media = JobMedia(
            run.job,
            run.storages,
            run.database,
            run.progress,
            run.deps.now(),
            prefix=prefix,
            before=before,
            count_times=lambda videos: counted(run, videos, len(videos), timed=True),
            read_facts=partial(facts_read, run, whole=not prefix),
            ask_objects=partial(objects_asked, run, whole=not prefix),
        )
        read = read_tables(run.job, run.database, run.storages, run.portal, run.progress, media)
        listed = media.listed()
        in_place = None
        if listed.schema is not None:
            if read.early is not None and read.early[0] == listed.schema.token:
                in_place = read.early[1]
            else:
                in_place = _read_schema(run.job, run.storages, run.portal)[1]
    run.report.media, run.report.listing = listed.media, listed.listing
    run.report.versions = {one.name: one.version for one in read.loaded.readings if one.version}
    run.report.tables, run.report.joined = read.loaded.readings, read.loaded.joined
    return Gathered(
        read.loaded.sources,
        read.loaded.relations,
        listed.listing,
        listed.schema,
        in_place,
        read.given,
        before.history,
        before.kept_pages,
    )


class _BeforeListing:
    """What a run does between its tables and its listing: it takes the lease, and looks at earlier runs."""

    def __init__(self, run: RunContext, prefix: str, lease: RunLease | None, *, keep_listing: bool) -> None:
        self._run = run
        self._prefix = prefix
        self._lease = lease
        self._keep = keep_listing
        self.history = RunHistory((), interrupted=False, files=())
        self.kept_pages = False

    def __call__(self) -> ListingCheckpoint | None:
        if self._lease is not None:
            self._lease.take()
        else:
            _recall_capabilities(self._run)
        self.history = self._run.state.history()
        self._run.damage.load(self.history)
        checkpoint = _checkpoint(self._run, self._prefix, self.history) if self._keep else None
        self.kept_pages = checkpoint is not None
        return checkpoint


def counted(run: RunContext, videos: Iterable[Video], total: int, *, timed: bool) -> Iterator[FrameCount]:
    """Frame counts from the cache of earlier runs, or counted, with what that cost noted in the report.

    One answer for each of `total` videos, in the order they are finished; with times where `timed`.

    Raises what `count_frames` raises.
    """
    run.progress.phase("Reading times of frames" if timed else "Counting frames", total)
    cache = FrameCache(run.state.storage, run.portal, run.state.frame_cache_key)
    cache.load()
    frames, gone = run.report.frames, list[str]()
    current = videos
    if not run.report.listing.fresh:
        current = revalidated(videos, run.input, run.portal, gone)
    before = run.storages.stores()
    counts = count_frames(
        run.input,
        run.portal,
        ((video.path, video.size, video.token) for video in current),
        times=timed,
        cache=cache,
        progress=lambda count: run.progress.advance(1, count.bytes),
    )
    for count in counts:
        frames.cached += count.cached
        frames.counted += not count.cached
        yield count
    run.counted_frames(before)
    for path in gone:
        yield FrameCount(path, None, None, reason="gone: it was there when the media were listed")
    frames.counted += len(gone)
    run.progress.phase("Planning", None)


def facts_read(
    run: RunContext, kind: FactsKind, batches: Iterable[pa.RecordBatch], total: int, *, whole: bool
) -> Iterator[pa.Table]:
    """Facts of media from the cache of earlier runs, or read, with what that cost noted.

    `whole`: whether the run sees all media of its job. Raises what `read_facts` raises.
    """
    run.progress.phase(f"Reading facts of {kind.name}s", total)
    before = run.storages.stores()
    state = run.state
    cache = FactsCache(state.storage, run.portal, state.prefix, kind, run.report.run_id, whole=whole)
    counts = None
    if kind.name == "video":
        counts = FrameCache(run.state.storage, run.portal, run.state.frame_cache_key)
        counts.load()
    for table in read_facts(run.input, run.portal, kind, batches, cache=cache, progress=run.progress.advance):
        if counts is not None:
            keep_counts(counts, table)
            counts.save_if_due()
        yield table
    if counts is not None:
        counts.save()
    # The next run lists what is kept, and reads it.
    run.counted_frames(before, but=Requests(list=1, get=cache.pieces + (counts is not None)))


def objects_asked(
    run: RunContext, batches: Iterable[pa.RecordBatch], wanted: WantedFacts, fresh: bool, *, whole: bool
) -> Iterator[pa.RecordBatch]:
    """The media with what the store says of each: from the cache of earlier runs, or asked for, with what
    that cost noted. `whole`: whether the run sees all media of its job.

    Raises what `ask_facts` raises, and SafetyStop where the requests alone cost more than `policy.max_cost`.
    """
    run.progress.phase("Asking for facts of the media", None)
    caches: list[FactsCache] = []

    def open_cache(kind: KeptFacts) -> FactsCache:
        state = run.state
        cache = FactsCache(
            state.storage, run.portal, state.prefix, kind, run.report.run_id, whole=whole, fresh=fresh
        )
        caches.append(cache)
        return cache

    before, asked_before = run.storages.stores(), Requests.of(run.input.requests)
    prices, limit = run.storages.prices(run.input), run.job.policy.max_cost

    def spent() -> Requests:
        requests = Requests.of(run.input.requests) - asked_before
        return Requests(get=requests.get, tags=requests.tags)

    def progress(count: int) -> None:
        run.progress.advance(count)
        if limit is not None and prices is not None:
            message, advice = judge_asked(spent(), prices, limit)
            if message:
                raise SafetyStop(message, advice=advice)

    yield from ask_facts(run.input, run.portal, batches, wanted, open_cache=open_cache, progress=progress)
    run.objects_asked += spent()
    if not fresh:  # the next run lists what is kept, and reads it
        kept = Requests(list=len(caches), get=sum(cache.pieces for cache in caches))
        run.counted_frames(before, but=kept)


@dataclass(frozen=True, slots=True)
class TablesRead:
    """The tables of a job in the planning database, and the schema entries that say how to read them.

    `given` are the entries that the job names, `early` token and entries of schema.json, where it was read.
    """

    loaded: LoadedJob
    given: tuple[rules.Entry, ...] | None
    early: tuple[str, tuple[rules.Entry, ...]] | None

    @property
    def sources(self) -> list[Loaded]:
        """The sources in the order of the job."""
        return self.loaded.sources


def read_tables(
    job: Job,
    database: Database,
    storages: Storages,
    portal: Portal,
    progress: Progress,
    media: MediaAccess,
    *,
    always_schema: bool = False,
) -> TablesRead:
    """Reads the job's tables. `always_schema`: schema.json as well where no cell depends on it."""
    given = given_entries(job)
    if job.given_schema is not None and isinstance(job.given_schema.entries, str):
        url = job.given_schema.entries
        given = rules.parse_schema(read_schema_file(url, storages, portal), showable(url))
    exact = job.given_schema is not None and job.given_schema.exact
    early = _early_schema(job, storages, portal) if always_schema or _may_be_text(job) else None
    texts = _text_paths(early[1] if early else (), given, exact=exact)
    return TablesRead(load_sources(job, database, storages, portal, progress, media, texts), given, early)


def load_sources(
    job: Job,
    database: Database,
    storages: Storages,
    portal: Portal,
    progress: Progress,
    media: MediaAccess | None = None,
    texts: Collection[str] = (),
) -> LoadedJob:
    """The tables of the job as `source_i`, and their files as `files_i(file, url)`.

    `media` are for readers that speak of them; None where none does. `texts` are the key paths whose entries
    want text.
    """
    with disk_errors(database.scratch):
        loaded = load_all(
            database.connection,
            job,
            storage_for=lambda url, options: storages.at(Location(url=url, options=dict(options))),
            portal=portal,
            progress=progress,
            media=media,
            texts=texts,
        )
    for index, source in enumerate(loaded.sources):
        _name_files(database, source, index)
    return loaded


def _may_be_text(job: Job) -> bool:
    """Whether any source may be of cells without types, which the entries in place give one."""
    return any(
        source.format in (None, "csv", "tsv") and not _TYPED.search(source.table.url)
        for source in job.sources
        if source.table is not None
    )


#: What the URL of a table ends with whose values have types of their own.
_TYPED: Final = re.compile(r"\.(parquet|pq|jsonl|ndjson)(\.(gz|zstd?))?$", re.IGNORECASE)


def _text_paths(
    in_place: Sequence[rules.Entry], given: Sequence[rules.Entry] | None, *, exact: bool
) -> frozenset[str]:
    """The key paths whose entries will want text: those in place, under those that the job gives."""
    entries = {} if exact else {entry.path: entry for entry in in_place}
    entries |= {entry.path: entry for entry in given or ()}
    return frozenset(path for path, entry in entries.items() if rules.is_text(entry.type))


def _early_schema(job: Job, storages: Storages, portal: Portal) -> tuple[str, tuple[rules.Entry, ...]] | None:
    """schema.json before anything is listed, with its token: how cells are read depends on it."""
    try:
        return _read_schema(job, storages, portal)
    except NotFound:
        return None


def _read_schema(job: Job, storages: Storages, portal: Portal) -> tuple[str, tuple[rules.Entry, ...]]:
    lightly = storages.at(job.lightly_location)
    blob = portal.run(lightly.read(SCHEMA))
    return blob.token, rules.parse_schema(blob.data, f"{lightly.url.rstrip('/')}/{SCHEMA}")


def _recall_capabilities(run: RunContext) -> None:
    """What earlier runs found out about the stores, so that a plan decides as a sync would."""
    state = run.state
    stores = {id(each): each for each in (run.lightly, state.storage)}.values()
    run.unprobed = run.portal.run(
        recall_conditions(stores, state.storage, state.capabilities_key, run.deps.now())
    )


def _checkpoint(run: RunContext, prefix: str, history: RunHistory) -> ListingCheckpoint | None:
    """Where the pages of the listing of media are kept; None for media that are not listed in order."""
    if run.job.media.inventory is not None or not run.input.capabilities.start_key:
        return None
    address = f"{run.input.url} {listing_prefixes(prefix, all_media=run.job.needs_all_media)[0]}"
    asked = asked_of_objects(run.job)
    if asked:  # pages without the facts that this job wants are none of this listing
        address += " with facts and tags" if any(each.tags for each in asked) else " with facts"
    return ListingCheckpoint(
        run.state, run.portal, run.report.run_id, address, history, run.deps.now(), facts=bool(asked)
    )


def read_schema_file(url: str, storages: Storages, portal: Portal) -> bytes:
    """The text of a schema.json anywhere. SchemaError where there is none."""
    place, mark, query = url.partition("?") if url.startswith(("http://", "https://")) else (url, "", "")
    folder, _, name = place.rpartition("/")
    storage = storages.at(Location.named(folder or "."))
    try:
        return portal.run(storage.read(name + mark + query)).data
    except NotFound as error:
        raise SchemaError(
            f"schema: there is no file {showable(url)}",
            advice="name a schema.json, or write schema: infer",
        ) from error


def _name_files(database: Database, loaded: Loaded, index: int) -> None:
    """Table `files_i(file, url)`: the file of a row as findings name it."""
    columns = pa.schema([("file", pa.int32()), ("url", pa.string())])
    database.create_like(f"files_{index}", columns)
    database.insert_rows(f"files_{index}", columns, ((n, file.url) for n, file in enumerate(loaded.files)))
