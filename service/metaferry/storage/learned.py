"""What a run finds out about a store while it uses it: one set of traits for all its clients.

A datasource may be spoken to by several clients at once (an event loop, threads, two libraries).
What one of them finds out, that tags prove nothing or that conditions are refused, has to hold for
all of them, or a listing would be trusted that must not be. Safe to use from any thread; does no I/O.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from metaferry.storage.contract import ABSENT, Precondition, Stamp, Traits

log = logging.getLogger(__name__)


class Learned:
    """The traits of the store at `url` (for logs), as far as they are known now."""

    def __init__(self, url: str, traits: Traits) -> None:
        self._url = url
        self._traits = traits
        self._lock = threading.Lock()

    @property
    def traits(self) -> Traits:
        return self._traits

    def stamp(self, token: str, md5: str) -> Stamp:
        """The stamp of a put whose tag should be an MD5; where it is none, listings prove nothing.

        Encrypted with a customer's key, or a store with tags of its own: a tag that happens to look
        like an MD5 is none there.
        """
        if token != md5 and self._traits.listing_md5 and self._change(listing_md5=False):
            log.info("%s: listings of this store do not prove the content", self._url)
        return Stamp(token, md5)

    def refused(self, only_if: Precondition) -> None:
        """The store refused this condition and took the same put without it."""
        if only_if is ABSENT:
            if self._traits.conditional and self._change(conditional=False):
                log.warning(
                    "%s: this store has no conditional writes; they are checked just before", self._url
                )
        elif self._traits.honours(only_if) and self._change(replaces=False):
            log.warning("%s: this store has no conditional replacing; it is checked just before", self._url)

    def _change(self, **known: bool) -> bool:
        """Whether this is news."""
        with self._lock:
            before = self._traits
            self._traits = replace(before, **known)
            return self._traits != before
