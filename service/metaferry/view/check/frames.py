"""Documents held to the media by their names: orphans, and frames under a number that no reader looks for.

The digits of a frame's number are those of the video's number of frames, so videos with frame documents are
counted, unless the plan of the job has done so.
"""

from __future__ import annotations

from typing import Final

from metaferry.findings import Code
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.progress import Progress
from metaferry.runs.state.folder import State
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.check.found import TABLE, CheckReport
from metaferry.view.tree.frames import (
    FRAMES,
    IS_BEYOND,
    IS_MISNAMED,
    MISNAMED,
    RIGHT_NAME,
    count_frames_of_documents,
)

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
    count_frames_of_documents(database, storage, state, portal, progress, planned=planned, keep=keep_counts)
    database.run(
        f"""
        INSERT INTO {TABLE}
        SELECT '{Code.DOCUMENT_MISNAMED}', 'error', t.target, t.kind, t.media, 0, 0, {MISNAMED},
               {sql.quote_text(_RENAME)} || {RIGHT_NAME}
        FROM tree_documents t JOIN tree_frames f ON f.media = t.media WHERE {IS_MISNAMED}
        UNION ALL
        SELECT '{Code.DOCUMENT_ORPHAN}', 'warning', t.target, t.kind, t.media, 0, 0,
               'the video has ' || {FRAMES} || ', counted from 0',
               {sql.quote_text(_ORPHAN)}
        FROM tree_documents t JOIN tree_frames f ON f.media = t.media WHERE {IS_BEYOND}
        UNION ALL
        SELECT '{Code.DOCUMENT_ORPHAN}', 'warning', target, coalesce(kind, ''), coalesce(media, ''), 0, 0,
               {sql.quote_text(_NO_MEDIA)}, {sql.quote_text(_ORPHAN)}
        FROM tree_documents WHERE file_name IS NULL
        """
    )
    unproved = database.value("SELECT count(*) FROM tree_frames WHERE frames IS NULL")
    if unproved:
        report.notes.append(
            f"of {unproved:,} video{'s' if unproved > 1 else ''} the number of frames is not proved, so the "
            "names of their frame documents were not checked"
        )
