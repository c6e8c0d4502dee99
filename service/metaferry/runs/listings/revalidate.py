"""Size and token of videos as they are now, where the media come from an inventory or an old listing.

Frame documents depend on the bytes of a video, and the frame cache is by version. So each video whose
frames are needed costs one request that reads no bytes. Images need none, since their documents do not
depend on their content.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Final

from metaferry.errors import NotFound
from metaferry.planning.match import Video
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

_PARALLEL: Final = 64


def revalidated(
    videos: Iterable[Video], storage: Storage, portal: Portal, gone: list[str]
) -> Iterator[Video]:
    """Each video with the size and token that it has now; those that are not there go to `gone`.

    Raises StorageError other than NotFound, and NotFound of a bucket.
    """
    left = iter(videos)
    while some := list(islice(left, _PARALLEL)):
        yield from portal.iterate(_current(some, storage, gone))


async def _current(videos: list[Video], storage: Storage, gone: list[str]) -> AsyncIterator[Video]:
    async def one(video: Video) -> Video | None:
        try:
            blob = await storage.read(video.path, 0, 0)
        except NotFound as error:
            if not error.path:
                raise
            return None
        return Video(video.path, blob.size, blob.token)

    for video, found in zip(videos, await asyncio.gather(*map(one, videos)), strict=True):
        if found is None:
            gone.append(video.path)
        else:
            yield found
