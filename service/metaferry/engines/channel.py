"""What goes through the pipe between the process pool and one of its workers.

Down: calls, in pickled form, one at a time, and the words below. Up, for each call: log lines, messages
of the call itself, and one `Answer`. A pipe that closes ends the side that still reads from it.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

#: The first bytes of what a worker receives: a call, the request to drain, a sign of life, the end.
CALL: Final = b"call"
CANCEL: Final = b"cancel"
ALIVE: Final = b"alive"
END: Final = b"end"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a worker's log, to be logged by the process of the pool."""

    logger: str
    level: int
    message: str

    def log(self) -> None:
        logging.getLogger(self.logger).log(self.level, "%s", self.message)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned, or raised."""

    value: Any = None
    error: BaseException | None = None


class WorkerChannel(logging.Handler):
    """A worker's end of its pipe. Any thread sends; what is logged goes up as `LogLine`."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(logging.WARNING)  # the rest is logged by the process of the pool itself
        self._pipe = pipe
        self._sending = threading.Lock()
        self._received = time.monotonic()

    def receive(self) -> bytes:
        """The next message. EOFError and OSError once the pool is gone."""
        message = self._pipe.recv_bytes()
        self._received = time.monotonic()
        return message

    @property
    def silence(self) -> float:
        """Seconds since the last message from the pool."""
        return time.monotonic() - self._received

    def send(self, message: object) -> None:
        """Sends to the pool. OSError once it is gone."""
        self.send_bytes(pickle.dumps(message))

    def send_bytes(self, message: bytes) -> None:
        """The same for what is pickled already."""
        with self._sending:
            self._pipe.send_bytes(message)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            self.send(LogLine(record.name, record.levelno, record.getMessage()))


_current: WorkerChannel | None = None


def open_channel(pipe: Connection) -> WorkerChannel:
    """The channel of this process, a worker, from here on."""
    global _current
    _current = WorkerChannel(pipe)
    return _current


def this_channel() -> WorkerChannel:
    """The channel of the worker that this process is. RuntimeError in any other process."""
    if _current is None:
        raise RuntimeError("this process is no worker of a pool")
    return _current
