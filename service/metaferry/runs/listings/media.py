"""The media of a job for whoever needs them first: readers that ask, or the plan.

Tables are read before the listing, since a wrong mapping should fail after seconds. A reader that speaks of
the media themselves asks for them, and the listing is made then, once. Fulfils
`tables/readers/media_access.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.job.model import Job
from metaferry.job.readers.object import Object, asked_of_objects
from metaferry.media.facts.gather import read_facts
from metaferry.media.facts.model import FactsKind
from metaferry.media.facts.rows import AT
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount
from metaferry.media.listing import MediaFilter, media_pages
from metaferry.media.object_facts.ask import Wanted as WantedFacts
from metaferry.media.object_facts.ask import ask_facts
from metaferry.media.object_facts.listed import LISTED, listed_columns
from metaferry.planning.database import Database, arrow_batches
from metaferry.planning.formats import MediaCounts, MediaListing
from metaferry.planning.listings import Listings
from metaferry.planning.match import Video
from metaferry.progress import Progress
from metaferry.runs.listings.lister import Lister
from metaferry.runs.state.listing_checkpoint import ListingCheckpoint
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Entry, Storage

_COLUMNS: Final = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("token", pa.string()), ("kind", pa.string())]
)
_OBJECTS: Final = pa.schema([*_COLUMNS, *LISTED])
#: Media of one batch; each is a small request to whoever reads them.
_BATCH: Final = 4_096
#: The same where only the first of them are looked at.
_FIRST: Final = 64

#: Reads the facts of the media of a kind: of so many, in batches.
ReadFacts = Callable[[FactsKind, Iterable[pa.RecordBatch], int], Iterator[pa.Table]]

#: Counts the frames of videos, with the times of each: of so many.
CountTimes = Callable[[Sequence[Video]], Iterable[FrameCount]]

#: Asks for what a listing lacks; the last argument: also where earlier runs were told.
AskObjects = Callable[[Iterable[pa.RecordBatch], WantedFacts, bool], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What was listed. The rows are in the planning database; see `planning/listings.py`."""

    listing: MediaListing
    media: MediaCounts
    schema: Entry | None  # schema.json


