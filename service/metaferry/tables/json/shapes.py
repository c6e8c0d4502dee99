"""The structure of many JSON objects: what each key holds over all lines, without keeping a value.

`shape_of_line` parses a line strictly (RFC 8259: no NaN, no half surrogates) and answers its shape: keys
and kinds only. `check_shape` finds repeated keys. `Structure` merges shapes, and says which type of the
engine holds every value of a key exactly. Pure functions; no engine, no I/O.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from metaferry.errors import JobError
from metaferry.tables.model import folded

#: Levels of objects and lists below a line. A guard: nobody maps a value that deep.
MAX_DEPTH: Final = 32
#: Keys of a source, all levels together. More are data written as keys (an object by identifier).
MAX_KEYS: Final = 4096

#: Kinds of plain values. Integers are parted by what holds them: a double, BIGINT, HUGEINT, text.
_NULL, _BOOL, _TEXT, _FLOAT, _INT, _INT64, _INT128, _LONG = (
    "null",
    "bool",
    "text",
    "float",
    *(
        "int",
        "int64",
        "int128",
        "long",
    ),
)
#: In the place of the kind of a key that an object holds more than once.
_TWICE: Final = "twice"
_WHITESPACE: Final = " \t\r\n"
_BIGINT: Final = {_INT, _INT64}
_HUGEINT: Final = {_INT, _INT64, _INT128}


class ObjectShape(tuple[tuple[str, Any], ...]):
    """Key and kind of each member of an object, in order."""

    __slots__ = ()


class ListShape(frozenset[Any]):
    """The kinds of the items of a list."""

    __slots__ = ()


class Malformed(ValueError):
    """A line that is no record; the message says why."""


def shape_of_line(line: str, *, long_integers: bool = True) -> ObjectShape:
    """The shape of a line that is one JSON object; `Malformed` for any other.

    `long_integers` False promises that the line holds no integer of 16 digits or more, which spares
    looking at each.
    """
    text = line.strip(_WHITESPACE)
    skipped = len(line) - len(line.lstrip(_WHITESPACE))
    try:
        shape, end = (_SCAN if long_integers else _SCAN_SHORT)(text, 0)
    except Malformed:
        raise
    except StopIteration as stop:
        raise _invalid(json.JSONDecodeError("a value is expected", text, stop.value), skipped) from None
    except json.JSONDecodeError as error:
        raise _invalid(error, skipped) from None
    except ValueError:  # a number of more digits than Python converts
        raise Malformed("the line holds a number of thousands of digits") from None
    except RecursionError:
        raise Malformed(f"the line is nested deeper than {MAX_DEPTH} levels") from None
    if end != len(text):
        column = skipped + len(text) - len(text[end:].lstrip(_WHITESPACE)) + 1
        raise Malformed(f"the line is not valid JSON: there is more after its value at column {column}")
    if type(shape) is not ObjectShape:
        raise Malformed("the line is no JSON object")
    return shape


def _invalid(error: json.JSONDecodeError, skipped: int) -> Malformed:
    """What is wrong, and where; `skipped` characters stand before the text."""
    what, column = error.msg.removesuffix(" at"), error.colno
    where = (
        f"line {error.lineno} of it, column {column}" if error.lineno > 1 else f"column {column + skipped}"
    )
    return Malformed(f"the line is not valid JSON: {what} at {where}")


def check_text(line: str) -> None:
    """`Malformed` for half a surrogate pair: JSON can spell it, but it is no text."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed("the line holds half a surrogate pair, which is no text") from None


def check_shape(shape: Any, left: int = MAX_DEPTH) -> None:
    """`Malformed` for a shape that is nested deeper than `MAX_DEPTH`, or has a key twice in an object."""
    if left < 0:
        raise Malformed(f"the line is nested deeper than {MAX_DEPTH} levels")
    if type(shape) is ObjectShape:
        for key, member in shape:
            if member is _TWICE:
                raise Malformed(f"the key {key} stands twice in one object")
            check_shape(member, left - 1)
    elif type(shape) is ListShape:
        for item in shape:
            check_shape(item, left - 1)


