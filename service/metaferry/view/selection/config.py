"""Reads a selection config (v4) as YAML or JSON: a typed value, or every fault with its line and column.

Only its text is read here; whether a tree can meet it is `judge.py`'s. What the models of the API leave open
but no strategy can do without (a THRESHOLD without a threshold) is a fault too.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Final

from metaferry.errors import UsageError
from metaferry.job.yaml_text import read_yaml
from metaferry.lightly.json_text import Node, read_json
from metaferry.storage.local.disk_names import from_disk, to_disk
from metaferry.view.selection import shapes
from metaferry.view.selection.shapes import Key

_ADVICE: Final = "docs/select.md shows a config; snake_case and camelCase are taken"


@dataclass(frozen=True, slots=True)
class Strategy:
    """One entry of `strategies`. `key` is the path of a schema entry where `input` is METADATA, else "".

    `target` are shares by name; `min_sum` and `max_sum` are the target range; `max_total` is where the
    selection stops by the sum of its weights. None: not given.
    """

    input: str
    type: str
    key: str = ""
    threshold: float | None = None
    operation: str = ""
    target: Mapping[str, float] = field(default_factory=dict)
    distribution: str = ""
    strength: float = 1.0
    min_sum: float | None = None
    max_sum: float | None = None
    max_total: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A selection config. `n_samples` -1: as many as the strategies allow; None where it is not given."""

    strategies: tuple[Strategy, ...]
    n_samples: int | None = None
    proportion: float | None = None
    path_regex: str = ""


@dataclass(slots=True)
class _Text:
    """The values of a config, the place (line, column) of each by its path, and the faults so far."""

    value: Any
    name: str
    places: dict[tuple[str | int, ...], tuple[int, int]] = field(default_factory=dict)
    faults: list[tuple[int, int, str]] = field(default_factory=list)

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        line, column = next(
            (self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places), (0, 0)
        )
        dotted = ""
        for step in path:
            dotted += f"[{step}]" if isinstance(step, int) else f".{step}" if dotted else step
        self.faults.append((line, column, f"{dotted}: {message}" if dotted else message))

    def error(self) -> UsageError:
        lines = []
        for line, column, message in sorted(self.faults):
            where = ":".join(str(each) for each in (self.name, line, column) if each)
            lines.append(f"{where}: {message}" if where else message)
        if len(lines) == 1:
            return UsageError(lines[0], advice=_ADVICE)
        return UsageError(f"{len(lines)} faults in the selection config\n" + "\n".join(lines), advice=_ADVICE)


def load_config(path: str | PathLike[str]) -> Config:
    """The config in a file. UsageError that lists every fault with its place."""
    name = os.fspath(path)
    try:
        with open(to_disk(from_disk(name)), "rb") as file:
            return parse_config(file.read(), name)
    except OSError as error:
        raise UsageError(f"{name}: the selection config cannot be read: {error.strerror}") from None


def read_config(config: str | PathLike[str] | Mapping[str, Any]) -> Config:
    """The config in a file, or in a mapping of the same shape."""
    return parse_config(config) if isinstance(config, Mapping) else load_config(config)


def parse_config(text: str | bytes | Mapping[str, Any], name: str = "") -> Config:
    """The config of a text, or of a mapping in memory; `name` is the file's, for messages."""
    source = _Text(text, name) if isinstance(text, Mapping) else _read(text, name)
    if source.faults:
        raise source.error()
    config = _Reader(source).config()
    if config is None or source.faults:
        raise source.error()
    return config


def _read(text: str | bytes, name: str) -> _Text:
    source = _Text(None, name)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            source.fault((), f"is not UTF-8 text (byte {error.start})")
            return source
    if text.lstrip().startswith("{"):
        root, found = read_json(text)
        source.faults = [(fault.line, fault.column, fault.message) for fault in found]
        if root is not None:
            _place(source, root, ())
            source.value = root.plain()
        return source
    tree = read_yaml(text)
    source.value = tree.value
    source.places = {path: (line, 0) for path, line in tree.lines.items()}
    source.places |= {path: (line, column) for path, (line, column, _) in tree.texts.items()}
    for each in tree.faults:
        source.faults.append((each.line or tree.line(each.path), 0, each.message))
    return source


def _place(source: _Text, node: Node, path: tuple[str | int, ...]) -> None:
    source.places[path] = (node.line, node.column)
    if isinstance(node.value, dict):
        for key, below in node.value.items():
            _place(source, below, (*path, key))
    elif isinstance(node.value, list):
        for at, below in enumerate(node.value):
            _place(source, below, (*path, at))


