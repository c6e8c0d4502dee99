"""Three ways to one datasource: sockets and obstore for what they do exactly right, fsspec for the rest.

From plain threads (:class:`contract.Direct`) a small object is put over a connection of our own, in one
request, for less than half of what obstore and a twentieth of what the fsspec libraries need. obstore makes
the puts that take more than that, those on an event loop, and ranged reads. Listings, whole objects
(whose checksum the fsspec libraries verify), deletes (of whose answer obstore tells nothing, so that a
login page would be one), and keys that obstore would alter or refuse go through the fsspec adapter
beside it. Tokens, hashes and errors are the
same every way, so one may list what the other wrote. Where it turns out that fsspec would do something
else, everything goes through it from then on, with one line in the log. Nothing here retries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from metaferry.errors import StorageError, UsageError
from metaferry.storage.answers import BadAnswer, require_blob
from metaferry.storage.capabilities import DetectedCapabilities
from metaferry.storage.errors import Operation
from metaferry.storage.http.client import Refused
from metaferry.storage.http.errors import NO_TAG, WHOLE, fast_failure
from metaferry.storage.http.fallback import FsspecAdapter, process
from metaferry.storage.http.obstore_puts import Puts, StoreConfig
from metaferry.storage.http.options import LONGEST, UnsupportedOption
from metaferry.storage.http.puts import FallbackRequired, Send, SocketAdapter
from metaferry.storage.keys import is_exact
from metaferry.storage.protocol import ANYTHING, Adapter, Blob, Precondition, Put, PutResult

log = logging.getLogger(__name__)

#: The process that first used obstore. Its threads do not survive a fork: in a child it would hang.
_first_user: int | None = None


class Detecting(FsspecAdapter, Protocol):
    """An fsspec adapter that finds out about the store as it goes."""

    @property
    def detected(self) -> DetectedCapabilities: ...


def with_obstore(fsspec: Detecting, config: StoreConfig | UnsupportedOption, *, transport: str) -> Adapter:
    """`fsspec` with obstore beside it, or `fsspec` alone where obstore cannot do exactly the same.

    `transport` is "auto" or "obstore", which makes no connections of our own. Raises `UsageError` for
    "obstore" where it cannot, naming the option that is in the way.
    """
    if isinstance(config, UnsupportedOption):
        if transport == "obstore":
            raise _refusal(fsspec.url, config)
        log.info("%s: not through obstore, on account of %s", fsspec.url, config)
        return fsspec
    fast = FastAdapter(fsspec, config, sockets=transport != "obstore")
    if transport == "obstore":
        try:
            fast.open()
        except UnsupportedOption as reason:
            raise _refusal(fsspec.url, reason) from None
    return fast


class FastAdapter(SocketAdapter):
    """`Adapter` and `Batched` over the datasource of `fsspec`. Usable from any loop and any thread."""

    def __init__(self, fsspec: Detecting, config: StoreConfig, *, sockets: bool = True) -> None:
        super().__init__(fsspec, config, sockets=sockets)
        self._config = config
        self._stores: dict[tuple[float, int], Any] = {}
        self._detected = fsspec.detected
        self._puts = Puts(config, self._detected, self._failed, self._error)

    @property
    def detected(self) -> DetectedCapabilities:
        """What was found out about the store, by whichever way."""
        return self._detected

    def open(self) -> None:
        """Makes the client now instead of with the first request. Raises `UnsupportedOption`."""
        with self._lock:
            self._connected(self.timeout)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        ranged = (start > 0 or end is not None) and (end is None or end > start)
        store = await self._ready(path) if ranged else None
        if store is not None:
            try:
                return await self._read(store, path, start, end, version)
            except FallbackRequired:
                pass
        return await self._fsspec.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        store = await self._ready(path)
        if store is not None:
            try:
                return await self._puts.on_loop(store, path, data, only_if)
            except FallbackRequired:
                pass
        return await self._fsspec.put(path, data, only_if=only_if)

    # -- which of the two

    def _is_safe(self, path: str) -> bool:
        return is_exact(self._config.key(path))

    async def _ready(self, path: str) -> Any | None:
        """obstore's store for a request about `path`, or None where the other adapter makes it."""
        if not self._is_safe(path):
            return None
        store = self._stores.get((LONGEST, process()))
        # The first time reads files and may parse megabytes.
        return store if store is not None else await asyncio.to_thread(self._store, LONGEST)

    @contextmanager
    def _sender(self) -> Iterator[Send | None]:
        """Over a socket or else through obstore; None where everything goes through fsspec."""
        with super()._sender() as send:
            if send is None:
                store = self._store(self.timeout)
                send = None if store is None else self._puts.sender(store)
            yield send

    def _store(self, timeout: float) -> Any | None:
        with self._lock:
            if self._given_up:
                return None
            try:
                return self._connected(timeout)
            except UnsupportedOption as reason:
                self._give_up(str(reason))
                return None

    def _connected(self, timeout: float) -> Any:
        global _first_user
        if _first_user not in (None, process()):
            raise UnsupportedOption("a fork: this process was forked from one that used obstore")
        store = self._stores.get((timeout, process()))
        if store is None:
            from obstore.exceptions import BaseError

            try:
                store = self._config.connect(timeout=timeout)
            except (BaseError, ValueError, TypeError):
                raise UnsupportedOption("a setting that obstore refuses") from None
            self._stores[timeout, process()] = store
            _first_user = process()
        return store

    def _let_go(self) -> None:
        self._stores.clear()
        super()._let_go()

    # -- requests

    def _put_somehow(self, put: Put, first: Exception | None = None) -> str:
        path, data, only_if, _ = put
        store = self._store(self._timeout_for(data)) if self._is_safe(path) else None
        if store is not None:
            try:
                return self._puts.now(store, path, data, only_if, first=first).token
            except FallbackRequired:
                pass
        return super()._put_somehow(put)

    def _put_result(self, token: str, md5: str) -> PutResult:
        return self._puts.put_result(token, md5)

    async def _read(self, store: Any, path: str, start: int, end: int | None, version: str | None) -> Blob:
        import obstore

        options: Any = {"range": {"offset": start} if end is None else (start, end)}
        if version is not None:
            options |= self._config.pin(version)
        try:
            answer = await obstore.get_async(store, self._config.key(path), options=options)
            size, token = answer.meta["size"], self._config.token(answer.meta)
            data = bytes(await answer.bytes_async())
        except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
            failed = self._failed(error, "read", path)
            if failed.status == 416 or failed.code == WHOLE:
                # Past the end: what version and size there are is asked otherwise. Or the store
                # knows no ranges.
                raise FallbackRequired from None
            raise failed from None
        blob = Blob(data, token, size)
        try:
            require_blob(blob, start, end, version)
        except BadAnswer as error:
            raise self._error(error.failure, "read", path) from None
        return blob

    def _failed(self, error: Exception, operation: Operation, path: str) -> StorageError:
        from obstore.exceptions import BaseError

        if isinstance(error, StorageError):
            raise error
        if isinstance(error, Refused):
            failure = error.failure
        elif isinstance(error, (BaseError, OSError, ValueError)):
            failure = fast_failure(error)
        else:
            raise error
        if failure.code == NO_TAG:
            with self._lock:
                self._give_up("answers without an ETag")
            raise FallbackRequired from None
        return self._error_for(self._config.refine(failure, error), operation, path)


def _refusal(url: str, reason: UnsupportedOption) -> UsageError:
    return UsageError(
        f"{url}: `transport: obstore` cannot be had, on account of {reason}",
        advice="write `transport: auto`, or leave the option out",
    )
