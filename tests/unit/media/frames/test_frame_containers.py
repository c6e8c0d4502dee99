"""Rare shapes of containers, made by hand around real pictures: the right count, or a reason that is true."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import UNKNOWN_SIZE, FrameCount
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic
from unit.media.frames.test_frame_variety import box, with_wide_sizes


def decodes(data: bytes) -> int:
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0))


def packets(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.fixture
def count(tmp_path: Path, folder: Retrying, portal: Portal) -> Callable[..., FrameCount]:
    def count(name: str, data: bytes, **wanted: object) -> FrameCount:
        (tmp_path / name).write_bytes(data)
        [found] = count_frames(folder, portal, [(name, len(data), "")], workers=1, **wanted)  # type: ignore[arg-type]
        return found

    return count


# AVI


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def avi(frames: list[bytes], *, codec: bytes = b"MJPG", group: int = 0, absolute: bool = False) -> bytes:
    """An AVI of one stream with idx1; `group`: chunks in each `rec ` list, 0 for none."""
    header = struct.pack("<4s4sIHHIIIIIIII8x", b"vids", codec, 0, 0, 0, 0, 1, 25, 0, len(frames), 0, 0, 0)
    form = struct.pack("<IiiHH4sIiiII", 40, 32, 32, 1, 24, codec, 0, 0, 0, 0, 0)
    strl = b"strl" + chunk(b"strh", header) + chunk(b"strf", form)
    main = struct.pack("<IIIIIIIIII16x", 40_000, 0, 0, 0x10, len(frames), 0, 1, 0, 32, 32)
    front = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + chunk(b"LIST", strl))
    movi = b"movi"
    base = 12 + len(front) + 8 if absolute else 0
    index = []
    for first in range(0, len(frames), group or 1):
        inside = b""
        at = base + len(movi)
        if group:
            index.append(
                (b"rec ", 0x01, at, sum(8 + len(f) + len(f) % 2 for f in frames[first:][:group]) + 4)
            )
            at += 12
        for frame in frames[first : first + (group or 1)]:
            index.append((b"00dc", 0x10, at + len(inside), len(frame)))
            inside += chunk(b"00dc", frame)
        movi += chunk(b"LIST", b"rec " + inside) if group else inside
    idx1 = b"".join(struct.pack("<4sIII", *entry) for entry in index)
    return chunk(b"RIFF", b"AVI " + front + chunk(b"LIST", movi) + chunk(b"idx1", idx1))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    """Twelve JPEG pictures."""
    return packets(synthetic.video(12, format="avi", codec="mjpeg", pix_fmt="yuvj420p"))


@pytest.mark.parametrize("absolute", [False, True])
def test_offsets_of_idx1_count_from_the_list_or_from_the_file(
    absolute: bool, pictures: list[bytes], count: Callable[..., FrameCount]
) -> None:
    data = avi(pictures, absolute=absolute)
    assert decodes(data) == 12
    found = count("a.avi", data)
    assert (found.frames, found.basis) == (12, "index")
    assert count("b.avi", data, level="decode").frames == 12


def test_dropped_frames_are_left_out_of_both_kinds_of_offsets(
    pictures: list[bytes], count: Callable[..., FrameCount]
) -> None:
    some = [*pictures[:4], b"", *pictures[4:9], b"", b"", *pictures[9:]]
    for absolute in (False, True):
        data = avi(some, absolute=absolute)
        found = count("a.avi", data)
        assert (found.frames, found.basis) == (12, "index")
        assert decodes(data) == 12


@pytest.mark.parametrize("group", [1, 3, 5])
def test_chunks_in_rec_lists_are_decoded(
    group: int, pictures: list[bytes], count: Callable[..., FrameCount]
) -> None:
    """Interleaved as old capture cards do it: the index speaks of lists, so it proves nothing."""
    data = avi(pictures, group=group)
    assert decodes(data) == 12
    found = count("a.avi", data)
    assert (found.frames, found.basis) == (12, "decoded")
    reason = "not proved: an index with chunks of another kind"
    assert count("b.avi", data, level="index").reason == reason


# Matroska


def element(kind: int, body: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + b"\x01" + len(body).to_bytes(7, "big") + body


def laced(frames: list[bytes], *, codec: str, tags: bytes = b"", info: bytes = b"") -> bytes:
    """A Matroska file whose blocks hold three frames each, with Xiph lacing."""
    video = element(0xB0, b"\x20") + element(0xBA, b"\x20")
    track = element(0xD7, b"\1") + element(0x73C5, b"\7") + element(0x83, b"\1") + element(0x9C, b"\1")
    track += element(0x86, codec.encode()) + element(0x23E383, (40_000_000).to_bytes(4, "big"))
    blocks = b""
    for first in range(0, len(frames), 3):
        some = frames[first : first + 3]
        sizes = b"".join(b"\xff" * (len(frame) // 255) + bytes([len(frame) % 255]) for frame in some[:-1])
        flags = 0x82  # a key frame, Xiph lacing
        head = b"\x81" + struct.pack(">HBB", first * 40, flags, len(some) - 1)
        blocks += element(0xA3, head + sizes + b"".join(some))
    segment = element(0x1549A966, element(0x2AD7B1, (1_000_000).to_bytes(3, "big")) + info)
    segment += element(0x1654AE6B, element(0xAE, track + element(0xE0, video)))
    segment += tags + element(0x1F43B675, element(0xE7, b"\0") + blocks)
    kind = element(0x4282, b"matroska") + element(0x4287, b"\4") + element(0x4285, b"\2")
    return element(0x1A45DFA3, kind) + element(0x18538067, segment)


def statistics(frames: int) -> dict[str, bytes]:
    """The tag of mkvmerge for track 7, and the header that it must match."""

    def simple(name: str, value: str) -> bytes:
        return element(0x67C8, element(0x45A3, name.encode()) + element(0x4487, value.encode()))

    tag = element(0x63C0, element(0x63C5, b"\7")) + simple("NUMBER_OF_FRAMES", str(frames))
    tag += simple("_STATISTICS_WRITING_APP", "mkvmerge v80.0")
    tag += simple("_STATISTICS_WRITING_DATE_UTC", "2001-01-02 00:00:00")
    date = (86_400 * 1_000_000_000).to_bytes(8, "big")
    return {
        "tags": element(0x1254C367, element(0x7373, tag)),
        "info": element(0x5741, b"mkvmerge v80.0") + element(0x4461, date),
    }


def test_laced_blocks_with_a_statistics_tag_are_proved_by_it(
    pictures: list[bytes], count: Callable[..., FrameCount]
) -> None:
    """mkvmerge counts frames, not blocks."""
    data = laced(pictures, codec="V_MJPEG", **statistics(12))
    assert decodes(data) == 12
    found = count("a.mkv", data)
    assert (found.frames, found.basis, found.requests) == (12, "index", 1)


def test_laced_blocks_without_a_tag_are_scanned_or_decoded(
    pictures: list[bytes], count: Callable[..., FrameCount]
) -> None:
    frames = packets(synthetic.video(14, format="webm", codec="libvpx"))
    data = laced(frames, codec="V_VP8")
    assert decodes(data) == 14
    found = count("a.mkv", data)
    assert (found.frames, found.basis) == (14, "scan")
    found = count("b.mkv", laced(pictures, codec="V_MJPEG"))
    assert (found.frames, found.basis) == (12, "decoded")


# MP4 and MOV


@pytest.mark.parametrize("in_front", [False, True])
def test_an_index_behind_five_gigabytes_costs_a_few_reads(
    in_front: bool, tmp_path: Path, folder: Retrying, portal: Portal
) -> None:
    """Sizes and offsets of 64 bits; the media data is a hole in the file, before or after the samples."""
    data, hole = with_wide_sizes(), 5 << 30
    at = data.index(b"mdat") - 4
    (size,) = struct.unpack(">Q", data[at + 8 : at + 16])
    head = data[:at] + struct.pack(">I4sQ", 1, b"mdat", size + hole)
    samples, index = data[at + 16 : at + size], bytearray(data[at + size :])
    if in_front:
        table = index.index(b"co64") + 4
        (number,) = struct.unpack(">I", index[table + 4 : table + 8])
        for place in range(table + 8, table + 8 + 8 * number, 8):
            (offset,) = struct.unpack(">Q", index[place : place + 8])
            index[place : place + 8] = struct.pack(">Q", offset + hole)
    path = tmp_path / "long.mp4"
    with path.open("wb") as file:
        file.write(head)
        file.seek(hole if in_front else 0, io.SEEK_CUR)
        file.write(samples)
        file.seek(0 if in_front else hole, io.SEEK_CUR)
        file.write(index)
    assert path.stat().st_blocks * 512 < 1 << 20, "the file system keeps no holes"
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    [found] = count_frames(folder, portal, [("long.mp4", UNKNOWN_SIZE, "")], workers=1)
    assert (found.frames, found.basis) == (30, "index")
    # One of them asks for the size.
    assert found.requests <= 4 + in_front
    assert found.bytes < 1 << 20


def test_a_second_sample_description_that_is_used_is_left_to_decoding(
    count: Callable[..., FrameCount],
) -> None:
    """The description twice, samples of both."""
    data = synthetic.video(30, format="mov")
    at = data.index(b"stsd") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    entry = data[at + 16 : at + length]
    stsd = box(b"stsd", struct.pack(">II", 0, 2) + 2 * entry)
    place = data.index(b"stsc") - 4
    (old,) = struct.unpack(">I", data[place : place + 4])
    assert data[place + 12 : place + 28] == struct.pack(">IIII", 1, 1, 30, 1)  # all samples in one chunk
    offsets = data.index(b"stco") - 4
    (start,) = struct.unpack(">I", data[offsets + 16 : offsets + 20])
    with av.open(io.BytesIO(data)) as container:
        middle = container.streams.video[0].index_entries[12].pos
    stsc = box(b"stsc", struct.pack(">IIIIIIII", 0, 2, 1, 12, 1, 2, 18, 2))
    stco = box(b"stco", struct.pack(">IIII", 0, 2, start, middle))
    made = data[:at] + stsd + data[at + length : place] + stsc + data[place + old : offsets] + stco
    made += data[offsets + 20 :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        where = made.index(kind) - 4
        if kind == b"minf":
            assert made.count(kind) == 1
        (size,) = struct.unpack(">I", made[where : where + 4])
        made = made[:where] + struct.pack(">I", size + len(made) - len(data)) + made[where + 4 :]
    assert decodes(made) == 30
    found = count("a.mov", made)
    assert (found.frames, found.basis) == (30, "decoded")
    assert count("b.mov", made, level="index").reason == "not proved: no sample description, or several"


# DV and transport streams


def dv(format: str) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=format) as container:
        stream = container.add_stream("dvvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"  # type: ignore[union-attr]
        for index in range(4):
            frame = av.VideoFrame(720, 576, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([40 * index]) * plane.buffer_size)
            frame.pts = index
            container.mux(stream.encode(frame))  # type: ignore[union-attr]
        container.mux(stream.encode(None))  # type: ignore[union-attr]
    return sink.getvalue()


@pytest.mark.parametrize(("format", "basis"), [("avi", "index"), ("mov", "decoded")])
def test_dv_in_a_container_is_counted(format: str, basis: str, count: Callable[..., FrameCount]) -> None:
    data = dv(format)
    assert decodes(data) == 4
    found = count(f"a.{format}", data)
    assert (found.frames, found.basis) == (4, basis)


def test_dv_with_sound_inside_its_frames_is_no_proof(count: Callable[..., FrameCount]) -> None:
    """AVI of type 1: one stream that is picture and sound."""
    data = dv("avi").replace(b"vids", b"iavs").replace(b"00dc", b"00__")
    found = count("a.avi", data, level="index")
    assert found.reason == "not proved: a stream of a kind that is not known"
    found = count("b.avi", data)
    assert (found.frames, found.basis) == (decodes(data), "decoded")


def test_raw_dv_is_none_of_the_formats(count: Callable[..., FrameCount]) -> None:
    with av.open(io.BytesIO(dv("avi"))) as container:
        raw = b"".join(bytes(packet) for packet in container.demux(video=0) if packet.size)
    found = count("a.avi", raw)
    assert (found.frames, found.reason) == (
        None,
        "unreadable: its content is none of the video formats that are read",
    )


@pytest.mark.parametrize("garbage", [1, 187, 1000])
def test_a_transport_stream_that_begins_in_the_middle_is_counted(
    garbage: int, count: Callable[..., FrameCount]
) -> None:
    data = synthetic.video(30, format="mpegts", codec="mpeg2video")
    # The tail of a packet, then rubbish that holds the synchronisation byte now and then.
    cut = data[188 - garbage % 188 : 188] + bytes(index * 31 % 256 for index in range(garbage)) + data
    found = count("a.ts", cut)
    assert (found.frames, found.basis) == (decodes(cut), "decoded")
    assert found.frames == 30


def test_a_transport_stream_behind_more_than_ffmpeg_looks_at_is_unreadable(
    count: Callable[..., FrameCount],
) -> None:
    data = synthetic.video(30, format="mpegts", codec="mpeg2video")
    found = count("a.ts", bytes(index * 31 % 256 for index in range(5000)) + data)
    assert found.frames is None
    assert found.reason.startswith("unreadable: ")
