"""Azure Blob Storage, through the client that adlfs makes.

adlfs gives options and credentials; its path rules are not used (a `:` in the first segment breaks
them). The SDK's own retries are off, so every request is one attempt, except that the SDK reads a
body that broke off up to three times. A container is never created.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from metaferry.errors import (
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    StorageError,
    Unavailable,
    Unsupported,
    UsageError,
)
from metaferry.storage.contract import ABSENT, ANYTHING, Blob, Entry, Level, Page, Precondition, Stamp, Traits
from metaferry.storage.keys import (
    content_type,
    is_addressable,
    is_complete,
    is_marker,
    md5_hex,
    whole_size,
)
from metaferry.storage.translate import Failure, Operation, retry_after, storage_error

T = TypeVar("T")

#: On every call: one attempt. (A setting of the client, but adlfs makes the client.)
_ONCE: Final = {"retry_total": 0}
_HOSTS: Final = (".blob.core.", ".dfs.core.")


class AzureAdapter:
    """The blobs of `container` whose names begin with `prefix` ("" or ending in `/`). Options are adlfs's."""

    def __init__(
        self,
        container: str,
        prefix: str,
        options: Mapping[str, Any],
        *,
        url: str,
        concurrency: int = 64,
        page_size: int | None = None,
    ) -> None:
        self._container = container
        self._prefix = prefix
        self._options = dict(options)
        self._url = url
        self._concurrency = concurrency
        self._page_size = page_size if page_size is not None else 5000
        self._traits = Traits(listing_md5=True, conditional=True, one_loop=True, own_clock=True)
        self._fs: Any = None
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._retired: list[Any] = []

    def __repr__(self) -> str:
        return f"AzureAdapter({self._url!r})"

    @property
    def url(self) -> str:
        return self._url

    @property
    def traits(self) -> Traits:
        return self._traits

    def sibling(self) -> AzureAdapter:
        """Another client of the same datasource, for another event loop."""
        return AzureAdapter(
            self._container,
            self._prefix,
            self._options,
            url=self._url,
            concurrency=self._concurrency,
            page_size=self._page_size,
        )

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        start = self._prefix + prefix
        after = self._prefix + start_after if start_after else ""
        skip = len(self._prefix)

        async def work(container: Any) -> Page:
            # The service has no start key that works for every account: what comes before it is
            # listed and left out.
            pages = container.list_blobs(
                name_starts_with=start or None,
                results_per_page=self._page_size,
                **_ONCE,
            ).by_page(cursor)
            try:
                page = await anext(pages)
            except StopAsyncIteration:
                return Page([], None)
            entries = [
                _entry(blob.name[skip:], blob)
                async for blob in page
                if blob.name > after and not is_marker(blob.name[skip:], blob.size)
            ]
            return Page(entries, pages.continuation_token or None)

        return await self._call("list", prefix, work)

    async def list_level(self, prefix: str) -> Level | None:
        skip = len(self._prefix)

        async def work(container: Any) -> Level | None:
            from azure.storage.blob.aio import BlobPrefix

            pages = container.walk_blobs(
                name_starts_with=self._prefix + prefix or None,
                delimiter="/",
                results_per_page=self._page_size,
                **_ONCE,
            ).by_page()
            level = Level([], [])
            async for item in await anext(pages):
                if isinstance(item, BlobPrefix):
                    level.folders.append(item.name[skip:])
                elif not is_marker(item.name[skip:], item.size):
                    level.entries.append(_entry(item.name[skip:], item))
            return None if pages.continuation_token else level

        return await self._call("list", prefix, work)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        pin = _pin(version)
        if end is not None and end <= start:
            return await self._nothing(path, pin)
        where: dict[str, int] = {}
        if start or end is not None:
            where = {"offset": start} | ({} if end is None else {"length": end - start})

        async def work(container: Any) -> Blob:
            stream = await container.get_blob_client(path_of(path)).download_blob(**where, **pin, **_ONCE)
            data: bytes = await stream.readall()
            properties = stream.properties
            size = whole_size(properties.content_range)
            return Blob(data, properties.etag.strip('"'), len(data) if size is None else size)

        def path_of(path: str) -> str:
            return self._prefix + path

        try:
            blob = await self._call("read", path, work)
        except StorageError as error:
            if error.status == 416:
                return await self._nothing(path, pin)
            raise
        if not is_complete(len(blob.data), start, end, blob.size):
            raise self._error(Failure(kind=Corrupt, code="Length"), "read", path)
        return blob

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
        from azure.storage.blob import ContentSettings

        md5 = md5_hex(data)
        settings = ContentSettings(content_type=content_type(path), content_md5=bytearray(bytes.fromhex(md5)))
        condition = _pin(only_if) if isinstance(only_if, str) else {}

        async def work(container: Any) -> Stamp:
            answer = await container.get_blob_client(self._prefix + path).upload_blob(
                data,
                length=len(data),
                overwrite=only_if is not ABSENT,
                content_settings=settings,
                validate_content="md5" if len(data) <= _single_put(container) else False,
                **condition,
                **_ONCE,
            )
            return Stamp(answer["etag"].strip('"'), md5)

        try:
            return await self._call("put", path, work)
        except NotFound as error:
            if not error.path or not isinstance(only_if, str):
                raise
            raise self._error(Failure(error.status, error.code, kind=Conflict), "put", path) from None

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        if only_if is ABSENT:
            raise self._error(Failure(kind=Unsupported), "delete", path)
        condition = _pin(only_if) if isinstance(only_if, str) else {}

        async def work(container: Any) -> None:
            await container.get_blob_client(self._prefix + path).delete_blob(**condition, **_ONCE)

        try:
            await self._call("delete", path, work)
        except NotFound as error:
            if not error.path:
                raise
        except Conflict:
            # Azure answers 412, not 404, to a condition on a blob that is gone.
            try:
                await self._nothing(path, {})
            except NotFound:
                return
            raise

    async def renew(self) -> None:
        """Looks the credentials up again."""
        if self._fs is not None:
            self._retired.append(self._fs)
            self._fs = self._client = None

    async def close(self) -> None:
        open_ones, self._retired = [*self._retired, self._fs], []
        self._fs = self._client = None
        for fs in open_ones:
            if fs is not None:
                await fs.service_client.close()
                if fs.credential is not None and hasattr(fs.credential, "close"):
                    await fs.credential.close()

    # -- requests

    async def _nothing(self, path: str, pin: Mapping[str, Any]) -> Blob:
        """The answer to an empty range: no bytes, but which version and how large it is."""

        async def work(container: Any) -> Blob:
            found = await container.get_blob_client(self._prefix + path).get_blob_properties(**pin, **_ONCE)
            return Blob(b"", found.etag.strip('"'), found.size)

        return await self._call("read", path, work)

    async def _call(self, operation: Operation, path: str, work: Callable[[Any], Awaitable[T]]) -> T:
        import aiohttp
        from azure.core.exceptions import AzureError

        if operation != "list" and not is_addressable(path):
            raise self._error(Failure(code="InvalidKey", kind=Unsupported), operation, path)
        try:
            return await work(await self._open())
        except (KeyError, ValueError):  # an answer of 200 that is none, as the SDK reads it
            raise self._error(Failure(code="BadAnswer", kind=Corrupt), operation, path) from None
        except (AzureError, aiohttp.ClientError, OSError) as error:
            raise self._error(azure_failure(error), operation, path) from None

    async def _open(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._fs = await self._connect()
                    self._client = self._fs.service_client.get_container_client(self._container)
        return self._client

    async def _connect(self) -> Any:
        import aiohttp

        try:
            # Looking for credentials may ask the metadata service.
            fs = await asyncio.to_thread(file_system, self._options)
        except (ValueError, TypeError):  # its text quotes connection strings
            raise self._error(Failure(code="InvalidOptions", kind=Unsupported), "list", "") from None
        transport = fs.service_client._pipeline._transport
        if transport.session is None:
            # As the SDK makes it, with a pool as large as the concurrency.
            transport.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
                auto_decompress=False,
            )
        return fs

    def _error(self, failure: Failure, operation: Operation, path: str) -> StorageError:
        return storage_error(failure, store="azure", url=self._url, operation=operation, path=path)


