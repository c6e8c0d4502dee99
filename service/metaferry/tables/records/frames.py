"""The `frame` of a source: which frames a row speaks of, as columns that the planner reads.

One index, a range of them, or times in seconds; all are computed here as the table gives them. Which frames
a video has, and when they are shown, the planner knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from metaferry.job.sources import FrameColumn
from metaferry.tables.binding import Binder
from metaferry.tables.expressions import Expression
from metaferry.tables.model import Frames

#: Whole numbers beyond it are no frames, and doubles no longer hold them exactly.
_LARGEST_FRAME: Final = 2**53
INTEGERS: Final = frozenset(
    f"{sign}{width}"
    for sign in ("", "U")
    for width in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)


@dataclass(frozen=True, slots=True)
class FrameMapping:
    """The expressions of a frame, or of the two ends of a range, with what they mean."""

    ends: tuple[Expression, ...]
    base: int
    frames: Frames

    @property
    def columns(self) -> frozenset[str]:
        """The columns that they name, as `folded` gives them."""
        return frozenset().union(*(end.columns for end in self.ends))


def parse_frame(column: FrameColumn, parsed: Callable[[str, str], Expression]) -> FrameMapping:
    """The mapping of `frame`; `parsed` makes an expression of a text and its place below the source."""
    if column.value is not None:
        return FrameMapping((parsed(column.value, "frame"),), column.base, Frames("one"))
    if column.seconds is not None and column.seconds.at is not None:
        end = parsed(column.seconds.at, "frame.seconds")
        return FrameMapping((end,), 0, Frames("second", max_gap=column.max_gap))
    of, place = (column.seconds, "frame.seconds") if column.seconds is not None else (column, "frame")
    until = of.until is not None
    first, last = of.from_ or "", (of.until if until else of.to) or ""
    ends = (parsed(first, f"{place}.from"), parsed(last, f"{place}.{'until' if until else 'to'}"))
    frames = Frames("range" if column.seconds is None else "seconds", until=until, max_gap=column.max_gap)
    return FrameMapping(ends, column.base, frames)


def frame_columns(mapping: FrameMapping | None, binder: Binder) -> list[str]:
    """SQL of the columns about frames that `Loaded` describes, over `g0` and `g1`, the ends.

    Raises JobError for a type that is no time in seconds.
    """
    if mapping is None:
        return ["NULL::VARCHAR AS frame", "NULL::BIGINT AS frame_index", "NULL::VARCHAR AS frame_bad"]
    types = [binder.type_of(end) for end in mapping.ends]
    kind, until = mapping.frames.kind, mapping.frames.until
    if kind == "one":
        index, bad = _index("g0", types[0], mapping.base)
        return ["g0::VARCHAR AS frame", f"{index} AS frame_index", f"{bad} AS frame_bad"]
    if kind == "second":
        second = _second("g0", types[0], mapping.ends[0])
        return [
            "g0::VARCHAR AS frame",
            f"{second} AS second_first, NULL::DOUBLE AS second_last",
            f"CASE WHEN g0 IS NOT NULL AND {second} IS NULL "
            f"THEN {_quoted('g0')} || ' is no number of seconds' END AS frame_bad",
        ]
    word = "until" if until else "to"
    shown = f"nullif(concat_ws(' {word} ', g0::VARCHAR, g1::VARCHAR), '')"
    if kind == "seconds":
        first, last = (
            _second(f"g{at}", kind, end)
            for at, (kind, end) in enumerate(zip(types, mapping.ends, strict=True))
        )
        wrong = [
            f"WHEN {value} IS NULL THEN {_quoted(end)} || ' is no number of seconds'"
            for end, value in (("g0", first), ("g1", last))
        ]
        wrong.append(f"WHEN {last} < {first} THEN {_range(word)} || ' ends before it begins'")
        columns = [f"{first} AS second_first, {last} AS second_last"]
    else:
        (first, _), (last, _) = (_index(f"g{at}", kind, mapping.base) for at, kind in enumerate(types))
        wrong = [
            f"WHEN {value} IS NULL THEN {_quoted(end)} || ' is no whole number'"
            for end, value in (("g0", first), ("g1", last))
        ]
        wrong.append(f"WHEN {last} < {first} THEN {_range(word)} || ' ends before it begins'")
        if until:
            wrong.append(f"WHEN {last} = {first} THEN {_range(word)} || ' holds no frame'")
            last = f"({last} - 1)"
        columns = [f"{first} AS frame_index, {last} AS frame_last"]
    bad = (
        "CASE WHEN g0 IS NULL AND g1 IS NULL THEN NULL "
        f"WHEN g1 IS NULL THEN 'the range that begins at ' || {_quoted('g0')} || ' has no end' "
        f"WHEN g0 IS NULL THEN 'the range that ends at ' || {_quoted('g1')} || ' has no beginning' "
        f"{' '.join(wrong)} END AS frame_bad"
    )
    return [f"{shown} AS frame", *columns, bad]


def _index(end: str, kind: str, base: int) -> tuple[str, str]:
    """SQL of an index counted from 0, null where it is none; and of the text that is none."""
    if kind in INTEGERS:
        whole = f"TRY_CAST({end} AS BIGINT)"
    elif kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        whole = f"CASE WHEN {end} = trunc({end}) THEN TRY_CAST({end} AS BIGINT) END"
    elif kind == "VARCHAR":
        # One cell that is no number makes text of a whole column: the others are still frames.
        whole = f"TRY_CAST(regexp_extract({end}, '^(-?[0-9]+)(\\.0*)?$', 1) AS BIGINT)"
    else:
        whole = "NULL::BIGINT"
    index = f"TRY(CASE WHEN abs({whole}) < {_LARGEST_FRAME} THEN {whole} - {base} END)"
    bad = f"CASE WHEN {end} IS NOT NULL AND {index} IS NULL THEN left({end}::VARCHAR, 200) END"
    return index, bad


def _second(end: str, kind: str, expression: Expression) -> str:
    """SQL of a time in seconds, null where it is none."""
    if kind not in INTEGERS | {"FLOAT", "DOUBLE", "VARCHAR", '"NULL"'} and not kind.startswith("DECIMAL"):
        timed = kind.startswith(("DATE", "TIME", "INTERVAL"))
        advice = f"write epoch({expression.text})" if timed else "give a number of seconds"
        raise expression.fault(f"a time in seconds cannot be {kind}", advice=advice)
    value = f"TRY_CAST({end} AS DOUBLE)"
    return f"CASE WHEN isfinite({value}) THEN {value} END"


def _quoted(end: str) -> str:
    return f"""('"' || left({end}::VARCHAR, 200) || '"')"""


def _range(word: str) -> str:
    return f"('the range ' || left(g0::VARCHAR, 200) || ' {word} ' || left(g1::VARCHAR, 200))"
