"""When each video begins, by the clock of its samples: the instant of its presentation time 0.

Each kind of start makes a table of times by video; the zone, `means` and the offset are the same for all.
What is not known stays unknown: the video is named, and none of its frames gets a value.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from metaferry.job.readers.time_join import Start, nanoseconds, pattern_regex
from metaferry.tables.telemetry.instants import LIMIT, UNITS, clock_sql, within
from metaferry.tables.telemetry.tracks import insert

if TYPE_CHECKING:
    import duckdb

#: A video, the time that is told of it (nanoseconds), whether that is of a clock without a zone, and why
#: there is none.
_Known: TypeAlias = tuple[int, int | None, bool, str | None]
#: `local`: whether the time says no zone, so that the one of the job is meant.
_KNOWN: Final = pa.schema(
    [("video", pa.int64()), ("value", pa.int64()), ("local", pa.bool_()), ("why", pa.string())]
)


def make_starts(
    con: duckdb.DuckDBPyConnection,
    table: str,
    start: Start,
    created: Mapping[int, datetime | None],
    stated: str,
) -> None:
    """`{table}_starts(video, start, why)`, in nanoseconds; `start` null where it is not known, and why.

    `created` has the creation time of each video's container, `stated` is the relation `(name, value)` of a
    start from a table, its times being nanoseconds. Needs `{table}`, `{table}_tracks`, `{table}_videos` and
    `{table}_frames`.
    """
    con.execute(
        f"CREATE TABLE {table}_known (video BIGINT, value BIGINT, local BOOLEAN, why VARCHAR)"
    ).fetchall()
    match start.from_:
        case "zero":
            con.execute(
                f"INSERT INTO {table}_known SELECT video, 0, false, NULL FROM {table}_videos"
            ).fetchall()
        case "first_sample":
            _one(con, table, f"SELECT k.video, min(s.t) AS value FROM {_sampled(table)} GROUP BY k.video")
        case "column":
            values = f"SELECT DISTINCT k.video, s.start_at AS value FROM {_sampled(table)}"
            _agreed(con, table, values, "the samples", "start.column")
        case "table":
            values = f"SELECT v.video, x.value FROM {table}_videos v JOIN {stated} x ON x.name = v.path"
            _agreed(con, table, f"SELECT DISTINCT * FROM ({values})", "the table", "start.table")
        case "file_name":
            rows = con.execute(f"SELECT video, path FROM {table}_videos ORDER BY video").fetchall()
            _insert(con, table, (in_name(start.pattern or "", int(video), path) for video, path in rows))
        case "container":
            _insert(con, table, _created(created))
    zoned = clock_sql("k.value", start.zone or "UTC")
    end = "0"
    if start.means == "end":
        # The last frame is shown as long as the one before it.
        end = "coalesce(l.last + coalesce(l.last - l.before, 0), 0)"
    con.execute(
        f"CREATE TABLE {table}_starts AS SELECT video, {within('start')} AS start, "
        "CASE WHEN start IS NOT NULL THEN 'it is centuries away' ELSE why END AS why FROM (SELECT v.video, "
        f"CASE WHEN k.local THEN {zoned} ELSE k.value END - {end} + {nanoseconds(start.offset)} AS start, "
        f"CASE WHEN k.video IS NULL THEN 'nothing says when it begins' ELSE k.why END AS why "
        f"FROM {table}_videos v LEFT JOIN {table}_known k ON k.video = v.video LEFT JOIN "
        "(SELECT video, latest[1] AS last, latest[2] AS before FROM "
        f"(SELECT video, max(shown_at, 2) AS latest FROM {table}_frames GROUP BY video)) l "
        "ON l.video = v.video)"
    ).fetchall()
    con.execute(f"DROP TABLE {table}_known").fetchall()


def _sampled(table: str) -> str:
    """Samples with their video."""
    return f"{table}_timed s JOIN {table}_videos k ON k.video = s.video"


def _one(con: duckdb.DuckDBPyConnection, table: str, values: str) -> None:
    con.execute(f"INSERT INTO {table}_known SELECT video, value, false, NULL FROM ({values})").fetchall()


def _agreed(con: duckdb.DuckDBPyConnection, table: str, values: str, who: str, key: str) -> None:
    """A start for each video of which one is told, and not several."""
    con.execute(
        f"INSERT INTO {table}_known SELECT video, CASE WHEN count(value) = 1 THEN min(value) END, false, "
        f"CASE WHEN count(value) = 0 THEN '{who} give no time ({key})' WHEN count(value) > 1 "
        f"THEN '{who} give ' || count(value) || ' different starts ({key})' END "
        f"FROM ({values}) GROUP BY video"
    ).fetchall()


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[_Known]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    batch = pa.table(columns, _KNOWN) if columns else _KNOWN.empty_table()
    insert(con, f"INSERT INTO {table}_known SELECT * FROM {{}}", batch)


def in_name(pattern: str, video: int, path: str) -> _Known:
    """The time in the name of a video, as `_KNOWN` has it."""
    name = path.rpartition("/")[2]
    found = re.search(pattern_regex(pattern), name)
    if found is None:
        return video, None, False, f'"{name}" has no {pattern} in it'
    parts = found.groupdict()
    fraction = int((parts.get("f") or "0").ljust(9, "0"))
    if parts.get("s") is not None:
        seconds = int(parts["s"])
        if seconds * UNITS["s"] > LIMIT:
            return video, None, False, f'"{found[0]}" in the name is centuries away'
        return video, seconds * UNITS["s"] + fraction, False, None
    try:
        date = datetime(*(int(parts.get(part) or 0) for part in "YmdHMS"))  # type: ignore[arg-type]
    except ValueError:
        return video, None, False, f'"{found[0]}" in the name is no date'
    value = calendar.timegm(date.timetuple()) * UNITS["s"] + fraction
    if abs(value) > LIMIT:
        return video, None, False, f'"{found[0]}" in the name is centuries away'
    return video, value, True, None


def _created(created: Mapping[int, datetime | None]) -> Iterator[_Known]:
    """The creation times of containers."""
    for video, date in sorted(created.items()):
        if date is None:
            yield video, None, True, "its container has no creation time"
        else:
            yield video, _nanoseconds(date), True, None


def _nanoseconds(date: datetime) -> int:
    """A date of UTC in nanoseconds since 1970."""
    return calendar.timegm(date.timetuple()) * UNITS["s"] + date.microsecond * UNITS["us"]
