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
from metaferry.storage.http.fallback import Bridge, Slow, process
from metaferry.storage.http.options import LONGEST, PATIENCE, Untranslatable
from metaferry.storage.keys import are_exact, content_type, is_exact, md5_hex
from metaferry.storage.protocol import (
    ABSENT,
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
from metaferry.storage.s3.signature import is_plain

log = logging.getLogger(__name__)

#: Bytes up to which a put from a thread can be expected to end within a minute.
SMALL: Final = 4 << 20

#: One request: key in the bucket, data, content type, precondition; gives the token, or raises.
Send = Callable[[str, bytes, str, Precondition], str]


class SocketDialect(Protocol):
    """What differs between the stores."""

    @property
    def store(self) -> Store: ...

    def key(self, path: str) -> str: ...

    def sockets(self, *, patience: float) -> Sockets | None:
        """Connections to it; None where something else has to make the puts. May block. Raises
        `Untranslatable`."""

    def forget(self) -> None:
        """Credentials are looked up anew from here on."""

    def refine(self, failure: Failure, error: BaseException) -> Failure:
        """`failure`, or what is known better about the `error` that it stands for."""

    def elsewhere(self, failure: Failure) -> str | None:
        """On account of what the fsspec library would not leave it at this answer; None where it would."""


def with_sockets(slow: Slow, dialect: Callable[[], SocketDialect]) -> Adapter:
    """`slow` with connections of our own beside it, or alone where they are out of the question."""
    try:
        return SocketAdapter(slow, dialect())
    except Untranslatable as reason:
        log.info("%s: through fsspec alone, on account of %s", slow.url, reason)
        return slow


class SocketAdapter:
    """`Adapter` and `Batched` over the datasource of `slow`. Usable from any loop and any thread."""

    #: Seconds after which a put of a small object has ended.
    patience: float = PATIENCE

    def __init__(self, slow: Slow, dialect: SocketDialect, *, sockets: bool = True) -> None:
        self._slow = slow
        self._speaks = dialect
        self._lock = threading.Lock()
        self._uses_sockets = sockets
        self._sockets: dict[int, Sockets | None] = {}
        self._given_up = False
        self._bridge = Bridge(slow)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._slow!r})"

    @property
    def url(self) -> str:
        return self._slow.url

    @property
    def traits(self) -> Traits:
        return self._slow.traits

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._slow.list_page(prefix, start_after=start_after, cursor=cursor)

    async def list_level(self, prefix: str) -> Level | None:
        return await self._slow.list_level(prefix)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        return await self._slow.read(path, start, end, version=version)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
        return await self._slow.put(path, data, only_if=only_if)

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        await self._slow.delete(path, only_if=only_if)

    def put_now(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
        """As `put`, blocking, from any thread; ends within a minute, or more for megabytes."""
        md5 = md5_hex(data)
        (met,) = self.put_all_now([(path, data, only_if, md5)], ended=lambda: False)
        if isinstance(met, str):
            return self._stamp(met, md5)
        raise met if met is not None else AssertionError("it was tried")

    def put_all_now(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> Sequence[str | StorageError | None]:
        met: list[str | StorageError | None] = [None] * len(puts)
        with self._sender() as send:
            for n, arguments in enumerate(self._prepared(puts)):
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
                        try:
                            self._stamp(token, puts[n][3])
                        except StorageError as error:
                            met[n] = error
        return met

    async def renew(self) -> None:
        """Looks the credentials up again, for both."""
        with self._lock:
            self._let_go()
            self._speaks.forget()
        await self._bridge.renew()
        await self._slow.renew()

    async def close(self) -> None:
        with self._lock:
            self._let_go()
        try:
            await asyncio.to_thread(self._bridge.close)
        finally:
            await self._slow.close()

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
                        self._sockets[number] = self._speaks.sockets(patience=self.patience)
                except Untranslatable as reason:
                    self._give_up(str(reason))
        return self._sockets.get(number)

    def _prepared(self, puts: Sequence[Put]) -> list[tuple[str, bytes, str, Precondition] | None]:
        """For each what a `Send` takes, if it is the one request that it is as a rule; else None."""
        key, traits = self._speaks.key, self.traits
        create, replace = traits.honours(ABSENT), traits.conditional and traits.replaces
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
        except Elsewhere:
            pass
        except NotFound as error:
            if not error.path or not isinstance(only_if, str):
                raise
            raise self._error(Failure(error.status, error.code, kind=Conflict), "put", path) from None
        return self._bridge.put(path, data, only_if, self._patience_for(data)).token

    def _patience_for(self, data: bytes) -> float:
        return self.patience if len(data) <= SMALL else LONGEST

    def _met(self, put: Put, error: Exception) -> str | StorageError:
        """What a put came to whose first request met `error`."""
        if isinstance(error, StorageError):
            return error
        try:
            return self._put_somehow(put, error)
        except StorageError as ours:
            return ours

    def _stamp(self, token: str, md5: str) -> Stamp:
        """The stamp of a put that got this token."""
        return Stamp(token, md5)

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
        """One of our errors for a foreign one; raises what is none of ours to tell, and `Elsewhere`."""
        if not isinstance(error, Refused):
            raise error
        return self._told(self._speaks.refine(error.failure, error), operation, path)

    def _told(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        reason = self._speaks.elsewhere(failure)
        if reason is not None:
            with self._lock:
                self._give_up(reason)
            raise Elsewhere
        return self._error(failure, operation, path)

    def _error(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        return storage_error(failure, store=self._speaks.store, url=self.url, operation=operation, path=path)


class Elsewhere(Exception):
    """The fsspec adapter is to make this request."""
