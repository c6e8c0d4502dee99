"""Whether the decoder works on this machine at all: has a worker decode a video that is known to be good.

A worker process that ends in the middle of a video is that video's answer, unless it ends for any
video: a PyAV that this version does not know, an FFmpeg built for another processor, a limit on
memory that no video fits in. Then no video is at fault, and the run must not advise to replace them.
"""

from __future__ import annotations

import base64
import threading
import zlib
from typing import Any, Final

from metaferry.errors import MetaferryError
from metaferry.media.frames.worker import protocol
from metaferry.media.frames.worker.process import DeadlinePassed, Worker, WorkerFailed

#: MP4 with H.264, three frames of 16 x 16 pixels; the smallest of what datasources hold most.
_SAMPLE: Final = """
eNqNUj1LA0EQnc2phCCYQECLKKfEShQTFCQg5KMwhZZaaXHJbsyZWy/ebY6YwspCLAUbW7Gx019gIWjlDxAL7QQrO7s4ezlx
E4047OybfTM7s7uzAKBXxH7ddG0OEAKJqGnDK6d4fSEFAOGKwxjiGqeGQCTs6DATO4bQ9NUN5CeWIFx4lnTuTJ8638tC4QCp
uTsgg08dOuvTuTTSkRUgZBULvXHb9tBtca9KoUu0V5yaQECObyHdUb3rLPwpIRwZ4Rg1tDdFza+p/ZKt+WPnf+pGAwVIMipc
xASzXKHsaH7vJdecmgYaOqe9d0+jDsH6rb+YrVLL+fJ4JmVq5Aau7aKxSy0mY8gWN3craMQ97idVj5mkHV+COqyiHGq44Vh6
xybjrihZaF+4wqVKzKn8CX2eQl46CkXEYt+IXhlrt3GewawFkr+JtF8gvo342IrKhshJ09+ndggMVB9G7uWFSsIJXvLyBCD2
IZO4wn/lr5Ka32CMxcOrvNQEcuUeTgtQxrcC32jAI1e2lfh51OUGFbJji5z5KGVS7Q521DHqdUu9adjEL/AJnEhubA==
"""
_FRAMES: Final = 3

#: Seconds the sample may take, on a machine that is busy with other videos.
_DEADLINE: Final = 120.0


def sample() -> bytes:
    """The bytes of the video that every decoder must be able to count."""
    return zlib.decompress(base64.b64decode(_SAMPLE))


class DecoderCheck:
    """Checks the decoder once, for all threads that have seen a worker end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._passed = False
        self._error: MetaferryError | None = None

    def require(self, worker: Worker) -> None:
        """Returns when `worker` counts the sample; the second call uses the result of the first.

        Raises `MetaferryError` where it does not: then no video was counted for its own fault.
        """
        with self._lock:
            if self._error is None and not self._passed:
                fault = _fault(worker)
                self._passed = not fault
                if fault:
                    self._error = MetaferryError(
                        f"the decoder does not work here: {fault}",
                        advice="no video is at fault: one that is known to be good is not decoded either. "
                        "Install the versions of requirements.lock, or see whether memory or CPU time "
                        "is limited here",
                    )
            if self._error is not None:
                raise self._error


def _fault(worker: Worker) -> str:
    """Why `worker` does not count the sample; "" where it does."""
    data = sample()

    def serve(start: int, length: int, seconds: float) -> bytes:
        return data[start : start + length]

    job: dict[str, Any] = {
        "level": "decode",
        "size": len(data),
        "extension": "mp4",
        "threads": 1,
        "cpu_seconds": _DEADLINE,
        "times": False,
        "proved": None,
        "fragments": False,
    }
    try:
        answer = worker.run(job, serve, seconds=_DEADLINE)
    except WorkerFailed as error:
        return str(error)
    except protocol.ProtocolError as error:
        return f"the decoder process sent {error}"
    except DeadlinePassed:
        return f"a video of {_FRAMES} frames was not decoded within {_DEADLINE:.0f} s"
    frames = answer.get("frames")
    if frames == _FRAMES:
        return ""
    return f"{answer.get('reason') or f'{frames} frames'}, of a video that has {_FRAMES} frames"
