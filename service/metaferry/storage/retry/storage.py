"""The one retry layer: a `Storage` over an adapter that makes single attempts.

`attempts.py` says how often and when; here is what their outcome means. A put whose answer may have
been lost is settled by reading back: bytes that equal ours are our own put. Conditions that the store
does not check are checked just before. Nothing else in the program retries, and the libraries' own
retries are switched off, so the counts in :class:`RequestCounts` are the requests that went out. A put
from a thread (`put_blocking`) is one attempt and no more; what it attempted is handed to `put`, which goes on
from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from metaferry.errors import Conflict, Corrupt, Expired, NotFound, StorageError, Throttled, Unavailable
from metaferry.storage.answers import BadAnswer, require_blob, require_level
from metaferry.storage.capabilities import Detecting
from metaferry.storage.capability_probe import Honoured, probe
from metaferry.storage.counts import RequestCounts
from metaferry.storage.errors import WRONG_TAG, Operation, storage_error
from metaferry.storage.listing.checked_pages import Pages
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Adapter,
    Batched,
    Blob,
    Capabilities,
    Direct,
    Entry,
    Level,
    Levelled,
    Page,
    Precondition,
    Put,
    PutResult,
)
from metaferry.storage.rates import RateHistory
from metaferry.storage.retry.attempts import Attempted, Attempts, Policy
from metaferry.storage.waits import Drain

log = logging.getLogger(__name__)

_ALL: Final = Honoured()


class Retrying:
    """`Storage` over `adapter`. `clock` is monotonic seconds; `sleep`, `rng` are injected by tests."""

    def __init__(
        self,
        adapter: Adapter,
        policy: Policy | None = None,
        *,
        concurrency: int = 64,
        max_rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._adapter = adapter
        self._direct = adapter if isinstance(adapter, Direct) else None
        self._batched = adapter if isinstance(adapter, Batched) else None
        self._attempts = Attempts(
            adapter,
            policy if policy is not None else Policy(),
            concurrency=concurrency,
            max_rate=max_rate,
            clock=clock,
            sleep=sleep,
            rng=rng,
        )
        self._honoured = Honoured()

    def __repr__(self) -> str:
        return f"Retrying({self._adapter!r})"

    @property
    def adapter(self) -> Adapter:
        """What stands behind; for tests and wrappers."""
        return self._adapter

    @property
    def url(self) -> str:
        return self._adapter.url

    @property
    def capabilities(self) -> Capabilities:
        capabilities, found = self._adapter.capabilities, self._honoured
        if found == _ALL:
            return capabilities
        return replace(
            capabilities,
            conditional=capabilities.conditional and found.create,
            replaces=capabilities.replaces and found.replace,
            lists_tokens=capabilities.lists_tokens and found.lists,
        )

    @property
    def requests(self) -> RequestCounts:
        return self._attempts.requests

    @property
    def rates(self) -> RateHistory:
        return self._attempts.rates

    def absorb(self, requests: RequestCounts, rates: RateHistory) -> None:
        self._attempts.absorb(requests, rates)

    @property
    def direct(self) -> bool:
        return self._direct is not None

    @property
    def concurrency_limit(self) -> int:
        return self._attempts.limiter.allowed

    async def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
        """Every key that begins with `prefix`, a page at a time; empty pages are not given out.

        Raises `Inconsistent` for pages that contradict each other.
        """
        cursor: Any | None = None
        pages = Pages(self.url, prefix)
        while True:
            page = await self._page(prefix, start_after, cursor, pages)
            pages.follow(page)
            if page.entries:
                yield page.entries
            if page.cursor is None:
                return
            cursor = page.cursor

    async def list_level(self, prefix: str) -> Level | None:
        adapter = self._adapter
        if not isinstance(adapter, Levelled):
            return None

        async def work() -> Level | None:
            level = await adapter.list_level(prefix)
            if level is not None:
                with self._understood("list", prefix):
                    require_level(level, prefix)
            return level

        return await self._attempts.all("list", 0, work, prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        wanted = None if end is None else max(0, end - start)
        version = version or None  # "": of a store whose listings name no versions

        async def work() -> Blob:
            blob = await self._adapter.read(path, start, end, version=version)
            with self._understood("read", path):
                require_blob(blob, start, end, version)
            return blob

        blob = await self._attempts.all("get", wanted, work, path)
        self._attempts.count_bytes(read=len(blob.data))
        return blob

    async def put(
        self,
        path: str,
        data: bytes,
        *,
        only_if: Precondition = ANYTHING,
        failed: StorageError | None = None,
    ) -> PutResult:
        if self._ignored(only_if):
            await self._require(path, only_if)
            only_if = ANYTHING
        try:
            found = await self._as_read(path, data) if _has_wrong_tag(failed) else None
            if found is None:
                found = await self._attempts.all(
                    "put", len(data), lambda: self._put_once(path, data, only_if), path, failed
                )
            put_result = found
        except (Conflict, Corrupt, Unavailable):
            # Even a first attempt may be the second at the server: HTTP clients send a PUT again
            # when a kept-alive connection turns out to be closed.
            settled = await self._settled(path, data)
            if settled is None:
                raise
            log.debug("%s: the answer to a put of %r was lost; it is in place", self.url, path)
            put_result = settled
        self._attempts.count_bytes(written=len(data))
        return put_result

    def put_blocking(self, puts: Sequence[Put], *, ended: Callable[[], bool] = lambda: False) -> Attempted:
        direct, batched = self._direct, self._batched
        if direct is None:
            return [None] * len(puts)
        if self._honoured != _ALL and any(self._ignored(put[2]) for put in puts):
            return [None] * len(puts)  # what is there has to be looked at first
        if batched is not None:
            return self._attempts.now(puts, lambda: batched.put_batch(puts, ended=ended), ended)
        return self._attempts.now(puts, lambda: _one_by_one(direct, puts, ended), ended)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if isinstance(only_if, str) and self._ignored(only_if):
            try:
                await self._require(path, only_if)
            except Conflict:
                if await self._gone(path):
                    return
                raise
            only_if = ANYTHING
        try:
            await self._attempts.all("delete", 0, lambda: self._adapter.delete(path, only_if=only_if), path)
        except Conflict:
            if not await self._gone(path):
                raise

    async def probe_conditions(self, path: str) -> Honoured:
        """Which conditions the store honours, by trying them (`capability_probe.py`).

        Writes and deletes `path`, which has to be an unused name. From here on `capabilities` promise only
        what the store honours; other preconditions are checked just before the request.
        """
        found = await probe(self, path)
        self.knows(found)
        if not found.create:
            log.warning("%s: this store ignores conditions on writes; they are checked just before", self.url)
        elif not found.replace:
            log.warning(
                "%s: this store does not replace an object by its tag; that is checked just before", self.url
            )
        if not found.lists:
            log.warning(
                "%s: listings show other tags than puts do: each document is asked for its own", self.url
            )
        return found

    def knows(self, found: Honoured) -> None:
        """What `probe_conditions` found out earlier, or in another process."""
        self._honoured = found

    def _ignored(self, only_if: Precondition) -> bool:
        """Whether the probe found that the store does not honour this condition."""
        if only_if is ANYTHING:
            return False
        found = self._honoured
        return not found.create or (only_if is not ABSENT and not found.replace)

    def writes_while(self, ours: Callable[[], bool]) -> None:
        self._attempts.may_write = ours

    def drained_by(self, drain: Drain | None) -> None:
        self._attempts.limiter.drain = drain

    @property
    def timeout(self) -> float:
        return self._attempts.timeout

    async def close(self) -> None:
        await self._adapter.close()

    async def _page(self, prefix: str, start_after: str | None, cursor: Any | None, pages: Pages) -> Page:
        async def work() -> Page:
            page = await self._adapter.list_page(prefix, start_after=start_after, cursor=cursor)
            with self._understood("list", prefix):
                pages.check(page)
            return page

        return await self._attempts.all("list", 0, work, prefix)

    @contextmanager
    def _understood(self, operation: Operation, path: str) -> Iterator[None]:
        """What holds for answers of every store; each adapter looks at its own besides."""
        try:
            yield
        except BadAnswer as error:
            raise storage_error(
                error.failure, store="generic", url=self.url, operation=operation, path=path
            ) from None

    # -- without conditions

    async def _require(self, path: str, only_if: Precondition) -> None:
        """The best that can be done where the store itself does not check."""
        try:
            found: str | None = (await self.read(path, 0, 1)).token
        except NotFound as error:
            if not error.path:
                raise
            found = None
        if found != (only_if if isinstance(only_if, str) else None):
            raise Conflict(f'{self.url}: somebody else wrote "{path}"', url=self.url, path=path)

    # -- lost answers

    async def _settled(self, path: str, data: bytes) -> PutResult | None:
        """The stamp of what is there, if its bytes are ours; None if not, or if nobody can tell."""
        try:
            blob = await self._attempts.once(
                "get", len(data), lambda: self._adapter.read(path, 0, len(data) + 1), path
            )
        except StorageError as error:
            log.debug("%s: reading %r back failed: %s", self.url, path, error.code)
            return None
        if blob.data != data or blob.size != len(data):
            return None
        return PutResult(blob.token, hashlib.md5(data, usedforsecurity=False).hexdigest())

    async def _put_once(self, path: str, data: bytes, only_if: Precondition) -> PutResult:
        try:
            return await self._adapter.put(path, data, only_if=only_if)
        except Corrupt as error:
            put_result = await self._as_read(path, data) if _has_wrong_tag(error) else None
            if put_result is None:
                raise
            return put_result

    async def _as_read(self, path: str, data: bytes) -> PutResult | None:
        """The stamp of what was put under a wrong tag, if it is there all the same. Within the turn of
        the put, of which it is the end."""
        self._attempts.count_read()
        try:
            blob = await self._adapter.read(path, 0, len(data) + 1)
        except StorageError as error:
            log.debug("%s: reading %r back failed: %s", self.url, path, error.code)
            return None
        if blob.data != data or blob.size != len(data):
            return None
        put_result = PutResult(blob.token, hashlib.md5(data, usedforsecurity=False).hexdigest())
        if isinstance(self._adapter, Detecting):
            self._adapter.detected.was_read(*put_result)
        return put_result

    async def _gone(self, path: str) -> bool:
        """Whether a delete that met a conflict met its own earlier success."""
        try:
            await self._attempts.once("get", 0, lambda: self._adapter.read(path, 0, 1), path)
        except NotFound:
            return True
        except StorageError:
            return False
        return False


def _has_wrong_tag(error: StorageError | None) -> bool:
    return error is not None and error.code == WRONG_TAG


def _one_by_one(direct: Direct, puts: Sequence[Put], ended: Callable[[], bool]) -> Attempted:
    """What `Batched.put_batch` does, for an adapter that has only `put_blocking`."""
    attempted: list[str | StorageError | None] = [None] * len(puts)
    for n, (path, data, only_if, _) in enumerate(puts):
        if ended():
            break
        try:
            attempted[n] = direct.put_blocking(path, data, only_if=only_if).token
        except (Throttled, Expired) as error:
            attempted[n] = error
            break  # the others wait for the pause that it wants, or for credentials
        except StorageError as error:
            attempted[n] = error
    return attempted
