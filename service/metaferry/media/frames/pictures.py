"""Small pictures of media, made in the sandboxed worker process: of images, and of a video's first frame.

Whatever a file is, it ends in one `Picture`; a file that crashes or hangs its worker has a reason too. Errors
that concern every file are raised. Nothing is decoded in this process, and nothing is written.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from metaferry.errors import Changed, Corrupt, NotFound, Protected, StorageError, Unsupported
from metaferry.media.frames.counter import cores, extension_of
from metaferry.media.frames.model import Video
from metaferry.media.frames.ranges import Ranges, Reads
from metaferry.media.frames.worker.process import DeadlinePassed, Worker, WorkerFailed
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

#: Pixels of the longer side.
EDGE: Final = 160
#: Seconds that one file may take: a picture needs its head, and a few pictures of a video.
DEADLINE: Final = 60.0

_JPEG_BEGINS, _JPEG_ENDS = b"\xff\xd8\xff", b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG of a media file; b"" where none could be made, and the `reason`."""

    path: str
    data: bytes = b""
    reason: str = ""


def make_pictures(
    storage: Storage,
    portal: Portal,
    media: Sequence[Video],
    *,
    deadline: float = DEADLINE,
    workers: int | None = None,
    progress: Callable[[Picture], None] | None = None,
    command: Sequence[str] | None = None,
) -> Iterator[Picture]:
    """One `Picture` for each of `media` (path, size, token), in their order.

    An empty token takes the version that is there. Raises `MetaferryError` where workers cannot be started,
    and `StorageError` where the store fails for reasons that are not about one file.
    """
    maker = _Maker(storage, portal, deadline, workers or cores(), command)
    threads = concurrent.futures.ThreadPoolExecutor(maker.workers, thread_name_prefix="metaferry-pictures")
    try:
        for picture in threads.map(maker.make, media):
            if progress is not None:
                progress(picture)
            yield picture
    finally:
        maker.stop()
        threads.shutdown(wait=True, cancel_futures=True)
        maker.close()


class _Maker:
    """Makes one picture in the calling thread, with a worker that is free."""

    def __init__(
        self, storage: Storage, portal: Portal, deadline: float, workers: int, command: Sequence[str] | None
    ) -> None:
        self.workers = workers
        self._reads = Reads(storage, portal)
        self._deadline = deadline
        self._started = [Worker(command) for _ in range(workers)]
        self._idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._started:
            self._idle.put(worker)

    def make(self, media: Video) -> Picture:
        path, size, token = media
        try:
            return self._make(path, size, token)
        except Changed:
            return Picture(path, reason="changed while it was read")
        except NotFound as error:
            if not error.path:  # the whole datasource, not one file
                raise
            return Picture(path, reason="gone")
        except (Corrupt, Protected, Unsupported) as error:
            return Picture(path, reason=f"storage: {error}")
        except (DeadlinePassed, TimeoutError):
            return Picture(path, reason=f"not made within {self._deadline:.0f} s")
        except WorkerFailed as error:
            return Picture(path, reason=f"crashed: {error}")

    def stop(self) -> None:
        for worker in self._started:
            worker.kill()
        with contextlib.suppress(StorageError):
            self._reads.stop()

    def close(self) -> None:
        for worker in self._started:
            worker.close()

    def _make(self, path: str, size: int, token: str) -> Picture:
        if size == 0:
            return Picture(path, reason="empty")
        with contextlib.ExitStack() as turns:
            ranges = Ranges(self._reads, path, size, token or None, time.monotonic() + self._deadline, turns)
            job = {
                "size": size,
                "extension": extension_of(path),
                "cpu_seconds": self._deadline,
                "level": "picture",
                "edge": EDGE,
            }
            worker = self._idle.get()
            try:
                return _checked(path, worker.run(job, ranges.serve, seconds=self._deadline))
            finally:
                self._idle.put(worker)


def _checked(path: str, answer: dict[str, Any]) -> Picture:
    """A worker's answer, which is not trusted: it comes from where hostile files are parsed."""
    data, reason = answer["picture"], answer.get("reason")
    whole = data.startswith(_JPEG_BEGINS) and data.endswith(_JPEG_ENDS)
    if not isinstance(reason, str) or bool(reason) == bool(data) or (data and not whole):
        raise WorkerFailed("the decoder process sent an invalid result")
    return Picture(path, data, reason[:200])
