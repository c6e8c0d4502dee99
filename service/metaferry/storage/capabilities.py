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
from metaferry.storage.protocol import ABSENT, Precondition, Stamp, Traits

log = logging.getLogger(__name__)


@runtime_checkable
class Learning(Protocol):
    """An adapter that finds out about its store."""

    @property
    def learned(self) -> Learned: ...


class Learned:
    """The traits of the store at `url` (for logs), as far as they are known now."""

    def __init__(self, url: str, traits: Traits) -> None:
        self._url = url
        self._traits = traits
        self._lies = False
        self._lock = threading.Lock()

    @property
    def traits(self) -> Traits:
        return self._traits

    def stamp(self, token: str, md5: str, *, encrypted: bool = False) -> Stamp:
        """The stamp of a put whose tag should be an MD5, unless the answer says that it is `encrypted`
        with a key of the customer's or of KMS.

        Raises `Corrupt` with the code `WRONG_TAG` where it is another: either other bytes arrived, or the
        store has tags of its own. What is there tells which (`was_read`).
        """
        if token != md5 and self._traits.listing_md5:
            if not encrypted:
                raise storage_error(
                    Failure(code=WRONG_TAG, kind=Corrupt), store="s3", url=self._url, operation="put"
                )
            self._prove_nothing()
        return Stamp(token, md5)

    def was_read(self, token: str, md5: str) -> None:
        """What was put under a wrong tag is there, byte by byte, under this one."""
        if token != md5:
            self._prove_nothing()
            return
        with self._lock:
            told, self._lies = self._lies, True
        if not told:
            log.warning("%s: puts are answered with wrong ETags; each is read back", self._url)

    def _prove_nothing(self) -> None:
        """A tag that happens to look like an MD5 is none here: listings prove nothing."""
        if self._change(listing_md5=False):
            log.info("%s: listings of this store do not prove the content", self._url)

    def refused(self, only_if: Precondition) -> None:
        """The store refused this condition and took the same put without it."""
        if only_if is ABSENT:
            if self._traits.conditional and self._change(conditional=False):
                log.warning(
                    "%s: this store has no conditional writes; they are checked just before", self._url
                )
        elif self._traits.honours(only_if) and self._change(replaces=False):
            log.warning("%s: this store has no conditional replacing; it is checked just before", self._url)

    def _change(self, **known: Any) -> bool:
        """Whether this is news."""
        with self._lock:
            before = self._traits
            self._traits = replace(before, **known)
            return self._traits != before
