"""How the names of a source differ from the paths of the media, where none of them is one.

A table has absolute paths, the media lie in a folder, an extension is missing: what most names have in
common is told as the line to write in the job file. Pure but for one look at a sample of the names; only
ever advice, nothing is matched by it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from metaferry.findings import Code
from metaferry.planning.advice.repairs import STEPS, Repair, applied, attempted, combined
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import clean_name
from metaferry.tables.model import Loaded

#: Names of a source that are looked at, and pairs of a name and a path.
_SAMPLE: Final = 1_000
_PAIRS: Final = 50_000
#: Characters of a name by which hints know it.
SHOWN: Final = 200
_COLUMN: Final = re.compile(r'[A-Za-z_][A-Za-z0-9_]*|"[^"]+"')
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """What makes the path of a media file of a name: `cut` off in front, `add` there; `end` to `new_end`.

    `fold` is `lower` or `upper` where only the letter case differs.
    """

    cut: str = ""
    add: str = ""
    end: str = ""
    new_end: str = ""
    fold: str = ""

    @property
    def changes(self) -> int:
        return bool(self.cut) + bool(self.add) + (self.end != self.new_end) + bool(self.fold)

    def expression(self, column: str) -> str:
        """The SQL that makes the path, of the expression that gives the name now."""
        if not self.changes:
            return column
        sql = column if _COLUMN.fullmatch(column.strip()) else f"({column})"
        if self.fold:
            return f"{self.fold}({column})"
        if self.cut:
            sql = f"regexp_replace({sql}, {_text('^' + _escaped(self.cut))}, '')"
        if self.end and self.end != self.new_end:
            sql = f"regexp_replace({sql}, {_text(_escaped(self.end) + '$')}, {_text(self.new_end)})"
        elif self.new_end:
            sql = f"{sql} || {_text(self.new_end)}"
        return f"{_text(self.add)} || {sql}" if self.add else sql


def difference(given: str, path: str) -> Difference | None:
    """How the name becomes the path; None where more than folders in front and the extension differs."""
    if given != path and given.casefold() == path.casefold():
        fold = "lower" if given.lower() == path else "upper" if given.upper() == path else ""
        return Difference(fold=fold) if fold else None
    names, parts = given.split("/"), path.split("/")
    end = new_end = ""
    if names[-1] != parts[-1]:
        stem, dot, extension = parts[-1].rpartition(".")
        new_end = dot + extension
        if names[-1] != stem:
            own, dot, extension = names[-1].rpartition(".")
            if own != stem:
                return None
            end = dot + extension
    same = 1
    while same < min(len(names), len(parts)) and names[-1 - same] == parts[-1 - same]:
        same += 1
    return Difference(_folder(names[:-same]), _folder(parts[:-same]), end, new_end)


def most_common(pairs: Iterable[tuple[str, str]]) -> tuple[Difference, int, str] | None:
    """The difference of most names, of those the smallest; of how many; and a path that it makes.

    A name that becomes several paths alike, `a.png` in two folders, says nothing of which of them is meant.
    """
    counts: Counter[Difference] = Counter()
    example: dict[Difference, str] = {}
    ways: dict[str, list[tuple[Difference, str]]] = {}
    for given, path in pairs:
        found = difference(given, path)
        if found is not None:
            ways.setdefault(given, []).append((found, path))
    for several in ways.values():
        least = min(change.changes for change, _ in several)
        unsure = sum(change.changes == least for change, _ in several) > 1
        for found, path in several:
            if unsure and found.changes == least:
                continue
            counts[found] += 1
            example[found] = min(example.get(found, path), path)
    if not counts:
        return None
    best = min(counts, key=lambda one: (-counts[one], one.changes, one))
    return best, counts[best], example[best]


def nearest_spelling(database: Database, source: Loaded, index: int, *, input_url: str) -> str:
    """What to write in the job so that the unmatched names of source `index` are media; "" where unknown.

    `input_url` is the input as people may see it.
    """
    unmatched = f"code = '{Code.RECORD_UNMATCHED}'"
    database.run(
        f"CREATE OR REPLACE TEMP TABLE strange AS SELECT DISTINCT given FROM match_{index} "
        f"WHERE {unmatched} ORDER BY given LIMIT {_SAMPLE}"
    )
    if source.match != "path":
        return _other_hint(database, source.label)
    sampled = database.value("SELECT count(*) FROM strange")
    best = None
    for steps in combined(present_steps(database, "strange")):
        tried = most_common(_pairs(database, steps))
        # Of equally many names, what needs the fewest changes; steps come first where they are as many.
        if tried is not None and (best is None or _worth(steps, tried) > _worth(*best)):
            best = steps, tried
    if best is None:
        return _other_hint(database, source.label)
    steps, (change, found, path) = best
    key = "video" if source.frames.kind == "joined" else "file_name"
    line = written(key, change.expression(applied(steps, source.file_name)))
    number = f"all {sampled:,}" if found == sampled else f"{found:,} of {sampled:,}"
    said = f'{line} makes {number} names those of media, such as "{path}"'
    if sampled == 1:
        said = f'{line} makes it "{path}"'
    other = "" if steps else _other_input(change, input_url)
    return f"{said}; or {written('input', other)}" if other and found == sampled else said


def _worth(steps: Sequence[Repair], tried: tuple[Difference, int, str]) -> tuple[int, int]:
    change, found, _ = tried
    return found, -len(steps) - change.changes


def present_steps(database: Database, table: str) -> list[Repair]:
    """The repairs that any of the names in the column `given` of a table asks for."""
    return [
        step
        for step in STEPS
        if database.value(f"SELECT count(*) FROM {table} WHERE {step.applies.replace('{x}', 'given')}")
    ]


def _pairs(database: Database, steps: Sequence[Repair]) -> list[tuple[str, str]]:
    """Names of `strange` after some repairs, with media of the same base name but for an extension."""
    base, stem = (f"parse_filename(name, {cut}, 'forward_slash')" for cut in ("false", "true"))
    mended = (
        f"SELECT given, {clean_name('given')} AS name "
        f"FROM (SELECT DISTINCT {attempted(steps, 'given')} AS given FROM strange)"
    )
    found: list[tuple[str, str]] = database.rows(
        f"""
        WITH mended AS ({mended})
        SELECT DISTINCT s.given, m.path
        FROM (SELECT given, lower({base}) AS key FROM mended UNION
              SELECT given, lower({stem}) FROM mended) s
        JOIN media m ON lower(parse_filename(m.path, true, 'forward_slash')) = s.key
        ORDER BY s.given, m.path LIMIT {_PAIRS}
        """
    )
    return found


def written(key: str, value: str | Mapping[str, str | int]) -> str:
    """`key: value` as a line of YAML; a mapping in braces, its keys in their order."""
    if not isinstance(value, str):
        flow = yaml.safe_dump(
            dict(value), width=1_000_000, allow_unicode=True, sort_keys=False, default_flow_style=True
        ).rstrip("\n")
        # Of several lines, which YAML would fold: JSON keeps them in one, and is YAML too.
        return f"{key}: {json.dumps(value, ensure_ascii=False) if chr(10) in flow else flow}"
    line = yaml.safe_dump({key: value}, width=1_000_000, allow_unicode=True).rstrip("\n")
    quoted = line.removeprefix(f"{key}: ").startswith(("'", '"'))
    return f"{key}: {json.dumps(value, ensure_ascii=False)}" if quoted else line


def _other_input(change: Difference, input_url: str) -> str:
    """The input below which the names would be right as they are; "" where there is none."""
    if change.end != change.new_end or change.fold or (change.cut and change.add):
        return ""
    url = input_url.rstrip("/")
    if change.add:
        return f"{url}/{change.add}"
    cut = "/" + change.cut.rstrip("/")
    above = url.removesuffix(cut)
    plain = not change.cut.startswith((".", "/")) and "://" not in change.cut
    return above + "/" if plain and above not in (url, "") and not above.endswith(":/") else ""


def _other_hint(database: Database, label: str) -> str:
    hints = database.rows(
        "SELECT s.given, h.hint FROM strange s JOIN hints h ON h.given = left(s.given, ?) AND h.source = ? "
        "ORDER BY s.given LIMIT 1",
        [SHOWN, label],
    )
    if hints:
        ((given, hint),) = hints
        return f'"{given}": {hint}'
    media = [path for (path,) in database.rows("SELECT path FROM media ORDER BY path LIMIT 2")]
    return "the media are called " + ", ".join(f'"{path}"' for path in media) if media else ""


def _folder(segments: list[str]) -> str:
    return "/".join(segments) + "/" if segments else ""


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], text)


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
