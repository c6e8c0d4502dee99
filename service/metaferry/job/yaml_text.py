"""YAML as plain values with the line of each, limited to what a job file may hold.

Mappings with text keys, lists, text, numbers, true, false and null by the core rules of YAML 1.2,
anchors, aliases and merge keys. No tags that create objects. A duplicate key is a
fault; it does not silently win. Nothing here knows what a job is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

Key: TypeAlias = str | int

_MERGE: Final = "tag:yaml.org,2002:merge"
#: Values that aliases may unfold to: a job file has hundreds; this stops an alias bomb.
_MOST_VALUES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `line` if the path does not give it; `flag` if a flag caused it."""

    path: tuple[Key, ...]
    message: str
    line: int = 0
    flag: str = ""


@dataclass(slots=True)
class Tree:
    """Values, the line of each (counted from 1) by its path, and what is wrong so far."""

    value: Any
    lines: dict[tuple[Key, ...], int] = field(default_factory=dict)
    flags: dict[tuple[Key, ...], str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    #: Texts as they stand in the file: line and column (from 1) where one begins, and everything to its end.
    texts: dict[tuple[Key, ...], tuple[int, int, str]] = field(default_factory=dict)
    #: Texts that hold environment variables, by their path: as written, and name and value of each.
    written: dict[tuple[Key, ...], tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)

    def fault(self, path: tuple[Key, ...], message: str) -> None:
        self.faults.append(Fault(path, message))

    def line(self, path: tuple[Key, ...]) -> int:
        """The line of a path, or of the nearest thing above it; 0 when there are no lines."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def flag(self, path: tuple[Key, ...]) -> str:
        """The flag that set this value or something above it, or "" when none did."""
        return next((self.flags[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.flags), "")


def read_yaml(text: str) -> Tree:
    """The one document of a YAML text; syntax errors are faults of the tree."""
    tree = Tree(None)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        where = f"column {mark.column + 1}: " if mark else ""
        tree.faults.append(Fault((), f"{where}not YAML: {said}", line=mark.line + 1 if mark else 0))
        return tree
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        tree.faults.append(Fault((), "a control character that YAML does not allow", line=line))
        return tree
    except RecursionError:
        tree.faults.append(Fault((), "too deeply nested"))
        return tree
    if root is not None:
        tree.value = _Builder(tree).build(root, ())
    return tree


class _Loader(yaml.SafeLoader):
    """The parser of the library with the scalars of YAML 1.2 (core schema)."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+0123456789."),
    ),
    ("merge", r"(?:<<)", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^{_pattern}$"), _first)


class _Builder:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: list[yaml.Node] = []
        self._built = 0

    def build(self, node: yaml.Node, path: tuple[Key, ...]) -> Any:
        self._tree.lines.setdefault(path, node.start_mark.line + 1)
        self._built += 1
        if any(node is above for above in self._open):
            return self._fault(node, path, "an alias that holds itself")
        if self._built > _MOST_VALUES:
            if self._built == _MOST_VALUES + 1:
                self._fault(node, path, f"more than {_MOST_VALUES:,} values")
            return None
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
            start, end = node.start_mark, node.end_mark
            if start.buffer is not None:
                raw = start.buffer[start.pointer : end.pointer]
                self._tree.texts.setdefault(path, (start.line + 1, start.column + 1, raw))
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: tuple[Key, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            if not isinstance(key, yaml.ScalarNode) or not key.tag.endswith(":str"):
                self._fault(key, path, "a key should be text: put it in quotes")
                continue
            name = key.value
            if name in values:
                first = self._tree.lines[(*path, name)]
                self._fault(key, (*path, name), f"stands twice; the first one is in line {first}")
                continue
            self._tree.lines[(*path, name)] = key.start_mark.line + 1
            values[name] = self.build(value, (*path, name))
        for below in merged:
            if not isinstance(below, yaml.MappingNode):
                self._fault(below, path, "`<<` takes mappings only")
                continue
            more = self.build(below, path)
            values = {**more, **values} if isinstance(more, dict) else values
        return values

    def _scalar(self, node: yaml.Node, path: tuple[Key, ...]) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            if kind == "int":
                base = {"0o": 8, "0x": 16}.get(text[:2], 10)
                return int(text, base)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return self._fault(node, path, f"is no {kind}")
        return self._fault(node, path, f"the tag {node.tag} is not known here")

    def _fault(self, node: yaml.Node, path: tuple[Key, ...], message: str) -> None:
        self._tree.faults.append(Fault(path, message, line=node.start_mark.line + 1))
