"""Three ways to one datasource: sockets and obstore for what they do exactly right, fsspec for the rest.

From plain threads (:class:`contract.Direct`) a small object is put over a connection of our own, in one
request, for less than half of what obstore and a twentieth of what the fsspec libraries need. obstore makes
the puts that take more than that, those on an event loop, ranged reads and plain deletes. Listings,
whole objects (whose checksum the fsspec libraries verify), deletes with a condition, and keys that
obstore would alter or refuse go through the fsspec adapter beside it. Tokens, hashes and errors are the
same every way, so one may list what the other wrote. Where it turns out that fsspec would do something
else, everything goes through it from then on, with one line in the log. Nothing here retries.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from metaferry.errors import Expired, NotFound, StorageError, Throttled, Unavailable, UsageError
from metaferry.storage.contract import (
    ANYTHING,
    Adapter,
    Blob,
    Level,
    Page,
    Precondition,
    Put,
    Stamp,
    Traits,
)
from metaferry.storage.fast_bridge import Bridge, Slow, process
from metaferry.storage.fast_errors import NO_TAG, WHOLE, fast_failure
from metaferry.storage.fast_network import LONGEST, PATIENCE, Untranslatable
from metaferry.storage.fast_puts import SMALL, Dialect, Puts, Send, is_exact
from metaferry.storage.fast_sockets import Refused, Sockets
from metaferry.storage.keys import is_complete, md5_hex
from metaferry.storage.translate import Failure, Operation, storage_error

log = logging.getLogger(__name__)

#: The process that first used obstore. Its threads do not survive a fork: in a child it would hang.
_first_user: int | None = None


def with_obstore(slow: Slow, dialect: Dialect | Untranslatable, *, transport: str) -> Adapter:
    """`slow` with obstore beside it, or `slow` alone where obstore cannot do exactly the same.

    `transport` is "auto" or "obstore", which makes no connections of our own. Raises `UsageError` for
    "obstore" where it cannot, naming the option that is in the way.
    """
    if isinstance(dialect, Untranslatable):
        if transport == "obstore":
            raise _refusal(slow.url, dialect)
        log.info("%s: not through obstore, on account of %s", slow.url, dialect)
        return slow
    fast = FastAdapter(slow, dialect, sockets=transport != "obstore")
    if transport == "obstore":
        try:
            fast.open()
        except Untranslatable as reason:
            raise _refusal(slow.url, reason) from None
    return fast


class FastAdapter:
    """`Adapter` and `Direct` over the datasource of `slow`. Usable from any loop and any thread."""

    def __init__(self, slow: Slow, dialect: Dialect, *, sockets: bool = True) -> None:
        self._slow = slow
        self._dialect = dialect
        self._lock = threading.Lock()
        self._stores: dict[tuple[float, int], Any] = {}
        self._uses_sockets = sockets
        self._sockets: dict[int, Sockets | None] = {}
        self._given_up = False
        self._bridge = Bridge(slow)
        self._puts = Puts(dialect, slow.learned, self._failed, self._error)

    def __repr__(self) -> str:
        return f"FastAdapter({self._slow!r})"

    @property
    def url(self) -> str:
        return self._slow.url

    @property
    def traits(self) -> Traits:
        return self._slow.traits

    def open(self) -> None:
        """Makes the client now instead of with the first request. Raises `Untranslatable`."""
        with self._lock:
            self._connected(PATIENCE)

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._slow.list_page(prefix, start_after=start_after, cursor=cursor)

    async def list_level(self, prefix: str) -> Level | None:
        return await self._slow.list_level(prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        ranged = (start > 0 or end is not None) and (end is None or end > start)
        store = await self._ready(path) if ranged else None
        if store is not None:
            try:
                return await self._read(store, path, start, end, version)
            except _Elsewhere:
                pass
        return await self._slow.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
        store = await self._ready(path)
        if store is not None:
            try:
                return await self._puts.on_loop(store, path, data, only_if)
            except _Elsewhere:
                pass
        return await self._slow.put(path, data, only_if=only_if)

    def put_now(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
        """As `put`, blocking, from any thread; ends within a minute, or more for megabytes."""
        (met,) = self.put_all_now([(path, data, only_if, md5_hex(data))], ended=lambda: False)
        if isinstance(met, str):
            return self._puts.stamp(met, data)
        raise met if met is not None else AssertionError("it was tried")

    def put_all_now(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        met: list[str | StorageError | None] = [None] * len(puts)
        with self._sender() as send:
            for n, arguments in enumerate(self._puts.prepared(puts)):
                if ended():
                    break
                try:
                    if send is None or arguments is None:
                        met[n] = self._put_somehow(puts[n])
                        continue
                    token = send(*arguments)
                except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                    met[n] = self._met(puts[n], error)
                    if isinstance(met[n], (Throttled, Expired)):
                        break
                else:
                    met[n] = token
                    if token != puts[n][3]:
                        self._puts.learn(token, puts[n][3])
        return met

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ANYTHING:
            store = await self._ready(path)
            if store is not None:
                try:
                    return await self._delete(store, path)
                except _Elsewhere:
                    pass
        return await self._slow.delete(path, only_if=only_if)

    async def renew(self) -> None:
        """Looks the credentials up again, for both."""
        with self._lock:
            self._let_go()
            self._dialect.forget()
        await self._bridge.renew()
        await self._slow.renew()

    async def close(self) -> None:
        with self._lock:
            self._let_go()
        await asyncio.to_thread(self._bridge.close)
        await self._slow.close()

    # -- which of the two

    def _is_safe(self, path: str) -> bool:
        return is_exact(self._dialect.key(path))

    async def _ready(self, path: str) -> Any | None:
        """obstore's store for a request about `path`, or None where the other adapter makes it."""
        if not self._is_safe(path):
            return None
        store = self._stores.get((LONGEST, process()))
        # The first time reads files and may parse megabytes.
        return store if store is not None else await asyncio.to_thread(self._store, LONGEST)

    @contextmanager
    def _sender(self) -> Iterator[Send | None]:
        """What makes the one request that a put is as a rule; None where everything goes through fsspec."""
        sockets = self._own_sockets()
        if sockets is not None:
            with sockets.connection() as connection:
                yield connection.put
        else:
            store = self._store(PATIENCE)
            yield None if store is None else self._puts.sender(store)

    def _own_sockets(self) -> Sockets | None:
        if not self._uses_sockets or self._given_up:
            return None
        number = process()  # a child does not share those of its parent
        if number not in self._sockets:
            with self._lock:
                try:
                    if number not in self._sockets:
                        self._sockets[number] = self._dialect.sockets(patience=PATIENCE)
                except Untranslatable as reason:
                    self._give_up(str(reason))
        return self._sockets.get(number)

    def _store(self, patience: float) -> Any | None:
        with self._lock:
            if self._given_up:
                return None
            try:
                return self._connected(patience)
            except Untranslatable as reason:
                self._give_up(str(reason))
                return None

    def _connected(self, patience: float) -> Any:
        global _first_user
        if _first_user not in (None, process()):
            raise Untranslatable("a fork: this process was forked from one that used obstore")
        store = self._stores.get((patience, process()))
        if store is None:
            from obstore.exceptions import BaseError

            try:
                store = self._dialect.connect(patience=patience)
            except (BaseError, ValueError, TypeError):
                raise Untranslatable("a setting that obstore refuses") from None
            self._stores[patience, process()] = store
            _first_user = process()
        return store

    def _give_up(self, reason: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._let_go()
            log.info("%s: not through obstore any more, on account of %s", self.url, reason)

    def _let_go(self) -> None:
        self._stores.clear()
        sockets = self._sockets.pop(process(), None)
        if sockets is not None:
            sockets.close()

    # -- requests

    def _put_somehow(self, put: Put, first: Exception | None = None) -> str:
        """A put in as many requests as it takes; `first` is what one met that was made elsewhere."""
        path, data, only_if, _ = put
        patience = PATIENCE if len(data) <= SMALL else LONGEST
        store = self._store(patience) if self._is_safe(path) else None
        if store is not None:
            try:
                return self._puts.now(store, path, data, only_if, first=first).token
            except _Elsewhere:
                pass
        return self._bridge.put(path, data, only_if, patience).token

    def _met(self, put: Put, error: Exception) -> str | StorageError:
        """What a put came to whose first request met `error`."""
        if isinstance(error, StorageError):
            return error
        try:
            return self._put_somehow(put, error)
        except StorageError as ours:
            return ours

    async def _read(self, store: Any, path: str, start: int, end: int | None, version: str | None) -> Blob:
        import obstore

        options: Any = {"range": {"offset": start} if end is None else (start, end)}
        if version is not None:
            options |= self._dialect.pin(version)
        try:
            answer = await obstore.get_async(store, self._dialect.key(path), options=options)
            size, token = answer.meta["size"], self._dialect.token(answer.meta)
            data = bytes(await answer.bytes_async())
        except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
            failed = self._failed(error, "read", path)
            if failed.status == 416 or failed.code == WHOLE:
                # Past the end: what version and size there are is asked otherwise. Or the store
                # knows no ranges.
                raise _Elsewhere from None
            raise failed from None
        if not is_complete(len(data), start, end, size):
            raise self._error(Failure(kind=Unavailable, code="Length"), "read", path)
        return Blob(data, token, size)

    async def _delete(self, store: Any, path: str) -> None:
        import obstore

        try:
            await obstore.delete_async(store, self._dialect.key(path))
        except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
            failed = self._failed(error, "delete", path)
            if not isinstance(failed, NotFound) or not failed.path:
                raise failed from None

    def _failed(self, error: Exception, operation: Operation, path: str) -> StorageError:
        """One of our errors for one of obstore's; raises what is none, and `_Elsewhere`."""
        from obstore.exceptions import BaseError

        if not isinstance(error, (Refused, BaseError, OSError, ValueError)) or isinstance(
            error, StorageError
        ):
            raise error
        known = error.failure if isinstance(error, Refused) else fast_failure(error)
        failure = self._dialect.refine(known, error)
        if self._dialect.is_elsewhere(failure):
            with self._lock:
                self._give_up("a redirection: the bucket is in another region")
            raise _Elsewhere from None
        if failure.code == NO_TAG:
            with self._lock:
                self._give_up("answers without an ETag")
            raise _Elsewhere from None
        return self._error(failure, operation, path)

    def _error(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        return storage_error(failure, store=self._dialect.store, url=self.url, operation=operation, path=path)


class _Elsewhere(Exception):
    """The other adapter is to make this request."""


def _refusal(url: str, reason: Untranslatable) -> UsageError:
    return UsageError(
        f"{url}: `transport: obstore` cannot be had, on account of {reason}",
        advice="write `transport: auto`, or leave the option out",
    )
