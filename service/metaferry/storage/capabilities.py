"""What a run finds out about a store while it uses it: one set of traits for all its clients.

A datasource may be spoken to by several clients at once (an event loop, threads, two libraries).
What one of them finds out, that tags prove nothing or that conditions are refused, has to hold for
all of them, or a listing would be trusted that must not be. Safe to use from any thread; does no I/O.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from metaferry.errors import Corrupt
from metaferry.storage.errors import WRONG_TAG, Failure, storage_error
from metaferry.storage.protocol import ABSENT, Capabilities, Precondition, PutResult

log = logging.getLogger(__name__)


@runtime_checkable
class Detecting(Protocol):
    """An adapter that finds out about its store."""

    @property
    def detected(self) -> DetectedCapabilities: ...


class DetectedCapabilities:
    """The traits of the store at `url` (for logs), as far as they are known now."""

    def __init__(self, url: str, capabilities: Capabilities) -> None:
        self._url = url
        self._capabilities = capabilities
        self._lies = False
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def put_result(self, token: str, md5: str, *, encrypted: bool = False) -> PutResult:
        """The stamp of a put whose tag should be an MD5, unless the answer says that it is `encrypted`
        with a key of the customer's or of KMS.

        Raises `Corrupt` with the code `WRONG_TAG` where it is another: either other bytes arrived, or the
        store has tags of its own. What is there tells which (`was_read`).
        """
        if token != md5 and self._capabilities.listing_md5:
            if not encrypted:
                raise storage_error(
                    Failure(code=WRONG_TAG, kind=Corrupt), store="s3", url=self._url, operation="put"
                )
            self._prove_nothing()
        return PutResult(token, md5)

    def was_read(self, token: str, md5: str) -> None:
        """What was put under a wrong tag is there, byte by byte, under this one."""
        if token != md5:
            self._prove_nothing()
            return
        with self._lock:
            known, self._lies = self._lies, True
        if not known:
            log.warning("%s: puts are answered with wrong ETags; each is read back", self._url)

    def _prove_nothing(self) -> None:
        """A tag that happens to look like an MD5 is none here: listings prove nothing."""
        if self._change(listing_md5=False):
            log.info("%s: listings of this store do not prove the content", self._url)

    def refused(self, only_if: Precondition) -> None:
        """The store refused this condition and took the same put without it."""
        if only_if is ABSENT:
            if self._capabilities.conditional and self._change(conditional=False):
                log.warning(
                    "%s: this store has no conditional writes; they are checked just before", self._url
                )
        elif self._capabilities.honours(only_if) and self._change(replaces=False):
            log.warning("%s: this store has no conditional replacing; it is checked just before", self._url)

    def _change(self, **known: Any) -> bool:
        """Whether this is news."""
        with self._lock:
            before = self._capabilities
            self._capabilities = replace(before, **known)
            return self._capabilities != before
