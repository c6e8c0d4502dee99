"""A store in memory with a clock of its own, and time that passes only where a test lets it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from metaferry.errors import Conflict, NotFound, StorageError
from metaferry.progress import Stop
from metaferry.runs.lease.lease import Lease
from metaferry.runs.lease.record import LeaseRecord, this_process
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob, Capabilities, Page, Precondition, PutResult
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

KEY = "state/lease.json"


class Time:
    """Whoever sleeps wakes when `turn` has brought the clock there; it stands still otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), turn))
        await turn

    async def turn(self, seconds: float) -> None:
        """Lets so many seconds pass; everybody does what falls due, in order."""
        until = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, turn = heapq.heappop(self._sleepers)
            self.now = max(self.now, due)
            if not turn.done():
                turn.set_result(None)
            await settle()
        self.now = until


async def settle() -> None:
    """Lets everybody run until all of them wait for the clock: requests to memory take a few rounds."""
    for _ in range(60):
        await asyncio.sleep(0)


class Store(MemoryAdapter):
    """Memory with a clock of its own (a million seconds off), that fails where a test says so.

    `fail(operation)` is asked before each request, `lose(operation)` after it was done.
    """

    def __init__(self, time: Time, *, conditional: bool = True, own_clock: bool = True) -> None:
        super().__init__(f"lease-{uuid.uuid4().hex}")
        self.time = time
        self.timestamps: dict[str, float] = {}
        self.calls: list[str] = []
        self.fail: Callable[[str], StorageError | None] = lambda operation: None
        self.lose: Callable[[str], StorageError | None] = lambda operation: None
        self.takes = 0.0  # seconds that a put takes
        self._own = Capabilities(listing_md5=True, conditional=conditional, own_clock=own_clock)

    @property
    def capabilities(self) -> Capabilities:
        return self._own

    def age(self, path: str, seconds: float) -> None:
        self.timestamps[path] = self.time.now + 1e6 - seconds

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        self._begin("list")
        page = await super().list_page(prefix, start_after=start_after, cursor=cursor)
        entries = [entry._replace(mtime=float(int(self.timestamps[entry.path]))) for entry in page.entries]
        return Page(entries, page.cursor)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        self._begin("read")
        return await super().read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        self._begin("put")
        if self.takes:
            takes, self.takes = self.takes, 0.0
            await self.time.sleep(takes)
        if not self._own.conditional and only_if is not ANYTHING:
            await self._check_just_before(path, only_if)
            only_if = ANYTHING
        put_result = await super().put(path, data, only_if=only_if)
        self.age(path, 0)
        self._end("put")
        return put_result

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        self._begin("delete")
        await super().delete(path, only_if=only_if)
        self._end("delete")

    async def _check_just_before(self, path: str, only_if: Precondition) -> None:
        try:
            found = (await super().read(path)).token
        except NotFound:
            found = None
        if found != (None if only_if is ABSENT else only_if):
            raise Conflict("somebody else wrote it")

    def _begin(self, operation: str) -> None:
        self.calls.append(operation)
        if (error := self.fail(operation)) is not None:
            raise error

    def _end(self, operation: str) -> None:
        if (error := self.lose(operation)) is not None:
            raise error


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int, size: int = 0) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


class Run:
    """One run's lease on a store: 60 seconds, retries for at most two."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.stop, self.progress = Stop(), Notes()
        time = store.time
        self.storage = Retrying(store, Policy(retry_for=2.0), clock=time.clock, sleep=time.sleep)
        record = this_process(name, f"run-{name}", acquired="2026-11-23T04:00:00+00:00", lease_for=60.0)
        self.lease = Lease(
            self.storage,
            KEY,
            record,
            stop=self.stop,
            progress=self.progress,
            clock=time.clock,
            sleep=time.sleep,
        )


def fallback_reason(name: str, **changes: Any) -> LeaseRecord:
    """The record of a run on another machine, whose process nobody here can ask for."""
    record = this_process(name, f"run-{name}", acquired="2026-11-23T03:00:00+00:00", lease_for=60.0)
    return replace(record, **{"machine": "another", "host": "far", "user": "anna", "pid": 4711, **changes})
