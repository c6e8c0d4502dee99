"""An fsspec adapter whose small requests go through libcurl: puts, ranged reads, and deletes without a
condition.

Everything else goes through the fsspec adapter: listings, whole objects (whose checksum the libraries
verify), deletes with a condition, large puts, keys that clients spell in different ways, and every request
from the moment on at which it turns out that the library would do something else; one line of the log says
so. Tokens, hashes and errors are the same both ways, so one may list what the other wrote. Nothing here
retries, but that a bucket which names its region is asked there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from metaferry.errors import Expired, StorageError, Throttled
from metaferry.storage.answers import Refused, require_blob
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.capabilities import DetectedCapabilities
from metaferry.storage.facts.model import Described, Fact
from metaferry.storage.http.config import FallbackRequired, Opened, RegionChanged, StoreConfig
from metaferry.storage.http.exchange import Answer, Request
from metaferry.storage.http.network import LONGEST, TIMEOUT, UnsupportedOption
from metaferry.storage.http.operations import Operations, Result, Steps
from metaferry.storage.http.requests import DescribingBuilder, RequestBuilder
from metaferry.storage.keys import are_exact, content_type, is_exact, md5_hex
from metaferry.storage.protocol import (
    ANYTHING,
    Adapter,
    Blob,
    Capabilities,
    Level,
    Page,
    Precondition,
    Put,
    PutResult,
    is_plain,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Bytes up to which a put can be expected to end within a minute.
SMALL: Final = 4 << 20


def with_libcurl(fsspec: ObjectStoreAdapter, config: Callable[[], StoreConfig]) -> Adapter:
    """`fsspec` with libcurl beside it, or alone where the options rule that out."""
    try:
        return HttpAdapter(fsspec, config())
    except UnsupportedOption as reason:
        log.info("%s: through fsspec alone, on account of %s", fsspec.url, reason)
        return fsspec


class HttpAdapter:
    """`Adapter`, `Batched` and `BatchReader` over the datasource of `fsspec`. Usable from any loop and any
    thread."""

    #: Seconds after which a request of a batch has ended.
    timeout: float = TIMEOUT

    def __init__(self, fsspec: ObjectStoreAdapter, config: StoreConfig) -> None:
        self._fsspec = fsspec
        self._config = config
        self._lock = threading.Lock()
        self._opened: dict[int, Opened | None] = {}
        self._given_up = False
        self._operations = Operations(fsspec, config)

    def __repr__(self) -> str:
        return f"HttpAdapter({self._fsspec!r})"

    @property
    def url(self) -> str:
        return self._fsspec.url

    @property
    def capabilities(self) -> Capabilities:
        return self._fsspec.capabilities

    @property
    def detected(self) -> DetectedCapabilities:
        return self._fsspec.detected

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._fsspec.list_page(prefix, start_after=start_after, cursor=cursor)

    async def list_level(self, prefix: str) -> Level | None:
        return await self._fsspec.list_level(prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        ranged = (start > 0 or end is not None) and (end is None or end > start)
        if ranged and is_exact(self._config.key(path)) and (version is None or is_plain(version)):
            try:
                return await self._on_loop(
                    lambda requests: self._operations.read(requests, path, start, end, version)
                )
            except FallbackRequired:
                pass
        return await self._fsspec.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        if self._is_fit(path, data, only_if):
            md5 = md5_hex(data)
            try:
                stored = await self._on_loop(
                    lambda requests: self._operations.put(requests, path, data, only_if, md5)
                )
            except FallbackRequired:
                pass
            else:
                return PutResult(stored, md5)
        return await self._fsspec.put(path, data, only_if=only_if)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ANYTHING and is_exact(self._config.key(path)):
            try:
                await self._on_loop(lambda requests: self._operations.delete(requests, path))
            except FallbackRequired:
                pass
            else:
                return
        await self._fsspec.delete(path, only_if=only_if)

    def put_batch(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        attempted: list[str | StorageError | None] = [None] * len(puts)
        n = 0
        while n < len(puts) and not ended():
            opened = self._open()
            if opened is None:
                break
            requests = self._prepared(opened.requests, puts[n:])
            if not requests:
                n += 1  # left to `put`
                continue
            for result in opened.client.run(requests, ended, timeout=self.timeout):
                attempted[n] = self._made(opened, puts[n], result)
                n += 1
            if isinstance(attempted[n - 1], (Throttled, Expired)):
                break
        return attempted

    def read_batch(
        self, reads: Sequence[tuple[str, int]], *, ended: Callable[[], bool]
    ) -> Sequence[Blob | None]:
        found: list[Blob | None] = [None] * len(reads)
        opened = self._open()
        if opened is None:
            return found
        builder, key = opened.requests, self._config.key
        keys = [key(path) for path, _ in reads]
        all_exact = are_exact(keys)
        begun = [n for n, key_ in enumerate(keys) if all_exact or is_exact(key_)]
        try:
            requests = [builder.read(keys[n], 0, reads[n][1], None) for n in begun]
        except Refused:
            return found
        at = 0
        while at < len(begun) and not ended():
            for result in opened.client.run(requests[at:], ended, timeout=self.timeout):
                n = begun[at]
                at += 1
                if isinstance(result, Answer) and 200 <= result.status < 300:
                    found[n] = _blob(builder, result, keys[n], reads[n][1])
        return found

    # -- facts of objects

    @property
    def listed_facts(self) -> frozenset[Fact]:
        return self._fsspec.listed_facts

    @property
    def has_tags(self) -> bool:
        return self._fsspec.has_tags

    def list_facts(self, *, tags: bool) -> None:
        self._fsspec.list_facts(tags=tags)

    async def describe(self, path: str) -> Described:
        if self._config.describes and is_exact(self._config.key(path)):
            with contextlib.suppress(FallbackRequired):
                return await self._on_loop(
                    lambda requests: self._operations.describe(cast(DescribingBuilder, requests), path)
                )
        return await self._fsspec.describe(path)

    async def tags(self, path: str) -> Mapping[str, str]:
        if self._config.describes and is_exact(self._config.key(path)):
            with contextlib.suppress(FallbackRequired):
                return await self._on_loop(
                    lambda requests: self._operations.tags(cast(DescribingBuilder, requests), path)
                )
        return await self._fsspec.tags(path)

    async def renew(self) -> None:
        """Looks the credentials up again, for both. As `ObjectStoreAdapter.renew`."""
        await self._fsspec.renew()
        with self._lock:
            self._let_go()
            self._config.forget(self._fsspec.options)

    def outdated(self) -> bool:
        return self._fsspec.outdated()

    async def close(self) -> None:
        with self._lock:
            opened = self._opened.pop(os.getpid(), None)
        try:
            if opened is not None:
                await asyncio.to_thread(opened.client.close)
        finally:
            await self._fsspec.close()

    # -- which way

    def _is_fit(self, path: str, data: bytes, only_if: Precondition) -> bool:
        """Whether libcurl may make this put."""
        return len(data) <= SMALL and is_plain(only_if) and is_exact(self._config.key(path))

    def _prepared(self, builder: RequestBuilder, puts: Sequence[Put]) -> list[Request]:
        """The requests of as many of the first puts as are one request each, as nearly all are."""
        key, capabilities = self._config.key, self.capabilities
        keys = [key(put[0]) for put in puts]
        all_exact = are_exact(keys)  # as a rule; looking at each costs five times as much
        requests: list[Request] = []
        for (path, data, only_if, _), key_ in zip(puts, keys, strict=True):
            fit = len(data) <= SMALL and is_plain(only_if) and (all_exact or is_exact(key_))
            if not fit or not capabilities.honours(only_if):
                break
            try:
                requests.append(builder.put(key_, data, content_type(path), only_if))
            except Refused:
                break  # reported when it is this one's turn
        return requests

    def _open(self) -> Opened | None:
        """None where there is nothing but fsspec."""
        if self._given_up:
            return None
        number = os.getpid()  # a child does not share those of its parent
        if number not in self._opened:
            with self._lock:
                try:
                    if number not in self._opened:
                        self._opened[number] = self._config.open()
                        log.info(
                            "%s: puts, ranged reads and deletes through libcurl, the rest through fsspec",
                            self.url,
                        )
                except UnsupportedOption as reason:
                    self._give_up(str(reason))
        return self._opened.get(number)

    def _give_up(self, reason: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._let_go()
            log.info("%s: through fsspec alone from here on, on account of %s", self.url, reason)

    def _fall_back(self, error: FallbackRequired) -> None:
        if error.args:
            with self._lock:
                self._give_up(str(error))

    def _change_region(self, opened: Opened) -> None:
        with self._lock:
            if self._opened.get(os.getpid()) is opened:
                self._let_go()
                log.info("%s: the bucket is in another region; requests go there", self.url)

    def _let_go(self) -> None:
        opened = self._opened.pop(os.getpid(), None)
        if opened is not None:
            opened.client.close(wait=False)

    # -- who makes them

    async def _on_loop(self, work: Callable[[RequestBuilder], Steps[T]]) -> T:
        while True:
            opened = self._opened.get(os.getpid())
            if opened is None or opened.requests.may_block():
                opened = await asyncio.to_thread(self._ready)
            if opened is None:
                raise FallbackRequired
            steps = work(opened.requests)
            try:
                request = next(steps)
                while True:
                    request = steps.send(await opened.client.request(request, timeout=LONGEST))
            except StopIteration as end:
                value: T = end.value
                return value
            except RegionChanged:
                self._change_region(opened)
            except FallbackRequired as error:
                self._fall_back(error)
                raise

    def _ready(self) -> Opened | None:
        """Opened, with credentials that were just looked at, which may block."""
        opened = self._open()
        if opened is not None:
            with contextlib.suppress(Refused):  # reported by the request that needs them
                opened.requests.delete("")
        return opened

    def _made(self, opened: Opened, put: Put, result: Result) -> str | StorageError | None:
        """What a put came to whose first request was made; None where it takes another client."""
        path, data, only_if, md5 = put
        if isinstance(result, Answer) and 200 <= result.status < 300:
            try:
                stored = opened.requests.stored(result, self._config.key(path), data)
                self._operations.note(stored, md5)
            except (Refused, StorageError):
                pass  # reported below
            else:
                return stored.token
        steps = self._operations.put(opened.requests, path, data, only_if, md5)
        try:
            next(steps)
            while True:  # as a rule it raises at once
                request = steps.send(result)
                (result,) = opened.client.run([request], timeout=self.timeout)
        except StopIteration as end:
            token: str = end.value
            return token
        except StorageError as error:
            return error
        except RegionChanged:
            self._change_region(opened)
        except FallbackRequired as error:
            self._fall_back(error)
        return None


def _blob(builder: RequestBuilder, answer: Answer, key: str, size: int) -> Blob | None:
    """The first `size` bytes of an object; None where the answer does not fit."""
    try:
        blob = builder.blob(answer, key, 0, size)
        require_blob(blob, 0, size, None)
    except Refused:
        return None
    return blob
