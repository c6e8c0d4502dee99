"""Reads documents in place that a run does not write but has to know.

The caller names them, as rows of target and size. They are read in parallel, in slices of bounded size,
and yielded one by one; nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from metaferry.errors import NotFound, Scope, StorageError
from metaferry.progress import Progress
from metaferry.storage.errors import NOTHING_THERE
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.whole import read_whole
from metaferry.storage.protocol import Blob, Storage

#: A slice, two of which are in memory: so many documents, and so many bytes, unless one document has more.
_SLICE: Final = 1_024
_SLICE_BYTES: Final = 16_000_000
#: Threads that read, at most; and the documents that one takes at once: few, since the best concurrency limit
#: is found by the turns that end.
_MOST_THREADS: Final = 512
_SHARE: Final = 32


def read_in_place(
    storage: Storage, portal: Portal, rows: Iterable[tuple[str, int]], progress: Progress
) -> Iterator[tuple[str, bytes | StorageError | None]]:
    """Target and bytes of each document; None for one that is not there (any more), and the error of one
    that cannot be read.

    `rows` are target and size as listed. Raises the StorageError that concerns every document.
    """
    under_way: deque[tuple[list[tuple[str, int]], Future[list[bytes | StorageError | None]]]] = deque()
    reader = _Reader(storage)
    try:
        for part in _slices(rows):
            under_way.append((part, portal.start(reader.read(part))))
            if len(under_way) > 1:  # the next slice is read while one is used
                yield from _read_of(*under_way.popleft(), portal, progress)
        while under_way:
            yield from _read_of(*under_way.popleft(), portal, progress)
    finally:
        for _, started in under_way:
            started.cancel()
        reader.close()


def _read_of(
    part: Sequence[tuple[str, int]],
    started: Future[list[bytes | StorageError | None]],
    portal: Portal,
    progress: Progress,
) -> Iterator[tuple[str, bytes | StorageError | None]]:
    read = portal.wait(started)
    yield from ((target, data) for (target, _), data in zip(part, read, strict=True))
    progress.advance(len(part))


def metadata_of(data: bytes) -> Any:
    """What a document has under `metadata`; None where it is no document that can be read."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document.get("metadata") if isinstance(document, dict) else None


def _slices(rows: Iterable[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    part: list[tuple[str, int]] = []
    octets = 0
    for target, size in rows:
        if part and (len(part) >= _SLICE or octets + size > _SLICE_BYTES):
            yield part
            part, octets = [], 0
        part.append((target, size))
        octets += size
    if part:
        yield part


class _Reader:
    """Reads slices by threads, whose number follows the concurrency limit of the storage.

    A thread makes one attempt at each document of a share, one after the other: a read by a task on the loop
    costs several times as much. What fails is read again on the loop, where the storage retries.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="metaferry-read")

    async def read(self, part: Sequence[tuple[str, int]]) -> list[bytes | StorageError | None]:
        """The bytes of each document of a slice, the error of one that cannot be read, None for one that is
        not there."""
        storage = self._storage
        found: list[bytes | StorageError | None] = [None] * len(part)
        left: Sequence[int] = range(len(part))
        if storage.reads_directly:
            blobs = await self._read_directly(part)
            found = [None if blob is None or blob.size > len(blob.data) else blob.data for blob in blobs]
            left = [n for n, data in enumerate(found) if data is None]
        if left:
            rest = await asyncio.gather(*(_read_one(storage, *part[n]) for n in left))
            for n, data in zip(left, rest, strict=True):
                found[n] = data
        return found

    async def _read_directly(self, part: Sequence[tuple[str, int]]) -> list[Blob | None]:
        loop, ended = asyncio.get_running_loop(), threading.Event()
        limit = max(1, self._storage.concurrency_limit)
        share = max(1, min(_SHARE, -(-len(part) // limit)))
        found: list[Blob | None] = [None] * len(part)
        starts = iter(range(0, len(part), share))

        def read(start: int) -> None:
            some = [(target, max(size, 1)) for target, size in part[start : start + share]]
            found[start : start + share] = self._storage.read_blocking(some, ended=ended.is_set)

        async def work() -> None:
            for start in starts:
                await loop.run_in_executor(self._threads, read, start)

        try:
            await asyncio.gather(*(work() for _ in range(limit)))
        finally:
            ended.set()  # of threads that nobody waits for any more
        return found

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


async def _read_one(storage: Storage, target: str, size: int) -> bytes | StorageError | None:
    found = await blob_in_place(storage, target, size=size)
    return found.data if isinstance(found, Blob) else found


async def blob_in_place(
    storage: Storage, target: str, *, size: int | None = None
) -> Blob | StorageError | None:
    """One document whole: None where it is not there, and the error where it alone cannot be read.

    `size` is what was listed, None where it is not known. Raises the StorageError that concerns every
    document.
    """
    try:
        if size == 0:  # no range of nothing can be asked for
            return await storage.read(target)
        return await read_whole(storage, target, size=size or 0)
    except NotFound as error:
        if not error.path:
            raise
        return None
    except StorageError as error:
        if error.scope is Scope.ALL:
            raise
        return None if error.code in NOTHING_THERE else error
