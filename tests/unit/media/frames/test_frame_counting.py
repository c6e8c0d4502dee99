"""Counts of real media: each container, each way of being broken, and what is said about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaferry.errors import Changed, Denied, NotFound, Protected, UsageError
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import (
    CHANGED,
    DAMAGED,
    SEVERAL,
    TRUNCATED,
    UNKNOWN_SIZE,
    FrameCount,
    Level,
    Video,
)
from metaferry.media.frames.worker.process import _environment
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Blob
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic

COUNTED = {
    "nine.mp4": (9, 1, lambda: synthetic.video(9)),
    "ten.mp4": (10, 2, lambda: synthetic.video(10)),
    "999.mp4": (999, 3, lambda: synthetic.video(999)),
    "1000.mp4": (1000, 4, lambda: synthetic.video(1000, codec="libx264")),
    "1001.mp4": (1001, 4, lambda: synthetic.video(1001)),
    "index first.mp4": (40, 2, lambda: synthetic.video(40, movflags="faststart")),
    "fragmented.mp4": (100, 3, lambda: synthetic.video(100, movflags="frag_keyframe+empty_moov")),
    "b-frames.mp4": (60, 2, lambda: synthetic.video(60, codec="libx264", options={"bf": "3"})),
    "sound.mp4": (30, 2, lambda: synthetic.video(30, audio=True)),
    "cover.mp4": (7, 1, lambda: synthetic.with_cover(frames=7)),
    "variable rate.mp4": (6, 1, lambda: synthetic.video(6, pts=[0, 3, 50, 51, 900, 4000])),
    "old.avi": (99, 2, lambda: synthetic.video(99, format="avi")),
    "old.mpg": (100, 3, lambda: synthetic.video(100, format="mpeg", codec="mpeg1video")),
    "apple.MOV": (12, 2, lambda: synthetic.video(12, format="mov")),
    "vp8.webm": (55, 2, lambda: synthetic.video(55, format="webm", codec="libvpx")),
    "hidden frames.webm": (
        90,
        2,
        lambda: synthetic.video(
            90, format="webm", codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16"}
        ),
    ),
    "vp9.webm": (
        20,
        2,
        lambda: synthetic.video(20, format="webm", codec="libvpx-vp9", options={"cpu-used": "8"}),
    ),
    "raw.hevc": (
        20,
        2,
        lambda: synthetic.video(
            20, format="hevc", codec="libx265", options={"x265-params": "log-level=none"}
        ),
    ),
    "really mp4.avi": (11, 2, lambda: synthetic.video(11)),
    "no extension": (11, 2, lambda: synthetic.video(11)),
    "naïve 片 #%20?.mp4": (3, 1, lambda: synthetic.video(3)),
    "segment.mp4": (0, None, synthetic.initialisation_segment),
}

REFUSED = {
    "empty.mp4": ("empty", (), lambda: b""),
    "garbage.mp4": ("unreadable: ", (), lambda: bytes(range(256)) * 64),
    "page.mp4": ("unreadable: ", (), lambda: b"<!DOCTYPE html><html><body>404</body></html>" * 20),
    "no index.mp4": ("unreadable: ", (), lambda: synthetic.video(50)[:2000]),
    "only ftyp.mp4": ("unreadable: ", (), lambda: synthetic.video(50)[:32]),
    "cut in its index.mp4": (
        "unreadable: a box at byte 385 does not fit its place: the file is cut or damaged",
        (),
        lambda: synthetic.video(10)[:700],
    ),
    "cut before its tracks.mp4": (
        "unreadable: a box at byte 385 does not fit its place: the file is cut or damaged",
        (),
        lambda: synthetic.video(10)[:430],
    ),
    "sound only.mp4": ("no video stream", (), synthetic.audio_only),
    "picture only.mp4": ("no video stream", (), lambda: synthetic.with_cover(frames=None)),
    "cut.mp4": (
        "decode errors: ",
        (DAMAGED,),
        lambda: synthetic.video(1000, codec="libx264", movflags="faststart")[:20_000],
    ),
    "cut between samples.mp4": (
        "decode errors: its index reaches to byte ",
        (DAMAGED,),
        lambda: synthetic.cut_between_samples(1000, 500),
    ),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, (_, _, make) in {**COUNTED, **REFUSED}.items():
        (folder / name).write_bytes(make())
    return folder


@pytest.fixture(scope="module")
def counts(videos: Path, portal: Portal) -> dict[str, FrameCount]:
    """All of them, counted in one go by two workers."""
    return counted(videos, portal, None)


@pytest.fixture(scope="module")
def decoded(videos: Path, portal: Portal) -> dict[str, FrameCount]:
    return counted(videos, portal, "decode")


def counted(folder: Path, portal: Portal, level: Level | None) -> dict[str, FrameCount]:
    storage = open_storage(str(folder))
    try:
        found = count_frames(storage, portal, listed(folder), workers=2, level=level)
        return {count.path: count for count in found}
    finally:
        portal.run(storage.close())


def listed(folder: Path) -> list[Video]:
    """What a listing tells of the files of a folder; an empty token leaves the version open."""
    return [(path.name, path.stat().st_size, "") for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("name", COUNTED)
def test_every_kind_of_video_is_counted_exactly(counts: dict[str, FrameCount], name: str) -> None:
    frames, digits, _ = COUNTED[name]
    count = counts[name]
    assert (count.frames, count.digits, count.reason) == (frames, digits, "")
    assert not count.flags
    assert count.requests >= 1
    scanned = name.endswith((".webm", ".mpg", ".hevc"))
    assert count.basis == ("scan" if scanned else "index")


@pytest.mark.parametrize("name", COUNTED)
def test_decoding_gives_the_same(decoded: dict[str, FrameCount], name: str) -> None:
    frames, digits, _ = COUNTED[name]
    count = decoded[name]
    assert (count.frames, count.digits, count.reason, count.basis) == (frames, digits, "", "decoded")
    assert not count.flags


@pytest.mark.parametrize("name", REFUSED)
def test_every_broken_file_ends_in_a_reason(counts: dict[str, FrameCount], name: str) -> None:
    reason, flags, _ = REFUSED[name]
    count = counts[name]
    assert count.frames is None
    assert count.digits is None
    assert count.basis == ""
    assert count.reason.startswith(reason)
    assert count.flags == flags


def test_each_video_is_answered_once(counts: dict[str, FrameCount]) -> None:
    assert set(counts) == {**COUNTED, **REFUSED}.keys()


def test_a_small_video_costs_one_request_and_its_own_bytes(
    counts: dict[str, FrameCount], videos: Path
) -> None:
    count = counts["1000.mp4"]
    assert count.requests == 1
    assert count.bytes == (videos / "1000.mp4").stat().st_size


def test_the_first_of_two_video_streams_counts(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    (tmp_path / "two.mp4").write_bytes(synthetic.video(30, second=5))
    [count] = count_frames(folder, portal, listed(tmp_path), workers=1)
    assert (count.frames, count.flags) == (30, (SEVERAL,))


def test_a_cut_webm_counts_what_decodes_and_says_so(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    whole = synthetic.video(300, format="webm", codec="libvpx", noise=True)
    (tmp_path / "cut.webm").write_bytes(whole[: len(whole) // 2])
    [count] = count_frames(folder, portal, listed(tmp_path), workers=1)
    assert count.frames is not None
    assert 0 < count.frames < 300
    assert count.flags == (TRUNCATED,)


@pytest.mark.parametrize(
    "script",
    [
        "ffconcat version 1.0\nfile '{other}'\n",
        "ffconcat version 1.0\nfile 'file:{other}'\nfile 'http://127.0.0.1:9/x.mp4'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("name", ["script.mp4", "script.ffconcat", "script.m3u8"])
def test_a_script_that_names_another_file_opens_nothing(
    tmp_path: Path, folder: Retrying, portal: Portal, script: str, name: str
) -> None:
    other = tmp_path / "secret.mp4"
    other.write_bytes(synthetic.video(9))
    body = script.format(other=other).encode()
    (tmp_path / name).write_bytes(body)
    [count] = count_frames(folder, portal, [(name, len(body), "")], workers=1)
    assert count.frames is None
    assert count.reason.startswith("unreadable: ")


def test_a_video_replaced_after_the_listing_is_counted_as_it_is_now(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(synthetic.video(9))

    async def listing() -> list[Video]:
        return [(e.path, e.size, e.token) async for page in folder.list() for e in page]

    videos = portal.run(listing())
    path.write_bytes(synthetic.video(1000))
    [count] = count_frames(folder, portal, videos, workers=1)
    assert (count.frames, count.digits, count.flags) == (1000, 4, (CHANGED,))


def test_a_video_that_is_gone_is_reported(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    (tmp_path / "there.mp4").write_bytes(synthetic.video(9))
    found = {
        count.path: count
        for count in count_frames(
            folder,
            portal,
            [("gone.mp4", 100, "1-2-3"), ("asked.mp4", UNKNOWN_SIZE, ""), ("there.mp4", UNKNOWN_SIZE, "")],
            workers=1,
        )
    }
    assert found["gone.mp4"].reason == "gone"
    assert found["asked.mp4"].reason == "gone"
    assert found["there.mp4"].frames == 9


class NoBucket(Retrying):
    """A datasource that is not there at all: what a store answers when the bucket is missing."""

    async def read(self, path: str, start: int = 0, end: int | None = None, **pinned: object) -> Blob:
        raise NotFound("there is no such bucket")


def test_a_missing_datasource_is_no_answer_about_one_video(folder: Retrying, portal: Portal) -> None:
    missing = NoBucket(folder.adapter)
    with pytest.raises(NotFound, match="no such bucket"):
        list(count_frames(missing, portal, [("a.mp4", 100, "")], workers=1))


class NeverTheSame(Retrying):
    """An object that is replaced before every pinned read."""

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        if version is not None:
            raise Changed("replaced", path=path)
        return await super().read(path, start, end)


def test_a_video_that_never_stays_the_same_is_reported_and_not_kept(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    (tmp_path / "v.mp4").write_bytes(synthetic.video(9))
    busy = NeverTheSame(folder.adapter)
    [count] = count_frames(busy, portal, [("v.mp4", (tmp_path / "v.mp4").stat().st_size, "x")], workers=1)
    assert count.frames is None
    assert count.reason.startswith("changed: ")
    assert not count.settled


class NoRights(Retrying):
    async def read(self, path: str, start: int = 0, end: int | None = None, **pinned: object) -> Blob:
        raise Denied("access denied", path=path)


def test_denied_access_stops_the_run(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    (tmp_path / "v.mp4").write_bytes(synthetic.video(9))
    with pytest.raises(Denied):
        list(count_frames(NoRights(folder.adapter), portal, listed(tmp_path), workers=2))


class Archived(Retrying):
    async def read(self, path: str, start: int = 0, end: int | None = None, **pinned: object) -> Blob:
        if path == "cold.mp4":
            raise Protected("the object is archived", path=path, code="InvalidObjectState")
        return await super().read(path, start, end)


def test_an_archived_video_is_reported_and_the_others_are_counted(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    (tmp_path / "cold.mp4").write_bytes(synthetic.video(9))
    (tmp_path / "warm.mp4").write_bytes(synthetic.video(9))
    counts = {c.path: c for c in count_frames(Archived(folder.adapter), portal, listed(tmp_path), workers=1)}
    assert counts["warm.mp4"].frames == 9
    assert counts["cold.mp4"].reason == "storage: the object is archived"
    assert not counts["cold.mp4"].settled


@pytest.mark.parametrize("arguments", [{"level": "guess"}, {"workers": 0}])
def test_arguments_that_make_no_sense_are_refused_at_once(
    folder: Retrying, portal: Portal, arguments: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        count_frames(folder, portal, [], **arguments)  # type: ignore[arg-type]


def test_progress_hears_of_every_answer(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    for frames in (2, 3):
        (tmp_path / f"{frames}.mp4").write_bytes(synthetic.video(frames))
    heard: list[FrameCount] = []
    counts = list(count_frames(folder, portal, listed(tmp_path), workers=1, progress=heard.append))
    assert heard == counts
    assert len(heard) == 2


def test_a_wrong_size_in_the_listing_does_not_matter(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    data = synthetic.video(25)
    (tmp_path / "v.mp4").write_bytes(data)
    [count] = count_frames(folder, portal, [("v.mp4", len(data) - 900, "")], workers=1)
    assert count.frames == 25
    assert os.path.getsize(tmp_path / "v.mp4") == len(data)


def test_the_run_itself_never_loads_a_decoder() -> None:
    """What parses hostile files is loaded by the worker alone."""
    program = (
        "import sys, metaferry.media.frames.counting\n"
        "print(sorted({'av', 'pyarrow', 'duckdb', 'numpy', 's3fs'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.strip() == "[]"
