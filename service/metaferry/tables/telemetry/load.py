"""A source of samples, from its rows to records of frames: the steps in their order.

The rows of the source are the frames that get a value, as the rows of a query are those of its result; and
one row for each video, or name of one, that gets none, so that it is named with the reason. The samples are
a relation shown apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from metaferry.findings import Code
from metaferry.job.readers.time_join import nanoseconds
from metaferry.job.sources import Source
from metaferry.progress import Progress
from metaferry.tables.load import shown_columns
from metaferry.tables.model import Frames, KeyColumn, Loaded, Reading, Staged, TableFile
from metaferry.tables.query.interruptible import run_interruptible
from metaferry.tables.query.load import Relation
from metaferry.tables.readers.media_access import MediaAccess
from metaferry.tables.staging import quote_text
from metaferry.tables.telemetry.account import (
    TABLE as ACCOUNT,
)
from metaferry.tables.telemetry.account import (
    JoinedSource,
    account_sql,
    make_account,
    problem_sql,
    shown,
    tell,
)
from metaferry.tables.telemetry.join import JoinedColumn, groups_sql, in_groups, joined_sql
from metaferry.tables.telemetry.parsed import SampleMapping
from metaferry.tables.telemetry.samples import SampleTable, make_samples
from metaferry.tables.telemetry.starts import make_starts
from metaferry.tables.telemetry.tracks import FrameTable, make_tracks

if TYPE_CHECKING:
    import duckdb

#: The name of the relation of the samples, after the label of the source.
SAMPLES = "samples"
_PARTS = ("tracks", "videos", "timed", "odd", "frames", "starts", "unusable", "joined")


@dataclass(frozen=True, slots=True)
class JoinedLoaded:
    """A source of samples in the engine: its records, its samples, and the account of its videos."""

    loaded: Loaded
    samples: Relation
    account: JoinedSource


def load_samples(
    con: duckdb.DuckDBPyConnection,
    source: Source,
    mapping: SampleMapping,
    staged: Staged,
    *,
    index: int,
    media: MediaAccess,
    stated: str,
    progress: Progress,
) -> JoinedLoaded:
    """Source number `index`, whose samples are staged, as the table `source_{index}`; see `Loaded`.

    `stated` is the relation of starts from a table, "" for another kind of start. Raises JobError for what
    does not fit the samples, and what `MediaAccess` raises.
    """
    assert source.telemetry is not None  # the job has checked it
    assert source.start is not None
    table, label = f"samples_{index}", source.label

    def run(statement: str) -> None:
        run_interruptible(con, statement, lambda: progress.advance(0))

    is_query = source.telemetry.query is not None
    samples = make_samples(con, staged, mapping, source, table=table, label=label, is_query=is_query)
    files = staged.files if mapping.video is None else None
    make_tracks(con, table, media, files, f"{mapping.place}.video", lambda: progress.advance(0))
    _time_samples(con, run, samples, beside=files is not None, is_query=is_query)
    frames = FrameTable(con, table)
    frames.fill(media)
    _name_unusable(con, table, frames)
    make_starts(con, table, source.start, frames.created, stated)
    progress.phase(f"Joining {label}", None)
    columns = _join(con, run, samples)
    account = account_sql(
        table,
        f"{table}_joined",
        [column.column for column in columns],
        source=label,
        start=source.start,
        max_gap=nanoseconds(source.max_gap),
    )
    make_account(con, account)
    tell(con, label)
    rows = _records(con, run, table, f"source_{index}", columns, label)
    relation = Relation(
        f"{label}.{SAMPLES}",
        "",
        staged.columns,
        staged.names,
        staged.read,
        staged.malformed + samples.rejected,
        replace(staged.reading, columns=shown_columns(con, staged)),
        is_typed=staged.is_typed,
    )
    for part in ("", *(f"_{name}" for name in _PARTS)):
        con.execute(f"DROP TABLE {table}{part}").fetchall()
    loaded = Loaded(
        label=label,
        table=f"source_{index}",
        files=(TableFile("", 0, "", rows),),
        read=rows,
        malformed=0,
        keys=tuple(
            KeyColumn(path, f"k{number}", column.joined_type)
            for number, (path, column) in enumerate(zip(samples.keys, columns, strict=True))
        ),
        has_frame=True,
        reading=Reading(name=label),
        file_name=source.video or "_path",
        frames=Frames("joined"),
        is_query=True,
    )
    return JoinedLoaded(loaded, relation, shown(con, label))


def _time_samples(
    con: duckdb.DuckDBPyConnection,
    run: Callable[[str], None],
    samples: SampleTable,
    *,
    beside: bool,
    is_query: bool,
) -> None:
    """`_timed(video, t, start_at, values)`, one sample of each time; `_odd(video, repeated, backwards)`.

    Of samples of one time the first in the files counts. The rows of a query have no order: of those it is
    the one with the least values, and nobody can tell whether their clock runs backwards.
    """
    table = samples.name
    on = "t.track = s.file" if beside else "t.given IS NOT DISTINCT FROM s.given"
    values = [f"s.{column.column}" for column in samples.values]
    first = ", ".join(values if is_query else ["s.file", 's."row"', *values])
    run(
        f"CREATE TABLE {table}_timed AS SELECT t.video, s.t, s.start_at, {', '.join(values)} FROM {table} s "
        f"JOIN {table}_tracks t ON {on} WHERE t.video IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY t.video, s.t ORDER BY {first}) = 1"
    )
    before = 'lag(s.t) OVER (PARTITION BY t.video, s.file ORDER BY s."row", s.t)'
    backwards = "false" if is_query else f"coalesce(s.t < {before}, false)"
    run(
        f"CREATE TABLE {table}_odd AS SELECT a.video, a.samples - b.samples AS repeated, a.backwards FROM ("
        f"SELECT video, count(*) AS samples, count(*) FILTER (back) AS backwards FROM ("
        f"SELECT t.video, {backwards} AS back FROM {table} s JOIN {table}_tracks t ON {on} "
        f"WHERE t.video IS NOT NULL) GROUP BY video) a JOIN ("
        f"SELECT video, count(*) AS samples FROM {table}_timed GROUP BY video) b ON b.video = a.video"
    )


def _name_unusable(con: duckdb.DuckDBPyConnection, table: str, frames: FrameTable) -> None:
    """`_unusable(video, code, why)`."""
    con.execute(f"CREATE TABLE {table}_unusable (video BIGINT, code VARCHAR, why VARCHAR)").fetchall()
    for video, (code, why) in frames.unusable.items():
        con.execute(f"INSERT INTO {table}_unusable VALUES (?, ?, ?)", [video, str(code), why]).fetchall()


def _join(
    con: duckdb.DuckDBPyConnection, run: Callable[[str], None], samples: SampleTable
) -> list[JoinedColumn]:
    """`_joined(video, frame, n, values)`, a row for each frame of a video whose start is known."""
    table = samples.name
    (differing,) = con.execute(groups_sql(f"{table}_timed", samples.values)).fetchall()
    columns = in_groups(samples.values, differing)
    shown_at = (
        f"(SELECT a.video, a.frame, a.rowid + 1 AS n, a.shown_at + b.start AS t FROM {table}_frames a "
        f"JOIN {table}_starts b ON b.video = a.video WHERE b.start IS NOT NULL)"
    )
    ends = f"(SELECT video, max(t) AS last FROM {table}_timed GROUP BY video)"
    sql = joined_sql(shown_at, f"{table}_timed", columns, ends=ends, keep=["video", "frame", "n"])
    run(f"CREATE TABLE {table}_joined AS {sql}")
    return columns


def _records(
    con: duckdb.DuckDBPyConnection,
    run: Callable[[str], None],
    table: str,
    target: str,
    columns: list[JoinedColumn],
    label: str,
) -> int:
    """The table of records: the frames that have a value, and a row for all that has none; how many."""
    values = ", ".join(f"j.{column.column} AS k{number}" for number, column in enumerate(columns))
    nothing = ", ".join(f"NULL::{column.joined_type} AS k{number}" for number, column in enumerate(columns))
    some = " OR ".join(f"j.{column.column} IS NOT NULL" for column in columns)
    head = '0::INTEGER AS file, {} AS "row", {} AS file_name, {} AS frame, {} AS frame_index, {} AS frame_bad'
    run(
        f"CREATE TABLE {target} AS "
        f"SELECT {head.format('j.n', 'v.path', 'j.frame::VARCHAR', 'j.frame', 'NULL::VARCHAR')}, {values} "
        f"FROM {table}_joined j JOIN {table}_videos v ON v.video = j.video WHERE {some}"
    )
    ((last,),) = con.execute(f"SELECT coalesce(max(n), 0) FROM {table}_joined").fetchall()
    # Of a name that is none of a video, and of a video that cannot be counted, the plan says why.
    named = (
        "SELECT coalesce(t.path, t.given) AS name, '0' AS frame, 0::BIGINT AS position, "
        f"'{Code.RECORD_AMBIGUOUS} ' || t.several AS bad FROM {table}_tracks t WHERE t.video IS NULL"
    )
    counted = f"code IN ('{Code.MEDIA_UNPROVED}', '{Code.RECORD_FRAME_OUT_OF_RANGE}')"
    empty = (
        f"SELECT video AS name, CASE WHEN {counted} THEN '0' ELSE '' END AS frame, "
        f"CASE WHEN {counted} THEN 0::BIGINT END AS position, "
        f"CASE WHEN NOT {counted} THEN {problem_sql()} END AS bad "
        f"FROM {ACCOUNT} WHERE source = {quote_text(label)} AND code IS NOT NULL"
    )
    row = f"{last} + row_number() OVER (ORDER BY x.name, x.bad)"
    run(
        f"INSERT INTO {target} BY NAME "
        f"SELECT {head.format(row, 'x.name', 'x.frame', 'x.position', 'x.bad')}, {nothing} "
        f"FROM ({named} UNION ALL {empty}) x"
    )
    ((rows,),) = con.execute(f"SELECT count(*) FROM {target}").fetchall()
    return int(rows)
