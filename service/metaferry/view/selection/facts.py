"""Counts of a tree for the strategies of a selection config: SQL over the typed table (`export/values.py`).

A sample is an image or a frame of a video. A frame without a document of its own shows its video's values, so
a row of a video stands for as many samples as the video has such frames. Reads no storage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from metaferry.lightly.names import Kind
from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_text
from metaferry.view.export.values import INVALID, MISNAMED, ORPHAN, ValueColumn, Values
from metaferry.view.selection.config import Config, Strategy
from metaferry.view.selection.result import Example, TopWeights

#: Values of one entry that are counted one by one.
MOST_VALUES: Final = 10_000
NUMERIC: Final = frozenset({ValueType.NUMERIC_INT, ValueType.NUMERIC_FLOAT})
_SIGNS: Final = {"SMALLER": "<", "SMALLER_EQUAL": "<=", "BIGGER": ">", "BIGGER_EQUAL": ">="}
_FIRST: Final = 10


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What the samples show of one strategy's entry.

    default: samples that show the default. passing: those that pass this threshold. values: samples by value,
    as text, of all samples; passing_values: of those that pass all thresholds; None where there are more than
    `MOST_VALUES` values. Of weights, over the samples that pass all thresholds: the least weight, the sum of
    the `wanted` least ones, and the highest ones.
    """

    default: int = 0
    passing: int | None = None
    values: Mapping[str, int] | None = field(default_factory=dict)
    passing_values: Mapping[str, int] | None = field(default_factory=dict)
    least: float | None = None
    least_sum: float | None = None
    top: TopWeights | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Samples, those that pass all thresholds on metadata, and the facts of each strategy by its number.

    invalid: documents that no consumer can read. uncounted: videos whose frames are not counted; the samples
    are then at least so many.
    """

    samples: int
    passing: int
    invalid: int = 0
    uncounted: int = 0
    keys: Mapping[int, KeyFacts] = field(default_factory=dict)


def gather_facts(
    database: Database, values: Values, config: Config, frames: Iterable[tuple[str, int]] = ()
) -> Facts:
    """Counts what the strategies on metadata need. `frames` are videos and how many frames each has.

    Makes the views `samples` and `passing` of the planning database.
    """
    columns = {column.entry.path: column for column in values.columns if column.entry is not None}
    uncounted = _make_samples(database, values.table, frames)
    judged = {
        number: (strategy, column)
        for number, strategy in enumerate(config.strategies)
        if strategy.input == "METADATA" and (column := columns.get(strategy.key)) is not None
    }
    tests = [
        test for strategy, column in judged.values() if (test := _threshold(strategy, column)) is not None
    ]
    everything = " AND ".join(tests) or "true"
    database.run(f"CREATE OR REPLACE TEMP VIEW passing AS SELECT * FROM samples WHERE {everything}")
    total = _count(database, "samples")
    wanted = wanted_of(config, total)
    return Facts(
        total,
        _count(database, "passing"),
        database.value(f"SELECT count(*) FROM {values.table} WHERE state = '{INVALID}'"),
        uncounted,
        {
            number: _facts_of(database, strategy, column, wanted)
            for number, (strategy, column) in judged.items()
        },
    )


def wanted_of(config: Config, samples: int) -> float | None:
    """How many samples a config asks for; None where it does not say, or leaves it to its strategies (-1)."""
    if config.proportion is not None:
        return config.proportion * samples
    return None if config.n_samples in (None, -1) else config.n_samples


def _make_samples(database: Database, table: str, frames: Iterable[tuple[str, int]]) -> int:
    """The view `samples`: the rows of the table that are samples, and `n`, how many each is."""
    counted = list(frames)
    database.run("DROP TABLE IF EXISTS sample_frames")
    database.create_like("sample_frames", pa.schema([("media", pa.string()), ("frames", pa.int64())]))
    if counted:
        medias, numbers = zip(*counted, strict=True)
        database.insert(
            "sample_frames",
            pa.table({"media": pa.array(medias, pa.string()), "frames": pa.array(numbers, pa.int64())}),
        )
    database.run(
        f"""
        CREATE OR REPLACE TEMP TABLE sample_videos AS
        SELECT f.media, greatest(0, f.frames - coalesce(d.own, 0))::BIGINT AS inherited
        FROM sample_frames f LEFT JOIN (
            SELECT media, count(*) AS own FROM {table}
            WHERE kind = '{Kind.FRAME}' AND state NOT IN ('{ORPHAN}', '{MISNAMED}') GROUP BY media
        ) d USING (media)
        """
    )
    database.run(
        f"""
        CREATE OR REPLACE TEMP VIEW samples AS
        SELECT t.*, CASE WHEN t.kind = '{Kind.VIDEO}' THEN v.inherited ELSE 1 END AS n
        FROM {table} t LEFT JOIN sample_videos v ON t.kind = '{Kind.VIDEO}' AND v.media = t.media
        WHERE t.state NOT IN ('{ORPHAN}', '{MISNAMED}') AND (t.kind <> '{Kind.VIDEO}' OR v.inherited > 0)
        """
    )
    missing: int = database.value(
        f"SELECT count(*) FROM {table} WHERE kind = '{Kind.VIDEO}' AND state <> '{ORPHAN}' "
        "AND media NOT IN (SELECT media FROM sample_frames)"
    )
    return missing


def _threshold(strategy: Strategy, column: ValueColumn) -> str | None:
    """The condition of a threshold on an entry that can have one."""
    entry = column.entry
    if strategy.type != "THRESHOLD" or entry is None or entry.type not in NUMERIC:
        return None
    return f"{column.column} {_SIGNS[strategy.operation]} {strategy.threshold!r}::DOUBLE"


def _facts_of(database: Database, strategy: Strategy, column: ValueColumn, wanted: float | None) -> KeyFacts:
    entry = column.entry
    assert entry is not None
    default = _count(database, "samples", f"{column.column}::VARCHAR = {_literal(entry, column)}")
    if strategy.type == "BALANCE":
        return KeyFacts(
            default,
            values=_values(database, "samples", column),
            passing_values=_values(database, "passing", column),
        )
    if entry.type not in NUMERIC:
        return KeyFacts(default)
    test = _threshold(strategy, column)
    if test is not None:
        return KeyFacts(default, passing=_count(database, "samples", test))
    if strategy.type == "WEIGHTS":
        return _weights(database, default, column, None if wanted is None else math.floor(wanted))
    return KeyFacts(default)


def _literal(entry: Entry, column: ValueColumn) -> str:
    """The default of an entry as the text that its column has for it."""
    if entry.default is None:
        return "NULL"
    kind = {"int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}.get(str(column.type), "VARCHAR")
    return f"{quote_text(str(entry.default))}::{kind}::VARCHAR"


def _count(database: Database, view: str, condition: str = "true") -> int:
    total: int = database.value(f"SELECT coalesce(sum(n), 0)::BIGINT FROM {view} WHERE {condition}")
    return total


def _values(database: Database, view: str, column: ValueColumn) -> dict[str, int] | None:
    rows: Sequence[tuple[Any, ...]] = database.rows(
        f"SELECT {column.column}::VARCHAR AS v, sum(n)::BIGINT FROM {view} WHERE {column.column} IS NOT NULL "
        f"GROUP BY v ORDER BY v LIMIT {MOST_VALUES + 1}"
    )
    return dict(rows) if len(rows) <= MOST_VALUES else None


def _weights(database: Database, default: int, column: ValueColumn, wanted: int | None) -> KeyFacts:
    name = column.column
    least = database.value(f"SELECT min({name})::DOUBLE FROM passing")
    if wanted is None or wanted < 1 or least is None:
        return KeyFacts(default, least=least)
    grouped = (
        f"SELECT {name}::DOUBLE AS v, sum(n)::BIGINT AS n FROM passing WHERE {name} IS NOT NULL GROUP BY v"
    )

    def taken(order: str) -> str:
        """The weights in this order, with how many samples of each are among the `wanted` first."""
        return (
            f"SELECT v, n, greatest(0, least(n, {wanted} - (upto - n)))::BIGINT AS taken FROM "
            f"(SELECT v, n, (sum(n) OVER (ORDER BY v {order}))::BIGINT AS upto FROM ({grouped}))"
        )

    least_sum = _rounded(database.value(f"SELECT fsum(v * taken) FROM ({taken('ASC')})"))
    highest = taken("DESC")
    total, cut = database.row(f"SELECT fsum(v * taken), min(v) FILTER (taken > 0) FROM ({highest})")
    tied, tied_in, samples = database.row(
        f"SELECT max(n) FILTER (v = ?), max(taken) FILTER (v = ?), sum(taken)::BIGINT FROM ({highest})",
        [cut, cut],
    )
    first = database.rows(
        f"SELECT target, media, frame, {name}::DOUBLE FROM passing WHERE {name} IS NOT NULL "
        f"ORDER BY {name} DESC, target LIMIT {min(_FIRST, wanted)}"
    )
    top = TopWeights(samples, _rounded(total), cut, tied, tied_in, tuple(Example(*row) for row in first))
    return KeyFacts(default, least=least, least_sum=least_sum, top=top)


def _rounded(total: float) -> float:
    """A sum without the last digits, which depend on the order of its parts."""
    return float(f"{total:.12g}")
