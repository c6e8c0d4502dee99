"""Checks of answers: each is complete and consistent with its request, or it is a bad answer.

A proxy, a login page or a broken server may answer 200 with something else; taken for an empty folder or
an empty object, it would lead to the deletion of right documents. A bad answer is `Corrupt`: the request
is retried, and then the run fails. These checks hold for every store; each adapter adds those of its
protocol. Pure functions over answers that were already read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metaferry.errors import Corrupt
from metaferry.storage.errors import Failure
from metaferry.storage.keys import entity_tag, whole_size
from metaferry.storage.protocol import Blob, Entry, Level


class Refused(Exception):
    """A request that did not go well; `failure` is what is known of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason or failure.code or failure.status)
        self.failure = failure


class BadAnswer(Refused):
    """An answer that does not fit its request; `reason` says why, and quotes nothing of the answer."""

    def __init__(self, reason: str, failure: Failure | None = None) -> None:
        super().__init__(failure or bad_answer(reason))


def bad_answer(reason: str = "", status: int | None = None) -> Failure:
    return Failure(status, "BadAnswer", kind=Corrupt, reason=reason)


def unexpected(status: int) -> Failure:
    """For an answer whose status is neither an error nor that of a success of its request."""
    return bad_answer("an unexpected status", status)


def require(holds: object, reason: str) -> None:
    """Raises `BadAnswer` for this reason unless `holds`."""
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
    """All names begin with `prefix`, and none is empty."""
    if names:
        # A common prefix of the least and the greatest is a prefix of all.
        require(min(names).startswith(prefix) and max(names).startswith(prefix), "names outside the prefix")
        require(min(names), "an entry without a name")


def require_level(level: Level, prefix: str) -> None:
    """Entries and folders directly below `prefix`, each folder once and with a slash at its end."""
    require_entries(level.entries, prefix)
    skip = len(prefix)
    for folder in level.folders:
        require(folder.startswith(prefix) and folder.endswith("/"), "names outside the prefix")
        require("/" not in folder[skip:-1] and len(folder) > skip, "names outside the prefix")
    require(len(level.folders) == len(set(level.folders)), "a folder that is listed twice")


def require_blob(blob: Blob, start: int, end: int | None, version: str | None) -> None:
    """The blob has the requested number of bytes, of the requested version."""
    most = blob.size if end is None else min(end, blob.size)
    require(blob.size >= 0 and len(blob.data) == max(0, most - start), "the wrong number of bytes")
    require(not version or entity_tag(blob.token) == entity_tag(version), "another version")


def size_of_part(content_range: str | None, start: int, end: int | None) -> int:
    """The size of the whole object from the Content-Range of `[start, end)`. Raises `BadAnswer`."""
    size = whole_size(content_range)
    if not size:  # none, or no part: an empty object has none
        raise BadAnswer("no valid Content-Range")
    last = (size if end is None else min(end, size)) - 1
    require(content_range == f"bytes {start}-{last}/{size}", "the wrong range")
    return size


def blob_of_range(
    status: int, headers: Mapping[str, str], data: bytes, token: str, start: int, end: int | None
) -> Blob:
    """What a read of `[start, end)` brought: that part (206), or the whole object, asked for or not.

    Names in `headers` are in small letters. Raises `BadAnswer`.
    """
    if status == 206:
        return Blob(data, token, size_of_part(headers.get("content-range"), start, end))
    require(status == 200, "an unexpected status")
    return Blob(data[start:end], token, len(data))


def require_empty(status: int, body: bytes) -> None:
    """The answer to a put or delete is a 2xx status without a body; a body comes from something else."""
    require(200 <= status < 300, "an unexpected status")
    require(not body.strip(), "an unexpected body")
