"""Counts one video by the cheapest level that proves a count.

The index of the container comes first, which takes a few ranged reads; where it proves nothing, a worker
process scans the packets or decodes. An error of one video is its result; only errors that concern every
video are raised, such as a decoder that fails for a good video too. Nothing is decoded in this process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from metaferry.errors import Changed, Corrupt, NotFound, Protected, Unsupported
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.read import video_facts
from metaferry.media.frames import index
from metaferry.media.frames.containers.reading import Damaged, Indexed, LeftToPackets, NoProof, Source
from metaferry.media.frames.containers.sniff import Container
from metaferry.media.frames.decoder_check import DecoderCheck
from metaferry.media.frames.model import (
    CHANGED,
    LEVEL_TIMES,
    NO_COUNT,
    NO_STREAM,
    NO_TIMES,
    NOT_PROVED,
    SEVERAL,
    SOME_TIMES,
    UNKNOWN_SIZE,
    UNREADABLE,
    FrameCount,
    Level,
    Times,
    digits_of,
)
from metaferry.media.frames.ranges import Ranges, Reads
from metaferry.media.frames.worker.process import DeadlinePassed, Worker, WorkerFailed
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

log = logging.getLogger(__name__)

#: Seconds a video may take, whatever its size, and the bytes that buy one second more. Decoding
#: 720p took 287 s/GB (3.5 MB/s) on one core; 4K HEVC over a slow line may take ten times that.
DEADLINE: Final = 600.0
BYTES_A_SECOND: Final = 250_000

#: Videos whose index is read at a time: they wait for the store.
PARALLEL_INDICES: Final = 32


@dataclass(frozen=True, slots=True)
class _Answer:
    """The result of one level for a video; the fields are those of `FrameCount`."""

    frames: int | None
    basis: str = ""
    reason: str = ""
    flags: tuple[str, ...] = ()
    times: Times | None = None
    untimed: str = ""


@dataclass(slots=True)
class _Notes:
    """What is noted on the way to the answer, whatever level gives it."""

    explain: list[str] = field(default_factory=list)
    header: VideoFacts | None = None


class Counter:
    """Counts one video in the calling thread; it takes a worker process where it needs one."""

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
        self.parallel = workers if level == "decode" else max(workers, PARALLEL_INDICES)
        self._level = level
        self.times = times
        self._reads = Reads(storage, portal)
        self._deadline = deadline
        self._threads = max(1, cores() // workers)
        self._started = [Worker(command) for _ in range(workers)]  # a process starts when needed
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._started:
            self._idle.put(worker)
        self._check = DecoderCheck()
        self._stopping = False

    def count(self, path: str, size: int, token: str) -> tuple[int, str, FrameCount]:
        """(size, token) of the version that was counted, and the count."""
        try:
            if size == UNKNOWN_SIZE:
                return self._probe_current(path)
            try:
                return size, token, self._probe(path, size, token)
            except Changed:
                log.debug("%s was replaced since it was listed; the newer version is counted", path)
                return self._probe_current(path, CHANGED)
        except Changed:
            reason = "changed: it is replaced again and again"
        except NotFound as error:
            if not error.path:  # the whole datasource, not one video
                raise
            reason = "gone"
        except (Corrupt, Protected, Unsupported) as error:
            reason = f"storage: {error}"
        return (
            size,
            token,
            FrameCount(path, None, None, reason=reason, untimed=NO_COUNT if self.times else ""),
        )

    def _probe_current(self, path: str, *flags: str) -> tuple[int, str, FrameCount]:
        """Counts the version that is there now."""
        now = self._reads.now(path)
        count = self._probe(path, now.size, now.token)
        counted = dataclasses.replace(
            count,
            flags=(*flags, *count.flags),
            requests=count.requests + 1,
            bytes=count.bytes + len(now.data),
        )
        return now.size, now.token, counted

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
            return FrameCount(path, None, None, reason="empty", untimed=NO_COUNT if self.times else "")
        allowed = self._deadline + size / BYTES_A_SECOND
        with contextlib.ExitStack() as turns:
            ranges = Ranges(self._reads, path, size, token or None, time.monotonic() + allowed, turns)
            notes = _Notes()
            answer = self._answer(path, size, allowed, ranges, notes)
        return FrameCount(
            path=path,
            frames=answer.frames,
            digits=digits_of(answer.frames),
            basis="" if answer.frames is None else answer.basis,
            flags=answer.flags,
            requests=ranges.requests,
            bytes=ranges.received,
            reason=answer.reason,
            explain=tuple(notes.explain),
            times=answer.times,
            untimed=self._untimed(answer),
            header=notes.header,
        )

    def _untimed(self, answer: _Answer) -> str:
        if not self.times or answer.times is not None:
            return ""
        return NO_COUNT if answer.frames is None else answer.untimed or LEVEL_TIMES

    def _answer(self, path: str, size: int, allowed: float, ranges: Ranges, notes: _Notes) -> _Answer:
        """The result of the levels; `notes.explain` gets a line for each thing that was checked."""
        try:
            answer = self._levels(path, size, allowed, ranges, notes)
            unread = answer.reason.startswith((NO_STREAM, UNREADABLE))
            return _of_cut_file(answer, size, ranges) if unread else answer
        except (DeadlinePassed, TimeoutError):
            return _Answer(None, reason=f"deadline: not counted within {allowed:.0f} s")
        except WorkerFailed as error:
            if self._stopping:
                raise
            self._require_decoder()
            return _Answer(None, reason=f"crashed: {error}")

    def _require_decoder(self) -> None:
        """Raises `MetaferryError` where the decoder fails for a good video too."""
        worker = self._idle.get()
        try:
            self._check.require(worker)
        finally:
            self._idle.put(worker)

    def _levels(self, path: str, size: int, allowed: float, ranges: Ranges, notes: _Notes) -> _Answer:
        """The result of the allowed levels, the cheapest that proves anything first."""
        container = known = None
        fragments = False  # whether there are too many of them for the index, and nothing else is wrong
        if self._level != "decode":
            source, container = index.open_source(size, ranges.fetch)
            ranges.source = source
            try:
                found = index.count(source, container, ranges.fetch, times=self.times)
            except NoProof as error:
                self._note_header(notes, source, container, error, ranges)
                notes.explain.append(f"index: {error}")
                fragments = isinstance(error, LeftToPackets)
                if self._level == "index":
                    return _Answer(None, reason=f"{NOT_PROVED}{error}")
            else:
                self._note_header(notes, source, container, found, ranges)
                notes.explain.extend(found.explain)
                flags = (SEVERAL,) if found.several else ()
                known = _Answer(found.frames, "index", "", flags, found.times)
                if not self.times or found.times is not None or self._level == "index":
                    return known
                notes.explain.append("index: it has no times")
        job = {
            "size": size,
            "extension": extension_of(path),
            "threads": self._threads,
            "cpu_seconds": allowed * self._threads,
            "times": self.times,
            "proved": None if known is None else known.frames,
            "fragments": fragments,
        }
        # The packets of MP4 and AVI have no more than their index, except for the times of MP4, and for
        # fragments, whose index may take too many reads.
        packets = container != "avi" and (known is not None or fragments or container != "mp4")
        if self._level == "scan" or (self._level is None and packets):
            ranges.begin_again()
            answer = self._run_worker("scan", job, ranges, allowed)
            if known is not None:
                answer = dataclasses.replace(known, times=answer.times, untimed=answer.untimed)
            settled = answer.frames is not None and (not self.times or answer.untimed == NO_TIMES)
            unreadable = answer.frames is None and not answer.reason.startswith(NOT_PROVED)
            if self._level == "scan" or settled or unreadable or answer.times is not None:
                return answer
            notes.explain.append(
                f"scan: {answer.reason.removeprefix(NOT_PROVED) or answer.untimed or LEVEL_TIMES}"
            )
        ranges.begin_again()
        answer = self._run_worker("decoded", job, ranges, allowed)
        if known is not None and answer.frames in (None, known.frames):
            # The same count with and without times; what does not decode has no times.
            return dataclasses.replace(known, times=answer.times, untimed=answer.untimed or SOME_TIMES)
        return answer

    def _note_header(
        self,
        notes: _Notes,
        source: Source,
        container: Container | None,
        counted: Indexed | NoProof,
        ranges: Ranges,
    ) -> None:
        """What the headers say, out of what the count has read; only where times were requested."""
        if self.times:
            with contextlib.suppress(NoProof):  # the count has its own reason for a file that is broken
                notes.header = index.run(video_facts(source, container, counted), ranges.fetch)

    def _run_worker(self, basis: str, job: dict[str, Any], ranges: Ranges, seconds: float) -> _Answer:
        worker = self._idle.get()
        try:
            level = "scan" if basis == "scan" else "decode"
            return _checked(basis, worker.run({**job, "level": level}, ranges.serve, seconds=seconds))
        finally:
            self._idle.put(worker)


def _of_cut_file(answer: _Answer, size: int, ranges: Ranges) -> _Answer:
    """The answer for a file in which the decoder finds no video, or none that it knows.

    Where the container shows that it is cut, that is the reason: the decoder sees what is left of it.
    """
    ranges.begin_again()
    try:
        source, container = index.open_source(size, ranges.fetch)
        index.count(source, container, ranges.fetch)
    except Damaged as error:
        return dataclasses.replace(answer, reason=f"{UNREADABLE}{error}")
    except NoProof:
        pass
    return answer


def _checked(basis: str, answer: dict[str, Any]) -> _Answer:
    """The content of a DONE message, which is not trusted: it comes from where hostile files are parsed."""
    frames, reason, flags = answer.get("frames"), answer.get("reason"), answer.get("flags")
    unit, untimed, ticks = answer.get("unit"), answer.get("untimed", ""), answer["ticks"]
    if (
        not (frames is None or (type(frames) is int and 0 <= frames < 1 << 53))
        or not isinstance(reason, str)
        or (frames is None) != bool(reason)
        or not isinstance(flags, list)
        or not all(isinstance(flag, str) for flag in flags)
        or untimed not in ("", NO_TIMES, SOME_TIMES)
        or not (unit is None or (_is_unit(unit) and len(ticks) == frames))
    ):
        raise WorkerFailed("the decoder process sent an invalid result")
    times = None if unit is None else Times(Fraction(*unit), ticks)
    return _Answer(frames, basis, reason, tuple(flags), times, untimed)


def _is_unit(unit: object) -> bool:
    return (
        isinstance(unit, list)
        and len(unit) == 2
        and all(type(number) is int and 0 < number < 1 << 62 for number in unit)
    )


def extension_of(path: str) -> str:
    """The extension of a file name as FFmpeg may see it, in small letters; "" where it has none."""
    name = path.rpartition("/")[2]
    extension = name.rpartition(".")[2].lower() if "." in name else ""
    return extension if extension.isascii() and extension.isalnum() and len(extension) <= 8 else ""


def cores() -> int:
    """Cores this process may use (a container may have fewer than the machine)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
