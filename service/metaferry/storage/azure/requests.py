"""Builds requests to Azure Blob Storage, signed with the account's key, and parses their answers.

Sources: https://learn.microsoft.com/rest/api/storageservices/put-blob and
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. Only puts, ranged reads and
deletes are known here. The tests hold the signature against the one of Microsoft's own library, which takes
ten times as long. No I/O, and no secret in any representation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import ClassVar, Final
from urllib.parse import urlsplit

from metaferry.errors import Corrupt
from metaferry.storage.answers import Refused, bad_answer, blob_of_range, require, require_empty
from metaferry.storage.azure.client import answered
from metaferry.storage.errors import Failure
from metaferry.storage.http.exchange import Answer, Request, error_code
from metaferry.storage.http.redirects import BoundTo
from metaferry.storage.http.requests import Stored, most_of, range_of
from metaferry.storage.keys import entity_tag, quoted
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob, Precondition

#: Seconds for which a time stamp is used. The service allows 15 minutes.
_VALID: Final = 1.0

_STREAM: Final = "application/octet-stream"

#: The code of a first 401 to an access token: the service may ask for one of another directory.
CHALLENGED: Final = "BearerChallenge"


@dataclass(frozen=True, slots=True)
class AzureEndpoint:
    """`url` of the container without a query; `query` is its SAS, "" for none; `version` of the API."""

    url: str
    query: str
    version: str

    def __repr__(self) -> str:
        return f"AzureEndpoint({self.url!r})"


class Credential:
    """With what the requests are authorized; this one: anonymous, or somebody whom the query names."""

    #: Whether a first 401 may ask for somebody else, which the SDK would answer.
    may_be_challenged: ClassVar[bool] = False

    def is_due(self) -> bool:
        """Whether the next request has to be given a new token first, which blocks."""
        return False

    def authorization(self, string_to_sign: str, path: str) -> list[str]:
        """The headers with the credential. `string_to_sign` is without the resource at its end, which is the
        account and `path`. Raises `Refused`."""
        return []


class SharedKey(Credential):
    """The account's own key, in base64. ValueError where it is none."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._keyed = hmac.new(base64.b64decode(key), digestmod="sha256")

    def __repr__(self) -> str:
        return f"SharedKey({self._account!r})"

    def authorization(self, string_to_sign: str, path: str) -> list[str]:
        # A copy that goes on, not `hmac.digest`: that gives up the interpreter lock, and has to wait for it.
        signing = self._keyed.copy()
        signing.update(f"{string_to_sign}/{self._account}{path}".encode())
        signature = base64.b64encode(signing.digest()).decode()
        return [f"Authorization: SharedKey {self._account}:{signature}"]


class AzureRequests:
    """A `RequestBuilder`. The token is the ETag without its quotes. `now` is the time of the day."""

    def __init__(
        self,
        endpoint: AzureEndpoint,
        credential: Credential,
        *,
        bound_to: BoundTo = BoundTo.URL,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bound_to = bound_to
        self._url = endpoint.url
        self._path = urlsplit(endpoint.url).path
        self._query = f"?{endpoint.query}" if endpoint.query else ""
        self._version = endpoint.version
        self._credential = credential
        self._now = now
        self._clock = clock
        self._date = ""
        self._until = float("-inf")
        self._accepted = False

    def may_block(self) -> bool:
        return self._credential.is_due()

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> Request:
        md5 = _md5(data)
        match = none_match = ""
        own = [f"Content-MD5: {md5}", f"Content-Type: {_STREAM}"]
        if only_if is ABSENT:
            none_match = "*"
            own.append("If-None-Match: *")
        elif only_if is not ANYTHING:
            match = f'"{only_if}"'
            own.append(f"If-Match: {match}")
        canonical = (
            f"x-ms-blob-content-md5:{md5}\nx-ms-blob-content-type:{kind}\nx-ms-blob-type:BlockBlob\n"
            f"x-ms-date:{self._dated()}\nx-ms-version:{self._version}\n"
        )
        # Encoding, language, length, MD5, type, date, modified since, both matches, unmodified since, range.
        length = str(len(data)) if data else ""
        string_to_sign = f"PUT\n\n\n{length}\n{md5}\n{_STREAM}\n\n\n{match}\n{none_match}\n\n\n{canonical}"
        return self._request("PUT", key, own, canonical, string_to_sign, data)

    def read(self, key: str, start: int, end: int | None, version: str | None) -> Request:
        match = "" if version is None else f'"{version}"'
        own = [f"If-Match: {match}"] if match else []
        canonical = (
            f"x-ms-date:{self._dated()}\nx-ms-range:{range_of(start, end)}\nx-ms-version:{self._version}\n"
        )
        string_to_sign = f"GET\n\n\n\n\n\n\n\n{match}\n\n\n\n{canonical}"
        return self._request("GET", key, own, canonical, string_to_sign)._replace(most=most_of(start, end))

    def delete(self, key: str) -> Request:
        canonical = f"x-ms-date:{self._dated()}\nx-ms-version:{self._version}\n"
        return self._request("DELETE", key, [], canonical, f"DELETE\n\n\n\n\n\n\n\n\n\n\n\n{canonical}")

    def _request(
        self, method: str, key: str, own: list[str], canonical: str, string_to_sign: str, data: bytes = b""
    ) -> Request:
        name = quoted(key)
        credential = self._credential.authorization(string_to_sign, f"{self._path}/{name}")
        headers = [*credential, *own, *canonical.split("\n")[:-1]]
        return Request(method, f"{self._url}/{name}{self._query}", headers, data)

    def _dated(self) -> str:
        if self._clock() >= self._until:  # several threads may do so at once
            self._date, self._until = format_datetime(self._now(), usegmt=True), self._clock() + _VALID
        return self._date

    # -- answers

    def stored(self, answer: Answer, key: str, data: bytes) -> Stored:
        headers = answer.headers
        tag = entity_tag(headers.get("etag", ""))
        if not tag or answer.body.strip():  # of a proxy, or a login page
            raise Refused(bad_answer("an unexpected body" if tag else "no ETag"))
        if headers.get("content-md5", _md5(data)) != _md5(data):
            raise Refused(Failure(code="Content-MD5", kind=Corrupt))
        self._accepted = True
        return Stored(tag)

    def blob(self, answer: Answer, key: str, start: int, end: int | None) -> Blob:
        headers = answer.headers_of_part(token="etag")
        tag = entity_tag(headers.get("etag", ""))
        require(tag, "no ETag")
        self._accepted = True
        return blob_of_range(answer.status, headers, answer.body, tag, start, end)

    def deleted(self, answer: Answer) -> None:
        require_empty(answer.status, answer.body)
        self._accepted = True

    def failure(self, answer: Answer) -> Failure:
        headers = answer.headers
        if answer.status == 401 and self._credential.may_be_challenged and not self._accepted:
            return Failure(answer.status, CHALLENGED)
        code = headers.get("x-ms-error-code") or error_code(answer.body)
        return answered(answer.status, code, headers)


def _md5(data: bytes) -> str:
    return binascii.b2a_base64(hashlib.md5(data, usedforsecurity=False).digest(), newline=False).decode()
