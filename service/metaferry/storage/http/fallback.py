"""Puts from plain threads that the fsspec adapter has to make after all: a client on a loop of its own.

It is opened by the first put that needs it: a key that clients encode differently, a large body, or a store
that the HTTP client does not support. What it finds out about the store it shares with the adapter beside it.
"""

from __future__ import annotations

import asyncio
import os
import threading

from metaferry.errors import Unavailable
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Precondition, PutResult


class FsspecFallback:
    """Opened by the first put; safe to use from many threads, and in a forked child."""

    def __init__(self, fsspec: ObjectStoreAdapter) -> None:
        self._fsspec = fsspec
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Portal, ObjectStoreAdapter]] = {}  # by process

    def put(self, path: str, data: bytes, only_if: Precondition, timeout: float) -> PutResult:
        with self._lock:
            if os.getpid() not in self._open:
                self._open[os.getpid()] = (Portal().__enter__(), self._fsspec.clone())
            portal, adapter = self._open[os.getpid()]
        return portal.run(_within(timeout, adapter, path, data, only_if))

    async def renew(self) -> None:
        opened = self._open.get(os.getpid())
        if opened is not None:
            portal, adapter = opened
            await asyncio.to_thread(portal.run, adapter.renew())

    def close(self) -> None:
        with self._lock:
            opened = self._open.pop(os.getpid(), None)
        if opened is not None:
            portal, adapter = opened
            portal.run(adapter.close())
            portal.__exit__(None, None, None)


async def _within(
    timeout: float, adapter: ObjectStoreAdapter, path: str, data: bytes, only_if: Precondition
) -> PutResult:
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            return await adapter.put(path, data, only_if=only_if)
    except TimeoutError:
        if not deadline.expired():
            raise
        message = f'{adapter.url}: no answer within {timeout:.0f} s for "{path}"'
        raise Unavailable(message, url=adapter.url, path=path, code="Deadline") from None
