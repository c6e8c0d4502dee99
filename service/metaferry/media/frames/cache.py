"""The frame counts of earlier runs, as one Parquet object in the state folder.

Keyed by path, size, token and counting method: a video that was replaced, or a metaferry that
counts differently, misses. Answers that would come out the same again are kept, refusals
included; deadlines and broken connections are not. Everything here can be lost without harm: a
cache that is missing, damaged or of another version is an empty one, and the next run counts
again. It never decides anything and never stops a run.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from metaferry.errors import Conflict, NotFound, StorageError
from metaferry.media.frames.model import CHANGED, METHOD, FrameCount, digits_of
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition, Storage

log = logging.getLogger(__name__)

#: Version of the file's columns.
FORMAT: Final = 1

#: `save_if_due` writes after this many new counts or this many seconds.
EVERY_COUNTS: Final = 2_000
EVERY_SECONDS: Final = 60.0


class FrameCache:
    """Counts by path, for one datasource. Safe to use from many threads.

    storage, key: where the Parquet object lies, e.g. the state folder and `frames.parquet`.
    method: the counting method whose answers are asked for and kept.
    """

    def __init__(
        self,
        storage: Storage,
        portal: Portal,
        key: str = "frames.parquet",
        *,
        method: int = METHOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._portal = portal
        self._key = key
        self._method = method
        self._clock = clock
        self._counts: dict[str, tuple[int, str, FrameCount]] = {}
        self._mine: set[str] = set()  # paths added here since the last save
        self._token: str | None = None  # of the object our counts come from
        self._saved_at = clock()
        self._lock = threading.Lock()
        self._saving = threading.Lock()

    def __len__(self) -> int:
        return len(self._counts)

    def load(self) -> None:
        """Reads what earlier runs left. A cache that cannot be used is logged and taken for empty.

        Raises nothing but what makes every storage call fail (`Denied`, `Expired` … included: a
        state folder that cannot be read is the caller's concern, not a damaged cache).
        """
        stored = self._read()
        with self._lock:
            for path, entry in stored.items():
                self._counts.setdefault(path, entry)

    def get(self, path: str, size: int, token: str) -> FrameCount | None:
        """The count of exactly this version, marked as cached and as having cost nothing."""
        found = self._counts.get(path)
        if found is None or found[0] != size or found[1] != token:
            return None
        return dataclasses.replace(found[2], requests=0, bytes=0, cached=True)

    def add(self, size: int, token: str, count: FrameCount) -> None:
        """Keeps a count for this version of its path, unless the same bytes may answer otherwise."""
        if not count.settled or not token:
            return
        # Whether it was replaced just before we counted says nothing about these bytes.
        flags = tuple(flag for flag in count.flags if flag != CHANGED)
        with self._lock:
            self._counts[count.path] = (
                size,
                token,
                dataclasses.replace(count, flags=flags, explain=(), times=None, header=None),
            )
            self._mine.add(count.path)

    def save_if_due(self) -> None:
        """`save`, when enough has been counted since the last time to be worth a write."""
        with self._lock:
            due = bool(self._mine) and (
                len(self._mine) >= EVERY_COUNTS or self._clock() - self._saved_at >= EVERY_SECONDS
            )
        if due:
            self.save()

    def save(self) -> None:
        """Writes the cache in one atomic put; nothing is written when nothing was added.

        Another run that saved in between is not overwritten: its counts are taken in and the put
        is tried again. A cache that cannot be written is logged: the counts of this run are good.
        """
        with self._saving:
            with self._lock:
                mine = set(self._mine)
            if not mine:
                return
            try:
                for _ in range(3):
                    try:
                        self._put()
                        break
                    except Conflict:
                        self.load()
                else:
                    log.warning(
                        "the frame-count cache %s is busy; this run's counts are not kept", self._place
                    )
                    return
            except StorageError as error:
                log.warning("the frame-count cache %s could not be written: %s", self._place, error)
                return
            with self._lock:
                self._mine -= mine
                self._saved_at = self._clock()

    @property
    def _place(self) -> str:
        return f"{self._storage.url.rstrip('/')}/{self._key}"

    def _put(self) -> None:
        with self._lock:
            data = _encode(self._counts, self._method)
        only_if: Precondition = ABSENT if self._token is None else self._token
        if not self._storage.capabilities.honours(only_if):
            only_if = ANYTHING
        timestamp = self._portal.run(self._storage.put(self._key, data, only_if=only_if))
        self._token = timestamp.token

    def _read(self) -> dict[str, tuple[int, str, FrameCount]]:
        try:
            blob = self._portal.run(self._storage.read(self._key))
        except NotFound:
            self._token = None
            return {}
        self._token = blob.token
        try:
            return _decode(blob.data, self._method)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is only a cache
            log.warning(
                "the frame-count cache %s cannot be read (%s); the videos are counted again",
                self._place,
                type(error).__name__,
            )
            return {}


_COLUMNS: Final = ("path", "size", "token", "frames", "basis", "flags", "reason")


def _encode(counts: dict[str, tuple[int, str, FrameCount]], method: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("path", pa.string()),
            ("size", pa.int64()),
            ("token", pa.string()),
            ("frames", pa.int64()),
            ("basis", pa.string()),
            ("flags", pa.list_(pa.string())),
            ("reason", pa.string()),
        ],
        metadata={"metaferry.format": str(FORMAT), "metaferry.method": str(method)},
    )
    ordered = sorted(counts.items())
    columns: list[list[Any]] = [
        [path for path, _ in ordered],
        [size for _, (size, _, _) in ordered],
        [token for _, (_, token, _) in ordered],
        [count.frames for _, (_, _, count) in ordered],
        [count.basis for _, (_, _, count) in ordered],
        [list(count.flags) for _, (_, _, count) in ordered],
        [count.reason for _, (_, _, count) in ordered],
    ]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()


def _decode(data: bytes, method: int) -> dict[str, tuple[int, str, FrameCount]]:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    about = table.schema.metadata or {}
    if (about.get(b"metaferry.format"), about.get(b"metaferry.method")) != (
        str(FORMAT).encode(),
        str(method).encode(),
    ):
        return {}
    counts: dict[str, tuple[int, str, FrameCount]] = {}
    rows = zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True)
    for path, size, token, frames, basis, flags, reason in rows:
        count = FrameCount(path, frames, digits_of(frames), basis, tuple(flags), reason=reason)
        counts[path] = (size, token, count)
    return counts
