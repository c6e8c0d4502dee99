"""The `frame` to write where the frames that a table names are not those of the videos.

Text for people, made of the source's own expressions; nothing here runs it.
"""

from __future__ import annotations

from typing import Any

from metaferry.job.sources import FrameColumn, Source
from metaferry.planning.advice.spelling import written

#: How a row out of range is used no more, where the other ways do not fit.
_LEFT_OUT = "leave such rows out with `where`"


def out_of_range_advice(source: Source) -> str:
    """What to do about frames that are not there, by how the source gives them."""
    frame = source.frame or FrameColumn(value="frame")  # a query names its frame by the column
    if frame.seconds is not None:
        return "see `metaferry frames --timestamps`; with a larger `max_gap` a frame may be farther away"
    if frame.value is not None:
        other = f"frame counts from {frame.base}; where the table counts from {1 - frame.base}: "
        return other + _line({"value": frame.value}, 1 - frame.base) + f"; else {_LEFT_OUT}"
    first, last = {"from": frame.from_}, frame.to or frame.until
    end, other_end = ("to", "until") if frame.to is not None else ("until", "to")
    kind = "excluded" if other_end == "until" else "included"
    return (
        f"where the table counts from {1 - frame.base}: {_line({**first, end: last}, 1 - frame.base)}; "
        f"where the end is {kind}: {_line({**first, other_end: last}, frame.base)}; else {_LEFT_OUT}"
    )


def _line(ends: dict[str, Any], base: int) -> str:
    """`frame:` as a line of YAML that can be pasted."""
    if not base and "value" in ends:
        return written("frame", ends["value"])
    return written("frame", {**ends, "base": 1} if base else ends)
