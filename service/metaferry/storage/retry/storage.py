"""The one retry layer: a `Storage` over an adapter that makes single attempts.

`attempts.py` decides how often and when a request is tried; here is what the outcome means. A put whose
answer may have been lost is settled by reading back: bytes that equal ours are our own put. Preconditions
that the store does not check are checked just before the write. Nothing else in the program retries, and
the libraries' own retries are off, so :class:`RequestCounts` counts the requests that were sent. A put
from a thread (`put_blocking`) is a single attempt; its error is passed to `put`, which continues from there.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

from metaferry.errors import Conflict, Corrupt, NotFound, StorageError, Unavailable
from metaferry.storage.answers import BadAnswer, require_blob, require_level
from metaferry.storage.capabilities import Detecting
from metaferry.storage.capability_probe import Honoured, probe
from metaferry.storage.counts import RequestCounts
from metaferry.storage.errors import WRONG_TAG, Operation, storage_error
from metaferry.storage.keys import md5_hex
from metaferry.storage.listing.checked_pages import Pages
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Adapter,
    Batched,
    BatchReader,
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
from metaferry.storage.retry.attempts import Attempted, Attempts, Policy, Work
from metaferry.storage.retry.facts import RetriedFacts
from metaferry.storage.retry.one_by_one import one_by_one
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
        self._reader = adapter if isinstance(adapter, BatchReader) else None
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
        self.facts = RetriedFacts(adapter, self._attempts)

    def __repr__(self) -> str:
        return f"Retrying({self._adapter!r})"

    @property
    def adapter(self) -> Adapter:
        """The adapter behind; for tests and wrappers."""
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
        return self._direct is not None or self._batched is not None

    @property
    def concurrency_limit(self) -> int:
        return self._attempts.limiter.allowed

    async def list(self, prefix: str = "", *, start_after: str | None = None) -> AsyncIterator[list[Entry]]:
        """Every key that begins with `prefix`, a page at a time; empty pages are left out.

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
                with self._checking("list", prefix):
                    require_level(level, prefix)
            return level

        return await self._attempts.all(Work("list", prefix, 0, work))

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        wanted = None if end is None else max(0, end - start)
        version = version or None  # "": from a store whose listings have no versions

        async def work() -> Blob:
            blob = await self._adapter.read(path, start, end, version=version)
            with self._checking("read", path):
                require_blob(blob, start, end, version)
            return blob

        blob = await self._attempts.all(Work("get", path, wanted, work))
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
                    Work("put", path, len(data), lambda: self._put_once(path, data, only_if)), failed
                )
            put_result = found
        except (Conflict, Corrupt, Unavailable):
            # Even a first attempt may be the second one for the server: HTTP clients resend a PUT
            # when a kept-alive connection turns out to be closed.
            settled = await self._settled(path, data)
            if settled is None:
                raise
            log.debug("%s: the answer to a put of %r was lost; it is in place", self.url, path)
            put_result = settled
        self._attempts.count_bytes(written=len(data))
        return put_result

    def put_blocking(self, puts: Sequence[Put], *, ended: Callable[[], bool] = lambda: False) -> Attempted:
        if self._honoured != _ALL and any(self._ignored(put[2]) for put in puts):
            return [None] * len(puts)  # the precondition has to be checked first
        if self._batched is not None:
            make = partial(self._batched.put_batch, puts, ended=ended)
        elif self._direct is not None:
            make = partial(one_by_one, self._direct, puts, ended)
        else:
            return [None] * len(puts)
        return self._attempts.once_blocking(puts, make, ended)

    @property
    def reads_directly(self) -> bool:
        return self._reader is not None and not self._attempts.is_drained

    def read_blocking(
        self, reads: Sequence[tuple[str, int]], *, ended: Callable[[], bool]
    ) -> Sequence[Blob | None]:
        reader = self._reader
        if reader is None or self._attempts.is_drained:
            return [None] * len(reads)
        return self._attempts.reads_blocking(reads, lambda: reader.read_batch(reads, ended=ended), ended)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if isinstance(only_if, str) and self._ignored(only_if):
            try:
                await self._require(path, only_if)
            except Conflict:
                if await self._is_deleted(path):
                    return
                raise
            only_if = ANYTHING
        try:
            await self._attempts.all(Work("delete", path, 0, lambda: self._delete_once(path, only_if)))
        except Conflict:
            if not await self._is_deleted(path):
                raise

    async def probe_conditions(self, path: str) -> Honoured:
        """Probes whether the store honours conditions (`capability_probe.py`), and adopts the result.

        Writes and deletes `path`, which has to be an unused name. `capabilities` no longer promise what
        the store does not honour; such preconditions are checked just before the write.
        """
        found = await probe(self, path)
        self.adopt(found)
        if not found.create:
            log.warning("%s: this store ignores preconditions; they are checked before each write", self.url)
        elif not found.replace:
            log.warning(
                "%s: this store cannot replace by ETag; that is checked before each write",
                self.url,
            )
        if not found.lists:
            log.warning(
                "%s: listings show other ETags than puts: the ETag of each document is read", self.url
            )
        return found

    def adopt(self, found: Honoured) -> None:
        """Adopts what `probe_conditions` found earlier, or in another process."""
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
            with self._checking("list", prefix):
                pages.check(page)
            return page

        return await self._attempts.all(Work("list", prefix, 0, work))

    @contextmanager
    def _checking(self, operation: Operation, path: str) -> Iterator[None]:
        """Turns a `BadAnswer` of the checks that hold for every store into an error."""
        try:
            yield
        except BadAnswer as error:
            raise storage_error(
                error.failure, store="generic", url=self.url, operation=operation, path=path
            ) from None

    # -- without conditions

    async def _require(self, path: str, only_if: Precondition) -> None:
        """Checks a precondition before the write: best effort, where the store itself does not check."""
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
        """The result of our put, where the object in place has our bytes; None if not, or unreadable."""
        try:
            blob = await self._attempts.once(
                Work("get", path, len(data), lambda: self._adapter.read(path, 0, len(data) + 1))
            )
        except StorageError as error:
            log.debug("%s: reading %r back failed: %s", self.url, path, error.code)
            return None
        return _as_put(blob, data)

    async def _put_once(self, path: str, data: bytes, only_if: Precondition) -> PutResult:
        try:
            return await self._adapter.put(path, data, only_if=only_if)
        except Corrupt as error:
            put_result = await self._as_read(path, data) if _has_wrong_tag(error) else None
            if put_result is None:
                raise
            return put_result

    async def _delete_once(self, path: str, only_if: Precondition) -> None:
        if isinstance(only_if, str) and self._adapter.capabilities.delete_looks:
            self._attempts.count_read()
        await self._adapter.delete(path, only_if=only_if)

    async def _as_read(self, path: str, data: bytes) -> PutResult | None:
        """The result of a put that was answered with a wrong tag, if the object in place has our bytes. Part
        of the put: it takes no turn of its own."""
        self._attempts.count_read()
        try:
            blob = await self._adapter.read(path, 0, len(data) + 1)
        except StorageError as error:
            log.debug("%s: reading %r back failed: %s", self.url, path, error.code)
            return None
        put_result = _as_put(blob, data)
        if put_result is not None and isinstance(self._adapter, Detecting):
            self._adapter.detected.was_read(*put_result)
        return put_result

    async def _is_deleted(self, path: str) -> bool:
        """Whether a delete with a conflict had succeeded in an earlier attempt."""
        try:
            await self._attempts.once(Work("get", path, 0, lambda: self._adapter.read(path, 0, 1)))
        except NotFound:
            return True
        except StorageError:
            return False
        return False


def _as_put(blob: Blob, data: bytes) -> PutResult | None:
    """The result of a put of `data`, if that is what was read back."""
    return PutResult(blob.token, md5_hex(data)) if blob.data == data and blob.size == len(data) else None


def _has_wrong_tag(error: StorageError | None) -> bool:
    return error is not None and error.code == WRONG_TAG
