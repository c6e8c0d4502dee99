"""Frame counts over the wire: ranged reads, pinned to a version, and a cache in the bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import CHANGED, FrameCount, Video
from metaferry.media.frames.urls import count_urls
from metaferry.media.listing import MediaFilter, media_pages
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob
from metaferry.storage.retry.storage import Retrying
from servers.ministack import S3Server, ministack
from unit.media import synthetic

pytestmark = pytest.mark.servers

VIDEOS = {"a.mp4": 9, "day/b.mp4": 10, "day/c.webm": 101}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with ministack() as server:
        yield server


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal() as portal:
        yield portal


@pytest.fixture
def bucket(server: S3Server, portal: Portal) -> Iterator[Retrying]:
    storage = open_storage(f"s3://{server.new_bucket()}", server.options)
    for name, frames in VIDEOS.items():
        webm = {"format": "webm", "codec": "libvpx"} if name.endswith(".webm") else {}
        portal.run(storage.put(name, synthetic.video(frames, **webm)))  # type: ignore[arg-type]
    yield storage
    portal.run(storage.close())


def listed(storage: Retrying, portal: Portal) -> list[Video]:
    pages = portal.iterate(media_pages(storage, MediaFilter()))
    return [video for page in pages for video in zip(page.path, page.size, page.token, strict=True)]


def by_path(counts: Iterator[FrameCount]) -> dict[str, FrameCount]:
    return {count.path: count for count in counts}


def test_videos_are_counted_once_and_then_never_read_again(bucket: Retrying, portal: Portal) -> None:
    videos = listed(bucket, portal)
    for expected_reads in (len(VIDEOS) + 1, 1):  # the videos and the cache; then the cache alone
        before = bucket.requests.get
        cache = FrameCache(bucket, portal, ".metaferry/frames.parquet")
        cache.load()
        counts = by_path(count_frames(bucket, portal, videos, workers=2, cache=cache))
        assert {path: count.frames for path, count in counts.items()} == VIDEOS
        assert bucket.requests.get - before == expected_reads
    assert all(count.cached for count in counts.values())


def test_a_large_video_with_its_index_at_the_end_costs_few_requests(bucket: Retrying, portal: Portal) -> None:
    data = synthetic.video(120, size=512, noise=True, options={"qscale": "2"})
    assert len(data) > 12 << 20
    assert data.index(b"moov") > len(data) // 2
    portal.run(bucket.put("large.mp4", data))
    [large] = [video for video in listed(bucket, portal) if video[0] == "large.mp4"]
    [count] = count_frames(bucket, portal, [large], workers=1)
    assert count.frames == 120
    assert count.requests <= 6
    assert count.bytes < len(data) + (2 << 20)


def test_a_replaced_video_is_counted_as_it_is_now(bucket: Retrying, portal: Portal) -> None:
    videos = listed(bucket, portal)
    portal.run(bucket.put("a.mp4", synthetic.video(1000)))
    counts = by_path(count_frames(bucket, portal, videos, workers=1))
    assert (counts["a.mp4"].frames, counts["a.mp4"].flags) == (1000, (CHANGED,))
    assert (counts["day/b.mp4"].frames, counts["day/b.mp4"].flags) == (10, ())


def test_urls_of_a_bucket(bucket: Retrying, portal: Portal, server: S3Server) -> None:
    opened: list[Retrying] = []

    def storage_for(root: str) -> Retrying:
        opened.append(open_storage(root, server.options))
        return opened[-1]

    urls = [f"{bucket.url.rstrip('/')}/{below}" for below in ("a.mp4", "day", "**/*.webm", "gone.mp4")]
    counts = list(count_urls(urls, storage_for=storage_for, portal=portal, workers=2))
    for storage in opened:
        portal.run(storage.close())
    root = bucket.url.rstrip("/")
    assert sorted((c.path.removeprefix(f"{root}/"), c.frames) for c in counts if c.frames is not None) == [
        ("a.mp4", 9),
        ("day/b.mp4", 10),
        ("day/c.webm", 101),
        ("day/c.webm", 101),
    ]
    assert [(c.path, c.reason) for c in counts if c.frames is None] == [(f"{root}/gone.mp4", "gone")]


class Replacing(Retrying):
    """Somebody uploads another video right behind the first read of an index, once."""

    def __init__(self, inner: Retrying, name: str, newer: bytes) -> None:
        super().__init__(inner)
        self.name = name
        self.newer: bytes | None = newer
        self.versions: list[str | None] = []

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        self.versions.append(version)
        blob = await super().read(path, start, end, version=version)
        newer, self.newer = self.newer, None
        if newer is not None:
            await super().put(path, newer)
        return blob


def test_a_video_replaced_between_two_reads_is_never_a_mixture(bucket: Retrying, portal: Portal) -> None:
    """Both are as long as each other, so that nothing but the version tells them apart."""
    older = synthetic.video(300, size=64, noise=True)
    newer = synthetic.video(299, size=64, noise=True)
    newer = newer.ljust(len(older), b"\0")
    at = len(synthetic.video(299, size=64, noise=True))
    newer = newer[:at] + (len(older) - at).to_bytes(4, "big") + b"free" + newer[at + 8 :]
    assert len(newer) == len(older) > 256 << 10
    portal.run(bucket.put("replaced.mp4", older))
    [video] = [video for video in listed(bucket, portal) if video[0] == "replaced.mp4"]
    storage = Replacing(bucket, "replaced.mp4", newer)
    [count] = count_frames(storage, portal, [video], workers=1)
    assert (count.frames, count.flags) == (299, (CHANGED,))
    assert storage.versions[:2] == [video[2], video[2]]
