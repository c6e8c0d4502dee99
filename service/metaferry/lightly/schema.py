"""schema.json: its entries, how they are read, checked, inferred and written.

The consumer stops a whole run over one bad entry, and its own model checks neither defaults nor
repeated names: so this module does. It never repairs a schema.json; it says what is wrong and
where. Values under an entry's type are `values.py`'s. Sources of the rules: docs/format.md, "Schema".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from metaferry.errors import SchemaError
from metaferry.lightly.json_text import Fault, Node, node_of, read_json
from metaferry.lightly.key_paths import (
    RESERVED_PREFIX,
    column_is_ambiguous,
    one_starts_the_other,
    overlapping,
    split_path,
)
from metaferry.lightly.schema_check import KEYS, check_tree
from metaferry.lightly.values import (
    EXPECTED,
    SHAPES,
    Misfit,
    MisfitCode,
    Scalar,
    Shape,
    ValueType,
    cast,
)

__all__ = [
    "KEYS",
    "RESERVED_PREFIX",
    "Combined",
    "Entry",
    "EntryFault",
    "Fault",
    "Merged",
    "Misfit",
    "MisfitCode",
    "Observed",
    "Scalar",
    "ValueType",
    "cast",
    "check_entries",
    "column_is_ambiguous",
    "combine",
    "default_for",
    "entry_faults",
    "expected",
    "infer",
    "is_text",
    "merge",
    "overlapping",
    "parse_schema",
    "read_entries",
    "schema_bytes",
    "schema_faults",
    "split_path",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: the name shown, the dotted path below `metadata`, the default, the type."""

    name: str
    path: str
    default: Any
    type: ValueType

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "defaultValue": self.default,
            "valueDataType": str(self.type),
        }


