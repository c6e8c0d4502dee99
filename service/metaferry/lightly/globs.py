"""Globs over paths: one meaning for media and for tables, as one regular expression.

`*` matches any characters within one segment, `?` one character, `[a-z]` and `[!a-z]` one of a set. A
segment `**` matches any number of folders, including none, and at the end everything below. The others
never match a `/`. Matching is case-sensitive. There is no escape character: write a literal wildcard as
a set, `[*]`. Pure functions; nothing here lists files.
"""

from __future__ import annotations

import re
from typing import Final

_WILDCARDS: Final = frozenset("*?[")


def is_glob(text: str) -> bool:
    """Whether a path, or a segment of one, holds a wildcard."""
    return not _WILDCARDS.isdisjoint(text)


def glob_regex(pattern: str) -> str:
    """The glob as a regular expression for a whole path, in the syntax that Python and RE2 share.

    It begins with `(?s)` and is anchored at both ends. In Python use `re.fullmatch`, since its `$`
    also matches before a newline that ends the text. ValueError for an invalid pattern: a `[`
    without `]`, a reversed range, `**` beside other characters.
    """
    segments = pattern.split("/")
    parts: list[str] = []
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "**":
            parts.append(".*" if last else "(?:.*/)?")
        elif "**" in _outside_sets(segment):
            raise ValueError(f"`**` stands for whole folders: write {segment.replace('**', '**/*')!r}")
        else:
            parts.append(_segment(segment) + ("" if last else "/"))
    return f"(?s)^{''.join(parts)}$"


def _segment(segment: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(segment):
        character = segment[at]
        at += 1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = _end_of_set(segment, at)
            parts.append(_set(segment[at:end]))
            at = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _end_of_set(segment: str, start: int) -> int:
    """The position of the closing `]`; one that comes first is a member of the set, as in shells."""
    first = start + 1 if segment[start : start + 1] in ("!", "^") else start
    end = segment.find("]", first + 1)
    if end < 0:
        raise ValueError("a `[` is not closed; write a literal `[` as `[[]`")
    return end


def _set(members: str) -> str:
    negated = members[:1] in ("!", "^")
    members = members[1:] if negated else members
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(members):
        low = high = members[at]
        if members[at + 1 : at + 2] == "-" and at + 2 < len(members):
            high = members[at + 2]
            at += 2
        at += 1
        if low > high:
            raise ValueError(f"the range {low}-{high} runs backwards")
        ranges.append((low, high))
    if negated:
        return "[^/" + "".join(map(_range, ranges)) + "]"
    kept = [part for low, high in ranges for part in _without_slash(low, high)]
    if not kept:
        raise ValueError("a set of `/` alone matches nothing")
    return "[" + "".join(map(_range, kept)) + "]"


def _without_slash(low: str, high: str) -> list[tuple[str, str]]:
    if not low <= "/" <= high:
        return [(low, high)]
    parts = []
    if low < "/":
        parts.append((low, "."))
    if high > "/":
        parts.append(("0", high))
    return parts


def _range(part: tuple[str, str]) -> str:
    low, high = map(_member, part)
    return low if low == high else f"{low}-{high}"


def _member(character: str) -> str:
    # Both engines take a backslash before ASCII punctuation as the character itself.
    return "\\" + character if character in "\\[]^-&~|" else character


def _outside_sets(segment: str) -> str:
    kept: list[str] = []
    at = 0
    while at < len(segment):
        if segment[at] == "[":
            at = _end_of_set(segment, at + 1) + 1
            kept.append("x")
        else:
            kept.append(segment[at])
            at += 1
    return "".join(kept)
