"""What cameras, recorders and editors write: every count is what decodes, whichever level gives it."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from metaferry.media.frames.containers.reading import LeftToPackets
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import DAMAGED, Level
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic
from unit.media.frames.test_frame_index import counted, decoded_times

X264 = {"codec": "libx264", "options": {"bf": "3"}}


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def moved(data: bytes, by: int) -> bytes:
    """All chunk offsets of a file with its index at the end, `by` bytes later."""
    changed = bytearray(data)
    at = data.index(b"stco") + 4
    (number,) = struct.unpack(">I", data[at + 4 : at + 8])
    for place in range(at + 8, at + 8 + 4 * number, 4):
        (offset,) = struct.unpack(">I", data[place : place + 4])
        changed[place : place + 4] = struct.pack(">I", offset + by)
    return bytes(changed)


def with_boxes_in_front() -> bytes:
    """QuickTime's `wide`, a free box and user data before the media data."""
    data = synthetic.video(30, format="mov")
    front = box(b"wide", b"") + box(b"free", bytes(100)) + box(b"udta", box(b"name", b"camera"))
    at = data.index(b"mdat") - 4
    return moved(data[:at] + front + data[at:], len(front))


def with_wide_sizes() -> bytes:
    """A media data box whose size has 64 bits, and chunk offsets of 64 bits (co64)."""
    data = moved(synthetic.video(30, **X264), 8)
    at = data.index(b"mdat") - 4
    (size,) = struct.unpack(">I", data[at : at + 4])
    data = data[:at] + struct.pack(">I4sQ", 1, b"mdat", size + 8) + data[at + 8 :]
    table = data.index(b"stco") - 4
    (length, _, flags, number) = struct.unpack(">I4sII", data[table : table + 16])
    offsets = struct.unpack(f">{number}I", data[table + 16 : table + length])
    wide = box(b"co64", struct.pack(f">II{number}Q", flags, number, *offsets))
    data = data[:table] + wide + data[table + length :]
    grown = len(wide) - length
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(kind) - 4
        (old,) = struct.unpack(">I", data[place : place + 4])
        data = data[:place] + struct.pack(">I", old + grown) + data[place + 4 :]
    return data


def with_an_empty_edit() -> bytes:
    """A delay of half a second in front of the one piece that is shown."""
    data = synthetic.video(30, **X264)
    at = data.index(b"elst") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    entry = data[at + 16 : at + length]
    longer = box(b"elst", struct.pack(">II", 0, 2) + struct.pack(">Iii", 500, -1, 0x10000) + entry)
    data = data[:at] + longer + data[at + length :]
    for kind in (b"moov", b"trak", b"edts"):
        place = data.index(kind) - 4
        (old,) = struct.unpack(">I", data[place : place + 4])
        data = data[:place] + struct.pack(">I", old + 12) + data[place + 4 :]
    return data


