"""The index of an AVI: chunks of the first video stream that hold a frame. Pure; requests ranges.

Counts the entries of `idx1`, or of the OpenDML index (`indx` and its `ix##` chunks) where there
is one; entries without bytes are dropped frames. At most four round trips. The number in the
header is never trusted (1499 for 643 was seen). Formats: Microsoft's AVI RIFF reference, and
the OpenDML AVI file format extensions 1.02.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from metaferry.media.frames.containers.reading import Asking, Cut, Damaged, Indexed, NoProof, Source
from metaferry.media.frames.model import Times

#: Codecs of which one chunk is one frame, in upper case. MPEG-4 may be packed (two frames in one
#: chunk), so it is only trusted where its chunks do not say so.
_PLAIN: Final = frozenset(
    b"MJPG DIV3 MP43 MP42 MPG4 DIV2 CVID HFYU FFVH FFV1 MSVC CRAM DVSD MPNG PNG1".split()
)
_MPEG4: Final = frozenset(b"XVID DIVX DX50 MP4V FMP4 3IV2 M4S2".split())

MAX_STREAMS: Final = 64
MAX_BOXES: Final = 4_096
MAX_ENTRIES: Final = 25_000_000
#: OpenDML index chunks: each covers up to 1 GB of the file.
MAX_CHUNKS: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Stream:
    number: int
    codec: bytes
    scale: int
    rate: int
    sample_size: int
    start: int
    indx: bytes


def count(source: Source, *, times: bool = False) -> Asking[Indexed]:
    """N of the first video stream. Raises `NoProof`."""
    riff = yield from source.get(0, 12)
    size = int.from_bytes(riff[4:8], "little")
    if riff[:4] != b"RIFF" or riff[8:12] != b"AVI " or not size:
        raise NoProof("no AVI header")
    if 8 + size > source.size:
        raise Damaged("the file ends before its header says: it is cut")
    streams: list[_Stream] = []
    movi = index = None
    at, end, boxes = 12, 8 + size, 0
    while at + 8 <= end:
        boxes += 1
        if boxes > MAX_BOXES:
            raise NoProof(f"more than {MAX_BOXES} chunks")
        header = yield from source.get(at, min(end, at + 12), _AHEAD if movi is None else 0)
        length = int.from_bytes(header[4:8], "little")
        if at + 8 + length > end:
            raise Damaged("a chunk that does not fit: the file is cut or damaged")
        if header[:4] == b"LIST" and header[8:12] == b"hdrl":
            streams = _streams((yield from source.get(at + 12, at + 8 + length)))
        elif header[:4] == b"LIST" and header[8:12] == b"movi":
            if movi is not None:
                raise NoProof("two lists of chunks")
            movi = at + 8, at + 8 + length
        elif header[:4] == b"idx1":
            index = at + 8, at + 8 + length
            break
        at += 8 + length + (length & 1)
        if movi is not None and not _wants_idx1(streams):
            break
    if not streams or movi is None:
        raise NoProof("no streams, or no chunks")
    videos = [stream for stream in streams if stream.codec]
    if not videos:
        raise NoProof("no video stream")
    video = videos[0]
    if video.indx:
        lengths = yield from _opendml(source, video, movi)
        how = "OpenDML"
    elif index is not None:
        if source.size >= 20 + size:
            behind = yield from source.get(8 + size, 20 + size)
            if b"RIFF" in behind or b"AVIX" in behind:
                raise NoProof("a second RIFF that the index does not speak of")
        lengths = _idx1((yield from source.get(*index)), video.number, movi, len(streams))
        how = "idx1"
    else:
        raise NoProof("no index")
    filled = [place for place, (_, length) in enumerate(lengths) if length]
    if filled and filled[0] != 0:
        raise NoProof("the first chunk is empty")
    yield from _look_at_chunks(source, video, [lengths[place] for place in filled])
    explain = (
        f"stream {video.number}: codec {video.codec.decode('latin-1')}",
        f"{how}: {len(lengths)} entries, {len(lengths) - len(filled)} without bytes",
    )
    timestamps = duration = None
    unit = Fraction(video.scale, video.rate)
    if times and video.codec in _PLAIN:  # MPEG-4 may have B-frames, which are stored in another order
        timestamps = Times(unit, array("q", filled))
    if times and filled:
        duration = len(lengths) * unit
    return Indexed(len(filled), len(videos) > 1, explain, timestamps, duration)


#: What is fetched with the header of a chunk behind the head of the file.
_AHEAD: Final = 64


def _wants_idx1(streams: list[_Stream]) -> bool:
    return not any(stream.indx for stream in streams if stream.codec)


def _streams(hdrl: bytes) -> list[_Stream]:
    found: list[_Stream] = []
    for kind, body in chunks(hdrl):
        if kind == b"LIST" and body[:4] == b"strl":
            if len(found) >= MAX_STREAMS:
                raise NoProof(f"more than {MAX_STREAMS} streams")
            found.append(_stream(len(found), dict(chunks(body[4:]))))
    return found


def _stream(number: int, parts: dict[bytes, bytes]) -> _Stream:
    header, form = parts.get(b"strh", b""), parts.get(b"strf", b"")
    if len(header) < 48:
        raise NoProof("a stream without a header")
    kind = header[:4]
    if kind not in (b"vids", b"auds", b"txts", b"mids"):
        raise NoProof("a stream of a kind that is not known")
    scale, rate, start = struct.unpack("<III", header[20:32])
    (sample_size,) = struct.unpack("<I", header[44:48])
    codec = form[16:20].upper() if kind == b"vids" and len(form) >= 20 else b""
    if kind == b"vids" and not codec.strip(b"\0"):
        raise NoProof("a codec that is not known")
    return _Stream(number, codec, scale, rate, sample_size, start, parts.get(b"indx", b""))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of the chunks of a list. Raises `NoProof` where they do not fit."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data) or len(found) >= MAX_BOXES:
            raise NoProof("a header that does not fit")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    return found


def _idx1(data: bytes, number: int, movi: tuple[int, int], streams: int) -> list[tuple[int, int]]:
    """(position, length) of the stream's chunks, empty ones included."""
    if len(data) % 16 or len(data) // 16 > MAX_ENTRIES:
        raise NoProof("an index that is cut")
    mine = [b"%02ddc" % number, b"%02ddb" % number]
    found: list[tuple[int, int]] = []
    base = None
    last = -1
    covered = 4
    first_flags = 0
    for tag, flags, offset, length in struct.iter_unpack("<4sIII", data):
        covered += 8 + length + (length & 1)
        if base is None:
            # Offsets count from the list's type, or from the start of the file.
            base = 0 if offset >= movi[0] else movi[0]
        if tag not in mine:
            theirs = tag[:2].isdigit() and int(tag[:2]) < streams and tag[:2] != mine[0][:2]
            if not theirs:
                raise NoProof("an index with chunks of another kind")
            continue
        place = base + offset + 8
        if place + length > movi[1]:
            raise Damaged("chunks behind the end of their list: the file is cut or damaged")
        if length and place <= last:
            raise NoProof("an index that is not in order")
        if not found:
            first_flags = flags
        if length:
            last = place
        found.append((place, length))
    # FFmpeg reads the chunks in order, whatever the index says of them: there must be no others.
    if not 0 <= movi[1] - movi[0] - covered < 8:
        raise NoProof("chunks that the index does not speak of")
    if found and not first_flags & 0x10:
        raise NoProof("the first chunk is no key frame")
    if not found:
        raise NoProof("an index without this stream")
    return found


