"""Frame counts of listed videos, with those that earlier runs left in the state folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from metaferry.errors import StorageError
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount
from metaferry.planning.database import Database
from metaferry.progress import Progress
from metaferry.runs.state.folder import State
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

log = logging.getLogger(__name__)

#: Videos of which the names are in memory at once.
_VIDEOS = 10_000


class _ReadOnly(FrameCache):
    """The frame counts that runs left, without adding to them."""

    def save(self) -> None:
        """Nothing: who looks at a tree leaves it as it is."""

    def save_if_due(self) -> None:
        """Nothing."""


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
