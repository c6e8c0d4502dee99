"""The facts of an AVI, out of its header list. Pure; requests ranges.

Layouts: Microsoft's AVI RIFF reference (avih, strh, strf), OpenDML 1.02 (vprp, the aspect), and the IDIT
chunk of cameras, a date without a zone. The header's own number of frames is never used.
"""

from __future__ import annotations

import datetime
import struct
from dataclasses import replace
from fractions import Fraction
from typing import Final

from metaferry.media.facts.videos import codecs, dates, geometry
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.frames.containers.avi import MAX_BOXES, chunks
from metaferry.media.frames.containers.reading import Asking, NoProof, Source

#: What is fetched with the header of a chunk behind the head of the file.
_AHEAD: Final = 64
#: The longest header list that is read; that of an OpenDML file holds its indices.
_MAX_HEADER: Final = 16 << 20


def read(source: Source) -> Asking[VideoFacts]:
    """The facts in the headers: all but `frames`, `fps`, `vfr` and `duration`. Raises `NoProof`."""
    riff = yield from source.get(0, 12)
    if riff[:4] != b"RIFF" or riff[8:12] != b"AVI ":
        raise NoProof("no AVI header")
    hdrl = b""
    dates_found: list[bytes] = []
    at = 12
    for _ in range(MAX_BOXES):
        if at + 12 > source.size:
            break
        header = yield from source.get(at, at + 12, _AHEAD)
        end = at + 8 + int.from_bytes(header[4:8], "little")
        if header[:4] == b"LIST" and header[8:12] == b"movi":
            break
        if header[:4] == b"LIST" and header[8:12] == b"hdrl" and not hdrl:
            if end - at > _MAX_HEADER:
                raise NoProof("a header that is too long")
            hdrl = yield from source.get(at + 12, end)
        elif header[:4] == b"IDIT":
            dates_found.append((yield from source.get(at + 8, min(end, at + 128))))
        at = end + (end & 1)
    parts = chunks(hdrl)
    dates_found += [body for kind, body in parts if kind == b"IDIT"]
    facts = _of_stream(VideoFacts(container="avi"), parts)
    taken = next((date for date in map(_date, dates_found) if date is not None), None)
    return replace(facts, taken=taken)


def _date(body: bytes) -> datetime.datetime | None:
    return dates.of_avi(body[:64].decode("latin-1"))


def _of_stream(facts: VideoFacts, parts: list[tuple[bytes, bytes]]) -> VideoFacts:
    for kind, body in parts:
        if kind == b"LIST" and body[:4] == b"strl":
            stream = dict(reversed(chunks(body[4:])))
            if stream.get(b"strh", b"")[:4] == b"vids":
                break
    else:
        raise NoProof("no video stream")
    form = stream.get(b"strf", b"")
    if len(form) < 20:
        return facts
    width, height = struct.unpack("<ii", form[4:12])
    height = abs(height)  # negative: stored from the top
    mark = form[16:20]
    if mark.strip(b"\0"):
        name = mark.decode("latin-1")
        facts = replace(facts, codec_mark=name, codec=codecs.of_fourcc(name))
    if width <= 0 or not height:
        return facts
    shown_width, shown_height = geometry.stretched(width, height, _aspect(stream.get(b"vprp", b"")))
    return replace(
        facts,
        width=width,
        height=height,
        shown_width=shown_width,
        shown_height=shown_height,
        rotation=0,
        mirrored=False,
    )


def _aspect(vprp: bytes) -> Fraction | None:
    """The pixel aspect by an OpenDML video properties header; None where it does not say."""
    if len(vprp) < 32:
        return None
    ratio, width, height = struct.unpack("<III", vprp[20:32])
    picture = Fraction(ratio >> 16, ratio & 0xFFFF) if ratio >> 16 and ratio & 0xFFFF else None
    return None if picture is None or not width or not height else picture * Fraction(height, width)
