"""The facts of whole videos, made here: what each container says, and what it costs to read."""

from __future__ import annotations

import datetime
import io
import struct
from fractions import Fraction
from typing import Any

import av
import pyarrow as pa
import pytest
from hypothesis import given, settings

from metaferry.media.facts.model import Found, Unreadable
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.reader import FACTS, VIDEOS
from metaferry.media.frames import index
from metaferry.media.frames.containers import reading
from unit.media import synthetic
from unit.media.facts.video_files import (
    TURNS,
    Reads,
    box,
    element,
    facts_of,
    keys,
    matroska,
    number,
    patched,
    real,
    tag,
    turned,
    with_boxes,
    with_entry_box,
    xyz,
)
from unit.media.frames.test_frame_containers import avi, chunk
from unit.media.frames.test_frame_index import hostile, padded
from unit.media.frames.test_frame_variety import fragment_a_frame, two_descriptions, with_an_empty_edit

X264: dict[str, Any] = {"codec": "libx264", "options": {"bf": "3"}}
UTC = datetime.UTC


@pytest.fixture(scope="module")
def mp4() -> bytes:
    return synthetic.video(30, size=64, **X264)


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    with av.open(
        io.BytesIO(synthetic.video(4, format="avi", codec="mjpeg", pix_fmt="yuvj420p"))
    ) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def rotation_of_ffmpeg(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        return -frame.rotation % 360


def test_a_plain_video_as_it_stands(mp4: bytes) -> None:
    assert facts_of(mp4) == VideoFacts(
        container="mp4",
        codec="h264",
        codec_mark="avc1",
        width=64,
        height=64,
        shown_width=64,
        shown_height=64,
        rotation=0,
        mirrored=False,
        frames=30,
        several_streams=False,
        fps=Fraction(25),
        vfr=False,
        duration=Fraction(30, 25),
    )


# What it costs


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov+global_sidx"])
def test_what_a_count_has_read_is_not_read_again(movflags: str) -> None:
    data = synthetic.video(300, size=64, noise=True, movflags=movflags)
    data = data if movflags else padded(data)
    assert len(data) > reading.SMALL
    alone, both = Reads(data), Reads(data)
    source, container = index.open_source(len(data), alone)
    index.count(source, container, alone, times=True)
    assert facts_of(data, both).frames == 300
    assert (both.trips, both.bytes) == (alone.trips, alone.bytes)


def test_a_large_moov_is_not_read_whole(monkeypatch: pytest.MonkeyPatch, mp4: bytes) -> None:
    thumbnail = box(b"udta", box(b"thmb", bytes(2 << 20)))
    data = padded(with_boxes(with_boxes(mp4, thumbnail), xyz("+51.4169-000.0806/")))
    monkeypatch.setattr("metaferry.media.frames.containers.mp4.index.WHOLE_MOOV", 1000)
    monkeypatch.setattr("metaferry.media.facts.videos.mp4.WHOLE_MOOV", 1000)
    reads = Reads(data)
    found = facts_of(data, reads)
    assert (found.frames, found.latitude) == (30, 51.4169)
    assert reads.bytes < 1 << 20


# Rotation and size


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", sorted(TURNS))
def test_a_turned_video_is_turned_as_by_a_player(degrees: int, mirrored: bool) -> None:
    data = turned(synthetic.video(3, **X264), degrees, mirrored=mirrored)
    data = patched(data, b"tkhd", 76, struct.pack(">II", 48 << 16, 32 << 16))
    found = facts_of(data)
    assert (found.rotation, found.mirrored) == (degrees, mirrored)
    assert (found.shown_width, found.shown_height) == ((32, 48) if degrees % 180 else (48, 32))
    if not mirrored:
        assert rotation_of_ffmpeg(data) == degrees


def test_the_matrix_of_the_movie_turns_too() -> None:
    data = turned(turned(synthetic.video(3, **X264), 90), 180, kind=b"mvhd")
    assert facts_of(data).rotation == rotation_of_ffmpeg(data) == 270


def test_a_skewed_video_has_no_rotation_and_no_size_as_shown(mp4: bytes) -> None:
    found = facts_of(patched(mp4, b"tkhd", 40, struct.pack(">2i", 46341, 46341)))
    assert (found.rotation, found.mirrored, found.shown_width, found.shown_height) == (None,) * 4
    assert (found.width, found.height) == (64, 64)


def test_a_pixel_aspect_goes_before_the_header_of_the_track(mp4: bytes) -> None:
    wide = patched(mp4, b"tkhd", 76, struct.pack(">II", (85 << 16) + 0x5555, 64 << 16))
    assert (facts_of(wide).shown_width, facts_of(wide).shown_height) == (85, 64)
    pasp = wide.index(b"pasp") if b"pasp" in wide else None
    data = (
        with_entry_box(wide, box(b"pasp", struct.pack(">II", 2, 1)))
        if pasp is None
        else wide[: pasp + 4] + struct.pack(">II", 2, 1) + wide[pasp + 12 :]
    )
    assert (facts_of(data).shown_width, facts_of(data).shown_height) == (128, 64)


def test_a_description_without_a_size_leaves_it_out(mp4: bytes) -> None:
    found = facts_of(patched(mp4, b"stsd", 8 + 32, bytes(4)))
    assert (found.width, found.height, found.codec) == (None, None, "h264")


def test_the_first_of_several_descriptions_counts() -> None:
    assert facts_of(two_descriptions()).codec == "h264"


@pytest.mark.parametrize(
    ("codec", "name", "mark"),
    [("mpeg4", "mpeg4", "mp4v"), ("mpeg2video", "mpeg2video", "mp4v"), ("mjpeg", "mjpeg", "mp4v")],
)
def test_a_codec_is_what_its_object_type_says(codec: str, name: str, mark: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    found = facts_of(synthetic.video(3, codec=codec, pix_fmt=pix_fmt))
    assert (found.codec, found.codec_mark) == (name, mark)


# Times


def test_an_exact_rate_of_ntsc_stays_exact() -> None:
    data = synthetic.video(60, **X264)
    scale = 30_000
    data = patched(data, b"mdhd", 12, struct.pack(">I", scale))
    ticks = data.index(b"stts") + 12
    assert struct.unpack(">II", data[ticks - 4 : ticks + 4]) == (1, 60)
    data = data[: ticks + 4] + struct.pack(">I", 1001) + data[ticks + 8 :]
    data = data.replace(b"ctts", b"free").replace(b"edts", b"free")
    found = facts_of(data)
    assert (found.fps, found.vfr, found.duration) == (Fraction(30_000, 1001), False, Fraction(2002, 1000))


def test_frames_at_other_than_equal_distances_are_a_variable_rate() -> None:
    pts = [0, 40, 80, 200, 240, 1000]
    found = facts_of(synthetic.video(6, pts=pts, codec="libx264"))
    assert found.vfr is True
    assert found.duration is not None
    assert found.fps == Fraction(6) / found.duration
    assert found.duration >= 1


def test_an_empty_edit_in_front_is_no_part_of_the_duration() -> None:
    found = facts_of(with_an_empty_edit())
    assert (found.duration, found.fps) == (Fraction(30, 25), Fraction(25))


@pytest.mark.parametrize(
    "flags", ["frag_keyframe+empty_moov", "frag_keyframe+empty_moov+global_sidx", "dash"]
)
def test_the_duration_of_fragments_is_that_of_their_frames(flags: str) -> None:
    found = facts_of(synthetic.video(48, movflags=flags, gop=12))
    assert (found.frames, found.duration, found.fps, found.vfr) == (48, Fraction(48, 25), Fraction(25), False)


def test_more_fragments_than_reads_leave_the_header() -> None:
    data = fragment_a_frame(frames=400)
    found = facts_of(data)
    assert found.frames is None
    assert found.untimed.startswith("fragments: ")
    assert (found.codec, found.width, found.duration, found.fps) == ("h264", 128, None, None)


def test_what_the_index_does_not_prove_is_what_the_header_says(mp4: bytes) -> None:
    data = mp4.replace(b"avc1", b"encv", 2).replace(b"encv", b"avc1", 1)  # the brand stays
    found = facts_of(data)
    assert (found.frames, found.fps, found.vfr, found.untimed) == (None, None, None, "encrypted")
    assert (found.duration, found.codec, found.width) == (Fraction(30, 25), None, 64)


def test_a_cut_video_has_no_duration() -> None:
    data = synthetic.video(300, size=64, noise=True, movflags="faststart", **X264)
    for size in (len(data) // 3, len(data) - 1):
        found = facts_of(data[:size])
        assert (found.width, found.codec) == (64, "h264")
        assert (found.duration, found.fps, found.frames) == (None, None, None)
        assert found.untimed.endswith("the file is cut or damaged")
        assert read(data[:size]).problems == (found.untimed,)


# Dates and places


def test_the_creation_time_of_both_versions_of_the_header(mp4: bytes) -> None:
    seconds = 3_570_596_428
    date = datetime.datetime(2017, 2, 22, 8, 20, 28, tzinfo=UTC)
    assert facts_of(mp4).creation_time is None
    assert facts_of(patched(mp4, b"mvhd", 4, struct.pack(">I", seconds))).creation_time == date
    place = mp4.index(b"mvhd")
    scale, duration = struct.unpack(">II", mp4[place + 16 : place + 24])
    wide = box(
        b"mvhd",
        struct.pack(">IQQIQ", 1 << 24, seconds, seconds, scale, duration) + mp4[place + 24 : place + 104],
    )
    data = mp4[: place - 4] + wide + mp4[place + 104 :]
    moov = data.index(b"moov") - 4
    (size,) = struct.unpack(">I", data[moov : moov + 4])
    data = data[:moov] + struct.pack(">I", size + 12) + data[moov + 4 :]
    found = facts_of(data)
    assert (found.creation_time, found.frames, found.rotation) == (date, 30, 0)


@pytest.mark.parametrize("version", [False, True])
@pytest.mark.parametrize("place", [(b"moov",), (b"moov", b"udta")])
def test_the_keys_of_apple(mp4: bytes, version: bool, place: tuple[bytes, ...]) -> None:
    values = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.location.ISO6709": "+37.3349-122.0090+012.500/",
        "com.apple.quicktime.creationdate": "2014-12-19T07:39:06+0700",
    }
    if len(place) > 1 and b"udta" not in mp4:
        mp4 = with_boxes(mp4, box(b"udta", b""))
    found = facts_of(with_boxes(mp4, keys(values, version=version), inside=place))
    assert (found.latitude, found.longitude, found.altitude) == (37.3349, -122.009, 12.5)
    assert found.taken == datetime.datetime(2014, 12, 19, 7, 39, 6)
    assert found.taken_utc == datetime.datetime(2014, 12, 19, 0, 39, 6, tzinfo=UTC)


def test_the_place_of_android_and_of_3gpp(mp4: bytes) -> None:
    found = facts_of(with_boxes(mp4, xyz("+51.4169-000.0806/")))
    assert (found.latitude, found.longitude, found.altitude) == (51.4169, -0.0806, None)
    loci = bytes(6) + b"\0" + struct.pack(">B3i", 0, -(1 << 16), 50 << 16, 0)
    found = facts_of(with_boxes(mp4, box(b"udta", box(b"loci", loci))))
    assert (found.latitude, found.longitude, found.altitude) == (50, -1, 0)
    assert facts_of(with_boxes(mp4, xyz("+95.0000-000.0806/"))).latitude is None


# Matroska and AVI


def test_a_matroska_file_says_what_its_header_says(pictures: list[bytes]) -> None:
    info = real(0x4489, 160.5) + element(0x4461, (86_400_000_000_000).to_bytes(8, "big"))
    tags = tag("LOCATION", "+51.4169-000.0806/") + tag(
        "com.apple.quicktime.creationdate", "2014-12-19T07:39:06Z"
    )
    found = facts_of(matroska(pictures, info=info, tags=tags))
    assert (found.container, found.codec, found.codec_mark) == ("matroska", "mjpeg", "V_MJPEG")
    assert (found.width, found.height, found.shown_width, found.shown_height) == (32, 32, 32, 32)
    assert (found.duration, found.fps, found.vfr) == (Fraction(321, 2000), None, None)
    assert found.creation_time == datetime.datetime(2001, 1, 2, tzinfo=UTC)
    assert found.taken_utc == datetime.datetime(2014, 12, 19, 7, 39, 6, tzinfo=UTC)
    assert (found.latitude, found.longitude) == (51.4169, -0.0806)
    assert found.untimed == "not written by a program whose statistics are known"


def test_the_tags_of_a_track_are_not_those_of_the_file(pictures: list[bytes]) -> None:
    tags = tag("LOCATION", "+51.4169-000.0806/", number(0x63C5, 7))
    assert facts_of(matroska(pictures, tags=tags)).latitude is None


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        (number(0x54B0, 64) + number(0x54BA, 32), (64, 32)),
        (number(0x54B2, 3) + number(0x54B0, 16) + number(0x54BA, 9), (57, 32)),
        (number(0x54CC, 2) + number(0x54BB, 4), (30, 28)),
        (number(0x54B2, 4) + number(0x54B0, 16) + number(0x54BA, 9), (None, None)),
    ],
    ids=["pixels", "a ratio", "cropped", "unknown unit"],
)
def test_the_size_that_a_matroska_file_is_shown_at(
    pictures: list[bytes], video: bytes, expected: tuple[int | None, int | None]
) -> None:
    found = facts_of(matroska(pictures, video=video))
    assert (found.width, found.height) == (32, 32)
    assert (found.shown_width, found.shown_height) == expected


