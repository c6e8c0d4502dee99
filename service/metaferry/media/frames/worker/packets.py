"""How many frames a packet shows, codec by codec: what a scan may believe. Pure.

A packet is one frame for the codecs below and under the conditions below: VP8 and VP9 have hidden
frames, superframes included; a stream that does not begin with a key picture is not proved, and
neither is a codec that is not listed. Never decodes a picture.
"""

from __future__ import annotations

from collections.abc import Callable

from metaferry.media.frames.containers import codecs
from metaferry.media.frames.containers.reading import NoProof

#: How many frames a packet shows. Arguments: its bytes, its number. Raises `NoProof`.
Shows = Callable[[bytes, int], int]


def rule_for(codec: str, format: str, extradata: bytes) -> Shows:
    """The rule for the packets of `codec` (FFmpeg's name) in `format`. Raises `NoProof` without one.

    extradata: the codec's configuration, as the container holds it.
    """
    if format == "mpeg" and codec in ("mpeg1video", "mpeg2video"):
        return _mpeg
    if format == "hevc" and codec == "hevc":
        return _RawHevc()
    if format == "matroska" and codec in ("vp8", "libvpx"):
        return _vp8
    if format in ("matroska", "mov") and codec in ("vp9", "libvpx-vp9"):
        return _vp9
    if format in ("matroska", "mov") and codec == "h264" and extradata[:1] == b"\1":
        if not codecs.progressive(extradata):
            raise NoProof("H.264 that may store one field a packet")
        return _Lengthed("avc1", 1 + (extradata[4] & 3))
    if format == "mov" and codec == "hevc" and extradata[:1] == b"\1" and len(extradata) > 21:
        return _Lengthed("hvc1", 1 + (extradata[21] & 3))
    if format == "mov" and codec == "mpeg4":
        return _mpeg4
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


def _mpeg4(data: bytes, number: int) -> int:
    """ISO/IEC 14496-2, 6.2.5: one coded picture a packet; the first needs no other."""
    at = data.find(b"\0\0\1\xb6")
    if at < 0 or at + 5 > len(data) or data.find(b"\0\0\1\xb6", at + 4) >= 0 or len(data) <= 8:
        raise NoProof(f"packet {number} does not hold one picture")
    if number == 0 and data[at + 4] >> 6:
        raise NoProof("the first packet is no key picture")
    return 1


class _Lengthed:
    """H.264 or HEVC in samples of length and NAL unit; the first must be a key picture."""

    def __init__(self, codec: str, prefix: int) -> None:
        self._codec = codec
        self._prefix = prefix

    def __call__(self, data: bytes, number: int) -> int:
        if not codecs.whole_nals(data, self._prefix):
            raise NoProof(f"packet {number} is damaged")
        if number == 0 and not codecs.begins_with_key(data, self._codec, self._prefix):
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
