"""The pages of one listing, looked at as they come: whole ones, that do not contradict each other.

A page that is not whole is asked for again, by whoever asks for pages. One that contradicts those
before it cannot be: the listing ends as `Inconsistent`, and is made again as a whole, by whoever wanted
it. A key that comes twice is looked for where all keys are: in the engine (`planning/listings.py`), or in
memory where that holds them. The order of the keys is no fault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from metaferry.errors import Inconsistent
from metaferry.storage.answers import require, require_entries
from metaferry.storage.protocol import Entry, Page, Storage

log = logging.getLogger(__name__)

#: Pages without any object that may follow each other, each with a token of the next.
MOST_EMPTY: Final = 1000
#: How often a listing that contradicts itself is made again.
AGAIN: Final = 2


class Pages:
    """Those of the listing of `prefix` at `url`, in their order. Memory: one number a page."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix
        self._seen: set[int] = set()  # hashes of the tokens so far
        self._empty = 0
        self._versions: bool | None = None  # whether the entries so far have them

    def check(self, page: Page) -> None:
        """Raises `BadAnswer` for a page that is to be asked for again."""
        require_entries(page.entries, self._prefix)
        require(
            not page.entries or self._versions is not True or page.entries[0].token,
            "entries without a version, as others have",
        )

    def follow(self, page: Page) -> None:
        """Takes notice of a checked page. Raises `Inconsistent`."""
        if page.entries:
            has_versions = bool(page.entries[0].token)
            if self._versions is False and has_versions:
                raise inconsistent(self._url, self._prefix, "some entries have a version and some have none")
            self._versions = has_versions
        self._empty = 0 if page.entries or page.left_out else self._empty + 1
        if page.cursor is None:
            return
        if self._empty >= MOST_EMPTY:
            reason = f"{MOST_EMPTY:,} pages in a row name nothing, and say that there is more"
            raise inconsistent(self._url, self._prefix, reason)
        if isinstance(page.cursor, str):
            number = hash(page.cursor)
            if number in self._seen:
                raise inconsistent(self._url, self._prefix, "a page names one before it as the next one")
            self._seen.add(number)


def inconsistent(url: str, prefix: str, reason: str) -> Inconsistent:
    what = f'the listing of "{prefix}"' if prefix else "the listing"
    return Inconsistent(
        f"{url}: {what} contradicts itself: {reason}",
        url=url,
        path=prefix,
        advice="run again; if it stays so, the store or what stands before it does not list what is there",
    )


async def listed(
    storage: Storage, prefix: str, wanted: Callable[[Entry], bool] = lambda entry: True
) -> list[Entry]:
    """The wanted ones of all entries below `prefix`, for listings that memory holds.

    Made again where it contradicts itself, or names a key twice. Raises `Inconsistent` in the end.
    """
    again = 0
    while True:
        try:
            found = [entry async for page in storage.list(prefix) for entry in page if wanted(entry)]
            twice = _repeated(found)
            if twice is None:
                return found
            raise inconsistent(storage.url, prefix, f'it names "{twice}" more than once')
        except Inconsistent as error:
            if again == AGAIN:
                raise
            again += 1
            log.warning("%s; it is made again", error)


def _repeated(entries: Sequence[Entry]) -> str | None:
    seen: set[str] = set()
    for entry in entries:
        if entry.path in seen:
            return entry.path
        seen.add(entry.path)
    return None