class JobMedia:
    """The media of a job, listed once.

    `before` is called just before the listing, and answers where its pages are kept. `count_times` and
    `read_facts` read for the report of a run; without them nothing is reported, and nothing kept.
    """

    def __init__(
        self,
        job: Job,
        storages: Storages,
        database: Database,
        progress: Progress,
        now: datetime,
        *,
        prefix: str = "",
        before: Callable[[], ListingCheckpoint | None] = lambda: None,
        count_times: CountTimes | None = None,
        read_facts: ReadFacts | None = None,
        ask_objects: AskObjects | None = None,
    ) -> None:
        self._job = job
        self._storages = storages
        self._database = database
        self._progress = progress
        self._now = now
        self._prefix = prefix
        self._before = before
        self._count_times = count_times or self._counted
        self._read_facts = read_facts or self._facts_read
        self._ask_objects = ask_objects or self._asked
        self._listed: Listed | None = None

    @property
    def storage(self) -> Storage:
        return self._storages.at(self._job.input)

    @property
    def portal(self) -> Portal:
        return self._storages.portal

    def listed(self) -> Listed:
        """Lists the input where that was not done yet.

        Raises what `before` raises, JobError for an inventory that cannot be used, and StorageError.
        """
        if self._listed is None:
            checkpoint = self._before()
            listings = Listings(self._database, facts=bool(asked_of_objects(self._job)))
            lister = Lister(
                self._job,
                self._storages,
                self.portal,
                self._database.scratch,
                self._prefix,
                self._now,
                checkpoint,
                self._progress,
            )
            listing = lister.fill(listings)
            media = listings.finish(inventory=listing.inventory)
            self._listed = Listed(listing, media, listings.schema)
        return self._listed

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self._with_progress(self._batches("included"))

    def _with_progress(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches of all media, with progress."""
        found = self.listed().media
        self._progress.phase("Reading the listed media", found.images + found.videos)
        for batch in batches:
            yield batch
            self._progress.advance(batch.num_rows)

    def _batches(self, where: str) -> Iterator[pa.RecordBatch]:
        return self._rows(f"SELECT path, size, token, kind FROM plan.media WHERE {where} ORDER BY path")

    def _rows(self, select: str) -> Iterator[pa.RecordBatch]:
        with contextlib.closing(self._database.connection.cursor()) as cursor:
            yield from arrow_batches(cursor.sql(select), _BATCH)

    def facts(self, kind: FactsKind) -> Iterator[pa.Table]:
        where = f"included AND kind = '{kind.name}'"
        self.listed()
        total: int = self._database.value(f"SELECT count(*) FROM media WHERE {where}")
        yield from _numbered(self._read_facts, kind, self._batches(where), total)

    def _facts_read(
        self, kind: FactsKind, batches: Iterable[pa.RecordBatch], total: int | None
    ) -> Iterator[pa.Table]:
        self._progress.phase(f"Reading facts of {kind.name}s", total)
        yield from read_facts(
            self.storage, self.portal, kind, batches, cache=None, progress=self._progress.advance
        )

    def objects(self, asked: Object) -> Iterator[pa.RecordBatch]:
        self.listed()
        select = "SELECT path, size, token, kind, f.* EXCLUDE (path) FROM plan.media "
        select += "JOIN plan.media_facts f USING (path) WHERE included ORDER BY path"
        rows = self._rows(select)
        yield from self._with_answers(
            rows if asked.headers or asked.tags else self._with_progress(rows), asked
        )

    def _with_answers(self, batches: Iterable[pa.RecordBatch], asked: Object) -> Iterator[pa.RecordBatch]:
        wanted = WantedFacts(asked.headers, asked.tags)
        typed = (batch.cast(_OBJECTS) for batch in batches)
        yield from self._ask_objects(typed, wanted, asked.fresh) if wanted else typed

    def _asked(
        self, batches: Iterable[pa.RecordBatch], wanted: WantedFacts, fresh: bool
    ) -> Iterator[pa.RecordBatch]:
        self._progress.phase("Asking for facts of the media", None)
        return ask_facts(self.storage, self.portal, batches, wanted, progress=self._progress.advance)

    def frames(self, videos: Iterable[str]) -> Iterator[FrameCount]:
        self.listed()
        wanted = pa.table({"path": pa.array(sorted(set(videos)), pa.string())})
        self._database.create_like("wanted_videos", wanted.schema)
        self._database.insert("wanted_videos", wanted)
        rows = self._database.rows(
            "SELECT path, size, token FROM media JOIN wanted_videos USING (path) "
            "WHERE included AND kind = 'video' ORDER BY path"
        )
        self._database.run("DROP TABLE wanted_videos")
        yield from self._count_times([Video(*row) for row in rows])

    def _counted(self, videos: Sequence[Video]) -> Iterator[FrameCount]:
        self._progress.phase("Reading times of frames", len(videos))
        yield from count_frames(
            self.storage,
            self.portal,
            ((video.path, video.size, video.token) for video in videos),
            times=True,
            progress=lambda count: self._progress.advance(1, count.bytes),
        )


class FirstMedia(JobMedia):
    """The media of a job for whoever looks at the first of them: pages of a listing, as they come."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        rules = MediaFilter(self._job.media.include, self._job.media.exclude)
        for page in self.portal.iterate(media_pages(self.storage, rules)):
            taken = [n for n, included in enumerate(page.included) if included]
            if taken:
                yield pa.RecordBatch.from_pydict(
                    {name: [getattr(page, name)[n] for n in taken] for name in _COLUMNS.names}, _COLUMNS
                )

    def facts(self, kind: FactsKind) -> Iterator[pa.Table]:
        some = (batch.filter(pc.equal(batch.column("kind"), kind.name)) for batch in self.batches())
        yield from _numbered(self._facts_read, kind, some, None)

    def objects(self, asked: Object) -> Iterator[pa.RecordBatch]:
        self.storage.facts.list_facts(tags=asked.tags)
        yield from self._with_answers(self._described(), asked)

    def _described(self) -> Iterator[pa.RecordBatch]:
        rules = MediaFilter(self._job.media.include, self._job.media.exclude, with_facts=True)
        for page in self.portal.iterate(media_pages(self.storage, rules)):
            known = [pa.array(getattr(page, field.name), field.type) for field in _COLUMNS]
            columns = [*known, *listed_columns(page.mtime, page.facts or [])]
            batch = pa.RecordBatch.from_arrays(columns, schema=_OBJECTS).filter(pa.array(page.included))
            # Small ones: whoever looks at the first rows asks about no more objects than these.
            yield from (batch.slice(n, _FIRST) for n in range(0, batch.num_rows, _FIRST))


def _numbered(
    read: Callable[[FactsKind, Iterable[pa.RecordBatch], Any], Iterator[pa.Table]],
    kind: FactsKind,
    batches: Iterable[pa.RecordBatch],
    total: int | None,
) -> Iterator[pa.Table]:
    """What is read of the batches, with positions over all of them."""
    before = 0
    for table in read(kind, batches, total):
        column = pc.add(table.column(AT), before)
        before += table.num_rows
        yield table.set_column(table.schema.get_field_index(AT), AT, column)