@dataclass(slots=True)
class Structure:
    """What a key holds. `lines` has the first line of each kind, to name where kinds differ."""

    place: str
    path: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    members: dict[str, Structure] = field(default_factory=dict)
    items: Structure | None = None
    #: The keys of `members` by how the engine compares them.
    _by_folded: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, shape: Any, line: int) -> None:
        """Merges the shape of a value that `check_shape` has passed."""
        if type(shape) is ObjectShape:
            self.lines.setdefault("object", line)
            for key, member in shape:
                self.member(key, line).add(member, line)
        elif type(shape) is ListShape:
            self.lines.setdefault("list", line)
            if self.items is None:
                self.items = Structure(self.place, self.path + "[]")
            for item in sorted(shape, key=repr):  # a set has no order of its own
                self.items.add(item, line)
        else:
            self.lines.setdefault(shape, line)

    def member(self, key: str, line: int) -> Structure:
        """The structure below a key; JobError for keys that the engine could not tell apart."""
        known = self.members.get(key)
        if known is not None:
            return known
        path = f"{self.path}.{key}" if self.path else key
        if not key or "\0" in key:
            raise JobError(f"line {line}: an object holds a key without a usable name", place=self.place)
        twin = self._by_folded.get(folded(key))
        if twin is not None:
            raise JobError(
                f"line {line}: the keys {twin} and {key} differ in letter case only"
                + (f" (in {self.path})" if self.path else ""),
                place=self.place,
                advice="rename one of them: SQL does not tell them apart",
            )
        if len(self.members) >= MAX_KEYS:
            raise JobError(
                f"line {line}: {self.path or 'the table'} has more than {MAX_KEYS:,} different keys",
                place=self.place,
                advice="keys that are data belong into values; or map the columns that are wanted",
            )
        self.members[key] = Structure(self.place, path)
        self._by_folded[folded(key)] = key
        return self.members[key]

    @property
    def kinds(self) -> set[str]:
        return set(self.lines) - {_NULL}

    @property
    def is_mixed(self) -> bool:
        """Whether no type but text holds every value as it is."""
        return self.plain_type() == "VARCHAR" and bool(self.kinds - {_TEXT})

    def plain_type(self) -> str:
        """The engine's type: "" where there is no value at all, STRUCT and LIST for those two."""
        kinds = self.kinds
        if not kinds:
            return ""
        if kinds == {"object"}:
            return "STRUCT" if any(member.plain_type() for member in self.members.values()) else ""
        if kinds == {"list"}:
            return "LIST"
        if kinds == {_BOOL}:
            return "BOOLEAN"
        if kinds <= _BIGINT:
            return "BIGINT"
        if kinds <= _HUGEINT:
            return "HUGEINT"
        if kinds <= {_INT, _FLOAT}:
            return "DOUBLE"
        return "VARCHAR"

    def template(self) -> Any:
        """The structure as the engine's `from_json` takes it: a type, {key: …} or [item]."""
        kind = self.plain_type()
        if kind == "STRUCT":
            return {key: member.template() for key, member in self.members.items() if member.plain_type()}
        if kind == "LIST":
            item = self.items.template() if self.items is not None else ""
            return [item or "VARCHAR"]
        return kind

    def why_text(self, *below: str) -> str:
        """Where the kinds of a key, or of one `below` it, begin to differ; "" where they do not."""
        if below:
            return self.members[below[0]].why_text(*below[1:]) if below[0] in self.members else ""
        if not self.is_mixed:
            return ""
        first: dict[str, int] = {}
        for kind in self.lines:  # in their order, which a set does not keep
            if kind == _NULL:
                continue
            word = _WORDS.get(kind, "a number")
            first[word] = min(self.lines[kind], first.get(word, self.lines[kind]))
        if len(first) == 1:
            return "its numbers fit no type of number exactly"
        return ", ".join(f"line {line} holds {word}" for word, line in sorted(first.items(), key=_by_line))


_WORDS: Final = {_BOOL: "true or false", _TEXT: "text", "object": "an object", "list": "a list"}


def _by_line(item: tuple[str, int]) -> int:
    return item[1]


def _kind(value: Any) -> Any:
    """The kind of a value: a word for a plain one, a shape for the others."""
    kind = type(value)
    if kind is int:
        if -(2**53) <= value <= 2**53:
            return _INT
        if -(2**63) <= value < 2**63:
            return _INT64
        return _INT128 if -(2**127) < value < 2**127 else _LONG
    if kind is list:
        return ListShape(map(_kind, value))
    return _PLAIN.get(kind, value)  # an ObjectShape is its own


_PLAIN: Final[dict[type, str]] = {str: _TEXT, bool: _BOOL, float: _FLOAT, type(None): _NULL}
_PLAIN_SHORT: Final[dict[type, str]] = {**_PLAIN, int: _INT}


def _scanner(plain: dict[type, str]) -> Callable[[str, int], tuple[Any, int]]:
    """A JSON reader that answers shapes; kinds in `plain` are known from the type alone."""
    known = plain.get

    def members(pairs: list[tuple[str, Any]]) -> ObjectShape:
        if len(pairs) > 1 and len(dict(pairs)) < len(pairs):
            keys = Counter(key for key, _ in pairs)
            return ObjectShape(
                [
                    (key, _TWICE if keys[key] > 1 else known(value.__class__) or _kind(value))
                    for key, value in dict(pairs).items()
                ]
            )
        return ObjectShape([(key, known(value.__class__) or _kind(value)) for key, value in pairs])

    decoder = json.JSONDecoder(object_pairs_hook=members, parse_constant=_constant)
    # What `raw_decode` calls, without its two regular expressions for every line.
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once  # type: ignore[attr-defined]
    return scan


def _constant(name: str) -> Any:
    raise Malformed(f"{name} is not JSON")


_SCAN: Final = _scanner(_PLAIN)
_SCAN_SHORT: Final = _scanner(_PLAIN_SHORT)
