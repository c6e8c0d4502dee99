"""The media of a datasource, from its listing, in pages of columns.

One listing is read once, in the store's own order and a page at a time: memory is bounded by a
page, whatever the number of objects. Every file of a known media extension is in the pages,
also those that the job excludes (`included` is false), since their documents are no orphans.
`.lightly/` and `.metaferry/` are never media. No file is opened here.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from metaferry.lightly.globs import glob_regex
from metaferry.lightly.names import DOCUMENTS, Kind, media_kind
from metaferry.media.object_facts.listed import facts_of
from metaferry.storage.facts.model import ObjectFacts
from metaferry.storage.protocol import Entry, Storage

#: Folders at the root of a datasource that are ours or Lightly's, never the user's media.
RESERVED = (".lightly/", ".metaferry/")


@dataclass(frozen=True, slots=True)
class MediaPage:
    """A page of media as columns of one length, in listing order.

    `token` is the version of the object as listed, `mtime` seconds since 1970 (UTC),
    `included` whether the job's include, exclude and prefix take the file in. `others` counts the
    objects of the same page that are no media. `facts` are what a listing says besides, where it was asked.
    """

    path: list[str]
    size: list[int]
    token: list[str]
    mtime: list[float]
    kind: list[Kind]
    included: list[bool]
    others: int
    facts: list[ObjectFacts] | None = None

    def __len__(self) -> int:
        return len(self.path)


class MediaFilter:
    """Which media a job takes in: globs over the path below `input`, compiled once.

    An empty `include` takes every known media file; `exclude` takes out again; `prefix` (any
    string, not only a folder) narrows both. A pattern does not make media of a file whose
    extension is unknown.
    `with_facts`: pages keep what the listing says besides. Raises what `glob_regex` raises on a pattern that
    is none.
    """

    __slots__ = ("_matches", "exclude", "include", "prefix", "with_facts")

    def __init__(
        self,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        prefix: str = "",
        *,
        with_facts: bool = False,
    ) -> None:
        self.with_facts = with_facts
        self.include = include
        self.exclude = exclude
        self.prefix = prefix
        self._matches = _matcher(include, exclude, prefix)

    def classify(self, path: str) -> tuple[Kind | None, bool]:
        """The kind of a file (None: no media) and whether the job takes it in."""
        kind = media_kind(path)
        return kind, kind is not None and self.includes(path)

    def includes(self, path: str) -> bool:
        """Whether a path that is media is taken in."""
        return self._matches is None or self._matches(path)

    def page(self, entries: list[Entry]) -> MediaPage:
        """The media among the entries of one page of a listing.

        The loop that runs once for every object of a bucket: plain comprehensions and one dict
        look-up per object instead of a call of `media_kind`, to which it is equal (tested).
        """
        kinds = [_KINDS[entry.path.rpartition(".")[2]] for entry in entries]
        media = [
            (entry, kind)
            for entry, kind in zip(entries, kinds, strict=True)
            if kind is not None and _is_file_name(entry.path)
        ]
        paths = [entry.path for entry, _ in media]
        matches = self._matches
        return MediaPage(
            path=paths,
            size=[entry.size for entry, _ in media],
            token=[entry.token for entry, _ in media],
            mtime=[entry.mtime for entry, _ in media],
            kind=[kind for _, kind in media],
            included=[True] * len(paths) if matches is None else list(map(matches, paths)),
            others=len(entries) - len(paths),
            facts=facts_of(entry for entry, _ in media) if self.with_facts else None,
        )


async def media_pages(storage: Storage, rules: MediaFilter, prefix: str = "") -> AsyncIterator[MediaPage]:
    """The media below `prefix`, a page of the listing at a time; a page may hold no media.

    `prefix` narrows the listing itself, `rules.prefix` only what is included. Raises what the
    listing raises: a listing that fails is never taken for a short one.
    """
    async for entries in storage.list(prefix):
        yield rules.page(entries)


async def datasource_pages(
    storage: Storage, rules: MediaFilter, prefix: str = ""
) -> AsyncIterator[tuple[MediaPage, list[Entry]]]:
    """Media and documents from one listing, for an input that is its own Lightly datasource.

    Documents are the entries below `.lightly/metadata/`, as they are.
    """
    async for entries in storage.list(prefix):
        media, documents = split_page(entries)
        yield rules.page(media), documents


def split_page(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Parts a page into (what may be media, the documents below `.lightly/metadata/`).

    What else lies below `.lightly/` or `.metaferry/` is in neither.
    """
    media: list[Entry] = []
    documents: list[Entry] = []
    for entry in entries:
        path = entry.path
        if not path.startswith(RESERVED):
            media.append(entry)
        elif path.startswith(DOCUMENTS):
            documents.append(entry)
    return media, documents


def _matcher(include: tuple[str, ...], exclude: tuple[str, ...], prefix: str) -> Callable[[str], bool] | None:
    """One compiled test for all patterns; None where everything passes."""
    taken = _union(include)
    dropped = _union(exclude)
    if taken is None and dropped is None and not prefix:
        return None

    def matches(path: str) -> bool:
        return (
            path.startswith(prefix)
            and (taken is None or taken(path) is not None)
            and (dropped is None or dropped(path) is None)
        )

    return matches


def _union(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None] | None:
    if not patterns:
        return None
    # Each pattern is anchored and carries its own flags, which Python allows only at the start of
    # an expression: they are taken off here and given once for all.
    bodies = [glob_regex(pattern).removeprefix("(?s)") for pattern in patterns]
    return re.compile("|".join(f"(?:{body})" for body in bodies), re.DOTALL).match


class _Kinds(dict[str, Kind | None]):
    """Kind by extension as written. Only what looks like an extension is cached."""

    def __missing__(self, extension: str) -> Kind | None:
        kind = media_kind(f"x.{extension}") if "/" not in extension else None
        if kind is not None:  # the known extensions in their letter cases: a few hundred at most
            self[extension] = kind
        return kind


_KINDS = _Kinds()


def _is_file_name(path: str) -> bool:
    """Whether the path has a stem and is outside the reserved folders."""
    stem = path.rpartition(".")[0]
    return bool(stem) and stem[-1] != "/" and not path.startswith(RESERVED)
