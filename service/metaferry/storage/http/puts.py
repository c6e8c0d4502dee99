"""An fsspec adapter whose puts can also be made from plain threads, over connections of our own.

Everything else goes through the fsspec adapter, and so does a put that the connections are not for: a
large one, a key that clients spell in different ways, and every one from the moment on at which it turns
out that fsspec would do something else; one line of the log says so. Tokens, hashes and errors are the
same both ways. Nothing here retries.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from metaferry.errors import Conflict, Expired, NotFound, StorageError, Throttled
from metaferry.storage.errors import Failure, Operation, Store, storage_error
from metaferry.storage.http.client import Refused, Sockets
from metaferry.storage.http.fallback import FsspecAdapter, FsspecFallback, process
from metaferry.storage.http.options import LONGEST, TIMEOUT, UnsupportedOption
from metaferry.storage.keys import are_exact, content_type, is_exact, md5_hex
from metaferry.storage.protocol import (
    ABSENT,
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

#: Bytes up to which a put from a thread can be expected to end within a minute.
SMALL: Final = 4 << 20

#: One request: key in the bucket, data, content type, precondition; gives the token, or raises.
Send = Callable[[str, bytes, str, Precondition], str]


class ClientConfig(Protocol):
    """What differs between the stores."""

    @property
    def store(self) -> Store: ...

    def key(self, path: str) -> str: ...

    def sockets(self, *, timeout: float) -> Sockets | None:
        """Connections to it; None where something else has to make the puts. May block. Raises
        `UnsupportedOption`."""

    def forget(self) -> None:
        """Credentials are looked up anew from here on."""

    def refine(self, failure: Failure, error: BaseException) -> Failure:
        """`failure`, or what is known better about the `error` that it stands for."""

    def fallback_reason(self, failure: Failure) -> str | None:
        """On account of what the fsspec library would not leave it at this answer; None where it would."""


def with_sockets(fsspec: FsspecAdapter, config: Callable[[], ClientConfig]) -> Adapter:
    """`fsspec` with connections of our own beside it, or alone where they are out of the question."""
    try:
        return SocketAdapter(fsspec, config())
    except UnsupportedOption as reason:
        log.info("%s: through fsspec alone, on account of %s", fsspec.url, reason)
        return fsspec


class SocketAdapter:
    """`Adapter` and `Batched` over the datasource of `fsspec`. Usable from any loop and any thread."""

    #: Seconds after which a put of a small object has ended.
    timeout: float = TIMEOUT

    def __init__(self, fsspec: FsspecAdapter, config: ClientConfig, *, sockets: bool = True) -> None:
        self._fsspec = fsspec
        self._client_config = config
        self._lock = threading.Lock()
        self._uses_sockets = sockets
        self._sockets: dict[int, Sockets | None] = {}
        self._given_up = False
        self._fallback = FsspecFallback(fsspec)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._fsspec!r})"

    @property
    def url(self) -> str:
        return self._fsspec.url

    @property
    def capabilities(self) -> Capabilities:
        return self._fsspec.capabilities

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._fsspec.list_page(prefix, start_after=start_after, cursor=cursor)

    async def list_level(self, prefix: str) -> Level | None:
        return await self._fsspec.list_level(prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        return await self._fsspec.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        return await self._fsspec.put(path, data, only_if=only_if)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        await self._fsspec.delete(path, only_if=only_if)

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        """As `put`, blocking, from any thread; ends within a minute, or more for megabytes."""
        md5 = md5_hex(data)
        (attempted,) = self.put_batch([(path, data, only_if, md5)], ended=lambda: False)
        if isinstance(attempted, str):
            return self._put_result(attempted, md5)
        raise attempted if attempted is not None else AssertionError("it was tried")

    def put_batch(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        attempted: list[str | StorageError | None] = [None] * len(puts)
        with self._sender() as send:
            for n, arguments in enumerate(self._prepared(puts)):
                if ended():
                    break
                try:
                    if send is None or arguments is None:
                        attempted[n] = self._put_somehow(puts[n])
                        continue
                    token = send(*arguments)
                except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                    attempted[n] = self._settled(puts[n], error)
                    if isinstance(attempted[n], (Throttled, Expired)):
                        break
                else:
                    attempted[n] = token
                    if token != puts[n][3]:
                        try:
                            self._put_result(token, puts[n][3])
                        except StorageError as error:
                            attempted[n] = error
        return attempted

    async def renew(self) -> None:
        """Looks the credentials up again, for both."""
        with self._lock:
            self._let_go()
            self._client_config.forget()
        await self._fallback.renew()
        await self._fsspec.renew()

    async def close(self) -> None:
        with self._lock:
            self._let_go()
        try:
            await asyncio.to_thread(self._fallback.close)
        finally:
            await self._fsspec.close()

    # -- which way

    @contextmanager
    def _sender(self) -> Iterator[Send | None]:
        """What makes the one request that a put is as a rule; None where there is nothing but fsspec."""
        sockets = self._own_sockets()
        if sockets is None:
            yield None
            return
        with sockets.connection() as connection:
            yield connection.put

    def _own_sockets(self) -> Sockets | None:
        if not self._uses_sockets or self._given_up:
            return None
        number = process()  # a child does not share those of its parent
        if number not in self._sockets:
            with self._lock:
                try:
                    if number not in self._sockets:
                        self._sockets[number] = self._client_config.sockets(timeout=self.timeout)
                except UnsupportedOption as reason:
                    self._give_up(str(reason))
        return self._sockets.get(number)

    def _prepared(self, puts: Sequence[Put]) -> list[tuple[str, bytes, str, Precondition] | None]:
        """For each what a `Send` takes, if it is the one request that it is as a rule; else None."""
        key, capabilities = self._client_config.key, self.capabilities
        create, replace = capabilities.honours(ABSENT), capabilities.conditional and capabilities.replaces
        keys = [key(put[0]) for put in puts]
        all_exact = are_exact(keys)  # as a rule; looking at each costs five times as much
        return [
            (key, data, content_type(path), only_if)
            if (only_if is ANYTHING or ((create if only_if is ABSENT else replace) and is_plain(only_if)))
            and len(data) <= SMALL
            and (all_exact or is_exact(key))
            else None
            for (path, data, only_if, _), key in zip(puts, keys, strict=True)
        ]

    def _put_somehow(self, put: Put, first: Exception | None = None) -> str:
        """A put in as many requests as it takes; `first` is what one met that was made over a socket."""
        path, data, only_if, _ = put
        try:
            if first is not None:
                raise self._failed(first, "put", path)
        except FallbackRequired:
            pass
        except NotFound as error:
            if not error.path or not isinstance(only_if, str):
                raise
            raise self._error(Failure(error.status, error.code, kind=Conflict), "put", path) from None
        return self._fallback.put(path, data, only_if, self._timeout_for(data)).token

    def _timeout_for(self, data: bytes) -> float:
        return self.timeout if len(data) <= SMALL else LONGEST

    def _settled(self, put: Put, error: Exception) -> str | StorageError:
        """What a put came to whose first request met `error`."""
        if isinstance(error, StorageError):
            return error
        try:
            return self._put_somehow(put, error)
        except StorageError as ours:
            return ours

    def _put_result(self, token: str, md5: str) -> PutResult:
        """The stamp of a put that got this token."""
        return PutResult(token, md5)

    def _give_up(self, reason: str) -> None:
        if not self._given_up:
            self._given_up = True
            self._let_go()
            log.info("%s: through fsspec alone from here on, on account of %s", self.url, reason)

    def _let_go(self) -> None:
        sockets = self._sockets.pop(process(), None)
        if sockets is not None:
            sockets.close()

    # -- errors

    def _failed(self, error: Exception, operation: Operation, path: str) -> StorageError:
        """Our error for a foreign one. Raises what is not a refusal, and `FallbackRequired`."""
        if not isinstance(error, Refused):
            raise error
        return self._error_for(self._client_config.refine(error.failure, error), operation, path)

    def _error_for(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        reason = self._client_config.fallback_reason(failure)
        if reason is not None:
            with self._lock:
                self._give_up(reason)
            raise FallbackRequired
        return self._error(failure, operation, path)

    def _error(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        return storage_error(
            failure, store=self._client_config.store, url=self.url, operation=operation, path=path
        )


class FallbackRequired(Exception):
    """The fsspec adapter is to make this request."""
