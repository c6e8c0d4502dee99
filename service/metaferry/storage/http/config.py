"""What a store's `config` module gives: how the store is asked, and when the fsspec library has to do it. No
I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from metaferry.storage.errors import REDIRECTS, Failure
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.exchange import Answer
from metaferry.storage.http.requests import RequestBuilder


class Opened(NamedTuple):
    """How a store is asked, and by what."""

    requests: RequestBuilder
    client: CurlClient


class StoreConfig(ABC):
    """What differs between the stores. The defaults are of one that sends nobody elsewhere. Where the adapter
    has `conditions_optional`, `requests` of what is opened is a `HeadBuilder`; where `describes`, it is a
    `DescribingBuilder`."""

    describes: ClassVar[bool] = False

    def __init__(
        self, prefix: str, options: Mapping[str, Any], *, concurrency: int, follow_redirects: bool = False
    ) -> None:
        self._prefix = prefix
        self._options = dict(options)
        self._concurrency = concurrency
        self._follow_redirects = follow_redirects

    def key(self, path: str) -> str:
        return self._prefix + path

    @abstractmethod
    def open(self) -> Opened:
        """Makes no request to the store, but may block. Raises `UnsupportedOption`."""

    def forget(self, options: Mapping[str, Any]) -> None:
        """Credentials are looked up anew from here on, by these options."""
        self._options = dict(options)

    def refine(self, failure: Failure) -> Failure:
        """`failure`, or what is known better about it."""
        return failure

    def fallback_reason(self, failure: Failure) -> str | None:
        """On account of what the fsspec library would not leave it at this answer; None where it would."""
        return None

    def follows(self, answer: Answer) -> bool:
        """Whether this answer is a redirect of HTTP that may be followed (`redirects.target`)."""
        return self._follow_redirects and answer.status in REDIRECTS

    def changes_region(self, answer: Answer) -> bool:
        """Whether what is opened next is for the region that this answer names. May block."""
        return False


class FallbackRequired(Exception):
    """The fsspec adapter is to make this request; with a reason, every one from here on."""


class RegionChanged(Exception):
    """What is opened next is to make this request."""