@pytest.mark.parametrize("roll", [0.0, 90.0, -90.0, 180.0])
def test_the_roll_of_a_matroska_file_turns_it_as_a_player_does(pictures: list[bytes], roll: float) -> None:
    data = matroska(pictures, video=element(0x7670, number(0x7671, 0) + real(0x7675, roll)))
    found = facts_of(data)
    assert found.rotation == rotation_of_ffmpeg(data)
    assert found.rotation == int(-roll) % 360


@pytest.mark.parametrize(
    "part", [real(0x7675, 45.0), real(0x7674, 10.0), number(0x7671, 1), real(0x7675, float("nan"))]
)
def test_any_other_projection_has_no_rotation(pictures: list[bytes], part: bytes) -> None:
    found = facts_of(matroska(pictures, video=element(0x7670, part)))
    assert (found.rotation, found.shown_width, found.width) == (None, None, 32)


def test_dropped_frames_of_an_avi_make_its_rate_variable(pictures: list[bytes]) -> None:
    found = facts_of(avi([pictures[0], pictures[1], b"", pictures[2], b""]))
    assert (found.frames, found.fps, found.vfr) == (3, Fraction(3 * 25, 5), True)
    assert found.duration == Fraction(5, 25)
    plain = facts_of(avi(pictures))
    assert (plain.frames, plain.fps, plain.vfr, plain.duration) == (4, 25, False, Fraction(4, 25))
    assert (plain.width, plain.height, plain.rotation) == (32, 32, 0)


