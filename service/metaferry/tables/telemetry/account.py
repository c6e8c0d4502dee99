"""The account of each video that samples are joined to, which a plan shows, and findings about what is odd.

A wrong zone, a start that is an end and a clock that jumps are all seen here before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from metaferry.findings import Code
from metaferry.job.readers.time_join import Start
from metaferry.tables.staging import quote_text

if TYPE_CHECKING:
    import duckdb

#: The table with a row for each video of all sources of samples, and its columns.
TABLE: Final = "joined_videos"
COLUMNS: Final = {
    "source": "VARCHAR",
    "video": "VARCHAR",
    "start_from": "VARCHAR",
    "start": "VARCHAR",
    "first_sample": "VARCHAR",
    "last_sample": "VARCHAR",
    "samples": "BIGINT",
    "repeated": "BIGINT",
    "backwards": "BIGINT",
    "duration": "DOUBLE",
    "overlap": "DOUBLE",
    "gaps": "BIGINT",
    "longest_gap": "DOUBLE",
    "frames": "BIGINT",
    "filled": "BIGINT",
    "partly": "BIGINT",
    "shift": "BIGINT",
    "code": "VARCHAR",
    "problem": "VARCHAR",
}
#: Videos of a source in a report; all are in the table.
SHOWN: Final = 100
#: The share of a video below which its samples are as a rule another one's, or of another zone.
_LEAST_OVERLAP: Final = 0.5
#: Nanoseconds from which on a clock has a date: those of 1990.
_DATED: Final = 631_152_000_000_000_000
#: All zones differ by multiples of a quarter of an hour, and by 26 hours at most.
_QUARTER: Final = 900 * 1_000_000_000
_MOST_QUARTERS: Final = 26 * 4


@dataclass(frozen=True, slots=True)
class JoinedVideo:
    """A video and its samples, for people.

    `start`, `first_sample` and `last_sample` are instants in UTC, or seconds where the clock has no date.
    `overlap` is the share (0 to 1) of the video that lies within its samples. `gaps` are those longer than
    `max_gap` within it, `longest_gap` in seconds. Of the `frames`, `filled` have a value, and `partly` of
    these not all of them. `problem` says why none has one.
    """

    source: str
    video: str
    start_from: str
    start: str | None
    first_sample: str | None
    last_sample: str | None
    samples: int
    duration: float | None
    overlap: float | None
    gaps: int
    longest_gap: float | None
    frames: int
    filled: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class JoinedSource:
    """What was joined of one source: its videos, and the first hundred of them; those with a problem first,
    then those with the least overlap."""

    name: str
    videos: int
    samples: int
    frames: int
    filled: int
    gaps: int
    shown: tuple[JoinedVideo, ...] = ()


def describe_start(start: Start) -> str:
    """Where the start is taken from, for people: `container, end, Europe/Berlin, offset -2.5s`."""
    parts = [f"table {start.table}" if start.from_ == "table" else start.from_]
    if start.means == "end":
        parts.append("end")
    if start.zone is not None:
        parts.append(start.zone)
    if start.offset != type(start).model_fields["offset"].default:
        parts.append(f"offset {start.offset}")
    return ", ".join(parts)


def account_sql(
    table: str,
    result: str,
    values: Sequence[str],
    *,
    source: str,
    start: Start,
    max_gap: int,
) -> str:
    """A SELECT of the rows of `COLUMNS` of one source.

    Needs `{table}_videos`, `_starts`, `_frames`, `_timed`, `_odd` and `_unusable`, and `result`, the joined
    frames with `video` and the values.
    """
    some = " OR ".join(f"{value} IS NOT NULL" for value in values)
    not_all = " OR ".join(f"{value} IS NULL" for value in values)
    first, last = "(s.start + f.first)", "(s.start + f.last)"
    overlap = f"(least(t.last, {last}) - greatest(t.first, {first}))"
    share = (
        f"CASE WHEN {last} = {first} THEN ({first} BETWEEN t.first AND t.last)::INT::DOUBLE "
        f"ELSE greatest({overlap}, 0) / ({last} - {first}) END"
    )
    shift = f"round((t.first / 2 + t.last / 2 - {first} / 2 - {last} / 2) / {_QUARTER})"
    name, taken_from = quote_text(source), quote_text(describe_start(start))
    return f"""
        SELECT {name} AS source, v.path AS video, {taken_from} AS start_from,
               ({_instant("s.start")}) AS start,
               ({_instant("t.first")}) AS first_sample,
               ({_instant("t.last")}) AS last_sample, coalesce(t.samples, 0) AS samples,
               coalesce(o.repeated, 0)::BIGINT AS repeated, coalesce(o.backwards, 0)::BIGINT AS backwards,
               (f.last - f.first) / 1e9 AS duration, {share} AS overlap, coalesce(g.gaps, 0) AS gaps,
               g.longest / 1e9 AS longest_gap, coalesce(f.frames, 0) AS frames,
               coalesce(r.filled, 0) AS filled, coalesce(r.partly, 0) AS partly,
               CASE WHEN {overlap} < 0 AND abs({shift}) BETWEEN 1 AND {_MOST_QUARTERS}
                    THEN {shift}::BIGINT END AS shift,
               CASE WHEN u.code IS NOT NULL THEN u.code
                    WHEN s.start IS NULL THEN '{Code.TELEMETRY_NO_START}'
                    WHEN coalesce(r.filled, 0) = 0 THEN '{Code.TELEMETRY_UNFILLED}' END AS code,
               CASE WHEN u.code IS NOT NULL THEN u.why
                    WHEN s.start IS NULL THEN 'when it begins is not known: ' || s.why
                    WHEN coalesce(r.filled, 0) > 0 THEN NULL
                    WHEN {overlap} < 0 THEN 'no sample lies within the video, which is from '
                        || ({_instant(first)}) || ' to ' || ({_instant(last)})
                        || ', and its samples from ' || ({_instant("t.first")}) || ' to '
                        || ({_instant("t.last")})
                    ELSE 'no frame has samples around it within max_gap' END AS problem
        FROM {table}_videos v
        LEFT JOIN {table}_starts s ON s.video = v.video
        LEFT JOIN {table}_unusable u ON u.video = v.video
        LEFT JOIN {table}_odd o ON o.video = v.video
        LEFT JOIN (
            SELECT video, count(*) AS frames, min(shown_at) AS first, max(shown_at) AS last
            FROM {table}_frames GROUP BY video
        ) f ON f.video = v.video
        LEFT JOIN (
            SELECT video, count(*) AS samples, min(t) AS first, max(t) AS last
            FROM {table}_timed GROUP BY video
        ) t ON t.video = v.video
        LEFT JOIN (
            SELECT video, count(*) FILTER ({some}) AS filled,
                   count(*) FILTER (({some}) AND ({not_all})) AS partly FROM {result} GROUP BY video
        ) r ON r.video = v.video
        LEFT JOIN (
            SELECT n.video, count(*) FILTER (n.following - n.t > {max_gap}) AS gaps,
                   max(n.following - n.t) AS longest
            FROM (
                SELECT video, t, lead(t) OVER (PARTITION BY video ORDER BY t) AS following FROM {table}_timed
            ) n
            JOIN {table}_starts b ON b.video = n.video
            JOIN (
                SELECT video, min(shown_at) AS first, max(shown_at) AS last FROM {table}_frames GROUP BY video
            ) e ON e.video = n.video
            WHERE n.following > b.start + e.first AND n.t < b.start + e.last
            GROUP BY n.video
        ) g ON g.video = v.video
    """


def _instant(value: str) -> str:
    """SQL of nanoseconds for people: an instant in UTC, or seconds of a clock without a date."""
    return (
        f"CASE WHEN abs({value}) < {_DATED} THEN round({value} / 1e9, 3)::VARCHAR || ' s' "
        f"ELSE strftime(make_timestamp({value} // 1000), '%Y-%m-%dT%H:%M:%S.%g') || 'Z' END"
    )


def make_account(con: duckdb.DuckDBPyConnection, select: str) -> None:
    """Appends the rows of `account_sql` to `TABLE`, which is made."""
    listed = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    con.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} ({listed})").fetchall()  # a run has it already
    con.execute(f"INSERT INTO {TABLE} BY NAME {select}").fetchall()


#: Of what is odd: the code, its severity, the condition, SQL of the message, and of the advice.
_ODD: Final = (
    (
        Code.TELEMETRY_OVERLAP,
        "warning",
        f"overlap < {_LEAST_OVERLAP} AND filled > 0",
        "'samples cover ' || round(overlap * 100) || '% of the video, which begins at ' || start || "
        "' (from ' || start_from || '); they are from ' || first_sample || ' to ' || last_sample",
        "'look at start (means, zone, offset) and time (zone, unit); nothing, where the device began later'",
    ),
    (
        Code.TELEMETRY_BACKWARDS,
        "warning",
        "backwards > 0",
        "'the clock of the samples runs backwards at ' || backwards || CASE backwards WHEN 1 THEN ' place' "
        "ELSE ' places' END || ' in their files; they are used in the order of their times'",
        "'look whether the clock was set meanwhile: samples before that may be of a wrong time'",
    ),
    (
        Code.TELEMETRY_REPEATED,
        "info",
        "repeated > 0",
        "repeated || CASE repeated WHEN 1 THEN ' sample has' ELSE ' samples have' END "
        "|| ' the time of another one; the first of each time is used'",
        "'nothing, where the device writes a sample twice; else look whether its times are rounded'",
    ),
    (
        Code.TELEMETRY_GAPS,
        "info",
        "(gaps > 0 OR filled < frames OR partly > 0) AND filled > 0",
        "(frames - filled + partly) || ' of ' || frames || ' frames lack a value; ' || gaps "
        "|| CASE gaps WHEN 1 THEN ' gap is' ELSE ' gaps are' END || ' longer than max_gap' "
        "|| CASE WHEN longest_gap IS NULL THEN '' ELSE ', the longest ' || round(longest_gap, 3) || ' s' END",
        "'nothing, where the device was silent; a larger max_gap bridges more'",
    ),
)


def tell(con: duckdb.DuckDBPyConnection, source: str) -> None:
    """The findings about the videos of a source, one of each kind a video."""
    for code, severity, condition, message, advice in _ODD:
        con.execute(
            f"INSERT INTO findings SELECT '{code}', '{severity}', '\"' || video || '\": ' || {message}, "
            f"{advice}, source, '', NULL, video, '' FROM {TABLE} "
            f"WHERE source = {quote_text(source)} AND {condition}"
        ).fetchall()


def problem_sql() -> str:
    """SQL of the problem of a video, with its code in front, and with the zone that would mend it."""
    minutes = "CASE abs(shift) % 4 WHEN 0 THEN '' ELSE ' ' || abs(shift) % 4 * 15 || ' min' END"
    word = "CASE WHEN shift > 0 THEN 'later' ELSE 'earlier' END"
    return (
        "code || ' ' || problem || CASE WHEN shift IS NULL THEN '' ELSE '; they are about ' || "
        f"abs(shift) // 4 || ' h' || {minutes} || ' ' || {word} || ', as where a zone is wrong' END"
    )


def shown(con: duckdb.DuckDBPyConnection, source: str, most: int = SHOWN) -> JoinedSource:
    """The account of a source for reports."""
    where = f"WHERE source = {quote_text(source)}"
    ((videos, samples, frames, filled, gaps),) = con.execute(
        f"SELECT count(*), coalesce(sum(samples), 0)::BIGINT, coalesce(sum(frames), 0)::BIGINT, "
        f"coalesce(sum(filled), 0)::BIGINT, coalesce(sum(gaps), 0)::BIGINT FROM {TABLE} {where}"
    ).fetchall()
    rows = con.execute(
        f"SELECT source, video, start_from, start, first_sample, last_sample, samples, round(duration, 3), "
        f"round(overlap, 4), gaps, round(longest_gap, 3), frames, filled, coalesce(problem, '') FROM {TABLE} "
        f"{where} ORDER BY problem IS NULL, overlap, video LIMIT {most}"
    ).fetchall()
    return JoinedSource(
        source, videos, samples, frames, filled, gaps, tuple(JoinedVideo(*row) for row in rows)
    )
