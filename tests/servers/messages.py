"""A request and a reply as the servers in memory pass them on, and what each of their stores has to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from servers.s3_objects import Bucket, Stored


@dataclass(slots=True)
class Request:
    """`key` of the log is `target` decoded; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    operation: str = "Other"
    length: int | None = None  # of what a HEAD leaves out


class StoreConfig(Protocol):
    """One store: what it keeps, and how it answers."""

    #: Status and code by which it asks for less.
    busy: tuple[int, str]
    #: Sent with every answer.
    common: Mapping[str, str]

    @property
    def buckets(self) -> dict[str, Bucket]: ...

    def key(self, request: Request) -> str:
        """The decoded path and query, by which faults find a request; an upload's path ends in its key."""

    def stored(self, data: bytes) -> Stored:
        """An object with this content, as a put makes it."""

    def answer(self, request: Request, *, ignore: str = "") -> Reply:
        """Does what is asked for; `ignore` names a header to be overlooked."""

    def refusal(self, request: Request, status: int, code: str, message: str) -> Reply:
        """An error as this store words it."""
