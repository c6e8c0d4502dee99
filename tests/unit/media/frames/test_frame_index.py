"""The index readers alone, over bytes in memory: what they prove, what they refuse, what they cost."""

from __future__ import annotations

import datetime
import io
import struct
from collections.abc import Callable
from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaferry.media.frames import index
from metaferry.media.frames.containers import reading
from metaferry.media.frames.containers.codecs import whole_nals
from metaferry.media.frames.containers.mp4 import boxes as mp4_boxes
from metaferry.media.frames.containers.mp4 import index as mp4
from metaferry.media.frames.containers.reading import Indexed, NoProof, Range
from metaferry.media.frames.containers.sniff import container_of
from unit.media import synthetic


class Reads:
    """A file in memory that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.trips = self.bytes = 0

    def __call__(self, ranges: list[Range]) -> list[bytes]:
        self.trips += 1
        self.bytes += sum(end - start for start, end in ranges)
        assert all(0 <= start < end <= len(self.data) for start, end in ranges)
        return [self.data[start:end] for start, end in ranges]


def counted(data: bytes, *, times: bool = False) -> tuple[Indexed, Reads]:
    reads = Reads(data)
    source, container = index.open_source(len(data), reads)
    return index.count(source, container, reads, times=times), reads


def refused(data: bytes) -> str:
    with pytest.raises(NoProof) as caught:
        counted(data)
    return str(caught.value)


def decoded_times(data: bytes) -> list[Fraction]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def padded(data: bytes, size: int = 2 << 20) -> bytes:
    """The file with `size` more bytes of media data that no sample uses; its index stays at the end."""
    at = data.index(b"mdat") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    end = at + length
    return data[:at] + struct.pack(">I", length + size) + data[at + 4 : end] + bytes(size) + data[end:]


def boxed(data: bytes, kind: bytes) -> int:
    """Where the content of the first box of a kind begins."""
    return data.index(kind) + 4


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


X264 = {"codec": "libx264", "options": {"bf": "3"}}


@pytest.mark.parametrize(
    "make",
    [
        lambda: synthetic.video(60, **X264),
        lambda: synthetic.video(60, movflags="faststart", **X264),
        lambda: synthetic.video(6, pts=[0, 3, 50, 51, 900, 4000]),
        lambda: synthetic.video(25, format="mov"),
        lambda: synthetic.video(99, format="avi", codec="msmpeg4v2"),
    ],
)
def test_times_are_those_of_the_decoder(make: Callable[[], bytes]) -> None:
    data = make()
    found, _ = counted(data, times=True)
    assert found.times is not None
    assert list(found.times) == decoded_times(data)
    assert found.frames == len(found.times)


@pytest.mark.parametrize("start", [0, 1, 5, 12, 13, 30])
@pytest.mark.parametrize("length", [1, 7, 20])
def test_an_edit_list_shows_what_the_decoder_shows(start: int, length: int) -> None:
    data = synthetic.video(48, **X264)
    at = boxed(data, b"elst")
    # Version 0, one entry: duration in movie ticks (1/1000 s), start in media ticks (1/12800 s).
    first = int.from_bytes(data[at + 12 : at + 16], "big")
    data = patched(data, at + 8, struct.pack(">Ii", length * 40, first + start * 512))
    shown = decoded_times(data)
    found, _ = counted(data, times=True)
    assert found.frames == len(shown) == min(length, 48 - start)
    assert list(found.times or ()) == shown


def test_an_index_at_the_end_takes_three_reads() -> None:
    data = padded(synthetic.video(1000, **X264))
    found, reads = counted(data)
    assert found.frames == 1000
    assert reads.trips <= 3
    assert reads.bytes < reading.HEAD + 64 * 1000


def test_a_large_moov_is_read_box_by_box(monkeypatch: pytest.MonkeyPatch) -> None:
    data = padded(synthetic.video(1000, audio=True, **X264))
    whole, _ = counted(data, times=True)
    monkeypatch.setattr(mp4, "WHOLE_MOOV", 1 << 10)
    monkeypatch.setattr(mp4_boxes, "TAIL", 8)
    found, reads = counted(data, times=True)
    assert (found.frames, found.times) == (1000, whole.times)
    assert "read box by box" in found.explain[0]
    assert 4 < reads.trips < 20


def test_an_index_in_front_takes_two_reads() -> None:
    data = synthetic.video(1000, movflags="faststart", size=64, noise=True)
    assert len(data) > reading.SMALL
    found, reads = counted(data)
    assert found.frames == 1000
    assert reads.trips <= 3
    assert reads.bytes < reading.HEAD + 64 * 1000


@pytest.mark.parametrize("movflags", ["frag_keyframe+empty_moov", "frag_keyframe+empty_moov+global_sidx"])
def test_fragments_are_summed(movflags: str) -> None:
    found, reads = counted(synthetic.video(1001, movflags=movflags, size=64, noise=True))
    assert found.frames == 1001
    if "sidx" in movflags:
        assert reads.trips <= 4


def test_a_fragmented_file_that_is_cut_is_no_proof() -> None:
    data = synthetic.video(100, movflags="frag_keyframe+empty_moov")
    last = data.rindex(b"mfra") - 4
    assert counted(data[:last])[0].frames == 100
    assert "cut" in refused(data[: last - 10])


def test_damaged_samples_of_a_small_file_are_seen() -> None:
    data = synthetic.video(40, codec="libx264")
    with av.open(io.BytesIO(data)) as container:
        place = container.streams.video[0].index_entries[20].pos
    assert refused(patched(data, place, b"\xff\xff\xff\xff")) == "sample 20 is damaged"
    assert not whole_nals(b"\0\0\0\2\x41", 4)


def test_a_video_that_begins_without_a_sync_sample_is_no_proof() -> None:
    data = synthetic.video(40, codec="libx264")
    at = boxed(data, b"stss")
    assert refused(patched(data, at + 8, struct.pack(">I", 2))) == "the first sample is no sync sample"


def test_a_trimmed_video_without_a_table_of_sync_samples_is_no_proof() -> None:
    data = synthetic.video(48, **X264)
    at = boxed(data, b"elst")
    first = int.from_bytes(data[at + 12 : at + 16], "big")
    trimmed = patched(data, at + 8, struct.pack(">Ii", 400, first + 30 * 512))
    assert counted(trimmed)[0].frames == 10
    assert "no table of sync samples" in refused(trimmed.replace(b"stss", b"free"))


def test_encrypted_video_is_no_proof() -> None:
    assert refused(synthetic.video(9, codec="libx264").replace(b"avc1\0", b"encv\0")) == "encrypted"


def test_lying_tables_are_refused_without_work() -> None:
    data = synthetic.video(40)
    at = boxed(data, b"stsz")
    lie = patched(data, at + 4, struct.pack(">II", 1, 0xFFFFFFFF))
    assert "more than" in refused(lie)
    assert refused(patched(data, at + 4, struct.pack(">II", 0, 41))) == "a table that is shorter than it says"


def test_millions_of_empty_boxes_cost_little() -> None:
    data = (
        struct.pack(">I4sI4sI", 16, b"ftyp", 0, b"isom", 0)[:16] + struct.pack(">I4s", 8, b"free") * 400_000
    )
    assert refused(data).startswith(("more than", "its structure takes too many reads"))


def test_dropped_frames_of_an_avi_are_not_counted() -> None:
    data = synthetic.video(6, format="avi", codec="msmpeg4v2", pts=[0, 1, 2, 5, 6, 9])
    found, _ = counted(data, times=True)
    assert found.explain[-1] == "idx1: 49 entries, 43 without bytes"
    assert found.frames == 6
    assert list(found.times or ()) == decoded_times(data)


def test_an_index_that_is_silent_about_some_chunks_is_no_proof() -> None:
    data = synthetic.video(20, format="avi")
    at = data.rindex(b"idx1") + 4
    (length,) = struct.unpack("<I", data[at : at + 4])
    shorter = patched(data, at, struct.pack("<I", length - 16))[: at + 4 + length - 16]
    shorter = patched(shorter, 4, struct.pack("<I", len(shorter) - 8))
    assert refused(shorter) == "chunks that the index does not speak of"


def test_a_second_riff_without_an_index_is_no_proof() -> None:
    data = synthetic.video(20, format="avi")
    assert counted(data)[0].frames == 20
    more = data + b"RIFF" + struct.pack("<I", 4) + b"AVIX"
    assert refused(more) == "a second RIFF that the index does not speak of"


def opendml(frames: list[bytes], *, first_is_key: bool = True) -> bytes:
    """An AVI of one MJPEG stream with a super index and one index of chunks, and no idx1."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    def build(places: list[int], index_at: int) -> tuple[bytes, list[int], int]:
        entries = b"".join(
            struct.pack("<II", place, len(frame) | (0 if first_is_key or number else 1 << 31))
            for number, (place, frame) in enumerate(zip(places, frames, strict=True))
        )
        standard = chunk(b"ix00", struct.pack("<HBBI4sQI", 2, 0, 1, len(frames), b"00dc", 0, 0) + entries)
        super_index = struct.pack("<HBBI4s12xQII", 4, 0, 0, 1, b"00dc", index_at, len(standard), len(frames))
        header = struct.pack("<4s4sIHHIIIIIIII8x", b"vids", b"MJPG", 0, 0, 0, 0, 1, 25, 0, 9, 0, 0, 0)
        form = struct.pack("<IiiHH4sIiiII", 40, 32, 32, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
        strl = b"strl" + chunk(b"strh", header) + chunk(b"strf", form) + chunk(b"indx", super_index)
        head = chunk(b"LIST", b"hdrl" + chunk(b"avih", bytes(56)) + chunk(b"LIST", strl))
        body, found = b"movi", []
        for frame in frames:
            found.append(12 + len(head) + 8 + len(body) + 8)
            body += chunk(b"00dc", frame)
        at = 12 + len(head) + 8 + len(body)
        whole = chunk(b"RIFF", b"AVI " + head + chunk(b"LIST", body + standard))
        return whole, found, at

    _, places, index_at = build([0] * len(frames), 0)
    return build(places, index_at)[0]


def test_an_opendml_index_is_followed() -> None:
    data = opendml([b"one", b"", b"three!", b"four"])
    found, reads = counted(data, times=True)
    assert (found.frames, found.explain[-1]) == (3, "OpenDML: 4 entries, 1 without bytes")
    assert list(found.times or ()) == [Fraction(0), Fraction(2, 25), Fraction(3, 25)]
    assert reads.trips <= 4
    assert refused(opendml([b"one", b"two"], first_is_key=False)) == "the first chunk is no key frame"
    assert "cut" in refused(data[:-30])


def matroska(
    *, app: str = "mkvmerge v80.0", date: str = "2026-01-02 03:04:05", codec: str = "V_MJPEG"
) -> bytes:
    """A Matroska file without clusters: a track, and a statistics tag of 1234 frames."""

    def element(kind: int, body: bytes) -> bytes:
        return (
            kind.to_bytes((kind.bit_length() + 7) // 8, "big") + b"\x01" + len(body).to_bytes(7, "big") + body
        )

    def simple(name: str, value: str) -> bytes:
        return element(0x67C8, element(0x45A3, name.encode()) + element(0x4487, value.encode()))

    since = datetime.datetime(2026, 1, 2, 3, 4, 5) - datetime.datetime(2001, 1, 1)
    nanoseconds = int(since.total_seconds()) * 1_000_000_000
    info = element(0x5741, b"mkvmerge v80.0") + element(0x4461, nanoseconds.to_bytes(8, "big"))
    track = element(0x83, b"\1") + element(0x86, codec.encode()) + element(0x73C5, b"\7")
    tag = element(0x63C0, element(0x63C5, b"\7")) + simple("NUMBER_OF_FRAMES", "1234")
    tag += simple("_STATISTICS_WRITING_APP", app) + simple("_STATISTICS_WRITING_DATE_UTC", date)
    segment = element(0x1549A966, info) + element(0x1654AE6B, element(0xAE, track))
    segment += element(0x1254C367, element(0x7373, tag))
    return element(0x1A45DFA3, b"") + element(0x18538067, segment)


def test_only_a_statistics_tag_of_this_very_file_is_a_proof() -> None:
    found, reads = counted(matroska())
    assert found.frames == 1234
    assert reads.trips <= 3
    assert refused(matroska(app="mkvmerge v79.0")) == "statistics of another program"
    assert refused(matroska(date="2026-01-02 03:04:06")) == "statistics of another date"
    assert "hidden frames" in refused(matroska(codec="V_VP9"))


def test_the_content_is_asked_and_not_the_name() -> None:
    assert container_of(synthetic.video(3)[:16]) == "mp4"
    assert container_of(synthetic.video(3, format="avi")[:16]) == "avi"
    assert container_of(synthetic.video(3, format="webm", codec="libvpx")[:16]) == "matroska"
    assert container_of(b"ffconcat version 1.0\n") is None
    assert container_of(b"") is None


SEEDS: dict[str, bytes] = {
    "b-frames": synthetic.video(12, **X264),
    "sound": synthetic.video(12, audio=True),
    "fragments": synthetic.video(24, movflags="frag_keyframe+empty_moov", gop=4),
    "index of fragments": synthetic.video(24, movflags="frag_keyframe+empty_moov+global_sidx", gop=4),
    "avi": synthetic.video(12, format="avi"),
    "mov": synthetic.video(12, format="mov"),
    "mkv": synthetic.video(12, format="matroska", codec="libx264"),
    "webm": synthetic.video(12, format="webm", codec="libvpx"),
}


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A real file with some bytes replaced, parts repeated or left out, or its end cut off."""
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["bytes", "number", "repeat", "remove", "cut"])):
            case "bytes":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "number":
                data[at : at + 4] = draw(st.sampled_from([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF])).to_bytes(
                    4, "big"
                )
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 200))]
            case "remove":
                del data[at : at + draw(st.integers(1, 200))]
            case "cut":
                del data[max(1, at) :]
        if not data:
            return b"\0"
    return bytes(data)


@settings(max_examples=300, deadline=60_000)
@given(hostile(), st.booleans())
@pytest.mark.slow
def test_every_file_ends_in_a_count_or_a_reason_within_its_budget(data: bytes, times: bool) -> None:
    reads = Reads(data)
    try:
        source, container = index.open_source(len(data), reads)
        found = index.count(source, container, reads, times=times)
    except NoProof:
        pass
    else:
        assert 0 <= found.frames <= len(data)
        assert found.times is None or len(found.times) == found.frames
    assert reads.trips <= 1 + reading.ROUND_TRIPS + len(data) // reading.BYTES_A_TRIP
    assert reads.bytes <= len(data) + reading.MAX_BYTES