def two_descriptions() -> bytes:
    """The same sample description twice; the second is never used."""
    data = synthetic.video(30, **X264)
    at = data.index(b"stsd") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    entry = data[at + 16 : at + length]
    data = data[:at] + box(b"stsd", struct.pack(">II", 0, 2) + 2 * entry) + data[at + length :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(kind) - 4
        (old,) = struct.unpack(">I", data[place : place + 4])
        data = data[:place] + struct.pack(">I", old + len(entry)) + data[place + 4 :]
    return data


def live(format: str, codec: str) -> bytes:
    """As a recorder writes it that cannot go back: no cues, no duration, lengths unknown."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=format, options={"live": "1"}) as container:
        synthetic.encode(container, 40, codec, {}, None, None, False, 32, False, 12)
    return sink.getvalue()


MADE: dict[str, Callable[[], bytes]] = {
    "boxes in front.mov": with_boxes_in_front,
    "wide sizes.mp4": with_wide_sizes,
    "empty edit.mp4": with_an_empty_edit,
    "two descriptions.mp4": two_descriptions,
    "mjpeg.mov": lambda: synthetic.video(20, format="mov", codec="mjpeg", pix_fmt="yuvj420p"),
    "mjpeg.avi": lambda: synthetic.video(20, format="avi", codec="mjpeg", pix_fmt="yuvj420p"),
    "recorder.mp4": lambda: synthetic.video(
        60, movflags="frag_keyframe+empty_moov+delay_moov", audio=True, **X264
    ),
    "every frame.mp4": lambda: synthetic.video(
        40, movflags="frag_every_frame+empty_moov+default_base_moof", **X264
    ),
    "screen.mp4": lambda: synthetic.video(
        8, codec="libx264", pts=[0, 17, 33, 5000, 5016, 60000, 60001, 90000]
    ),
    "browser.webm": lambda: live("webm", "libvpx"),
    "live.mkv": lambda: live("matroska", "libx264"),
    "camera.ts": lambda: synthetic.video(30, format="mpegts", codec="mpeg2video", options={"bf": "2"}),
    "garbage first.ts": lambda: (
        bytes(range(1, 70)) + synthetic.video(30, format="mpegts", codec="mpeg2video")
    ),
    "a.m4v": lambda: synthetic.video(25, format="m4v"),
    "ten-bit.mp4": lambda: synthetic.video(12, codec="libx265", options={"x265-params": "log-level=none"}),
}

#: Those that the index alone must answer.
INDEXED = {"boxes in front.mov", "wide sizes.mp4", "empty edit.mp4", "mjpeg.mov", "mjpeg.avi"} | {
    "recorder.mp4",
    "every frame.mp4",
    "screen.mp4",
    "ten-bit.mp4",
}


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_count_is_what_decodes(name: str, tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    data = MADE[name]()
    (tmp_path / name).write_bytes(data)
    with av.open(io.BytesIO(data)) as container:
        shown = [frame.pts * frame.time_base for frame in container.decode(video=0) if frame.pts is not None]
    with av.open(io.BytesIO(data)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    [found] = count_frames(folder, portal, [(name, len(data), "")], workers=1, times=True)
    assert (found.frames, found.reason) == (frames, "")
    assert found.times is None or list(found.times) == sorted(shown)
    if name in INDEXED:
        assert found.basis == "index"


QUICK = {
    "libx264": {"bf": "2", "preset": "superfast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none"},
    "mpeg4": {"bf": "2"},
}


@functools.cache
def fragment_a_frame(codec: str = "libx264", *, frames: int = 150, size: int = 128) -> bytes:
    """Nothing says where the fragments are, and there are more of them than reads may be made."""
    data = synthetic.video(
        frames,
        movflags="frag_every_frame+empty_moov+skip_trailer",
        codec=codec,
        size=size,
        noise=True,
        options=QUICK[codec],
    )
    assert len(data) > 1 << 20
    with pytest.raises(LeftToPackets, match="takes too many reads"):
        counted(data)
    return data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "frames", "size"), [("libx264", 150, 128), ("mpeg4", 150, 128), ("libx265", 150, 128)]
)
def test_more_fragments_than_reads_are_scanned(
    codec: str, frames: int, size: int, tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    data = fragment_a_frame(codec, frames=frames, size=size)
    (tmp_path / "a.mp4").write_bytes(data)
    video = ("a.mp4", len(data), "")
    for level in (None, "scan"):
        [found] = count_frames(folder, portal, [video], workers=1, level=level, times=True)
        assert (found.frames, found.basis) == (frames, "scan"), found
        assert list(found.times or ()) == decoded_times(data)
    [found] = count_frames(folder, portal, [video], workers=1, level="index")
    assert found.reason == "not proved: fragments: its structure takes too many reads"


def test_more_fragments_than_reads_of_a_cut_file_are_not_scanned(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    """The last sample is cut: its packets are no proof, decoding tells what is wrong."""
    data = fragment_a_frame()[:-40]
    (tmp_path / "a.mp4").write_bytes(data)
    [found] = count_frames(folder, portal, [("a.mp4", len(data), "")], workers=1)
    assert (found.frames, found.flags) == (None, (DAMAGED,))
    [found] = count_frames(folder, portal, [("a.mp4", len(data), "")], workers=1, level="scan")
    assert found.reason == "not proved: packet 149 is damaged or not to be shown"


def test_more_fragments_than_reads_of_an_encrypted_file_are_not_scanned(
    tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    """What the index refuses for another reason than its budget is not left to packets."""
    data = fragment_a_frame().replace(b"avc1\0", b"encv\0")
    (tmp_path / "a.mp4").write_bytes(data)
    [found] = count_frames(folder, portal, [("a.mp4", len(data), "")], workers=1, level="scan")
    assert found.reason == "not proved: packets of mov are no proof"


@pytest.mark.parametrize("level", ["decode", "scan", None])
def test_metadata_that_is_not_utf_8_is_no_fault_of_the_frames(
    folder: Retrying, portal: Portal, tmp_path: Path, level: Level | None
) -> None:
    sink = io.BytesIO()
    with av.open(sink, "w", format="matroska") as container:
        container.metadata["title"] = "Stra\u00dfe"
        synthetic.encode(container, 5, "libx264", {}, None, None, False, synthetic.SIZE, False, 12)
    data = sink.getvalue()
    assert data.count("Stra\u00dfe".encode()) == 1
    (tmp_path / "a.mkv").write_bytes(data.replace("\u00dfe".encode(), b"\xdf\xffe"))
    size = (tmp_path / "a.mkv").stat().st_size
    [count] = count_frames(folder, portal, [("a.mkv", size, "")], workers=1, level=level)
    assert (count.frames, count.reason) == (5, "")
