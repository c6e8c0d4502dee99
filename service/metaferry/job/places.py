"""Where a character of a text value stands in the job file, for faults in queries and expressions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from metaferry.job.yaml_text import Key, Tree


@dataclass(frozen=True, slots=True)
class TextPlace:
    """A text value and what the file holds for it: quoted, plain, or a block over several lines.

    `line` and `column` (from 1) are where `raw` begins; `exact` is false where variables or flags made the
    value another text than the file has.
    """

    file: str
    line: int
    column: int
    raw: str
    value: str
    exact: bool = True

    def of(self, at: int) -> str:
        """`file:line:column` of the character `at` of the value; without a column where it is not known."""
        if not self.exact:
            return f"{self.file}:{self.line}"
        found = self._in_raw(min(at, len(self.value)))
        if found is None:
            return f"{self.file}:{self.line}"
        before = self.raw[:found]
        lines = before.count("\n")
        column = found - before.rfind("\n") if lines else self.column + found
        return f"{self.file}:{self.line + lines}:{column}"

    def _in_raw(self, at: int) -> int | None:
        """The position in `raw` of a character of the value; None where an escape hides it.

        The two differ by what YAML takes away: the header and the indentation of a block, quotes, folds.
        """
        position = 0
        if self.raw[:1] in ("|", ">"):
            position = self.raw.find("\n") + 1
        elif self.raw[:1] in ("'", '"'):
            position = 1
        for number, wanted in enumerate(self.value):
            while position < len(self.raw) and self.raw[position] != wanted:
                here = self.raw[position]
                folded = wanted in " \n" and here in " \n"
                if folded or (here == "'" and self.raw[:1] == "'"):
                    if folded and wanted == " ":
                        break
                    position += 1
                elif here in " \t\n":
                    position += 1
                else:
                    return None
            if number == at:
                return position
            position += 1
        return position


#: Those of samples that are joined by time.
_JOINED: Final = ("telemetry", "video", "time", "start")
#: Keys of a source that hold SQL, or hold what does.
_SQL: Final = frozenset(
    {("query",), ("where",), ("file_name",), ("frame",), ("metadata",), *((key,) for key in _JOINED)}
)


@dataclass(frozen=True, slots=True)
class TextPlaces:
    """The places of the queries and expressions of a job's sources.

    Known by the number of the source and the key below it, without the steps that a short form leaves out:
    `where`, `frame`, `frame.from`, `frame.seconds`, `metadata.weather.temp`. Under "" is the source itself.
    A text that a flag gave has None.
    """

    known: Mapping[tuple[int, str], TextPlace | None] = field(default_factory=dict)

    def of(self, index: int, key: str) -> TextPlace | None:
        """The place of a text; the line of its source where the file does not have the key."""
        steps = key.split(".")
        for length in range(len(steps), 0, -1):
            above = (index, ".".join(steps[:length]))
            if above in self.known and (length == len(steps) or self.known[above] is None):
                return self.known[above]
        return self.known.get((index, ""))

    def of_one(self, index: int) -> TextPlaces:
        """Those of one source, in a job that has no other."""
        return TextPlaces({(0, key): place for (at, key), place in self.known.items() if at == index})


def text_places(tree: Tree, file: str) -> TextPlaces:
    """The places in a job file whose values are checked and whole; none for a tree that is of no file."""
    known: dict[tuple[int, str], TextPlace | None] = {}
    for at in range(len(tree.value.get("sources") or ()) if file else 0):
        if not tree.flag(("sources", at)):
            known[at, ""] = TextPlace(file, tree.line(("sources", at)), 1, "", "", exact=False)
    for path, (line, column, raw) in tree.texts.items():
        if path[:1] != ("sources",) or path[2:3] not in _SQL or (path[1], "") not in known:
            continue
        if tree.flag(path):
            continue
        value = _value(tree.value, path)
        exact = isinstance(value, str) and path not in tree.written
        known[int(path[1]), _key(path)] = TextPlace(file, line, column, raw, str(value), exact)
    for path in tree.flags:
        if path[:1] == ("sources",) and path[2:]:
            known[int(path[1]), _key(path)] = None
    return TextPlaces(known)


def _key(path: tuple[Key, ...]) -> str:
    """The key below the source, as faults name it."""
    steps = [str(step) for step in path[2:]]
    if steps[0] == "frame" and steps[-1] in ("value", "at"):
        steps.pop()
    return ".".join(steps)


def _value(value: Any, path: tuple[Key, ...]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):  # a flag made something else of what is above it
            return None
    return value
