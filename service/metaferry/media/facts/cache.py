"""Facts of earlier runs, as Parquet pieces in the state folder, in the order of paths.

Each run that reads anything leaves a chain of pieces, ordered over all of them, so that a later run goes
through all chains once beside its listing, with a few thousand rows of each in memory. A row counts for one
path, size and token, and for the method that found it. All of it can be lost without harm: what is missing,
damaged or of another version is read from the files again. It never decides anything, and never stops a run.

Now and then a run writes one chain of all that it used, and deletes those before it.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metaferry.errors import NotFound, StorageError
from metaferry.media.facts.model import KeptFacts
from metaferry.media.facts.rows import AT, kept_schema
from metaferry.storage.io.portal import Portal
from metaferry.storage.listing.checked_pages import listed
from metaferry.storage.protocol import Storage

log = logging.getLogger(__name__)

#: Version of the columns.
FORMAT: Final = 1
#: A piece is written once it has so many rows, or so many seconds after the last one: a run that is killed
#: loses no more.
PIECE_ROWS: Final = 50_000
PIECE_SECONDS: Final = 60.0
#: With so many chains a run that sees all media writes one of them all.
MOST_CHAINS: Final = 8
#: Chains that are read, the newest ones: each takes some memory. Runs with a prefix only add to them.
_MOST_READ: Final = 32
#: Rows of a chain that are decoded at once.
_ROWS: Final = 8_192


class FactsCache:
    """Facts of one kind. For one pass in the order of paths, from one thread.

    storage, prefix: the state folder, and what the keys in it begin with. run_id: names what this run adds;
    ids sort by time. whole: whether the run sees all media of its job, so that what it does not see may be
    forgotten. fresh: nothing of earlier runs is used, and what this run adds counts from now on.
    """

    def __init__(
        self,
        storage: Storage,
        portal: Portal,
        prefix: str,
        kind: KeptFacts,
        run_id: str,
        *,
        whole: bool,
        fresh: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._portal = portal
        self._kind = kind
        self._folder = f"{prefix}facts/{kind.name}/"
        self._clock = clock
        self._schema = kept_schema(kind).with_metadata(
            {"metaferry.format": str(FORMAT), "metaferry.method": str(kind.method)}
        )
        keys: dict[str, list[str]] = {}
        for key in self._listed():
            keys.setdefault(key.removeprefix(self._folder).rpartition(".")[0].rpartition(".")[0], []).append(
                key
            )
        chains = [keys[name] for name in sorted(keys, reverse=True)]
        self._old = chains[_MOST_READ:]
        self._before = [key for chain in chains for key in chain]
        self._chains = [_Pieces(self._pieces(chain)) for chain in ([] if fresh else chains[:_MOST_READ])]
        # What this run adds comes behind all others of its id, should it read twice.
        own = sum(name.startswith(run_id) for name in keys)
        self._name = f"{self._folder}{run_id}-{own:02d}"
        self._rewrites = whole and len(chains) >= MOST_CHAINS
        self._waiting: list[pa.Table] = []
        self._rows = self._parts = 0
        self._saved_at = clock()
        self._works = True
        self._told_version = False

    def find(self, batch: pa.RecordBatch) -> pa.Table:
        """The rows that are known of a batch (`path`, `size`, `token`), with the position of each in it."""
        found = pa.table(
            [pa.array([], pa.int64()), *self._schema.empty_table().columns],
            names=[AT, *self._schema.names],
        )
        if not batch.num_rows:
            return found
        left = pa.table(
            [pa.array(range(batch.num_rows), pa.int64()), *(batch.column(name) for name in _KEY)],
            names=[AT, *_KEY],
        )
        first, last = batch.column("path")[0], batch.column("path")[batch.num_rows - 1]
        tables = [found]
        for chain in self._chains:  # the newest first
            rows = chain.rows_of(first, last)
            if not rows.num_rows or not left.num_rows:
                continue
            hits, left = _matched(left, rows)
            tables.append(hits)
        return pa.concat_tables(tables)

    def add(self, read: pa.Table, known: pa.Table) -> None:
        """Takes in the rows of a batch: what was read of the files, and what was known."""
        if not self._works:
            return
        rows = pa.concat_tables([read, known]) if self._rewrites else read
        if rows.num_rows:
            self._waiting.append(rows.drop_columns([AT]).sort_by("path"))
            self._rows += rows.num_rows
        if self._rows >= PIECE_ROWS or (self._rows and self._clock() - self._saved_at >= PIECE_SECONDS):
            self.save()

    def save(self) -> None:
        """Writes what was added as one more piece. One that cannot be written is logged, and is the last."""
        if not self._rows or not self._works:
            return
        table = pa.concat_tables(self._waiting).cast(self._schema)
        self._waiting, self._rows = [], 0
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="zstd", row_group_size=_ROWS)
        key = f"{self._name}.{self._parts:06d}.parquet"
        self._parts += 1
        try:
            self._portal.run(self._storage.put(key, sink.getvalue()))
        except StorageError as error:
            self._works = False
            log.warning("%s could not be written, and no more facts are kept: %s", self._url(key), error)
        self._saved_at = self._clock()

    def complete(self) -> None:
        """All media were seen: what one new chain replaces is deleted."""
        self.save()
        gone = self._before if self._rewrites and self._works else [key for one in self._old for key in one]
        try:
            for key in gone:
                self._portal.run(self._storage.delete(key))
        except StorageError as error:
            log.warning("old facts in %s could not be deleted: %s", self._url(self._folder), error)

    @property
    def pieces(self) -> int:
        """How many pieces the next run reads."""
        kept = 0 if self._rewrites else len(self._before) - sum(map(len, self._old))
        return kept + self._parts

    def _listed(self) -> list[str]:
        try:
            found = self._portal.run(listed(self._storage, self._folder))
        except NotFound:
            return []
        return sorted(entry.path for entry in found if entry.path.endswith(".parquet"))

    def _pieces(self, keys: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a chain, without the pieces that cannot be used."""
        for key in keys:
            try:
                data = self._portal.run(self._storage.read(key)).data
                with pq.ParquetFile(io.BytesIO(data)) as piece:
                    if not self._is_ours(piece.schema_arrow):
                        if not self._told_version:
                            log.warning("%s is of another version: its facts are read again", self._url(key))
                        self._told_version = True
                        continue
                    yield from piece.iter_batches(_ROWS)
            except NotFound:
                log.debug("%s is gone: another run replaced it", key)
            except (pa.ArrowException, OSError) as error:
                why = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("%s is damaged: its facts are read again (%s)", self._url(key), why)

    def _is_ours(self, schema: pa.Schema) -> bool:
        """Whether a piece is of this version, and of this method."""
        about = schema.metadata or {}
        same = all(about.get(name) == value for name, value in self._schema.metadata.items())
        return same and bool(schema.equals(self._schema, check_metadata=False))

    def _url(self, key: str) -> str:
        return f"{self._storage.url.rstrip('/')}/{key}"


