"""Which track of an MP4 is its video, and the boxes of that track. Pure; requests ranges.

The first track with a video handler that is no chapter of another is what FFmpeg takes for the
first video stream. A track of a kind that is not known might be one too: that is a `NoProof`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from metaferry.media.frames.containers.mp4 import tables
from metaferry.media.frames.containers.mp4.boxes import Box, Budget, children, maybe, only
from metaferry.media.frames.containers.reading import Asking, NoProof, Source

#: Most tracks of a file; real ones have less than ten.
MAX_TRACKS: Final = 200

#: Handlers of tracks that FFmpeg never takes for video.
_NO_VIDEO: Final = frozenset(
    {b"soun", b"text", b"sbtl", b"subt", b"subp", b"tmcd", b"hint", b"meta", b"clcp", b"data", b"mdir"}
)


def first_video(source: Source, traks: list[Box], budget: Budget) -> Asking[tuple[tables.Track, bool]]:
    """The track that FFmpeg takes for the first video stream; whether there are more."""
    videos = yield from video_tracks(source, traks, budget, others=_NO_VIDEO)
    if not videos:
        raise NoProof("no video track")
    track = yield from _track(source, videos[0], budget)
    return track, len(videos) > 1


@dataclass(frozen=True, slots=True)
class VideoTrack:
    """The boxes of a track with a video handler: inside `trak`, and inside its `mdia`."""

    number: int
    boxes: list[Box]
    media: list[Box]


def video_tracks(
    source: Source, traks: list[Box], budget: Budget, *, others: frozenset[bytes] | None = None
) -> Asking[list[VideoTrack]]:
    """The video tracks that are no chapters of another, in the order of the file.

    others: handlers of tracks that are certainly no video; a track of any other kind is a `NoProof`.
    None: only tracks with the video handler are looked at.
    """
    videos: list[VideoTrack] = []
    chapters: set[int] = set()
    for trak in traks:
        boxes = yield from children(source, trak.body, trak.end, budget)
        media = only(boxes, b"mdia")
        inner = yield from children(source, media.body, media.end, budget)
        handler = only(inner, b"hdlr")
        (kind,) = struct.unpack(">8x4s", (yield from source.get(handler.body, handler.body + 12)))
        header = only(boxes, b"tkhd")
        number = tables.track_number((yield from source.get(header.body, min(header.end, header.body + 24))))
        reference = maybe(boxes, b"tref")
        if reference is not None:
            for box in (yield from children(source, reference.body, reference.end, budget)):
                if box.kind == b"chap":
                    data = yield from source.get(box.body, box.end)
                    chapters.update(value for (value,) in struct.iter_unpack(">I", data[: len(data) & ~3]))
        if kind == b"vide":
            videos.append(VideoTrack(number, boxes, inner))
        elif others is not None and kind not in others:
            raise NoProof("a track of a kind that is not known")
    if len({video.number for video in videos}) != len(videos):
        raise NoProof("two tracks of one number")
    return [video for video in videos if video.number not in chapters]


def sample_tables(source: Source, video: VideoTrack, budget: Budget) -> Asking[tuple[list[Box], list[Box]]]:
    """The boxes inside `minf` and inside `stbl` of a track."""
    information = only(video.media, b"minf")
    within = yield from children(source, information.body, information.end, budget)
    sample_table = only(within, b"stbl")
    return within, (yield from children(source, sample_table.body, sample_table.end, budget))


def edit_list(source: Source, video: VideoTrack, budget: Budget) -> Asking[bytes]:
    """The content of the `elst` box of a track; empty without one."""
    edts = maybe(video.boxes, b"edts")
    if edts is None:
        return b""
    elst = maybe((yield from children(source, edts.body, edts.end, budget)), b"elst")
    return b"" if elst is None else (yield from source.get(elst.body, elst.end))


def _track(source: Source, video: VideoTrack, budget: Budget) -> Asking[tables.Track]:
    within, stbl = yield from sample_tables(source, video, budget)
    places = maybe(within, b"dinf")
    references = b""
    if places is not None:
        dref = maybe((yield from children(source, places.body, places.end, budget)), b"dref")
        if dref is not None:
            references = yield from source.get(dref.body, dref.end)
    edits = yield from edit_list(source, video, budget)
    mdhd = only(video.media, b"mdhd")
    parts: dict[bytes, bytes] = {}
    wanted = [box for kind in tables.TABLES if (box := maybe(stbl, kind)) is not None]
    yield from source.fetch([(box.body, box.end) for box in wanted])
    for box in wanted:
        parts[box.kind] = yield from source.get(box.body, box.end)
    header = yield from source.get(mdhd.body, min(mdhd.end, mdhd.body + 32))
    return tables.track(video.number, header, parts, edits, references)
