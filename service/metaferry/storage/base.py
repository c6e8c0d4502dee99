"""What adapters share: names, errors, the lifetime of a client, and the steps of a read and a delete.

:class:`BaseAdapter` is for every kind of store, :class:`ThreadedAdapter` for those whose calls block, and
:class:`ObjectStoreAdapter` for S3, GCS and Azure, which add the requests. Nothing here retries.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from metaferry.errors import Conflict, Expired, NotFound, StorageError, Unsupported
from metaferry.secret_files import SecretFileError, has_changed, read_again
from metaferry.storage.answers import Refused, require_blob
from metaferry.storage.capabilities import DetectedCapabilities
from metaferry.storage.errors import Failure, Operation, Store, storage_error
from metaferry.storage.facts.model import Described, Fact
from metaferry.storage.io.concurrent import close_all
from metaferry.storage.keys import is_addressable, limits_below
from metaferry.storage.listing.paging import Cursor
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Adapter,
    Blob,
    Capabilities,
    Levelled,
    Page,
    Precondition,
    PutResult,
)

T = TypeVar("T")


class BaseAdapter:
    """`url` is what messages call the datasource."""

    #: The store whose rights and names are used in messages.
    store: ClassVar[Store]

    def __init__(self, *, url: str, capabilities: Capabilities) -> None:
        self._url = url
        self._capabilities = capabilities

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def error(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        return storage_error(failure, store=self.store, url=self._url, operation=operation, path=path)

    @contextmanager
    def checking(self, operation: Operation, path: str) -> Iterator[None]:
        """Turns a `Refused` that is raised inside into the error of this operation."""
        try:
            yield
        except Refused as error:
            raise self.error(error.failure, operation, path) from None

    def require(self, found: str | None, only_if: Precondition, operation: Operation, path: str) -> None:
        """Raises `Conflict` unless this is what is in place: `found`, a token, or None for nothing."""
        if only_if is not ANYTHING and found != (only_if if isinstance(only_if, str) else None):
            raise self.error(Failure(kind=Conflict), operation, path)


class ThreadedAdapter(BaseAdapter, Adapter, ABC):
    """A store whose calls block: they are made in at most `threads` threads (64 at most)."""

    def __init__(
        self, *, url: str, capabilities: Capabilities, threads: int, page_size: int | None = None
    ) -> None:
        super().__init__(url=url, capabilities=capabilities)
        self._threads = max(1, min(threads, 64))
        self._page_size = page_size if page_size is not None else 1000
        self._pool: ThreadPoolExecutor | None = None

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        here = cursor if cursor is not None else Cursor(start_after)
        return await self._run("list", prefix, lambda: self._list_page(prefix, here))

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        return await self._run("read", path, lambda: self._read(path, start, end, version))

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        return await self._run("put", path, lambda: self._put(path, data, only_if))

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ABSENT:
            raise self.error(Failure(kind=Unsupported), "delete", path)
        await self._run("delete", path, lambda: self._delete(path, only_if))

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    async def _run(self, operation: Operation, path: str, work: Callable[[], T]) -> T:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"metaferry-{self.store}")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: self._translated(operation, path, work)
        )

    # -- in a thread

    @abstractmethod
    def _translated(self, operation: Operation, path: str, work: Callable[[], T]) -> T:
        """The result of `work`, or its error as ours."""

    @abstractmethod
    def _list_page(self, prefix: str, cursor: Cursor) -> Page: ...

    @abstractmethod
    def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob: ...

    @abstractmethod
    def _put(self, path: str, data: bytes, only_if: Precondition) -> PutResult: ...

    @abstractmethod
    def _delete(self, path: str, only_if: Precondition) -> None: ...


class ObjectStoreAdapter(BaseAdapter, Adapter, Levelled, ABC):
    """The keys of `bucket` that begin with `prefix` ("" or ending in `/`).

    `options` are those of the scheme's fsspec file system; `concurrency` is the size of the connection
    pool, `page_size` the entries of a page of a listing. For `follow_redirects` see `http/redirects.py`.
    """

    #: The most that the store puts into a page.
    largest_page: ClassVar[int] = 1000
    #: Whether the token of a put is the MD5 of its data, unless `detected` knows otherwise.
    tokens_are_md5s: ClassVar[bool] = False
    #: Whether there are stores of this kind that know no conditions on writes.
    conditions_optional: ClassVar[bool] = False
    #: As `Describing`.
    listed_facts: frozenset[Fact] = frozenset()
    has_tags: bool = False

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: Mapping[str, Any],
        *,
        url: str,
        concurrency: int = 64,
        page_size: int | None = None,
        follow_redirects: bool = False,
    ) -> None:
        super().__init__(url=url, capabilities=self._capabilities_of(bucket, prefix))
        #: Shared with other clients of the same datasource.
        self.detected = DetectedCapabilities(url, self._capabilities)
        self._bucket = bucket
        self._prefix = prefix
        self._options = dict(options)
        self._concurrency = concurrency
        self._page_size = page_size if page_size is not None else self.largest_page
        self._follow_redirects = follow_redirects
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._retired: list[Any] = []
        self._lists_facts = False
        self._lists_tags = False

    @staticmethod
    def _capabilities_of(bucket: str, prefix: str) -> Capabilities:
        """The capabilities of this kind of store below `prefix`."""
        return Capabilities(
            listing_md5=True,
            conditional=True,
            one_loop=True,
            own_clock=True,
            start_key=True,
            key_limits=limits_below(prefix),
        )

    @abstractmethod
    async def _connect(self) -> Any:
        """A new client, on this event loop."""

    @abstractmethod
    def _closing(self, client: Any) -> Iterable[Awaitable[object]]:
        """What to await to close a client."""

    @abstractmethod
    async def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        """One request for a range that is not empty. Raises `BadAnswer`, and the error of a refusal."""

    @abstractmethod
    async def _head(self, path: str, version: str | None = None) -> Blob:
        """Version and size of an object, without its bytes. `NotFound` where there is none."""

    @abstractmethod
    async def _delete(self, path: str, only_if: Precondition) -> None:
        """Deletes an object. May raise `NotFound`."""

    @abstractmethod
    async def describe(self, path: str) -> Described:
        """As `Describing`."""

    async def tags(self, path: str) -> Mapping[str, str]:
        """As `Describing`."""
        raise self.error(Failure(code="NotImplemented", kind=Unsupported), "tags", path)

    def list_facts(self, *, tags: bool) -> None:
        """As `Describing`."""
        self._lists_facts, self._lists_tags = True, tags and self.has_tags

    @property
    def capabilities(self) -> Capabilities:
        return self.detected.capabilities

    def refuses_conditions(self, error: StorageError) -> bool:
        """Whether this may be the answer of a store that does not support conditions."""
        return False

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        if end is not None and end <= start:
            return await self._head(path, version)
        try:
            with self.checking("read", path):
                blob = await self._read(path, start, end, version)
                require_blob(blob, start, end, version)
                return blob
        except StorageError as error:
            if error.status == 416:  # the range begins past the end
                return await self._head(path, version)
            raise

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ABSENT:
            raise self.error(Failure(kind=Unsupported), "delete", path)
        try:
            await self._delete(path, only_if)
        except NotFound as error:
            if not error.path:  # the bucket is missing
                raise

    async def renew(self) -> None:
        """Looks the credentials up again: files, roles, profiles, environment, metadata service.

        Raises Expired where a file of the options cannot be read any more, or a role cannot be taken.
        """
        try:
            # In a thread: a role is taken by a request to its token service.
            self._options = await asyncio.to_thread(read_again, self._options)
        except SecretFileError as error:
            raise Expired(
                f"{self._url}: the credentials are refused, and {error}",
                url=self._url,
                code="SecretFile",
                advice="put the new credentials there and run again: it goes on where this one stopped",
            ) from None
        if self._client is not None:
            self._retired.append(self._client)  # requests may still be under way on it
            self._client = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The options as they were read last."""
        return self._options

    def outdated(self) -> bool:
        """Whether a file of the options holds another text than the one in use."""
        return has_changed(self._options)

    async def close(self) -> None:
        clients, self._retired, self._client = [*self._retired, self._client], [], None
        await close_all(
            closing for client in clients if client is not None for closing in self._closing(client)
        )

    async def _connected(self) -> Any:
        """The client, made on first use."""
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    def _require_addressable(self, operation: Operation, path: str) -> None:
        """Raises `Unsupported` for a key that clients would take for another one."""
        if not is_addressable(path):
            raise self.error(Failure(code="InvalidKey", kind=Unsupported), operation, path)

    @contextmanager
    def missing_is_conflict(self, path: str, only_if: Precondition) -> Iterator[None]:
        """A put with a condition that finds nothing to replace is answered 404: that is a conflict."""
        try:
            yield
        except NotFound as error:
            conditional = isinstance(only_if, str) or (only_if is ABSENT and self.conditions_optional)
            if not conditional or not error.path:
                raise
            raise self.error(Failure(error.status, error.code, kind=Conflict), "put", path) from None

    async def _token(self, path: str) -> str | None:
        """The token of the object in place; None where there is none."""
        try:
            return (await self._head(path)).token
        except NotFound:
            return None
