"""How a run tells what it is doing, and how it is told to stop; nothing here prints.

A :class:`Progress` is given to `plan` and `sync`; the command line has one that draws bars
(`cli/progress.py`), a library call has :class:`Silent`. A :class:`Stop` is a flag that a signal
handler, or another thread, may set at any time; a run looks at it between two documents.
"""

from __future__ import annotations

import signal as signals
import threading
from collections.abc import Callable
from typing import Protocol

from metaferry.errors import Interrupted


class Progress(Protocol):
    """Called from the thread and the event loop of a run: `advance` must be cheap and thread-safe."""

    def phase(self, name: str, total: int | None) -> None:
        """A phase begins, and the one before it has ended. `total` is None where nobody knows it."""

    def advance(self, count: int) -> None:
        """So many more objects, rows, videos or documents of this phase are done."""

    def note(self, text: str) -> None:
        """One line that the user should see at once, not at the end."""


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Stopping:
    """Progress that ends the work it watches when `stop` is set, by raising `Interrupted`.

    For what may be ended between any two steps because it changes nothing: listing, reading,
    counting. Writing is not: it looks at the flag itself, and drains.
    """

    def __init__(self, progress: Progress, stop: Stop) -> None:
        self._progress = progress
        self._stop = stop

    def phase(self, name: str, total: int | None) -> None:
        self._check()
        self._progress.phase(name, total)

    def advance(self, count: int) -> None:
        self._check()
        self._progress.advance(count)

    def note(self, text: str) -> None:
        self._progress.note(text)

    def _check(self) -> None:
        if self._stop.requested:
            raise Interrupted(self._stop.signal or signals.SIGINT)


class Stop:
    """Asks a run to finish what is under way and to begin nothing more. Safe from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._signal: int | None = None
        self._listeners: list[Callable[[], None]] = []

    def request(self, signal: int = signals.SIGINT) -> None:
        """Asks; the first signal that asked is the one that the exit code tells of."""
        if self._signal is None:
            self._signal = int(signal)
        self._event.set()
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` when somebody asks; at once if somebody has. It may run in a signal handler."""
        self._listeners.append(listener)
        if self.requested:
            listener()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    @property
    def signal(self) -> int | None:
        """The signal that asked first; None before that."""
        return self._signal
