"""Exact frame counts of many videos, read through the storage contract.

Every video ends in one `FrameCount`, in the order in which they are finished; a file that crashes
or hangs its worker has a result too. Errors that concern every video are raised: credentials, a store
that does not respond, a worker that cannot be started. How one video is counted is in
`counter.py`. Nothing is written but the cache.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import get_args

from metaferry.errors import UsageError
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counter import DEADLINE, Counter, cores
from metaferry.media.frames.model import FrameCount, Level, Progress, Video
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage


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
    times: also the presentation times, from the index, or else from the packets or from decoding;
        the cache is not used then.
    cache: read first, and given every settled count; saved now and then, and at the end.
    workers: processes at a time; default: one a core.
    deadline: seconds a video may take, to which its size adds (`BYTES_A_SECOND`).
    progress: called with each count, in the thread that iterates.
    command: the worker's command line, for tests.

    Closing the iterator early kills the workers and keeps what has been counted. Raises
    `UsageError` for a level that does not exist, `MetaferryError` when workers cannot be started,
    `StorageError` when the store fails for reasons that are not about one video.
    """
    if level is not None and level not in get_args(Level):
        raise UsageError(f"there is no level {level!r}", advice=f"levels: {', '.join(get_args(Level))}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers should be at least 1, is {workers}")
    return _count_all(
        Counter(storage, portal, deadline, workers or cores(), command, level, times),
        portal,
        videos,
        cache,
        progress,
    )


def _count_all(
    counter: Counter,
    portal: Portal,
    videos: Iterable[Video],
    cache: FrameCache | None,
    progress: Progress | None,
) -> Generator[FrameCount, None, None]:
    def report(count: FrameCount) -> FrameCount:
        if progress is not None:
            progress(count)
        return count

    pending: dict[concurrent.futures.Future[tuple[int, str, FrameCount]], None] = {}
    threads = concurrent.futures.ThreadPoolExecutor(counter.parallel, thread_name_prefix="metaferry-frames")

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
                yield report(count)

    try:
        for path, size, token in videos:
            known = cache.get(path, size, token) if cache is not None and not counter.times else None
            if known is not None:
                yield report(known)
                continue
            pending[threads.submit(counter.count, path, size, token)] = None
            yield from finished(2 * counter.parallel)
        yield from finished(0)
    finally:
        for future in pending:
            future.cancel()
        counter.stop()
        threads.shutdown(wait=True)
        counter.close()
        if cache is not None:
            for future in pending:  # finished, but not iterated
                if not future.cancelled() and future.exception() is None:
                    cache.add(*future.result())
            cache.save()
