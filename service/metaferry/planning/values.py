"""Values: each checked against its schema entry, misfits rejected with their row and column.

For source `i` the table `values_i(target, kind, media, v0, v1 …)` holds the usable rows, each
value already as the canonical JSON text it will have in its document (null: left out). From here
on a value is text that is only moved, so merging cannot change one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.lightly.key_paths import join_path
from metaferry.lightly.schema import expected, overlapping
from metaferry.planning.database import Database
from metaferry.planning.entries import Entries, KeyPath
from metaferry.planning.records.duplicates import settle_repeated
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import KeyColumn, Loaded

_REPLACE: Final = (
    "nothing, where no value is meant: the schema's default is shown; else replace it in the mapping, "
    "such as CASE WHEN isfinite(x) THEN x ELSE 0 END"
)


@dataclass(frozen=True, slots=True)
class _Check:
    """One check of the values of a column. `path` is the entry's, or the column's key."""

    path: str
    value: str  # SQL: what is looked at
    misfit: str  # SQL: NULL, 'type', 'range' or 'not_finite'
    expected: str
    instead: str = "the key is left out"  # what the document has where the value is not finite

    @property
    def rejects(self) -> str:
        """SQL: whether the value rejects its row."""
        # Not `CASE … END IN (…)`: DuckDB 2.0.0 keeps rows whose CASE is NULL when it filters by that.
        return f"coalesce({self.misfit}, '') IN ('type', 'range')"


@dataclass(frozen=True, slots=True)
class _Column:
    key: KeyColumn
    json: str  # SQL: canonical JSON text, or NULL
    checks: tuple[_Check, ...]


def all_keys(sources: Sequence[Loaded]) -> list[KeyPath]:
    """Every key path of any source, sorted: position n is column `v{n}` from here on.

    JobError where a path of one source lies inside a path of another: one document cannot hold both.
    """
    paths = sorted({key.path for source in sources for key in source.keys})
    for short, long in overlapping(paths):
        owner, other = (
            next(source.label for source in sources if path in {key.path for key in source.keys})
            for path in (short, long)
        )
        raise JobError(
            f"{'.'.join(short)} is a value in {owner}, but {'.'.join(long)} in {other} needs it as a group",
            place="sources",
            advice="give one of them another key path in its mapping",
        )
    return paths


def take_values(
    database: Database, source: Loaded, index: int, entries: Entries, keys: Sequence[KeyPath], *, view: bool
) -> None:
    """Rejects rows whose values do not fit, then builds `values_i` from the rest.

    As a view where it will be read only once: a million rows are then written once less.
    """
    columns = [_column(key, entries) for key in source.keys]
    _reject_misfits(database, source, index, columns)
    settle_repeated(database, source, index)
    by_path = {column.key.path: column.json for column in columns}
    values = ", ".join(f"{by_path.get(path, 'NULL::VARCHAR')} AS v{n}" for n, path in enumerate(keys))
    database.run(
        f"""
        CREATE {"VIEW" if view else "TABLE"} values_{index} AS
        SELECT m.target, m.kind, m.media, m.frame{", " if values else ""}{values}
        FROM {source.table} s JOIN match_{index} m ON m.rid = s.rowid
        WHERE m.code IS NULL
        """
    )


def _column(key: KeyColumn, entries: Entries) -> _Column:
    name, dotted = "s." + sql.quote_ident(key.column), ".".join(key.path)
    value_type = entries.type_of(key.path)
    if value_type is not None:
        cast = sql.cast_value(name, key.type, value_type)
        return _Column(
            key,
            sql.json_value(cast.value_sql, cast.type),
            (_Check(dotted, name, cast.misfit_sql, expected(value_type)),),
        )
    json, places = sql.cast_within(name, key.type, entries.below(key.path))
    instead = sql.instead_of_not_finite(key.type)
    checks = [_Check(dotted, name, sql.not_finite(name, key.type), "", instead)]
    for steps, place in places.items():
        # What is not finite is left out wherever it stands, and named once, for the whole column.
        misfit = f"nullif({place.misfit_sql}, 'not_finite')"
        checks.append(_Check(join_path((*key.path, *steps)), place.value_sql, misfit, place.expected))
    above = entries.above(key.path)
    if above is not None:
        # An entry reads the object that this value makes of its parent.
        misfit = f"CASE WHEN {json} IS NOT NULL THEN 'type' END"
        checks.append(_Check(above.path, name, misfit, f"{expected(above.type)}, and no object"))
    return _Column(key, json, tuple(checks))


def _reject_misfits(database: Database, source: Loaded, index: int, columns: Sequence[_Column]) -> None:
    """One scan that counts; only checks with a misfit are repeated row by row."""
    checks = [check for column in columns for check in column.checks]
    if not checks:
        return
    usable = f"{source.table} s JOIN match_{index} m ON m.rid = s.rowid WHERE m.lead AND m.code IS NULL"
    counts = database.row("SELECT " + ", ".join(f"count({c.misfit})" for c in checks) + f" FROM {usable}")
    bad = [check for check, count in zip(checks, counts, strict=True) if count]
    for check in bad:
        # A value that is not finite has no JSON: its key is left out, its row is used.
        database.run(
            f"""
            INSERT INTO findings
            SELECT '{Code.VALUE_NOT_FINITE}', 'warning',
                   {sql.quote_text(check.path)} || ' is ' || {check.value}::VARCHAR
                   || {sql.quote_text(f", which JSON cannot hold: {check.instead}")},
                   {sql.quote_text(_REPLACE)}, {sql.quote_text(source.label)}, f.url,
                   m.row, m.media, m.target
            FROM {source.table} s JOIN match_{index} m ON m.rid = s.rowid
            JOIN files_{index} f ON f.file = m.file
            WHERE m.lead AND m.code IS NULL AND coalesce({check.misfit}, '') = 'not_finite'
            """
        )
        database.run(
            f"""
            INSERT INTO rejects
            SELECT {sql.quote_text(source.label)}, f.url, m.row,
                   CASE {check.misfit} WHEN 'range' THEN '{Code.VALUE_RANGE}'
                        ELSE '{Code.VALUE_TYPE}' END,
                   {sql.quote_text(check.path)}, left({check.value}::VARCHAR, 200),
                   {sql.quote_text(check.expected)},
                   {sql.quote_text(check.path)} || ' is ' || left({check.value}::VARCHAR, 80)
                   || {sql.quote_text(", expected " + check.expected)}
            FROM {source.table} s JOIN match_{index} m ON m.rid = s.rowid
            JOIN files_{index} f ON f.file = m.file
            WHERE m.lead AND m.code IS NULL AND {check.rejects}
            """
        )
    if bad:
        # Only now, so that a row with two bad values is named for both.
        any_bad = " OR ".join(check.rejects for check in bad)
        database.run(
            f"""
            UPDATE match_{index} SET code = '{Code.VALUE_TYPE}'
            WHERE code IS NULL AND rid IN (SELECT s.rowid FROM {source.table} s WHERE {any_bad})
            """
        )
