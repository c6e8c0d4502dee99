"""Counts the frames of one video from its packets, without decoding; runs in the worker process only.

Reads the whole file once. A packet is one frame for the codecs below and under the conditions
below: VP8 and VP9 have hidden frames, which are left out, superframes included; a stream that does
not begin with a key picture, or shows pictures that need what came before it, is not proved, and
neither is a codec that is not listed. FFmpeg may open what `decode.py` lets it open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import av

from metaferry.media.frames import codecs
from metaferry.media.frames.decode import Found, Readable, Stamps, only, opened, raise_if_memory, videos_of
from metaferry.media.frames.headers import ends_early
from metaferry.media.frames.model import NOT_PROVED, SEVERAL, TRUNCATED
from metaferry.media.frames.reading import NoProof

#: How many frames a packet shows. Arguments: its bytes, its number.
Shows = Callable[[bytes, int], int]

_FORMATS: Final = ("matroska", "mpeg", "hevc")


def count(file: Readable, *, extension: str, size: int, times: bool, proved: int | None) -> Found:
    """As `decode.count`; a `reason` that begins with `not proved: ` leaves it to decoding.

    proved: how many frames an index has proved to have a packet each, so that only their times
    are asked for here; another number of packets is no proof.
    """
    stamps = Stamps() if times else None
    return opened(file, extension, lambda container, head: _count(container, head, size, stamps, proved))


def _count(container: Any, head: bytes, size: int, stamps: Stamps | None, proved: int | None) -> Found:
    videos = videos_of(container)
    if not videos:
        return Found(None, "no video stream")
    stream = videos[0]
    flags = [SEVERAL] if len(videos) > 1 else []
    format = container.format.name.partition(",")[0]
    if (format not in _FORMATS and proved is None) or stream.codec_context is None:
        return Found(None, f"{NOT_PROVED}packets of {format} are no proof")
    try:
        only(container, stream)
        frames = (
            _packets(container, stream, format, stamps)
            if proved is None
            else _times(container, stream, stamps, proved)
        )
    except NoProof as error:
        return Found(None, f"{NOT_PROVED}{error}", tuple(flags))
    if ends_early(head, size):
        flags.append(TRUNCATED)
    found = Found(frames, flags=tuple(flags))
    return found if stamps is None else stamps.added_to(found)


def _times(container: Any, stream: Any, stamps: Stamps | None, proved: int) -> int:
    """The times of the packets of a stream that has `proved` frames, a packet each."""
    packets = 0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                packets += 1
                if stamps is not None:
                    stamps.add(packet.pts, packet.time_base)
    except av.FFmpegError as error:
        raise_if_memory(error)
        raise NoProof("reading stopped in the middle") from error
    if packets != proved:
        raise NoProof(f"{packets} packets, where the index has {proved}")
    return packets


def _packets(container: Any, stream: Any, format: str, stamps: Stamps | None) -> int:
    name = stream.codec_context.name
    extradata = stream.codec_context.extradata or b""
    shows = _rule(name, format, extradata)
    frames = number = 0
    first: int | None = None
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.is_corrupt or packet.is_discard:
                raise NoProof(f"packet {number} is damaged or not to be shown")
            if number == 0:
                first = packet.pts
            elif first is not None and packet.pts is not None and packet.pts < first:
                raise NoProof("pictures before the first key picture are shown")
            shown = shows(bytes(packet), number)
            frames += shown
            if stamps is not None and shown:
                stamps.add(packet.pts if shown == 1 else None, packet.time_base)
            number += 1
    except av.FFmpegError as error:
        raise_if_memory(error)
        raise NoProof("reading stopped in the middle") from error
    return frames


def _rule(codec: str, format: str, extradata: bytes) -> Shows:
    if format == "mpeg" and codec in ("mpeg1video", "mpeg2video"):
        return _mpeg
    if format == "hevc" and codec == "hevc":
        return _RawHevc()
    if format == "matroska" and codec in ("vp8", "libvpx"):
        return _vp8
    if format == "matroska" and codec in ("vp9", "libvpx-vp9"):
        return _vp9
    if format == "matroska" and codec == "h264" and extradata[:1] == b"\1":
        if not codecs.progressive(extradata):
            raise NoProof("H.264 that may store one field a packet")
        return _LengthedH264(1 + (extradata[4] & 3))
    raise NoProof(f"packets of {codec} are no proof")


def _vp8(data: bytes, number: int) -> int:
    """RFC 6386, 9.1: the frame tag."""
    if len(data) < 3:
        raise NoProof(f"packet {number} is too short for a frame")
    tag = int.from_bytes(data[:3], "little")
    key, version, show, length = not tag & 1, tag >> 1 & 7, tag >> 4 & 1, tag >> 5
    start = 10 if key else 3
    if version > 3 or start + length > len(data) or (key and data[3:6] != b"\x9d\x01\x2a"):
        raise NoProof(f"packet {number} is damaged")
    if number == 0 and not key:
        raise NoProof("the first packet is no key frame")
    if key and not (data[6] | (data[7] & 63) << 8 and data[8] | (data[9] & 63) << 8):
        raise NoProof(f"packet {number} has no size")
    return show


def _vp9(data: bytes, number: int) -> int:
    """The VP9 bitstream specification: 6.2 the uncompressed header, annex B superframes."""
    shown = 0
    for index, frame in enumerate(_superframe(data, number)):
        bits = codecs.Bits(frame[:8], escaped=False)
        if bits.take(2) != 2:
            raise NoProof(f"packet {number} is damaged")
        profile = bits.take(1) | bits.take(1) << 1
        if profile == 3 and bits.take(1):
            raise NoProof(f"packet {number} has an unknown profile")
        if bits.take(1):  # show_existing_frame
            if number == 0 and index == 0:
                raise NoProof("the first packet is no key frame")
            shown += 1
            continue
        no_key, show = bits.take(1), bits.take(1)
        bits.take(1)
        if not no_key and bits.take(24) != 0x498342:
            raise NoProof(f"packet {number} is damaged")
        if number == 0 and index == 0 and no_key:
            raise NoProof("the first packet is no key frame")
        shown += show
    return shown


def _superframe(data: bytes, number: int) -> list[bytes]:
    marker = data[-1]
    if marker & 0xE0 == 0xC0:
        frames, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
        length = 2 + frames * width
        if len(data) >= length and data[-length] == marker:
            sizes = [
                int.from_bytes(data[at : at + width], "little")
                for at in range(len(data) - length + 1, len(data) - 1, width)
            ]
            if sum(sizes) > len(data) - length or not all(sizes):
                raise NoProof(f"packet {number} has a superframe index that does not fit")
            found, at = [], 0
            for size in sizes:
                found.append(data[at : at + size])
                at += size
            return found
    return [data]


def _mpeg(data: bytes, number: int) -> int:
    """ISO/IEC 13818-2, 6.2.3: one picture header a packet; the first an I picture shown first."""
    at = data.find(b"\0\0\1\0")
    if at < 0 or at + 6 > len(data):
        raise NoProof(f"packet {number} holds no picture")
    if number == 0:
        word = int.from_bytes(data[at + 4 : at + 6], "big")
        if word >> 3 & 7 != 1 or word >> 6 or b"\0\0\1\xb3" not in data[:at]:
            raise NoProof("the stream does not begin with a picture of its own")
    return 1


class _LengthedH264:
    """H.264 in samples of length and NAL unit; the first must be an IDR picture."""

    def __init__(self, prefix: int) -> None:
        self._prefix = prefix

    def __call__(self, data: bytes, number: int) -> int:
        if not codecs.whole_nals(data, self._prefix):
            raise NoProof(f"packet {number} is damaged")
        if number == 0 and not codecs.begins_with_key(data, "avc1", self._prefix):
            raise NoProof("the first packet is no key picture")
        return 1


class _RawHevc:
    """HEVC between start codes: one access unit a packet (ITU-T H.265, 7.4.2.4)."""

    def __init__(self) -> None:
        self._sps: bytes | None = None

    def __call__(self, data: bytes, number: int) -> int:
        pictures = 0
        for nal in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
            if len(nal) < 3:
                raise NoProof(f"packet {number} is damaged")
            kind = nal[0] >> 1 & 63
            if nal[0] & 0x80 or (nal[0] & 1) << 5 | nal[1] >> 3:
                raise NoProof(f"packet {number} is damaged, or has layers")
            if kind == 33:
                if self._sps not in (None, nal.rstrip(b"\0")):
                    raise NoProof("the sequence parameters change")
                self._sps = nal.rstrip(b"\0")
            elif kind == 34:
                bits = codecs.Bits(nal[2:64])
                bits.code()
                bits.code()
                bits.take(1)
                if bits.take(1):
                    raise NoProof("pictures that may not be output")
            elif kind in (36, 37):
                raise NoProof("the sequence ends in the middle")
            elif kind < 32 and nal[2] & 0x80:  # first_slice_segment_in_pic_flag
                pictures += 1
                self._picture(kind, nal, number)
        if pictures != 1:
            raise NoProof(f"packet {number} holds {pictures} pictures")
        return 1

    def _picture(self, kind: int, nal: bytes, number: int) -> None:
        if number == 0 and kind not in (19, 20):
            raise NoProof("the stream does not begin with an IDR picture")
        if 16 <= kind <= 23 and number and (kind not in (19, 20, 21) or nal[2] & 0x40):
            raise NoProof("pictures that may be dropped at a splice")
