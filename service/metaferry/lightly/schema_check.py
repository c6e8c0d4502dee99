"""What is wrong with the entries of a schema.json, each fault with its place.

It goes beyond the consumer's own model, which takes a default of another type, two entries of one
name, and paths of which one lies inside the other. It changes nothing.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from typing import Any, Final, TypeGuard

from metaferry.lightly.json_text import Fault, Node, quoted
from metaferry.lightly.key_paths import RESERVED_PREFIX, one_starts_the_other, split_path
from metaferry.lightly.values import MAX_INTEGER, SHAPES, Shape, ValueType

#: The keys of an entry: exactly these.
KEYS: Final = ("name", "path", "defaultValue", "valueDataType")


def check_tree(root: Node) -> list[Fault]:
    """The faults of a list of entries, entry by entry."""
    return _Checker().check(root)


_DEFAULT_MUST_BE: Final = {
    Shape.INTEGER: "a whole number within ±2^53",
    Shape.FLOAT: "a number",
    Shape.BOOLEAN: "true or false",
    Shape.STRING: "a string",
    Shape.DATETIME: "a string",
}


class _Checker:
    """Collects the faults of a list of entries; remembers names and paths across them."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.names: dict[str, int] = {}
        self.paths: dict[tuple[str, ...], int] = {}

    def check(self, root: Node) -> list[Fault]:
        if not isinstance(root.value, list):
            self.note(root, f"a list of entries is expected, not {_what(root)}")
            return self.faults
        for number, entry in enumerate(root.value, start=1):
            self.entry(number, entry)
        return self.faults

    def entry(self, number: int, entry: Node) -> None:
        if not isinstance(entry.value, dict):
            self.note(entry, f"entry {number}: an object is expected, not {_what(entry)}")
            return
        name = entry.value.get("name")
        label = f"entry {number}"
        if name is not None and isinstance(name.value, str) and name.value:
            label = f"entry {number} ({quoted(name.value)})"
        for key in entry.value:
            if key not in KEYS:
                place = entry.keys.get(key, (entry.line, entry.column))
                hint = _did_you_mean(key, [known for known in KEYS if known not in entry.value] or KEYS)
                self.faults.append(Fault(*place, f"{label}: unknown key {quoted(key)}{hint}"))
        for key in KEYS:
            if key not in entry.value:
                self.note(entry, f"{label}: the key {quoted(key)} is missing")
        if name is not None and self.text(name, label, "name"):
            self.once(self.names, name.value, number, name, f"{label}: the name")
        path = entry.value.get("path")
        if path is not None and self.text(path, label, "path"):
            self.path(path, label, number)
        kind, default = entry.value.get("valueDataType"), entry.value.get("defaultValue")
        if kind is not None:
            self.type(kind, default, label)

    def text(self, node: Node, label: str, key: str) -> bool:
        if isinstance(node.value, str) and node.value:
            return True
        self.note(node, f"{label}: {quoted(key)} is a string of at least one character, not {_what(node)}")
        return False

    def once(self, seen: dict[Any, int], value: Any, number: int, node: Node, what: str) -> None:
        first = seen.setdefault(value, number)
        if first != number:
            self.note(node, f"{what} {quoted(node.value)} is that of entry {first} too")

    def path(self, node: Node, label: str, number: int) -> None:
        try:
            steps = split_path(node.value)
        except ValueError:
            self.note(
                node,
                f"{label}: {quoted(node.value)} is not a path like weather.temperature or myArray[0].field",
            )
            return
        if steps[0].startswith(RESERVED_PREFIX):
            self.note(node, f"{label}: keys that begin with {quoted(RESERVED_PREFIX)} are reserved")
        for other, at in self.paths.items():
            if other != steps and one_starts_the_other(steps, other):
                self.note(
                    node,
                    f"{label}: the path {quoted(node.value)} and that of entry {at} cannot both hold a value:"
                    " one is inside the other",
                )
        self.once(self.paths, steps, number, node, f"{label}: the path")

    def type(self, node: Node, default: Node | None, label: str) -> None:
        if not isinstance(node.value, str) or node.value not in ValueType.__members__:
            known = list(ValueType)
            hint = _did_you_mean(node.value, known) if isinstance(node.value, str) else ""
            listing = "" if hint else f"; known are {', '.join(known)}"
            shown = quoted(node.value) if isinstance(node.value, str) else _what(node)
            self.note(node, f"{label}: {shown} is no valueDataType{hint}{listing}")
            return
        shape = SHAPES[ValueType(node.value)]
        # null is allowed by the consumer's model: no default at all.
        if default is not None and default.value is not None and not is_of_shape(default.value, shape):
            self.note(
                default,
                f"{label}: the default of {node.value} is {_DEFAULT_MUST_BE[shape]}, not {_what(default)}",
            )

    def note(self, node: Node, message: str) -> None:
        self.faults.append(Fault(node.line, node.column, message))


def is_of_shape(value: object, shape: Shape) -> bool:
    """Whether a value is of its type as it is written in JSON: text is not read as a number here."""
    match shape:
        case Shape.INTEGER:
            return _is_number(value) and value == int(value) and abs(value) <= MAX_INTEGER
        case Shape.FLOAT:
            return _is_number(value)
        case Shape.BOOLEAN:
            return isinstance(value, bool)
        case Shape.STRING | Shape.DATETIME:
            return isinstance(value, str)


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _what(node: Node) -> str:
    """A value as a message shows it."""
    value = node.value
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the string {quoted(value[:40])}"
    try:
        return json.dumps(value)
    except TypeError:
        return f"a {type(value).__name__}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    folded = {option.lower().replace("_", ""): option for option in known}
    near = difflib.get_close_matches(word.lower().replace("_", ""), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]}?" if near else ""