class Observed(StrEnum):
    """What the values of a column were seen to be."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    STRING = "string"  # dates and times too: they are text in a document
    OTHER = "other"  # lists and objects: an entry cannot show them


@dataclass(frozen=True, slots=True)
class Merged:
    """Entries in place with new ones behind them.

    added: the paths of the new ones, in their order. left_out: observed paths that no entry can
    have (reserved, or above or below the path of another entry).
    """

    entries: tuple[Entry, ...]
    added: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        return not self.added


def parse_schema(text: str | bytes, where: str) -> tuple[Entry, ...]:
    """The entries of a schema.json. `where` names it in messages.

    SchemaError with line and column of the first fault, and the number of the others.
    """
    root, faults = read_json(text)
    return _entries(root, _all_faults(root, faults), where)


def check_entries(entries: Sequence[Mapping[str, Any]], where: str) -> tuple[Entry, ...]:
    """Entries that are values already (from a job file), checked as those of a schema.json."""
    root = node_of([dict(entry) for entry in entries])
    return _entries(root, _all_faults(root, []), where)


def read_entries(text: str | bytes) -> tuple[tuple[Entry, ...], list[Fault]]:
    """The entries of a schema.json that can be made out, and everything that is wrong with its text.

    An entry counts if it has a path and a type; what else is wrong with it is among the faults.
    """
    root, faults = read_json(text)
    nodes = root.value if root is not None and isinstance(root.value, list) else []
    entries = []
    for plain in (node.plain() for node in nodes):
        path = plain.get("path") if isinstance(plain, dict) else None
        kind = plain.get("valueDataType") if isinstance(plain, dict) else None
        if isinstance(path, str) and _steps(path) and isinstance(kind, str) and kind in ValueType.__members__:
            entries.append(Entry(str(plain.get("name")), path, plain.get("defaultValue"), ValueType(kind)))
    return tuple(entries), _all_faults(root, faults)


@dataclass(frozen=True, slots=True)
class EntryFault:
    """Something wrong with entry `index` (from 0), at its key `key` ("": the entry itself)."""

    index: int
    key: str
    message: str


def entry_faults(entries: Sequence[object]) -> list[EntryFault]:
    """Everything wrong with entries that are values already, in their order."""
    # Places that lead back: the line is the entry's number, the column that of its key.
    nodes, keys = [], []
    for line, entry in enumerate(entries, start=1):
        named = list(map(str, entry)) if isinstance(entry, Mapping) else []
        keys.append(["", *named])
        value: object = entry
        if isinstance(entry, Mapping):
            value = {
                key: Node(node_of(each).value, line, column)
                for column, (key, each) in enumerate(zip(named, entry.values(), strict=True), start=1)
            }
        nodes.append(Node(value, line, 0, {key: (line, at) for at, key in enumerate(named, start=1)}))
    return [
        EntryFault(fault.line - 1, keys[fault.line - 1][fault.column], fault.message)
        for fault in sorted(check_tree(Node(nodes)), key=lambda fault: (fault.line, fault.column))
    ]


def schema_faults(text: str | bytes) -> list[Fault]:
    """Everything wrong with the text of a schema.json, in the order of the text. Empty: nothing."""
    root, faults = read_json(text)
    return _all_faults(root, faults)


def schema_bytes(entries: Iterable[Entry]) -> bytes:
    """A schema.json for people and machines: an indented list, UTF-8, a newline at its end."""
    text = json.dumps([entry.to_json() for entry in entries], indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def expected(value_type: ValueType) -> str:
    """What a finding says was expected; it completes "expected …"."""
    return EXPECTED[SHAPES[value_type]]


def is_text(value_type: ValueType) -> bool:
    """Whether values under such an entry are any text."""
    return SHAPES[value_type] is Shape.STRING


def infer(kinds: Iterable[Observed]) -> ValueType | None:
    """The type of a key whose columns were seen to be of these kinds; None where none is right.

    Integers and floats together are floats. Every other mixture is a conflict that the caller
    reports: making all of it text would write numbers in a form that nobody chose.
    """
    return _INFERRED.get(frozenset(kinds))


def default_for(value_type: ValueType) -> Scalar:
    """The default of an inferred entry: 0, 0.0, False or "undefined"."""
    return _DEFAULTS[SHAPES[value_type]]


def merge(existing: Sequence[Entry], observed: Mapping[str, ValueType]) -> Merged:
    """What `schema: infer` makes of the entries in place and the types observed, by dotted path.

    Entries in place stay where and as they are, whatever was observed. Paths without an entry get
    one, sorted by path, behind them. Its name is its path; where another entry has taken that
    name, the first of `path (2)`, `path (3)` … that is free.
    """
    entries = list(existing)
    names = {entry.name for entry in existing}
    paths = {entry.path for entry in existing}
    steps = {split_path(entry.path) for entry in existing}
    added: list[str] = []
    left_out: list[str] = []
    for path in sorted(set(observed) - paths):
        own = _steps(path)
        if (
            own is None
            or own[0].startswith(RESERVED_PREFIX)
            or any(one_starts_the_other(own, other) for other in steps)
        ):
            left_out.append(path)
            continue
        name, number = path, 2
        while name in names:
            name, number = f"{path} ({number})", number + 1
        names.add(name)
        steps.add(own)
        added.append(path)
        entries.append(Entry(name, path, default_for(observed[path]), observed[path]))
    return Merged(tuple(entries), tuple(added), tuple(left_out))


@dataclass(frozen=True, slots=True)
class Combined:
    """Entries in place with given ones put to them.

    added: the paths of new entries. changed: entries as they are and as they become, by path.
    removed: entries in place that do not stay. clash: why the result would be no schema, "" if it is one.
    """

    entries: tuple[Entry, ...]
    added: tuple[str, ...]
    changed: tuple[tuple[Entry, Entry], ...]
    removed: tuple[Entry, ...]
    clash: str


def combine(existing: Sequence[Entry], given: Sequence[Entry], *, exact: bool) -> Combined:
    """What a job's list of entries makes of the entries in place. An entry is known by its path.

    Entries in place that the list does not name stay where and as they are; those that it names take
    its form, in their place; new ones follow in the order of the list. `exact`: the list is the result.
    """
    by_path = {split_path(entry.path): entry for entry in given}
    before = {split_path(entry.path): entry for entry in existing}
    kept = [entry for path, entry in before.items() if path not in by_path]
    result = (
        tuple(given)
        if exact
        else (
            *(by_path.get(path, entry) for path, entry in before.items()),
            *(entry for path, entry in by_path.items() if path not in before),
        )
    )
    return Combined(
        result,
        added=tuple(entry.path for path, entry in by_path.items() if path not in before),
        changed=tuple(
            (before[path], entry)
            for path, entry in by_path.items()
            if path in before and entry != before[path]
        ),
        removed=tuple(kept) if exact else (),
        clash="" if exact else _clash(kept, given),
    )


def _clash(kept: Sequence[Entry], given: Sequence[Entry]) -> str:
    """The first pair of an entry in place and a given one that cannot stand in one schema.json."""
    for old in kept:
        for new in given:
            if old.name == new.name:
                return f"the name {new.name!r} of {new.path} is that of {old.path}, which is in place"
            if one_starts_the_other(split_path(old.path), split_path(new.path)):
                return f"{new.path} and {old.path}, which is in place, cannot both hold a value"
    return ""


def _steps(path: str) -> tuple[str, ...] | None:
    try:
        return split_path(path)
    except ValueError:
        return None


_INFERRED: Final = {
    frozenset({Observed.INTEGER}): ValueType.NUMERIC_INT,
    frozenset({Observed.FLOAT}): ValueType.NUMERIC_FLOAT,
    frozenset({Observed.INTEGER, Observed.FLOAT}): ValueType.NUMERIC_FLOAT,
    frozenset({Observed.BOOLEAN}): ValueType.CATEGORICAL_BOOLEAN,
    frozenset({Observed.STRING}): ValueType.CATEGORICAL_STRING,
}
_DEFAULTS: Final[dict[Shape, Scalar]] = {
    Shape.INTEGER: 0,
    Shape.FLOAT: 0.0,
    Shape.BOOLEAN: False,
    Shape.STRING: "undefined",
    Shape.DATETIME: "undefined",
}


def _entries(root: Node | None, faults: list[Fault], where: str) -> tuple[Entry, ...]:
    if faults:
        first, others = faults[0], len(faults) - 1
        more = f" (and {others} more fault{'s' if others > 1 else ''})" if others else ""
        place = f"{where}:{first.line}:{first.column}" if first.line else where
        raise SchemaError(
            f"{place}: {first.message}{more}",
            advice="correct it by hand: nothing is repaired here, and a consumer would stop at it",
        )
    assert root is not None  # a text without faults is a tree
    return tuple(
        Entry(plain["name"], plain["path"], plain["defaultValue"], ValueType(plain["valueDataType"]))
        for plain in root.plain()
    )


def _all_faults(root: Node | None, faults: list[Fault]) -> list[Fault]:
    found = list(faults)
    if root is not None:
        found += check_tree(root)
    return sorted(found, key=lambda fault: (fault.line, fault.column))
