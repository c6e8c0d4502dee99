"""When each frame is shown: equal to what the decoder says, whatever level tells it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import LEVEL_TIMES, NO_COUNT, NO_TIMES, Times
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic
from unit.media.frames.test_frame_index import counted

X264 = {"codec": "libx264", "options": {"bf": "3"}}
FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"


def negative(data: bytes) -> bytes:
    """Fragments whose composition times are 4096 ticks earlier: negative."""
    changed = bytearray(data)
    at = -1
    while (at := data.find(b"trun", at + 1)) >= 0:
        flags, number = struct.unpack(">II", data[at + 4 : at + 12])
        place = at + 12 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
        width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        assert flags & 0x800
        changed[at + 4] = 1
        for entry in range(place + width - 4, place + number * width, width):
            (offset,) = struct.unpack(">I", data[entry : entry + 4])
            changed[entry : entry + 4] = struct.pack(">i", offset - 4096)
    return bytes(changed)


#: What makes a video, and the level that tells its times.
VIDEOS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "moov.mp4": ("index", lambda: synthetic.video(60, **X264)),
    "fragments.mp4": ("index", lambda: synthetic.video(60, movflags=FRAGMENTS, **X264)),
    "sidx.mp4": ("index", lambda: synthetic.video(60, movflags=f"{FRAGMENTS}+global_sidx", **X264)),
    "dash.mp4": ("index", lambda: synthetic.video(60, movflags="dash+frag_keyframe+empty_moov", **X264)),
    "delayed.mp4": ("index", lambda: synthetic.video(60, movflags="frag_keyframe+delay_moov", **X264)),
    "late.mp4": ("index", lambda: synthetic.video(5, movflags=FRAGMENTS, pts=[70, 80, 400, 401, 900])),
    "negative.mp4": (
        "index, then packets",
        lambda: negative(synthetic.video(60, movflags=FRAGMENTS, **X264)),
    ),
    "hybrid.mp4": ("index, then packets", lambda: synthetic.video(60, movflags="frag_keyframe", **X264)),
    "drops.avi": (
        "index",
        lambda: synthetic.video(6, format="avi", codec="msmpeg4v2", pts=[0, 1, 2, 5, 6, 9]),
    ),
    "b-frames.avi": ("index, then packets", lambda: synthetic.video(60, format="avi", options={"bf": "2"})),
    "a.webm": ("scan", lambda: synthetic.video(30, format="webm", codec="libvpx")),
    "nine.webm": ("scan", lambda: synthetic.video(30, format="webm", codec="libvpx-vp9")),
    "late.webm": ("scan", lambda: synthetic.video(3, format="webm", codec="libvpx", pts=[70, 75, 400])),
    "a.mkv": ("scan", lambda: synthetic.video(30, format="matroska", **X264)),
    "hevc.mkv": ("decoded", lambda: synthetic.video(30, format="matroska", codec="libx265")),
    "a.mpg": ("scan", lambda: synthetic.video(30, format="mpeg", codec="mpeg2video", options={"bf": "2"})),
    "one.mpg": ("scan", lambda: synthetic.video(30, format="mpeg", codec="mpeg1video")),
    "a.ts": ("", lambda: synthetic.video(30, format="mpegts", codec="mpeg2video", options={"bf": "2"})),
    "avc.ts": ("decoded", lambda: synthetic.video(30, format="mpegts", **X264)),
}


def decoded_times(data: bytes) -> list[Fraction]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", sorted(VIDEOS))
def test_times_are_those_of_the_decoder(name: str, tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    level, make = VIDEOS[name]
    data = make()
    (tmp_path / name).write_bytes(data)
    [found] = count_frames(folder, portal, [(name, len(data), "")], times=True, workers=1)
    assert found.untimed == ""
    assert list(found.times or ()) == decoded_times(data)
    assert found.frames == len(found.times or ())
    basis, _, _ = level.partition(",")
    assert found.basis == (basis or found.basis)
    assert ("index: it has no times" in found.explain) == level.endswith("packets")


def test_what_has_no_times_says_why(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    (tmp_path / "a.hevc").write_bytes(synthetic.video(12, format="hevc", codec="libx265"))
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    files = [(path.name, path.stat().st_size, "") for path in tmp_path.iterdir()]
    found = {count.path: count for count in count_frames(folder, portal, files, times=True, workers=1)}
    assert (found["a.hevc"].frames, found["a.hevc"].times, found["a.hevc"].untimed) == (12, None, NO_TIMES)
    assert (found["a.mp4"].frames, found["a.mp4"].times, found["a.mp4"].untimed) == (None, None, NO_COUNT)


def test_an_index_alone_tells_what_it_can(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    data = VIDEOS["hybrid.mp4"][1]()
    (tmp_path / "a.mp4").write_bytes(data)
    video = ("a.mp4", len(data), "")
    [found] = count_frames(folder, portal, [video], times=True, workers=1, level="index")
    assert (found.frames, found.times, found.untimed) == (60, None, LEVEL_TIMES)
    [found] = count_frames(folder, portal, [video], workers=1)
    assert (found.frames, found.times, found.untimed) == (60, None, "")


def test_times_come_with_what_the_header_says(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    """No request more: the header is read with the index, also where packets give the times."""
    videos = {"a.mp4": synthetic.video(12), "b.webm": synthetic.video(12, format="webm", codec="libvpx")}
    for name, data in videos.items():
        (tmp_path / name).write_bytes(data)
    listed = [(name, len(data), "") for name, data in videos.items()]
    with_header = {count.path: count for count in count_frames(folder, portal, listed, times=True)}
    for name, codec in [("a.mp4", "mpeg4"), ("b.webm", "vp8")]:
        count = with_header[name]
        assert count.frames == 12
        assert count.header is not None
        assert (count.header.codec, count.header.width, count.header.creation_time) == (codec, 32, None)
    assert with_header["a.mp4"].header.duration == Fraction(12, 25)  # type: ignore[union-attr]
    for count in count_frames(folder, portal, listed):
        assert (count.header, count.requests) == (None, with_header[count.path].requests)


def test_times_are_a_sequence() -> None:
    found, _ = counted(synthetic.video(3), times=True)
    assert isinstance(found.times, Times)
    assert found.times[1] == Fraction(1, 25)
    assert found.times[-1] == found.times[2] == Fraction(2, 25)
    assert list(found.times[1:]) == [Fraction(1, 25), Fraction(2, 25)]
    assert Fraction(1, 25) in found.times
