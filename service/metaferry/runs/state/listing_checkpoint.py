"""The pages of a large listing of media, kept so that the run after a killed one resumes from them.

A listing of a hundred million objects takes hours and costs money. Every so many objects its pages go
to the state folder as a Parquet file, and after it what is still to be listed; the next run of the same
job within some hours reads them and lists the rest. A listing that is not large costs nothing here.
Documents are never kept: what is in place has to be known as it is. A folder of pages that cannot be
written or read is logged, and the listing is made without it.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from metaferry.errors import NotFound, StorageError
from metaferry.media.object_facts.listed import FACTS, fact_columns, facts_in, facts_of
from metaferry.planning.formats import VERSION
from metaferry.runs.state.folder import LISTING, RunHistory, State
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.scan_pool import Range
from metaferry.storage.protocol import DescribedEntry, Entry

log = logging.getLogger(__name__)

#: Objects of a piece; a listing that ends before keeps none.
EVERY: Final = 200_000
#: Seconds after which a listing that was cut off is made anew.
LONGEST: Final = 6 * 3600

_PROGRESS: Final = "progress.json"
_COLUMNS: Final = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("token", pa.string()), ("mtime", pa.float64())]
)


class Unusable(Exception):
    """Pages that were kept are damaged or gone: the listing begins anew."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The listing of a run that died: when it began, its objects and pieces, and the ranges that are left."""

    began: datetime
    objects: int
    pieces: tuple[str, ...]
    left: tuple[Range, ...]


class ListingCheckpoint:
    """The pages of one run's listing, in `runs/<run id>/listing/`. `address` says what is listed; `facts`:
    the entries are `DescribedEntry`, and what their listing says besides is kept too."""

    def __init__(
        self,
        state: State,
        portal: Portal,
        run_id: str,
        address: str,
        history: RunHistory,
        now: datetime,
        *,
        facts: bool = False,
    ) -> None:
        self._facts = facts
        self._schema = pa.schema([*_COLUMNS, *FACTS]) if facts else _COLUMNS
        self._state = state
        self._portal = portal
        self._run_id = run_id
        self._address = address
        self._history = history
        self._began = now
        self._now = now
        self._batches: list[pa.RecordBatch] = []
        self._waiting = 0  # rows in them
        self._pieces: list[str] = []
        self._objects = 0
        self._old: set[str] = set()  # files of the same listing that earlier runs left
        self._keeping = True

    def earlier(self) -> Earlier | None:
        """The newest unfinished listing of the same address that is not too old; this one then resumes it."""
        files = frozenset(key for key in self._history.files if LISTING in key)
        newest = None
        for key in sorted((key for key in files if key.endswith(_PROGRESS)), reverse=True):
            try:
                address, found = self._read(key)
            except (StorageError, ValueError, KeyError, TypeError) as error:
                log.warning("the kept pages %s cannot be used: %s", self._state.url_of(key), error)
                continue
            if address != self._address:
                continue
            self._old |= {file for file in files if file.startswith(key.removesuffix(_PROGRESS))}
            age = (self._now - found.began).total_seconds()
            if newest is None and 0 <= age <= LONGEST and files.issuperset(found.pieces):
                newest = found
        if newest is not None:
            self._began, self._objects, self._pieces = newest.began, newest.objects, list(newest.pieces)
        return newest

    def pages(self, earlier: Earlier) -> Iterator[list[Entry]]:
        """The objects that the earlier run had listed. Raises `Unusable` for a piece that is damaged."""
        for key in earlier.pieces:
            try:
                table = pq.read_table(io.BytesIO(self._state.read_piece(key)), schema=self._schema)
            except (pa.ArrowException, OSError, NotFound) as error:
                raise Unusable(f"{self._state.url_of(key)} cannot be read") from error
            for batch in table.to_batches(max_chunksize=10_000):
                columns = (batch.column(name).to_pylist() for name in _COLUMNS.names)
                rows = zip(*columns, strict=True)
                page = [Entry(path, size, token, None, mtime) for path, size, token, mtime in rows]
                if self._facts:
                    page = list(map(DescribedEntry.of, page, facts_in(batch)))
                yield page

    async def keep(self, page: list[Entry], left: Callable[[], list[Range]]) -> None:
        """Takes a page of media; see `storage.listing.parallel.Keep`."""
        if not self._keeping or not page:
            return
        found = dict(zip(Entry._fields, zip(*page, strict=True), strict=True))
        try:
            columns = [pa.array(found[field.name], field.type) for field in _COLUMNS]
            if self._facts:
                columns += fact_columns(facts_of(page))
        except UnicodeEncodeError:  # a name on a disk that is no UTF-8
            self._keeping = False
            return
        self._batches.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        self._waiting += len(page)
        if self._waiting >= EVERY:
            await self._write(left())

    def finish(self) -> None:
        """The listing is complete, or begins anew: deletes what was kept, also by earlier runs."""
        progress = [self._key(_PROGRESS)] if self._pieces else []
        # What names the pieces goes first: without it they are nothing.
        keys = {*progress, *self._old, *self._pieces}
        self._batches, self._pieces, self._old, self._keeping = [], [], set(), False
        try:
            self._state.delete(sorted(keys, key=lambda key: (not key.endswith(_PROGRESS), key)))
        except StorageError as error:
            log.warning("the kept pages of the listing could not be deleted: %s", error)

    async def _write(self, left: list[Range]) -> None:
        batches, self._batches, self._waiting = self._batches, [], 0
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, self._schema, compression="zstd") as writer:
            writer.write_table(pa.Table.from_batches(batches, self._schema))
        key = self._key(f"{len(self._pieces):05d}.parquet")
        objects = self._objects + sum(batch.num_rows for batch in batches)
        progress: dict[str, Any] = {
            "version": VERSION,
            "address": self._address,
            "began": self._began.isoformat(),
            "objects": objects,
            "pieces": [*self._pieces, key],
            "left": [asdict(each) for each in left],
        }
        storage = self._state.storage
        try:
            await storage.put(key, sink.getvalue())
            await storage.put(self._key(_PROGRESS), json.dumps(progress, ensure_ascii=False).encode())
        except StorageError as error:
            log.warning("the pages of the listing cannot be kept, and it goes on without: %s", error)
            self._keeping = False
            return
        self._pieces.append(key)
        self._objects = objects

    def _read(self, key: str) -> tuple[str, Earlier]:
        content = json.loads(self._portal.run(self._state.storage.read(key)).data)
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']} of the format")
        return str(content["address"]), Earlier(
            datetime.fromisoformat(content["began"]),
            int(content["objects"]),
            tuple(map(str, content["pieces"])),
            tuple(Range(str(each["prefix"]), each["after"], each["until"]) for each in content["left"]),
        )

    def _key(self, name: str) -> str:
        return self._state.run_key(self._run_id, LISTING.lstrip("/") + name)
