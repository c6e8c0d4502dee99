"""Google Cloud Storage, through gcsfs's credentials and session and the JSON API.

gcsfs gives options, credentials, base address and the HTTP session; requests and answers are those of
`requests.py`. gcsfs's request method is not used: it retries, and it turns statuses into exceptions that do
not distinguish them (a 503 whose text contains "invalid" becomes a ValueError). Every request is one
attempt. A bucket is never created, and anonymous access is used only where the options ask for it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from typing import Any, Final, NamedTuple

from metaferry.errors import Conflict, Denied, Unavailable
from metaferry.storage.answers import Refused, require, unexpected
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.errors import REDIRECTS, Failure, Operation
from metaferry.storage.facts.model import Described, Fact
from metaferry.storage.gcs.client import file_system
from metaferry.storage.gcs.requests import FIELDS, FIELDS_WITH_FACTS, GcsRequests, page_of
from metaferry.storage.http.exchange import Answer, Request
from metaferry.storage.http.redirects import RedirectingSession
from metaferry.storage.keys import LARGE, content_type, md5_hex
from metaferry.storage.protocol import ANYTHING, Blob, Level, Page, Precondition, PutResult

#: The statuses of success of each operation.
_STATUSES: Final[Mapping[Operation, Container[int]]] = {
    "list": (200,),
    "read": (200, 206),
    "put": (200,),
    "delete": range(200, 300),
}


class _Client(NamedTuple):
    """gcsfs's file system, and what asks with its credentials."""

    fs: Any
    requests: GcsRequests


class GcsAdapter(ObjectStoreAdapter):
    """Options are gcsfs's."""

    store = "gcs"
    listed_facts = frozenset[Fact](("etag", "content_type", "storage_class", "metadata"))

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        wanted = {
            "prefix": self._prefix + prefix,
            "maxResults": str(self._page_size),
            "fields": self._fields,
        }
        if start_after:
            # startOffset includes the key itself; the smallest key after it has a NUL at its end.
            wanted["startOffset"] = self._prefix + start_after + "\0"
        if cursor is not None:
            wanted["pageToken"] = cursor
        return (await self._listed(prefix, wanted))[0]

    async def list_level(self, prefix: str) -> Level | None:
        wanted = {
            "prefix": self._prefix + prefix,
            "maxResults": str(self._page_size),
            "fields": self._fields + ",prefixes",
            "delimiter": "/",
        }
        page, folders = await self._listed(prefix, wanted)
        return Level(page.entries, folders) if page.cursor is None else None

    async def _listed(self, prefix: str, wanted: Mapping[str, str]) -> tuple[Page, list[str]]:
        answer = await self._ask("list", prefix, lambda requests: requests.listing(wanted))
        with self.checking("list", prefix):
            return page_of(answer.body, wanted["prefix"], len(self._prefix), facts=self._lists_facts)

    @property
    def _fields(self) -> str:
        return FIELDS_WITH_FACTS if self._lists_facts else FIELDS

    async def describe(self, path: str) -> Described:
        key = self._prefix + path
        answer = await self._ask("read", path, lambda requests: requests.facts(key))
        with self.checking("read", path):
            return GcsRequests.facts_in(answer, key)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        key, kind = self._prefix + path, content_type(path)
        with self.missing_is_conflict(path, only_if):
            answer = await self._ask("put", path, lambda requests: requests.put(key, data, kind, only_if))
        with self.checking("put", path):
            return PutResult(GcsRequests.stored(answer, key, data).token, md5_hex(data))

    # -- requests

    async def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        key = self._prefix + path
        answer = await self._ask("read", path, lambda requests: requests.read(key, start, end, version))
        return GcsRequests.blob(answer, key, start, end)

    async def _head(self, path: str, version: str | None = None) -> Blob:
        key = self._prefix + path
        answer = await self._ask("read", path, lambda requests: requests.describe(key, version))
        with self.checking("read", path):
            blob = GcsRequests.described(answer, key)
            require(version in (None, blob.token), "another version")
            return blob

    async def _delete(self, path: str, only_if: Precondition) -> None:
        key = self._prefix + path
        try:
            answer = await self._ask("delete", path, lambda requests: requests.delete(key, only_if))
        except Conflict:
            if await self._token(path) is None:
                return
            raise
        with self.checking("delete", path):
            GcsRequests.deleted(answer)

    async def _ask(self, operation: Operation, path: str, make: Callable[[GcsRequests], Request]) -> Answer:
        """One request. Raises our error for any answer that is not of success."""
        if operation != "list":
            self._require_addressable(operation, path)
        with self.checking(operation, path):
            client = await self._connected()
            if client.requests.may_block():  # renewing an access token does
                request = await asyncio.to_thread(make, client.requests)
            else:
                request = make(client.requests)
            answer = await self._answer(client, request)
            if answer.status >= 400 or answer.status in REDIRECTS:
                raise Refused(GcsRequests.failure(answer))
            if answer.status not in _STATUSES[operation]:
                raise Refused(unexpected(answer.status))
            return answer

    async def _answer(self, client: _Client, request: Request) -> Answer:
        import aiohttp
        from yarl import URL

        session = RedirectingSession(
            client.fs.session, follow=self._follow_redirects, bound_to=client.requests.bound_to
        )
        try:
            async with await session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=dict(line.split(": ", 1) for line in request.headers),
                data=io.BytesIO(request.body) if len(request.body) > LARGE else request.body or None,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            ) as answer:
                lines = tuple(b"%b: %b" % header for header in answer.raw_headers)
                return Answer(answer.status, lines, await answer.read())
        except aiohttp.ClientConnectorCertificateError:
            raise Refused(Failure(code="CertificateError", kind=Denied)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Refused(Failure(code=type(error).__name__, kind=Unavailable)) from None

    async def _connect(self) -> _Client:
        import aiohttp

        # Looking for credentials asks the metadata service, and blocks.
        try:
            fs = await asyncio.to_thread(file_system, self._options)
        except Exception:  # noqa: BLE001 - a malformed key file raises anything, and quotes itself
            raise self.error(Failure(code="InvalidOptions", kind=Denied), "list", "") from None
        anonymous = self._options.get("token") == "anon"
        if fs.credentials.credentials is None and not anonymous:
            # gcsfs falls back to anonymous access, whose errors would be misleading.
            raise self.error(Failure(code="NoCredentials", kind=Denied), "list", "")
        if "connector" not in fs.session_kwargs and not fs._use_client_cert:
            connector = aiohttp.TCPConnector(limit=self._concurrency)
            fs.session_kwargs = {**fs.session_kwargs, "connector": connector}
        fs.session_kwargs = {**fs.session_kwargs, "auto_decompress": False}
        await fs._set_session()
        return _Client(fs, GcsRequests(fs, self._bucket))

    def _closing(self, client: _Client) -> Iterable[Awaitable[object]]:
        if client.fs._session is not None:
            yield client.fs._session.close()
