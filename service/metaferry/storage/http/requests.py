"""What a store's request builder gives: the shapes that the adapter works with. No I/O."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from metaferry.storage.errors import Failure
from metaferry.storage.facts.model import Described
from metaferry.storage.http.exchange import Answer, Request
from metaferry.storage.http.redirects import BoundTo
from metaferry.storage.keys import byte_range
from metaferry.storage.protocol import Blob, Precondition

#: Bytes of an answer beyond the range that was asked for: room for the text of an error.
_SPARE: Final = 1 << 16


class Stored(NamedTuple):
    """What a put left: the token, and whether it is no MD5 because the store encrypts (S3)."""

    token: str
    encrypted: bool = False


class RequestBuilder(Protocol):
    """How one store is asked, and what it answers; safe from any thread.

    Keys are those in the bucket. Making a request raises `Refused` where nobody can be found to make it, and
    may block where credentials are renewed. Reading an answer of 2xx raises `Refused` or `BadAnswer` where it
    is not what was asked for.
    """

    @property
    def bound_to(self) -> BoundTo:
        """Where a redirect may lead its requests."""

    def may_block(self) -> bool:
        """Whether making the next request may have to look for credentials."""

    def put(self, key: str, data: bytes, kind: str, only_if: Precondition) -> Request:
        """`kind` is the content type, `only_if` one that `is_plain`."""

    def read(self, key: str, start: int, end: int | None, version: str | None) -> Request:
        """Of the bytes `[start, end)`, of that version alone where one is given."""

    def delete(self, key: str) -> Request: ...

    def stored(self, answer: Answer, key: str, data: bytes) -> Stored: ...

    def blob(self, answer: Answer, key: str, start: int, end: int | None) -> Blob: ...

    def deleted(self, answer: Answer) -> None: ...

    def failure(self, answer: Answer) -> Failure:
        """What is known from an answer that is not of 2xx."""


class HeadBuilder(RequestBuilder, Protocol):
    """The builder of a store of which there are kinds that know no conditions: what is there is looked at."""

    def head(self, key: str) -> Request: ...

    def found(self, answer: Answer) -> str:
        """The token of what is there."""


class DescribingBuilder(HeadBuilder, Protocol):
    """The builder of a store whose facts of an object cost requests."""

    def described(self, answer: Answer) -> Described:
        """What a HEAD found. Raises `BadAnswer`."""

    def tags(self, key: str) -> Request: ...

    def tags_in(self, answer: Answer) -> dict[str, str]:
        """The tags of an object. Raises `BadAnswer`."""

    def has_no_tags(self, failure: Failure) -> bool:
        """Whether this answer to `tags` means that the object has none."""


def range_of(start: int, end: int | None) -> str:
    """The Range header of `[start, end)`."""
    return byte_range(start, end) or "bytes=0-"


def most_of(start: int, end: int | None) -> int:
    """How many bytes the answer to a ranged read may have; 0 for any number."""
    return 0 if end is None else end - start + _SPARE
