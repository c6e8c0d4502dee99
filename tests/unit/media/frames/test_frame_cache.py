"""The cache of frame counts: what it answers, what it forgets, and that damage costs only time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from metaferry.errors import StorageError, Unavailable
from metaferry.media.frames.cache import EVERY_COUNTS, EVERY_SECONDS, FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import CHANGED, METHOD, FrameCount, Video
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ANYTHING, Precondition, PutResult
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic

KEY = "frames.parquet"


def exact(path: str, frames: int = 10, **more: object) -> FrameCount:
    return FrameCount(path, frames, 2 if frames else None, "decoded", requests=3, bytes=999, **more)  # type: ignore[arg-type]


def refused(path: str, reason: str) -> FrameCount:
    return FrameCount(path, None, None, reason=reason)


@pytest.fixture
def cache(folder: Retrying, portal: Portal) -> FrameCache:
    cache = FrameCache(folder, portal, KEY)
    cache.load()
    return cache


def again(folder: Retrying, portal: Portal, method: int = METHOD) -> FrameCache:
    """What the next run sees."""
    cache = FrameCache(folder, portal, KEY, method=method)
    cache.load()
    return cache


def test_what_was_saved_is_answered_by_the_next_run(
    cache: FrameCache, folder: Retrying, portal: Portal
) -> None:
    cache.add(100, "t1", exact("a.mp4", flags=("truncated",)))
    cache.add(200, "t2", exact("b.mp4", 0))
    cache.add(300, "t3", refused("ü/c.mp4", "unreadable: no"))
    cache.save()
    later = again(folder, portal)
    assert len(later) == 3
    assert later.get("a.mp4", 100, "t1") == FrameCount(
        "a.mp4", 10, 2, "decoded", ("truncated",), requests=0, bytes=0, cached=True
    )
    assert later.get("b.mp4", 200, "t2") == FrameCount("b.mp4", 0, None, "decoded", cached=True)
    assert later.get("ü/c.mp4", 300, "t3") == FrameCount(
        "ü/c.mp4", None, None, reason="unreadable: no", cached=True
    )


@pytest.mark.parametrize(
    ("path", "size", "token"), [("a.mp4", 101, "t1"), ("a.mp4", 100, "t2"), ("A.mp4", 100, "t1")]
)
def test_another_version_misses(cache: FrameCache, path: str, size: int, token: str) -> None:
    cache.add(100, "t1", exact("a.mp4"))
    assert cache.get("a.mp4", 100, "t1") is not None
    assert cache.get(path, size, token) is None


def test_another_way_of_counting_misses(cache: FrameCache, folder: Retrying, portal: Portal) -> None:
    cache.add(100, "t1", exact("a.mp4"))
    cache.save()
    assert again(folder, portal, METHOD + 1).get("a.mp4", 100, "t1") is None
    assert again(folder, portal).get("a.mp4", 100, "t1") is not None


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("empty", True),
        ("unreadable: bad", True),
        ("no video stream", True),
        ("decode errors: 5", True),
        ("deadline: 600 s", False),
        ("crashed: SIGSEGV", False),
        ("changed: again", False),
        ("gone", False),
        ("storage: corrupt", False),
    ],
)
def test_only_answers_about_the_content_are_kept(cache: FrameCache, reason: str, kept: bool) -> None:
    cache.add(100, "t", refused("a.mp4", reason))
    assert (cache.get("a.mp4", 100, "t") is not None) is kept


def test_a_version_without_a_token_is_not_kept(cache: FrameCache) -> None:
    cache.add(100, "", exact("a.mp4"))
    assert cache.get("a.mp4", 100, "") is None


def test_that_it_was_replaced_is_not_kept(cache: FrameCache) -> None:
    cache.add(100, "t", exact("a.mp4", flags=(CHANGED, "corrupt")))
    found = cache.get("a.mp4", 100, "t")
    assert found is not None
    assert found.flags == ("corrupt",)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all", None])
def test_a_damaged_cache_is_empty_says_so_and_is_repaired(
    cache: FrameCache,
    folder: Retrying,
    portal: Portal,
    tmp_path: Path,
    damage: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.add(100, "t1", exact("a.mp4"))
    cache.save()
    data = (tmp_path / KEY).read_bytes()
    (tmp_path / KEY).write_bytes(data[: len(data) // 2] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        later = again(folder, portal)
    assert len(later) == 0
    assert "cannot be read" in caplog.text
    later.add(100, "t1", exact("a.mp4"))
    later.save()
    assert again(folder, portal).get("a.mp4", 100, "t1") is not None


def test_two_runs_that_save_keep_the_counts_of_both(folder: Retrying, portal: Portal) -> None:
    one, other = again(folder, portal), again(folder, portal)
    one.add(1, "t", exact("one.mp4"))
    other.add(2, "t", exact("other.mp4"))
    one.save()
    other.save()
    later = again(folder, portal)
    assert later.get("one.mp4", 1, "t") is not None
    assert later.get("other.mp4", 2, "t") is not None


def test_nothing_new_writes_nothing(cache: FrameCache, folder: Retrying) -> None:
    cache.add(100, "t1", exact("a.mp4"))
    cache.save()
    puts = folder.requests.put
    cache.save()
    cache.save_if_due()
    assert folder.requests.put == puts == 1


def test_it_is_saved_now_and_then(folder: Retrying, portal: Portal) -> None:
    now = [0.0]
    cache = FrameCache(folder, portal, KEY, clock=lambda: now[0])
    cache.add(1, "t", exact("a.mp4"))
    cache.save_if_due()
    assert folder.requests.put == 0
    now[0] = EVERY_SECONDS
    cache.save_if_due()
    assert folder.requests.put == 1
    for number in range(EVERY_COUNTS):
        cache.add(1, "t", exact(f"{number}.mp4"))
    cache.save_if_due()
    assert folder.requests.put == 2


class ReadOnly(Retrying):
    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        raise Unavailable("no writes today")


def test_a_cache_that_cannot_be_written_is_only_logged(
    folder: Retrying, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FrameCache(ReadOnly(folder.adapter), portal, KEY)
    cache.add(1, "t", exact("a.mp4"))
    with caplog.at_level(logging.WARNING):
        cache.save()
    assert "no writes today" in caplog.text


def test_a_state_folder_that_cannot_be_read_is_an_error(folder: Retrying, portal: Portal) -> None:
    class Unreadable(Retrying):
        async def read(self, *key: object, **pinned: object) -> object:  # type: ignore[override]
            raise Unavailable("no reads today")

    with pytest.raises(StorageError, match="no reads today"):
        FrameCache(Unreadable(folder.adapter), portal, KEY).load()


# -- with real counting


@pytest.fixture
def listing(tmp_path: Path, portal: Portal) -> tuple[Retrying, list[Video]]:
    media = tmp_path / "media"
    media.mkdir()
    (media / "a.mp4").write_bytes(synthetic.video(9))
    (media / "b.mp4").write_bytes(synthetic.video(10))
    (media / "c.mp4").write_bytes(b"<html>")
    storage = open_storage(str(media))

    async def listed() -> list[Video]:
        return [(e.path, e.size, e.token) async for page in storage.list() for e in page]

    return storage, portal.run(listed())


def test_the_second_run_reads_no_video(
    listing: tuple[Retrying, list[Video]], folder: Retrying, portal: Portal
) -> None:
    storage, videos = listing
    first = {c.path: c for c in count_frames(storage, portal, videos, workers=1, cache=again(folder, portal))}
    reads = storage.requests.get
    assert reads == 4  # c.mp4 twice: what the decoder does not know is looked at for damage
    second = {
        c.path: c for c in count_frames(storage, portal, videos, workers=1, cache=again(folder, portal))
    }
    assert storage.requests.get == reads
    assert all(count.cached for count in second.values())
    assert {p: (c.frames, c.reason) for p, c in first.items()} == {
        p: (c.frames, c.reason) for p, c in second.items()
    }


def test_a_replaced_video_alone_is_counted_again(
    listing: tuple[Retrying, list[Video]], folder: Retrying, portal: Portal, tmp_path: Path
) -> None:
    storage, videos = listing
    list(count_frames(storage, portal, videos, workers=1, cache=again(folder, portal)))
    (tmp_path / "media/a.mp4").write_bytes(synthetic.video(1000))

    async def listed() -> list[Video]:
        return [(e.path, e.size, e.token) async for page in storage.list() for e in page]

    counts = {
        c.path: c
        for c in count_frames(storage, portal, portal.run(listed()), workers=1, cache=again(folder, portal))
    }
    assert {path: count.cached for path, count in counts.items()} == {
        "a.mp4": False,
        "b.mp4": True,
        "c.mp4": True,
    }
    assert counts["a.mp4"].frames == 1000


def test_what_was_counted_before_a_failure_is_kept(
    listing: tuple[Retrying, list[Video]], folder: Retrying, portal: Portal
) -> None:
    storage, videos = listing

    class Breaks(Retrying):
        async def read(self, path: str, *more: object, **pinned: object) -> object:  # type: ignore[override]
            if path == "b.mp4":
                raise Unavailable("the store stays away")
            return await super().read(path, *more, **pinned)  # type: ignore[arg-type]

    # One after the other, so that the first is finished when the second fails.
    breaks, cache = Breaks(storage.adapter), again(folder, portal)
    with pytest.raises(Unavailable):
        list(count_frames(breaks, portal, videos, level="decode", workers=1, cache=cache))
    path, size, token = videos[0]
    assert path == "a.mp4"
    assert again(folder, portal).get(path, size, token) is not None
