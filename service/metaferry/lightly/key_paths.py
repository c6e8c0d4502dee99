"""Key paths: where a value lies below `metadata`, written with dots.

`weather.temperature` is the key `temperature` of the object `weather`. A key that holds a dot or a
bracket itself cannot be written this way, so a column of such a name has to be mapped explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: Top-level keys of `metadata` with this prefix are reserved by the consumer.
RESERVED_PREFIX: Final = "lightly"


def split_path(path: str) -> tuple[str, ...]:
    """The steps of a dotted path: `weather.temperature` gives `("weather", "temperature")`.

    A position in a list is a step of its own, in its brackets: `myArray[0].field` gives
    `("myArray", "[0]", "field")`. ValueError for a path with an empty step or a stray bracket.
    """
    steps: list[str] = []
    for part in path.split("."):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{path!r} is not a path like weather.temperature or myArray[0].field")
        steps.append(match.group(1))
        # `[00]` is `[0]`: each position has one spelling. Not int(), which refuses thousands of digits.
        steps.extend(f"[{digits.lstrip('0') or '0'}]" for digits in _POSITION.findall(match.group(2)))
    return tuple(steps)


def join_path(steps: Iterable[str]) -> str:
    """The inverse of :func:`split_path`."""
    return "".join(step if step.startswith("[") else f".{step}" for step in steps).removeprefix(".")


def column_is_ambiguous(name: str) -> bool:
    """Whether a column's name would mean another path, so that it has to be mapped explicitly."""
    return any(character in name for character in ".[]")


def overlapping(paths: Iterable[tuple[str, ...]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs of key paths that cannot both hold a value: one is the start of the other. Sorted."""
    known = sorted(set(paths))
    return sorted(
        (path[:length], path)
        for path in known
        for length in range(1, len(path))
        if path[:length] in set(known)
    )


def one_starts_the_other(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one of two paths is the other's beginning, or equal to it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


_PART: Final = re.compile(r"([^\[\]]+)((?:\[[0-9]+\])*)", re.DOTALL)
_POSITION: Final = re.compile(r"\[([0-9]+)\]")
