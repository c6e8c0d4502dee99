"""What a put to Azure Blob Storage says, signed with the account's key, and what its answer means.

Sources: https://learn.microsoft.com/rest/api/storageservices/put-blob and
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key. Only what a put of a
document says is known here. The tests hold the signature against the one of Microsoft's own library.
No I/O, and no secret in any representation.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Protocol
from urllib.parse import urlsplit

from metaferry.errors import Corrupt
from metaferry.storage.answers import bad_answer
from metaferry.storage.azure.client import answered
from metaferry.storage.errors import Failure
from metaferry.storage.http.client import Refused, header_lines, plain_answer
from metaferry.storage.http.errors import error_code
from metaferry.storage.keys import entity_tag, quoted
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition

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
        return f"AzurePlace({self.url!r})"


class Credential(Protocol):
    """Who makes the requests."""

    @property
    def may_be_challenged(self) -> bool:
        """Whether a first 401 may ask for somebody else, which the SDK would answer."""

    def lines(self, signed: str, path: str) -> str:
        """The headers that say so. `signed` is the string to sign, up to the resource, which is the
        account and `path`. Raises `Refused`."""


class Anonymous:
    """Anonymous, or somebody whom the query names."""

    may_be_challenged: Final = False

    def lines(self, signed: str, path: str) -> str:
        return ""


class SharedKey:
    """The account's own key, in base64. ValueError where it is none."""

    may_be_challenged: Final = False

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._begun = hmac.new(base64.b64decode(key), digestmod="sha256")

    def __repr__(self) -> str:
        return f"SharedKey({self._account!r})"

    def lines(self, signed: str, path: str) -> str:
        # A copy that goes on, not `hmac.digest`: that gives up the interpreter lock, and has to wait for it.
        signing = self._begun.copy()
        signing.update(f"{signed}/{self._account}{path}".encode())
        signature = base64.b64encode(signing.digest()).decode()
        return f"Authorization: SharedKey {self._account}:{signature}\r\n"


class AzureRequestCodec:
    """A `RequestCodec`. The token is the ETag without its quotes. `now` is the time of the day."""

    def __init__(
        self,
        place: AzureEndpoint,
        put_credential: Credential,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        url = urlsplit(place.url)
        self._path = url.path
        self._query = f"?{place.query}" if place.query else ""
        self._host = header_lines({"Host": url.netloc.rpartition("@")[2]})
        self._version = place.version
        self._put_credential = put_credential
        self._now = now
        self._clock = clock
        self._date = ""
        self._until = float("-inf")
        self._welcome = False

    def request(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        if self._clock() >= self._until:  # several threads may do so at once
            self._date, self._until = format_datetime(self._now(), usegmt=True), self._clock() + _VALID
        md5 = _md5(data)
        path = f"{self._path}/{quoted(key)}"
        match = none_match = sent = ""
        if only_if is ABSENT:
            none_match = "*"
            sent = "If-None-Match: *\r\n"
        elif only_if is not ANYTHING:
            match = f'"{only_if}"'
            sent = f"If-Match: {match}\r\n"
        named = (
            f"x-ms-blob-content-md5:{md5}\nx-ms-blob-content-type:{kind}\nx-ms-blob-type:BlockBlob\n"
            f"x-ms-date:{self._date}\nx-ms-version:{self._version}\n"
        )
        # Encoding, language, length, MD5, type, date, modified since, both matches, unmodified since, range.
        length = str(len(data)) if data else ""
        signed = f"PUT\n\n\n{length}\n{md5}\n{_STREAM}\n\n\n{match}\n{none_match}\n\n\n{named}"
        named = named.replace("\n", "\r\n")
        credential = self._put_credential.lines(signed, path)
        return (
            f"PUT {path}{self._query} HTTP/1.1\r\n{self._host}{credential}{sent}"
            f"Content-MD5: {md5}\r\nContent-Type: {_STREAM}\r\n{named}"
            f"Content-Length: {len(data)}\r\nUser-Agent: metaferry\r\n\r\n"
        ).encode() + data

    def quick(self, answer: bytes, key: str, data: bytes) -> str | None:
        found = plain_answer(answer)
        return None if found is None else self.token(*found, key, data)

    def token(self, headers: Mapping[str, str], body: bytes, key: str, data: bytes) -> str:
        tag = entity_tag(headers.get("etag", ""))
        if not tag or body.strip():  # of a proxy, or a login page
            raise Refused(bad_answer("a text where none belongs" if tag else "no version"))
        if headers.get("content-md5", _md5(data)) != _md5(data):
            raise Refused(Failure(code="Content-MD5", kind=Corrupt))
        self._welcome = True
        return tag

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        if status == 401 and self._put_credential.may_be_challenged and not self._welcome:
            return Failure(status, CHALLENGED)
        code = headers.get("x-ms-error-code") or error_code(body.decode(errors="replace"))
        return answered(status, code, headers)


def _md5(data: bytes) -> str:
    return binascii.b2a_base64(hashlib.md5(data, usedforsecurity=False).digest(), newline=False).decode()
