"""Frames and the samples before and after each, in SQL: what every value is at the time of a frame.

All times are int64 nanoseconds. Of each value only the samples that have it count, so that a sample without
a value is no end of a gap. Nothing is extrapolated: before its first and after its last sample, and where
two samples are further apart than `max_gap`, a value is NULL. The statements spill, and none of their rows
depends on the order in which the engine's threads work.

The sample before a frame is found by an ASOF join, and the one after it is the next of that. It is what a
second ASOF join would find, at half the time: an ASOF join sorts all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from metaferry.job.readers.time_join import How

#: What stands before the name of a column for its value in the sample after.
_NEXT: Final = "next_"
_FLOATS: Final = ("FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class JoinedColumn:
    """A value of the samples: its column, the engine's type, how it is joined, and the nanoseconds of its
    `max_gap`. Columns with a value in the same samples are in one `group`, and one join."""

    column: str
    type: str
    how: How
    max_gap: int
    group: int = 0

    @property
    def is_number(self) -> bool:
        """Whether it is computed, as a double."""
        return self.how in ("linear", "angular")

    @property
    def joined_type(self) -> str:
        """The engine's type of what is joined."""
        return "DOUBLE" if self.is_number else self.type

    def sample_sql(self, value: str) -> str:
        """SQL of a value of a sample as the join takes it: no NaN, no infinity."""
        if self.is_number:
            value = f"({value})::DOUBLE"
        if self.is_number or self.type in _FLOATS:
            return f"CASE WHEN isfinite({value}) THEN {value} END"
        return value


def joined_sql(
    frames: str, samples: str, columns: Sequence[JoinedColumn], *, ends: str, keep: Sequence[str]
) -> str:
    """A SELECT of the columns `keep` of `frames` and of every value, a row for each frame.

    `frames` and `samples` are relations with `video` and `t`, the times of a video's samples being
    different; `ends(video, last)` has the time of the last sample of each video.
    """
    joins, listed = list[str](), [f"f.{name}" for name in keep]
    for group in sorted({column.group for column in columns}):
        own = [column.column for column in columns if column.group == group]
        following = ", ".join(f"lead({name}) OVER w AS {_NEXT}{name}" for name in ("t", *own))
        # One sort of all frames for both sides: every sample knows the one after it.
        pairs = (
            f"(SELECT video, t, {', '.join(own)}, {following} FROM {samples} WHERE {own[0]} IS NOT NULL "
            "WINDOW w AS (PARTITION BY video ORDER BY t))"
        )
        joins.append(f"ASOF LEFT JOIN {pairs} s{group} ON s{group}.video = f.video AND s{group}.t <= f.t")
    listed += [f"{value_sql(column)} AS {column.column}" for column in columns]
    joins.append(f"LEFT JOIN {ends} e ON e.video = f.video")
    return f"SELECT {', '.join(listed)} FROM {frames} f {' '.join(joins)}"


def value_sql(column: JoinedColumn) -> str:
    """SQL of a value at `f.t`, of the sample before (or at) it, which has the one after that as `next_`."""
    own, gap = f"s{column.group}", column.max_gap
    before, after = f"{own}.t", f"{own}.{_NEXT}t"
    a, b = f"{own}.{column.column}", f"{own}.{_NEXT}{column.column}"
    if column.how == "previous":
        return f"CASE WHEN f.t - {before} <= {gap} AND f.t <= e.last THEN {a} END"
    if column.how == "nearest":
        # Without a sample after it, it is at the last one or outside of the track.
        return (
            f"CASE WHEN {before} = f.t THEN {a} "
            f"WHEN f.t - {before} <= {after} - f.t THEN CASE WHEN f.t - {before} <= {gap} THEN {a} END "
            f"WHEN {after} - f.t <= {gap} THEN {b} END"
        )
    share = f"((f.t - {before})::DOUBLE / ({after} - {before})::DOUBLE)"
    if column.how == "linear":
        value, same = f"({a} + ({b} - {a}) * {share})", a
    else:
        value, same = angle_sql(a, b, share), f"CASE WHEN {a} < 0 THEN {a} ELSE {a} % 360 END"
    return (
        f"CASE WHEN {before} = f.t THEN {same} WHEN {after} - {before} <= {gap} "
        f"THEN CASE WHEN isfinite({value}) THEN {value} END END"
    )


def angle_sql(a: str, b: str, share: str) -> str:
    """SQL of the angle, in degrees, at `share` of the shortest way from `a` to `b`.

    Within -180 to 180 where one of them is negative, as longitudes are; else from 0 to below 360. Of two
    ways of 180 degrees it is the one that goes down.
    """
    turn = f"((({b} - {a} + 180) % 360 + 360) % 360 - 180)"
    value = f"({a} + {turn} * {share})"
    return (
        f"CASE WHEN {a} < 0 OR {b} < 0 "
        f"THEN CASE WHEN {value} > 180 THEN {value} - 360 WHEN {value} < -180 THEN {value} + 360 "
        f"ELSE {value} END "
        f"ELSE ({value} % 360 + 360) % 360 END"
    )


def groups_sql(samples: str, columns: Sequence[JoinedColumn]) -> str:
    """A SELECT of one row: for each pair of columns, in order, how many samples have one of the two only."""
    pairs = [
        f"count(*) FILTER (({one.column} IS NULL) <> ({other.column} IS NULL))"
        for at, one in enumerate(columns)
        for other in columns[:at]
    ]
    return f"SELECT {', '.join(pairs) or 'count(*)'} FROM {samples}"


def in_groups(columns: Sequence[JoinedColumn], differing: Sequence[int]) -> list[JoinedColumn]:
    """The columns, those with a value in the same samples in one group; `differing` is the row of
    `groups_sql`."""
    counts, found = iter(differing), list[JoinedColumn]()
    for at, column in enumerate(columns):
        same = [other for other in range(at) if next(counts) == 0]
        group = found[same[0]].group if same else max((one.group for one in found), default=-1) + 1
        found.append(replace(column, group=group))
    return found