def azure_location(rest: str, shown: str) -> tuple[str, str, dict[str, str]]:
    """Container, prefix and options out of `container/prefix`, `container@account.host/prefix` or
    `account.blob.core.windows.net/container/prefix`, each with a SAS for a query. Raises `UsageError`."""
    from metaferry.storage.open import split_bucket

    place, _, query = rest.partition("?")
    first, _, prefix = place.partition("/")
    container, at, host = first.rpartition("@")
    options: dict[str, str] = {}
    if at:
        options = _account(host)
    elif any(part in host for part in _HOSTS):
        options = _account(host)
        container, _, prefix = prefix.partition("/")
    else:
        container = host
    if "sig=" in query:  # a container's URL as the portal gives it out, with its signature
        options["sas_token"] = query
    if ":" in container:
        raise UsageError(f"{shown}: credentials do not belong in the URL", advice="give them as options")
    name, below = split_bucket(f"{container}/{prefix}", shown)
    return name, below, options


def _account(host: str) -> dict[str, str]:
    account = {"account_name": host.partition(".")[0]}
    if "." in host and not host.endswith(".windows.net"):  # a sovereign cloud
        account["account_host"] = host.replace(".dfs.", ".blob.")
    return account


def azure_failure(error: BaseException) -> Failure:
    """Status and code of what the SDK raised; never its text, which quotes signed URLs."""
    from azure.core import exceptions as azure

    if isinstance(error, azure.ClientAuthenticationError) and getattr(error, "response", None) is None:
        return Failure(code=type(error).__name__, kind=Expired)  # no token could be got
    if isinstance(error, azure.HttpResponseError) and error.status_code is not None:
        headers = getattr(error.response, "headers", None) or {}
        code = getattr(error, "error_code", None) or headers.get("x-ms-error-code") or ""
        return answered(error.status_code, str(getattr(code, "value", code)), headers)
    if isinstance(error, azure.ServiceRequestError) and "certificate" in str(error).lower():
        return Failure(code="CertificateError", kind=Denied)
    return Failure(code=type(error).__name__, kind=Unavailable)


