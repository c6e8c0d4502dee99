"""What each column of the table of documents is: its figures, and the codes of its values.

Least and largest values, defaults and missing values are counted over all documents, and so are the values
that have a label of their own. Quantiles, and which values are the commonest, come from the sample; the
number of different values is that of the sample where it is everything, and otherwise an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident, quote_text
from metaferry.view.report.bins import MOST_BINS, Labels, NumberBins, labels, number_bins
from metaferry.view.report.sample import SAMPLE

#: Quantiles that a page shows, in this order.
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_CORE: Final = (0.005, 0.995)
#: Values of the sample that are counted in all documents to find the commonest.
_CANDIDATES: Final = 400
#: Folders deeper than this are taken together.
_DEEPEST: Final = 4


class Kind(StrEnum):
    """How a column is drawn."""

    NUMBER = "number"
    TIME = "time"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class Field:
    """A column to be shown: an expression over the table of documents, and how it is drawn.

    `entry` is None for what the page itself adds: the folder, the kind of media, the state of a document.
    """

    sql: str
    name: str
    kind: Kind
    entry: Entry | None = None
    numeric: bool = False  # a category of numbers
    order: tuple[str, ...] = ()  # labels that come in this order

    @property
    def integer(self) -> bool:
        return self.entry is not None and self.entry.type is ValueType.NUMERIC_INT


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of the values of a column. Those of numbers are None where there is no number."""

    documents: int
    present: int
    distinct: int
    distinct_exact: bool
    defaults: int | None  # None: no entry, or no value could be equal to its default
    low: float | None = None
    high: float | None = None
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Dimension:
    """A field with its figures and codes: one filter of the page."""

    field: Field
    figures: Figures
    bins: NumberBins | Labels

    @property
    def code_sql(self) -> str:
        return self.bins.code_sql(self.field.sql)

    @property
    def is_number(self) -> bool:
        return isinstance(self.bins, NumberBins)


def entry_field(entry: Entry, column: str) -> Field:
    """The field of a schema entry whose values are in `column`."""
    value = quote_ident(column)
    match entry.type:
        case ValueType.NUMERIC_INT | ValueType.NUMERIC_FLOAT:
            finite = f"CASE WHEN isfinite(TRY_CAST({value} AS DOUBLE)) THEN TRY_CAST({value} AS DOUBLE) END"
            return Field(finite, entry.name, Kind.NUMBER, entry)
        case ValueType.CATEGORICAL_DATETIME:
            return Field(f"epoch(TRY_CAST({value} AS TIMESTAMP))", entry.name, Kind.TIME, entry)
        case ValueType.CATEGORICAL_TIMESTAMP:
            # Whole seconds or milliseconds; nothing says which, and 10^11 seconds are the year 5138.
            number = f"TRY_CAST({value} AS DOUBLE)"
            seconds = f"CASE WHEN abs({number}) >= 1e11 THEN {number} / 1000 ELSE {number} END"
            return Field(f"({seconds})", entry.name, Kind.TIME, entry)
        case ValueType.CATEGORICAL_INT:
            return Field(f"CAST({value} AS VARCHAR)", entry.name, Kind.CATEGORY, entry, numeric=True)
        case ValueType.CATEGORICAL_BOOLEAN:
            return Field(
                f"CAST({value} AS VARCHAR)", entry.name, Kind.CATEGORY, entry, order=("true", "false")
            )
        case _:
            return Field(f"CAST({value} AS VARCHAR)", entry.name, Kind.CATEGORY, entry)


def folder_field(database: Database) -> Field:
    """The folder of a media, to as many levels as give 40 folders at most in the sample."""
    chosen = _folder_sql(1)
    for depth in range(2, _DEEPEST + 1):
        found = database.value(f"SELECT count(DISTINCT {_folder_sql(depth)}) FROM {SAMPLE}")
        if found > MOST_BINS:
            break
        chosen = _folder_sql(depth)
    return Field(chosen, "folder", Kind.CATEGORY)


def profile(database: Database, table: str, field: Field, *, sampled: bool) -> Dimension:
    """The figures and codes of one field. `sampled`: the sample is not all of the table."""
    if field.kind is Kind.CATEGORY:
        return _category(database, table, field, sampled)
    return _number(database, table, field, sampled)


