"""Puts to Google Cloud Storage over connections of our own: the very request of the gcsfs adapter.

gcsfs gives address, credentials and the headers of a request, and google-auth renews the access token
in time; what is uploaded and what the answer means is said once, in `gcs_api.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from metaferry.errors import Corrupt, Unavailable
from metaferry.storage.answers import BadAnswer
from metaferry.storage.errors import Failure
from metaferry.storage.gcs.client import NOT_UNDERSTOOD, auth_failure, file_system, upload_base
from metaferry.storage.gcs.requests import condition, gcs_failure, multipart, stored
from metaferry.storage.http.client import Refused, Sockets, header_lines, plain_answer
from metaferry.storage.http.options import Network, UnsupportedOption
from metaferry.storage.keys import md5_hex
from metaferry.storage.protocol import ANYTHING, Precondition

#: Seconds for which the headers are used before the credentials are looked at again.
_VALID: Final = 1.0


class GcsConfig:
    """A `ClientConfig` for `bucket`. Options are gcsfs's.

    Raises `UnsupportedOption` for settings of aiohttp's.
    """

    store: Final = "gcs"

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any]) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._options = dict(options)
        if options.get("session_kwargs"):
            raise UnsupportedOption("session_kwargs")

    def key(self, path: str) -> str:
        return self._prefix + path

    def sockets(self, *, timeout: float) -> Sockets:
        """Raises `UnsupportedOption` where gcsfs finds no credentials, or a client certificate."""
        try:
            fs = file_system(self._options)
        except Exception:  # noqa: BLE001 - a malformed key file raises anything; the adapter will say so
            raise UnsupportedOption("its options") from None
        if fs.credentials.credentials is None and self._options.get("token") != "anon":
            raise UnsupportedOption("credentials, of which there are none")
        if fs._use_client_cert:
            raise UnsupportedOption("a client certificate")
        return Sockets(Network(fs._location, None), GcsRequestCodec(fs, self._bucket), timeout=timeout)

    def forget(self) -> None:
        """Nothing is kept: each `sockets` looks for credentials."""

    def refine(self, failure: Failure, error: BaseException) -> Failure:
        return failure

    def fallback_reason(self, failure: Failure) -> str | None:
        redirected = failure.status is not None and 300 <= failure.status < 400
        return "a redirection" if redirected else None


class GcsRequestCodec:
    """A `RequestCodec`. The token is the generation. `fs` is gcsfs's file system."""

    def __init__(self, fs: Any, bucket: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        url = urlsplit(fs._format_path(upload_base(fs) + "b/{}/o", [bucket]))
        self._fs = fs
        self._host = url.netloc.rpartition("@")[2]
        self._target = f"{url.path}?{urlencode(fs._get_params({'uploadType': 'multipart'}))}"
        self._clock = clock
        self._headers = ""
        self._until = float("-inf")

    def request(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        headers, body = multipart(key, kind, data, md5_hex(data))
        target = self._target
        if only_if is not ANYTHING:
            target += f"&{urlencode(condition(only_if))}"
        own = f"Content-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n"
        return f"POST {target} HTTP/1.1\r\n{self._common()}{own}\r\n".encode() + body

    def quick(self, answer: bytes, key: str, data: bytes) -> str | None:
        found = plain_answer(answer)
        return None if found is None else self.token(*found, key, data)

    def token(self, headers: Mapping[str, str], body: bytes, key: str, data: bytes) -> str:
        try:
            generation, same = stored(body, key, data, md5_hex(data))
        except BadAnswer as error:  # of a proxy, or a login page
            raise Refused(error.failure) from None
        if not same:
            raise Refused(Failure(code="md5Hash", kind=Corrupt))
        return generation

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return gcs_failure(status, headers, body)

    def _common(self) -> str:
        """What all requests of a second say. Renews the access token when it is time to, which blocks."""
        from gcsfs.retry import HttpError, NonRetryableError
        from google.auth.exceptions import GoogleAuthError

        if self._clock() >= self._until:
            # Several threads may do so at once, with the same result.
            try:
                given = self._fs._get_headers({"Host": self._host, "Accept-Encoding": "identity"})
            except (GoogleAuthError, HttpError, NonRetryableError, *NOT_UNDERSTOOD) as error:
                raise Refused(auth_failure(error)) from None
            except OSError as error:
                raise Refused(Failure(code=type(error).__name__, kind=Unavailable)) from None
            self._headers, self._until = header_lines(given), self._clock() + _VALID
        return self._headers