def test_the_date_of_an_avi_has_no_zone(pictures: list[bytes]) -> None:
    data = avi(pictures)
    at = data.index(b"hdrl") - 8
    (size,) = struct.unpack("<I", data[at + 4 : at + 8])
    idit = chunk(b"IDIT", b"Mon Mar 10 15:04:43 2003\n\0")
    data = (
        data[: at + 4]
        + struct.pack("<I", size + len(idit))
        + data[at + 8 : at + 8 + size]
        + idit
        + data[at + 8 + size :]
    )
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    found = facts_of(data)
    assert (found.taken, found.taken_utc, found.creation_time) == (
        datetime.datetime(2003, 3, 10, 15, 4, 43),
        None,
        None,
    )


# By name, and hostile files


def test_sizes_and_durations_that_no_video_has_are_left_out(pictures: list[bytes]) -> None:
    video = number(0x54B2, 3) + number(0x54B0, 0xFFFFFFFF) + number(0x54BA, 1)
    data = matroska(pictures, size=(32, 2**32 - 1), video=video, info=real(0x4489, 1e300))
    assert set(read(data).values) == {"format", "codec", "codec_mark", "rotation", "mirrored"}


def read(data: bytes, reads: Reads | None = None) -> Found:
    return index.run(VIDEOS.read(len(data)), reads or Reads(data))


