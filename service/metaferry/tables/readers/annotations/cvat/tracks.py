"""Tracks of a CVAT file: an object over the frames of a video, and what lies between its keyframes.

A shape holds until the next one of its track, unless it is outside. CVAT has written every frame for years;
its older exports have keyframes alone, and of these the last holds to the end of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from metaferry.tables.readers.annotations.cvat.meta import whole
from metaferry.tables.readers.annotations.cvat.rows import (
    NO_SIDES,
    Object,
    Shape,
    Sides,
    object_row,
    sides_of,
    switch,
)
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.xml_stream import BrokenXml

#: Frames that are filled in one file, at most: it bounds what a small file may make.
MOST_FILLED: Final = 20_000_000


class InFrame(NamedTuple):
    """A row, or why there is none, with the line that it comes from."""

    line: int
    row: Object | Bad


class Filling:
    """How many frames of a file were filled."""

    def __init__(self) -> None:
        self._frames = 0

    def add(self, line: int) -> None:
        """One more. Raises BrokenXml beyond `MOST_FILLED`."""
        self._frames += 1
        if self._frames > MOST_FILLED:
            raise BrokenXml(
                f"its keyframes leave more than {MOST_FILLED:,} frames to be filled (line {line})",
                "export it again with a version of CVAT that writes every frame",
            )


class Track:
    """A track while its shapes come. `key_of` gives the number of a frame's row in `images`."""

    def __init__(
        self, given: Mapping[str, str], key_of: Callable[[int], int], filling: Filling, step: int
    ) -> None:
        self.given = given
        self._key_of = key_of
        self._filling = filling
        self._step = step
        self._frame = 0
        self._last: Shape | None = None  # None where the object is outside
        self._begun = self._in_full = False

    def add(self, shape: Shape) -> Iterator[InFrame]:
        """The rows from the last shape to this one."""
        try:
            frame = whole(shape.given.get("frame", ""), "frame")
            if self._begun and frame <= self._frame:
                raise Bad(f"frame {frame} comes after frame {self._frame} in one track", "frame")
            is_outside = switch(shape.given, "outside")
            row = object_row(0, shape, self.given)
        except Bad as bad:
            yield InFrame(shape.line, bad)
            return
        yield from self._fill(frame, shape)
        self._frame, self._begun = frame, True
        self._last = None if is_outside else shape
        self._in_full |= row.keyframe is False
        if not is_outside:
            yield InFrame(shape.line, row._replace(image=self._key_of(frame), frame=frame))

    def end(self, stop: int | None) -> Iterator[InFrame]:
        """The rows after the last shape, if the track has keyframes alone and its task ends before `stop`."""
        if stop is not None and not self._in_full:
            yield from self._fill(stop)

    def _fill(self, stop: int, to: Shape | None = None) -> Iterator[InFrame]:
        """The frames after the last shape, up to `stop`, which has the shape `to`.

        A box moves in a straight line to where it is seen next; of other shapes only that they are there is
        known.
        """
        last, start = self._last, self._frame
        if last is None:
            return
        row = object_row(0, last, self.given)._replace(keyframe=False, filled=True)
        begin = sides_of(last)
        goes_on = to is not None and not switch(to.given, "outside")
        end = sides_of(to) if to is not None and goes_on else begin
        for frame in range(start + self._step, stop, self._step):
            self._filling.add(last.line)
            x1, y1, x2, y2 = _interpolated(begin, end, (frame - start) / (stop - start) if goes_on else 0)
            yield InFrame(
                last.line, row._replace(image=self._key_of(frame), frame=frame, x1=x1, y1=y1, x2=x2, y2=y2)
            )


def _interpolated(begin: Sides, end: Sides, share: float) -> Sides:
    if None in begin or None in end:
        return NO_SIDES
    left, top, right, bottom = (
        a if a is None or b is None else a + (b - a) * share for a, b in zip(begin, end, strict=True)
    )
    return left, top, right, bottom
