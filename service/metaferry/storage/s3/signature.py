"""The head of a put to S3, signed with Signature Version 4.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Only what a put
of a document says is known here; what is signed is letter for letter what is sent. The tests hold it
against botocore's own signer. No I/O, and no secret in any representation.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from metaferry.storage.keys import quoted
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition

#: Seconds for which a time stamp is used, and credentials are not asked for again. S3 allows 15 minutes.
_SIGNING_VALID: Final = 1.0

#: Characters that a header may have without being altered on its way.
_VALUE: Final = re.compile(r"[!-~]+(?: [!-~]+)*")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where puts go and what all of them say.

    endpoint: the URL of the bucket, without a slash at its end. headers: more of them, whose names
    begin with `x-amz-` and come after `x-amz-date`. checksum: whether the SHA-256 of the body is
    also sent as `x-amz-checksum-sha256`. ValueError for a header that cannot be sent as it is.
    """

    endpoint: str
    region: str
    headers: Mapping[str, str] = field(default_factory=dict)
    checksum: bool = True

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not name > "x-amz-date" or not _VALUE.fullmatch(value):
                raise ValueError(f"{name} cannot be signed here")


class Signer:
    """Signs puts to one place; safe from any thread.

    `credentials` gives `access_key_id`, `secret_access_key` and `token`; it is asked about once a
    second, since those that expire are renewed there. It raises `Unsigned` where it finds none. `now`
    is the time of the day, `clock` monotonic seconds.
    """

    def __init__(
        self,
        place: Endpoint,
        credentials: Callable[[], Mapping[str, Any]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._credentials = credentials
        self._now = now
        self._clock = clock
        self._until = float("-inf")
        self._instant: _SigningTime | None = None

    def __repr__(self) -> str:
        return f"Signer({self._place.endpoint!r})"

    def head(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        """Request line and headers for a put of `data`, up to the blank line.

        `kind` is the content type, `only_if` one that `is_plain`. Raises `Unsigned`.
        """
        signing_time = self._instant
        if signing_time is None or self._clock() >= self._until:
            # Several threads may do so at once, with the same result.
            signing_time = _SigningTime(self._place, self._credentials(), self._now())
            self._instant, self._until = signing_time, self._clock() + _SIGNING_VALID
        return signing_time.head(key, data, kind, only_if)


class _SigningTime:
    """What all puts of a second have in common: a tenth of the work is left for each."""

    __slots__ = ("_authorization", "_base", "_checksum", "_end", "_host", "_names", "_signing")

    def __init__(self, place: Endpoint, credentials: Mapping[str, Any], now: datetime) -> None:
        url = urlsplit(place.endpoint)
        usual = ":443" if url.scheme == "https" else ":80"  # is not named
        self._host = f"host:{url.netloc.rpartition('@')[2].removesuffix(usual)}\n"
        self._base, self._checksum = url.path, place.checksum
        timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        day = timestamp[:8]
        scope = f"{day}/{place.region}/s3/aws4_request"
        more = {"x-amz-date": timestamp, **place.headers}
        if credentials["token"]:
            more["x-amz-security-token"] = credentials["token"]
        self._end = "".join(f"{name}:{value}\n" for name, value in sorted(more.items()))
        sums = ["x-amz-checksum-sha256"] * place.checksum + ["x-amz-content-sha256"]
        self._names = {
            condition: ";".join(["content-type", "host", *condition, *sums, *sorted(more)])
            for condition in ((), ("if-match",), ("if-none-match",))
        }
        key = f"AWS4{credentials['secret_access_key']}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._signing = hmac.new(key, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n".encode(), "sha256")
        who = f"{credentials['access_key_id']}/{scope}"
        self._authorization = f"authorization:AWS4-HMAC-SHA256 Credential={who}, SignedHeaders="

    def head(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        path = f"{self._base}/{quoted(key)}"
        if only_if is ANYTHING:
            condition, names = "", self._names[()]
        elif only_if is ABSENT:
            condition, names = "if-none-match:*\n", self._names["if-none-match",]
        else:
            condition, names = f'if-match:"{only_if}"\n', self._names["if-match",]
        digest = hashlib.sha256(data).digest()
        hashed = digest.hex()
        if self._checksum:
            condition += f"x-amz-checksum-sha256:{binascii.b2a_base64(digest, newline=False).decode()}\n"
        lines = f"content-type:{kind}\n{self._host}{condition}x-amz-content-sha256:{hashed}\n{self._end}"
        canonical = f"PUT\n{path}\n\n{lines}\n{names}\n{hashed}"
        # A copy that goes on, not `hmac.digest`: that gives up the interpreter lock, and has to wait for it.
        signing = self._signing.copy()
        signing.update(hashlib.sha256(canonical.encode()).hexdigest().encode())
        return (
            (
                f"PUT {path} HTTP/1.1\n{lines}{self._authorization}{names}, Signature={signing.hexdigest()}\n"
                f"content-length:{len(data)}\nuser-agent:metaferry\n\n"
            )
            .replace("\n", "\r\n")
            .encode()
        )
