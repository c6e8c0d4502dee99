"""JSON text with the place of everything in it, for faults that a person can find.

The standard parser stops at the first fault, forgets where values stood and keeps the last of two
equal keys without a word. This one goes on over a missing or a trailing comma, remembers lines and
columns, and reports repeated keys and everything else that strict JSON (RFC 8259) does not allow.
It is for files that people write, of some kilobytes, and never for documents.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

#: Deeper than any file of ours; a guard against a stack that runs out.
MAX_DEPTH: Final = 64
#: Digits of an integer that Python still converts without being asked twice (its limit is 4300).
_MAX_NUMBER: Final = 1000


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong with a text. Line and column count from 1; 0 where there is no text."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" if self.line else self.message


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place. `keys` holds the place of each key of an object."""

    value: Any  # None, bool, int, float, str, list[Node] or dict[str, Node]
    line: int = 0
    column: int = 0
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self) -> Any:
        """The value as the standard parser would give it."""
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return self.value


def read_json(text: str | bytes) -> tuple[Node | None, list[Fault]]:
    """The text as a tree, and its faults in the order they were met.

    The tree is there whenever the faults could be read over; None after one that could not.
    """
    if isinstance(text, bytes):
        raw = text
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode()
            line, column = _place(before, len(before))
            return None, [Fault(line, column, f"byte 0x{raw[error.start]:02x} here is not UTF-8")]
    reader = _Reader(text)
    try:
        return reader.whole(), reader.faults
    except _Stop:
        return None, reader.faults


def node_of(value: Any) -> Node:
    """A tree without places, for values that never were a text."""
    if isinstance(value, list | tuple):
        return Node([node_of(item) for item in value])
    if isinstance(value, dict):
        return Node({str(key): node_of(item) for key, item in value.items()})
    return Node(value)


