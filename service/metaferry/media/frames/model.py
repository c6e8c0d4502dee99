"""What is known about the number of frames of one video: the values, and nothing that does I/O.

N is the number of frames that FFmpeg decodes from the first video stream in container order that
is no cover picture; indices are 0..N-1. Packets are not frames, and headers lie. A count is
either exact or it is not given: `frames` is None, and `reason` says why in one line.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, overload

if TYPE_CHECKING:
    from metaferry.media.facts.videos.model import VideoFacts

#: How much work a count may cost: ranged reads of the container's index; or reading all packets
#: where the index proves nothing; or decoding, and nothing else, as the ground truth. Every level
#: gives exact counts or none. Without a level each is tried where the one before proves nothing.
Level: TypeAlias = Literal["index", "scan", "decode"]

#: A video to count: path below the datasource, size in bytes and token, as listed.
Video: TypeAlias = tuple[str, int, str]

#: In the place of a size that no listing gave: it costs one more request.
UNKNOWN_SIZE: Final = -1

#: Called in the caller's thread with every answer, cached ones included, before it is yielded.
Progress: TypeAlias = "Callable[[FrameCount], None]"

#: Version of the method; part of the cache's key. Raise it whenever the same bytes may be counted
#: differently, so that no run ever mixes the results of two methods.
METHOD: Final = 3

# Flags: closed, documented in docs/frames.md.
CHANGED: Final = "changed"  # replaced between the listing and the count: the newer one was counted
CORRUPT: Final = "corrupt"  # some frames carry visible damage, all of them decode
DAMAGED: Final = "damaged"  # decoding had errors, or the file ends before its own index does
SEVERAL: Final = "several_streams"  # more than one video stream: the first one counts
TRUNCATED: Final = "truncated"  # shorter than its header says, yet everything there is decodes

#: How a reason begins where the requested level proves nothing.
NOT_PROVED: Final = "not proved: "

# Why there are no times where they were requested: closed, documented in docs/frames.md.
NO_TIMES: Final = "the stream carries no times"  # raw HEVC and raw MPEG video
SOME_TIMES: Final = "some frames carry no time"
LEVEL_TIMES: Final = "the level that was asked for tells no times"
NO_COUNT: Final = "not counted"

#: The reason for a file that is whole and holds no video.
NO_STREAM: Final = "no video stream"
#: How a reason begins for one that cannot be taken apart.
UNREADABLE: Final = "unreadable: "

_ABOUT_THE_CONTENT: Final = ("empty", UNREADABLE, NO_STREAM, "decode errors: ")


@dataclass(frozen=True, slots=True)
class Times(Sequence[Fraction]):
    """When each frame is shown: `ticks[i] * unit` seconds, ascending; 8 bytes a frame."""

    unit: Fraction
    ticks: array[int]

    def __len__(self) -> int:
        return len(self.ticks)

    @overload
    def __getitem__(self, index: int) -> Fraction: ...
    @overload
    def __getitem__(self, index: slice) -> Times: ...
    def __getitem__(self, index: int | slice) -> Fraction | Times:
        if isinstance(index, slice):
            return Times(self.unit, self.ticks[index])
        return self.ticks[index] * self.unit


@dataclass(frozen=True, slots=True)
class FrameCount:
    """The answer for one video.

    path: the media's path below its datasource (from `count_urls`: its URL).
    frames: N, exact; None when it is not proved.
    digits: how many digits the index has in names of frame documents; None with `frames`, and for N = 0.
    basis: what proves it: "index", "scan" or "decoded"; "" when nothing does.
    flags: what a user may want to know of; the constants above.
    requests, bytes: what it cost to read; 0 where the cache answered.
    reason: why `frames` is None. It begins with one of `empty`, `unreadable: `, `no video stream`,
        `decode errors: `, `deadline: `, `crashed: `, `changed: `, `gone`, `storage: `, or with
        `not proved: ` where the requested level proves nothing.
    cached: whether the answer came from the cache.
    explain: how the count was proved, or why a cheaper level did not prove it, a line each; never
        cached.
    times: presentation time of every frame in seconds, ascending, where they were requested; never
        cached.
    untimed: why `times` is None where they were requested: one of the constants above; else "".
    header: what the container says of the video, such as its creation time and its duration, where times
        were requested and its headers can be read; never cached.
    """

    path: str
    frames: int | None
    digits: int | None
    basis: str = ""
    flags: tuple[str, ...] = ()
    requests: int = 0
    bytes: int = 0
    reason: str = ""
    cached: bool = False
    explain: tuple[str, ...] = ()
    times: Times | None = None
    untimed: str = ""
    header: VideoFacts | None = None

    @property
    def settled(self) -> bool:
        """Whether the same bytes would always give this answer, so that it may be cached."""
        return self.frames is not None or self.reason.startswith(_ABOUT_THE_CONTENT)


def digits_of(frames: int | None) -> int | None:
    """Digits of the index in names of frame documents: those of N; None without N, or without frames."""
    return len(str(frames)) if frames else None
