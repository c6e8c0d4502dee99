"""Elements of a JSON file as objects of Python, strictly: what is no such object is a `Bad`.

For formats of which much of an element is wanted, and nested. `elements.py` cuts them out of the stream.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, NamedTuple, NoReturn

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.elements import elements
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import shown
from metaferry.tables.readers.contract import MAX_DEPTH, MAX_ELEMENT

Fault = Callable[[str], JobError]
"""Makes the error of a file that is broken as a whole."""


class Found(NamedTuple):
    """An element: its list, its number from 1, its bytes, and the object, or why there is none."""

    list: str
    number: int
    size: int
    value: dict[str, Any]
    bad: Bad | None = None


def objects_of(blocks: Iterator[bytes], lists: Collection[str], fault: Fault) -> Iterator[Found]:
    """The elements of these lists, as `elements` gives them, and raises."""
    for element in elements(blocks, lists, fault):
        yield _found(element.list, element.number, element.text)


def whole_object(blocks: Iterator[bytes], fault: Fault) -> Iterator[Found]:
    """A document that is one object, as element 1. Raises what `elements` raises."""
    text = b""
    for block in blocks:
        text += block
        if len(text) > MAX_ELEMENT:
            raise fault(
                f"has more than {MAX_ELEMENT >> 20} MiB, and one object of an image or task is expected"
            )
    if not text.strip():
        raise fault("is empty, and a JSON document is expected")
    # Depth, and what is cut short, are looked at as everywhere; a list around it makes it an element.
    yield from objects_of(iter([b"[", text, b"]"]), ("",), fault)


def lines_of(blocks: Iterator[bytes], fault: Fault) -> Iterator[Found]:
    """The objects of a text with one a line; the number is the line's. Blank lines are none."""
    rest, number = b"", 0
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n") if b"\n" in block else ((rest + block),)
        for line in lines:
            number += 1
            if line.strip():
                yield _line(number, line)
        if len(rest) > MAX_ELEMENT:
            raise fault(f"has a line of more than {MAX_ELEMENT >> 20} MiB (line {number + 1:,})")
    if rest.strip():
        yield _line(number + 1, rest)


def _line(number: int, line: bytes) -> Found:
    found = _found("", number, line)
    if found.bad is None and line.count(b"{") + line.count(b"[") > MAX_DEPTH and _is_too_deep(found.value):
        return found._replace(value={}, bad=Bad(f"it is nested deeper than {MAX_DEPTH} levels"))
    return found


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def _found(name: str, number: int, text: bytes) -> Found:
    try:
        return Found(name, number, len(text), loads(text))
    except Bad as bad:
        return Found(name, number, len(text), {}, bad)


def loads(text: bytes) -> dict[str, Any]:
    """One object. Raises Bad for all else, for keys that occur twice, and for NaN and Infinity."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_constant)
    except UnicodeDecodeError as error:
        raise Bad(f"it is no UTF-8: byte {error.start + 1} of it") from None
    except json.JSONDecodeError as error:
        raise Bad(f"it is not valid JSON: {error.msg} (character {error.pos + 1} of it)") from None
    except RecursionError:
        raise Bad("it is nested too deep") from None
    except ValueError:
        raise Bad("it holds a number of too many digits") from None
    if not isinstance(value, dict):
        raise Bad(f"it is {shown(value)}, and no object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Bad(f"the key {twice} stands twice in one object", twice)
    return found


def _constant(word: str) -> NoReturn:
    raise Bad(f"it holds {word}, which is no JSON")


def first_of(head: bytes) -> dict[str, Any]:
    """The first object of a text or of a list that begins so, as far as it is whole; {} for all else.

    `head` may be cut anywhere: of an object that is not whole the members before the cut are answered.
    """
    start = head.find(b"{")
    if start < 0 or head[:start].strip(_BEFORE):
        return {}
    try:
        value, _ = _DECODER.raw_decode(head[start:].decode(errors="ignore"))
    except (ValueError, RecursionError):
        return _members(head[start:].decode(errors="ignore"))
    return value if isinstance(value, dict) else {}


_BEFORE: Final = b" \t\r\n["
_DECODER: Final = json.JSONDecoder()


def _members(text: str) -> dict[str, Any]:
    """The members of an object that is cut short; the last of them, which is cut itself, is None."""
    found: dict[str, Any] = {}
    at = 1
    try:
        while True:
            at = _after(text, at, ",")
            key, at = _DECODER.raw_decode(text, at)
            at = _after(text, at, ":")
            found[str(key)] = None
            found[str(key)], at = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError, IndexError):
        return found


def _after(text: str, at: int, mark: str) -> int:
    """The place of the next character that is neither blank nor `mark`."""
    while text[at] in " \t\r\n" or text[at] == mark:
        at += 1
    return at
