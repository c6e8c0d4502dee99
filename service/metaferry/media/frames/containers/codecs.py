"""The relation of samples and frames by the name and configuration of a codec. Pure.

One sample is one decoded frame for most codecs. Where it may not be (interlaced H.264 may hold
one field a sample, VP8 has hidden frames), an index proves nothing, and neither does it for a
codec that is not listed here.
"""

from __future__ import annotations

from typing import Final

from metaferry.media.frames.containers.reading import NoProof

#: Sample entries of MP4 and MOV of which one sample is one frame.
_PLAIN: Final = frozenset(
    b"hvc1 hev1 av01 vp09 mp4v jpeg mjpa apcn apch apcs apco ap4h ap4x FFV1 s263 h263 AVdn".split()
) | {b"png ", b"raw "}
_H264: Final = frozenset({b"avc1", b"avc3"})

#: Codecs whose samples are NAL units, each behind its length.
NALS: Final = frozenset({"avc1", "avc3", "hvc1", "hev1"})


def of_mp4(stsd: bytes) -> str:
    """The codec of an stsd box, where one sample is one frame. Raises `NoProof` otherwise."""
    if len(stsd) < 16 or int.from_bytes(stsd[4:8], "big") != 1:
        raise NoProof("no sample description, or several")
    size, kind = int.from_bytes(stsd[8:12], "big"), stsd[12:16]
    entry = stsd[8 : 8 + size]
    if kind == b"encv":
        raise NoProof("encrypted")
    if kind in _H264:
        if not progressive(_inner(entry, b"avcC")):
            raise NoProof("H.264 that may store one field a sample")
    elif kind not in _PLAIN:
        raise NoProof(f"a codec that is not known: {kind.decode('latin-1')!r}")
    return kind.decode("latin-1").strip()


def length_of_nals(stsd: bytes) -> int:
    """Bytes of the length in front of each NAL unit, of an stsd box of `NALS`."""
    h264 = stsd[12:16] in _H264
    record = _inner(stsd[8:], b"avcC" if h264 else b"hvcC")
    if len(record) < 22:
        raise NoProof("no configuration of the codec")
    return 1 + (record[4 if h264 else 21] & 3)


def begins_with_key(sample: bytes, codec: str, prefix: int) -> bool:
    """Whether the first picture in (the beginning of) a sample needs no other: IDR, or HEVC's CRA too.

    H.264 pictures that are only a recovery point make FFmpeg drop what comes before recovery, so
    they are not taken for a key. Codecs without NAL units are trusted.
    """
    if not prefix:
        return True
    at = 0
    while at + prefix < len(sample):
        kind = sample[at + prefix]
        kind = kind & 31 if codec.startswith("avc") else kind >> 1 & 63
        if codec.startswith("avc") and 1 <= kind <= 5:
            return kind == 5
        if codec.startswith(("hev", "hvc")) and kind < 32:
            return 16 <= kind <= 21
        at += prefix + int.from_bytes(sample[at : at + prefix], "big")
    return False


def whole_nals(sample: bytes, prefix: int) -> bool:
    """Whether a sample is nothing but NAL units that fit, by their lengths."""
    at = 0
    while at + prefix < len(sample):
        length = int.from_bytes(sample[at : at + prefix], "big")
        if not length or sample[at + prefix] & 0x80:
            return False
        at += prefix + length
    return at == len(sample)


def _inner(entry: bytes, kind: bytes) -> bytes:
    """The content of a box inside a visual sample entry."""
    at = 86
    while at + 8 <= len(entry):
        size = int.from_bytes(entry[at : at + 4], "big")
        if entry[at + 4 : at + 8] == kind:
            return entry[at + 8 : at + size]
        if size < 8:
            break
        at += size
    raise NoProof("no configuration of the codec")


def progressive(avcc: bytes) -> bool:
    """Whether every sequence parameter set says that all pictures are whole frames."""
    number = avcc[5] & 31 if len(avcc) > 6 else 0
    if not number:
        raise NoProof("no sequence parameter set")
    at = 6
    for _ in range(number):
        length = int.from_bytes(avcc[at : at + 2], "big")
        if not frame_mbs_only(avcc[at + 2 : at + 2 + length]):
            return False
        at += 2 + length
    return True


class Bits:
    """Reads bits and Exp-Golomb codes; `escaped`: a NAL unit's emulation prevention is removed."""

    def __init__(self, data: bytes, *, escaped: bool = True) -> None:
        if escaped:
            data = data.replace(b"\0\0\3", b"\0\0")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, number: int) -> int:
        if number > self._left:
            raise NoProof("a parameter set that is cut")
        self._left -= number
        return self._value >> self._left & ((1 << number) - 1)

    def code(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise NoProof("a parameter set that is none")
        return (1 << zeros) - 1 + (self.take(zeros) if zeros else 0)

    def signed(self) -> int:
        value = self.code()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def frame_mbs_only(sps: bytes) -> bool:
    """`frame_mbs_only_flag` of an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1)."""
    if len(sps) < 4 or sps[0] & 31 != 7:
        raise NoProof("no sequence parameter set")
    bits = Bits(sps[1:256])
    profile = bits.take(8)
    bits.take(16)
    bits.code()
    if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
        chroma = bits.code()
        if chroma == 3:
            bits.take(1)
        bits.code()
        bits.code()
        bits.take(1)
        if bits.take(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.take(1):
                    _skip_scaling(bits, 16 if index < 6 else 64)
    bits.code()
    order = bits.code()
    if order == 0:
        bits.code()
    elif order == 1:
        bits.take(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.code(), 256)):
            bits.signed()
    bits.code()
    bits.take(1)
    bits.code()
    bits.code()
    return bool(bits.take(1))


def _skip_scaling(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
