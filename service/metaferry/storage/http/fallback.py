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

#: This process; what was opened in another one is of no use here.
_process = os.getpid()


def process() -> int:
    """The number of this process, which changes in a forked child."""
    return _process


def _forked() -> None:
    global _process
    _process = os.getpid()


os.register_at_fork(after_in_child=_forked)


class FsspecFallback:
    """Opened by the first put; safe to use from many threads, and in a forked child."""

    def __init__(self, fsspec: ObjectStoreAdapter) -> None:
        self._fsspec = fsspec
        self._lock = threading.Lock()
        self._open: tuple[Portal, ObjectStoreAdapter] | None = None
        self._process = _process

    def put(self, path: str, data: bytes, only_if: Precondition, timeout: float) -> PutResult:
        with self._lock:
            if self._open is None or self._process != _process:
                self._process = _process
                self._open = (Portal().__enter__(), self._fsspec.clone())
            portal, adapter = self._open
        return portal.run(_within(timeout, adapter, path, data, only_if))

    async def renew(self) -> None:
        if self._open is not None and self._process == _process:
            portal, adapter = self._open
            await asyncio.to_thread(portal.run, adapter.renew())

    def close(self) -> None:
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None and self._process == _process:
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
