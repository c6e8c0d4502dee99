"""The tasks of a parallel listing: they read scans of key ranges, and split scans that are under way.

Each key comes exactly once on one assumption only: a listing that begins after some key is the rest
of the whole listing, in the store's own order, whatever that is. A scan ends at the very key that the next
scan began with. Byte order is used only for guessing where to split; where a store turns out not to list in
byte order after a split relied on it, the listing ends as `Disordered`, and the caller lists sequentially.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from metaferry.errors import Denied, Expired, StorageError
from metaferry.storage.listing.key_split import LAST, beyond, midpoint_key
from metaferry.storage.protocol import Entry, Storage

#: Scans under way in parallel.
_PARALLEL: Final = 8
#: Guesses that a listing of so many pages may cost: each is at worst a request in vain, and at best a
#: page of which two scans read a part each.
_EARLY_GUESSES: Final = 8
_PAGES_AN_EARLY_GUESS: Final = 2
_PAGES_A_GUESS: Final = 16
#: Keys that are remembered for guessing.
_SEEN: Final = 64


class Disordered(Exception):
    """The store does not list in byte order: drop all pages so far, and list sequentially."""


@dataclass(frozen=True, slots=True)
class Range:
    """What is left of a listing: the keys of `prefix` after `after` (None: all), up to the key `until`,
    which does not belong to it (None: to the end)."""

    prefix: str
    after: str | None
    until: str | None


class Keep(Protocol):
    """Saves the pages of a large listing, so that it can be resumed after an interruption."""

    async def __call__(self, page: list[Entry], left: Callable[[], list[Range]]) -> None:
        """Takes a page before it is yielded; after that page, `left()` is what remains to be listed."""


@dataclass(eq=False)
class RangeScan:
    """One listing under way: the keys of `prefix` up to, and without, the key `until`."""

    prefix: str
    pages: AsyncIterator[list[Entry]]
    first: str = ""  # its first key
    position: str = ""  # the last key read
    given: str | None = None  # the last key yielded; at first, the key to start after
    until: str | None = None  # a key of the store: another scan begins with it
    ceiling: str | None = None  # no key of this scan is greater
    split: bool = False  # another scan relies on where this one begins or ends
    splitting: bool = False  # a task is guessing where to split it
    guess_after: int = 0  # pages of it before the next guess
    read: int = 0


class ListingPool:
    """Tasks that read scans; a task without one splits a scan of another task."""

    def __init__(self, storage: Storage, scans: list[RangeScan], keep: Keep | None) -> None:
        self._storage = storage
        self._keep = keep if storage.capabilities.start_key else None
        self._waiting = deque(scans)
        self._running: list[RangeScan] = []
        self._unfinished = list(scans)  # those whose pages were not all yielded
        #: A page of a scan; an empty page after its last one; None after all scans.
        self._found: asyncio.Queue[tuple[RangeScan, list[Entry]] | None] = asyncio.Queue(maxsize=_PARALLEL)
        self._changed = asyncio.Event()  # a scan went on, began or ended
        self._splittable = storage.capabilities.start_key
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._pages_read = 0
        self._guesses = 0
        self._tasks = _PARALLEL if self._splittable else min(_PARALLEL, len(scans))

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        task = asyncio.create_task(self._all())
        try:
            while (found := await self._found.get()) is not None:
                scan, page = found
                if not page:
                    self._unfinished.remove(scan)
                    continue
                scan.given = page[-1].path
                await self.keep(page)
                yield page
            await task
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def keep(self, page: list[Entry]) -> None:
        if self._keep is not None:
            await self._keep(page, self._left)

    def _left(self) -> list[Range]:
        return [Range(scan.prefix, scan.given, scan.until) for scan in self._unfinished]

    def note(self, scan: RangeScan, page: list[Entry]) -> bool:
        """Notes a page of a scan; returns whether the keys of the scan so far are in byte order."""
        before, ordered = scan.position, True
        for entry in page:
            if entry.path <= before:
                ordered = False
            before = entry.path
        scan.first = scan.first or page[0].path
        scan.position = before
        scan.read += 1
        self._pages_read += 1
        self._seen.extend((page[0].path, before))
        if not ordered:
            self._splittable = False
        return ordered

    async def _all(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._tasks):
                    tasks.create_task(self._work())
        except asyncio.CancelledError:
            raise  # the caller has stopped reading: a put into the queue would wait for ever
        except BaseException:
            await self._found.put(None)
            raise
        await self._found.put(None)

    async def _work(self) -> None:
        while True:
            if self._waiting:
                scan = self._waiting.popleft()
            else:
                changed = self._changed
                split_off = await self._split()
                if split_off is None:
                    if not self._running:
                        return
                    await changed.wait()
                    continue
                scan = split_off
            self._running.append(scan)
            try:
                await self._read(scan)
            finally:
                self._running.remove(scan)
                self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _read(self, scan: RangeScan) -> None:
        async for page in scan.pages:
            ordered = self.note(scan, page)
            if scan.split and not ordered:
                raise Disordered
            until = scan.until
            if until is not None and scan.position >= until:
                mine = [entry for entry in page if entry.path < until]
                if len(mine) == len(page) or page[len(mine)].path != until:
                    await self._require_gone(until)
                if mine:
                    await self._found.put((scan, mine))
                break
            await self._found.put((scan, page))
            self._notify()
        else:
            if scan.until is not None:
                await self._require_gone(scan.until)
        scan.splitting = True  # there is nothing left to split
        await self._found.put((scan, []))

    async def _require_gone(self, key: str) -> None:
        """Raises `Disordered` unless the key that the scan should have reached was deleted meanwhile."""
        async for page in self._storage.list(key):
            if any(entry.path == key for entry in page):
                raise Disordered
            return

    # -- splitting

    async def _split(self) -> RangeScan | None:
        """Splits a scan under way: the upper half as a new scan; None where no scan can be split now."""
        while self._splittable:
            scan = self._longest()
            if scan is None:
                return None
            scan.splitting = True
            try:
                new, more = await self._try(scan)
            finally:
                scan.splitting = False
            if new is not None or not more:
                return new
        return None

    def _longest(self) -> RangeScan | None:
        """The scan with most left, presumably: open-ended ones first, then the one with most pages read."""
        allowed = min(
            self._pages_read // _PAGES_AN_EARLY_GUESS, _EARLY_GUESSES + self._pages_read // _PAGES_A_GUESS
        )
        if self._guesses >= allowed:
            return None
        able = [
            scan
            for scan in self._running
            if scan.read and not scan.splitting and scan.read >= scan.guess_after
        ]
        return max(able, key=lambda scan: (scan.until is None, scan.read), default=None)

    async def _try(self, scan: RangeScan) -> tuple[RangeScan | None, bool]:
        """One guess: the new scan where it succeeded, and whether another guess may follow at once."""
        guess = self._guess(scan)
        if guess is None or guess <= scan.position:
            scan.guess_after = 2 * scan.read + 1
            return None, True
        self._guesses += 1
        pages = self._storage.list(scan.prefix, start_after=guess)
        try:
            page = await anext(pages, None)
        except (Denied, Expired):
            raise
        except StorageError:  # the store may refuse the guessed key; other faults show in the scans
            self._splittable = False
            return None, False
        if page is not None and page[0].path <= guess:  # the store ignored the start key
            self._splittable = False
            return None, False
        if page is None or (scan.until is not None and page[0].path >= scan.until):
            scan.ceiling = guess
            return None, True
        start = page[0].path
        if scan not in self._running or start <= scan.position:  # the scan has passed that key meanwhile
            return None, True
        new = RangeScan(
            scan.prefix,
            _with_first(page, pages),
            given=guess,
            until=scan.until,
            ceiling=scan.ceiling,
            split=True,
        )
        self._unfinished.append(new)
        scan.until, scan.ceiling, scan.split = start, guess, True
        return new, False

    def _guess(self, scan: RangeScan) -> str | None:
        low, skip = scan.position, len(scan.prefix)
        if scan.until is None and (scan.ceiling is None or scan.ceiling.endswith(LAST)):
            ceiling = scan.ceiling or scan.prefix + LAST
            below = beyond(low[skip:], scan.first[skip:], ceiling[skip:], [key[skip:] for key in self._seen])
            return None if below is None else scan.prefix + below
        high = scan.until if scan.ceiling is None else scan.ceiling
        return None if high is None else midpoint_key(low, high, tuple(self._seen))


async def _with_first(page: list[Entry], rest: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    yield page
    async for following in rest:
        yield following
