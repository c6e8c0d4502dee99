"""Capabilities of a store that are detected while it is used, shared by all clients of a datasource.

A datasource may have several clients (an event loop, threads, two libraries). What one of them detects,
that ETags are no MD5s or that conditions are refused, has to hold for all of them, or a listing would be
trusted that must not be. Thread-safe; does no I/O.
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
    """An adapter that detects capabilities of its store."""

    @property
    def detected(self) -> DetectedCapabilities: ...


class DetectedCapabilities:
    """The capabilities of the store at `url` (for logs), as far as they are known."""

    def __init__(self, url: str, capabilities: Capabilities) -> None:
        self._url = url
        self._capabilities = capabilities
        self._wrong_tags = False
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def put_result(self, token: str, md5: str, *, encrypted: bool = False) -> PutResult:
        """The result of a put. Its tag should be the MD5, unless the answer says that the object is
        `encrypted` with a customer's key or one of KMS.

        Raises `Corrupt` with the code `WRONG_TAG` where it differs: either other bytes arrived, or the
        store does not use MD5s as tags. Reading the object back shows which (`was_read`).
        """
        if token != md5 and self._capabilities.listing_md5:
            if not encrypted:
                raise storage_error(
                    Failure(code=WRONG_TAG, kind=Corrupt), store="s3", url=self._url, operation="put"
                )
            self._distrust_tags()
        return PutResult(token, md5)

    def was_read(self, token: str, md5: str) -> None:
        """An object put with a wrong tag was read back with the right bytes and this tag."""
        if token != md5:
            self._distrust_tags()
            return
        with self._lock:
            known, self._wrong_tags = self._wrong_tags, True
        if not known:
            log.warning("%s: puts are answered with wrong ETags; each is read back", self._url)

    def _distrust_tags(self) -> None:
        """Tags of this store are no MD5s, even where they look like one: listings prove nothing."""
        if self._change(listing_md5=False):
            log.info("%s: the ETags of this store are no MD5s: listings do not prove the content", self._url)

    def refused(self, only_if: Precondition) -> None:
        """The store refused this condition and accepted the same put without it."""
        if only_if is ABSENT:
            if self._capabilities.conditional and self._change(conditional=False):
                log.warning(
                    "%s: this store has no conditional writes; preconditions are checked before each write",
                    self._url,
                )
        elif self._capabilities.honours(only_if) and self._change(replaces=False):
            log.warning("%s: this store cannot replace by ETag; that is checked before each write", self._url)

    def _change(self, **known: Any) -> bool:
        """Whether anything changed."""
        with self._lock:
            before = self._capabilities
            self._capabilities = replace(before, **known)
            return self._capabilities != before
