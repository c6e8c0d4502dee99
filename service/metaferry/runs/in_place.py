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
from itertools import chain
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


def read_in_place(
    storage: Storage, portal: Portal, rows: Iterable[tuple[str, int]], progress: Progress
) -> Iterator[tuple[str, bytes | StorageError | None]]:
    """Target and bytes of each document; None for one that is not there (any more), and the error of one
    that cannot be read.

    `rows` are target and size as listed. Raises the StorageError that concerns every document.
    """
    under_way: deque[tuple[list[tuple[str, int]], Future[list[bytes | StorageError | None]]]] = deque()
    threads = ThreadPoolExecutor(max(1, storage.concurrency_limit), thread_name_prefix="metaferry-read")
    try:
        for part in _slices(rows):
            under_way.append((part, portal.start(_read(storage, part, threads))))
            if len(under_way) > 1:  # the next slice is read while one is used
                yield from _read_of(*under_way.popleft(), portal, progress)
        while under_way:
            yield from _read_of(*under_way.popleft(), portal, progress)
    finally:
        for _, started in under_way:
            started.cancel()
        threads.shutdown(cancel_futures=True)


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


async def _read(
    storage: Storage, part: Sequence[tuple[str, int]], threads: ThreadPoolExecutor
) -> list[bytes | StorageError | None]:
    found: list[bytes | StorageError | None] = [None] * len(part)
    left: Sequence[int] = range(len(part))
    if storage.reads_directly:
        blobs = await _read_directly(storage, part, threads)
        found = [None if blob is None or blob.size > len(blob.data) else blob.data for blob in blobs]
        left = [n for n, data in enumerate(found) if data is None]
    rest = await asyncio.gather(*(_read_one(storage, *part[n]) for n in left))
    for n, data in zip(left, rest, strict=True):
        found[n] = data
    return found


async def _read_directly(
    storage: Storage, part: Sequence[tuple[str, int]], threads: ThreadPoolExecutor
) -> list[Blob | None]:
    """One attempt at each, from threads, each of which makes some one after the other: a read by a task on
    the loop costs several times as much."""
    loop, share = asyncio.get_running_loop(), max(1, -(-len(part) // storage.concurrency_limit))
    ended = threading.Event()

    def read(some: Sequence[tuple[str, int]]) -> Sequence[Blob | None]:
        return storage.read_blocking([(target, max(size, 1)) for target, size in some], ended=ended.is_set)

    try:
        shares = [part[n : n + share] for n in range(0, len(part), share)]
        found = await asyncio.gather(*(loop.run_in_executor(threads, read, some) for some in shares))
        return list(chain.from_iterable(found))
    finally:
        ended.set()  # of threads that nobody waits for any more


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
