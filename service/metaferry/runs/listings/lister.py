"""Lists the media and the documents of a run, and says how old that listing is.

Media come from the bucket; or an inventory report; or the checkpoint of a run that died, and a listing of
the rest. Documents always come from the bucket, now, since the plan is decided from them. Where media
and documents share a datasource, a fresh listing serves both; else the two are listed in parallel.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from metaferry.errors import Inconsistent
from metaferry.job.model import Job
from metaferry.job.parts import Inventory
from metaferry.job.readers.object import asked_of_objects
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.media.inventory.report import open_inventory
from metaferry.media.inventory.rows import inventory_pages
from metaferry.media.listing import RESERVED, MediaFilter, split_page
from metaferry.planning.formats import MediaListing
from metaferry.planning.listings import Listings, listing_prefixes
from metaferry.progress import Progress
from metaferry.runs.listings.tokens import are_missing, with_tokens
from metaferry.runs.state.listing_checkpoint import Earlier, ListingCheckpoint, Unusable
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import MOST_RESTARTS, inconsistent
from metaferry.storage.listing.checked_pages import listed as listed_whole
from metaferry.storage.listing.parallel import list_parallel
from metaferry.storage.listing.scan_pool import Disordered, Keep, Range
from metaferry.storage.protocol import Entry, Storage

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Makes a listing of what lies below a prefix.
Pages = Callable[[Storage, str], AsyncIterator[list[Entry]]]

_PHASE = "Listing media and documents"


class Lister:
    """The listing of one run; `checkpoint` keeps the pages of a large one, and has those of a dead run."""

    def __init__(
        self,
        job: Job,
        storages: Storages,
        portal: Portal,
        scratch: Path,
        prefix: str,
        now: datetime,
        checkpoint: ListingCheckpoint | None,
        progress: Progress,
    ) -> None:
        self._job = job
        self._storages = storages
        self._portal = portal
        self._scratch = scratch
        self._now = now
        self._checkpoint = checkpoint
        self._progress = progress
        self._input = storages.at(job.input)
        self._lightly = storages.at(job.lightly_location)
        asked = asked_of_objects(job)
        if asked:
            self._input.facts.list_facts(tags=any(each.tags for each in asked))
        self._rules = MediaFilter(job.media.include, job.media.exclude, prefix, with_facts=bool(asked))
        self._media_prefix, self._document_prefix = listing_prefixes(prefix, all_media=job.needs_all_media)
        self._objects = 0

    def fill(self, listings: Listings) -> MediaListing:
        """Fills `listings`; returns where the media came from.

        A listing that contradicts itself is made again, twice at most. Raises JobError for an inventory
        that cannot be used, StorageError for a store that does not answer: a listing that fails is never
        taken for a short one.
        """
        self._progress.phase(_PHASE, None)
        pages: Pages = list_parallel
        begun = again = 0
        while True:
            try:
                listed = self._again(listings, pages) if begun else self._list(listings)
                self._require_consistent(listings)
                return listed
            except Unusable as error:
                log.warning("%s: the media are listed from the beginning", error)
            except Disordered:
                if pages is _in_sequence:  # a sequential listing relies on no order
                    raise
                pages = _in_sequence
                log.info("a store does not list in the order of bytes: listed again, in sequence")
            except Inconsistent as error:
                if again == MOST_RESTARTS:
                    raise
                again += 1
                log.warning("%s; it is made again", error)
            begun += 1

    def _require_consistent(self, listings: Listings) -> None:
        """Raises `Inconsistent` for what only the whole listing shows, such as a key that comes twice."""
        contradiction = listings.contradiction()
        if contradiction:
            raise inconsistent(self._input.url, "", contradiction)

    def _list(self, listings: Listings) -> MediaListing:
        inventory = self._job.media.inventory
        if inventory is not None:
            return self._from_inventory(listings, inventory, list_parallel)
        checkpoint = self._checkpoint
        earlier = checkpoint.earlier() if checkpoint is not None else None
        if checkpoint is not None and earlier is not None:
            return self._resume(listings, checkpoint, earlier)
        keep = None if checkpoint is None else _of_media(checkpoint)
        listed = self._fresh(
            listings,
            lambda storage, prefix: list_parallel(
                storage,
                prefix,
                keep=keep if prefix == self._media_prefix and storage is self._input else None,
            ),
        )
        if checkpoint is not None:
            checkpoint.finish()
        return listed

    def _again(self, listings: Listings, pages: Pages) -> MediaListing:
        if self._checkpoint is not None:
            self._checkpoint.finish()
        self._objects = 0
        listings.restart()
        inventory = self._job.media.inventory
        if inventory is not None:
            return self._from_inventory(listings, inventory, pages)
        return self._fresh(listings, pages)

    def _fresh(self, listings: Listings, pages: Pages) -> MediaListing:
        if self._input is self._lightly and not self._media_prefix and self._document_prefix == DOCUMENTS:
            with closing(self._portal.iterate(pages(self._input, ""))) as listed:
                for page in listed:
                    media, documents = split_page(page)
                    self._add_media(listings, media)
                    self._add_documents(listings, documents)
                    self._progress.advance(len(page))
        else:
            self._both(listings, self._portal.iterate(pages(self._input, self._media_prefix)), pages)
        return self._reported(MediaListing(), self._now)

    def _from_inventory(self, listings: Listings, wanted: Inventory, pages: Pages) -> MediaListing:
        listings.from_inventory = True
        options = self._job.storage_options(wanted)
        report = open_inventory(
            wanted.url,
            place="media.inventory",
            storage_for=lambda url: self._storages.of(url, options),
            portal=self._portal,
        )
        media = inventory_pages(
            report,
            self._job.input.url,
            self._media_prefix,
            scratch=self._scratch,
            portal=self._portal,
            with_facts=self._rules.with_facts,
        )
        self._both(listings, media, pages)
        return self._reported(MediaListing(basis="inventory", inventory=report.url), report.manifest.taken)

    def _resume(self, listings: Listings, checkpoint: ListingCheckpoint, earlier: Earlier) -> MediaListing:
        rest = list_parallel(self._input, self._media_prefix, keep=_of_media(checkpoint), left=earlier.left)

        def pages() -> Generator[list[Entry], None, None]:
            yield from checkpoint.pages(earlier)
            yield from self._portal.iterate(rest)

        self._both(listings, pages(), list_parallel)
        checkpoint.finish()
        return self._reported(MediaListing(resumed=earlier.objects), earlier.began)

    def _both(self, listings: Listings, media: Generator[list[Entry], None, None], pages: Pages) -> None:
        """Media from where they come, and documents from their datasource, in turn."""
        documents = self._portal.iterate(pages(self._lightly, self._document_prefix))
        # Where one listing fails, the other is closed here, and not by the garbage collector.
        with closing(media), closing(documents):
            for is_document, page in _in_turn(media, documents):
                if is_document:
                    self._add_documents(listings, page)
                else:
                    self._add_media(listings, split_page(page)[0])
                self._progress.advance(len(page))
        if self._document_prefix != DOCUMENTS:
            # schema.json lies at the root, outside the narrowed listing.
            schema = self._portal.run(listed_whole(self._lightly, SCHEMA, lambda entry: entry.path == SCHEMA))
            self._add_documents(listings, schema)

    def _add_media(self, listings: Listings, entries: list[Entry]) -> None:
        self._objects += len(entries)
        listings.add_media(self._rules.page(entries))

    def _add_documents(self, listings: Listings, entries: list[Entry]) -> None:
        if entries and are_missing(self._lightly, entries):
            entries = self._portal.run(with_tokens(self._lightly, entries))
        listings.add_documents(entries)

    def _reported(self, listed: MediaListing, as_of: datetime) -> MediaListing:
        listed.as_of = as_of.isoformat(timespec="seconds")
        listed.age = max(0.0, round((self._now - as_of).total_seconds(), 1))
        listed.objects = self._objects
        return listed


def _in_sequence(storage: Storage, prefix: str) -> AsyncIterator[list[Entry]]:
    return storage.list(prefix)


def _of_media(checkpoint: ListingCheckpoint) -> Keep:
    """Keeps the media of a page, never documents or state; also of a page without media, for its ranges."""

    async def keep(page: list[Entry], left: Callable[[], list[Range]]) -> None:
        await checkpoint.keep([entry for entry in page if not entry.path.startswith(RESERVED)], left)

    return keep


def _in_turn(*streams: Iterator[T]) -> Iterator[tuple[int, T]]:
    """The items of several iterators, one of each in turn, with the number of their iterator.

    Each reads ahead, so one waits for the store while the items of another are inserted.
    """
    left = deque(enumerate(streams))
    while left:
        number, stream = left.popleft()
        for item in stream:
            yield number, item
            left.append((number, stream))
            break
