"""Exact frame counts of many videos, read through the storage contract.

The index of the container is asked first, which takes a few ranged reads; where it proves
nothing, a worker process scans the packets or decodes. All reads are pinned to one version of the
object, so that a count never mixes two. Every video ends in one `FrameCount`, in the order in
which they are finished; a file that crashes or hangs its worker is an answer too. What raises is
what concerns every video alike: credentials, a store that stays away, a worker that cannot be
started. Nothing is written but the cache.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias, get_args

from metaferry.errors import Changed, Corrupt, Denied, NotFound, Unsupported, UsageError
from metaferry.media.frames import index
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.model import (
    CHANGED,
    NOT_PROVED,
    SEVERAL,
    UNKNOWN_SIZE,
    FrameCount,
    Level,
    Progress,
    Video,
    digits_of,
)
from metaferry.media.frames.process import DeadlinePassed, Worker, WorkerFailed
from metaferry.media.frames.reading import SMALL, NoProof, Range, Source
from metaferry.storage.contract import Blob, Storage
from metaferry.storage.portal import Portal

log = logging.getLogger(__name__)

#: Seconds a video may take, whatever its size, and the bytes that buy one second more. Decoding
#: 720p took 287 s/GB (3.5 MB/s) on one core; 4K HEVC over a slow line may take ten times that.
DEADLINE: Final = 600.0
BYTES_A_SECOND: Final = 250_000

#: Videos whose index is asked for at a time, and ranges of one video: they wait for the store.
INDICES_AT_ONCE: Final = 32
RANGES_AT_ONCE: Final = 16

#: An index with more bytes than this waits until no other large one is in memory: the most that a
#: run holds is 32 times this, and one index of `reading.MAX_BYTES`.
LARGE_INDEX: Final = 8 << 20

#: frames, basis, reason, flags, explain, times.
_Answer: TypeAlias = tuple[
    int | None, str, str, tuple[str, ...], tuple[str, ...], tuple[Fraction, ...] | None
]

#: What S3 answers for one object in cold storage: denied, yet about this object alone.
ARCHIVED: Final = "InvalidObjectState"


def count_frames(
    storage: Storage,
    portal: Portal,
    videos: Iterable[Video],
    *,
    level: Level | None = None,
    times: bool = False,
    cache: FrameCache | None = None,
    workers: int | None = None,
    deadline: float = DEADLINE,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[FrameCount]:
    """One `FrameCount` for each of `videos` (path, size, token), in the order they are finished.

    videos: taken lazily, at most a few ahead of what is being counted. An empty token counts the
        version that is there.
    level: at most this much work; "decode" decodes whatever an index says. Default: the index,
        then a scan where it proves nothing, then decoding where that proves nothing either.
    times: also the presentation times, where the index tells them; the cache is not asked then.
    cache: asked first, and given every settled answer; saved now and then, and at the end.
    workers: processes at a time; default: one a core.
    deadline: seconds a video may take, to which its size adds (`BYTES_A_SECOND`).
    progress: called with each answer, in the thread that iterates.
    command: the worker's command line, for tests.

    Closing the iterator early kills the workers and keeps what has been counted. Raises
    `UsageError` for a level that does not exist, `MetaferryError` when workers cannot be started,
    `StorageError` when the store fails for reasons that are not about one video.
    """
    if level is not None and level not in get_args(Level):
        raise UsageError(f"there is no level {level!r}", advice=f"levels: {', '.join(get_args(Level))}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}, and one is the least")
    return _count_all(
        _Counter(storage, portal, deadline, workers or _cores(), command, level, times),
        portal,
        videos,
        cache,
        progress,
    )


def _count_all(
    counter: _Counter,
    portal: Portal,
    videos: Iterable[Video],
    cache: FrameCache | None,
    progress: Progress | None,
) -> Generator[FrameCount, None, None]:
    def tell(count: FrameCount) -> FrameCount:
        if progress is not None:
            progress(count)
        return count

    pending: dict[concurrent.futures.Future[tuple[int, str, FrameCount]], None] = {}
    threads = concurrent.futures.ThreadPoolExecutor(counter.at_once, thread_name_prefix="metaferry-frames")

    def finished(least: int) -> Iterator[FrameCount]:
        """Waits until at most `least` videos are under way; gives those that were finished."""
        while len(pending) > least:
            done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                del pending[future]
                size, token, count = future.result()
                if cache is not None:
                    cache.add(size, token, count)
                    cache.save_if_due()
                yield tell(count)

    try:
        for path, size, token in videos:
            known = cache.get(path, size, token) if cache is not None and not counter.times else None
            if known is not None:
                yield tell(known)
                continue
            pending[threads.submit(counter.count, path, size, token)] = None
            yield from finished(2 * counter.at_once)
        yield from finished(0)
    finally:
        for future in pending:
            future.cancel()
        counter.stop()
        threads.shutdown(wait=True)
        counter.close()
        if cache is not None:
            for future in pending:  # finished, yet never asked for
                if not future.cancelled() and future.exception() is None:
                    cache.add(*future.result())
            cache.save()


class _Counter:
    """Counts one video in the calling thread; the worker processes are lent to those that need one."""

    def __init__(
        self,
        storage: Storage,
        portal: Portal,
        deadline: float,
        workers: int,
        command: Sequence[str] | None,
        level: Level | None,
        times: bool,
    ) -> None:
        #: Videos under way: indices wait for the store, so there are more of them than of workers.
        self.at_once = workers if level == "decode" else max(workers, INDICES_AT_ONCE)
        self._level = level
        self.times = times
        self._storage = storage
        self._portal = portal
        self._deadline = deadline
        self._threads = max(1, _cores() // workers)
        self._started = [Worker(command) for _ in range(workers)]  # a process starts when needed
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._started:
            self._idle.put(worker)
        self.large = threading.Lock()  # one large index in memory at a time
        self._reads: set[asyncio.Task[Blob]] = set()  # touched on the portal's loop only
        self._stopping = False

    def count(self, path: str, size: int, token: str) -> tuple[int, str, FrameCount]:
        """(size, token) of the version that was counted, and the count."""
        try:
            if size == UNKNOWN_SIZE:
                return self._ask_and_probe(path)
            try:
                return size, token, self._probe(path, size, token)
            except Changed:
                log.info("%s was replaced since it was listed; the newer version is counted", path)
                return self._ask_and_probe(path, CHANGED)
        except Changed:
            reason = "changed: it is replaced again and again"
        except NotFound as error:
            if not error.path:  # the whole datasource, not one video
                raise
            reason = "gone"
        except Denied as error:
            if error.code != ARCHIVED:
                raise
            reason = f"storage: {error}"
        except (Corrupt, Unsupported) as error:
            reason = f"storage: {error}"
        return size, token, FrameCount(path, None, None, reason=reason)

    def _ask_and_probe(self, path: str, *flags: str) -> tuple[int, str, FrameCount]:
        """Counts the version that is there now."""
        now = self._portal.run(self._storage.read(path, 0, 1))
        count = self._probe(path, now.size, now.token)
        asked = dataclasses.replace(
            count,
            flags=(*flags, *count.flags),
            requests=count.requests + 1,
            bytes=count.bytes + len(now.data),
        )
        return now.size, now.token, asked

    def stop(self) -> None:
        """Ends what is under way: counts in other threads raise soon."""
        self._stopping = True
        for worker in list(self._started):
            worker.kill()
        self._portal.run(self._cancel_reads())

    def close(self) -> None:
        for worker in self._started:
            worker.close()

    def _probe(self, path: str, size: int, token: str) -> FrameCount:
        if size == 0:
            return FrameCount(path, None, None, reason="empty")
        allowed = self._deadline + size / BYTES_A_SECOND
        with contextlib.ExitStack() as held:
            ranges = _Ranges(self, path, size, token or None, time.monotonic() + allowed, held)
            frames, basis, reason, flags, explain, times = self._levels(path, size, allowed, ranges)
        return FrameCount(
            path=path,
            frames=frames,
            digits=digits_of(frames),
            basis="" if frames is None else basis,
            flags=flags,
            requests=ranges.requests,
            bytes=ranges.received,
            reason=reason,
            explain=explain,
            times=times,
        )

    def _levels(self, path: str, size: int, allowed: float, ranges: _Ranges) -> _Answer:
        """What the levels that are allowed say, the cheapest that proves anything first."""
        explain: list[str] = []
        flags: tuple[str, ...]
        try:
            container = None
            if self._level != "decode":
                source, container = index.open_source(size, ranges.fetch)
                ranges.source = source
                try:
                    found = index.count(source, container, ranges.fetch, times=self.times)
                    flags = (SEVERAL,) if found.several else ()
                    return found.frames, "index", "", flags, found.explain, found.times
                except NoProof as error:
                    explain.append(f"index: {error}")
                    if self._level == "index":
                        return None, "", f"not proved: {error}", (), tuple(explain), None
            job = {
                "size": size,
                "extension": _extension(path),
                "threads": self._threads,
                "cpu_seconds": allowed * self._threads,
            }
            # The packets of MP4 and AVI tell no more than their index does.
            if self._level == "scan" or (self._level is None and container not in ("mp4", "avi")):
                ranges.begin_again()
                frames, reason, flags = self._ask_worker({**job, "level": "scan"}, ranges, allowed)
                if frames is not None or self._level == "scan" or not reason.startswith(NOT_PROVED):
                    return frames, "scan", reason, flags, tuple(explain), None
                explain.append(f"scan: {reason.removeprefix(NOT_PROVED)}")
            ranges.begin_again()
            frames, reason, flags = self._ask_worker({**job, "level": "decode"}, ranges, allowed)
            return frames, "decoded", reason, flags, tuple(explain), None
        except (DeadlinePassed, TimeoutError):
            return None, "", f"deadline: not counted within {allowed:.0f} s", (), tuple(explain), None
        except WorkerFailed as error:
            if self._stopping:
                raise
            return None, "", f"crashed: {error}", (), tuple(explain), None

    def _ask_worker(
        self, job: dict[str, Any], ranges: _Ranges, seconds: float
    ) -> tuple[int | None, str, tuple[str, ...]]:
        worker = self._idle.get()
        try:
            return _checked(worker.run(job, ranges.serve, seconds=seconds))
        finally:
            self._idle.put(worker)

    def read(self, path: str, ranges: list[Range], version: str | None, seconds: float) -> list[Blob]:
        """Ranges of one version, at once; their blobs all name the same version and size."""
        return self._portal.run(self._read_all(path, ranges, version, seconds))

    async def _read_all(
        self, path: str, ranges: list[Range], version: str | None, seconds: float
    ) -> list[Blob]:
        if version is None and len(ranges) > 1:
            raise ValueError("ranges of a version that is not known yet")
        if len(ranges) == 1:
            return [await self._read(path, *ranges[0], version, seconds)]
        blobs: list[Blob] = []
        for first in range(0, len(ranges), RANGES_AT_ONCE):
            some = ranges[first : first + RANGES_AT_ONCE]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._read(path, *one, version, seconds)) for one in some]
            blobs.extend(task.result() for task in tasks)
        return blobs

    async def _read(self, path: str, start: int, end: int, version: str | None, seconds: float) -> Blob:
        """One ranged read, cut short by the deadline and by `stop`."""
        if self._stopping:
            raise asyncio.CancelledError
        task = asyncio.ensure_future(self._storage.read(path, start, end, version=version))
        self._reads.add(task)
        try:
            return await asyncio.wait_for(task, seconds)
        finally:
            self._reads.discard(task)

    async def _cancel_reads(self) -> None:
        for task in list(self._reads):
            task.cancel()


class _Ranges:
    """The reads of one video: pinned to the first version that answered, counted, and within its time."""

    def __init__(
        self,
        counter: _Counter,
        path: str,
        size: int,
        version: str | None,
        deadline: float,
        held: contextlib.ExitStack,
    ) -> None:
        self.requests = self.received = 0
        self.source: Source | None = None
        self._counter = counter
        self._path = path
        self._size = size
        self._version = version
        self._deadline = deadline
        self._held = held
        self._has_turn = False

    def fetch(self, ranges: list[Range]) -> list[bytes]:
        """Ranges for an index, which stay in memory: large ones wait until they are the only one."""
        if not self._has_turn and self.received + sum(end - start for start, end in ranges) > LARGE_INDEX:
            self._has_turn = True
            self._held.enter_context(self._counter.large)
        blobs = self._counter.read(self._path, ranges, self._version, self._deadline - time.monotonic())
        for blob in blobs:
            self._note(blob)
        return [blob.data for blob in blobs]

    def serve(self, start: int, length: int, seconds: float) -> bytes:
        """A range for a worker; what the index reader has read is not read again."""
        if self.source is not None and self.source.known(start, start + length):
            return self.source.peek(start, start + length)
        [blob] = self._counter.read(self._path, [(start, start + length)], self._version, seconds)
        self._note(blob)
        return blob.data

    def begin_again(self) -> None:
        """Another level begins, which holds no large index any more."""
        if self.source is not None and self._size > SMALL:
            self.source = None
        self._held.close()

    def _note(self, blob: Blob) -> None:
        self.requests += 1
        self.received += len(blob.data)
        if blob.size != self._size:
            # The listing told another size for this version: an older one, or it is wrong.
            raise Changed(f"{self._path} has another size than it was listed with", path=self._path)
        self._version = blob.token


def _checked(answer: dict[str, Any]) -> tuple[int | None, str, tuple[str, ...]]:
    """(frames, reason, flags) of a DONE message, which comes from where hostile files are parsed."""
    frames, reason, flags = answer.get("frames"), answer.get("reason"), answer.get("flags")
    if (
        not (frames is None or (type(frames) is int and 0 <= frames < 1 << 53))
        or not isinstance(reason, str)
        or (frames is None) != bool(reason)
        or not isinstance(flags, list)
        or not all(isinstance(flag, str) for flag in flags)
    ):
        raise WorkerFailed("the decoder process gave an answer that is none")
    return frames, reason, tuple(flags)


def _extension(path: str) -> str:
    name = path.rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    return extension if extension.isascii() and extension.isalnum() and len(extension) <= 8 else ""


def _cores() -> int:
    """Cores this process may use (a container may have fewer than the machine)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
