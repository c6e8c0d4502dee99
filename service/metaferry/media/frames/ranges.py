"""The reads of a count: ranges of one version of a video, several in parallel, within its deadline.

Pinned to the version that was listed, or to the first one read: bytes of two versions are never mixed,
`Changed` is raised instead. The memory of index readers is bounded: a large index waits for its turn.
Never writes, and never parses the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Final, TypeAlias

from metaferry.errors import Changed
from metaferry.media.frames.containers.reading import SMALL, Range, Source
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob, Storage

#: Ranges of one video that are read at a time.
PARALLEL_RANGES: Final = 16

#: An index with more bytes than the first of these waits until fewer than `PARALLEL_LONG` such are in
#: memory, one with more than the second until it is the only such one. Tables take some 20 times
#: their bytes while they are checked (measured: 90 MB for 4.2 MB, 350,000 frames); without turns,
#: 32 of them at once took 2.8 GB. The interpreter checks one at a time anyway.
LONG_INDEX: Final = 512 << 10
PARALLEL_LONG: Final = 4
LARGE_INDEX: Final = 2 << 20


#: Path, number of bytes and version (None: any) of a file whose beginning is read.
Head: TypeAlias = tuple[str, int, str | None]


class Reads:
    """The reads of all videos of a run; they go through one portal and end together."""

    def __init__(self, storage: Storage, portal: Portal) -> None:
        # Turns to have an index in memory, taken in this order, so that none waits for one behind it.
        self.turns = (
            (LONG_INDEX, threading.BoundedSemaphore(PARALLEL_LONG)),
            (LARGE_INDEX, threading.BoundedSemaphore(1)),
        )
        self._storage = storage
        self._portal = portal
        self._under_way: set[asyncio.Task[Blob]] = set()  # touched on the portal's loop only
        self._stopping = False

    def now(self, path: str) -> Blob:
        """The first byte of the version that is there now, with its size and token."""
        return self._portal.run(self._storage.read(path, 0, 1))

    def stop(self) -> None:
        """Ends the reads under way and refuses new ones."""
        self._stopping = True
        self._portal.run(self._cancel())

    def read(self, path: str, ranges: list[Range], version: str | None, seconds: float) -> list[Blob]:
        """Ranges of one version, at once; their blobs all name the same version and size."""
        return self._portal.run(self._read_all(path, ranges, version, seconds))

    def heads(self, files: Sequence[Head], seconds: float) -> list[Blob | BaseException]:
        """The beginnings of several files at once: of each what was read, or why it was not."""
        return self._portal.run(self._read_heads(files, seconds))

    async def _read_heads(self, files: Sequence[Head], seconds: float) -> list[Blob | BaseException]:
        reads = (self._read(path, 0, end, version, seconds) for path, end, version in files)
        return await asyncio.gather(*reads, return_exceptions=True)

    async def _read_all(
        self, path: str, ranges: list[Range], version: str | None, seconds: float
    ) -> list[Blob]:
        if version is None and len(ranges) > 1:
            raise ValueError("ranges of a version that is not known yet")
        if len(ranges) == 1:
            return [await self._read(path, *ranges[0], version, seconds)]
        blobs: list[Blob] = []
        for first in range(0, len(ranges), PARALLEL_RANGES):
            some = ranges[first : first + PARALLEL_RANGES]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(path, *one, version, seconds)) for one in some]
            blobs.extend(task.result() for task in tasks)
        return blobs

    async def _read(self, path: str, start: int, end: int, version: str | None, seconds: float) -> Blob:
        """One ranged read, cut short by the deadline and by `stop`."""
        if self._stopping:
            raise asyncio.CancelledError
        task = asyncio.ensure_future(self._storage.read(path, start, end, version=version))
        self._under_way.add(task)
        try:
            return await asyncio.wait_for(task, seconds)
        finally:
            self._under_way.discard(task)

    async def _cancel(self) -> None:
        for task in list(self._under_way):
            task.cancel()


class Ranges:
    """The reads of one video: pinned to one version, counted, and within the deadline."""

    def __init__(
        self,
        reads: Reads,
        path: str,
        size: int,
        version: str | None,
        deadline: float,
        turns: contextlib.ExitStack,
    ) -> None:
        self.requests = self.received = 0
        self.source: Source | None = None
        self._reads = reads
        self._path = path
        self._size = size
        self._version = version
        self._deadline = deadline
        self._turns_held = turns
        self._turns = 0  # how many of `Reads.turns` it has

    def fetch(self, ranges: list[Range]) -> list[bytes]:
        """Ranges for an index, which stay in memory: that of a long video waits for its turn."""
        wanted = self.received + sum(end - start for start, end in ranges)
        for least, turn in self._reads.turns[self._turns :]:
            if wanted > least:
                self._turns += 1
                self._turns_held.enter_context(turn)
        blobs = self._reads.read(self._path, ranges, self._version, self._deadline - time.monotonic())
        for blob in blobs:
            self._note(blob)
        return [blob.data for blob in blobs]

    def serve(self, start: int, length: int, seconds: float) -> bytes:
        """A range for a worker; what the index reader has read is not read again."""
        if self.source is not None and self.source.known(start, start + length):
            return self.source.peek(start, start + length)
        [blob] = self._reads.read(self._path, [(start, start + length)], self._version, seconds)
        self._note(blob)
        return blob.data

    def begin_again(self) -> None:
        """Another level begins, which holds no large index any more."""
        if self.source is not None and self._size > SMALL:
            self.source = None
        self._turns_held.close()

    def _note(self, blob: Blob) -> None:
        self.requests += 1
        self.received += len(blob.data)
        if blob.size != self._size:
            # The listing told another size for this version: an older one, or it is wrong.
            raise Changed(f"{self._path} has another size than it was listed with", path=self._path)
        self._version = blob.token
