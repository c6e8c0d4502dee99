"""The keys of a document in place that no table gives, and that replacing it would lose.

A document that somebody else wrote is read leniently: what matters is whether it has keys of its own,
not whether the consumer would accept it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

KeyPath = tuple[str, ...]

#: The members of every document; the two beside `metadata` follow from the name of the media.
_OWN: Final = frozenset({"file_name", "type", "metadata"})


class GivenKeys:
    """The key paths below `metadata` that any table gives."""

    def __init__(self, paths: Iterable[KeyPath]) -> None:
        self._paths = frozenset(paths)
        self._groups = frozenset(path[:length] for path in self._paths for length in range(len(path)))

    def lost(self, data: bytes) -> Sequence[str] | None:
        """The keys of a document that no table gives: dotted, sorted. None if that cannot be found out,
        since the text is not a JSON object or has a key twice.

        If a table gives the whole value of a key (a list, a map), it gives all keys below it.
        """
        if not data.strip():
            return []
        try:
            value = json.loads(data, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return None
        metadata = value.get("metadata") if isinstance(value, dict) else value
        if not isinstance(metadata, dict | None) or not isinstance(value, dict):
            return None
        beside = [f"{key} (beside metadata)" for key in value if key not in _OWN]
        return sorted([*beside, *(".".join(path) for path in self._not_given(metadata or {}))])

    def _not_given(self, metadata: dict[str, Any]) -> Iterable[KeyPath]:
        left: list[tuple[KeyPath, Any]] = [((), metadata)]
        while left:
            path, value = left.pop()
            if path in self._paths:
                continue
            if isinstance(value, dict) and (value or path in self._groups):
                left.extend(((*path, key), each) for key, each in value.items())
            elif path:
                yield path


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
