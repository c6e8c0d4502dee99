"""Azure Blob Storage, through the client that adlfs makes.

adlfs gives options and credentials; its path rules are not used (a `:` in the first segment breaks
them). The SDK's own retries are off, so every request is one attempt, except that the SDK requests the
rest of a truncated body up to three times. A container is never created.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from metaferry.errors import Conflict, Denied, Unsupported
from metaferry.storage.answers import Refused, bad_answer, require, require_names
from metaferry.storage.azure.answers import AnswerCheck, Done
from metaferry.storage.azure.client import azure_failure, bound_to, file_system
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.errors import RIGHTS, Failure, Operation
from metaferry.storage.facts.model import Described, Fact, ObjectFacts
from metaferry.storage.facts.texts import header_text, readable
from metaferry.storage.http.redirects import RedirectingSession
from metaferry.storage.keys import (
    content_type,
    entity_tag,
    is_marker,
    limits_below,
    md5_hex,
    whole_size,
)
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Blob,
    Capabilities,
    DescribedEntry,
    Entry,
    Level,
    Page,
    Precondition,
    PutResult,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Listings include metadata, which alone distinguishes a folder of a hierarchical account from an empty blob.
_WITH_METADATA: Final = ["metadata"]
_FOLDER: Final = "hdi_isfolder"


class _Client(NamedTuple):
    """adlfs's file system, and the SDK's client of the container that comes from it."""

    fs: Any
    container: Any


class AzureAdapter(ObjectStoreAdapter):
    """The bucket is a container, and options are adlfs's."""

    store = "azure"
    largest_page = 5000
    listed_facts = frozenset[Fact](("etag", "content_type", "storage_class", "metadata"))
    has_tags = True

    @staticmethod
    def _capabilities_of(bucket: str, prefix: str) -> Capabilities:
        known = ObjectStoreAdapter._capabilities_of(bucket, prefix)
        # No start key works for every account.
        return replace(known, start_key=False, key_limits=limits_below(prefix, in_characters=True))

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        return await self._with_tags(prefix, lambda: self._page(prefix, start_after, cursor))

    async def list_level(self, prefix: str) -> Level | None:
        return await self._with_tags(prefix, lambda: self._level(prefix))

    async def describe(self, path: str) -> Described:
        async def work(container: Any) -> Described:
            client = container.get_blob_client(self._prefix + path)
            found = await client.get_blob_properties(**_call_options("read"))
            return Described(entity_tag(found.etag), _facts(found, tags=False))

        return await self._call("read", path, work)

    async def tags(self, path: str) -> Mapping[str, str]:
        async def work(container: Any) -> Mapping[str, str]:
            client = container.get_blob_client(self._prefix + path)
            # The SDK's own method drops the options of the call, so it would retry.
            found = await client._client.blob.get_tags(**_call_options("tags"))
            return {tag.key: tag.value for tag in sorted(found.blob_tag_set, key=lambda tag: str(tag.key))}

        return await self._call("tags", path, work)

    async def _with_tags(self, prefix: str, listing: Callable[[], Awaitable[T]]) -> T:
        """A request of a listing, which may have asked for tags: they take a right of their own, and accounts
        with a hierarchical namespace have none."""
        asked = self._lists_tags
        try:
            return await listing()
        except Denied as error:
            if asked:
                error.advice += f"; for the tags, which the job wants, also {RIGHTS['azure', 'tags']}"
            raise
        except Unsupported:
            if not asked:
                raise
            self._lists_tags = False
            found = await listing()  # raises where that was not it
            log.warning("%s: objects of this account have no tags", self._url)
            return found

    async def _page(self, prefix: str, start_after: str | None, cursor: Any | None) -> Page:
        start = self._prefix + prefix
        after = self._prefix + start_after if start_after else ""
        skip = len(self._prefix)

        async def work(container: Any) -> Page:
            # The blobs before the start key are listed and left out.
            pages = container.list_blobs(
                name_starts_with=start or None,
                results_per_page=self._page_size,
                include=self._included,
                **_call_options("list"),
            ).by_page(cursor)
            found = [blob async for blob in await anext(pages)]
            require_names([blob.name for blob in found], start)
            require(all(map(_has_size, found)), "an entry without a size")
            entries = [
                self._entry(blob.name[skip:], blob)
                for blob in found
                if blob.name > after and not is_marker(blob.name[skip:], blob.size) and not _is_folder(blob)
            ]
            return Page(entries, pages.continuation_token or None, len(found) - len(entries))

        return await self._call("list", prefix, work)

    async def _level(self, prefix: str) -> Level | None:
        skip = len(self._prefix)

        async def work(container: Any) -> Level | None:
            from azure.storage.blob.aio import BlobPrefix

            pages = container.walk_blobs(
                name_starts_with=self._prefix + prefix or None,
                delimiter="/",
                results_per_page=self._page_size,
                include=self._included,
                **_call_options("list"),
            ).by_page()
            level = Level([], [])
            async for item in await anext(pages):
                require_names([item.name], self._prefix + prefix)
                if isinstance(item, BlobPrefix):
                    level.folders.append(item.name[skip:])
                    continue
                require(_has_size(item), "an entry without a size")
                if not is_marker(item.name[skip:], item.size) and not _is_folder(item):
                    level.entries.append(self._entry(item.name[skip:], item))
            return None if pages.continuation_token else level

        return await self._call("list", prefix, work)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        from azure.storage.blob import ContentSettings

        md5 = md5_hex(data)
        settings = ContentSettings(content_type=content_type(path), content_md5=bytearray(bytes.fromhex(md5)))
        condition = _pin(only_if) if isinstance(only_if, str) else {}

        async def work(container: Any) -> PutResult:
            answer = await container.get_blob_client(self._prefix + path).upload_blob(
                data,
                length=len(data),
                overwrite=only_if is not ABSENT,
                content_settings=settings,
                validate_content="md5" if len(data) <= _single_put(container) else False,
                **condition,
                **_call_options("put"),
            )
            stored = answer.get("content_md5")  # not of one that took several requests
            require(stored is None or bytes(stored).hex() == md5, "another MD5")
            return PutResult(entity_tag(answer["etag"]), md5)

        with self.missing_is_conflict(path, only_if):
            return await self._call("put", path, work)

    # -- requests

    @property
    def _included(self) -> list[str]:
        return [*_WITH_METADATA, "tags"] if self._lists_tags else _WITH_METADATA

    def _entry(self, path: str, blob: Any) -> Entry:
        entry = _entry(path, blob)
        if not self._lists_facts:
            return entry
        return DescribedEntry.of(entry, _facts(blob, tags=self._lists_tags))

    async def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        where: dict[str, int] = {}
        if start or end is not None:
            where = {"offset": start} | ({} if end is None else {"length": end - start})

        async def work(container: Any) -> Blob:
            client = container.get_blob_client(self._prefix + path)
            stream = await client.download_blob(**where, **_pin(version), **_call_options("read"))
            data: bytes = await stream.readall()
            properties = stream.properties
            size = whole_size(properties.content_range)
            return Blob(data, entity_tag(properties.etag), len(data) if size is None else size)

        return await self._call("read", path, work)

    async def _head(self, path: str, version: str | None = None) -> Blob:
        async def work(container: Any) -> Blob:
            client = container.get_blob_client(self._prefix + path)
            found = await client.get_blob_properties(**_pin(version), **_call_options("read"))
            if _is_folder(found):  # listings leave it out, so the request is from a writer to its name
                raise Refused(Failure(code="EISDIR", kind=Unsupported))
            return Blob(b"", entity_tag(found.etag), found.size)

        return await self._call("read", path, work)

    async def _delete(self, path: str, only_if: Precondition) -> None:
        condition = _pin(only_if) if isinstance(only_if, str) else {}

        async def work(container: Any) -> None:
            client = container.get_blob_client(self._prefix + path)
            with suppress(Done):
                await client.delete_blob(**condition, **_call_options("delete"))

        try:
            await self._call("delete", path, work)
        except Conflict:
            # Azure answers 412, not 404, to a condition on a missing blob.
            if await self._token(path) is None:
                return
            raise

    async def _call(self, operation: Operation, path: str, work: Callable[[Any], Awaitable[T]]) -> T:
        import aiohttp
        from azure.core.exceptions import AzureError

        if operation != "list":
            self._require_addressable(operation, path)
        try:
            with self.checking(operation, path):
                return await work((await self._connected()).container)
        except (AttributeError, KeyError, TypeError, ValueError, StopAsyncIteration):
            # The SDK's errors for an answer of 200 that is not one of the service.
            raise self.error(bad_answer("it cannot be parsed"), operation, path) from None
        except (AzureError, aiohttp.ClientError, OSError) as error:
            raise self.error(azure_failure(error), operation, path) from None

    async def _connect(self) -> _Client:
        import aiohttp

        try:
            # Looking for credentials may ask the metadata service.
            fs = await asyncio.to_thread(file_system, self._options)
        except (ValueError, TypeError):  # its text quotes connection strings
            raise self.error(Failure(code="InvalidOptions", kind=Unsupported), "list", "") from None
        transport = fs.service_client._pipeline._transport
        if transport.session is None:
            # As the SDK creates it, but with a pool as large as the concurrency.
            transport.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
                auto_decompress=False,
            )
        transport.session = RedirectingSession(
            transport.session, follow=self._follow_redirects, bound_to=bound_to(fs)
        )
        return _Client(fs, fs.service_client.get_container_client(self._bucket))

    def _closing(self, client: _Client) -> Iterable[Awaitable[object]]:
        yield client.fs.service_client.close()
        if hasattr(client.fs.credential, "close"):
            yield client.fs.credential.close()


