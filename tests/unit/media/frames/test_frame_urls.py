"""URLs of videos: what is the datasource, what is meant below it, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaferry.errors import NotFound, UsageError
from metaferry.media.frames.model import FrameCount
from metaferry.media.frames.urls import Target, count_urls, split_url
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from unit.media import synthetic

URLS = {
    "s3://b/day/a.mp4": Target("", "s3://b/day", file="a.mp4"),
    "s3://b/a.MP4": Target("", "s3://b", file="a.MP4"),
    "s3://b/day/*.mp4": Target("", "s3://b/day", glob="*.mp4"),
    "s3://b/**/*.mp4": Target("", "s3://b", glob="**/*.mp4"),
    "s3://b/x/d*/c/v?.mp4": Target("", "s3://b/x", glob="d*/c/v?.mp4"),
    "s3://b/[ab].mp4": Target("", "s3://b", glob="[ab].mp4"),
    "s3://my.bucket": Target("", "s3://my.bucket"),
    "s3://my.bucket/": Target("", "s3://my.bucket/"),
    "s3://b/day": Target("", "s3://b/day"),
    "s3://b/a.mp4/": Target("", "s3://b/a.mp4/"),
    "s3://b/v1.2": Target("", "s3://b", file="v1.2", certain=False),
    "gs://b/x/clip.mkv": Target("", "gs://b/x", file="clip.mkv", certain=False),
    "a.mp4": Target("", ".", file="a.mp4"),
    "sub/a.mp4": Target("", "sub", file="a.mp4"),
    "./a.mp4": Target("", ".", file="a.mp4"),
    "/a.mp4": Target("", "/", file="a.mp4"),
    "/x/y": Target("", "/x/y"),
    "../videos": Target("", "../videos"),
    "..": Target("", ".."),
    ".": Target("", "."),
    "*.mp4": Target("", ".", glob="*.mp4"),
    "/*.mp4": Target("", "/", glob="*.mp4"),
    "file:///x/a.mp4": Target("", "file:///x", file="a.mp4"),
    "file:///a.mp4": Target("", "file:///", file="a.mp4"),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_parted_where_the_datasource_ends(url: str) -> None:
    target = split_url(url)
    assert target.url == url
    expected = URLS[url]
    assert (target.root, target.glob, target.file, target.certain) == (
        expected.root,
        expected.glob,
        expected.file,
        expected.certain,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, frames in {
        "a.mp4": 9,
        "b.webm": 10,
        "day/c.mp4": 11,
        "day/d.mov": 12,
        "v1.2/e.mp4": 13,
        "odd.bin": 14,
        "a.mp4.d/f.mp4": 15,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".webm"):
            path.write_bytes(synthetic.video(frames, format="webm", codec="libvpx"))
        else:
            path.write_bytes(synthetic.video(frames))
    (tmp_path / "picture.png").write_bytes(b"no video")
    (tmp_path / "still").mkdir()
    (tmp_path / "still/picture.png").write_bytes(b"no video")
    return tmp_path


Count = Callable[..., dict[str, int | None]]


@pytest.fixture
def count(portal: Portal, tree: Path) -> Iterator[Count]:
    """Counts URLs below the tree; gives frames by path below the tree."""
    opened: list[Storage] = []

    def storage_for(root: str) -> Storage:
        opened.append(open_storage(root))
        return opened[-1]

    def run(*urls: str, heard: list[FrameCount] | None = None) -> dict[str, int | None]:
        before = len(opened)
        progress = None if heard is None else heard.append
        found = list(
            count_urls(
                [f"{tree}/{url}" for url in urls],
                storage_for=storage_for,
                portal=portal,
                workers=1,
                progress=progress,
            )
        )
        assert len(opened) - before == len({storage.url for storage in opened[before:]})
        return {str(Path(c.path).relative_to(tree)): c.frames for c in found}

    yield run
    for storage in opened:
        portal.run(storage.close())


def test_a_file(count: Count) -> None:
    assert count("a.mp4") == {"a.mp4": 9}


def test_a_folder_is_all_its_videos(count: Count) -> None:
    assert count("day") == {"day/c.mp4": 11, "day/d.mov": 12}
    assert count("") == {
        "a.mp4": 9,
        "b.webm": 10,
        "day/c.mp4": 11,
        "day/d.mov": 12,
        "v1.2/e.mp4": 13,
        "a.mp4.d/f.mp4": 15,
    }


def test_a_glob(count: Count) -> None:
    assert count("*.mp4") == {"a.mp4": 9}
    assert count("**/*.mp4") == {"a.mp4": 9, "day/c.mp4": 11, "v1.2/e.mp4": 13, "a.mp4.d/f.mp4": 15}
    assert count("day/?.mov") == {"day/d.mov": 12}
    assert count("d*/*") == {"day/c.mp4": 11, "day/d.mov": 12}


def test_a_name_with_brackets_also_means_itself(count: Count, tree: Path) -> None:
    for name, frames in {"take[1].mp4": 5, "take1.mp4": 6, "half[open.mp4": 7}.items():
        (tree / name).write_bytes(synthetic.video(frames))
    assert count("take[1].mp4") == {"take[1].mp4": 5, "take1.mp4": 6}
    assert count("half[open.mp4") == {"half[open.mp4": 7}


def test_only_the_storage_knows_whether_a_dot_is_an_extension(count: Count) -> None:
    assert count("v1.2") == {"v1.2/e.mp4": 13}
    assert count("odd.bin") == {"odd.bin": 14}


def test_many_urls_share_their_datasource(count: Count) -> None:
    heard: list[FrameCount] = []
    assert count("a.mp4", "b.webm", "day", "day/*.mov", "day/", heard=heard) == {
        "a.mp4": 9,
        "b.webm": 10,
        "day/c.mp4": 11,
        "day/d.mov": 12,
    }
    assert len(heard) == 7
    assert all(c.path.startswith("/") for c in heard)


def test_a_missing_file_is_an_answer_and_the_others_are_counted(count: Count) -> None:
    assert count("gone.mp4", "a.mp4") == {"gone.mp4": None, "a.mp4": 9}


@pytest.mark.parametrize("url", ["still", "*.avi", "still/*"])
def test_no_video_at_all_is_an_error_after_everything_else(count: Count, url: str) -> None:
    heard: list[FrameCount] = []
    with pytest.raises(NotFound, match="no video at "):
        count(url, "a.mp4", heard=heard)
    assert [c.frames for c in heard] == [9]


def test_a_missing_folder_is_an_error(count: Count) -> None:
    with pytest.raises(NotFound):
        count("nowhere")


def test_no_url_is_a_usage_error(portal: Portal) -> None:
    with pytest.raises(UsageError):
        count_urls([], storage_for=open_storage, portal=portal)


def test_memory_and_other_stores_work_alike(portal: Portal) -> None:
    storage = open_storage("memory://frame-urls")
    portal.run(storage.put("x/v.mp4", synthetic.video(21)))
    for url in ("memory://frame-urls/x/v.mp4", "memory://frame-urls/**/*.mp4", "memory://frame-urls"):
        [count] = count_urls([url], storage_for=open_storage, portal=portal, workers=1)
        assert (count.path, count.frames) == ("memory://frame-urls/x/v.mp4", 21)
