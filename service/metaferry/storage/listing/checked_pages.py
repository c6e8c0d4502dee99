"""Checks of the pages of one listing: each must be complete, and they must not contradict each other.

An incomplete page is requested again (by the retry layer). A page that contradicts those before it
ends the listing as `Inconsistent`; the caller lists again from the start. Duplicate keys are looked for
where all keys are: in the engine (`planning/listings.py`), or in `listed` where memory holds them. The
order of the keys is not checked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from metaferry.errors import Inconsistent
from metaferry.storage.answers import require, require_entries
from metaferry.storage.protocol import Entry, Page, Storage

log = logging.getLogger(__name__)

#: Empty pages in a row, each with a continuation token, that are accepted.
MOST_EMPTY: Final = 1000
#: How often an inconsistent listing is made again.
MOST_RESTARTS: Final = 2


class Pages:
    """The pages of the listing of `prefix` at `url`, in order. Memory: one number a page."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._seen: set[int] = set()  # hashes of the continuation tokens so far
        self._empty = 0
        self._versions: bool | None = None  # whether the entries so far have version tokens

    def check(self, page: Page) -> None:
        """Raises `BadAnswer` for a page that is to be requested again."""
        require_entries(page.entries, self._prefix)
        require(
            not page.entries or self._versions is not True or page.entries[0].token,
            "entries without a version, as others have",
        )

    def follow(self, page: Page) -> None:
        """Compares a checked page with those before it. Raises `Inconsistent`."""
        if page.entries:
            has_versions = bool(page.entries[0].token)
            if self._versions is False and has_versions:
                raise inconsistent(self._url, self._prefix, "some entries have a version and some have none")
            self._versions = has_versions
        self._empty = 0 if page.entries or page.left_out else self._empty + 1
        if page.cursor is None:
            return
        if self._empty >= MOST_EMPTY:
            reason = f"{MOST_EMPTY:,} empty pages in a row, each with a continuation token"
            raise inconsistent(self._url, self._prefix, reason)
        if isinstance(page.cursor, str):
            number = hash(page.cursor)
            if number in self._seen:
                raise inconsistent(self._url, self._prefix, "a continuation token came twice")
            self._seen.add(number)


def inconsistent(url: str, prefix: str, reason: str) -> Inconsistent:
    what = f'the listing of "{prefix}"' if prefix else "the listing"
    return Inconsistent(
        f"{url}: {what} contradicts itself: {reason}",
        url=url,
        path=prefix,
        advice="run again; if it happens again, the store or a proxy in front of it lists wrongly",
    )


async def listed(
    storage: Storage, prefix: str, wanted: Callable[[Entry], bool] = lambda entry: True
) -> list[Entry]:
    """All entries below `prefix` that are `wanted`, for listings that fit into memory.

    Lists again where the listing is inconsistent or has a key twice; raises `Inconsistent` in the end.
    """
    restarts = 0
    while True:
        try:
            found = [entry async for page in storage.list(prefix) for entry in page if wanted(entry)]
            duplicate = _duplicate(found)
            if duplicate is None:
                return found
            raise inconsistent(storage.url, prefix, f'"{duplicate}" is listed twice')
        except Inconsistent as error:
            if restarts == MOST_RESTARTS:
                raise
            restarts += 1
            log.warning("%s; listing again", error)


def _duplicate(entries: Sequence[Entry]) -> str | None:
    seen: set[str] = set()
    for entry in entries:
        if entry.path in seen:
            return entry.path
        seen.add(entry.path)
    return None
