"""Keys that are written but that no schema entry reads: valid by the format, and reported.

In a list or an object that entries point into, every place with a value is checked, since an entry for
`tags[0]` does not show `tags[1]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from metaferry.findings import Code
from metaferry.lightly import schema as rules
from metaferry.lightly.key_paths import join_path
from metaferry.lightly.nested import Steps, by_step
from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.planning.sql.canonical_json import ColumnType, as_list, column_type, field
from metaferry.tables.model import KeyColumn, Loaded

#: Positions of a list, or keys of a map, that are named one by one.
_NAMED: Final = 20
#: Keys of a map that are looked at.
_KEYS: Final = 1000


def report_uncovered(database: Database, sources: Sequence[Loaded], entries: Sequence[Entry]) -> None:
    """One finding for each path that holds a value somewhere and that no entry reads."""
    covered = [rules.split_path(entry.path) for entry in entries]
    missing: dict[str, str] = {}
    for source in sources:
        keys = [key for key in source.keys if not _is_read(key.path, covered)]
        if not keys:
            continue
        counts = ", ".join(f"count({sql.quote_ident(key.column)})" for key in keys)
        filled = database.row(f"SELECT {counts} FROM {source.table}")
        for key, values in zip(keys, filled, strict=True):
            if values:  # a column without a value writes nothing
                missing |= dict.fromkeys(_places(database, source, key, covered), source.label)
    for path, label in sorted(missing.items()):
        database.finding(
            Code.SCHEMA_UNCOVERED,
            "info",
            f"{path} is written, but no schema entry shows it",
            advice="nothing, where it need not be shown; else add an entry to schema.json; "
            "a list needs one for each position",
            source=label,
        )


def _is_read(path: Steps, covered: Sequence[Steps]) -> bool:
    """Whether an entry reads this, or what it is a part of (whose values are then rejected)."""
    return any(steps == path[: len(steps)] for steps in covered)


def _places(database: Database, source: Loaded, key: KeyColumn, covered: Sequence[Steps]) -> Iterator[str]:
    inside = {steps[len(key.path) :]: True for steps in covered if steps[: len(key.path)] == key.path}
    look = _Look(database, source.table)
    yield from look.uncovered(sql.quote_ident(key.column), column_type(key.type), inside, key.path)


class _Look:
    """Walks the type of a column that entries point into, as far as its values go."""

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table

    def uncovered(
        self, expr: str, kind: ColumnType, inside: Mapping[Steps, bool], path: Steps
    ) -> Iterator[str]:
        """Paths at or below `expr` that hold a value and that none of `inside`, steps below it, reads."""
        if () in inside:
            return
        parts = self._parts(expr, kind) if inside else None
        if parts is None:
            if self._value(f"count({expr})"):
                yield join_path(path)
            return
        below = by_step(inside)
        named = 0
        for step, part, child in parts:
            named += step not in below
            if named > _NAMED:
                yield f"{join_path((*path, step))} and what follows"
                return
            yield from self.uncovered(part, child, below.get(step, {}), (*path, step))

    def _parts(self, expr: str, kind: ColumnType) -> Iterator[tuple[str, str, ColumnType]] | None:
        """What the values of a list or an object consist of; None for a value that has no parts."""
        if kind.id in ("list", "array"):
            return self._positions(f"({as_list(expr, kind)})", kind.part("child"))
        if kind.id == "struct":
            return ((name, field(expr, name), child) for name, child in sorted(kind.fields))
        if kind.id == "map" and kind.part("key").is_text:
            return self._keys(expr, kind)
        return None

    def _positions(self, expr: str, child: ColumnType) -> Iterator[tuple[str, str, ColumnType]]:
        longest = self._value(f"coalesce(max(len({expr})), 0)")
        return ((f"[{at}]", f"{expr}[{at + 1}]", child) for at in range(longest))

    def _keys(self, expr: str, kind: ColumnType) -> Iterator[tuple[str, str, ColumnType]]:
        keys = self._database.rows(
            f"SELECT DISTINCT unnest(map_keys({expr}))::VARCHAR AS key FROM {self._table} "
            f"ORDER BY key LIMIT {_KEYS}"
        )
        child, own = kind.part("value"), kind.part("key").text
        return ((key, f"{expr}[{sql.quote_text(key)}::{own}]", child) for (key,) in keys)

    def _value(self, aggregate: str) -> int:
        found: int = self._database.value(f"SELECT {aggregate} FROM {self._table}")
        return found
