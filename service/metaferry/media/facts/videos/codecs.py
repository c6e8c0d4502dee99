"""The names of codecs, as FFmpeg has them, by the marks of containers. Pure.

A mark that is in no list has no name: another program may know it, and a guess would be wrong.
"""

from __future__ import annotations

from typing import Final

_FOURCC: Final[dict[str, str]] = {
    mark: name
    for name, marks in {
        "h264": "avc1 avc2 avc3 avc4 h264 x264 davc vssh",
        "hevc": "hvc1 hev1 hevc h265 x265 dvh1 dvhe",
        "vvc": "vvc1 vvi1",
        "av1": "av01",
        "vp8": "vp08 vp80",
        "vp9": "vp09 vp90",
        "mpeg4": "mp4v xvid divx dx50 fmp4 3iv2 m4s2",
        "mjpeg": "mjpg jpeg mjpa dmb1",
        "prores": "apcn apch apcs apco ap4h ap4x",
        "dnxhd": "avdn avdh",
        "ffv1": "ffv1",
        "h263": "s263 h263",
        "png": "png mpng png1",
        "msmpeg4v3": "div3 mp43",
        "msmpeg4v2": "div2 mp42",
        "msmpeg4v1": "mpg4",
        "wmv1": "wmv1",
        "wmv2": "wmv2",
        "wmv3": "wmv3",
        "vc1": "wvc1 vc-1",
        "cinepak": "cvid",
        "huffyuv": "hfyu",
        "ffvhuff": "ffvh",
        "msvideo1": "msvc cram",
        "dvvideo": "dvsd dvc dvcp dvpp dv5n dv5p",
        "indeo3": "iv31 iv32",
        "indeo5": "iv50",
        "svq1": "svq1",
        "svq3": "svq3",
        "qtrle": "rle",
        "mpeg1video": "mpg1 m1v1",
        "mpeg2video": "mpg2 m2v1 mx5p mx3p mx5n mx3n xd5b xdv1 xdv2 xdv3 xdvc hdv1 hdv2 hdv3",
    }.items()
    for mark in marks.split()
}

#: MPEG-4's numbers of what an `mp4v` entry really holds (mp4ra.org, object types).
_OBJECT_TYPES: Final = {
    0x20: "mpeg4",
    **dict.fromkeys(range(0x60, 0x66), "mpeg2video"),
    0x6A: "mpeg1video",
    0x6C: "mjpeg",
    0x6D: "png",
}

_MATROSKA: Final = {
    "V_MPEG4/ISO/AVC": "h264",
    "V_MPEGH/ISO/HEVC": "hevc",
    "V_MPEGI/ISO/VVC": "vvc",
    "V_MPEG4/ISO/SP": "mpeg4",
    "V_MPEG4/ISO/ASP": "mpeg4",
    "V_MPEG4/ISO/AP": "mpeg4",
    "V_MPEG4/MS/V3": "msmpeg4v3",
    "V_MPEG1": "mpeg1video",
    "V_MPEG2": "mpeg2video",
    "V_VP8": "vp8",
    "V_VP9": "vp9",
    "V_AV1": "av1",
    "V_THEORA": "theora",
    "V_MJPEG": "mjpeg",
    "V_FFV1": "ffv1",
    "V_PRORES": "prores",
}


def of_fourcc(mark: str) -> str | None:
    """The codec of a FourCC, in any case: `avc1` is h264."""
    return _FOURCC.get(mark.strip(" \0").lower())


def of_object_type(number: int) -> str | None:
    """The codec of an `mp4v` entry by the object type in its esds box."""
    return _OBJECT_TYPES.get(number)


def of_matroska(identifier: str, private: bytes) -> str | None:
    """The codec of a CodecID; `private` is the CodecPrivate, which names that of a Windows codec."""
    if identifier == "V_MS/VFW/FOURCC" and len(private) >= 20:
        return of_fourcc(private[16:20].decode("latin-1"))
    return _MATROSKA.get(identifier)
