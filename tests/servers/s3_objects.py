"""What the servers in memory keep: buckets in memory, and their keys in byte order.

Python compares text by code points, and that is the order of the bytes of UTF-8, so keys are `str`.
New keys wait aside until somebody lists; then they are merged in one go, so that writing 500,000
objects costs no sorting, and listing them costs one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Up to so many new keys are put in their place one by one; more are merged by a sort.
_FEW = 64


@dataclass(slots=True)
class Stored:
    """One object. `kept` are the headers that come back with it, such as its content type (of GCS: fields of
    its resource); `tags` those of the store's index."""

    data: bytes
    tag: str  # the ETag without its quotes
    modified: str  # as listings have it
    kept: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a listing: objects, rolled up prefixes, and where the next page begins (None: the end)."""

    objects: list[tuple[str, Stored]]
    prefixes: list[str]
    last: str | None


class Bucket:
    """The objects of one bucket by key."""

    def __init__(self) -> None:
        self._objects: dict[str, Stored] = {}
        self._order: list[str] = []  # sorted; may still hold keys that are gone
        self._new: set[str] = set()  # keys that are not in `_order`
        self._gone: set[str] = set()  # keys that are in `_order` only

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> Stored | None:
        return self._objects.get(key)

    def put(self, key: str, stored: Stored) -> None:
        if key not in self._objects:
            if key in self._gone:
                self._gone.remove(key)
            else:
                self._new.add(key)
        self._objects[key] = stored

    def delete(self, key: str) -> None:
        """Deletes a key that is there."""
        del self._objects[key]
        if key in self._new:
            self._new.remove(key)
        else:
            self._gone.add(key)

    def copy(self) -> Bucket:
        """The same objects in a bucket of its own."""
        other = Bucket()
        for key, stored in self._objects.items():
            other.put(key, stored)
        return other

    def empty(self, prefix: str) -> int:
        """Deletes everything below `prefix`; answers how many objects that were."""
        doomed = [key for key in self._objects if key.startswith(prefix)]
        for key in doomed:
            self.delete(key)
        return len(doomed)

    def fill(self, keys: Iterable[str], stored: Stored) -> None:
        """Puts the same object under many keys."""
        for key in keys:
            self.put(key, stored)

    def page(self, prefix: str, delimiter: str, after: str, count: int) -> Listed:
        """Up to `count` objects and rolled up prefixes below `prefix`, behind `after`.

        `after` is a key, or a prefix that was rolled up: then all that is below it is passed by.
        """
        objects: list[tuple[str, Stored]] = []
        prefixes: list[str] = []
        order = self._sorted()
        at = bisect_left(order, prefix)
        if after >= prefix:
            rolled = delimiter and after.endswith(delimiter) and len(after) > len(prefix)
            at = bisect_left(order, _behind(after) if rolled else after + "\0")
        last = ""
        while at < len(order):
            key = order[at]
            if not key.startswith(prefix):
                break
            found = self._objects.get(key)
            if found is None:  # gone
                at += 1
                continue
            if len(objects) + len(prefixes) == count:
                return Listed(objects, prefixes, last)
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                objects.append((key, found))
                last = key
                at += 1
            else:
                last = key[: cut + len(delimiter)]
                prefixes.append(last)
                at = bisect_left(order, _behind(last), at)
        return Listed(objects, prefixes, None)

    def items(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        """What is below `prefix`, in order."""
        for key in self._sorted():
            if key.startswith(prefix) and key in self._objects:
                yield key, self._objects[key]

    def _sorted(self) -> list[str]:
        if len(self._gone) > len(self._objects):
            self._order = [key for key in self._order if key not in self._gone]
            self._gone.clear()
        if len(self._new) <= _FEW:
            for key in self._new:
                insort(self._order, key)
        else:
            self._order.extend(sorted(self._new))
            self._order.sort()  # two runs that are sorted already: a merge
        self._new.clear()
        return self._order


def _behind(prefix: str) -> str:
    """The first text behind everything that begins with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def before(key: str) -> str:
    """A key such that the next one behind it is `key` or later: all that is before `key` is passed by."""
    if key.endswith("\0"):
        return key[:-1]
    return f"{key[:-1]}{chr(ord(key[-1]) - 1)}\U0010ffff"
