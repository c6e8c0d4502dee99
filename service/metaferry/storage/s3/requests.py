"""What a put to S3 says, and what its answer means. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from metaferry.errors import Denied, Unavailable
from metaferry.storage.answers import bad_answer
from metaferry.storage.errors import Failure, retry_after
from metaferry.storage.http.client import Refused
from metaferry.storage.http.errors import NO_TAG, Unsigned, error_code
from metaferry.storage.keys import entity_tag
from metaferry.storage.protocol import Precondition
from metaferry.storage.s3.signature import Signer

#: There is nothing to sign with.
ANONYMOUS: Final = Failure(code="NoCredentials", kind=Denied)


class S3RequestCodec:
    """The requests of S3. A token is the tag without its quotes; the caller checks whether it is the MD5."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def request(self, key: str, data: bytes, kind: str, only_if: Precondition) -> bytes:
        try:
            return self._signer.head(key, data, kind, only_if) + data
        except Unsigned:
            raise Refused(ANONYMOUS) from None

    def quick(self, answer: bytes, key: str, data: bytes) -> str | None:
        # Each microsecond counts here: only the needed headers are parsed.
        if not answer.startswith(b"HTTP/1.1 200 ") or answer.find(b"\r\n\r\n") != len(answer) - 4:
            return None
        head = answer.lower()
        if b"\r\ncontent-length: 0\r\n" not in head or b"\r\ntransfer-encoding:" in head:
            return None
        if b"\r\nconnection:" in head and b"\r\nconnection: keep-alive\r\n" not in head:
            return None
        start = head.find(b'\r\netag: "') + 9
        end = answer.find(b'"\r\n', start)
        if not 9 <= start < end:
            return None
        tag = answer[start:end].decode("latin-1")
        return tag if head[start:end] == answer[start:end] else entity_tag(tag)

    def token(self, headers: Mapping[str, str], body: bytes, key: str, data: bytes) -> str:
        if body.strip():
            raise Refused(bad_answer("a text where none belongs"))
        tag = entity_tag(headers.get("etag", ""))
        if not tag:
            raise Refused(Failure(code=NO_TAG, kind=Unavailable))
        return tag

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return Failure(status, error_code(body.decode(errors="replace")), retry_after(headers))
