"""Two libraries on one datasource: obstore for what it does exactly right, fsspec for the rest.

obstore writes a small object for a tenth of what the fsspec libraries need, and its blocking calls
leave the interpreter lock, so puts can also be made from plain threads (:class:`contract.Direct`).
Puts, ranged reads and plain deletes go through its own API; listings, whole objects (whose checksum
the fsspec libraries verify), deletes with a condition, and keys that obstore would alter or refuse go
through the fsspec adapter beside it. Tokens, hashes and errors are the same either way, so one may
list what the other wrote. Where obstore turns out not to be able to do what fsspec does, everything
goes through fsspec from then on, with one line in the log. Nothing here retries.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
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
from metaferry.storage.fast_puts import SMALL, Dialect, Puts, is_exact
from metaferry.storage.keys import is_complete
from metaferry.storage.translate import Failure, Operation, storage_error

log = logging.getLogger(__name__)

#: The process that first used obstore. Its threads do not survive a fork: in a child it would hang.
_first_user: int | None = None


def with_obstore(slow: Slow, dialect: Dialect | Untranslatable, *, transport: str) -> Adapter:
    """`slow` with obstore beside it, or `slow` alone where obstore cannot do exactly the same.

    `transport` is "auto" or "obstore". Raises `UsageError` for "obstore" where it cannot, naming the
    option that is in the way.
    """
    if isinstance(dialect, Untranslatable):
        if transport == "obstore":
            raise _refusal(slow.url, dialect)
        log.info("%s: not through obstore, on account of %s", slow.url, dialect)
        return slow
    fast = FastAdapter(slow, dialect)
    if transport == "obstore":
        try:
            fast.open()
        except Untranslatable as reason:
            raise _refusal(slow.url, reason) from None
    return fast


class FastAdapter:
    """`Adapter` and `Direct` over the datasource of `slow`. Usable from any loop and any thread."""

    def __init__(self, slow: Slow, dialect: Dialect) -> None:
        self._slow = slow
        self._dialect = dialect
        self._lock = threading.Lock()
        self._stores: dict[tuple[float, int], Any] = {}
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
        patience = PATIENCE if len(data) <= SMALL else LONGEST
        store = None
        if self._is_safe(path):
            store = self._stores.get((patience, process())) or self._store(patience)
        if store is not None:
            try:
                return self._puts.now(store, path, data, only_if)
            except _Elsewhere:
                pass
        return self._bridge.put(path, data, only_if, patience)

    def put_all_now(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        import obstore

        send = obstore.put
        store: Any = self._stores.get((PATIENCE, process()))
        prepared = self._puts.prepared(puts) if store is not None else [None] * len(puts)
        answers: list[Any] = [None] * len(puts)
        met: list[str | StorageError | None] = [None] * len(puts)
        for n, arguments in enumerate(prepared):
            if ended():
                break
            try:
                if arguments is None:
                    path, data, only_if, _ = puts[n]
                    met[n] = self.put_now(path, data, only_if=only_if).token
                else:
                    key, data, attributes, mode = arguments
                    answers[n] = send(store, key, data, attributes=attributes, mode=mode, use_multipart=False)
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                met[n] = self._met(store, puts[n], error)
                if isinstance(met[n], (Throttled, Expired)):
                    break
        answered = [n for n, answer in enumerate(answers) if answer is not None]
        tokens = self._puts.tokens([answers[n] for n in answered], [puts[n][3] for n in answered])
        if len(answered) == len(puts):
            return tokens
        for n, token in zip(answered, tokens, strict=True):
            met[n] = token
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
            self._stores.clear()
            self._dialect.forget()
        await self._bridge.renew()
        await self._slow.renew()

    async def close(self) -> None:
        with self._lock:
            self._stores.clear()
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
            self._stores.clear()
            log.info("%s: not through obstore any more, on account of %s", self.url, reason)

    # -- requests

    def _met(self, store: Any, put: Put, error: Exception) -> str | StorageError:
        """What a put came to whose first request met `error`."""
        if isinstance(error, StorageError):
            return error
        path, data, only_if, _ = put
        try:
            return self._puts.now(store, path, data, only_if, first=error).token
        except _Elsewhere:
            pass
        except StorageError as ours:
            return ours
        try:
            return self._bridge.put(path, data, only_if, PATIENCE).token
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

        if isinstance(error, StorageError) or not isinstance(error, (BaseError, OSError, ValueError)):
            raise error
        failure = self._dialect.refine(fast_failure(error), error)
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
