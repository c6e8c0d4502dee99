"""Which video of the input each sample belongs to, and when the frames of these videos are shown."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.lightly.names import HostileName, clean_record_name
from metaferry.media.frames.model import FrameCount
from metaferry.tables.model import TableFile
from metaferry.tables.readers.media_access import MediaAccess

if TYPE_CHECKING:
    import duckdb

_INCOMING: Final = "metaferry_tracks"
#: Rows that are handed to the engine at once.
_BATCH: Final = 500_000
_FRAMES: Final = pa.schema([("video", pa.int64()), ("frame", pa.int64()), ("shown_at", pa.int64())])
_TRACKS: Final = pa.schema(
    [("track", pa.int64()), ("given", pa.string()), ("name", pa.string()), ("beside", pa.bool_())]
)


def insert(con: duckdb.DuckDBPyConnection, statement: str, batch: pa.Table | pa.RecordBatch) -> None:
    """Executes a statement with `{}` for the rows of an Arrow table."""
    table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    con.register(_INCOMING, table)
    try:
        con.execute(statement.format(_INCOMING)).fetchall()
    finally:
        con.unregister(_INCOMING)


def stem_beside(file: TableFile, base: str, place: str) -> str:
    """The path below the input of a file without its extensions. JobError for one that is not below it."""
    folder = base.rstrip("/") + "/"
    url = file.url.removeprefix("file://")
    if not url.startswith(folder.removeprefix("file://")):
        raise JobError(
            f"{file.url} is not below the input, so no video is beside it",
            place=place,
            advice="write video: with the path below `input`, such as replace(_path, '.gpx', '.mp4')",
        )
    path = url[len(folder.removeprefix("file://")) :].partition("?")[0]
    folder, mark, name = path.rpartition("/")
    name = re.sub(r"\.(gz|zst|zip)$", "", name, flags=re.IGNORECASE)
    return f"{folder}{mark}{re.sub(r'(?<=.)[.][^.]*$', '', name)}"


def make_tracks(
    con: duckdb.DuckDBPyConnection,
    table: str,
    media: MediaAccess,
    files: Iterable[TableFile] | None,
    place: str,
    still_wanted: Callable[[], None],
) -> None:
    """`{table}_tracks(track, given, video, path, several)`, a row for each name of a video in the samples;
    `video` is null for what names none, or several; and `{table}_videos(video, path, size, token)`.

    `files` are given where a video lies beside its file; then samples are numbered by the file alone.
    """
    con.execute(f"CREATE TABLE {table}_names (track BIGINT, given VARCHAR, name VARCHAR, beside BOOLEAN)")
    if files is not None:
        listed = list(files)
        stems = [stem_beside(file, media.storage.url, place) for file in listed]
        rows = [list(range(len(stems))), stems, stems, [True] * len(stems)]
        insert(con, f"INSERT INTO {table}_names SELECT * FROM {{}}", pa.table(rows, _TRACKS))
        con.execute(f"DELETE FROM {table}_names WHERE track NOT IN (SELECT file FROM {table})").fetchall()
    else:
        con.execute(
            f"CREATE TABLE {table}_given AS SELECT row_number() OVER (ORDER BY given) AS track, given "
            f"FROM (SELECT DISTINCT given FROM {table})"
        ).fetchall()
        ((count,),) = con.execute(f"SELECT count(*) FROM {table}_given").fetchall()
        for start in range(0, count, 10_000):
            given = con.execute(
                f"SELECT track, given FROM {table}_given WHERE track > {start} AND track <= {start + 10_000} "
                "ORDER BY track"
            ).fetchall()
            rows = [
                [track for track, _ in given],
                [name for _, name in given],
                [None if name is None else _cleaned(name) for _, name in given],
                [False] * len(given),
            ]
            insert(con, f"INSERT INTO {table}_names SELECT * FROM {{}}", pa.table(rows, _TRACKS))
        con.execute(f"DROP TABLE {table}_given").fetchall()
    con.execute(
        f"CREATE TABLE {table}_media (track BIGINT, path VARCHAR, kind VARCHAR, size BIGINT, token VARCHAR)"
    ).fetchall()
    same = "m.path = n.name"
    if files is not None:
        same = "m.kind = 'video' AND regexp_replace(m.path, '\\.[^./]*$', '') = n.name"
    matched = (
        f"INSERT INTO {table}_media SELECT n.track, m.path, m.kind, m.size, m.token "
        f"FROM {table}_names n JOIN {{}} m ON {same}"
    )
    for batch in media.batches():
        still_wanted()
        insert(con, matched, batch)
    con.execute(
        f"CREATE TABLE {table}_videos AS "
        "SELECT row_number() OVER (ORDER BY path) AS video, path, size, token FROM "
        f"(SELECT DISTINCT path, size, token FROM {table}_media WHERE kind = 'video' AND track NOT IN "
        f"(SELECT track FROM {table}_media GROUP BY track HAVING count(*) > 1))"
    ).fetchall()
    con.execute(
        f"CREATE TABLE {table}_tracks AS SELECT n.track, n.given, v.video, m.path, "
        "CASE WHEN m.number > 1 THEN m.paths END AS several "
        f"FROM {table}_names n LEFT JOIN "
        "(SELECT track, min(path) AS path, string_agg(path, ', ' ORDER BY path) AS paths, count(*) AS number "
        f"FROM {table}_media GROUP BY track) m ON m.track = n.track "
        f"LEFT JOIN {table}_videos v ON v.path = m.path AND m.number = 1"
    ).fetchall()
    for name in ("names", "media"):
        con.execute(f"DROP TABLE {table}_{name}").fetchall()


def _cleaned(name: str) -> str | None:
    try:
        return clean_record_name(name)
    except HostileName:  # the plan says what is wrong with it
        return None


class FrameTable:
    """Collects `{table}_frames(video, frame, shown_at)`: when each frame is shown, nanoseconds of the video.

    `unusable` says of each video without times why, with the code of it; `created` has the creation time
    of the container of each, None where it says none, which comes with the times.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, table: str) -> None:
        self._con = con
        self._table = f"{table}_frames"
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self.unusable: dict[int, tuple[Code, str]] = {}
        self.created: dict[int, datetime | None] = {}
        con.execute(f"CREATE TABLE {self._table} (video BIGINT, frame BIGINT, shown_at BIGINT)").fetchall()

    def fill(self, media: MediaAccess) -> None:
        """Reads the times of all videos. Raises what `MediaAccess.frames` raises."""
        videos = self._table.removesuffix("_frames") + "_videos"
        rows = self._con.execute(f"SELECT path, video FROM {videos} ORDER BY video").fetchall()
        numbers = {path: int(video) for path, video in rows}
        if not numbers:
            return
        for count in media.frames(numbers):
            self._add(numbers[count.path], count)
        self._flush()

    def _add(self, video: int, count: FrameCount) -> None:
        self.created[video] = None if count.header is None else count.header.creation_time
        if count.frames is None:
            self.unusable[video] = Code.MEDIA_UNPROVED, count.reason
        elif not count.frames:
            self.unusable[video] = Code.RECORD_FRAME_OUT_OF_RANGE, "it has no frames"
        elif count.times is None:
            self.unusable[video] = Code.MEDIA_UNTIMED, count.untimed
        else:
            ticks = whole(count.times.ticks, count.times.unit)
            for start in range(0, len(ticks), _BATCH):
                some = ticks[start : start + _BATCH]
                columns = [
                    pa.repeat(pa.scalar(video, pa.int64()), len(some)),
                    pa.array(array("q", range(start, start + len(some))), pa.int64()),
                    pa.array(some, pa.int64()),
                ]
                self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=_FRAMES))
                self._rows += len(some)
                if self._rows >= _BATCH:
                    self._flush()

    def _flush(self) -> None:
        if self._waiting:
            batch = pa.Table.from_batches(self._waiting, _FRAMES)
            insert(self._con, f"INSERT INTO {self._table} SELECT * FROM {{}}", batch)
        self._waiting, self._rows = [], 0


def whole(ticks: array[int], unit: Fraction) -> array[int]:
    """Presentation times in nanoseconds, the nearest of them; halves up."""
    factor = unit * 1_000_000_000
    up, down = factor.numerator, factor.denominator
    if down == 1:
        return array("q", [tick * up for tick in ticks])
    return array("q", [(2 * tick * up + down) // (2 * down) for tick in ticks])
