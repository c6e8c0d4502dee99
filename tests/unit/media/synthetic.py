"""Real media for tests, encoded on the spot: tiny, quick and each with a known number of frames."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

SIZE = 32


def video(
    frames: int,
    *,
    format: str = "mp4",
    codec: str = "mpeg4",
    options: dict[str, str] | None = None,
    movflags: str = "",
    pts: Sequence[int] | None = None,
    second: int | None = None,
    audio: bool = False,
    size: int = SIZE,
    noise: bool = False,
    gop: int = 12,
    pix_fmt: str = "yuv420p",
) -> bytes:
    """A video of `frames` frames; `second`: frames of a second video stream; `pts` in 1/1000 s."""
    # A file by name, since the muxer reads it again to move the index to the front.
    with tempfile.NamedTemporaryFile() as file:
        muxer = {"movflags": movflags} if movflags else {}
        with av.open(file.name, "w", format=format, options=muxer) as container:
            encode(container, frames, codec, options or {}, pts, second, audio, size, noise, gop, pix_fmt)
        return Path(file.name).read_bytes()


def encode(
    container: Any,
    frames: int,
    codec: str,
    options: dict[str, str],
    pts: Sequence[int] | None,
    second: int | None,
    audio: bool,
    size: int,
    noise: bool,
    gop: int,
    pix_fmt: str = "yuv420p",
) -> None:
    counts = [frames] if second is None else [frames, second]
    streams: list[Any] = []
    for _ in counts:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = pix_fmt
        stream.gop_size = gop
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        streams.append(stream)
    sound: Any = container.add_stream("aac", rate=8000) if audio else None
    for index in range(max(counts)):
        for stream, count in zip(streams, counts, strict=True):
            if index < count:
                time = None if pts is None else pts[index]
                container.mux(stream.encode(_frame(index, size, time, noise)))
    if sound is not None:
        for start in range(0, 8000, 1024):
            container.mux(sound.encode(_sound(start)))
        container.mux(sound.encode(None))
    for stream in streams:
        container.mux(stream.encode(None))


def audio_only(format: str = "mp4") -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format=format) as container:
        stream: Any = container.add_stream("aac", rate=8000)
        for start in range(0, 16000, 1024):
            container.mux(stream.encode(_sound(start)))
        container.mux(stream.encode(None))
    return sink.getvalue()


def with_cover(*, frames: int | None) -> bytes:
    """Sound with a cover picture in front, and `frames` frames of real video unless None."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        cover: Any = container.add_stream("png", rate=25)
        cover.width = cover.height = SIZE
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        movie: Any = None
        if frames is not None:
            movie = container.add_stream("mpeg4", rate=25)
            movie.width = movie.height = SIZE
            movie.pix_fmt = "yuv420p"
        sound: Any = container.add_stream("aac", rate=8000)
        picture = av.VideoFrame(SIZE, SIZE, "rgb24")
        picture.pts = 0
        container.mux(cover.encode(picture))
        for index in range(frames or 0):
            container.mux(movie.encode(_frame(index, SIZE, None, False)))
        if movie is not None:
            container.mux(movie.encode(None))
        for start in range(0, 8000, 1024):
            container.mux(sound.encode(_sound(start)))
        container.mux(sound.encode(None))
        container.mux(cover.encode(None))
    return sink.getvalue()


def end_of_sample(data: bytes, number: int) -> int:
    """Where sample `number` of the first video ends, in bytes from the start of the file."""
    with av.open(io.BytesIO(data)) as container:
        entry = container.streams.video[0].index_entries[number]
        return entry.pos + entry.size


def initialisation_segment() -> bytes:
    """The head of a fragmented file: a video stream, and no sample at all."""
    data = video(30, movflags="frag_keyframe+empty_moov")
    return data[: data.index(b"moof") - 4]


def cut_between_samples(frames: int, kept: int) -> bytes:
    """An index that names `frames` samples, in a file that ends exactly behind sample `kept`."""
    data = video(frames, movflags="faststart")
    return data[: end_of_sample(data, kept - 1)]


def _frame(index: int, size: int, pts: int | None, noise: bool) -> av.VideoFrame:
    frame = av.VideoFrame(size, size, "yuv420p")
    for number, plane in enumerate(frame.planes):
        length = plane.line_size * plane.height
        if noise:
            plane.update(random.Random(index * 7919 + number).randbytes(length))
        else:
            plane.update(bytes([(index * 3 + number * 40) % 256]) * length)
    frame.pts = index if pts is None else pts
    if pts is not None:
        frame.time_base = Fraction(1, 1000)
    return frame


def _sound(start: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
    frame.planes[0].update(b"\0" * frame.planes[0].buffer_size)
    frame.rate = 8000
    frame.pts = start
    return frame
