"""Frame counts of listed videos, with those that earlier runs left in the state folder, and what they say of
the names of frame documents: the digits of a frame's number are those of its video's number of frames.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from metaferry.errors import StorageError
from metaferry.lightly.names import Kind
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount
from metaferry.planning.database import Database
from metaferry.planning.sql import rules as sql
from metaferry.progress import Progress
from metaferry.runs.state.folder import State
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

log = logging.getLogger(__name__)

_FRAMES: Final = pa.schema([("media", pa.string()), ("frames", pa.int64())])

#: SQL over `tree_documents t` and `tree_frames f` of its video: how many digits a number has, in words whose
#: fault a wrong number of them is, and the name that is looked for.
DIGITS: Final = "length(f.frames::VARCHAR)"
FRAMES: Final = "CASE f.frames WHEN 1 THEN '1 frame' ELSE format('{:,}', f.frames) || ' frames' END"
MISNAMED: Final = (
    "'its frame number has ' || t.digits || CASE t.digits WHEN 1 THEN ' digit' ELSE ' digits' END "
    f"|| ', and of a video of ' || {FRAMES} || ' it has ' || {DIGITS} || ': it is shown for no frame'"
)
RIGHT_NAME: Final = sql.frame_document_path("t.media", "t.frame", DIGITS)
IS_MISNAMED: Final = f"t.kind = '{Kind.FRAME}' AND t.digits <> {DIGITS} AND t.frame < f.frames"
IS_BEYOND: Final = f"t.kind = '{Kind.FRAME}' AND t.frame >= f.frames"

#: Videos of which the names are in memory at once.
_VIDEOS = 10_000


class _ReadOnly(FrameCache):
    """The frame counts that runs left, without adding to them."""

    def save(self) -> None:
        """Nothing: who looks at a tree leaves it as it is."""

    def save_if_due(self) -> None:
        """Nothing."""


def count_frames_of_documents(
    database: Database,
    storage: Storage,
    state: State,
    portal: Portal,
    progress: Progress,
    *,
    planned: bool,
    keep: bool = False,
) -> None:
    """Table `tree_frames(media, frames)` of the videos that have documents of frames; null: not proved.

    Those of a plan (`planned`) come from its table `frames`, the others are counted as `count_listed` does.
    """
    database.create_like("tree_frames", _FRAMES)
    with_frames = (
        f"SELECT DISTINCT media FROM tree_documents WHERE kind = '{Kind.FRAME}' AND file_name NOT NULL"
    )
    if planned:
        database.run(
            f"INSERT INTO tree_frames SELECT media, frames FROM frames WHERE media IN ({with_frames})"
        )
    database.run(
        f"""
        CREATE TABLE uncounted AS
        SELECT row_number() OVER (ORDER BY m.path) AS n, m.path, m.size, m.token
        FROM media m JOIN ({with_frames}) t ON t.media = m.path
        WHERE m.kind = '{Kind.VIDEO}' AND m.path NOT IN (SELECT media FROM tree_frames)
        """
    )
    counts = count_listed(database, "uncounted", storage, state, portal, progress, keep=keep)
    found = [(one.path, one.frames) for one in counts]  # not while the engine names the videos
    database.insert_rows("tree_frames", _FRAMES, found)
    database.run("DROP TABLE uncounted")


def count_listed(
    database: Database,
    videos: str,
    storage: Storage,
    state: State,
    portal: Portal,
    progress: Progress,
    *,
    keep: bool = False,
) -> Iterator[FrameCount]:
    """The counts of the numbered table `videos(n, path, size, token)`, in the order they are finished.

    keep: those that are counted here go to the state folder as well. A cache that cannot be read is as good
    as none, and the log says so.
    """
    total: int = database.value(f"SELECT count(*) FROM {videos}")
    if not total:
        return
    progress.phase("Counting frames", total)
    cache = (FrameCache if keep else _ReadOnly)(state.storage, portal, state.frame_cache_key)
    try:
        cache.load()
    except StorageError as error:
        log.warning("the frame counts of earlier runs cannot be read, and frames are counted: %s", error)
    yield from count_frames(
        storage,
        portal,
        database.numbered("path, size, token", videos, size=_VIDEOS),
        cache=cache,
        progress=lambda count: progress.advance(1, count.bytes),
    )
