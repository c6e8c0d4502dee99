"""Exact frame counts of many videos, each in a worker process, read through the storage contract.

The run serves the worker's reads, pinned to one version of the object, so that a count never
mixes two. Every video ends in one `FrameCount`, in the order in which they are finished; a file
that crashes or hangs its worker is an answer too. What raises is what concerns every video alike:
credentials, a store that stays away, a worker that cannot be started. Nothing is written but the
cache.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import logging
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Final, get_args

from metaferry.errors import Changed, Corrupt, Denied, NotFound, Unsupported, UsageError
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.model import CHANGED, UNKNOWN_SIZE, FrameCount, Level, Progress, Video, digits_of
from metaferry.media.frames.process import DeadlinePassed, Worker, WorkerFailed
from metaferry.storage.contract import Blob, Storage
from metaferry.storage.portal import Portal

log = logging.getLogger(__name__)

#: Seconds a video may take, whatever its size, and the bytes that buy one second more. Decoding
#: 720p took 287 s/GB (3.5 MB/s) on one core; 4K HEVC over a slow line may take ten times that.
DEADLINE: Final = 600.0
BYTES_A_SECOND: Final = 250_000

#: What S3 answers for one object in cold storage: denied, yet about this object alone.
ARCHIVED: Final = "InvalidObjectState"


def count_frames(
    storage: Storage,
    portal: Portal,
    videos: Iterable[Video],
    *,
    level: Level = "decode",
    cache: FrameCache | None = None,
    workers: int | None = None,
    deadline: float = DEADLINE,
    progress: Progress | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[FrameCount]:
    """One `FrameCount` for each of `videos` (path, size, token), in the order they are finished.

    videos: taken lazily, at most a few ahead of what is being counted. An empty token counts the
        version that is there.
    cache: asked first, and given every settled answer; saved now and then, and at the end.
    workers: processes at a time; default: one a core.
    deadline: seconds a video may take, to which its size adds (`BYTES_A_SECOND`).
    progress: called with each answer, in the thread that iterates.
    command: the worker's command line, for tests.

    Closing the iterator early kills the workers and keeps what has been counted. Raises
    `UsageError` for a level that does not exist, `MetaferryError` when workers cannot be started,
    `StorageError` when the store fails for reasons that are not about one video.
    """
    if level not in get_args(Level):
        raise UsageError(f"there is no level {level!r}", advice=f"levels: {', '.join(get_args(Level))}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}, and one is the least")
    return _count_all(
        _Counter(storage, portal, deadline, workers or _cores(), command), portal, videos, cache, progress
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
    threads = concurrent.futures.ThreadPoolExecutor(counter.workers, thread_name_prefix="metaferry-frames")

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
            known = cache.get(path, size, token) if cache is not None else None
            if known is not None:
                yield tell(known)
                continue
            pending[threads.submit(counter.count, path, size, token)] = None
            yield from finished(2 * counter.workers)
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
    """Counts one video in the calling thread; each thread keeps a worker process."""

    def __init__(
        self,
        storage: Storage,
        portal: Portal,
        deadline: float,
        workers: int,
        command: Sequence[str] | None,
    ) -> None:
        self.workers = workers
        self._storage = storage
        self._portal = portal
        self._deadline = deadline
        self._command = command
        self._threads = max(1, _cores() // workers)
        self._local = threading.local()
        self._started: list[Worker] = []
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
        requests = received = 0
        version = token or None

        def serve(start: int, length: int, seconds: float) -> bytes:
            nonlocal requests, received, version
            blob = self._portal.run(self._read(path, start, start + length, version, seconds))
            requests += 1
            received += len(blob.data)
            if blob.size != size:
                # The listing told another size for this version: an older one, or it is wrong.
                raise Changed(f"{path} has another size than it was listed with", path=path)
            version = blob.token
            return blob.data

        allowed = self._deadline + size / BYTES_A_SECOND
        job = {
            "size": size,
            "extension": _extension(path),
            "threads": self._threads,
            "cpu_seconds": allowed * self._threads,
        }
        flags: tuple[str, ...] = ()
        frames: int | None = None
        try:
            answer = self._worker().run(job, serve, seconds=allowed)
            frames, reason, flags = _checked(answer)
        except (DeadlinePassed, TimeoutError):
            reason = f"deadline: not counted within {allowed:.0f} s"
        except WorkerFailed as error:
            if self._stopping:
                raise
            reason = f"crashed: {error}"
        return FrameCount(
            path=path,
            frames=frames,
            digits=digits_of(frames),
            basis="" if frames is None else "decoded",
            flags=flags,
            requests=requests,
            bytes=received,
            reason=reason,
        )

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

    def _worker(self) -> Worker:
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = Worker(self._command)
            self._started.append(worker)
            if self._stopping:  # `stop` may have looked at the list just before
                worker.kill()
        return worker


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
