"""The facts of one video: those in its headers, and those that its proved index gives. Pure; requests ranges.

What was read for a frame count is not read again: `video_facts` continues on the same bytes. Every file
ends in facts or in a `NoProof` with the reason, within the budgets of the container readers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from metaferry.media.facts.videos import avi, matroska, mp4, rates
from metaferry.media.facts.videos.model import VideoFacts
from metaferry.media.frames.containers.reading import Asking, Cut, Damaged, Indexed, NoProof, Source
from metaferry.media.frames.containers.sniff import Container
from metaferry.media.frames.index import structure_checked

_READERS: Final[dict[str, Callable[[Source], Asking[VideoFacts]]]] = {
    "mp4": mp4.read,
    "avi": avi.read,
    "matroska": matroska.read,
}

#: Pixels of a side, and seconds, at most; a header that says more is damaged. MP4 has 16 bits for a side.
_MOST_PIXELS: Final = 1 << 20
_MOST_SECONDS: Final = 1_000_000_000

#: Why a proved count may have no rate.
NO_TIMES: Final = "its index does not tell when frames are shown"


def video_facts(
    source: Source, container: Container | None, counted: Indexed | NoProof
) -> Asking[VideoFacts]:
    """The facts of the video in `source`, whose index was `counted`, with times, or why it was not.

    Raises `NoProof` for what is no container with headers that are known, and for one that is broken.
    """
    if container is None:
        raise NoProof("no container whose headers are known: MP4, MOV, AVI, Matroska or WebM")
    with structure_checked():
        facts = _plausible((yield from _READERS[container](source)))
    if isinstance(counted, NoProof):
        # The header of a cut file tells the duration of what is not there.
        cut = isinstance(counted, Cut | Damaged)
        return replace(facts, duration=None if cut else facts.duration, untimed=str(counted))
    if not counted.frames:
        return replace(facts, frames=0, several_streams=counted.several, duration=None)
    duration = rates.duration_of(counted)
    times = counted.times
    return replace(
        facts,
        frames=counted.frames,
        several_streams=counted.several,
        duration=facts.duration if duration is None else duration,
        fps=rates.fps_of(counted.frames, duration),
        vfr=None if times is None else rates.is_variable(times),
        untimed=NO_TIMES if duration is None else "",
    )


def _plausible(facts: VideoFacts) -> VideoFacts:
    """The facts without sizes and durations that no video has."""
    if facts.duration is not None and not 0 < facts.duration <= _MOST_SECONDS:
        facts = replace(facts, duration=None)
    if not _is_size(facts.width, facts.height):
        facts = replace(facts, width=None, height=None)
    if not _is_size(facts.shown_width, facts.shown_height):
        facts = replace(facts, shown_width=None, shown_height=None)
    return facts


def _is_size(width: int | None, height: int | None) -> bool:
    return (
        width is not None
        and height is not None
        and max(width, height) <= _MOST_PIXELS
        and min(width, height) > 0
    )
