"""What is known of one video. A field that its container does not tell, or tells wrongly, is None."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """The first video stream, and what the container says of the whole.

    container: "mp4" (MOV and M4V too), "avi" or "matroska" (WebM too).
    codec: FFmpeg's name of it, e.g. "h264"; None for one that is not known by its mark.
    codec_mark: how the container marks it: a FourCC ("avc1", "XVID") or Matroska's ID ("V_VP9").
    width, height: pixels as they are stored, before rotation and pixel aspect.
    shown_width, shown_height: pixels as a player shows them: with pixel aspect, turned by `rotation`.
    rotation: degrees by which a player turns the picture clockwise: 0, 90, 180 or 270. None where the
        container asks for anything else, such as a skew.
    mirrored: whether the picture is mirrored left to right before it is turned.
    frames: N as the index proves it; None where it does not (see `untimed`).
    several_streams: whether there are more video streams than this first one; None like `frames`.
    fps: `frames / duration`, exact; None where the index does not prove when frames are shown.
    vfr: whether the frames are at other than equal distances; None like `fps`.
    duration: seconds, exact. Where the index proves the frames: from the start of the first one to the
        end of the last one. Else what the header says, which is often rounded, and that of the longest
        stream in a Matroska file. None where the file is cut.
    creation_time: the header's date, in UTC as its format wants it. **Not to be trusted**: many cameras
        write local time, the end of the recording, or one constant date.
    taken: local time of the recording by the camera's own mark, without a zone.
    taken_utc: the same instant, only where that mark has a zone.
    latitude, longitude: degrees, north and east positive (ISO 6709). altitude: metres.
    untimed: why the index proves no frames or no times; "" where it does.
    """

    container: str
    codec: str | None = None
    codec_mark: str | None = None
    width: int | None = None
    height: int | None = None
    shown_width: int | None = None
    shown_height: int | None = None
    rotation: int | None = None
    mirrored: bool | None = None
    frames: int | None = None
    several_streams: bool | None = None
    fps: Fraction | None = None
    vfr: bool | None = None
    duration: Fraction | None = None
    creation_time: datetime.datetime | None = None
    taken: datetime.datetime | None = None
    taken_utc: datetime.datetime | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    untimed: str = ""
