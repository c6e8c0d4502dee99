"""The limits of a store for the length of keys. `planning/sql/rules.py` has the same rules in SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The longest key below a datasource, and the longest name between two slashes; None if unknown.

    Both in UTF-8 bytes, except that with `in_characters` the key is counted in characters (Azure).
    """

    key: int | None = None
    name: int | None = None
    in_characters: bool = False

    @property
    def unit(self) -> str:
        return "characters" if self.in_characters else "bytes"


def too_long(key: str, limits: KeyLimits) -> str | None:
    """What is too long about a key, or None. It completes the sentence "its document …"."""
    if limits.name is not None:
        longest = max(len(name.encode()) for name in key.split("/"))
        if longest > limits.name:
            return f"would have a name of {longest} bytes, and this store takes {limits.name}"
    if limits.key is not None:
        length = len(key) if limits.in_characters else len(key.encode())
        if length > limits.key:
            return (
                f"would have a key of {length} {limits.unit}, and this store has room for {limits.key} "
                "below the datasource"
            )
    return None
