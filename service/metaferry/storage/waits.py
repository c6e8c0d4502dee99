"""Bounds of the waits of a request: its time budget, and a drain that ends waits at once.

A request waits for its turn, for `max_rate`, for a pause that the store asks for, and between two
attempts. The first two are our own limits and do not count against its budget; the others do. Nothing
here makes a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from metaferry.errors import MetaferryError, StorageError

T = TypeVar("T")


class Deferred(MetaferryError):
    """A request was abandoned while it waited, since the run is draining. It was not sent."""

    def __init__(self) -> None:
        super().__init__("left for the next run: this one is draining")


class Budget:
    """The seconds that one request has for all its attempts, from the first one on."""

    __slots__ = ("_clock", "_seconds", "_since")

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def begin(self) -> None:
        """The first attempt begins; later calls change nothing."""
        if self._since is None:
            self._since = self._clock()

    def excuse(self, seconds: float) -> None:
        """Does not count a wait that was for our own limits."""
        if self._since is not None:
            self._since += seconds

    @property
    def left(self) -> float | None:
        """Seconds left, at least 0; None before the first attempt."""
        if self._since is None:
            return None
        return max(0.0, self._seconds - (self._clock() - self._since))


class Drain:
    """Ends waits when it is requested: each raises `Deferred`. Safe from any thread, and in a signal handler.

    Lists and reads, which change nothing, are also ended while they are under way; writes under way only by
    `cut`. `attempted` is called after each write with its error or None, and the time (seconds on the clock
    of the storage). A drain without `cuts` costs writes nothing.
    """

    def __init__(
        self,
        attempted: Callable[[StorageError | None, float], None] = lambda error, now: None,
        *,
        cuts: bool = True,
    ) -> None:
        self.cuts = cuts
        self.attempted = attempted
        self._requested = False
        # No lock: a signal handler may come between any two steps. Adding, discarding and copying are
        # single steps of the interpreter.
        self._waiting: set[asyncio.Future[Any]] = set()
        self._writing: set[asyncio.Future[Any]] = set()
        self._listeners: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        return self._requested

    def request(self) -> None:
        self._requested = True
        _end_all(self._waiting)
        for listener in list(self._listeners):
            listener()

    def cut(self) -> None:
        """Also ends the writes under way."""
        _end_all(self._writing)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` when the drain is requested; at once if it has been."""
        self._listeners.append(listener)
        if self._requested:
            listener()

    def check(self) -> None:
        """Raises `Deferred` once it is requested."""
        if self._requested:
            raise Deferred

    @contextmanager
    def ending(self, future: asyncio.Future[Any], *, writes: bool = False) -> Iterator[None]:
        """Within the block, `future`, which it awaits, fails with `Deferred` when the drain is requested.

        `writes`: only when writes are cut.
        """
        futures = self._writing if writes else self._waiting
        futures.add(future)
        try:
            if self._requested and not writes:
                _end(futures, future)
            yield
        finally:
            futures.discard(future)
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, or asyncio would warn

    async def race(self, work: Coroutine[Any, Any, T], *, writes: bool = False) -> T:
        """The result of `work`; where the drain ends it first, `work` is cancelled and `Deferred` raised."""
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(work)
        try:
            with self.ending(end, writes=writes):
                both: set[asyncio.Future[Any]] = {task, end}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Deferred
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def _end_all(futures: set[asyncio.Future[Any]]) -> None:
    for future in list(futures):
        try:
            future.get_loop().call_soon_threadsafe(_end, futures, future)
        except RuntimeError:  # the loop is closed: nothing waits on it
            continue


def _end(futures: set[asyncio.Future[Any]], future: asyncio.Future[Any]) -> None:
    if future in futures and not future.done():  # else it is no longer awaited
        future.set_exception(Deferred())