def _number(database: Database, table: str, field: Field, sampled: bool) -> Dimension:
    value, entry = field.sql, field.entry
    default = _default(database, entry, field.kind)
    equal = "NULL" if default is None else f"count(*) FILTER (v = {default!r})"
    documents, present, low, high, defaults, distinct = database.row(
        f"SELECT count(*), count(v), min(v), max(v), {equal}, approx_count_distinct(v) "
        f"FROM (SELECT {value} AS v FROM {quote_ident(table)})"
    )
    distinct = _distinct(database, value, distinct, sampled)
    missing = present < documents
    if not present:
        figures = Figures(documents, 0, 0, True, defaults)
        return Dimension(field, figures, Labels((), missing=True))
    # The default may lie far from all values, as 0 does from a longitude.
    real = "" if default is None else f"FILTER (v <> {default!r})"
    wanted = ", ".join(f"quantile_cont(v, {q})" for q in QUANTILES)
    edges = ", ".join(f"coalesce(quantile_cont(v, {q}) {real}, quantile_cont(v, {q}))" for q in _CORE)
    found = database.row(f"SELECT {wanted}, {edges} FROM (SELECT {value} AS v FROM {SAMPLE})")
    *quantiles, core_low, core_high = (low if each is None else each for each in found)
    bins = number_bins(
        low,
        high,
        core=(core_low, core_high),
        integer=field.integer,
        time=field.kind is Kind.TIME,
        missing=missing,
    )
    figures = Figures(documents, present, distinct, not sampled, defaults, low, high, tuple(quantiles))
    return Dimension(field, figures, bins)


def _category(database: Database, table: str, field: Field, sampled: bool) -> Dimension:
    value, entry = field.sql, field.entry
    default = None if entry is None or entry.default is None else _text(entry.default)
    equal = "NULL" if default is None else f"count(*) FILTER (v = {quote_text(default)})"
    documents, present, defaults, distinct = database.row(
        f"SELECT count(*), count(v), {equal}, approx_count_distinct(v) "
        f"FROM (SELECT {value} AS v FROM {quote_ident(table)})"
    )
    distinct = _distinct(database, value, distinct, sampled)
    order = "count(*) DESC, v"
    known = (
        f"SELECT v FROM (SELECT {value} AS v FROM {SAMPLE}) WHERE v IS NOT NULL "
        f"GROUP BY v ORDER BY {order} LIMIT {_CANDIDATES}"
    )
    commonest = database.rows(known)
    if sampled and commonest:
        commonest = database.rows(
            f"SELECT v FROM (SELECT {value} AS v FROM {quote_ident(table)}) WHERE v IN ({known}) "
            f"GROUP BY v ORDER BY {order}"
        )
    values = [text for (text,) in commonest]
    if field.order:
        values.sort(key=lambda text: field.order.index(text) if text in field.order else len(field.order))
    if sampled and 0 < len(values) <= MOST_BINS:
        # The sample may lack a value, and the estimate of their number may be off by a few percent.
        listed = ", ".join(quote_text(text) for text in values)
        others = database.value(
            f"SELECT count(*) FROM (SELECT {value} AS v FROM {quote_ident(table)}) WHERE v NOT IN ({listed})"
        )
        distinct = max(distinct, len(values) + 1) if others else len(values)
    whole = not sampled or distinct == len(values)
    found = labels(values, distinct=distinct, missing=present < documents, numeric=field.numeric)
    return Dimension(field, Figures(documents, present, distinct, whole, defaults), found)


def _distinct(database: Database, value: str, estimate: int, sampled: bool) -> int:
    exact: int = database.value(f"SELECT count(DISTINCT {value}) FROM {SAMPLE}")
    return max(exact, estimate) if sampled else exact


def _default(database: Database, entry: Entry | None, kind: Kind) -> float | None:
    if entry is None or entry.default is None or isinstance(entry.default, bool):
        return None
    if kind is Kind.TIME and isinstance(entry.default, str):
        seconds = database.value(f"SELECT epoch(TRY_CAST({quote_text(entry.default)} AS TIMESTAMP))")
        return None if seconds is None else float(seconds)
    return float(entry.default) if isinstance(entry.default, int | float) else None


def _text(default: Any) -> str:
    """A default as the engine writes a value of its type as text."""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _folder_sql(depth: int) -> str:
    # Not by a list of the segments: that takes twice as long, and 50 MB that no limit counts.
    above = f"regexp_extract(coalesce(media, target), '^(?:[^/]*/){{0,{depth}}}')"
    return f"coalesce(nullif({above}[:-2], ''), '.')"


def fields_of(columns: Sequence[tuple[Entry, str]]) -> list[Field]:
    """The fields of schema entries with the columns of their values."""
    return [entry_field(entry, column) for entry, column in columns]
