"""What is kept of a message: lists and texts up to a length, and so many values in all.

A message is for the metadata of a frame: pictures, scans and clouds of points are left out, and named once.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Final

from metaferry.tables.readers.annotations.text import Bad

#: Items of a list, characters of a text, values of a message, and levels of it, that are kept.
MOST_ITEMS: Final = 64
LONGEST_TEXT: Final = 4_096
MOST_VALUES: Final = 4_096
MOST_LEVELS: Final = 32
#: Bytes of a message that is decoded, and of a description of its type.
MOST_BYTES: Final = 64 << 20
MOST_SCHEMA: Final = 4 << 20
#: Fields of a topic that are remembered as left out.
_MOST_NAMED: Final = 20


class _Missing:
    """What a message does not say, or says in too many words."""


MISSING: Final = _Missing()


class LeftOut:
    """The fields of one topic that were left out, by their paths."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def add(self, path: str) -> None:
        if len(self.names) < _MOST_NAMED:
            self.names[path] = None


class Budget:
    """What one message may still hold."""

    __slots__ = ("left_out", "values")

    def __init__(self, left_out: LeftOut) -> None:
        self.values = MOST_VALUES
        self.left_out = left_out

    def take(self, path: str) -> bool:
        """Whether one more value is kept."""
        self.values -= 1
        if self.values < 0:
            self.left_out.add(path)
        return self.values >= 0


def bounded(value: Any, budget: Budget, path: str = "", level: int = 0) -> Any:
    """A value as JSON has it, within the limits; MISSING for one that is left out. Raises Bad."""
    if level > MOST_LEVELS:
        raise Bad(f"it has more than {MOST_LEVELS} levels")
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            kept = bounded(item, budget, f"{path}.{key}" if path else str(key), level + 1)
            if kept is not MISSING:
                found[str(key)] = kept
        return found
    if isinstance(value, list):
        if len(value) > MOST_ITEMS:
            budget.left_out.add(path)
            return MISSING
        items = (bounded(item, budget, path, level + 1) for item in value)
        return [None if item is MISSING else item for item in items]
    if not budget.take(path):
        return MISSING
    if isinstance(value, str):
        return text_kept(value, budget, path)
    if isinstance(value, float):
        return value if math.isfinite(value) else MISSING
    return value


def text_kept(value: str, budget: Budget, path: str) -> Any:
    """A text, or MISSING for one that is too long, or of half a character."""
    if len(value) > LONGEST_TEXT:
        budget.left_out.add(path)
        return MISSING
    try:
        value.encode()
    except UnicodeEncodeError:
        return MISSING
    return value


def single(value: float) -> Any:
    """A float of 32 bits as the shortest number that gives it back: 0.1, not 0.10000000149011612."""
    if not math.isfinite(value):
        return MISSING
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.unpack("<f", struct.pack("<f", short))[0] == value:
                return short
        except OverflowError:
            continue
    return float(f"{value:.9g}")


def object_text(message: dict[str, Any]) -> str | None:
    """A message as JSON; None of one that says nothing."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")) if message else None
