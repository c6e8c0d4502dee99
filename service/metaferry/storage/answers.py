"""The one rule for answers: an answer is what was asked for, whole and consistent, or it is a bad one.

A proxy, a login page or a broken server answers 200 with something else; taken for an empty folder or
an object of no bytes, it would have right documents deleted. A bad answer is `Corrupt`: it is asked
for again, and then the run fails. Here is what holds for every store; what its protocol says
besides, each adapter looks at. Pure functions over answers that were already read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from metaferry.errors import Corrupt
from metaferry.storage.errors import Failure
from metaferry.storage.keys import entity_tag
from metaferry.storage.protocol import Blob, Entry, Level

_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class BadAnswer(Exception):
    """An answer that is not what was asked for; the text says in which way, and quotes nothing of it."""

    @property
    def failure(self) -> Failure:
        return bad_answer(str(self))


def bad_answer(reason: str = "", status: int | None = None) -> Failure:
    return Failure(status, "BadAnswer", kind=Corrupt, reason=reason)


def unexpected(status: int) -> Failure:
    """Of an answer that is no refusal, and yet not what a request that went well is answered with."""
    return bad_answer("a status that means nothing here", status)


def require(holds: object, reason: str) -> None:
    """Raises `BadAnswer` unless it holds."""
    if not holds:
        raise BadAnswer(reason)


def require_entries(entries: Sequence[Entry], prefix: str) -> None:
    """Every entry has a name below `prefix` and a size; and a token, where any of them has one."""
    if not entries:
        return
    paths, sizes, tokens, *_ = zip(*entries, strict=True)
    require_names(paths, prefix)
    require(min(sizes) >= 0, "an entry without a size")
    require("" not in tokens or not any(tokens), "some entries without a version")


def require_names(names: Sequence[str], prefix: str) -> None:
    """They all begin with `prefix`, and none is empty."""
    if names:
        # What the least and the greatest of some texts begin with, they all begin with.
        require(min(names).startswith(prefix) and max(names).startswith(prefix), "names of another folder")
        require(min(names), "an entry without a name")


def require_level(level: Level, prefix: str) -> None:
    """Entries directly below `prefix`, and folders below it, each once, that end with a slash."""
    require_entries(level.entries, prefix)
    skip = len(prefix)
    for folder in level.folders:
        require(folder.startswith(prefix) and folder.endswith("/"), "names of another folder")
        require("/" not in folder[skip:-1] and len(folder) > skip, "names of another folder")
    require(len(level.folders) == len(set(level.folders)), "a folder that is named twice")


def require_blob(blob: Blob, start: int, end: int | None, version: str | None) -> None:
    """As many bytes as were asked for, of the version that was asked for."""
    most = blob.size if end is None else min(end, blob.size)
    require(blob.size >= 0 and len(blob.data) == max(0, most - start), "another number of bytes")
    require(not version or entity_tag(blob.token) == entity_tag(version), "another version")


def size_of_part(content_range: str | None, start: int, end: int | None) -> int:
    """The size of the whole object, out of the Content-Range of `[start, end)`. Raises `BadAnswer`."""
    found = _RANGE.fullmatch(content_range or "")
    require(found, "a part that does not say of what")
    assert found is not None
    first, last, size = map(int, found.groups())
    require(first == start and last == (size if end is None else min(end, size)) - 1, "another range")
    return size


def require_empty(status: int, body: bytes) -> None:
    """A delete or a put that is done says so by its status; a page that comes with it is somebody else's."""
    require(200 <= status < 300, "a status that means nothing here")
    require(not body.strip(), "a text where none belongs")
