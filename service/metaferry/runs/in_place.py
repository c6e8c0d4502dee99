"""Reads documents in place that a run does not write but has to know.

The caller names them, as rows of target and size. They are read in parallel, in slices of bounded size,
and yielded one by one; nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from typing import Any, Final

from metaferry.errors import NotFound, Scope, StorageError
from metaferry.progress import Progress
from metaferry.storage.errors import NOTHING_THERE
from metaferry.storage.io.portal import Portal
from metaferry.storage.io.whole import read_whole
from metaferry.storage.protocol import Blob, Storage

#: A slice, two of which are in memory: so many documents, and so many bytes, unless one document has more.
_SLICE: Final = 4_096
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
    yield from zip([target for target, _ in part], read, strict=True)
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


class _Slice:
    """Documents to be read by threads, a share at a time, and what they read of each."""

    def __init__(self, part: Sequence[tuple[str, int]], share: int) -> None:
        self.part = part
        self.share = share
        self.found: list[Blob | None] = [None] * len(part)
        self.begun = 0
        self.unread = len(part)
        self.done: Future[None] = Future()


class _Reader:
    """Reads slices by threads, whose number follows the concurrency limit of the storage.

    A thread makes one attempt at each document of a share, one after the other, and takes the next share
    itself: a task on the loop for each read, or for each share, costs several times as much. The threads are
    the same for all slices, so that no more of them want a turn than there are. What fails is read again on
    the loop, where the storage retries.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="metaferry-read")
        self._lock = threading.Lock()
        self._slices: deque[_Slice] = deque()  # with documents that no thread has taken
        self._running = 0
        self._ended = threading.Event()

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
        limit = max(1, self._storage.concurrency_limit)
        asked = _Slice(part, max(1, min(_SHARE, -(-len(part) // limit))))
        with self._lock:
            self._slices.append(asked)
        self._add_thread()
        await asyncio.wrap_future(asked.done)
        return asked.found

    def _add_thread(self) -> None:
        """Starts a thread, if there is something to be taken, and the concurrency limit allows one more."""
        limit = max(1, min(self._storage.concurrency_limit, _MOST_THREADS))
        with self._lock:
            if not self._slices or self._running >= limit or self._ended.is_set():
                return
            self._running += 1
        self._threads.submit(self._work)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            self._add_thread()  # each thread does: one that started all would wait for each to be scheduled
            asked, share = taken
            some = [(target, max(size, 1)) for target, size in asked.part[share]]
            try:
                asked.found[share] = self._storage.read_blocking(some, ended=self._ended.is_set)
            except BaseException as error:  # noqa: BLE001 - raised again by the task that waits
                self._end(asked, error)
            else:
                with self._lock:
                    asked.unread -= len(some)
                    over = not asked.unread
                if over:
                    self._end(asked, None)

    def _take(self) -> tuple[_Slice, slice] | None:
        """The next share; None where there is none, or more threads than the limit. Then this one ends."""
        limit = max(1, self._storage.concurrency_limit)
        with self._lock:
            if not self._slices or self._running > limit or self._ended.is_set():
                self._running -= 1
                return None
            first = self._slices[0]
            start, first.begun = first.begun, first.begun + first.share
            if first.begun >= len(first.part):
                self._slices.popleft()
            return first, slice(start, first.begun)

    def _end(self, asked: _Slice, error: BaseException | None) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._slices.remove(asked)
        with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
            if error is None:
                asked.done.set_result(None)
            else:
                asked.done.set_exception(error)

    def close(self) -> None:
        self._ended.set()
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
