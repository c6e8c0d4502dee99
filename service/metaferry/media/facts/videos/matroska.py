"""The facts of a Matroska or WebM file, out of its headers. Pure; requests ranges.

The elements are those that a frame count reads: what stands in front of the first cluster, and the tags.
Layouts: RFC 9559. The Duration is that of the whole segment: of the longest stream, often rounded.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from math import isfinite
from typing import Final

from metaferry.media.facts.videos import codecs, dates, geometry
from metaferry.media.facts.videos.location import iso_6709
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.frames.containers.matroska import INFO, TAGS, TRACKS, elements, headers
from metaferry.media.frames.containers.reading import Asking, NoProof, Source

_VIDEO: Final = 1
#: Units of DisplayWidth and DisplayHeight: pixels, centimetres, inches, or numbers of a ratio.
_PIXELS, _RATIOS = 0, (1, 2, 3)
_RECTANGULAR: Final = 0

#: Tags of the whole file that cameras and FFmpeg write, in capitals.
_LOCATIONS: Final = ("COM.APPLE.QUICKTIME.LOCATION.ISO6709", "LOCATION", "LOCATION-ENG")
_CREATION: Final = "COM.APPLE.QUICKTIME.CREATIONDATE"


def read(source: Source) -> Asking[VideoFacts]:
    """The facts in the headers: all but `frames`, `fps` and `vfr`. Raises `NoProof`."""
    found, end = yield from headers(source)
    facts = _of_track(VideoFacts(container="matroska"), found.get(TRACKS, b""))
    facts = _of_info(facts, found.get(INFO, b""), whole=end <= source.size)
    return _of_tags(facts, found.get(TAGS, b""))


def _of_track(facts: VideoFacts, tracks: bytes) -> VideoFacts:
    for kind, body in elements(tracks):
        entry = dict(elements(body)) if kind == 0xAE else {}
        if _number(entry.get(0x83)) == _VIDEO:
            break
    else:
        raise NoProof("no video track")
    mark = _text(entry.get(0x86, b""))
    private = entry.get(0x63A2, b"")
    facts = replace(facts, codec_mark=mark or None, codec=codecs.of_matroska(mark, private))
    video = dict(elements(entry.get(0xE0, b"")))
    width, height = _number(video.get(0xB0)), _number(video.get(0xBA))
    turn = _turn(dict(elements(video.get(0x7670, b""))))
    if turn is not None:
        facts = replace(facts, rotation=turn.degrees, mirrored=turn.mirrored)
    if not width or not height:
        return facts
    shown_width, shown_height = geometry.shown(*_displayed(video, width, height), turn)
    return replace(facts, width=width, height=height, shown_width=shown_width, shown_height=shown_height)


def _displayed(video: dict[int, bytes], width: int, height: int) -> tuple[int, int]:
    """The size in square pixels, before it is turned; (0, 0) where it is unknown."""
    unit = _number(video.get(0x54B2)) or _PIXELS
    width -= (_number(video.get(0x54CC)) or 0) + (_number(video.get(0x54DD)) or 0)  # left and right
    height -= (_number(video.get(0x54BB)) or 0) + (_number(video.get(0x54AA)) or 0)  # top and bottom
    display_width, display_height = _number(video.get(0x54B0)), _number(video.get(0x54BA))
    if unit == _PIXELS:
        return display_width or width, display_height or height
    if unit in _RATIOS and display_width and display_height and width > 0 and height > 0:
        return geometry.stretched(width, height, Fraction(display_width * height, display_height * width))
    return 0, 0


def _turn(projection: dict[int, bytes]) -> geometry.Turn | None:
    """The roll of a flat picture, counter-clockwise in the file; a yaw of 180 degrees mirrors it."""
    if (_number(projection.get(0x7671)) or 0) != _RECTANGULAR:
        return None
    yaw, pitch, roll = (_real(projection.get(kind)) for kind in (0x7673, 0x7674, 0x7675))
    if yaw is None or pitch is None or roll is None or pitch or yaw not in (0, 180, -180):
        return None
    return geometry.of_degrees(roll if yaw else -roll, mirrored=bool(yaw))


def _of_info(facts: VideoFacts, info: bytes, *, whole: bool) -> VideoFacts:
    header = dict(elements(info))
    date = header.get(0x4461)
    if date is not None and len(date) == 8:
        facts = replace(facts, creation_time=dates.since_2001(int.from_bytes(date, "big", signed=True)))
    duration = _real(header.get(0x4489))
    scale = _number(header.get(0x2AD7B1), 1_000_000)
    if whole and duration is not None and duration > 0 and scale:
        facts = replace(facts, duration=Fraction(duration) * Fraction(scale, 1_000_000_000))
    return facts


def _of_tags(facts: VideoFacts, tags: bytes) -> VideoFacts:
    """Place and date by the tags of the whole file; those of a track or chapter are passed over."""
    values: dict[str, str] = {}
    for kind, body in elements(tags):
        parts = elements(body) if kind == 0x7373 else []
        targets = [target for part, content in parts if part == 0x63C0 for target in elements(content)]
        if any(target in (0x63C5, 0x63C9, 0x63C4, 0x63C6) and _number(uid) for target, uid in targets):
            continue
        for part, content in parts:
            if part == 0x67C8:
                simple = dict(elements(content))
                values.setdefault(_text(simple.get(0x45A3, b"")).upper(), _text(simple.get(0x4487, b"")))
    taken, taken_utc = dates.with_zone(values.get(_CREATION, ""))
    facts = replace(facts, taken=taken, taken_utc=taken_utc)
    for name in _LOCATIONS:
        if (location := iso_6709(values.get(name, ""))) is not None:
            return replace(facts, **location._asdict())
    return facts


def _number(data: bytes | None, default: int | None = None) -> int | None:
    return default if data is None or len(data) > 8 else int.from_bytes(data, "big")


def _real(data: bytes | None) -> float | None:
    """A float of 4 or 8 bytes; 0 where there is none, None for one that is no number."""
    if not data:
        return 0.0
    if len(data) not in (4, 8):
        return None
    (value,) = struct.unpack(">f" if len(data) == 4 else ">d", data)
    return float(value) if isfinite(value) else None


def _text(data: bytes) -> str:
    return data[:256].rstrip(b"\0").decode("utf-8", "replace")