def _opendml(source: Source, video: _Stream, movi: tuple[int, int]) -> Asking[list[tuple[int, int]]]:
    """(position, length) of the stream's chunks, from its super index or its only index."""
    data = video.indx
    if len(data) < 24:
        raise NoProof("an index that is cut")
    width, kind, entries = data[0] | data[1] << 8, data[3], int.from_bytes(data[4:8], "little")
    if kind == 1:
        return _standard(data, video, source.size)
    if kind or width != 4 or not 0 < entries <= MAX_CHUNKS or 24 + 16 * entries > len(data):
        raise NoProof("an index of a kind that is not known")
    places = list(struct.iter_unpack("<QII", data[24 : 24 + 16 * entries]))
    yield from source.fetch([(place, place + length) for place, length, _ in places])
    found: list[tuple[int, int]] = []
    for place, length, _ in places:
        chunk = yield from source.get(place, place + length)
        if chunk[:4] != b"ix%02d" % video.number and chunk[2:4] != b"ix":
            raise NoProof("an index that points to something else")
        inner = _standard(chunk[8:], video, source.size)
        if found and inner and inner[0][0] <= found[-1][0]:
            raise NoProof("an index that is not in order")
        found.extend(inner)
        if len(found) > MAX_ENTRIES:
            raise NoProof(f"more than {MAX_ENTRIES} entries")
    return found


def _standard(data: bytes, video: _Stream, size: int) -> list[tuple[int, int]]:
    if len(data) < 24:
        raise NoProof("an index that is cut")
    width, sub, kind, entries, tag, base = struct.unpack("<HBBI4sQ", data[:20])
    if width != 2 or sub or kind != 1 or 24 + 8 * entries > len(data):
        raise NoProof("an index of a kind that is not known")
    if tag not in (b"%02ddc" % video.number, b"%02ddb" % video.number):
        raise NoProof("an index of another stream")
    found: list[tuple[int, int]] = []
    for offset, word in struct.iter_unpack("<II", data[24 : 24 + 8 * entries]):
        length = word & 0x7FFFFFFF
        if base + offset + length > size:
            raise Cut("chunks behind the end of the file: it is cut")
        if not found and word & 0x80000000:
            raise NoProof("the first chunk is no key frame")
        found.append((base + offset, length))
    return found


def _look_at_chunks(source: Source, video: _Stream, filled: list[tuple[int, int]]) -> Asking[None]:
    """Whether a chunk can be taken for a frame, by its codec and by the first chunk."""
    if video.codec not in _PLAIN | _MPEG4:
        raise NoProof(f"a codec that is not known: {video.codec.decode('latin-1')!r}")
    if video.start or not video.scale or not video.rate:
        raise NoProof("a stream that does not start at zero, or has no rate")
    if not filled:
        return
    place, length = filled[0]
    yield from source.fetch([(place - 8, place + min(length, 4096))])
    tags = (b"%02ddc" % video.number, b"%02ddb" % video.number)
    for at, size in filled:
        if not source.known(at - 8, at):
            continue  # of a large file only the first one is read
        header = source.peek(at - 8, at)
        if header[:4] not in tags or int.from_bytes(header[4:8], "little") != size:
            raise NoProof("an index that points to something else")
    if video.codec not in _MPEG4:
        return
    first = yield from source.get(place, place + min(length, 4096))
    if b"\0\0\1\xb6" not in first:
        raise NoProof("the first chunk holds no picture")
    picture = first.index(b"\0\0\1\xb6")
    if picture + 4 >= len(first) or first[picture + 4] >> 6 != 0:
        raise NoProof("the first picture is no key picture")
    user = first.find(b"\0\0\1\xb2", 0, picture)
    if user >= 0 and first[user + 4 : picture].startswith(b"DivX"):
        raise NoProof("MPEG-4 that may be packed: two frames in one chunk")
    if min(length for _, length in filled) <= 8:
        raise NoProof("MPEG-4 with chunks too short for a picture")