def answered(status: int, code: str, headers: Mapping[str, str]) -> Failure:
    """Of an answer with the service's word for what is wrong."""
    exists = status == 409 and code == "BlobAlreadyExists"
    return Failure(status, code, retry_after=retry_after(headers), kind=Conflict if exists else None)


def file_system(options: Mapping[str, Any]) -> Any:
    """adlfs's file system; looking for credentials may ask the metadata service. Raises ValueError and
    TypeError, whose text quotes connection strings."""
    import adlfs

    # `asynchronous=True` would leave finalizers that fail at exit, loudly, for want of a loop. Only
    # the client is used, which belongs to the loop of its first request, ours.
    given = {**options, "asynchronous": False, "skip_instance_cache": True, "use_listings_cache": False}
    return adlfs.AzureBlobFileSystem(**given)


def _pin(token: str | None) -> dict[str, Any]:
    if token is None:
        return {}
    from azure.core import MatchConditions

    return {"etag": f'"{token}"', "match_condition": MatchConditions.IfNotModified}


def _single_put(container: Any) -> int:
    return int(container._config.max_single_put_size)


def _entry(path: str, blob: Any) -> Entry:
    md5 = blob.content_settings.content_md5
    proof = bytes(md5).hex() if md5 else None
    return Entry(path, blob.size, blob.etag.strip('"'), proof, blob.last_modified.timestamp())
