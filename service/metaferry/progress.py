"""How a run tells what it is doing, and how it is told to stop; nothing here prints.

A :class:`Progress` is given to `plan` and `sync`; the command line has one that draws bars
(`cli/show/progress.py`), a library call has :class:`Silent`. A :class:`Stop` is a flag that a signal
handler, or another thread, may set at any time; a run looks at it between two documents. The run
itself sets it too, when it finds out that it must not go on.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable
from typing import Protocol

from metaferry.errors import Interrupted, MetaferryError


class Progress(Protocol):
    """Called from the thread and the event loop of a run: `advance` must be cheap and thread-safe."""

    def phase(self, name: str, total: int | None) -> None:
        """A phase begins, and the one before it has ended. `total` is None where nobody knows it."""

    def advance(self, count: int, size: int = 0) -> None:
        """So many more objects, rows, videos or documents of this phase are done.

        size: bytes that were read for them, where reading is what takes the time.
        """

    def note(self, text: str) -> None:
        """One line that the user should see at once, not at the end."""


class Silent:
    """Progress that nobody watches."""

    def phase(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int, size: int = 0) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Stopping:
    """Progress that ends the work it watches when `stop` is set, by raising `stop.error`.

    For what may be ended between any two steps because it changes nothing: listing, reading,
    counting. Writing is not: it looks at the flag itself, and drains.
    """

    def __init__(self, progress: Progress, stop: Stop) -> None:
        self._progress = progress
        self._stop = stop

    def phase(self, name: str, total: int | None) -> None:
        self._check()
        self._progress.phase(name, total)

    def advance(self, count: int, size: int = 0) -> None:
        self._check()
        self._progress.advance(count, size)

    def note(self, text: str) -> None:
        self._progress.note(text)

    def _check(self) -> None:
        if self._stop.requested:
            raise self._stop.error


class Stop:
    """Asks a run to finish what is under way and to begin nothing more. Safe from any thread.

    Plain attributes and no lock: a signal handler may come between any two steps of this code.
    """

    def __init__(self) -> None:
        self._requested = False
        self._signal: int | None = None
        self._listeners: list[Callable[[], None]] = []
        self._abandoned: MetaferryError | None = None
        self._guard: Callable[[], MetaferryError | None] | None = None

    def request(self, signal: int = signals.SIGINT) -> None:
        """Asks; the first signal that asked is the one that the exit code tells of."""
        if self._signal is None:
            self._signal = int(signal)
        self._ask()

    def abandon(self, error: MetaferryError) -> None:
        """Asks, and forbids: the run may write nothing more, not even its report. It raises `error`."""
        if self._abandoned is None:
            self._abandoned = error
            self._ask()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` when somebody asks; at once if somebody has. It may run in a signal handler."""
        self._listeners.append(listener)
        if self.requested:
            listener()

    def _ask(self) -> None:
        self._requested = True
        for listener in self._listeners:
            listener()

    def guard(self, check: Callable[[], MetaferryError | None] | None) -> None:
        """`check` is asked whenever somebody looks at the flag; what it gives abandons the run.

        It is called from any thread and must be cheap. None takes it away.
        """
        self._guard = check

    @property
    def requested(self) -> bool:
        return self.abandoned is not None or self._requested

    @property
    def abandoned(self) -> MetaferryError | None:
        """Why nothing more may be written; None as long as it may."""
        guard = self._guard
        if self._abandoned is None and guard is not None and (error := guard()) is not None:
            self.abandon(error)
        return self._abandoned

    @property
    def signal(self) -> int | None:
        """The signal that asked first; None where none did."""
        return self._signal

    @property
    def error(self) -> MetaferryError:
        """What a run that stops here raises; to be read once `requested` is true."""
        return self.abandoned or Interrupted(self._signal or signals.SIGINT)