def test_only_known_facts_are_given_by_name(mp4: bytes) -> None:
    date = "2014-12-19T07:39:06-0330"
    found = read(with_boxes(mp4, keys({"com.apple.quicktime.creationdate": date})))
    assert found == Found(
        {
            "format": "mp4",
            "codec": "h264",
            "codec_mark": "avc1",
            "width": 64,
            "height": 64,
            "shown_width": 64,
            "shown_height": 64,
            "rotation": 0,
            "mirrored": False,
            "frames": 30,
            "several_streams": False,
            "duration": 1.2,
            "fps": 25.0,
            "vfr": False,
            "taken": "2014-12-19T07:39:06",
            "taken_offset": "-03:30",
            "taken_utc": "2014-12-19T11:09:06Z",
        }
    )
    assert set(found.values) <= {fact.name for fact in FACTS}


@pytest.mark.parametrize(
    ("format", "codec", "expected"),
    [("mpeg", "mpeg1video", "mpeg"), ("hevc", "libx265", "hevc"), ("m4v", "mpeg4", "mpeg")],
)
def test_streams_without_a_container_tell_their_format(format: str, codec: str, expected: str) -> None:
    assert read(synthetic.video(8, format=format, codec=codec, size=64)) == Found({"format": expected})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html>not found</html>", "no container whose headers are known"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "no container whose headers are known"),
        (box(b"ftyp", b"isom\0\0\0\0"), "no moov box"),
        (synthetic.audio_only(), "no video track"),
        (synthetic.video(12)[:-20], "the file is cut or damaged"),
        (b"RIFF\x10\0\0\0AVI LIST", "no video stream"),
        (element(0x1A45DFA3, b"") + b"garbage!" * 4, "no segment"),
        (struct.pack(">I4s", 8, b"free") * 300_000, "more than 200000 boxes"),
    ],
    ids=["html", "script", "ftyp", "sound", "cut", "avi", "ebml", "boxes"],
)
def test_what_is_no_video_says_why(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read(data)


@settings(max_examples=300, deadline=60_000)
@given(hostile())
@pytest.mark.slow
def test_every_file_ends_in_facts_or_a_reason_within_its_budget(data: bytes) -> None:
    reads = Reads(data)
    try:
        found = read(data, reads)
    except Unreadable:
        pass
    else:
        assert set(found.values) <= {fact.name for fact in FACTS}
        for fact in FACTS:
            if fact.name in found.values:
                assert pa.array([found.values[fact.name]], fact.type).null_count == 0
    assert reads.trips <= 1 + reading.ROUND_TRIPS + len(data) // reading.BYTES_A_TRIP
    assert reads.bytes <= len(data) + reading.MAX_BYTES
