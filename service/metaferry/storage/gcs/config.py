"""How Google Cloud Storage is reached and asked with the options of gcsfs; or what stands in the way.

gcsfs gives address, credentials and the headers of a request, and google-auth renews the access token in
time; what is uploaded and what an answer means is said once, in `requests.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from metaferry.errors import Corrupt, Denied, Unavailable
from metaferry.storage.answers import Refused, require_empty
from metaferry.storage.errors import Failure
from metaferry.storage.gcs.client import NOT_UNDERSTOOD, auth_failure, bound_to, file_system, upload_base
from metaferry.storage.gcs.requests import blob_of, condition, gcs_failure, is_intact, multipart, stored
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.config import Opened, StoreConfig
from metaferry.storage.http.exchange import Answer, Request, header_lines
from metaferry.storage.http.network import Network, UnsupportedOption, proxy_of_environment, proxy_url
from metaferry.storage.http.requests import Stored, most_of, range_of
from metaferry.storage.keys import md5_hex
from metaferry.storage.protocol import ANYTHING, Blob, Precondition

#: Seconds for which the headers are used before the credentials are looked at again.
_VALID: Final = 1.0

#: Settings of aiohttp's session that come out the same.
_SESSION: Final = frozenset({"trust_env", "proxy"})


class GcsConfig(StoreConfig):
    """A `StoreConfig` for `bucket`. Options are gcsfs's.

    Raises `UnsupportedOption` for settings of aiohttp's other than a proxy.
    """

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], **more: Any) -> None:
        super().__init__(prefix, options, **more)
        self._bucket = bucket
        for name in options.get("session_kwargs") or {}:
            if name not in _SESSION:
                raise UnsupportedOption(f"session_kwargs.{name}")

    def open(self) -> Opened:
        """Raises `UnsupportedOption` where gcsfs finds no credentials, or a client certificate."""
        try:
            fs = file_system(self._options)
        except Exception:  # noqa: BLE001 - a malformed key file raises anything; the adapter will say so
            raise UnsupportedOption("its options") from None
        if fs.credentials.credentials is None and self._options.get("token") != "anon":
            raise UnsupportedOption("credentials, of which there are none")
        if fs._use_client_cert:
            raise UnsupportedOption("a client certificate")
        network = Network(
            fs._location, self._proxy(fs._location), connect=30.0, concurrency=self._concurrency
        )
        return Opened(GcsRequests(fs, self._bucket), CurlClient(network))

    def _proxy(self, endpoint: str) -> str | None:
        session = self._options.get("session_kwargs") or {}
        given = session.get("proxy")
        if given is not None:
            return proxy_url(str(given))
        return proxy_of_environment(endpoint) if session.get("trust_env") else None


class GcsRequests:
    """A `RequestBuilder`. The token is the generation. `fs` is gcsfs's file system."""

    def __init__(self, fs: Any, bucket: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound_to = bound_to(fs)
        self._fs = fs
        self._bucket = bucket
        url = fs._format_path(upload_base(fs) + "b/{}/o", [bucket])
        self._upload = f"{url}?{urlencode(fs._get_params({'uploadType': 'multipart'}))}"
        self._clock = clock
        self._headers: list[str] = []
        self._until = float("-inf")

    def may_block(self) -> bool:
        return self._clock() >= self._until

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> Request:
        headers, body = multipart(key, kind, data, md5_hex(data))
        url = self._upload
        if only_if is not ANYTHING:
            url += f"&{urlencode(condition(only_if))}"
        own = [f"Content-Type: {headers['Content-Type']}", "Accept-Encoding: identity"]
        return Request("POST", url, [*self._common(), *own], body)

    def read(self, key: str, start: int, end: int | None, version: str | None) -> Request:
        params = {"alt": "media"}
        if version is not None:
            # Not `generation=`: a bucket with versions would go on giving out the replaced one.
            params["ifGenerationMatch"] = version
        # Or objects stored with gzip would arrive unpacked, and no range of them be what it says.
        own = [f"Range: {range_of(start, end)}", "Accept-Encoding: gzip"]
        url = self._object(key, params)
        return Request("GET", url, [*self._common(), *own], most=most_of(start, end))

    def delete(self, key: str) -> Request:
        return Request("DELETE", self._object(key, {}), [*self._common(), "Accept-Encoding: identity"])

    def stored(self, answer: Answer, key: str, data: bytes) -> Stored:
        generation, same = stored(answer.body, key, data, md5_hex(data))
        if not same:
            raise Refused(Failure(code="md5Hash", kind=Corrupt))
        return Stored(generation)

    def blob(self, answer: Answer, key: str, start: int, end: int | None) -> Blob:
        headers = answer.headers
        if answer.status == 200 and not is_intact(headers, answer.body):
            raise Refused(Failure(code="x-goog-hash", kind=Corrupt))
        return blob_of(answer.status, headers, answer.body, start, end)

    def deleted(self, answer: Answer) -> None:
        require_empty(answer.status, answer.body)

    def failure(self, answer: Answer) -> Failure:
        return gcs_failure(answer.status, answer.headers, answer.body)

    def _object(self, key: str, params: Mapping[str, str]) -> str:
        query = urlencode(self._fs._get_params(dict(params)))
        url = str(self._fs._format_path(self._fs.base + "b/{}/o/{}", [self._bucket, key]))
        return f"{url}?{query}" if query else url

    def _common(self) -> list[str]:
        """What all requests of a second say. Renews the access token when it is time to, which blocks."""
        from gcsfs.retry import HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        if self._clock() >= self._until:
            # Several threads may do so at once, with the same result.
            try:
                given = self._fs._get_headers({})
            except (GoogleAuthError, HttpError, NonRetryableError, *NOT_UNDERSTOOD) as error:
                raise Refused(auth_failure(error)) from None
            except OSError as error:
                raise Refused(Failure(code=type(error).__name__, kind=Unavailable)) from None
            try:
                self._headers = header_lines(given)
            except ValueError:
                raise Refused(Failure(code="InvalidOptions", kind=Denied)) from None
            self._until = self._clock() + _VALID
        return self._headers