class _Reader:
    """From values to a `Config`; faults go to the text."""

    def __init__(self, source: _Text) -> None:
        self._source = source

    def config(self) -> Config | None:
        value = self._source.value
        if not isinstance(value, Mapping):
            self._source.fault((), "is empty" if value is None else "should be a mapping of keys")
            return None
        found = self._object(value, shapes.CONFIG, ())
        listed = found.get("strategies")
        if isinstance(listed, list) and not listed:
            self._source.fault(("strategies",), "should not be empty")
        read = [self._strategy(each, at) for at, each in enumerate(listed or [])]
        number, share = found.get("n_samples"), found.get("proportion_samples")
        if number is not None and share is not None:
            self._source.fault(
                self._path(value, shapes.CONFIG, "proportion_samples", ()),
                "n_samples is given too: give one of them",
            )
        if self._source.faults:
            return None
        return Config(
            tuple(each for each in read if each is not None),
            number,
            None if share is None else float(share),
            found.get("lightly_path_regex") or "",
        )

    def _strategy(self, value: Any, at: int) -> Strategy | None:
        path = ("strategies", at)
        if not isinstance(value, dict):
            self._source.fault(path, "should be a mapping with input and strategy")
            return None
        entry = self._object(value, shapes.ENTRY, path)
        given, how = entry.get("input"), entry.get("strategy")
        if not isinstance(given, dict) or not isinstance(how, dict):
            return None
        source = self._object(given, shapes.INPUT, (*path, "input"))
        below = (*path, "strategy")
        found = self._object(how, shapes.STRATEGY, below)
        limits = found.get("target_range")
        where = self._path(how, shapes.STRATEGY, "target_range", below)
        sums = self._object(limits, shapes.RANGE, where) if isinstance(limits, dict) else {}
        kind, of = found.get("type"), source.get("type")
        if of == "METADATA" and "key" not in source:
            self._source.fault((*path, "input"), "METADATA needs a key: the path of a schema entry")
        if kind == "THRESHOLD":
            for name in ("threshold", "operation"):
                if name not in found and name not in how:
                    self._source.fault(below, f"THRESHOLD needs {name}")
        if kind == "BALANCE":
            wants = found.get("distribution", "TARGET") == "TARGET"
            if wants and "target" not in found and "target" not in how:
                self._source.fault(below, "BALANCE needs a target, or distribution: UNIFORM or INPUT")
        least, most = sums.get("min_sum"), sums.get("max_sum")
        if least is not None and most is not None and least > most:
            self._source.fault(where, "min_sum is above max_sum")
        if kind != "WEIGHTS" and (sums or "stopping_condition_max_sum" in found):
            self._source.fault(below, "target_range and stopping_condition_max_sum are for WEIGHTS only")
        if kind is None or of is None:
            return None
        return Strategy(
            of,
            kind,
            source.get("key", "") if of == "METADATA" else "",
            found.get("threshold"),
            found.get("operation", ""),
            found.get("target") or {},
            found.get("distribution", "TARGET") if kind == "BALANCE" else "",
            found.get("strength", 1.0),
            least,
            most,
            found.get("stopping_condition_max_sum"),
        )

    def _object(
        self, value: Mapping[str, Any], keys: Mapping[str, Key], path: tuple[str | int, ...]
    ) -> dict[str, Any]:
        """The values by their snake_case names, without those that are null or wrong."""
        known = {name: name for name in keys} | {key.alias: name for name, key in keys.items() if key.alias}
        found: dict[str, Any] = {}
        for given, each in value.items():
            name = known.get(given)
            if name is None:
                near = difflib.get_close_matches(str(given), list(known), 1, 0.6)
                hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(keys)}"
                self._source.fault((*path, given), f"unknown key; {hint}")
                continue
            if each is None:
                continue
            if name in found:
                self._source.fault((*path, given), f"stands twice, as {name} and {keys[name].alias}")
                continue
            wrong = keys[name].check(each)
            if wrong:
                self._source.fault((*path, given), wrong)
            else:
                found[name] = each
        for name, key in keys.items():
            if key.required and all(value.get(each) is None for each in (name, key.alias) if each):
                self._source.fault((*path, name) if path else (), f"{name} is missing")
        return found

    @staticmethod
    def _path(
        value: Mapping[str, Any], keys: Mapping[str, Key], name: str, path: tuple[str | int, ...]
    ) -> tuple[str | int, ...]:
        """The path of a key as it was written."""
        alias = keys[name].alias
        return (*path, alias if alias in value else name)
