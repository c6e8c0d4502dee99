"""Videos whose headers say what a test wants, made of real ones; and their facts, read from memory."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.read import video_facts
from metaferry.media.frames import index
from metaferry.media.frames.containers.reading import Indexed, NoProof, Range

#: (a, b, c, d) of a matrix by clockwise degrees.
TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


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


def facts_of(data: bytes, reads: Reads | None = None) -> VideoFacts:
    """The facts of a file; raises `NoProof`."""
    reads = reads or Reads(data)
    source, container = index.open_source(len(data), reads)
    counted: Indexed | NoProof
    try:
        counted = index.count(source, container, reads, times=True)
    except NoProof as error:
        counted = error
    return index.run(video_facts(source, container, counted), reads)


# MP4


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def patched(data: bytes, kind: bytes, at: int, new: bytes) -> bytes:
    """The file with other bytes at `at` of the content of the first box of a kind."""
    at += data.index(kind) + 4
    return data[:at] + new + data[at + len(new) :]


def turned(data: bytes, degrees: int, *, mirrored: bool = False, kind: bytes = b"tkhd") -> bytes:
    a, b, c, d = TURNS[degrees]
    if mirrored:
        a, b = -a, -b
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return patched(data, kind, 40 if kind == b"tkhd" else 36, struct.pack(">9i", *matrix))


def with_boxes(data: bytes, boxes: bytes, *, inside: Sequence[bytes] = (b"moov",)) -> bytes:
    """The file, its index at the end, with more boxes at the end of the last of nested boxes."""
    place = data.index(inside[-1]) - 4
    (size,) = struct.unpack(">I", data[place : place + 4])
    data = data[: place + size] + boxes + data[place + size :]
    for kind in inside:
        place = data.index(kind) - 4
        (size,) = struct.unpack(">I", data[place : place + 4])
        data = data[:place] + struct.pack(">I", size + len(boxes)) + data[place + 4 :]
    return data


#: The boxes around the description of the samples of a track.
TO_STBL = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def with_entry_box(data: bytes, part: bytes) -> bytes:
    """The file with a box more at the end of its only sample entry."""
    data = with_boxes(data, part, inside=(*TO_STBL, b"stsd"))
    place = data.index(b"stsd") + 12
    (size,) = struct.unpack(">I", data[place : place + 4])
    return data[:place] + struct.pack(">I", size + len(part)) + data[place + 4 :]


def xyz(text: str) -> bytes:
    return box(b"udta", box(b"\xa9xyz", struct.pack(">HH", len(text), 0x15C7) + text.encode()))


def keys(values: Mapping[str, str], *, version: bool = False) -> bytes:
    """A meta box with Apple's keys; `version`: as in ISO files, with a version in front."""
    names = b"".join(box(b"mdta", name.encode()) for name in values)
    items = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + value.encode()))
        for number, value in enumerate(values.values(), 1)
    )
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    body = handler + box(b"keys", struct.pack(">II", 0, len(values)) + names) + box(b"ilst", items)
    return box(b"meta", (bytes(4) if version else b"") + body)


# Matroska


def element(kind: int, body: bytes) -> bytes:
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + b"\x01" + len(body).to_bytes(7, "big") + body


def number(kind: int, value: int) -> bytes:
    return element(kind, value.to_bytes(4, "big"))


def real(kind: int, value: float) -> bytes:
    return element(kind, struct.pack(">d", value))


def tag(name: str, value: str, targets: bytes = b"") -> bytes:
    simple = element(0x67C8, element(0x45A3, name.encode()) + element(0x4487, value.encode()))
    return element(0x7373, element(0x63C0, targets) + simple)


def matroska(
    pictures: Sequence[bytes],
    *,
    codec: str = "V_MJPEG",
    size: tuple[int, int] = (32, 32),
    video: bytes = b"",
    info: bytes = b"",
    tags: bytes = b"",
) -> bytes:
    """A Matroska file of these pictures, 40 ms each; the other bytes go into the elements of their names."""
    track = number(0xD7, 1) + number(0x73C5, 7) + element(0x83, b"\1") + element(0x86, codec.encode())
    track += element(0xE0, number(0xB0, size[0]) + number(0xBA, size[1]) + video)
    blocks = b"".join(
        element(0xA3, b"\x81" + struct.pack(">HB", 40 * index, 0x80) + picture)
        for index, picture in enumerate(pictures)
    )
    segment = element(0x1549A966, number(0x2AD7B1, 1_000_000) + info)
    segment += element(0x1654AE6B, element(0xAE, track))
    segment += (element(0x1254C367, tags) if tags else b"") + element(0x1F43B675, number(0xE7, 0) + blocks)
    kind = element(0x4282, b"matroska") + element(0x4287, b"\4") + element(0x4285, b"\2")
    return element(0x1A45DFA3, kind) + element(0x18538067, segment)
