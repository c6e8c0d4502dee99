"""A large listing as many at once: folders side by side, and ranges of keys cut in two while they are read.

A page names the key that the next one begins after, so one listing is a chain of round trips. The
folders of the first level are chains of their own. Where the store says that a listing may begin after
any key (`Traits.start_key`), whoever has nothing left to do cuts a chain that is still under way in
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
from metaferry.storage.listing.key_split import LAST, between, beyond
from metaferry.storage.protocol import Entry, Storage

#: Chains under way at once, and the folders of a level that are worth a chain of their own.
_AT_ONCE: Final = 8
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


async def list_at_once(
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
        async with aclosing(_Crew(storage, [_rest(storage, each) for each in left], keep).pages()) as pages:
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
        crew = _Crew(storage, [_Chain(folder, storage.list(folder)) for folder in folders], keep)
        if entries:
            await crew.keep(entries)
            yield entries
    elif storage.traits.start_key:
        chain = _Chain(prefix, plain)
        crew = _Crew(storage, [chain], keep)
        for page in first:
            crew.note(chain, page)
            chain.given = page[-1].path
            await crew.keep(page)
            yield page
    else:
        for page in first:
            yield page
        async for page in plain:
            yield page
        return
    async with aclosing(crew.pages()) as pages:
        async for page in pages:
            yield page


def _rest(storage: Storage, left: Range) -> _Chain:
    return _Chain(
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
        if not level.folders or storage.traits.start_key:
            break
        prefix = level.folders[0]
    return [], []


@dataclass(eq=False)
class _Chain:
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


class _Crew:
    """So many tasks read the chains; one without a chain cuts somebody else's."""

    def __init__(self, storage: Storage, chains: list[_Chain], keep: Keep | None) -> None:
        self._storage = storage
        self._keep = keep if storage.traits.start_key else None
        self._waiting = deque(chains)
        self._running: list[_Chain] = []
        self._not_given = list(chains)  # not all of their pages were given out
        #: A page of a chain; no page after its last one; nothing after all of them.
        self._found: asyncio.Queue[tuple[_Chain, list[Entry]] | None] = asyncio.Queue(maxsize=_AT_ONCE)
        self._turned = asyncio.Event()  # a chain went on, began or ended
        self._cuts = storage.traits.start_key
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._pages_read = 0
        self._guesses = 0
        self._tasks = _AT_ONCE if self._cuts else min(_AT_ONCE, len(chains))

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        task = asyncio.create_task(self._all())
        try:
            while (found := await self._found.get()) is not None:
                chain, page = found
                if not page:
                    self._not_given.remove(chain)
                    continue
                chain.given = page[-1].path
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
        return [Range(chain.prefix, chain.given, chain.until) for chain in self._not_given]

    def note(self, chain: _Chain, page: list[Entry]) -> bool:
        """Takes notice of a page; whether its keys, and they after those before, are in byte order."""
        before, ordered = chain.position, True
        for entry in page:
            if entry.path <= before:
                ordered = False
            before = entry.path
        chain.first = chain.first or page[0].path
        chain.position = before
        chain.read += 1
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
                chain = self._waiting.popleft()
            else:
                turned = self._turned
                cut = await self._cut()
                if cut is None:
                    if not self._running:
                        return
                    await turned.wait()
                    continue
                chain = cut
            self._running.append(chain)
            try:
                await self._read(chain)
            finally:
                self._running.remove(chain)
                self._turn()

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    async def _read(self, chain: _Chain) -> None:
        async for page in chain.pages:
            ordered = self.note(chain, page)
            if chain.cut and not ordered:
                raise Disordered
            until = chain.until
            if until is not None and chain.position >= until:
                mine = [entry for entry in page if entry.path < until]
                if len(mine) == len(page) or page[len(mine)].path != until:
                    await self._require_gone(until)
                if mine:
                    await self._found.put((chain, mine))
                break
            await self._found.put((chain, page))
            self._turn()
        else:
            if chain.until is not None:
                await self._require_gone(chain.until)
        chain.looked_at = True  # there is nothing left to cut
        await self._found.put((chain, []))

    async def _require_gone(self, key: str) -> None:
        """The key that a chain should have met was deleted meanwhile, or the order is another one."""
        async for page in self._storage.list(key):
            if any(entry.path == key for entry in page):
                raise Disordered
            return

    # -- cutting

    async def _cut(self) -> _Chain | None:
        """The upper half of a chain that is under way, as a new one; None where that cannot be had now."""
        while self._cuts:
            chain = self._longest()
            if chain is None:
                return None
            chain.looked_at = True
            try:
                new, more = await self._try(chain)
            finally:
                chain.looked_at = False
            if new is not None or not more:
                return new
        return None

    def _longest(self) -> _Chain | None:
        """The chain of which most is thought to be left: open ones first, then the one read longest."""
        allowed = min(
            self._pages_read // _PAGES_AN_EARLY_GUESS, _EARLY_GUESSES + self._pages_read // _PAGES_A_GUESS
        )
        if self._guesses >= allowed:
            return None
        able = [
            chain
            for chain in self._running
            if chain.read and not chain.looked_at and chain.read >= chain.guess_after
        ]
        return max(able, key=lambda chain: (chain.until is None, chain.read), default=None)

    async def _try(self, chain: _Chain) -> tuple[_Chain | None, bool]:
        """One guess: the new chain, if it found one; and whether another guess may be made at once."""
        guess = self._guess(chain)
        if guess is None or guess <= chain.position:
            chain.guess_after = 2 * chain.read + 1
            return None, True
        self._guesses += 1
        pages = self._storage.list(chain.prefix, start_after=guess)
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
        if page is None or (chain.until is not None and page[0].path >= chain.until):
            chain.ceiling = guess
            return None, True
        start = page[0].path
        if chain not in self._running or start <= chain.position:  # it came there first
            return None, True
        new = _Chain(
            chain.prefix,
            _again(page, pages),
            given=guess,
            until=chain.until,
            ceiling=chain.ceiling,
            cut=True,
        )
        self._not_given.append(new)
        chain.until, chain.ceiling, chain.cut = start, guess, True
        return new, False

    def _guess(self, chain: _Chain) -> str | None:
        low, skip = chain.position, len(chain.prefix)
        if chain.until is None and (chain.ceiling is None or chain.ceiling.endswith(LAST)):
            ceiling = chain.ceiling or chain.prefix + LAST
            below = beyond(low[skip:], chain.first[skip:], ceiling[skip:], [key[skip:] for key in self._seen])
            return None if below is None else chain.prefix + below
        high = chain.until if chain.ceiling is None else chain.ceiling
        return None if high is None else between(low, high, tuple(self._seen))


async def _again(page: list[Entry], rest: AsyncIterator[list[Entry]]) -> AsyncIterator[list[Entry]]:
    yield page
    async for following in rest:
        yield following
