"""Documents held to the media by their names: orphans, and frames under a number that no reader looks for.

The digits of a frame's number are those of the video's number of frames, so videos with frame documents are
counted, unless the plan of the job has done so.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from metaferry.findings import Code
from metaferry.lightly.names import Kind
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.progress import Progress
from metaferry.runs.state.folder import State
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.check.found import TABLE, CheckReport
from metaferry.view.tree.frames import count_listed

_FRAMES: Final = pa.schema([("media", pa.string()), ("frames", pa.int64())])

_NO_MEDIA: Final = "no media of this datasource has this document"
_ORPHAN: Final = "policy.delete: orphans lets a sync delete it; see also whether its media was renamed"
_RENAME: Final = "a sync of its job writes it under the right name, which is "


def check_names(
    database: Database,
    storage: Storage,
    portal: Portal,
    state: State,
    progress: Progress,
    report: CheckReport,
    *,
    planned: bool,
    keep_counts: bool,
) -> None:
    """Adds what is wrong with names to the findings. Reads the tables `tree_documents` and `media`,
    and where there is a plan (`planned`) its `frames`.

    Videos that an earlier run counted are not counted again; with `keep_counts` those that are counted here
    go to the same cache.
    """
    _count(database, storage, portal, state, progress, planned=planned, keep_counts=keep_counts)
    right = "length(f.frames::VARCHAR)"
    name = sql.frame_document_path("t.media", "t.frame", right)
    frames = "CASE f.frames WHEN 1 THEN '1 frame' ELSE format('{:,}', f.frames) || ' frames' END"
    database.run(
        f"""
        INSERT INTO {TABLE}
        SELECT '{Code.DOCUMENT_MISNAMED}', 'error', t.target, t.kind, t.media, 0, 0,
               'its frame number has ' || t.digits || CASE t.digits WHEN 1 THEN ' digit' ELSE ' digits' END
               || ', and of a video of ' || {frames} || ' it has ' || {right}
               || ': it is shown for no frame',
               {sql.quote_text(_RENAME)} || {name}
        FROM tree_documents t JOIN check_frames f ON f.media = t.media
        WHERE t.kind = '{Kind.FRAME}' AND t.digits <> {right} AND t.frame < f.frames
        UNION ALL
        SELECT '{Code.DOCUMENT_ORPHAN}', 'warning', t.target, t.kind, t.media, 0, 0,
               'the video has ' || {frames} || ', counted from 0',
               {sql.quote_text(_ORPHAN)}
        FROM tree_documents t JOIN check_frames f ON f.media = t.media
        WHERE t.kind = '{Kind.FRAME}' AND t.frame >= f.frames
        UNION ALL
        SELECT '{Code.DOCUMENT_ORPHAN}', 'warning', target, coalesce(kind, ''), coalesce(media, ''), 0, 0,
               {sql.quote_text(_NO_MEDIA)}, {sql.quote_text(_ORPHAN)}
        FROM tree_documents WHERE file_name IS NULL
        """
    )
    unproved = database.value("SELECT count(*) FROM check_frames WHERE frames IS NULL")
    if unproved:
        report.notes.append(
            f"of {unproved:,} video{'s' if unproved > 1 else ''} the number of frames is not proved, so the "
            "names of their frame documents were not checked"
        )


def _count(
    database: Database,
    storage: Storage,
    portal: Portal,
    state: State,
    progress: Progress,
    *,
    planned: bool,
    keep_counts: bool,
) -> None:
    """Table `check_frames(media, frames)` of the videos that have frame documents."""
    database.create_like("check_frames", _FRAMES)
    with_frames = (
        f"SELECT DISTINCT media FROM tree_documents WHERE kind = '{Kind.FRAME}' AND file_name NOT NULL"
    )
    if planned:
        database.run(
            f"INSERT INTO check_frames SELECT media, frames FROM frames WHERE media IN ({with_frames})"
        )
    database.run(
        f"""
        CREATE TABLE uncounted AS
        SELECT row_number() OVER (ORDER BY m.path) AS n, m.path, m.size, m.token
        FROM media m JOIN ({with_frames}) t ON t.media = m.path
        WHERE m.kind = '{Kind.VIDEO}' AND m.path NOT IN (SELECT media FROM check_frames)
        """
    )
    counts = count_listed(database, "uncounted", storage, state, portal, progress, keep=keep_counts)
    found = [(one.path, one.frames) for one in counts]  # not while the engine names the videos
    database.insert_rows("check_frames", _FRAMES, found)
