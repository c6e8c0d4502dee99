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
        facts = yield from _READERS[container](source)
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
