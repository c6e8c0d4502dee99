"""Progress on a terminal (bars with a rate, also while listing) and in a log (a line every 30 seconds)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from rich import filesize
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from metaferry.cli.show.text import duration, safe

#: Seconds between two lines where there is no terminal.
EVERY: Final = 30.0


class Bars:
    """Live bars, one per phase; removed when the run is done (its summary has the numbers)."""

    def __init__(self, console: Console) -> None:
        self._rich = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Done(),
            _Rate(),
            _Size(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            # On a terminal results are drawn above the bars; a pipe is not redirected.
            redirect_stdout=sys.stdout.isatty(),
            refresh_per_second=8,
        )
        self._task: TaskID | None = None
        self._size = 0

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._rich.stop()

    def phase(self, name: str, total: int | None) -> None:
        if self._task is not None:
            self._rich.remove_task(self._task)
        self._size = 0
        self._task = self._rich.add_task(safe(name), total=total, size=0)

    def advance(self, count: int, size: int = 0) -> None:
        if self._task is not None:
            self._size += size
            self._rich.update(self._task, advance=count, size=self._size)

    def note(self, text: str) -> None:
        self._rich.console.print(Text(safe(text)))


class Lines:
    """A line every 30 seconds, for logs; a short run has none. Tests inject `clock` and `every`."""

    def __init__(
        self, say: Callable[[str], None], *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._name = ""
        self._total: int | None = None
        self._count = self._size = 0
        self._since = clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="metaferry-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def phase(self, name: str, total: int | None) -> None:
        with self._lock:
            self._name, self._total, self._count, self._size = safe(name), total, 0, 0
            self._since = self._clock()

    def advance(self, count: int, size: int = 0) -> None:
        with self._lock:
            self._count += count
            self._size += size

    def note(self, text: str) -> None:
        self._say(safe(text))

    def line(self) -> str:
        """The phase that is running, with its counts; "" before the first phase."""
        with self._lock:
            if not self._name:
                return ""
            spent = self._clock() - self._since
            done = f"{self._count:,}" + (f" of {self._total:,}" if self._total is not None else "")
            rate = f", {self._count / spent:,.0f}/s" if self._count and spent > 0 else ""
            read = f", {filesize.decimal(self._size)} read" if self._size else ""
            counted = f": {done}{rate}{read}" if self._count or self._total is not None else ""
            return f"{self._name}{counted} ({duration(spent)})"

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            line = self.line()
            if line:
                self._say(line)


class _Done(ProgressColumn):
    """`12,000` or `12,000 of 80,000`."""

    def render(self, task: Task) -> Text:
        if not task.completed and task.total is None:
            return Text("")
        of = f" of {int(task.total):,}" if task.total is not None else ""
        return Text(f"{int(task.completed):,}{of}")


class _Size(ProgressColumn):
    """`12.3 MB read`, where bytes are counted."""

    def render(self, task: Task) -> Text:
        size = int(task.fields.get("size", 0))
        return Text(f"{filesize.decimal(size)} read" if size else "", style="dim")


class _Rate(ProgressColumn):
    """`3,400/s`, once it is known."""

    def render(self, task: Task) -> Text:
        speed: Any = task.speed
        return Text(f"{speed:,.0f}/s" if speed and speed >= 1 else "", style="dim")
