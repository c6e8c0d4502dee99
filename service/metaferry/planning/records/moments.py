"""Times of a table as frames: the frame whose presentation time is nearest.

Imported by `match`. Presentation times are exact ticks of a video; they meet the seconds of a table as
doubles. All in SQL, by sorted joins that spill.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from metaferry.findings import Code
from metaferry.media.frames.model import FrameCount
from metaferry.planning.database import Database
from metaferry.tables.model import Loaded

_TICKS: Final = pa.schema(
    [
        ("media", pa.string()),
        ("frame", pa.int64()),
        ("tick", pa.int64()),
        ("numerator", pa.int64()),
        ("denominator", pa.int64()),
    ]
)
#: Seconds that do not tell which of two frames is nearer: of 0.08 and 0.12 it is the earlier for 0.1.
_TIE: Final = 1e-9
#: Frames that are handed over at once.
_BATCH: Final = 500_000


class Ticks:
    """Collects the presentation times of videos while they are counted, for `times(media, time, frame)`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[pa.RecordBatch] = []
        self._frames = 0
        database.create_like("ticks", _TICKS)

    def taken(self, counts: Iterable[FrameCount]) -> Iterator[FrameCount]:
        """The same counts; their times are kept."""
        for count in counts:
            if count.times is not None:
                self._add(count)
            yield count

    def _add(self, count: FrameCount) -> None:
        times = count.times
        assert times is not None
        for start in range(0, len(times), _BATCH):
            ticks = times.ticks[start : start + _BATCH]
            numbers = array("q", range(start, start + len(ticks)))
            columns = [
                pa.repeat(count.path, len(ticks)),
                pa.array(numbers, pa.int64()),
                pa.array(ticks, pa.int64()),
                pa.repeat(pa.scalar(times.unit.numerator, pa.int64()), len(ticks)),
                pa.repeat(pa.scalar(times.unit.denominator, pa.int64()), len(ticks)),
            ]
            self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=_TICKS))
            self._frames += len(ticks)
            if self._frames >= _BATCH:
                self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._database.insert("ticks", pa.Table.from_batches(self._waiting, _TICKS))
        self._waiting, self._frames = [], 0

    def finish(self) -> None:
        """Makes `times`, and `ends(media, time, step)`: the last time of a video, and the step before it."""
        self._flush()
        # Of frames that are shown at one time, the first.
        self._database.run(
            """
            CREATE TABLE times AS
            SELECT media, time, min(frame) AS frame FROM (
                SELECT media, frame, (tick::HUGEINT * numerator)::DOUBLE / denominator AS time FROM ticks
            ) GROUP BY ALL
            """
        )
        self._database.run("DROP TABLE ticks")
        self._database.run(
            """
            CREATE TABLE ends AS
            SELECT media, latest[1] AS time, coalesce(latest[1] - latest[2], 0) AS step
            FROM (SELECT media, max(time, 2) AS latest FROM times GROUP BY media)
            """
        )


def settle_moments(database: Database, source: Loaded, index: int) -> None:
    """Puts frames in the place of the times of `named_i`; a row too far from any frame is out of range.

    Videos without times are left to `match_targets`. The end of a range that is excluded may also be the end
    of the video, which is one step after its last frame.
    """
    rows = f"named_{index} WHERE code IS NULL AND written IS NOT NULL"
    database.run(
        f"""
        CREATE TABLE nearest AS
        SELECT q.media, q.at,
               CASE WHEN a.media IS NULL THEN b.frame WHEN b.media IS NULL THEN a.frame
                    WHEN q.at - a.time <= b.time - q.at + {_TIE} THEN a.frame ELSE b.frame END AS frame,
               least(q.at - a.time, b.time - q.at) AS gap
        FROM (
            SELECT media, second_first AS at FROM {rows}
            UNION SELECT media, second_last FROM {rows} AND second_last IS NOT NULL
        ) q
        ASOF LEFT JOIN times a ON a.media = q.media AND a.time <= q.at
        ASOF LEFT JOIN times b ON b.media = q.media AND b.time >= q.at
        """
    )
    behind = "coalesce(r.second_last > e.time + e.step / 2, false)" if source.frames.until else "false"
    last, last_gap = "l.frame", "l.gap"
    if source.frames.until:
        last = f"CASE WHEN {behind} THEN l.frame ELSE l.frame - 1 END"
        last_gap = f"CASE WHEN {behind} THEN abs(r.second_last - e.time - e.step) ELSE l.gap END"
    most = source.frames.max_gap
    database.run(
        f"""
        CREATE TABLE settled AS
        SELECT * EXCLUDE (first_at, last_at, gap, last_gap) REPLACE (
            first_at AS frame, last_at AS last,
            CASE WHEN code IS NOT NULL THEN code
                 WHEN gap > {most} OR last_gap > {most} THEN '{Code.RECORD_FRAME_OUT_OF_RANGE}'
                 WHEN last_at < first_at THEN '{Code.RECORD_FRAME_INVALID}' END AS code,
            CASE WHEN code IS NOT NULL THEN detail
                 WHEN gap > {most} THEN {_far("second_first", "first_at", "gap", most)}
                 WHEN last_gap > {most} THEN {_far("second_last", "last_at", "last_gap", most)}
                 WHEN last_at < first_at THEN 'why:no frame is shown in the range ' || written END AS detail
        )
        FROM (
            SELECT r.*, f.frame AS first_at, f.gap, {last} AS last_at, {last_gap} AS last_gap
            FROM named_{index} r
            LEFT JOIN nearest f ON f.media = r.media AND f.at = r.second_first
            LEFT JOIN nearest l ON l.media = r.media AND l.at = r.second_last
            LEFT JOIN ends e ON e.media = r.media
        )
        """
    )
    database.run("DROP TABLE nearest")
    database.run(f"DROP TABLE named_{index}")
    database.run(f"ALTER TABLE settled RENAME TO named_{index}")


def _far(second: str, frame: str, gap: str, most: float) -> str:
    return (
        f"'no frame of \"' || media || '\" is shown within {most:g} s of ' || {second} || ' s: the ' "
        f"|| 'nearest is frame ' || {frame} || ', ' || round({gap}, 3) || ' s away'"
    )
