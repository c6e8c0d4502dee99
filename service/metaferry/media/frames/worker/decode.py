"""Counts the frames of one video by decoding it; runs in the worker process only.

Decodes the first video stream in container order that is no cover picture, and drops each frame
at once. FFmpeg may open only the formats below and nothing but the one file it is given: a script
that pretends to be a video and names other files is refused (measured: `format_whitelist` stopped
all nested opens; refusing `io_open` stops them a second time). Never touches the network, a
storage or a file system, and raises nothing about the content: every file ends in a `Found`.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NoReturn, Protocol

import av
from av.stream import Discard, Disposition

from metaferry.media.frames.model import CORRUPT, DAMAGED, NO_TIMES, SEVERAL, SOME_TIMES, TRUNCATED
from metaferry.media.frames.worker import protocol
from metaferry.media.frames.worker.headers import ends_early

#: Demuxers of the consumer's extensions (docs/format.md); no playlist and no script among them.
FORMATS: Final = "mov,matroska,webm,avi,mpeg,mpegts,mpegvideo,hevc,m4v"

#: Bytes FFmpeg reads from the file object at a time; larger only means more copying at each seek.
BUFFER: Final = 64 << 10

#: PyAV before 19 decodes all metadata when it opens a file, and fails for what is not UTF-8 unless
#: it is told otherwise. Since 19 it decodes what is asked for, which nothing here is, and does not
#: know the argument.
_METADATA: Final[dict[str, Any]] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


@dataclass(frozen=True, slots=True)
class Found:
    """What one decode gave: exact `frames`, or None and the `reason`; `flags` as in `model`.

    ticks: when each frame is shown, in `unit` seconds, ascending, where that was requested;
    `untimed` (as in `model`) where they were and are not known.
    """

    frames: int | None
    reason: str = ""
    flags: tuple[str, ...] = ()
    ticks: array[int] | None = None
    unit: Fraction = Fraction(1)
    untimed: str = ""


class Readable(Protocol):
    """A seekable binary file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...


class Timestamps:
    """Collects when frames are shown, in whatever order."""

    def __init__(self) -> None:
        self._ticks = array("q")
        self._unit: Fraction | None = None
        self._missing = 0

    def add(self, pts: int | None, unit: Fraction | None) -> None:
        """A frame that is shown at `pts * unit` seconds; None: without a time."""
        if pts is None or not unit or (self._unit or unit) != unit or len(self._ticks) >= protocol.MAX_TICKS:
            self._missing += 1
        else:
            self._unit = unit
            self._ticks.append(pts)

    def added_to(self, found: Found) -> Found:
        """`found`, with the times of its frames or with why there are none."""
        if self._missing or len(self._ticks) != found.frames:
            return replace(found, untimed=SOME_TIMES if self._ticks else NO_TIMES)
        return replace(found, ticks=array("q", sorted(self._ticks)), unit=self._unit or Fraction(1))


class OutOfMemory(Exception):
    """The decoder reached the memory limit of its process; the process should not be used again."""


def count(file: Readable, *, extension: str, size: int, threads: int, times: bool = False) -> Found:
    """Counts the frames of the video in `file`, of `size` bytes.

    extension: of the media's name, "" for none; FFmpeg weighs it when it guesses the format.
    threads: decoding threads. The number of frames does not depend on it.
    Raises `OutOfMemory`, and what `file` itself raises where it is no error of the content.
    """
    return opened(file, extension, lambda container, head: _count(container, head, size, threads, times))


def opened(file: Readable, extension: str, use: Callable[[Any, bytes], Found]) -> Found:
    """What `use` finds in the opened container and the first 64 bytes of the file.

    Content that FFmpeg cannot open or follow is a `Found` too. Raises as `count` does.
    """
    head = file.read(64)
    file.seek(0)
    try:
        with open_container(file, extension) as container:
            return use(container, head)
    except av.FFmpegError as error:
        raise_if_memory(error)
        if error.errno == errno.EINVAL:  # the error of FFmpeg for a format outside the whitelist
            return Found(None, "unreadable: its content is none of the video formats that are read")
        return Found(None, f"unreadable: {_words(error)}")
    except (ValueError, LookupError, UnicodeError) as error:
        # PyAV's own complaints about a container it cannot represent.
        return Found(None, f"unreadable: {type(error).__name__}")


