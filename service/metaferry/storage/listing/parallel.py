"""A large listing as many at once: folders side by side, and ranges of keys cut in two while they are read.

A page names the key that the next one begins after, so one listing is a chain of round trips. The
folders of the first level are chains of their own. Where the store says that a listing may begin after
any key (`Capabilities.start_key`), whoever has nothing left to do cuts a chain that is still under way in
two, so that a folder of millions of keys is read as fast as many folders.

That each key comes exactly once rests on one thing only: a listing that begins after some key is the
rest of the whole listing, in the store's own order, whatever that is. A chain ends where it meets the
very key that the next one began with. Byte order only tells where to guess; a store that turns out not
to keep to it, after it was relied upon, ends the listing as `Disordered`, and it is made again plainly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from metaferry.errors import Denied, Expired, StorageError
from metaferry.storage.listing.key_split import LAST, beyond, midpoint_key
from metaferry.storage.protocol import Entry, Storage

#: Chains under way at once, and the folders of a level that are worth a chain of their own.
_PARALLEL: Final = 8
_MOST_FOLDERS: Final = 200
#: Levels that are looked at below each other, where each has a single folder.
_MOST_LEVELS: Final = 4
#: Pages after which a listing is not small.
_FIRST: Final = 3
#: Guesses that a listing of so many pages may cost: each is a request in vain at worst, and at best a
#: page that two chains read a part of.
_EARLY_GUESSES: Final = 8
_PAGES_AN_EARLY_GUESS: Final = 2
_PAGES_A_GUESS: Final = 16
#: Keys that are remembered to guess with.
_SEEN: Final = 64


class Disordered(Exception):
    """The store does not list as it says: what was given out is to be dropped and listed plainly."""


@dataclass(frozen=True, slots=True)
class Range:
    """What is left of a listing: the keys of `prefix` after `after` (None: all), up to the key `until`,
    which does not belong to it (None: to the end)."""

    prefix: str
    after: str | None
    until: str | None


class Keep(Protocol):
    """Somebody who keeps the pages of a large listing, so that it can go on after it was cut off."""

    async def __call__(self, page: list[Entry], left: Callable[[], list[Range]]) -> None:
        """Takes a page before it is given out; with it, `left()` is what the listing still has to give."""


async def list_parallel(
    storage: Storage, prefix: str = "", *, keep: Keep | None = None, left: Sequence[Range] | None = None
) -> AsyncIterator[list[Entry]]:
    """Every key below `prefix`, a page at a time, in no particular order; memory holds a few pages.

    A small listing is the plain one and costs no request more. After its first pages the first level
    is looked at: one request, and up to one more for each folder; the first pages are then in vain.
    Where there is one folder, or too many, the plain listing goes on, and may be cut. That costs one
    request more for two pages at most, in a large listing for sixteen. Raises what a listing raises,
    and `Disordered`, after which nothing that was given out counts.

    keep: told of every page of a large listing, where the store can go on from a key.
    left: what an earlier listing of this prefix had still to give; nothing else is listed.
    """
    if left is not None:
        async with aclosing(
            ListingPool(storage, [_rest(storage, each) for each in left], keep).pages()
        ) as pages:
            async for page in pages:
                yield page
        return
    plain = storage.list(prefix)
    first: list[list[Entry]] = []
    async for page in plain:
        first.append(page)
        if len(first) == _FIRST:
            break
    if len(first) < _FIRST:
        for page in first:
            yield page
        return
    entries, folders = await _folders(storage, prefix)
    if folders:
        pool = ListingPool(storage, [RangeScan(folder, storage.list(folder)) for folder in folders], keep)
        if entries:
            await pool.keep(entries)
            yield entries
    elif storage.capabilities.start_key:
        scan = RangeScan(prefix, plain)
        pool = ListingPool(storage, [scan], keep)
        for page in first:
            pool.note(scan, page)
            scan.given = page[-1].path
            await pool.keep(page)
            yield page
    else:
        for page in first:
            yield page
        async for page in plain:
            yield page
        return
    async with aclosing(pool.pages()) as pages:
        async for page in pages:
            yield page


def _rest(storage: Storage, left: Range) -> RangeScan:
    return RangeScan(
        left.prefix,
        storage.list(left.prefix, start_after=left.after),
        position=left.after or "",
        given=left.after,
        until=left.until,
        cut=True,
    )


async def _folders(storage: Storage, prefix: str) -> tuple[list[Entry], list[str]]:
    """The keys that lie in no folder and the folders, where several are worth a chain each; else none."""
    entries: list[Entry] = []
    for _ in range(_MOST_LEVELS):
        level = await storage.list_level(prefix)
        if level is None or len(level.folders) > _MOST_FOLDERS:
            break
        entries += level.entries
        if len(level.folders) > 1:
            return entries, level.folders
        if not level.folders or storage.capabilities.start_key:
            break
        prefix = level.folders[0]
    return [], []


@dataclass(eq=False)
class RangeScan:
    """One listing under way: the keys of `prefix` up to, and without, the key `until`."""

    prefix: str
    pages: AsyncIterator[list[Entry]]
    first: str = ""  # its first key, and the last one seen
    position: str = ""
    given: str | None = None  # what was given out begins after it, and ends with it
    until: str | None = None  # a key of the store: another chain begins with it
    ceiling: str | None = None  # no key of this chain is greater
    cut: bool = False  # it has a neighbour that relies on where it ends
    looked_at: bool = False  # somebody is guessing at its middle
    guess_after: int = 0  # not before so many pages of it
    read: int = 0


class ListingPool:
    """So many tasks read the chains; one without a chain cuts somebody else's."""

    def __init__(self, storage: Storage, chains: list[RangeScan], keep: Keep | None) -> None:
        self._storage = storage
        self._keep = keep if storage.capabilities.start_key else None
        self._waiting = deque(chains)
        self._running: list[RangeScan] = []
        self._not_given = list(chains)  # not all of their pages were given out
        #: A page of a chain; no page after its last one; nothing after all of them.
        self._found: asyncio.Queue[tuple[RangeScan, list[Entry]] | None] = asyncio.Queue(maxsize=_PARALLEL)
        self._turned = asyncio.Event()  # a chain went on, began or ended
        self._cuts = storage.capabilities.start_key
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._pages_read = 0
        self._guesses = 0
        self._tasks = _PARALLEL if self._cuts else min(_PARALLEL, len(chains))

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        task = asyncio.create_task(self._all())
        try:
            while (found := await self._found.get()) is not None:
                scan, page = found
                if not page:
                    self._not_given.remove(scan)
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
        return [Range(scan.prefix, scan.given, scan.until) for scan in self._not_given]

    def note(self, scan: RangeScan, page: list[Entry]) -> bool:
        """Takes notice of a page; whether its keys, and they after those before, are in byte order."""
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
            self._cuts = False
        return ordered

    async def _all(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._tasks):
                    tasks.create_task(self._work())
        except asyncio.CancelledError:
            raise  # nobody reads any more, so nothing may be waited for
        except BaseException:
            await self._found.put(None)
            raise
        await self._found.put(None)

    async def _work(self) -> None:
        while True:
            if self._waiting:
                scan = self._waiting.popleft()
            else:
                turned = self._turned
                cut = await self._cut()
                if cut is None:
                    if not self._running:
                        return
                    await turned.wait()
                    continue
                scan = cut
            self._running.append(scan)
            try:
                await self._read(scan)
            finally:
                self._running.remove(scan)
                self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    async def _read(self, scan: RangeScan) -> None:
        async for page in scan.pages:
            ordered = self.note(scan, page)
            if scan.cut and not ordered:
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
            self._turn()
        else:
            if scan.until is not None:
                await self._require_gone(scan.until)
        scan.looked_at = True  # there is nothing left to cut
        await self._found.put((scan, []))

    async def _require_gone(self, key: str) -> None:
        """The key that a chain should have met was deleted meanwhile, or the order is another one."""
        async for page in self._storage.list(key):
            if any(entry.path == key for entry in page):
                raise Disordered
            return

    # -- cutting

    async def _cut(self) -> RangeScan | None:
        """The upper half of a chain that is under way, as a new one; None where that cannot be had now."""
        while self._cuts:
            scan = self._longest()
            if scan is None:
                return None
            scan.looked_at = True
            try:
                new, more = await self._try(scan)
            finally:
                scan.looked_at = False
            if new is not None or not more:
                return new
        return None

    def _longest(self) -> RangeScan | None:
        """The chain of which most is thought to be left: open ones first, then the one read longest."""
        allowed = min(
            self._pages_read // _PAGES_AN_EARLY_GUESS, _EARLY_GUESSES + self._pages_read // _PAGES_A_GUESS
        )
        if self._guesses >= allowed:
            return None
        able = [
            scan
            for scan in self._running
            if scan.read and not scan.looked_at and scan.read >= scan.guess_after
        ]
        return max(able, key=lambda scan: (scan.until is None, scan.read), default=None)

    async def _try(self, scan: RangeScan) -> tuple[RangeScan | None, bool]:
        """One guess: the new chain, if it found one; and whether another guess may be made at once."""
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
        except StorageError:  # the guess may be what the store dislikes: the chains tell if it is not
            self._cuts = False
            return None, False
        if page is not None and page[0].path <= guess:  # it does not begin where it was asked to
            self._cuts = False
            return None, False
        if page is None or (scan.until is not None and page[0].path >= scan.until):
            scan.ceiling = guess
            return None, True
        start = page[0].path
        if scan not in self._running or start <= scan.position:  # it came there first
            return None, True
        new = RangeScan(
            scan.prefix,
            _again(page, pages),
            given=guess,
            until=scan.until,
            ceiling=scan.ceiling,
            cut=True,
        )
        self._not_given.append(new)
        scan.until, scan.ceiling, scan.cut = start, guess, True
        return new, False

    def _guess(self, scan: RangeScan) -> str | None:
        low, skip = scan.position, len(scan.prefix)
        if scan.until is None and (scan.ceiling is None or scan.ceiling.endswith(LAST)):
            ceiling = scan.ceiling or scan.prefix + LAST
            below = beyond(low[skip:], scan.first[skip:], ceiling[skip:], [key[skip:] for key in self._seen])
            return None if below is None else scan.prefix + below
        high = scan.until if scan.ceiling is None else scan.ceiling
        return None if high is None else midpoint_key(low, high, tuple(self._seen))


async def _again(page: list[Entry], rest: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    yield page
    async for following in rest:
        yield following
