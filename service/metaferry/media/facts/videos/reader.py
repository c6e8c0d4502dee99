"""The facts of videos by name, as sources have them: see `FactsKind`."""

from __future__ import annotations

import datetime
from typing import Any, Final

import pyarrow as pa

from metaferry.media.facts.model import NUMBER, TEXT, WHOLE, Fact, FactsKind, Found, Unreadable
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.facts.videos.read import video_facts
from metaferry.media.facts.videos.streams import stream_of
from metaferry.media.frames.containers.reading import (
    Asking,
    Cut,
    Damaged,
    Indexed,
    NoProof,
    Source,
    first_range,
)
from metaferry.media.frames.containers.sniff import container_of
from metaferry.media.frames.index import read_index
from metaferry.media.frames.model import METHOD

FACTS: Final = (
    Fact("format", TEXT, "the container: mp4 (also MOV), avi, matroska (also WebM), mpeg or hevc"),
    Fact("codec", TEXT, "FFmpeg's name of the codec: h264, hevc, vp9; null where its mark is not known"),
    Fact("codec_mark", TEXT, "how the container marks it: avc1, XVID, V_VP9"),
    Fact("width", WHOLE, "pixels as stored"),
    Fact("height", WHOLE, "pixels as stored"),
    Fact("shown_width", WHOLE, "pixels as a player shows it: turned, and with the aspect of a pixel"),
    Fact("shown_height", WHOLE, "pixels as a player shows it: turned, and with the aspect of a pixel"),
    Fact("rotation", WHOLE, "degrees clockwise by which a player turns it: 0, 90, 180, 270"),
    Fact("mirrored", pa.bool_(), "whether it is mirrored left to right before it is turned"),
    Fact("frames", WHOLE, "the number of frames, where the index proves it"),
    Fact("several_streams", pa.bool_(), "whether there are more video streams; the first one counts"),
    Fact("duration", NUMBER, "seconds; by its frames where the index proves them, else by the header"),
    Fact("fps", NUMBER, "frames / duration, where the index proves both"),
    Fact("vfr", pa.bool_(), "whether the rate is variable, where the index proves when frames are shown"),
    Fact("creation_time", TEXT, "the header's date, not to be trusted: 2026-05-01T08:00:00Z"),
    Fact("taken", TEXT, "when it was taken by the camera's clock, without a zone: 2026-05-01T10:00:00"),
    Fact("taken_offset", TEXT, "the offset of that clock from UTC, where the camera wrote it: +02:00"),
    Fact("taken_utc", TEXT, "when it was taken, where the offset is known: 2026-05-01T08:00:00Z"),
    Fact("lat", NUMBER, "degrees north, negative in the south"),
    Fact("lon", NUMBER, "degrees east, negative in the west"),
    Fact("altitude", NUMBER, "metres, as the camera wrote them"),
)


def read(size: int) -> Asking[Found]:
    """The facts of a video of `size` bytes; `FactsKind.read` has the rules."""
    [head] = yield [(0, first_range(size))]
    source, container = Source(size, head), container_of(head)
    if container is None and (stream := stream_of(head)) is not None:
        return Found({"format": stream})
    counted: Indexed | NoProof
    try:
        counted = yield from read_index(source, container, times=True)
    except NoProof as error:
        counted = error
    try:
        facts = yield from video_facts(source, container, counted)
    except NoProof as error:
        raise Unreadable(str(error)) from error
    cut = isinstance(counted, Cut | Damaged)
    return Found(values_of(facts), (str(counted),) if cut else ())


def values_of(facts: VideoFacts) -> dict[str, Any]:
    """The facts that are known, by the names of `FACTS`."""
    offset = None
    if facts.taken is not None and facts.taken_utc is not None:
        offset = facts.taken - facts.taken_utc.replace(tzinfo=None)
    values = {
        "format": facts.container,
        "codec": facts.codec,
        "codec_mark": facts.codec_mark,
        "width": facts.width,
        "height": facts.height,
        "shown_width": facts.shown_width,
        "shown_height": facts.shown_height,
        "rotation": facts.rotation,
        "mirrored": facts.mirrored,
        "frames": facts.frames,
        "several_streams": facts.several_streams,
        "duration": None if facts.duration is None else float(facts.duration),
        "fps": None if facts.fps is None else float(facts.fps),
        "vfr": facts.vfr,
        "creation_time": _text(facts.creation_time),
        "taken": _text(facts.taken),
        "taken_offset": None if offset is None else _offset(offset),
        "taken_utc": _text(facts.taken_utc),
        "lat": facts.latitude,
        "lon": facts.longitude,
        "altitude": facts.altitude,
    }
    return {name: value for name, value in values.items() if value is not None}


def _text(date: datetime.datetime | None) -> str | None:
    return None if date is None else date.isoformat().replace("+00:00", "Z")


def _offset(offset: datetime.timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


#: The version of what is read here; that of counting is added, since `frames` is such a count.
_METHOD: Final = 1

VIDEOS: Final = FactsKind("video", 1000 * _METHOD + METHOD, FACTS, read)
