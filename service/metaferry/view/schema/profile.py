"""The figures of one column of a loaded source: what a schema entry for it is judged by.

Counted over all rows, in the planning engine. Which values fit a type is asked of the rules by which a run
rejects rows, so what is said here is what a run would do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from metaferry.job.sources import Source
from metaferry.lightly.key_paths import join_path, split_path
from metaferry.lightly.schema import Observed, ValueType
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import KeyColumn, Loaded

#: Values that are shown, the most frequent first.
_EXAMPLES: Final = 3

#: One type of each shape: types of one shape take the same values.
_SHAPES: Final = (
    ValueType.NUMERIC_INT,
    ValueType.NUMERIC_FLOAT,
    ValueType.CATEGORICAL_BOOLEAN,
    ValueType.CATEGORICAL_STRING,
    ValueType.CATEGORICAL_DATETIME,
)


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it stands in a document, and in how many rows."""

    value: Any
    rows: int


@dataclass(frozen=True, slots=True)
class Profile:
    """One column of one source under a key path.

    `name` is what people see: the column, or the expression of the job. `expression` is the SQL for it, ""
    for a part of a value; `mapped`, whether the source has a mapping. `minimum` and `maximum` are those
    of the finite numbers; of text they go by code points. `unfit` are the values that a type would
    reject, by one type of each shape; `not_finite` are NaN and Infinity, left out under any type.
    """

    source: str
    name: str
    expression: str
    mapped: bool
    type: str
    observed: Observed
    rows: int
    nulls: int
    distinct: int
    minimum: Any
    maximum: Any
    examples: tuple[Value, ...]
    not_finite: int
    unfit: Mapping[ValueType, int]

    @property
    def filled(self) -> int:
        return self.rows - self.nulls


def profile(database: Database, loaded: Loaded, source: Source, key: KeyColumn) -> Profile:
    """The figures of a column; `source` is what the job says about its table."""
    column = f"s.{sql.quote_ident(key.column)}"
    observed = sql.observed(key.type)
    as_json = sql.json_value(column, key.type)
    finite = f"FILTER ({sql.not_finite(column, key.type)} IS NULL)"
    ordered = observed is not Observed.OTHER
    unfit = [sql.cast_value(column, key.type, each).misfit_sql for each in _SHAPES] if ordered else []
    counts = ", ".join(f"count(*) FILTER (coalesce({each}, '') IN ('type', 'range'))" for each in unfit)
    rows, filled, not_finite, *numbers = database.row(
        f"SELECT count(*), count({column}), count({sql.not_finite(column, key.type)})"
        f"{', ' if counts else ''}{counts} FROM {loaded.table} s"
    )
    distinct, minimum, maximum = 0, None, None
    examples: tuple[Value, ...] = ()
    if ordered and filled:
        low, high = (sql.json_value(f"ends.{end}", key.type) for end in ("low", "high"))
        distinct, *ends = database.row(
            f"SELECT ends.distinct_values, {low}, {high} FROM (SELECT count(DISTINCT {column}) AS "
            f"distinct_values, min({column}) {finite} AS low, max({column}) {finite} AS high "
            f"FROM {loaded.table} s) ends"
        )
        minimum, maximum = map(_plain, ends)
        examples = tuple(
            Value(_plain(value), number)
            for value, number in database.rows(
                f"SELECT {as_json} AS shown, count(*) FROM {loaded.table} s WHERE {column} IS NOT NULL "
                f"GROUP BY shown HAVING shown IS NOT NULL ORDER BY count(*) DESC, shown LIMIT {_EXAMPLES}"
            )
        )
    return Profile(
        loaded.label,
        expression_of(source, key.path) if source.metadata is not None else join_path(key.path),
        expression_of(source, key.path),
        source.metadata is not None or source.table is None,
        key.type,
        observed,
        rows,
        rows - filled,
        distinct,
        minimum,
        maximum,
        examples,
        not_finite,
        dict(zip(_SHAPES, numbers, strict=True)) if ordered else {},
    )


def expression_of(source: Source, path: tuple[str, ...]) -> str:
    """The SQL of a key path: of the mapping, or the column as it is; "" for a part of a value.

    A query has none either: its columns are the key paths, and are cast in its own SELECT list. Nor have the
    records that a reader makes.
    """
    if source.query is not None or (source.table is None and source.metadata is None):
        return ""
    if source.metadata is None:
        return sql.quote_ident(path[0]) if len(path) == 1 else ""
    return next((text for key, text in (source.expressions or {}).items() if split_path(key) == path), "")


def _plain(text: str | None) -> Any:
    return None if text is None else json.loads(text)
