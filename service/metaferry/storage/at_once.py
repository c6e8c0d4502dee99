"""A listing of many folders at once: as many pages under way as there are folders, up to a few.

A page names the key that the next one begins after, so one listing is a chain of round trips. The
folders of the first level are chains of their own. Nothing is guessed about the order of keys or
about where a listing may begin, which not every store that speaks S3 keeps to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from metaferry.storage.contract import Entry, Storage

#: Listings under way at once, and the folders of a level that are worth a chain of their own.
_AT_ONCE: Final = 8
_MOST_FOLDERS: Final = 200
#: Pages after which a listing is not small.
_FIRST: Final = 3


async def list_at_once(storage: Storage, prefix: str = "") -> AsyncIterator[list[Entry]]:
    """Every key below `prefix`, a page at a time, in no particular order; memory holds a few pages.

    A small listing is the plain one and costs no request more. After its first pages, which are then
    in vain, the first level is looked at: one request, and up to one more for each folder. Where
    there is one folder, or too many, the plain listing goes on. Raises what a listing raises.
    """
    plain = storage.list(prefix)
    first: list[list[Entry]] = []
    async for page in plain:
        first.append(page)
        if len(first) == _FIRST:
            break
    level = await storage.list_level(prefix) if len(first) == _FIRST else None
    if level is None or not 2 <= len(level.folders) <= _MOST_FOLDERS:
        for page in first:
            yield page
        async for page in plain:
            yield page
        return
    if level.entries:
        yield level.entries
    folders = iter(level.folders)
    pages: asyncio.Queue[list[Entry] | None] = asyncio.Queue(maxsize=_AT_ONCE)

    async def work() -> None:
        for folder in folders:
            async for page in storage.list(folder):
                await pages.put(page)

    async def all_of_them() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(_AT_ONCE, len(level.folders))):
                    tasks.create_task(work())
        finally:
            await pages.put(None)

    task = asyncio.create_task(all_of_them())
    try:
        while (found := await pages.get()) is not None:
            yield found
        await task
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
