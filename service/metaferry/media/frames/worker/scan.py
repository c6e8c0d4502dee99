"""Counts the frames of one video from its packets, without decoding; runs in the worker process only.

Reads the whole file once. What a packet is worth is in `packets.py`; damaged packets, and pictures
that need what came before the first key picture, are no proof, and neither are the packets of a
container that is not listed. FFmpeg may open what `decode.py` lets it open.
"""

from __future__ import annotations

from typing import Any, Final

import av

from metaferry.media.frames.containers.reading import NoProof
from metaferry.media.frames.model import NOT_PROVED, SEVERAL, TRUNCATED
from metaferry.media.frames.worker.decode import (
    Found,
    Readable,
    Timestamps,
    contradiction,
    only,
    opened,
    raise_if_memory,
    videos_of,
)
from metaferry.media.frames.worker.headers import ends_early
from metaferry.media.frames.worker.packets import rule_for

_FORMATS: Final = ("matroska", "mpeg", "hevc")


def count(
    file: Readable,
    *,
    extension: str,
    size: int,
    times: bool,
    proved: int | None = None,
    fragments: bool = False,
) -> Found:
    """As `decode.count`; a `reason` that begins with `not proved: ` leaves it to decoding.

    proved: how many frames an index has proved to have a packet each, so that only their times
    are requested here; another number of packets is no proof.
    fragments: it is an MP4 of which an index reader has found everything in order (codec, track,
    data references) but could not read all fragments.
    """
    timestamps = Timestamps() if times else None
    formats = (*_FORMATS, "mov") if fragments else _FORMATS
    return opened(
        file, extension, lambda container, head: _count(container, head, size, timestamps, proved, formats)
    )


def _count(
    container: Any,
    head: bytes,
    size: int,
    timestamps: Timestamps | None,
    proved: int | None,
    formats: tuple[str, ...],
) -> Found:
    videos = videos_of(container)
    if not videos:
        return Found(None, "no video stream")
    stream = videos[0]
    flags = [SEVERAL] if len(videos) > 1 else []
    format = container.format.name.partition(",")[0]
    if (format not in formats and proved is None) or stream.codec_context is None:
        return Found(None, f"{NOT_PROVED}packets of {format} are no proof")
    try:
        only(container, stream)
        frames = (
            _packets(container, stream, format, timestamps)
            if proved is None
            else _times(container, stream, timestamps, proved)
        )
        fault = contradiction(container, stream, frames, size) if proved is None else ""
        if fault:
            raise NoProof(fault)
    except NoProof as error:
        return Found(None, f"{NOT_PROVED}{error}", tuple(flags))
    if ends_early(head, size):
        flags.append(TRUNCATED)
    found = Found(frames, flags=tuple(flags))
    return found if timestamps is None else timestamps.added_to(found)


def _times(container: Any, stream: Any, timestamps: Timestamps | None, proved: int) -> int:
    """The times of the packets of a stream that has `proved` frames, a packet each."""
    packets = 0
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                packets += 1
                if timestamps is not None:
                    timestamps.add(packet.pts, packet.time_base)
    except av.FFmpegError as error:
        raise_if_memory(error)
        raise NoProof("reading stopped in the middle") from error
    if packets != proved:
        raise NoProof(f"{packets} packets, where the index has {proved}")
    return packets


def _packets(container: Any, stream: Any, format: str, timestamps: Timestamps | None) -> int:
    name = stream.codec_context.name
    extradata = stream.codec_context.extradata or b""
    shows = rule_for(name, format, extradata)
    frames = number = 0
    first: int | None = None
    try:
        for packet in container.demux(stream):
            if not packet.size and packet.dts is None:  # PyAV's own, behind the last one
                continue
            if not packet.size:
                raise NoProof(f"packet {number} is empty")
            if packet.is_corrupt or packet.is_discard:
                raise NoProof(f"packet {number} is damaged or not to be shown")
            if number and packet.has_sidedata("new_extradata"):
                raise NoProof("the configuration of the codec changes")
            if number == 0:
                first = packet.pts
            elif first is not None and packet.pts is not None and packet.pts < first:
                raise NoProof("pictures before the first key picture are shown")
            shown = shows(bytes(packet), number)
            frames += shown
            if timestamps is not None and shown:
                timestamps.add(packet.pts if shown == 1 else None, packet.time_base)
            number += 1
    except av.FFmpegError as error:
        raise_if_memory(error)
        raise NoProof("reading stopped in the middle") from error
    return frames
