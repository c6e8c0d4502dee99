"""The index of an MP4, MOV or M4V: which parts of it are read, and what they prove. Pure; requests ranges.

Reads the head and the moov box, in at most three dependent reads; of a moov above 8 MiB only the
boxes that are needed. Fragmented files are walked moof by moof; `sidx` and `mfra` only name
ranges to fetch together, the chain of boxes is verified whole. Boxes, tracks, tables, times and
fragments have a module each. Claims nothing for what it does not know: every oddity is a `NoProof`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from metaferry.media.frames.containers import codecs
from metaferry.media.frames.containers.mp4 import tables
from metaferry.media.frames.containers.mp4.boxes import Box, Budget, box_at, children, find_moov, only
from metaferry.media.frames.containers.mp4.edits import offset, shown
from metaferry.media.frames.containers.mp4.fragments import Defaults, Fragments, defaults_of
from metaferry.media.frames.containers.mp4.hints import MOOF, hints, merged
from metaferry.media.frames.containers.mp4.tracks import MAX_TRACKS, first_video
from metaferry.media.frames.containers.reading import (
    Asking,
    Cut,
    Indexed,
    LeftToPackets,
    NoProof,
    OverBudget,
    Source,
)

#: A moov box up to this size is read whole; of a larger one only what is needed.
WHOLE_MOOV: Final = 8 << 20

#: What is read of the first sample, which is mostly part of the head.
FIRST_SAMPLE: Final = 2 << 10

#: Size of the header of a fragment (ISO/IEC 14496-12, 8.8.5).
_MFHD: Final = 16

#: A fragmented file up to this size is read whole: it is cheaper than one read a fragment.
WHOLE_FILE: Final = 1 << 20


def count(source: Source, *, times: bool = False) -> Asking[Indexed]:
    """N of the first video track that is no cover picture, from the index alone.

    times: also the presentation time of every frame. Raises `NoProof`; `LeftToPackets` where the
    fragments are too many to be read one by one, and nothing was found amiss so far.
    """
    budget = Budget()
    explain: list[str] = []
    moov, fragments = yield from find_moov(source, budget)
    if moov is None:
        raise NoProof("no moov box")
    if moov.end - moov.start <= WHOLE_MOOV:
        yield from source.fetch([(moov.start, moov.end)])
        explain.append(f"moov: {moov.end - moov.start} bytes at {moov.start}")
    else:
        explain.append(f"moov: {moov.end - moov.start} bytes at {moov.start}, read box by box")
    inside = yield from children(source, moov.body, moov.end, budget)
    traks = [box for box in inside if box.kind == b"trak"]
    if len(traks) > MAX_TRACKS:
        raise NoProof(f"more than {MAX_TRACKS} tracks")
    if any(box.kind in (b"cmov", b"rmra") for box in inside):
        raise NoProof("a compressed or referring moov")
    track, several = yield from first_video(source, traks, budget)
    header = only(inside, b"mvhd")
    movie_scale = tables.movie_scale((yield from source.get(header.body, min(header.end, header.body + 32))))
    mvex = [box for box in inside if box.kind == b"mvex"]
    explain.append(f"track {track.number}: codec {track.codec}, {track.samples.count} samples")
    if mvex or fragments:
        if len(mvex) != 1:
            raise NoProof("fragments without an mvex box, or several of them")
        defaults = yield from _defaults(source, mvex[0], track.number, budget)
        moved = offset(track, movie_scale) if times else None
        try:
            return (yield from _fragmented(source, moov, track, defaults, several, budget, explain, moved))
        except OverBudget as error:
            raise LeftToPackets(f"fragments: {error}") from error
    places = tables.check_places(track, source.size)
    frames, timestamps, duration = shown(track, movie_scale, times=times)
    yield from _look_at_samples(source, track, places)
    explain.extend(track.notes)
    return Indexed(frames, several, tuple(explain), timestamps, duration)


def _defaults(source: Source, mvex: Box, number: int, budget: Budget) -> Asking[Defaults]:
    for box in (yield from children(source, mvex.body, mvex.end, budget)):
        if box.kind == b"trex":
            found = defaults_of((yield from source.get(box.body, box.end)))
            if found.number == number:
                return found
    raise NoProof("no trex box of the video track")


def _fragmented(
    source: Source,
    moov: Box,
    track: tables.Track,
    defaults: Defaults,
    several: bool,
    budget: Budget,
    explain: list[str],
    moved: int | None,
) -> Asking[Indexed]:
    """Sums the trun boxes of every moof, over the whole chain of top-level boxes.

    FFmpeg ignores the edit list of such a file (measured), so nothing is left out.
    moved: by how much the times are earlier than the boxes say; None where times are not requested.
    """
    sums = Fragments(track, defaults, source.size, offset=moved)
    if source.size <= WHOLE_FILE:
        yield from source.fetch([(0, source.size)])
    known = [] if source.size <= WHOLE_FILE else (yield from hints(source, moov, budget))
    yield from source.fetch(merged(known))
    at = 0
    behind = False  # whether a moof waits for its mdat
    while at < source.size:
        box = yield from box_at(source, at, source.size, budget, ahead=MOOF)
        if box.kind == b"moof":
            if behind:
                raise NoProof("a fragment without its mdat")
            yield from source.fetch([(box.start, box.end)])
            behind = True
            inside = yield from children(source, box.body, box.end, budget)
            header = only(inside, b"mfhd")
            if header.end - header.start != _MFHD or inside[-1].end != box.end:
                raise NoProof("a fragment that does not fit its box")
            for traf in inside:
                if traf.kind == b"traf":
                    parts = yield from children(source, traf.body, traf.end, budget)
                    bodies = []
                    for part in parts:
                        bodies.append((part.kind, (yield from source.get(part.body, part.end))))
                    sums.add(bodies, box.start)
        elif box.kind == b"mdat":
            if sums.fragments and not behind:
                raise NoProof("media data that belongs to no fragment")
            behind = False
        at = box.end
    if behind:
        raise Cut("the last fragment has no mdat: the file is cut")
    explain.append(f"{sums.fragments} fragments, {len(known)} known beforehand, {sums.frames} samples")
    if sums.frames:
        if sums.first is None:
            raise NoProof("a fragment without the place of its samples")
        yield from _look_at_samples(source, track, iter(sums.spans or [sums.first]))
    return Indexed(sums.frames, several, tuple(explain), sums.times, sums.duration)


def _look_at_samples(source: Source, track: tables.Track, places: Iterator[tables.Span]) -> Asking[None]:
    """The first sample must be a key picture; others are looked at as far as they are known anyway."""
    if not track.prefix:
        return
    for index, (start, length) in enumerate(places):
        if index == 0:
            end = start + min(length, FIRST_SAMPLE)
            first = yield from source.get(start, end)
            if not codecs.begins_with_key(first, track.codec, track.prefix):
                raise NoProof("the first sample is no key picture, or does not say so soon")
        if not source.known(start, start + length):
            return
        if not codecs.whole_nals((yield from source.get(start, start + length)), track.prefix):
            raise NoProof(f"sample {index} is damaged")
