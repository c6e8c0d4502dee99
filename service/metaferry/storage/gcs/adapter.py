"""Google Cloud Storage, through gcsfs's credentials and session and the JSON API.

gcsfs gives options, credentials, base address and the HTTP session. Its request method is not used:
it retries, and it turns statuses into exceptions that do not distinguish them (a 503 whose text
contains "invalid" becomes a ValueError). The token of an object is its generation. Every request is
one attempt. A bucket is never created, and anonymous access is used only where the options ask for it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from metaferry.errors import Conflict, Corrupt, Denied, Unavailable
from metaferry.storage.answers import (
    require,
    require_empty,
    unexpected,
)
from metaferry.storage.base import ObjectStoreAdapter
from metaferry.storage.errors import REDIRECTS, Failure, Operation
from metaferry.storage.gcs.client import NOT_UNDERSTOOD, auth_failure, bound_to, file_system, upload_base
from metaferry.storage.gcs.requests import (
    FIELDS,
    blob_of,
    condition,
    described,
    gcs_failure,
    is_intact,
    multipart,
    page_of,
    stored,
)
from metaferry.storage.http.redirects import RedirectingSession
from metaferry.storage.keys import (
    LARGE,
    byte_range,
    content_type,
    limits_below,
    md5_hex,
)
from metaferry.storage.protocol import (
    ANYTHING,
    Blob,
    Capabilities,
    Level,
    Page,
    Precondition,
    PutResult,
)

#: The statuses of success of each operation.
_STATUSES: Final[Mapping[Operation, Container[int]]] = {
    "list": (200,),
    "read": (200, 206),
    "put": (200,),
    "delete": range(200, 300),
}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class GcsAdapter(ObjectStoreAdapter):
    """Options are gcsfs's."""

    store = "gcs"

    @staticmethod
    def _capabilities_of(bucket: str, prefix: str) -> Capabilities:
        return Capabilities(
            listing_md5=True,
            conditional=True,
            one_loop=True,
            own_clock=True,
            start_key=True,
            key_limits=limits_below(prefix),
        )

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        wanted = {"prefix": self._prefix + prefix, "maxResults": str(self._page_size), "fields": FIELDS}
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
            "fields": FIELDS + ",prefixes",
            "delimiter": "/",
        }
        page, folders = await self._listed(prefix, wanted)
        return Level(page.entries, folders) if page.cursor is None else None

    async def _listed(self, prefix: str, wanted: Mapping[str, str]) -> tuple[Page, list[str]]:
        answer = await self._call("GET", "b/{}/o", "list", prefix, params=wanted)
        with self.checking("list", prefix):
            return page_of(answer.body, wanted["prefix"], len(self._prefix))

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        params = {"uploadType": "multipart", **condition(only_if)}
        md5 = md5_hex(data)
        headers, body = multipart(self._prefix + path, content_type(path), data, md5)
        with self.missing_is_conflict(path, only_if):
            answer = await self._call(
                "POST", "b/{}/o", "put", path, params=params, headers=headers, data=body, upload=True
            )
        with self.checking("put", path):
            token, same = stored(answer.body, self._prefix + path, data, md5)
        if not same:
            raise self.error(Failure(kind=Corrupt, code="md5Hash"), "put", path)
        return PutResult(token, md5)

    # -- requests

    async def _read(self, path: str, start: int, end: int | None, version: str | None) -> Blob:
        wanted = byte_range(start, end)
        params = {"alt": "media"}
        if version is not None:
            # Not `generation=`: a bucket with versions would still return a replaced object.
            params["ifGenerationMatch"] = version
        # Otherwise objects stored with gzip arrive decompressed, and their ranges are wrong.
        headers = {"Accept-Encoding": "gzip"} | ({"Range": wanted} if wanted is not None else {})
        answer = await self._call("GET", "b/{}/o/{}", "read", path, params=params, headers=headers)
        if answer.status == 200 and not is_intact(answer.headers, answer.body):
            raise self.error(Failure(kind=Corrupt, code="x-goog-hash"), "read", path)
        return blob_of(answer.status, answer.headers, answer.body, start, end)

    async def _head(self, path: str, version: str | None = None) -> Blob:
        params = {"fields": "kind,name,size,generation"}
        if version is not None:
            params["ifGenerationMatch"] = version
        answer = await self._call("GET", "b/{}/o/{}", "read", path, params=params)
        with self.checking("read", path):
            token, size = described(answer.body, self._prefix + path)
            require(version in (None, token), "another version")
            return Blob(b"", token, size)

    async def _delete(self, path: str, only_if: Precondition) -> None:
        try:
            answer = await self._call("DELETE", "b/{}/o/{}", "delete", path, params=condition(only_if))
        except Conflict:
            if await self._token(path) is None:
                return
            raise
        with self.checking("delete", path):
            require_empty(answer.status, answer.body)

    async def _call(
        self,
        method: str,
        resource: str,
        operation: Operation,
        path: str,
        *,
        params: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        upload: bool = False,
    ) -> _Answer:
        """One request to `resource` (`{}` are the bucket and the key)."""
        import aiohttp
        from google.auth.exceptions import GoogleAuthError
        from yarl import URL

        if operation != "list":
            self._require_addressable(operation, path)
        try:
            fs = await self._authorized()
            names = [self._bucket, self._prefix + path][: resource.count("{}")]
            address = fs._format_path((upload_base(fs) if upload else fs.base) + resource, names)
            sent = fs._get_headers({"Accept-Encoding": "identity", **(headers or {})})
            session = RedirectingSession(fs.session, follow=self._follow_redirects, bound_to=bound_to(fs))
            async with await session.request(
                method,
                URL(address, encoded=True),
                params=fs._get_params(dict(params)),
                headers=sent,
                data=data if data is None or len(data) <= LARGE else io.BytesIO(data),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            ) as answer:
                body = await answer.read()
                if answer.status >= 400 or answer.status in REDIRECTS:
                    raise self.error(gcs_failure(answer.status, answer.headers, body), operation, path)
                if answer.status not in _STATUSES[operation]:
                    raise self.error(unexpected(answer.status), operation, path)
                return _Answer(answer.status, answer.headers, body)
        except aiohttp.ClientConnectorCertificateError:
            raise self.error(Failure(code="CertificateError", kind=Denied), operation, path) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self.error(Failure(code=type(error).__name__, kind=Unavailable), operation, path) from None
        except GoogleAuthError as error:
            raise self.error(auth_failure(error), operation, path) from None

    async def _authorized(self) -> Any:
        """The client, with credentials that are valid now."""
        fs = await self._connected()
        if fs.credentials.credentials is not None and not fs.credentials.credentials.valid:
            await asyncio.to_thread(self._refresh, fs.credentials)  # google-auth blocks
        return fs

    def _refresh(self, credentials: Any) -> None:
        from gcsfs.retry import HttpError, NonRetryableError

        try:
            credentials.maybe_refresh()
        except (HttpError, NonRetryableError, *NOT_UNDERSTOOD) as error:
            raise self.error(auth_failure(error), "read", "") from None

    async def _connect(self) -> Any:
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
        return fs

    def _closing(self, client: Any) -> Iterable[Awaitable[object]]:
        if client._session is not None:
            yield client._session.close()
