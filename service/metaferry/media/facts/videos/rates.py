"""How many frames a second, and whether they are at equal distances, by when they are shown. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from metaferry.media.frames.containers.reading import Indexed
from metaferry.media.frames.model import Times

#: Least distance of frames, in ticks, that a writer may have rounded to whole ticks.
_ROUNDED: Final = 5


def duration_of(counted: Indexed) -> Fraction | None:
    """Seconds from the start of the first frame to the end of the last one.

    Where the index gives the last frame no length, the mean distance of the others stands for it.
    """
    duration, times = counted.duration, counted.times
    if not duration:
        return None
    if times is not None and len(times) > 1 and duration == times[-1] - times[0]:
        return duration * Fraction(len(times), len(times) - 1)
    return duration


def fps_of(frames: int, duration: Fraction | None) -> Fraction | None:
    """Frames a second; unknown without a duration, or without frames."""
    return Fraction(frames) / duration if frames and duration else None


def is_variable(times: Times) -> bool | None:
    """Whether any frame is more than one tick from where a constant rate would show it.

    A tick is the unit of the container's times, to which every writer rounds: of frames that are shown
    every 1/30 s a container with 1,000 ticks a second says 0, 33, 67, 100. Where frames are less than
    `_ROUNDED` ticks apart, as in an AVI, whose tick is a frame, nothing is taken for rounding. Unknown for
    less than two frames.
    """
    ticks = times.ticks
    gaps, first = len(ticks) - 1, ticks[0] if ticks else 0
    if gaps < 1:
        return None
    whole = ticks[gaps] - first
    # Frame i of a constant rate is at first + i * whole / gaps; both sides times gaps, to stay exact.
    most = gaps if whole >= _ROUNDED * gaps else 0
    return any(abs((at - first) * gaps - index * whole) > most for index, at in enumerate(ticks))