def open_container(file: Readable, extension: str, demuxer: str | None = None) -> Any:
    """The container in `file`: a video's, or what `demuxer` makes of it. Raises FFmpeg's errors."""
    return av.open(
        _Named(file, f"media.{extension}" if extension.isalnum() else "media"),
        mode="r",
        format=demuxer,
        options={"format_whitelist": demuxer or FORMATS},
        buffer_size=BUFFER,
        io_open=_refuse,
        **_METADATA,
    )


def videos_of(container: Any) -> list[Any]:
    """The video streams that are no cover pictures, in container order."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def only(container: Any, stream: Any) -> None:
    """Has the demuxer leave all other streams out."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def contradiction(container: Any, stream: Any, frames: int, size: int) -> str:
    """What is missing by the file's own index, although FFmpeg saw no error; "" where nothing is.

    A file cut exactly between two samples ends without an error, whatever its index promises; a
    complete initialisation segment promises nothing, and has zero frames.
    """
    if not frames and stream.frames:
        return f"nothing decodes of {stream.frames} frames that its header names"
    if container.format.name.startswith("mov"):
        end = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        if end > size:
            return f"its index reaches to byte {end}, the file ends at {size} ({frames} frames decode)"
    return ""


def _count(container: Any, head: bytes, size: int, threads: int, times: bool) -> Found:
    videos = videos_of(container)
    if not videos:
        return Found(None, "no video stream")
    stream = videos[0]
    flags = [SEVERAL] if len(videos) > 1 else []
    if stream.codec_context is None:
        return Found(None, "unreadable: no decoder for its codec", tuple(flags))
    only(container, stream)
    stream.codec_context.thread_type = "AUTO"
    stream.codec_context.thread_count = threads

    timestamps = Timestamps() if times else None
    frames, corrupt, fault = _decode(container, stream, timestamps)
    fault = fault or contradiction(container, stream, frames, size)
    if fault:
        return Found(None, f"decode errors: {fault}", (*flags, DAMAGED))
    if corrupt:
        flags.append(CORRUPT)
    if ends_early(head, size):
        flags.append(TRUNCATED)
    found = Found(frames, flags=tuple(flags))
    return found if timestamps is None else timestamps.added_to(found)


def _decode(container: Any, stream: Any, timestamps: Timestamps | None) -> tuple[int, bool, str]:
    """(frames, whether some are visibly damaged, the first error in words and how much decoded)."""
    frames = errors = 0
    corrupt = False
    first = ""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise_if_memory(error)
            errors += 1
            first = first or f"reading stopped: {_words(error)}"
            break
        if packet is None:
            break
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            raise_if_memory(error)
            errors += 1
            first = first or _words(error)
            continue
        for frame in decoded:
            frames += 1
            if timestamps is not None:
                timestamps.add(frame.pts, frame.time_base)
            corrupt = corrupt or frame.is_corrupt
    if errors:
        return frames, corrupt, f"{first} ({frames} frames decode, {errors} errors)"
    return frames, corrupt, ""


def _words(error: av.FFmpegError) -> str:
    return str(error.strerror or type(error).__name__).lower()


def raise_if_memory(error: av.FFmpegError) -> None:
    """Raises `OutOfMemory` where the error is one."""
    if abs(error.errno or 0) == errno.ENOMEM:
        raise OutOfMemory from error


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    """FFmpeg tries to open something other than the one file, which is refused."""
    raise PermissionError("a media file names another file")


class _Named:
    """The file object with a harmless name: PyAV hands `name` to FFmpeg."""

    def __init__(self, file: Readable, name: str) -> None:
        self.name = name
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
