"""Counts one video: the cheapest level that proves anything is the answer.

The index of the container is asked first, which takes a few ranged reads; where it proves
nothing, a worker process scans the packets or decodes. What is wrong with one video is its answer;
only what concerns every video alike is raised. Decodes nothing in this process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

from metaferry.errors import Changed, Corrupt, Denied, NotFound, Unsupported
from metaferry.media.frames import index
from metaferry.media.frames.model import (
    CHANGED,
    NOT_PROVED,
    SEVERAL,
    UNKNOWN_SIZE,
    FrameCount,
    Level,
    digits_of,
)
from metaferry.media.frames.process import DeadlinePassed, Worker, WorkerFailed
from metaferry.media.frames.ranges import Ranges, Reads
from metaferry.media.frames.reading import NoProof
from metaferry.storage.contract import Storage
from metaferry.storage.portal import Portal

log = logging.getLogger(__name__)

#: Seconds a video may take, whatever its size, and the bytes that buy one second more. Decoding
#: 720p took 287 s/GB (3.5 MB/s) on one core; 4K HEVC over a slow line may take ten times that.
DEADLINE: Final = 600.0
BYTES_A_SECOND: Final = 250_000

#: Videos whose index is asked for at a time: they wait for the store.
INDICES_AT_ONCE: Final = 32

#: frames, basis, reason, flags, explain, times.
_Answer: TypeAlias = tuple[
    int | None, str, str, tuple[str, ...], tuple[str, ...], tuple[Fraction, ...] | None
]

#: What S3 answers for one object in cold storage: denied, yet about this object alone.
ARCHIVED: Final = "InvalidObjectState"


class Counter:
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
        self._reads = Reads(storage, portal)
        self._deadline = deadline
        self._threads = max(1, cores() // workers)
        self._started = [Worker(command) for _ in range(workers)]  # a process starts when needed
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._started:
            self._idle.put(worker)
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
        now = self._reads.now(path)
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
        self._reads.stop()

    def close(self) -> None:
        for worker in self._started:
            worker.close()

    def _probe(self, path: str, size: int, token: str) -> FrameCount:
        if size == 0:
            return FrameCount(path, None, None, reason="empty")
        allowed = self._deadline + size / BYTES_A_SECOND
        with contextlib.ExitStack() as held:
            ranges = Ranges(self._reads, path, size, token or None, time.monotonic() + allowed, held)
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

    def _levels(self, path: str, size: int, allowed: float, ranges: Ranges) -> _Answer:
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
        self, job: dict[str, Any], ranges: Ranges, seconds: float
    ) -> tuple[int | None, str, tuple[str, ...]]:
        worker = self._idle.get()
        try:
            return _checked(worker.run(job, ranges.serve, seconds=seconds))
        finally:
            self._idle.put(worker)


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


def cores() -> int:
    """Cores this process may use (a container may have fewer than the machine)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
