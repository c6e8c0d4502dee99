"""The join of samples to frames against a plain reference in Python, over times and values chosen to hurt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaferry.job.readers.time_join import How
from metaferry.tables.telemetry.join import JoinedColumn, groups_sql, in_groups, joined_sql

#: A time that doubles cannot hold: one of them at this size is 256 nanoseconds apart from the next.
BASE = 1_764_340_000_123_456_789
GAP = 100

RAW = pa.schema([("video", pa.int64()), ("t", pa.int64()), ("a", pa.float64()), ("b", pa.float64())])
FRAMES = pa.schema([("video", pa.int64()), ("frame", pa.int64()), ("t", pa.int64())])

Sample = tuple[int, int, float | None, float | None]


def joined(
    con: duckdb.DuckDBPyConnection, samples: Sequence[Sample], frames: Sequence[tuple[int, int]], how: How
) -> list[tuple[Any, ...]]:
    con.register("raw", pa.table(list(zip(*samples, strict=True)) or [[]] * 4, RAW))
    rows = [(video, at, t) for at, (video, t) in enumerate(frames)]
    con.register("f", pa.table(list(zip(*rows, strict=True)), FRAMES))
    columns = [JoinedColumn(name, "DOUBLE", how, GAP) for name in ("a", "b")]
    cleaned = ", ".join(f"{one.sample_sql(one.column)} AS {one.column}" for one in columns)
    con.execute(f"CREATE OR REPLACE TABLE s AS SELECT video, t, {cleaned} FROM raw").fetchall()
    con.execute("CREATE OR REPLACE VIEW e AS SELECT video, max(t) AS last FROM s GROUP BY video").fetchall()
    (differing,) = con.execute(groups_sql("s", columns)).fetchall()
    sql = joined_sql("f", "s", in_groups(columns, differing), ends="e", keep=["frame"])
    return con.execute(f"SELECT frame, a, b FROM ({sql}) ORDER BY frame").fetchall()


def reference(track: Sequence[tuple[int, float | None]], t: int, how: How) -> float | None:
    """The value at `t`, by the words of the documentation."""
    known = sorted((at, value) for at, value in track if value is not None and math.isfinite(value))
    before = next(((at, value) for at, value in reversed(known) if at <= t), None)
    after = next(((at, value) for at, value in known if at >= t), None)
    if how == "previous":
        inside = t <= max((at for at, _ in track), default=-1)
        return before[1] if before and inside and t - before[0] <= GAP else None
    if before is None or after is None:
        return None
    (ta, a), (tb, b) = before, after
    if how == "nearest":
        at, value = before if t - ta <= tb - t else after
        return value if abs(at - t) <= GAP else None
    if ta == t:
        return a if how == "linear" or a < 0 else math.fmod(a, 360)
    if tb - ta > GAP:
        return None
    share = float(t - ta) / float(tb - ta)
    if how == "linear":
        value = a + (b - a) * share
        return value if math.isfinite(value) else None
    turn = math.fmod(math.fmod(b - a + 180, 360) + 360, 360) - 180
    value = a + turn * share
    if a < 0 or b < 0:
        return value - 360 if value > 180 else value + 360 if value < -180 else value
    return math.fmod(math.fmod(value, 360) + 360, 360)


values = st.one_of(
    st.none(), st.sampled_from([0.0, 1.5, -7.25, 1e308, -1e308, math.nan, math.inf]), st.floats(-1e6, 1e6)
)
angles = st.one_of(
    st.none(),
    st.sampled_from([0.0, 10.0, 350.0, 359.5, 360.0, 180.0, -180.0, -179.0, 179.0]),
    st.floats(-180, 360),
)
times = st.integers(0, 600)


@st.composite
def tracks(draw: st.DrawFn, of: st.SearchStrategy[float | None]) -> list[Sample]:
    keys = draw(st.lists(st.tuples(st.integers(0, 1), times), max_size=12, unique=True))
    return [(video, BASE + t, draw(of), draw(of)) for video, t in keys]


frames_of = st.lists(st.tuples(st.integers(0, 2), times.map(lambda t: BASE + t)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET threads = 1").fetchall()
    return con


def check(
    con: duckdb.DuckDBPyConnection, samples: list[Sample], frames: list[tuple[int, int]], how: How
) -> None:
    for (video, t), (_, a, b) in zip(frames, joined(con, samples, frames, how), strict=True):
        for at, found in ((2, a), (3, b)):
            track = [(sample[1], sample[at]) for sample in samples if sample[0] == video]
            assert found == reference(track, t, how), (t - BASE, found)


@pytest.mark.parametrize("how", ["linear", "nearest", "previous"])
@given(samples=tracks(values), frames=frames_of)
@example(
    samples=[(0, BASE, 1.0, None), (0, BASE + 50, None, 2.0), (0, BASE + 100, 3.0, 4.0)],
    frames=[(0, BASE + 50)],
)
def test_values_are_those_of_the_reference(
    con: duckdb.DuckDBPyConnection, samples: list[Sample], frames: list[tuple[int, int]], how: How
) -> None:
    check(con, samples, frames, how)


@given(samples=tracks(angles), frames=frames_of)
@example(
    samples=[(0, BASE, 350.0, 179.0), (0, BASE + 100, 10.0, -179.0)], frames=[(0, BASE + 10), (0, BASE + 60)]
)
def test_angles_are_those_of_the_reference(
    con: duckdb.DuckDBPyConnection, samples: list[Sample], frames: list[tuple[int, int]]
) -> None:
    check(con, samples, frames, "angular")


def test_an_angle_goes_the_shortest_way(con: duckdb.DuckDBPyConnection) -> None:
    samples: list[Sample] = [(0, 0, 350.0, 179.0), (0, 100, 10.0, -179.0)]
    frames = [(0, 10), (0, 60), (0, 75)]
    found = joined(con, samples, frames, "angular")
    assert [a for _, a, _ in found] == [352.0, 2.0, 5.0]
    assert [b for _, _, b in found] == pytest.approx([179.2, -179.8, -179.5])


def test_a_tie_goes_to_the_earlier_and_nothing_is_extrapolated(con: duckdb.DuckDBPyConnection) -> None:
    samples: list[Sample] = [(0, 100, 1.0, 1.0), (0, 200, 2.0, None), (0, 400, 3.0, 4.0)]
    frames = [(0, t) for t in (99, 100, 150, 151, 200, 299, 301, 400, 401)]
    nearest = [a for _, a, _ in joined(con, samples, frames, "nearest")]
    assert nearest == [None, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, None]
    linear = [a for _, a, _ in joined(con, samples, frames, "linear")]
    assert linear == [None, 1.0, 1.5, 1.51, 2.0, None, None, 3.0, None]
    previous = [b for _, _, b in joined(con, samples, frames, "previous")]
    assert previous == [None, 1.0, 1.0, 1.0, 1.0, None, None, 4.0, None]
