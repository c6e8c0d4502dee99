"""Facts of videos read through the storage contract, and the frame counts that they leave for the cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from metaferry.media.facts.gather import read_facts
from metaferry.media.facts.videos.counts import keep_counts
from metaferry.media.facts.videos.reader import VIDEOS
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import SEVERAL, FrameCount
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic

FILES = {
    "a.mp4": synthetic.video(120, codec="libx264", options={"bf": "3"}),
    "b.mp4": synthetic.video(12, second=9),
    "c.avi": synthetic.video(30, format="avi"),
    "d.webm": synthetic.video(8, format="webm", codec="libvpx"),
    "e.mp4": b"<html>",
    "f.mov": synthetic.video(24, movflags="frag_keyframe+empty_moov", gop=4),
    "g.mp4": b"",
}


@pytest.fixture
def listed(tmp_path: Path, portal: Portal, folder: Retrying) -> pa.RecordBatch:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    tokens = {name: portal.run(folder.read(name, 0, 1)).token for name, data in FILES.items() if data}
    return pa.RecordBatch.from_pydict(
        {
            "path": list(FILES),
            "size": [len(data) for data in FILES.values()],
            "token": [tokens.get(name, "0") for name in FILES],
        }
    )


def counted(folder: Retrying, portal: Portal, listed: pa.RecordBatch, cache: FrameCache) -> list[FrameCount]:
    videos = [(row["path"], row["size"], row["token"]) for row in listed.to_pylist() if row["size"]]
    return sorted(count_frames(folder, portal, videos, cache=cache), key=lambda count: count.path)


def test_a_video_whose_facts_were_read_is_not_read_again_for_its_count(
    listed: pa.RecordBatch, folder: Retrying, portal: Portal
) -> None:
    cache = FrameCache(folder, portal, "state/frames.parquet")
    (rows,) = read_facts(folder, portal, VIDEOS, [listed], cache=None, progress=lambda files, read: None)
    keep_counts(cache, rows)
    cache.save()
    later = FrameCache(folder, portal, "state/frames.parquet")
    later.load()
    known = counted(folder, portal, listed, later)
    assert [count.path for count in known if count.cached] == ["a.mp4", "b.mp4", "c.avi", "f.mov"]
    assert [count.requests for count in known if count.cached] == [0, 0, 0, 0]
    fresh = counted(folder, portal, listed, FrameCache(folder, portal, "nothing.parquet"))
    about = [dataclasses.replace(count, requests=0, bytes=0, explain=(), cached=False) for count in fresh]
    assert [
        dataclasses.replace(count, explain=(), cached=False, requests=0, bytes=0) for count in known
    ] == about
    assert known[1].flags == (SEVERAL,)


def test_a_count_that_is_known_is_kept(listed: pa.RecordBatch, folder: Retrying, portal: Portal) -> None:
    cache = FrameCache(folder, portal, "state/frames.parquet")
    row = listed.to_pylist()[0]
    cache.add(row["size"], row["token"], FrameCount("a.mp4", 120, 3, "decoded"))
    (rows,) = read_facts(folder, portal, VIDEOS, [listed], cache=None, progress=lambda files, read: None)
    keep_counts(cache, rows)
    found = cache.get("a.mp4", row["size"], row["token"])
    assert found is not None
    assert found.basis == "decoded"


def test_every_video_has_a_row(listed: pa.RecordBatch, folder: Retrying, portal: Portal) -> None:
    (table,) = read_facts(folder, portal, VIDEOS, [listed], cache=None, progress=lambda files, read: None)
    rows = {row["path"]: row for row in table.to_pylist()}
    assert {path: (row["codec"], row["frames"], row["fps"]) for path, row in rows.items()} == {
        "a.mp4": ("h264", 120, 25.0),
        "b.mp4": ("mpeg4", 12, 25.0),
        "c.avi": ("mpeg4", 30, 25.0),
        "d.webm": ("vp8", None, None),
        "e.mp4": (None, None, None),
        "f.mov": ("mpeg4", 24, 25.0),
        "g.mp4": (None, None, None),
    }
    assert rows["e.mp4"]["reason"].startswith("no container whose headers are known")
    assert rows["g.mp4"]["reason"] == "it is empty"
