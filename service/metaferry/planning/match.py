"""Matches rows with media: the document of each row of a source, and why some rows cannot be used.

For source `i` the table `match_i(rid, file, row, given, name, media, kind, written, frame, last, lead,
target, code, detail)` has one row per loaded row, or one a frame where rows speak of ranges, with `lead` in
one of them: `rid` is its rowid in `source_i`, `target` the document it is for, `code` null while the row
is usable and otherwise the one reason why it is not (the first
that applies, in the order of this module). Values are checked later (`values.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from metaferry.findings import Code
from metaferry.lightly.key_limits import KeyLimits
from metaferry.lightly.names import SCHEMA
from metaferry.media.frames.model import FrameCount
from metaferry.planning.database import Database
from metaferry.planning.records.duplicates import find_duplicates
from metaferry.planning.records.media_names import index_names, name_candidates, names_given
from metaferry.planning.records.moments import Ticks, settle_moments
from metaferry.planning.records.ranges import expanded, reject_whole_rows
from metaferry.planning.sql import rules as sql
from metaferry.tables.model import Loaded

_FRAMES: Final = pa.schema(
    [
        ("media", pa.string()),
        ("frames", pa.int64()),
        ("digits", pa.int64()),
        ("reason", pa.string()),
        ("unreadable", pa.bool_()),  # the file is at fault, and will be the next time too
        ("untimed", pa.string()),  # why there are no presentation times, where they were asked for
    ]
)

#: Videos of one query, which costs about as much as for one video.
_VIDEOS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Video:
    """A video whose number of frames the plan needs."""

    path: str
    size: int
    token: str


class Videos:
    """Videos of the table `needed`, by path: a few thousand in memory at a time.

    `timed`: those of which the presentation times are needed too; else all others.
    """

    def __init__(self, database: Database, *, timed: bool) -> None:
        self.timed = timed
        self._database = database
        self._count: int = database.value("SELECT count(*) FROM needed WHERE timed = ?", [timed])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Video]:
        for start in range(0, self._count, _VIDEOS):
            rows = self._database.rows(
                "SELECT path, size, token FROM needed WHERE timed = ? AND number > ? AND number <= ? "
                "ORDER BY number",
                [self.timed, start, start + _VIDEOS],
            )
            yield from (Video(*row) for row in rows)


def match_names(database: Database, source: Loaded, index: int, prefix: str = "") -> None:
    """`named_i`: each row with its cleaned name, its media and the reasons found so far.

    A row whose name does not begin with the `prefix` of the run is not for it, whether its media exists
    or not: that part was not listed. Where names are no paths, all of the input was listed.
    """
    by_path = source.match == "path"
    outside = f"NOT starts_with(s.name, {sql.quote_text(prefix)})" if prefix and by_path else "false"
    name = sql.clean_name("file_name") if by_path else names_given(source.match, "file_name")[0]
    candidates = "" if by_path else _candidates(database, source.match)
    several, meant = ("false", "false") if by_path else (f"{_COUNT} > 1", _ANY_INCLUDED)
    path = "s.name" if by_path else f"CASE WHEN {_COUNT} = 1 THEN coalesce(b0.path, b1.path) END"
    # A whole URL is no attack: it is a name with too much in front, and gets that hint.
    url = "contains(s.given, '://')" if by_path else "false"
    has_frame, kind = source.has_frame, source.frames.kind
    frame = "frame_index" if has_frame and not source.frames.by_time else "NULL::BIGINT"
    last = "frame_last" if kind == "range" else "NULL::BIGINT"
    seconds = ", second_first, second_last" if source.frames.by_time else ""
    # Of one frame it is the text that is no number, else a whole sentence.
    bad = "s.frame_bad" if kind == "one" else "'why:' || s.frame_bad"
    bad_code = f"'{Code.RECORD_FRAME_INVALID}'"
    if kind == "joined":
        bad_code, bad = "split_part(s.frame_bad, ' ', 1)", "substr(s.frame_bad, instr(s.frame_bad, ' ') + 1)"
    database.run(
        f"""
        CREATE TABLE named_{index} AS
        SELECT s.rid, s.file, s.row, s.given, s.name, m.path AS media, m.kind, m.target AS own_target,
               s.frame, s.last, s.written{seconds},
               CASE
                   WHEN s.given IS NULL OR s.given = '' THEN '{Code.RECORD_UNNAMED}'
                   WHEN {url} THEN '{Code.RECORD_UNMATCHED}'
                   WHEN s.hostile IS NOT NULL THEN '{Code.NAME_HOSTILE}'
                   WHEN {several} AND {meant} THEN '{Code.RECORD_AMBIGUOUS}'
                   WHEN {several} THEN '{Code.RECORD_EXCLUDED}'
                   WHEN m.path IS NULL AND {outside} THEN '{Code.RECORD_EXCLUDED}'
                   WHEN m.path IS NULL THEN '{Code.RECORD_UNMATCHED}'
                   WHEN NOT m.included THEN '{Code.RECORD_EXCLUDED}'
                   WHEN s.frame_bad IS NOT NULL THEN {bad_code}
                   WHEN s.written IS NOT NULL AND m.kind = 'image' THEN '{Code.RECORD_FRAME_INVALID}'
               END AS code,
               CASE
                   WHEN s.hostile IS NOT NULL THEN s.hostile
                   WHEN {several} THEN 'several'
                   WHEN s.frame_bad IS NOT NULL THEN {bad}
                   WHEN s.written IS NOT NULL AND m.kind = 'image' THEN 'image'
               END AS detail
        FROM (
            SELECT rowid AS rid, file, "row", file_name AS given,
                   {name} AS name,
                   {sql.hostile_reason(name)} AS hostile,
                   {frame} AS frame, {last} AS last, {"frame" if has_frame else "NULL::VARCHAR"} AS written,
                   {"frame_bad" if has_frame else "NULL::VARCHAR"} AS frame_bad{seconds}
            FROM {source.table}
        ) s{candidates}
        LEFT JOIN media m ON m.path = {path}
        """
    )
    if not by_path:
        name_candidates(database, index, source.match)


#: How many media have a name that the row may mean, and whether the job takes any of them in.
_COUNT: Final = "(coalesce(b0.media, 0) + coalesce(b1.media, 0))"
_ANY_INCLUDED: Final = "(coalesce(b0.included, false) OR coalesce(b1.included, false))"


def _candidates(database: Database, match: str) -> str:
    """SQL of joins: `b0` and `b1` are what the names of media tell of the names that a row may mean."""
    table = index_names(database, match)
    first, *second = names_given(match, "s.given")
    other = f"{second[0]} AND {second[0]} <> {first}" if second else "NULL"
    return f" LEFT JOIN {table} b0 ON b0.name = {first} LEFT JOIN {table} b1 ON b1.name = {other}"


def find_collisions(database: Database, sources: Sequence[Loaded]) -> list[Videos]:
    """Tables `shared` and `lookalikes`; returns the videos whose frame counts, or times too, are needed.

    `shared(target, media)`: documents that two media, or a media and schema.json, would share.
    `lookalikes(media, target, video, index, written)`: media named like a frame of a video beside
    them; whether the two really collide depends on the video's number of frames.
    """
    database.run(
        f"""
        CREATE TABLE shared AS
        SELECT m.target, list_sort(list(m.path)) AS media
        FROM media m JOIN (
            SELECT target FROM media WHERE included
            GROUP BY target HAVING count(*) > 1 OR target = '{SCHEMA}'
        ) s ON s.target = m.target
        WHERE m.included GROUP BY m.target
        """
    )
    video, frame, written = sql.parse_frame("target")
    database.run(
        f"""
        CREATE TABLE lookalikes AS
        SELECT l.* FROM (
            SELECT path AS media, target, {video} AS video, {frame} AS frame, {written} AS written
            FROM media WHERE included
        ) l
        JOIN media v ON v.path = l.video AND v.kind = 'video' AND v.included
        """
    )
    spoken = {
        index: f"SELECT media FROM named_{index} WHERE code IS NULL AND written IS NOT NULL"
        for index in range(len(sources))
    }
    needed = " UNION ".join([*spoken.values(), "SELECT video FROM lookalikes"])
    timed = " UNION ".join(spoken[index] for index, source in enumerate(sources) if source.frames.by_time)
    database.run(
        f"""
        CREATE TABLE needed AS
        SELECT row_number() OVER (PARTITION BY timed ORDER BY path) AS number, * FROM (
            SELECT path, size, token, {f"path IN ({timed})" if timed else "false"} AS timed
            FROM media WHERE path IN ({needed}) AND kind = 'video'
        )
        """
    )
    return [videos for timed in (False, True) if (videos := Videos(database, timed=timed))]


def take_frame_counts(database: Database, counts: Iterable[FrameCount], *, times: bool = False) -> int:
    """Table `frames(media, frames, digits, unreadable, untimed)`; findings for videos without a count.

    Returns the number of videos whose count is not proved.
    """
    ticks = Ticks(database) if times else None
    database.create_like("frames", _FRAMES)
    database.insert_rows(
        "frames",
        _FRAMES,
        (
            (c.path, c.frames, c.digits, c.reason, c.frames is None and c.settled, c.untimed)
            for c in (counts if ticks is None else ticks.taken(counts))
        ),
    )
    if ticks is not None:
        ticks.finish()
    database.run(
        f"""
        INSERT INTO findings
        SELECT CASE WHEN unreadable THEN '{Code.MEDIA_UNREADABLE}' ELSE '{Code.MEDIA_UNPROVED}' END,
               'error', 'the number of frames of this video is not known: ' || reason,
               'its frame documents are not written; replace the video, or leave its rows out with `where`',
               '', '', NULL, media, ''
        FROM frames WHERE frames IS NULL
        UNION ALL
        SELECT '{Code.MEDIA_UNTIMED}', 'error',
               'when the frames of this video are shown is not known: ' || untimed,
               'name frames by their index, or give the video a container with times', '', '', NULL, media, ''
        FROM frames WHERE frames > 0 AND untimed <> ''
        """
    )
    unproved: int = database.value("SELECT count(*) FROM frames WHERE frames IS NULL")
    return unproved


def settle_collisions(database: Database) -> None:
    """Table `collisions(target, media)`, and one finding for each."""
    database.run(
        """
        CREATE TABLE collisions AS
        SELECT target, media FROM shared
        UNION ALL
        SELECT l.target, [l.media, l.video] FROM lookalikes l LEFT JOIN frames f ON f.media = l.video
        WHERE f.frames IS NULL OR (f.digits = l.written AND l.frame < f.frames)
        """
    )
    database.run(
        f"""
        INSERT INTO findings
        SELECT '{Code.MEDIA_COLLISION}', 'warning',
               CASE WHEN target = '{SCHEMA}' THEN 'the document of "' || media[1] || '" would be schema.json'
                    ELSE {_quoted("media")} || ' would share one document' END,
               'rename one of them, or take one out with media.exclude', '', '', NULL, media[1], target
        FROM collisions
        """
    )


def _quoted(media: str) -> str:
    """SQL of the paths of a list, in quotes, for people."""
    return f"""('"' || array_to_string({media}, '" and "') || '"')"""


def match_targets(database: Database, source: Loaded, index: int, limits: KeyLimits) -> None:
    """`match_i`: frames checked against their videos, the document of each row, and collisions.

    A row whose document has too long a key for the store, by `limits`, is not usable.
    """
    if source.frames.by_time:
        settle_moments(database, source, index)
    long = sql.too_long("t.target", limits)
    target = sql.frame_document_path("n.media", "n.frame", "n.digits")
    times = ", second_first, second_last" if source.frames.by_time else ""
    untimed = "nullif(f.untimed, '')" if source.frames.by_time else "NULL"
    checked = f"""
        SELECT n.* EXCLUDE (code, detail{times}), f.frames, f.digits,
               CASE WHEN n.code IS NOT NULL OR n.written IS NULL THEN n.code
                    WHEN f.frames IS NULL AND f.unreadable THEN '{Code.MEDIA_UNREADABLE}'
                    WHEN f.frames IS NULL THEN '{Code.MEDIA_UNPROVED}'
                    WHEN f.frames > 0 AND n.frame IS NULL THEN '{Code.MEDIA_UNTIMED}'
                    WHEN coalesce(n.frame < 0 OR coalesce(n.last, n.frame) >= f.frames, true)
                        THEN '{Code.RECORD_FRAME_OUT_OF_RANGE}'
               END AS code,
               coalesce(n.detail, nullif(f.reason, ''), {untimed}) AS detail
        FROM (
            SELECT * REPLACE (CASE WHEN kind = 'video' THEN frame END AS frame,
                              CASE WHEN kind = 'video' THEN written END AS written) FROM named_{index}
        ) n
        LEFT JOIN frames f ON n.written IS NOT NULL AND f.media = n.media
    """
    rows = f"(SELECT *, true AS lead FROM ({checked}))"
    if source.frames.is_range:
        database.run(f"CREATE TABLE checked AS {checked}")
        rows = expanded("checked")
    database.run(
        f"""
        CREATE TABLE match_{index} AS
        SELECT t.rid, t.file, t.row, t.given, t.name, t.media, t.written, t.frame, t.last, t.frames, t.lead,
               CASE WHEN t.frame IS NULL THEN t.kind ELSE 'frame' END AS kind, t.target,
               CASE WHEN t.code IS NULL AND c.target IS NOT NULL THEN '{Code.MEDIA_COLLISION}'
                    WHEN t.code IS NULL AND {long} IS NOT NULL THEN '{Code.NAME_TOO_LONG}'
                    ELSE t.code END AS code,
               CASE WHEN t.code IS NULL AND c.target IS NOT NULL THEN {_quoted("c.media")}
                    WHEN t.code IS NULL THEN coalesce({long}, t.detail)
                    ELSE t.detail END AS detail
        FROM (
            SELECT n.*, CASE WHEN n.media IS NULL THEN NULL
                             WHEN n.written IS NULL THEN n.own_target
                             -- Not of its first frame alone: any of them could have a document in place.
                             WHEN n.code IS NOT NULL AND n.last IS NOT NULL THEN NULL
                             WHEN n.frame >= 0 AND n.frame < n.frames THEN {target} END AS target
            FROM {rows} n
        ) t
        LEFT JOIN collisions c ON c.target = t.target
        """
    )
    database.run(f"DROP TABLE named_{index}")
    if source.frames.is_range:
        database.run("DROP TABLE checked")
        reject_whole_rows(database, index)
    find_duplicates(database, source, index)
    if source.frames.is_range:
        reject_whole_rows(database, index)
