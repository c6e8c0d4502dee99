"""The facts of an MP4, MOV or M4V, out of its moov box. Pure; requests ranges.

The boxes are those that a frame count reads; a moov that it has read costs no request more. Layouts:
ISO/IEC 14496-12 (8.2.2 mvhd, 8.3.2 tkhd, 8.4.2 mdhd, 12.1 visual sample entries), and Apple's QuickTime
File Format. FFmpeg's rule for a rotated track is followed: its matrix, then that of the movie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from metaferry.media.facts.videos import codecs, dates, geometry
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.mp4_metadata import MAX_METADATA, boxes_in, metadata
from metaferry.media.frames.containers.mp4.boxes import TAIL, Box, Budget, box_at, children, maybe, only
from metaferry.media.frames.containers.mp4.edits import entries
from metaferry.media.frames.containers.mp4.index import WHOLE_MOOV
from metaferry.media.frames.containers.mp4.numbers import scale_of, u32
from metaferry.media.frames.containers.mp4.tracks import (
    MAX_TRACKS,
    VideoTrack,
    edit_list,
    sample_tables,
    video_tracks,
)
from metaferry.media.frames.containers.reading import Asking, NoProof, Source

#: What is read of a box with a header of one size; the longest, mvhd, has 112 bytes.
_HEADER: Final = 128
#: What is read of the first sample entry; its boxes that are wanted come before any other bytes.
_ENTRY: Final = 64 << 10


def read(source: Source) -> Asking[VideoFacts]:
    """The facts in the headers: all but `frames`, `fps` and `vfr`. Raises `NoProof`."""
    budget = Budget()
    moov = yield from _first_moov(source, budget)
    if moov.end - moov.start <= WHOLE_MOOV:
        yield from source.fetch([(moov.start, moov.end)])
    inside = yield from children(source, moov.body, moov.end, budget)
    traks = [box for box in inside if box.kind == b"trak"]
    if len(traks) > MAX_TRACKS:
        raise NoProof(f"more than {MAX_TRACKS} tracks")
    videos = yield from video_tracks(source, traks, budget)
    if not videos:
        raise NoProof("no video track")
    video = videos[0]
    mvhd = yield from _start_of(source, only(inside, b"mvhd"))
    tkhd = yield from _start_of(source, only(video.boxes, b"tkhd"))
    facts = _turned(VideoFacts(container="mp4"), mvhd, tkhd)
    facts = yield from _described(source, facts, video, tkhd, budget)
    duration = yield from _duration(source, inside, video, mvhd, budget)
    facts = replace(facts, duration=duration, creation_time=dates.since_1904(_creation(mvhd)))
    return replace(facts, **(yield from _metadata(source, inside)))


def _first_moov(source: Source, budget: Budget) -> Asking[Box]:
    """The moov box; what comes behind it may be cut."""
    at = 0
    while at < source.size:
        box = yield from box_at(source, at, source.size, budget, ahead=TAIL)
        if box.kind == b"moov":
            return box
        at = box.end
    raise NoProof("no moov box")


def _start_of(source: Source, box: Box, length: int = _HEADER) -> Asking[bytes]:
    return (yield from source.get(box.body, min(box.end, box.body + length)))


def _wide(header: bytes) -> bool:
    return header[:1] == b"\1"


def _creation(mvhd: bytes) -> int:
    return u32(mvhd, 4) << 32 | u32(mvhd, 8) if _wide(mvhd) else u32(mvhd, 4)


def _turned(facts: VideoFacts, mvhd: bytes, tkhd: bytes) -> VideoFacts:
    track = geometry.matrix_at(tkhd, 52 if _wide(tkhd) else 40)
    movie = geometry.matrix_at(mvhd, 48 if _wide(mvhd) else 36)
    if track is None or movie is None:
        return facts
    turn = geometry.turn_of(geometry.product(track, movie))
    return facts if turn is None else replace(facts, rotation=turn.degrees, mirrored=turn.mirrored)


def _described(
    source: Source, facts: VideoFacts, video: VideoTrack, tkhd: bytes, budget: Budget
) -> Asking[VideoFacts]:
    """The codec and the sizes, by the first sample description and the header of the track."""
    _, stbl = yield from sample_tables(source, video, budget)
    stsd = yield from _start_of(source, only(stbl, b"stsd"), _ENTRY)
    if len(stsd) < 16 or not u32(stsd, 4):
        return facts
    entry = stsd[8 : 8 + u32(stsd, 8)]
    if len(entry) < 86:
        return facts
    mark = entry[4:8].decode("latin-1")
    parts = dict(reversed(list(boxes_in(entry[86:]))))  # the first of each kind
    facts = replace(facts, codec_mark=mark, codec=_codec(mark, parts))
    width, height = int.from_bytes(entry[32:34], "big"), int.from_bytes(entry[34:36], "big")
    if width and height:
        facts = replace(facts, width=width, height=height)
    turn = None if facts.rotation is None else geometry.Turn(facts.rotation, bool(facts.mirrored))
    at = 88 if _wide(tkhd) else 76
    track = (u32(tkhd, at) + 0x8000) >> 16, (u32(tkhd, at + 4) + 0x8000) >> 16
    pasp = parts.get(b"pasp", b"")
    if len(pasp) >= 8 and u32(pasp, 0) and u32(pasp, 4):
        size = geometry.stretched(width, height, Fraction(u32(pasp, 0), u32(pasp, 4)))
    else:  # as browsers do it: the header of the track where there is no pixel aspect
        size = track if all(track) else (width, height)
    shown_width, shown_height = geometry.shown(*size, turn)
    return replace(facts, shown_width=shown_width, shown_height=shown_height)


def _codec(mark: str, parts: dict[bytes, bytes]) -> str | None:
    if mark == "encv":  # encrypted: the sinf box has the mark of what it was
        original = dict(boxes_in(parts.get(b"sinf", b""))).get(b"frma", b"")
        return codecs.of_fourcc(original[:4].decode("latin-1"))
    number = _object_type(parts.get(b"esds", b"")) if mark == "mp4v" else None
    return codecs.of_fourcc(mark) if number is None else codecs.of_object_type(number)


def _object_type(esds: bytes) -> int | None:
    """The object type in an esds box (ISO/IEC 14496-1, 7.2.6); None where it has none."""
    at = 4
    for tag in (3, 4):
        if at >= len(esds) or esds[at] != tag:
            return None
        at += 1
        while at < len(esds) and esds[at] & 0x80:
            at += 1
        at += 1
        if tag == 3:
            if at + 3 > len(esds):
                return None
            flags = esds[at + 2]
            at += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
            if flags & 0x40:
                return None
    return esds[at] if at < len(esds) else None


def _duration(
    source: Source, inside: list[Box], video: VideoTrack, mvhd: bytes, budget: Budget
) -> Asking[Fraction | None]:
    """What the headers say: of all fragments, or else of the edit list, or else of the track."""
    movie_scale = scale_of(mvhd, "mvhd")
    mvex = maybe(inside, b"mvex")
    if mvex is not None:  # fragments follow: what is said of the track is true of its part in moov
        mehd = maybe((yield from children(source, mvex.body, mvex.end, budget)), b"mehd")
        ticks = 0 if mehd is None else _known((yield from _start_of(source, mehd)), 4)
        return Fraction(ticks, movie_scale) if ticks else None
    pieces = [
        duration
        for duration, start, _ in entries((yield from edit_list(source, video, budget)))
        if start != -1
    ]
    if pieces and all(pieces):
        return Fraction(sum(pieces), movie_scale)
    mdhd = yield from _start_of(source, only(video.media, b"mdhd"))
    ticks = _known(mdhd, 24 if _wide(mdhd) else 16)
    return Fraction(ticks, scale_of(mdhd, "mdhd")) if ticks else None


def _known(header: bytes, at: int) -> int:
    """A duration at `at`, of 4 or 8 bytes by the version of the box; 0 for one that is unknown."""
    wide = _wide(header)
    value = u32(header, at) << 32 | u32(header, at + 4) if wide else u32(header, at)
    return 0 if value in (0xFFFF_FFFF, (1 << 64) - 1) else value


def _metadata(source: Source, inside: list[Box]) -> Asking[dict[str, Any]]:
    """What `udta` and `meta` boxes say of time and place."""
    found: dict[str, Any] = {}
    for box in _short(source, inside):
        for name, value in metadata(box.kind, (yield from source.get(box.body, box.end))).items():
            found.setdefault(name, value)
    return found


def _short(source: Source, boxes: list[Box]) -> Iterator[Box]:
    # Apple's own keys say more than what is written for other players, so they come first.
    for kind in (b"meta", b"udta"):
        for box in boxes:
            if box.kind == kind and (source.known(box.body, box.end) or box.end - box.body <= MAX_METADATA):
                yield box