_KEY: Final = ("path", "size", "token")


class _Pieces:
    """The rows of one chain, taken in the order of their paths."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._next: pa.RecordBatch | None = None
        self._ended = False

    def rows_of(self, first: pa.StringScalar, last: pa.StringScalar) -> pa.Table:
        """The rows from one path to another; those before it are passed over."""
        taken: list[pa.RecordBatch] = []
        while not self._ended:
            if self._next is None or not self._next.num_rows:
                self._next = next(self._batches, None)
                self._ended = self._next is None
                continue
            paths = self._next.column("path")
            before = pc.sum(pc.less(paths, first)).as_py() or 0
            count = (pc.sum(pc.less_equal(paths, last)).as_py() or 0) - before
            if count > 0:
                taken.append(self._next.slice(before, count))
            self._next = self._next.slice(before + max(count, 0))
            if self._next.num_rows:
                break
        return pa.Table.from_batches(taken) if taken else pa.table({name: [] for name in _KEY})


def _matched(left: pa.Table, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Of the files that are `left`: those that are among the rows in the same version, and the rest."""
    where = pc.index_in(left.column("path"), value_set=rows.column("path").combine_chunks())
    there = rows.take(pc.fill_null(where, 0))
    same = pc.and_(
        pc.is_valid(where),
        pc.and_(
            pc.equal(there.column("size"), left.column("size")),
            pc.equal(there.column("token"), left.column("token")),
        ),
    )
    same = pc.fill_null(same, False)
    hits = there.add_column(0, AT, left.column(AT)).filter(same)
    return hits, left.filter(pc.invert(same))
