"""Makes a small JPEG of an image, or of a video's first frame; runs in the worker process only.

FFmpeg may open only the formats below and nothing but the one file it is given, as for counts (`decode.py`).
Raises nothing about the content: a file of which no picture can be made ends in a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av
from av.filter import Graph

from metaferry.media.frames.worker import protocol
from metaferry.media.frames.worker.decode import Readable, open_container, raise_if_memory, videos_of

#: Demuxers of images by how the file begins. Named outright: to guess one, FFmpeg would go by the name, and
#: one of its guesses reads files of the disk.
_IMAGES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "png_pipe"),
    (b"\xff\xd8\xff", "jpeg_pipe"),
    (b"BM", "bmp_pipe"),
    (b"GIF8", "gif"),
    (b"II*\0", "tiff_pipe"),
    (b"MM\0*", "tiff_pipe"),
    (b"P2", "pgm_pipe"),
    (b"P5", "pgm_pipe"),
    (b"P3", "ppm_pipe"),
    (b"P6", "ppm_pipe"),
)
#: Pixels of a picture that is decoded, at most: 4 bytes each stay well below the memory of a worker.
_MOST_PIXELS: Final = 300_000_000
#: From fine to coarse, until the picture is small enough (FFmpeg's scale, 2 to 31).
_QUALITIES: Final = (4, 8, 14, 24)
#: The filters that turn a picture upright, by the counterclockwise rotation that it asks for, in degrees.
_UPRIGHT: Final = {90: ("cclock",), -90: ("clock",), 180: ("clock", "clock"), -180: ("clock", "clock")}


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG, or b"" and the `reason` why there is none."""

    data: bytes = b""
    reason: str = ""


def make(file: Readable, *, extension: str, edge: int) -> Picture:
    """A JPEG of at most `edge` pixels a side and `protocol.MAX_PICTURE` bytes.

    Raises `OutOfMemory`, and what `file` itself raises where it is no error of the content.
    """
    head = file.read(16)
    file.seek(0)
    demuxer = next((name for start, name in _IMAGES if head.startswith(start)), None)
    if demuxer is None and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        demuxer = "webp_pipe"
    try:
        with open_container(file, extension, demuxer) as container:
            return _picture(container, edge)
    except av.FFmpegError as error:
        raise_if_memory(error)
        return Picture(reason=f"unreadable: {str(error.strerror or type(error).__name__).lower()}")
    except (ValueError, LookupError, UnicodeError) as error:
        return Picture(reason=f"unreadable: {type(error).__name__}")


def _picture(container: Any, edge: int) -> Picture:
    videos = videos_of(container)
    if not videos or videos[0].codec_context is None:
        return Picture(reason="unreadable: there is no picture in it")
    context = videos[0].codec_context
    if context.width * context.height > _MOST_PIXELS:
        return Picture(reason=f"too large: {context.width} x {context.height} pixels")
    context.thread_count = 1
    frame = next(container.decode(videos[0]), None)
    if frame is None or frame.width * frame.height > _MOST_PIXELS:
        return Picture(reason="unreadable: there is no picture in it")
    share = min(1.0, edge / max(frame.width, frame.height))
    width, height = (max(1, round(side * share)) for side in (frame.width, frame.height))
    small = _upright(frame.reformat(width=width, height=height, format="yuvj420p"), frame.rotation)
    for quality in _QUALITIES:
        data = _jpeg(small, quality)
        if 0 < len(data) <= protocol.MAX_PICTURE:
            return Picture(data)
    return Picture(reason="no small picture can be made of it")


def _upright(frame: Any, rotation: int) -> Any:
    turns = _UPRIGHT.get(rotation, ())
    if not turns:
        return frame
    graph = Graph()
    frame.time_base = Fraction(1)
    links = [graph.add_buffer(template=None, width=frame.width, height=frame.height, format=frame.format,
                              time_base=Fraction(1))]  # fmt: skip
    links += [graph.add("transpose", turn) for turn in turns]
    links.append(graph.add("buffersink"))
    for source, sink in pairwise(links):
        source.link_to(sink)
    graph.configure()
    frame.pts = 0
    graph.push(frame)
    return graph.pull()


def _jpeg(frame: Any, quality: int) -> bytes:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1)
    encoder.options = {"qmin": str(quality), "qmax": str(quality)}
    frame.pts = 0
    return b"".join(bytes(packet) for some in (frame, None) for packet in encoder.encode(some))
