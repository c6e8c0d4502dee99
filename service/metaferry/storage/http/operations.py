"""Puts, ranged reads and deletes, in as many requests as each takes; who sends them is the caller's business.

Each operation is a generator of requests, which serves threads and event loops alike. No I/O, and nothing
here retries.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from metaferry.errors import NotFound, StorageError
from metaferry.storage.answers import Refused, require_blob
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.errors import Failure, Operation
from metaferry.storage.facts.model import Described
from metaferry.storage.http.config import FallbackRequired, RegionChanged, StoreConfig
from metaferry.storage.http.exchange import NO_ETAG, TOO_LONG, Answer, Request
from metaferry.storage.http.redirects import MOST_REDIRECTS, target, without_host
from metaferry.storage.http.requests import DescribingBuilder, HeadBuilder, RequestBuilder, Stored
from metaferry.storage.keys import content_type
from metaferry.storage.protocol import ANYTHING, Blob, Precondition

T = TypeVar("T")

Result = Answer | Failure
#: Requests of one operation, one after the other: yields each, is sent what became of it.
Steps = Generator[Request, Result, T]


class Operations:
    """Those on the datasource of `fsspec`, with which what is found out about the store is shared.

    All of them raise our errors, `FallbackRequired` and `RegionChanged`.
    """

    def __init__(self, fsspec: ObjectStoreAdapter, config: StoreConfig) -> None:
        self._fsspec = fsspec
        self._config = config

    def put(
        self, builder: RequestBuilder, path: str, data: bytes, only_if: Precondition, md5: str
    ) -> Steps[str]:
        """A put in as many requests as it takes: one, but where the store knows no conditions."""
        wanted = only_if
        if not self._fsspec.capabilities.honours(only_if):
            yield from self._require(builder, path, only_if)
            wanted = ANYTHING
        try:
            with self._fsspec.missing_is_conflict(path, wanted):
                stored = yield from self._put_once(builder, path, data, wanted)
        except StorageError as error:
            if wanted is ANYTHING or not self._fsspec.refuses_conditions(error):
                raise
            yield from self._require(builder, path, only_if)
            stored = yield from self._put_once(builder, path, data, ANYTHING)  # raises where that was not it
            self._fsspec.detected.refused(only_if)
        self.note(stored, md5)
        return stored.token

    def _put_once(
        self, builder: RequestBuilder, path: str, data: bytes, only_if: Precondition
    ) -> Steps[Stored]:
        key = self._config.key(path)
        answer = yield from self._ask(
            "put", path, lambda: builder.put(key, data, content_type(path), only_if), builder
        )
        return self._read_as("put", path, lambda: builder.stored(answer, key, data))

    def _require(self, builder: RequestBuilder, path: str, only_if: Precondition) -> Steps[None]:
        """The best that can be done where the store itself does not check."""
        head_builder: HeadBuilder = builder  # type: ignore[assignment] # of a store with optional conditions
        key = self._config.key(path)
        found: str | None = None
        try:
            answer = yield from self._ask("read", path, lambda: head_builder.head(key), builder)
        except NotFound:
            pass
        else:
            found = head_builder.found(answer)
        self._fsspec.require(found, only_if, "put", path)

    def read(
        self, builder: RequestBuilder, path: str, start: int, end: int | None, version: str | None
    ) -> Steps[Blob]:
        key = self._config.key(path)
        answer = yield from self._ask("read", path, lambda: builder.read(key, start, end, version), builder)

        def blob() -> Blob:
            found = builder.blob(answer, key, start, end)
            require_blob(found, start, end, version)
            return found

        return self._read_as("read", path, blob)

    def describe(self, builder: DescribingBuilder, path: str) -> Steps[Described]:
        answer = yield from self._ask("read", path, lambda: builder.head(self._config.key(path)), builder)
        return self._read_as("read", path, lambda: builder.described(answer))

    def tags(self, builder: DescribingBuilder, path: str) -> Steps[dict[str, str]]:
        try:
            answer = yield from self._ask("tags", path, lambda: builder.tags(self._config.key(path)), builder)
        except NotFound as error:
            if builder.has_no_tags(Failure(code=error.code)):
                return {}
            raise
        return self._read_as("tags", path, lambda: builder.tags_in(answer))

    def delete(self, builder: RequestBuilder, path: str) -> Steps[None]:
        try:
            answer = yield from self._ask(
                "delete", path, lambda: builder.delete(self._config.key(path)), builder
            )
        except NotFound as error:
            if not error.path:
                raise
        else:
            self._read_as("delete", path, lambda: builder.deleted(answer))

    def _ask(
        self, operation: Operation, path: str, make: Callable[[], Request], builder: RequestBuilder
    ) -> Steps[Answer]:
        """One request; gives an answer of 2xx. Raises our error for any other, `FallbackRequired` and
        `RegionChanged`."""
        try:
            request = make()
        except Refused as error:
            raise self._error_for(error.failure, operation, path) from None
        result = yield request
        for _ in range(MOST_REDIRECTS):
            if isinstance(result, Failure) or not self._config.follows(result):
                break
            location = result.headers.get("location")
            url = target(request.method, request.url, result.status, location, builder.bound_to)
            if url is None:
                break
            request = request._replace(url=url, headers=without_host(request.headers))
            result = yield request
        if isinstance(result, Failure):
            if result.code == TOO_LONG and operation == "read":
                raise FallbackRequired  # the store knows no ranges
            raise self._error_for(result, operation, path)
        if 200 <= result.status < 300:
            return result
        if result.status == 416 and operation == "read":
            raise FallbackRequired  # past the end: what version and size there are is asked otherwise
        failure = builder.failure(result)
        if self._config.fallback_reason(failure) is not None and self._config.changes_region(result):
            raise RegionChanged
        raise self._error_for(failure, operation, path)

    def _read_as(self, operation: Operation, path: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except Refused as error:
            raise self._error_for(error.failure, operation, path) from None

    def note(self, stored: Stored, md5: str) -> None:
        """Takes notice of the token of a put of data with that MD5. Raises `Corrupt` for a wrong one."""
        if stored.token != md5 and self._fsspec.tokens_are_md5s:
            self._fsspec.detected.put_result(stored.token, md5, encrypted=stored.encrypted)

    def _error_for(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        failure = self._config.refine(failure)
        reason = self._config.fallback_reason(failure)
        if failure.code == NO_ETAG:
            reason = "answers without an ETag"
        if reason is not None:
            raise FallbackRequired(reason)
        return self._fsspec.error(failure, operation, path)
