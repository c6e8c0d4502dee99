"""What the times of an MP4 track say: which samples FFmpeg shows, and when. Pure; no positions needed.

The rules of the edit list are those of FFmpeg's own demuxer (libavformat/mov.c, `mov_build_index`
and `mov_fix_index`), since N is what FFmpeg decodes. What could be read in two ways is a `NoProof`.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from metaferry.media.frames.containers.mp4.numbers import LONGEST, expand, numbers, rescale, runs, u32
from metaferry.media.frames.containers.mp4.tables import Track
from metaferry.media.frames.containers.reading import NoProof
from metaferry.media.frames.model import Times


def shown(track: Track, movie_scale: int, *, times: bool) -> tuple[int, Times | None, Fraction | None]:
    """How many samples FFmpeg shows; when requested their presentation times, and how long they are shown.

    The latter goes from the start of the first frame to the end of the last one, in seconds. An edit list
    may end within the last frame; that is not taken off, since its times are rounded.
    """
    count = track.samples.count
    if not count:
        if runs(track.parts.get(b"stts", b""), "stts", signed=False):
            raise NoProof("times of samples, and no samples")
        track.notes.append("no samples")
        return 0, Times(Fraction(1, track.scale), array("q")) if times else None, None
    if not track.first_is_sync:
        raise NoProof("the first sample is no sync sample")
    edits = _edits(track, movie_scale)
    ctts = runs(track.parts.get(b"ctts", b""), "ctts", signed=True)
    stts = runs(track.parts.get(b"stts", b""), "stts", signed=False)
    if sum(n for n, _ in stts) != count or (ctts and sum(n for n, _ in ctts) != count):
        raise NoProof("not one time for each sample")
    if any(not 0 <= delta < LONGEST for _, delta in stts) or any(abs(d) >= 1 << 28 for _, d in ctts):
        raise NoProof("impossible times of samples")
    plain = edits is None or (not ctts and _covers(edits, stts, count))
    if plain and not times and not _leading(stts, ctts):
        track.notes.append("no edit list" if edits is None else "an edit list that leaves nothing out")
        return count, None, None
    dts = array("q", accumulate(expand(stts, count - 1), initial=0))
    offsets = expand(ctts, count) if ctts else array("q", bytes(8 * count))
    shift = _dts_shift(ctts)
    keep: Sequence[int] = range(count)
    timestamps: Sequence[int] = [d - shift + o + shift for d, o in zip(dts, offsets, strict=True)]
    if edits is not None:
        if len(set(timestamps)) != count:
            raise NoProof("samples that are shown at the same time")
        keep, timestamps = _cut(track, edits, dts, offsets, shift, bool(ctts), stts)
        track.notes.append(f"edit list {edits.words()}: {count - len(keep)} samples discarded")
    else:
        track.notes.append("no edit list")
    first = dts[0] + offsets[0]
    if any(dts[i] + offsets[i] < first for i in keep[:64]):
        # Shown before the first sync sample: whether they decode, the index does not know.
        raise NoProof("samples before the first sync sample are shown")
    if not times:
        return len(keep), None, None
    lengths = expand(stts, count)
    end = max(at + lengths[index] for at, index in zip(timestamps, keep, strict=True))
    ticks = array("q", sorted(timestamps))
    return len(keep), Times(Fraction(1, track.scale), ticks), Fraction(end - ticks[0], track.scale)


def offset(track: Track, movie_scale: int) -> int | None:
    """How much earlier the samples of a fragmented file are shown, in ticks of the track.

    FFmpeg (`mov_build_index`) leaves no sample out there, and only moves their times. None for an
    edit list of several pieces.
    """
    empty = 0
    begins: int | None = None
    for index, (duration, start, _) in enumerate(entries(track.edits)):
        if start == -1 and not index:
            empty = rescale(duration, track.scale, movie_scale)
        elif start < 0 or begins is not None:
            return None
        else:
            begins = start
    return (begins or 0) - empty


@dataclass(frozen=True, slots=True)
class _Edits:
    """The edit list in ticks of the track: what is empty in front, and one piece of the media."""

    empty: int
    start: int
    duration: int
    scale: int

    def words(self) -> str:
        return f"{self.start}+{self.duration} of {self.scale} ticks a second"


def _edits(track: Track, scale: int) -> _Edits | None:
    listed = entries(track.edits)
    empty, found = 0, None
    for duration, start, rate in listed:
        if start == -1 and found is None:
            empty += rescale(duration, track.scale, scale)
        elif start < 0 or found is not None:
            raise NoProof("an edit list of several pieces")
        elif rate != 0x10000:
            raise NoProof("an edit list that changes the speed")
        else:
            found = _Edits(empty, start, rescale(duration, track.scale, scale), track.scale)
    if found is None:
        if listed:
            raise NoProof("an edit list that shows nothing")
        return None
    if not found.duration:
        raise NoProof("an edit list without a duration")
    return found


def entries(data: bytes) -> list[tuple[int, int, int]]:
    """(duration in ticks of the movie, start in ticks of the track, rate) of an elst box, or of none."""
    if not data:
        return []
    wide, count = data[0] == 1, u32(data, 4)
    width = 20 if wide else 12
    if count > 64 or 8 + count * width != len(data):
        # Where the number of entries and the size of the box differ, FFmpeg believes the size.
        raise NoProof("an edit list that does not fit its box, or is longer than 64 entries")
    return list(struct.iter_unpack(">Qqi" if wide else ">Iii", data[8:]))


def _covers(edits: _Edits, stts: list[tuple[int, int]], count: int) -> bool:
    """Whether all of the samples lie inside, as seen without composition times."""
    if edits.start:
        return False
    last = left = 0
    left = count - 1
    for number, delta in stts:
        last += min(left, number) * delta
        left -= min(left, number)
    return last < edits.duration


def _leading(stts: list[tuple[int, int]], ctts: list[tuple[int, int]]) -> bool:
    """Whether one of the first samples might be shown before the very first (looks at 64)."""
    if not ctts:
        return False
    dts = list(accumulate(expand(stts, 64), initial=0))
    offsets = expand(ctts, 64)
    return any(at + offset < offsets[0] for at, offset in zip(dts, offsets, strict=False))


def _cut(
    track: Track,
    edits: _Edits,
    dts: Sequence[int],
    offsets: Sequence[int],
    shift: int,
    has_ctts: bool,
    stts: list[tuple[int, int]],
) -> tuple[Sequence[int], list[int]]:
    """Indices and presentation times of the samples inside the edit list, as `mov_fix_index` keeps them."""
    count = len(dts)
    end = edits.start + edits.duration
    syncs = _syncs(track, count)
    begin = _closest_sync(edits.start, dts, offsets, shift, syncs, has_ctts)
    if begin and syncs is None and track.prefix:
        raise NoProof("an edit list that begins in the middle, and no table of sync samples")
    counter = edits.empty - shift
    keep: list[int] = []
    timestamps: list[int] = []
    least = None
    started = passed = False
    for index in range(begin, count):
        duration = dts[index + 1] - dts[index] if index + 1 < count else edits.duration
        shown_at = dts[index] + offsets[index]
        inside = edits.start <= shown_at < end
        if inside:
            corrected = counter + offsets[index] + shift
            least = corrected if least is None else min(least, corrected)
            started = True
            keep.append(index)
            timestamps.append(corrected)
        if started:
            counter += duration
        if shown_at + duration >= end and (syncs is None or index in syncs):
            if has_ctts and not passed:
                passed = True
                continue
            break
    if not keep:
        raise NoProof("an edit list that shows nothing")
    late = max(0, (least or 0) - edits.empty)
    return keep, [timestamp - late for timestamp in timestamps]


def _closest_sync(
    start: int,
    dts: Sequence[int],
    offsets: Sequence[int],
    shift: int,
    syncs: frozenset[int] | None,
    has_ctts: bool,
) -> int:
    """The sync sample from which FFmpeg decodes for a piece that begins at `start`."""
    index = bisect_right(dts, start + shift) - 1
    while index >= 0:
        if (syncs is None or index in syncs) and (
            not has_ctts or dts[index] - shift + offsets[index] <= start
        ):
            return index
        index -= 1
    return 0


def _syncs(track: Track, count: int) -> frozenset[int] | None:
    """Indices of sync samples; None where all are."""
    data = track.parts.get(b"stss")
    if data is None:
        return None
    return frozenset(value - 1 for value in numbers(data, 8, u32(data, 4)))


def _dts_shift(ctts: list[tuple[int, int]]) -> int:
    """How far FFmpeg moves decode times for negative offsets; the last two runs it does not ask."""
    return max([0, *(-offset for _, offset in ctts[:-2])])