class _Stop(Exception):
    """A fault that cannot be read over; it is already among the faults."""


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_GOES_ON: Final = re.compile(r"[0-9A-Za-z.+\-]")
_WORD: Final = re.compile(r"[+-]?[A-Za-z_][A-Za-z_0-9]*|[^\s\[\]{},:\"]+")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_STARTS: Final = re.compile(r"[\[{\"\-0-9A-Za-z']")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.faults: list[Fault] = []

    def whole(self) -> Node:
        if self.text.startswith("\ufeff"):
            self.note(0, "a byte order mark; JSON text begins without one")
            self.at = 1
        self.space()
        if self.at == len(self.text):
            self.stop(self.at, "the file is empty")
        node = self.value(0)
        self.space()
        if self.at < len(self.text):
            self.stop(self.at, f"text after the end of the JSON value: {self.seen()}")
        return node

    def value(self, depth: int) -> Node:
        start = self.at
        line, column = _place(self.text, start)
        head = self.text[start : start + 1]
        if depth > MAX_DEPTH:
            self.stop(start, f"nested more than {MAX_DEPTH} levels deep")
        if head == "{":
            members, keys = self.members(depth)
            return Node(members, line, column, keys)
        if head == "[":
            return Node(self.items(depth), line, column)
        if head == '"':
            return Node(self.string(), line, column)
        match = _NUMBER.match(self.text, start)
        if match is not None and not _NUMBER_GOES_ON.match(self.text, match.end()):
            self.at = match.end()
            return Node(self.number(match), line, column)
        word = _WORD.match(self.text, start)
        if word is not None and word.group() in _WORDS:
            self.at = word.end()
            return Node(_WORDS[word.group()], line, column)
        raise self.stop(start, self.no_value(word.group() if word else head))

    def items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while self.more("]", bool(items)):
            items.append(self.value(depth + 1))
        return items

    def members(self, depth: int) -> tuple[dict[str, Node], dict[str, tuple[int, int]]]:
        members: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        while self.more("}", bool(keys)):
            start = self.at
            if self.text[start] != '"':
                self.stop(start, f"a key in double quotes is expected, not {self.seen()}")
            key = self.string()
            if key in members:
                self.note(start, f"the key {quoted(key)} stands twice in this object")
            self.space()
            if self.text[self.at : self.at + 1] != ":":
                self.stop(self.at, f"a colon is expected after the key {quoted(key)}, not {self.seen()}")
            self.at += 1
            self.space()
            members[key] = self.value(depth + 1)
            keys[key] = _place(self.text, start)
        return members, keys

    def more(self, closing: str, any_yet: bool) -> bool:
        """Steps over the opening bracket or the comma; whether another item follows."""
        if not any_yet:
            self.at += 1
        end = self.at
        self.space()
        if any_yet and self.text[self.at : self.at + 1] == ",":
            comma = self.at
            self.at += 1
            self.space()
            if self.text[self.at : self.at + 1] == closing:
                self.note(comma, f"a trailing comma: JSON allows none before {closing}")
        elif any_yet and _STARTS.match(self.text, self.at):
            self.note(end, f"a comma is missing here, before {self.seen()}")
        head = self.text[self.at : self.at + 1]
        if not head:
            self.stop(self.at, f"the text ends, but {closing} is missing")
        if head == closing:
            self.at += 1
            return False
        if any_yet and head in "]}:,":
            self.stop(self.at, f"{head} is not expected here")
        return True

    def string(self) -> str:
        start = self.at
        try:
            text, self.at = _DECODER.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            self.stop(error.pos, _STRING_FAULTS.get(error.msg.removesuffix(" at"), error.msg))
        if _SURROGATE.search(text):
            self.note(start, "an escape of half a character (a lone surrogate)")
        return str(text)

    def number(self, match: re.Match[str]) -> int | float:
        text = match.group()
        if match.group(1) is None and match.group(2) is None:
            if len(text) > _MAX_NUMBER:
                self.stop(match.start(), f"an integer of {len(text)} digits")
            return int(text)
        value = float(text)
        if not math.isfinite(value):
            self.note(match.start(), f"{text} is beyond the range of a float")
        return value

    def no_value(self, word: str) -> str:
        if word.startswith("'"):
            return "JSON strings stand in double quotes, not single ones"
        if word.startswith(("//", "/*", "#")):
            return "JSON has no comments"
        if word.lstrip("+-").lower() in {"nan", "inf", "infinity"}:
            return f"{word} is not JSON; leave the value out or give a number"
        if word.lower() in {"true", "false", "null", "none"}:
            right = {"none": "null"}.get(word.lower(), word.lower())
            return f"{word} is not JSON; write {right}"
        if re.fullmatch(r"[-+]?[0-9.][0-9.eE+-]*", word):
            return f"{word} is not a JSON number"
        return f"a value is expected, not {self.seen()}"

    def seen(self) -> str:
        """What stands at this place, shortened for a message."""
        if self.at >= len(self.text):
            return "the end of the text"
        return quoted(self.text[self.at : self.at + 20].split("\n")[0].rstrip() or "\n")

    def space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None  # it matches nothing at all, too
        self.at = match.end()

    def note(self, at: int, message: str) -> None:
        line, column = _place(self.text, at)
        self.faults.append(Fault(line, column, message))

    def stop(self, at: int, message: str) -> NoReturn:
        """Notes the fault and raises; `raise self.stop(…)` only tells readers and linters so."""
        self.note(at, message)
        raise _Stop


_DECODER: Final = json.JSONDecoder()
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_STRING_FAULTS: Final = {
    "Unterminated string starting": "a string begins here and is never closed",
    "Invalid control character": "a control character inside a string; write it as an escape",
    "Invalid \\escape": "a backslash that begins no JSON escape; write \\\\ for the character itself",
    "Invalid \\uXXXX escape": "\\u is followed by four hex digits",
}


def quoted(text: str) -> str:
    """Text as it is shown inside a message: in double quotes, what is invisible as an escape."""
    shown = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in shown)


def _place(text: str, at: int) -> tuple[int, int]:
    before = text.rfind("\n", 0, at)
    return text.count("\n", 0, at) + 1, at - before
