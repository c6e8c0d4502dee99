"""A large listing as several in parallel: folders, and ranges of keys that are split while they are read.

The pages of one listing come one after the other, since each begins after the last key of the one before
it. So the folders of the first level are listed in parallel; and where a listing may begin after any key
(`Capabilities.start_key`), a scan under way is split in two by `scan_pool.py`, so that a folder of millions
of keys is listed as fast as many folders.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from metaferry.storage.listing.scan_pool import Keep, ListingPool, Range, RangeScan
from metaferry.storage.protocol import Entry, Storage

#: The most folders of a level that are listed each by itself.
_MOST_FOLDERS: Final = 200
#: Levels that are looked at below each other, where each has a single folder.
_MOST_LEVELS: Final = 4
#: Pages after which a listing is not small.
_FIRST: Final = 3


async def list_parallel(
    storage: Storage, prefix: str = "", *, keep: Keep | None = None, left: Sequence[Range] | None = None
) -> AsyncIterator[list[Entry]]:
    """Every key below `prefix`, a page at a time, in no particular order; memory holds a few pages.

    A small listing is sequential and costs no additional request. After the first pages of a larger one the
    first level is listed: one request, and up to one more for each folder; the first pages are then
    discarded. Where there is one folder, or too many, the sequential listing goes on, and may be split. That
    costs at most one additional request for every two pages, in a large listing for every sixteen. Raises
    what a listing raises, and `Disordered`, after which the pages so far are void.

    keep: called with every page of a large listing, where the store can begin after a key.
    left: what remained of an interrupted listing of this prefix; nothing else is listed.
    """
    if left is not None:
        async with aclosing(
            ListingPool(storage, [_rest(storage, each) for each in left], keep).pages()
        ) as pages:
            async for page in pages:
                yield page
        return
    sequential = storage.list(prefix)
    first: list[list[Entry]] = []
    async for page in sequential:
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
        scan = RangeScan(prefix, sequential)
        pool = ListingPool(storage, [scan], keep)
        for page in first:
            pool.note(scan, page)
            scan.given = page[-1].path
            await pool.keep(page)
            yield page
    else:
        for page in first:
            yield page
        async for page in sequential:
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
        split=True,
    )


async def _folders(storage: Storage, prefix: str) -> tuple[list[Entry], list[str]]:
    """The keys outside folders, and the folders, where there are several to list in parallel; else none."""
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
