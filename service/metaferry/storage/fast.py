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
import re
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Protocol

from metaferry.errors import Conflict, Expired, NotFound, StorageError, Throttled, Unavailable, UsageError
from metaferry.storage.contract import (
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
from metaferry.storage.fast_bridge import Bridge, Slow, process
from metaferry.storage.fast_errors import NO_TAG, WHOLE, fast_failure
from metaferry.storage.fast_network import LONGEST, PATIENCE, Untranslatable
from metaferry.storage.keys import content_type, is_complete, md5_hex
from metaferry.storage.translate import Failure, Operation, Store, storage_error

log = logging.getLogger(__name__)

#: Bytes up to which a put from a thread can be expected to end within `PATIENCE`.
SMALL: Final = 4 << 20

#: What obstore refuses in a key.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

#: The process that first used obstore. Its threads do not survive a fork: in a child it would hang.
_first_user: int | None = None


class Dialect(Protocol):
    """What differs between the stores."""

    @property
    def store(self) -> Store: ...

    @property
    def conditions_optional(self) -> bool:
        """Whether there are stores of this kind that know no conditions on writes."""

    def key(self, path: str) -> str: ...

    def connect(self, *, patience: float) -> Any:
        """A store of obstore's; `patience` (seconds) bounds one request. Raises `Untranslatable`."""

    def forget(self) -> None:
        """Credentials are looked up anew from here on."""

    def mode(self, only_if: Precondition) -> Any:
        """obstore's word for a precondition of a put."""

    def pin(self, version: str) -> Mapping[str, str]:
        """obstore's options that read nothing but this version."""

    def token(self, answer: Mapping[str, Any]) -> str:
        """The token as the fsspec adapter spells it, out of obstore's answer."""

    def refuses_conditions(self, error: StorageError) -> bool: ...

    def refine(self, failure: Failure, error: BaseException) -> Failure: ...

    def is_elsewhere(self, failure: Failure) -> bool:
        """Whether the answer sends the request to another address, which obstore would not follow."""


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
                return await self._drive(store, path, data, only_if)
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
                return self._drive_now(store, path, data, only_if)
            except _Elsewhere:
                pass
        return self._bridge.put(path, data, only_if, patience)

    def put_all_now(
        self, puts: Sequence[Put], *, ended: Callable[[], bool]
    ) -> list[Stamp | StorageError | None]:
        import obstore

        send, token = obstore.put, self._dialect.token
        store: Any = self._stores.get((PATIENCE, process()))
        prepared = self._prepared(puts) if store is not None else [None] * len(puts)
        answers: list[Any] = [None] * len(puts)
        met: list[Stamp | StorageError | None] = [None] * len(puts)
        for n, arguments in enumerate(prepared):
            if ended():
                break
            try:
                if arguments is None:
                    path, data, only_if = puts[n]
                    met[n] = self.put_now(path, data, only_if=only_if)
                else:
                    key, data, kind, mode = arguments
                    answers[n] = send(store, key, data, attributes=kind, mode=mode, use_multipart=False)
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                met[n] = self._met(store, puts[n], error)
                if isinstance(met[n], (Throttled, Expired)):
                    break
        for n, answer in enumerate(answers):
            if answer is not None:
                met[n] = self._stamp(token(answer), puts[n][1])
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
        return _is_exact(self._dialect.key(path))

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

    def _put_steps(
        self, path: str, data: bytes, only_if: Precondition
    ) -> Generator[Precondition | None, Any, Stamp]:
        """A put in single requests: yields what a put is to require, or None to ask what is there.

        It is sent obstore's answer, or the error is thrown into it. What is there is sent as its
        token, None where there is nothing.
        """
        learned, plain = self._slow.learned, only_if is ANYTHING
        wanted: Precondition = only_if
        if not plain and not learned.traits.conditional:
            yield from self._require(path, only_if)
            wanted = ANYTHING
        try:
            answer = yield wanted
        except NotFound as error:
            missing = isinstance(wanted, str) or (wanted is ABSENT and self._dialect.conditions_optional)
            if not missing or not error.path:
                raise
            raise self._error(Failure(error.status, error.code, kind=Conflict), "put", path) from None
        except StorageError as error:
            optional = self._dialect.conditions_optional and wanted is not ANYTHING
            if not optional or not self._dialect.refuses_conditions(error):
                raise
            yield from self._require(path, only_if)
            answer = yield ANYTHING  # raises again where that was not the reason
            learned.without_conditions()
        return self._stamp(self._dialect.token(answer), data)

    def _stamp(self, token: str, data: bytes) -> Stamp:
        md5 = md5_hex(data)
        return self._slow.learned.stamp(token, md5) if self._dialect.store == "s3" else Stamp(token, md5)

    def _prepared(self, puts: Sequence[Put]) -> list[tuple[str, bytes, dict[str, str], Any] | None]:
        """For each the arguments of the one request that it is as a rule; None where it may be another."""
        key_of, mode, conditional = self._dialect.key, self._dialect.mode, self.traits.conditional
        return [
            (key, data, {"Content-Type": content_type(path)}, mode(only_if))
            if (conditional or only_if is ANYTHING) and len(data) <= SMALL and _is_exact(key := key_of(path))
            else None
            for path, data, only_if in puts
        ]

    def _met(self, store: Any, put: Put, error: Exception) -> Stamp | StorageError:
        """What a put came to whose first request met `error`."""
        if isinstance(error, StorageError):
            return error
        path, data, only_if = put
        try:
            return self._drive_now(store, path, data, only_if, first=error)
        except _Elsewhere:
            pass
        except StorageError as ours:
            return ours
        try:
            return self._bridge.put(path, data, only_if, PATIENCE)
        except StorageError as ours:
            return ours

    def _require(self, path: str, only_if: Precondition) -> Generator[None, Any, None]:
        found = yield None
        if found != (only_if if isinstance(only_if, str) else None):
            raise self._error(Failure(kind=Conflict), "put", path)

    def _drive_now(
        self, store: Any, path: str, data: bytes, only_if: Precondition, *, first: Exception | None = None
    ) -> Stamp:
        """All requests of a put; `first` is what the first of them met that was made elsewhere."""
        import obstore

        steps = self._put_steps(path, data, only_if)
        key, kind = self._dialect.key(path), {"Content-Type": content_type(path)}
        step = _start(steps)
        while not isinstance(step, Stamp):
            answer: Any = None
            failed: StorageError | None = None
            try:
                if first is not None:
                    met, first = first, None
                    raise met
                if step is None:
                    answer = self._dialect.token(obstore.head(store, key))
                else:
                    mode = self._dialect.mode(step)
                    answer = obstore.put(store, key, data, attributes=kind, mode=mode, use_multipart=False)
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                failed = self._failed(error, "read" if step is None else "put", path)
            step = _go_on(steps, step, answer, failed)
        return step

    async def _drive(self, store: Any, path: str, data: bytes, only_if: Precondition) -> Stamp:
        import obstore

        steps = self._put_steps(path, data, only_if)
        key, kind = self._dialect.key(path), {"Content-Type": content_type(path)}
        step = _start(steps)
        while not isinstance(step, Stamp):
            answer: Any = None
            failed: StorageError | None = None
            try:
                if step is None:
                    answer = self._dialect.token(await obstore.head_async(store, key))
                else:
                    mode = self._dialect.mode(step)
                    answer = await obstore.put_async(
                        store, key, data, attributes=kind, mode=mode, use_multipart=False
                    )
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                failed = self._failed(error, "read" if step is None else "put", path)
            step = _go_on(steps, step, answer, failed)
        return step

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


#: What `_put_steps` asks for next, or what it ended with.
_Step = Precondition | Stamp | None


def _start(steps: Generator[Precondition | None, Any, Stamp]) -> _Step:
    return next(steps)


def _go_on(
    steps: Generator[Precondition | None, Any, Stamp], step: _Step, answer: Any, failed: StorageError | None
) -> _Step:
    """Tells `steps` what became of `step`; what it wants next, or its result."""
    try:
        if failed is None:
            return steps.send(answer)
        if step is None and isinstance(failed, NotFound):
            return steps.send(None)
        return steps.throw(failed)
    except StopIteration as end:
        stamp: Stamp = end.value
        return stamp


def _refusal(url: str, reason: Untranslatable) -> UsageError:
    return UsageError(
        f"{url}: `transport: obstore` cannot be had, on account of {reason}",
        advice="write `transport: auto`, or leave the option out",
    )


def _is_exact(key: str) -> bool:
    """Whether obstore names exactly this key: it drops slashes at the ends and refuses some others."""
    segments = f"/{key}/"
    return (
        "//" not in segments
        and "/./" not in segments
        and "/../" not in segments
        and (key.isprintable() or _CONTROL.search(key) is None)
    )
