"""Reads documents in place, a few hundred at once, for a plan that has to know what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from metaferry.errors import NotFound
from metaferry.progress import Progress
from metaferry.storage.contract import Storage
from metaferry.storage.portal import Portal


class DocumentReader:
    """Answers the bytes of each document it is given, None for one that is gone.

    Raises StorageError other than that, and NotFound of a bucket.
    """

    def __init__(self, storage: Storage, portal: Portal, progress: Progress) -> None:
        self._storage = storage
        self._portal = portal
        self._progress = progress
        self._began = False

    def __call__(self, targets: Sequence[str]) -> Sequence[bytes | None]:
        if not self._began:
            self._progress.phase("Reading documents in place", None)
            self._began = True
        found = self._portal.run(_read(self._storage, targets))
        self._progress.advance(len(found), sum(len(data) for data in found if data is not None))
        return found


async def _read(storage: Storage, targets: Sequence[str]) -> list[bytes | None]:
    async def one(target: str) -> bytes | None:
        try:
            return (await storage.read(target)).data
        except NotFound as error:
            if not error.path:
                raise
            return None

    return await asyncio.gather(*map(one, targets))
