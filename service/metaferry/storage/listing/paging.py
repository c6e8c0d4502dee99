"""Cursors for stores that have no continuation token of their own: local, memory, fsspec.

A listing there is a Python iterator. The cursor carries it from page to page, so that a folder of a
million files is read once; and it has the last key returned, so that a page that failed can be requested
again: the iterator is gone then, and a new one starts after that key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from metaferry.storage.protocol import Entry, Page


class Cursor:
    """A position in a listing. Using the same cursor twice gives the same page."""

    __slots__ = ("_walk", "after")

    def __init__(self, after: str | None, walk: Iterator[Entry] | None = None) -> None:
        self.after = after
        self._walk = walk

    def take(self) -> Iterator[Entry] | None:
        """The running iterator the first time, None after that."""
        walk, self._walk = self._walk, None
        return walk


def next_page(cursor: Cursor, size: int, start: Callable[[str | None], Iterator[Entry]]) -> Page:
    """The page at `cursor`; `start(after)` begins an iterator that skips keys up to `after`."""
    walk = cursor.take()
    if walk is None:
        walk = start(cursor.after)
    entries = list(islice(walk, size))
    if len(entries) < size:
        return Page(entries, None)
    return Page(entries, Cursor(entries[-1].path, walk))
