"""Builds requests to S3 (puts, ranged reads, deletes) and parses their answers. No I/O."""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Final

from metaferry.errors import Denied, Unavailable
from metaferry.storage.answers import Refused, bad_answer, require_empty
from metaferry.storage.errors import Failure, retry_after
from metaferry.storage.facts.model import Described
from metaferry.storage.http.exchange import MOST, NO_ETAG, Answer, Request, error_code
from metaferry.storage.http.redirects import BoundTo
from metaferry.storage.http.requests import Stored, most_of, range_of
from metaferry.storage.keys import entity_tag, quoted
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob, Precondition
from metaferry.storage.s3.answers import NO_TAGS, blob_of, described, is_encrypted, tag_of, tags_in
from metaferry.storage.s3.signature import Endpoint, Method, NoCredentials, Signer

#: The query of a request for the tags of an object.
TAGGING: Final = "tagging"

#: There is nothing to sign with.
ANONYMOUS: Final = Failure(code="NoCredentials", kind=Denied)

#: The region of a bucket, in the text of an answer to a request that was signed for another one.
_REGION: Final = re.compile(rb"<Region>([^<]*)</Region>")


class S3Requests:
    """A `RequestBuilder`. A token is the tag without its quotes; the caller checks whether it is the MD5."""

    def __init__(self, endpoint: Endpoint, signer: Signer, bound_to: BoundTo = BoundTo.URL) -> None:
        self.bound_to = bound_to
        self._endpoint = endpoint
        self._signer = signer

    def may_block(self) -> bool:
        return self._signer.is_due

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> Request:
        own = {"content-type": kind}
        if only_if is ABSENT:
            own["if-none-match"] = "*"
        elif only_if is not ANYTHING:
            own["if-match"] = f'"{only_if}"'
        digest = hashlib.sha256(data).digest()
        if self._endpoint.checksum:
            own["x-amz-checksum-sha256"] = binascii.b2a_base64(digest, newline=False).decode()
        return self._request("PUT", key, own, data, digest.hex())

    def read(self, key: str, start: int, end: int | None, version: str | None) -> Request:
        own = {"range": range_of(start, end)}
        if version is not None:
            own["if-match"] = f'"{version}"'
        return self._request("GET", key, own, most=most_of(start, end))

    def head(self, key: str) -> Request:
        return self._request("HEAD", key, {})

    def delete(self, key: str) -> Request:
        return self._request("DELETE", key, {})

    def tags(self, key: str) -> Request:
        return self._request("GET", key, {}, subresource=TAGGING)

    def _request(
        self,
        method: Method,
        key: str,
        own: dict[str, str],
        data: bytes = b"",
        payload_hash: str | None = None,
        most: int = MOST,
        subresource: str = "",
    ) -> Request:
        name = quoted(key)
        try:
            more = () if payload_hash is None else (payload_hash,)
            headers = self._signer.headers(method, name, own, *more, subresource=subresource)
        except NoCredentials:
            raise Refused(ANONYMOUS) from None
        query = f"?{subresource}" if subresource else ""
        return Request(method, f"{self._endpoint.url}/{name}{query}", headers, data, most)

    # -- answers

    def stored(self, answer: Answer, key: str, data: bytes) -> Stored:
        tag = _tag_alone(answer)
        if tag is not None:
            return Stored(tag)
        if answer.body.strip():
            raise Refused(bad_answer("an unexpected body"))
        headers = answer.headers
        tag = tag_of(headers)
        if not tag:
            raise Refused(Failure(code=NO_ETAG, kind=Unavailable))
        return Stored(tag, is_encrypted(headers))

    def found(self, answer: Answer) -> str:
        """The token of what a HEAD found."""
        return tag_of(answer.headers)

    def described(self, answer: Answer) -> Described:
        """Raises `BadAnswer`."""
        return described(answer.headers)

    def tags_in(self, answer: Answer) -> dict[str, str]:
        """Raises `BadAnswer`."""
        return tags_in(answer.body)

    def has_no_tags(self, failure: Failure) -> bool:
        return failure.code in NO_TAGS

    def blob(self, answer: Answer, key: str, start: int, end: int | None) -> Blob:
        """Raises `BadAnswer`."""
        headers = answer.headers_of_part(token="etag")
        return blob_of(answer.status, headers, answer.body, start, end)

    def deleted(self, answer: Answer) -> None:
        """Raises `BadAnswer`."""
        require_empty(answer.status, answer.body)

    def failure(self, answer: Answer) -> Failure:
        return Failure(answer.status, error_code(answer.body), retry_after(answer.headers))


def region_of(answer: Answer) -> str:
    """The region of the bucket, as a refusal tells it; "" where it does not."""
    named = answer.headers.get("x-amz-bucket-region")
    if named is not None:
        return named
    found = _REGION.search(answer.body)
    return found[1].decode(errors="replace") if found is not None else ""


def _tag_alone(answer: Answer) -> str | None:
    """The tag of a plain answer to a put, as nearly all are; None for any other answer."""
    if answer.body:
        return None
    found: str | None = None
    for line in answer.lines:
        start = line[:5].lower()
        if start == b"etag:":
            if found is not None:
                return None
            found = entity_tag(line[5:].decode("latin-1"))
        elif start == b"x-amz" and line[:28].lower() == b"x-amz-server-side-encryption":
            return None
    return found or None