def _call_options(operation: Operation) -> dict[str, Any]:
    """Options of every call: one attempt and no redirect of the SDK's own (settings of the client, but
    adlfs makes the client), and a check of the answer before the SDK parses it."""
    return {"retry_total": 0, "permit_redirects": False, "raw_response_hook": AnswerCheck(operation)}


def _pin(token: str | None) -> dict[str, Any]:
    if token is None:
        return {}
    from azure.core import MatchConditions

    return {"etag": f'"{token}"', "match_condition": MatchConditions.IfNotModified}


def _single_put(container: Any) -> int:
    return int(container._config.max_single_put_size)


def _has_size(blob: Any) -> bool:
    return blob.size is not None


def _is_folder(blob: Any) -> bool:
    """Whether an entry of 0 bytes is a folder: of a hierarchical account, of blobfuse or of Hadoop.

    Source: https://learn.microsoft.com/azure/storage/blobs/data-lake-storage-known-issues; such folders
    carry the metadata `hdi_isfolder`, whose letter case is the writer's.
    """
    return not blob.size and any(
        name.lower() == _FOLDER and str(value).lower() == "true"
        for name, value in (blob.metadata or {}).items()
    )


def _facts(blob: Any, *, tags: bool) -> ObjectFacts:
    """Of a blob's properties; `tags`: they were asked for, and a blob without them has none."""
    metadata, unreadable = readable(
        (header_text(name), header_text(value)) for name, value in (blob.metadata or {}).items()
    )
    found = None
    if tags:
        found, more = readable((blob.tags or {}).items())
        unreadable += more
    tier = getattr(blob.blob_tier, "value", blob.blob_tier)
    etag = entity_tag(blob.etag or "")
    return ObjectFacts(
        etag or None, blob.content_settings.content_type or None, tier or None, metadata, found, unreadable
    )


def _entry(path: str, blob: Any) -> Entry:
    md5 = blob.content_settings.content_md5
    proof = bytes(md5).hex() if md5 else None
    return Entry(path, blob.size, entity_tag(blob.etag or ""), proof, blob.last_modified.timestamp())
