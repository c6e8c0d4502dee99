"""The frame counts that facts of videos prove, for the cache of frame counts.

Facts are read from the index that counts frames, so a video whose facts were read need not be read again for
its count. Only what an index proves is handed on.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.model import SEVERAL, FrameCount, digits_of

_COLUMNS = ("path", "size", "token", "frames", "several_streams")


def keep_counts(cache: FrameCache, rows: pa.Table) -> None:
    """Adds the counts among these rows (`rows.answer_schema` of `VIDEOS`), where the cache has none.

    The caller loads the cache before, and saves it after the last rows.
    """
    proved = rows.select(_COLUMNS).filter(pc.is_valid(rows.column("frames")))
    for row in proved.to_pylist():
        path, size, token, frames = row["path"], row["size"], row["token"], row["frames"]
        if cache.get(path, size, token) is None:
            flags = (SEVERAL,) if row["several_streams"] else ()
            cache.add(size, token, FrameCount(path, frames, digits_of(frames), "index", flags))
