"""What the tables of an MP4 track say: which samples FFmpeg shows, and when. Pure; no positions asked.

The rules of the edit list are those of FFmpeg's own demuxer (libavformat/mov.c, `mov_build_index`
and `mov_fix_index`), since N is what FFmpeg decodes. Every table is checked against the others
and against the size of the file; a table that could be read in two ways is a `NoProof`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from typing import Final, TypeAlias

from metaferry.media.frames import codecs
from metaferry.media.frames.reading import NoProof

#: Sample tables that are read, where they are there.
TABLES: Final = (b"stsd", b"stts", b"ctts", b"stss", b"stsz", b"stz2", b"stsc", b"stco", b"co64")

#: Most samples of a track: ten days at 25 frames a second. More is no proof, and no work.
MAX_SAMPLES: Final = 25_000_000

_LONGEST: Final = 1 << 31

#: Flags of a fragment's sample that is no key frame for FFmpeg: no sync sample, or depends on others.
_NO_SYNC: Final = 0x0101_0000


#: Position and length of a sample.
Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Samples:
    """Sizes of the samples: one for all (`sizes` empty), or each its own."""

    count: int
    size: int
    sizes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Track:
    number: int
    codec: str
    prefix: int  # bytes of the length in front of each NAL unit; 0 for codecs without
    scale: int  # ticks a second
    samples: Samples
    parts: dict[bytes, bytes]
    edits: bytes
    first_is_sync: bool
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The trex box: what samples of a fragment are where nothing else is said."""

    number: int
    duration: int
    size: int
    flags: int


def movie_scale(mvhd: bytes) -> int:
    return _scale(mvhd, "mvhd")


def track_number(tkhd: bytes) -> int:
    at = 20 if tkhd[:1] == b"\1" else 12
    return _u32(tkhd, at)


def track(number: int, mdhd: bytes, parts: dict[bytes, bytes], edits: bytes, dref: bytes) -> Track:
    """The tables of the video track; raises `NoProof` for what cannot be proved whatever they say."""
    _here_only(dref)
    codec = codecs.of_mp4(parts.get(b"stsd", b""))
    prefix = codecs.length_of_nals(parts[b"stsd"]) if codec in codecs.NALS else 0
    return Track(
        number=number,
        codec=codec,
        prefix=prefix,
        scale=_scale(mdhd, "mdhd"),
        samples=_samples(parts),
        parts=parts,
        edits=edits,
        first_is_sync=_first_is_sync(parts),
    )


def shown(track: Track, movie_scale: int, *, times: bool) -> tuple[int, tuple[Fraction, ...] | None]:
    """How many samples FFmpeg shows, and their presentation times in seconds when asked for."""
    count = track.samples.count
    if not count:
        track.notes.append("no samples")
        return 0, () if times else None
    if not track.first_is_sync:
        raise NoProof("the first sample is no sync sample")
    edits = _edits(track, movie_scale)
    ctts = _runs(track.parts.get(b"ctts", b""), "ctts", signed=True)
    stts = _runs(track.parts.get(b"stts", b""), "stts", signed=False)
    if sum(n for n, _ in stts) != count or (ctts and sum(n for n, _ in ctts) != count):
        raise NoProof("not one time for each sample")
    if any(not 0 <= delta < _LONGEST for _, delta in stts) or any(abs(d) >= 1 << 28 for _, d in ctts):
        raise NoProof("impossible times of samples")
    plain = edits is None or (not ctts and _covers(edits, stts, count))
    if plain and not times and not _leading(stts, ctts):
        track.notes.append("no edit list" if edits is None else "an edit list that leaves nothing out")
        return count, None
    dts = array("q", accumulate(_expand(stts, count - 1), initial=0))
    offsets = _expand(ctts, count) if ctts else array("q", bytes(8 * count))
    shift = _dts_shift(ctts)
    keep: Sequence[int] = range(count)
    stamps: Sequence[int] = [d - shift + o + shift for d, o in zip(dts, offsets, strict=True)]
    if edits is not None:
        if len(set(stamps)) != count:
            raise NoProof("samples that are shown at the same time")
        keep, stamps = _cut(track, edits, dts, offsets, shift, bool(ctts), stts)
        track.notes.append(f"edit list {edits.words()}: {count - len(keep)} samples discarded")
    else:
        track.notes.append("no edit list")
    first = dts[0] + offsets[0]
    if any(dts[i] + offsets[i] < first for i in keep[:64]):
        # Shown before the first sync sample: whether they decode, the index does not know.
        raise NoProof("samples before the first sync sample are shown")
    if not times:
        return len(keep), None
    return len(keep), tuple(Fraction(stamp, track.scale) for stamp in sorted(stamps))


def check_places(track: Track, size: int) -> Iterator[Span]:
    """Where the samples lie; checks first that all are inside the file of `size` bytes.

    Every sample has bytes, and the tables speak of equally many. Raises `NoProof`.
    """
    samples = track.samples
    if not samples.count:
        return iter(())
    if not samples.size and min(samples.sizes) == 0:
        raise NoProof("samples without bytes")
    if track.codec == "mp4v" and (samples.size or min(samples.sizes)) <= 8:
        raise NoProof("MPEG-4 with samples too short for a picture")
    stsc = track.parts.get(b"stsc", b"")
    stco, co64 = track.parts.get(b"stco"), track.parts.get(b"co64")
    if (stco is None) == (co64 is None):
        raise NoProof("no table of chunks, or two")
    places: Sequence[int]
    if stco is not None:
        places = _numbers(stco, 8, _u32(stco, 4))
    else:
        assert co64 is not None
        places = _numbers(co64, 8, _u32(co64, 4), "Q")
    entries = _numbers(stsc, 8, 3 * _u32(stsc, 4))
    firsts, counts, kinds = entries[0::3], entries[1::3], entries[2::3]
    if not firsts or firsts[0] != 1 or any(kind != 1 for kind in kinds):
        raise NoProof("chunks of several sample descriptions")
    ends = [*firsts[1:], len(places) + 1]
    ends[-1] = max(ends[-1], firsts[-1])
    sums = None if samples.size else list(accumulate(samples.sizes, initial=0))
    at = 0
    chunks: list[tuple[int, int]] = []
    for first, stop, number in zip(firsts, ends, counts, strict=True):
        if stop < first or not number:
            raise NoProof("a table of chunks that contradicts itself")
        for chunk in range(first - 1, min(stop - 1, len(places))):
            after = at + number
            if after > samples.count:
                raise NoProof("chunks with more samples than there are")
            length = number * samples.size if sums is None else sums[after] - sums[at]
            if places[chunk] + length > size:
                raise NoProof("samples behind the end of the file: it is cut")
            chunks.append((places[chunk], number))
            at = after
    if at != samples.count:
        raise NoProof("chunks with fewer samples than there are")
    if (samples.count * samples.size if sums is None else sums[-1]) > size:
        raise NoProof("more bytes of samples than the file has")
    return _spans(chunks, samples)


def _spans(chunks: list[tuple[int, int]], samples: Samples) -> Iterator[Span]:
    index = 0
    for place, number in chunks:
        for _ in range(number):
            length = samples.size or samples.sizes[index]
            yield place, length
            place += length
            index += 1


def defaults(trex: bytes) -> Defaults:
    if _u32(trex, 8) != 1:
        raise NoProof("fragments of another sample description")
    return Defaults(_u32(trex, 4), _u32(trex, 12), _u32(trex, 16), _u32(trex, 20))


class Fragments:
    """Sums the trun boxes of one track, fragment by fragment."""

    def __init__(self, track: Track, defaults: Defaults, size: int) -> None:
        self.frames = track.samples.count  # a hybrid file has its first samples in moov
        self.fragments = 0
        self.first: Span | None = None
        self._track = track
        self._defaults = defaults
        self._size = size
        self._at = 0  # where the next run lies that does not say it
        self._next = 0  # decode time before which no other fragment may begin
        if self.frames:
            if not track.first_is_sync:
                raise NoProof("the first sample is no sync sample")
            self.first = next(iter(check_places(track, size)))
            stts = _runs(track.parts.get(b"stts", b""), "stts", signed=False)
            self._next = sum(number * delta for number, delta in stts)

    def add(self, boxes: list[tuple[bytes, bytes]], moof: int) -> None:
        """The traf box of a moof that begins at `moof`; those of other tracks are passed over."""
        headers = [body for kind, body in boxes if kind == b"tfhd"]
        if len(headers) != 1:
            raise NoProof("a fragment without its header")
        header = headers[0]
        flags = _u32(header, 0) & 0xFFFFFF
        if _u32(header, 4) != self._track.number:
            return
        base = moof  # FFmpeg starts from the moof, whether the flag says so or not
        at = 8
        if flags & 0x1:
            base, at = _u32(header, 8) << 32 | _u32(header, 12), 16
        if flags & 0x2:
            if _u32(header, at) != 1:
                raise NoProof("a fragment with another sample description")
            at += 4
        duration, size, usual = self._defaults.duration, self._defaults.size, self._defaults.flags
        if flags & 0x8:
            duration, at = _u32(header, at), at + 4
        if flags & 0x10:
            size, at = _u32(header, at), at + 4
        if flags & 0x20:
            usual = _u32(header, at)
        times = [body for kind, body in boxes if kind == b"tfdt"]
        if len(times) > 1:
            raise NoProof("a fragment with two times")
        if times:
            begins = int.from_bytes(times[0][4:12], "big") if times[0][:1] == b"\1" else _u32(times[0], 4)
            if begins < self._next:
                raise NoProof("fragments that overlap in time")
            self._next = begins
        if any(kind in (b"senc", b"saiz") for kind, _ in boxes):
            raise NoProof("encrypted")
        self._at = base
        for kind, body in boxes:
            if kind == b"trun":
                self._run(body, duration, size, usual, base)
        self.fragments += 1

    def _run(self, trun: bytes, duration: int, size: int, usual: int, base: int) -> None:
        flags, count = _u32(trun, 0) & 0xFFFFFF, _u32(trun, 4)
        at = 8
        if flags & 0x1:
            (offset,) = struct.unpack(">i", trun[8:12].ljust(4, b"\0"))
            at, self._at = 12, base + offset
        first = None
        if flags & 0x4:
            first, at = _u32(trun, at), at + 4
        fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
        width = 4 * len(fields)
        if at + count * width > len(trun) or self.frames + count > MAX_SAMPLES:
            raise NoProof("a fragment that claims more samples than it lists")
        values = array("I", trun[at : at + count * width])
        if values.itemsize != 4:
            raise NoProof("this machine has other integers")
        values.byteswap() if _LITTLE else None
        columns = {bit: values[index :: len(fields)] for index, bit in enumerate(fields)}
        if count and not self.frames:
            usual = columns[0x400][0] if 0x400 in columns else usual
            begin = usual if first is None else first
            if begin & _NO_SYNC:
                raise NoProof("the first sample is no sync sample")
            self.first = (self._at, columns[0x200][0] if 0x200 in columns else size)
            offsets = columns.get(0x800)
            if offsets is not None:
                self._check_leading(offsets, columns.get(0x100), duration)
        if 0x200 in columns:
            if count and min(columns[0x200]) == 0:
                raise NoProof("samples without bytes")
            length = sum(columns[0x200])
        else:
            if count and not size:
                raise NoProof("samples without bytes")
            length = count * size
        if self._at < 0 or self._at + length > self._size:
            raise NoProof("samples behind the end of the file: it is cut")
        self._at += length
        self._next += sum(columns[0x100]) if 0x100 in columns else count * duration
        self.frames += count

    def _check_leading(self, offsets: Sequence[int], durations: Sequence[int] | None, duration: int) -> None:
        at = 0
        shown = []
        for index, offset in enumerate(offsets[:64]):
            if offset >= _LONGEST:
                # FFmpeg reads them as signed whatever the version.
                offset -= 1 << 32
            shown.append(at + offset)
            at += duration if durations is None else durations[index]
        if any(time < shown[0] for time in shown):
            raise NoProof("samples before the first sync sample are shown")


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
    data = track.edits
    if not data:
        return None
    wide, count = data[0] == 1, _u32(data, 4)
    width = 20 if wide else 12
    if count > 64 or 8 + count * width > len(data):
        raise NoProof("an edit list that is cut, or longer than 64 entries")
    empty, found = 0, None
    for index in range(count):
        duration, start, rate = struct.unpack_from(">Qqi" if wide else ">Iii", data, 8 + index * width)
        if start == -1 and found is None:
            empty += _rescale(duration, track.scale, scale)
        elif start < 0 or found is not None:
            raise NoProof("an edit list of several pieces")
        elif rate != 0x10000:
            raise NoProof("an edit list that changes the speed")
        else:
            found = _Edits(empty, start, _rescale(duration, track.scale, scale), track.scale)
    if found is None:
        if count:
            raise NoProof("an edit list that shows nothing")
        return None
    if not found.duration:
        raise NoProof("an edit list without a duration")
    return found


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
    dts = list(accumulate(_expand(stts, 64), initial=0))
    offsets = _expand(ctts, 64)
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
    stamps: list[int] = []
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
            stamps.append(corrected)
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
    return keep, [stamp - late for stamp in stamps]


def _closest_sync(
    start: int,
    dts: Sequence[int],
    offsets: Sequence[int],
    shift: int,
    syncs: frozenset[int] | None,
    has_ctts: bool,
) -> int:
    """The sync sample from which FFmpeg decodes for a piece that begins at `start`."""
    from bisect import bisect_right

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
    return frozenset(value - 1 for value in _numbers(data, 8, _u32(data, 4)))


def _first_is_sync(parts: dict[bytes, bytes]) -> bool:
    stss = parts.get(b"stss")
    return stss is None or (_u32(stss, 4) > 0 and _u32(stss, 8) == 1)


def _samples(parts: dict[bytes, bytes]) -> Samples:
    stsz, stz2 = parts.get(b"stsz"), parts.get(b"stz2")
    if (stsz is None) == (stz2 is None):
        raise NoProof("no table of sample sizes, or two")
    if stz2 is not None:
        count, width = _u32(stz2, 8), stz2[7]
        if width not in (8, 16) or count > MAX_SAMPLES or 12 + count * width // 8 > len(stz2):
            raise NoProof("a table of sample sizes that is cut")
        sizes = array("H", stz2[12 : 12 + 2 * count]) if width == 16 else array("B", stz2[12 : 12 + count])
        if width == 16 and _LITTLE:
            sizes.byteswap()
        return Samples(count, 0, sizes)
    assert stsz is not None
    size, count = _u32(stsz, 4), _u32(stsz, 8)
    if count > MAX_SAMPLES:
        raise NoProof(f"more than {MAX_SAMPLES} samples")
    return Samples(count, size, () if size else _numbers(stsz, 12, count))


def _here_only(dref: bytes) -> None:
    """Refuses tracks whose samples lie in another file."""
    if not dref:
        return
    if _u32(dref, 4) != 1 or _u32(dref, 16) & 0xFFFFFF != 1:
        raise NoProof("samples that lie in another file")


def _runs(data: bytes, name: str, *, signed: bool) -> list[tuple[int, int]]:
    if not data:
        return []
    number = _u32(data, 4)
    if 8 + 8 * number > len(data):
        raise NoProof(f"a {name} table that is cut")
    return list(struct.iter_unpack(">Ii" if signed else ">II", data[8 : 8 + 8 * number]))


def _expand(runs: list[tuple[int, int]], count: int) -> array[int]:
    values = array("q")
    for number, value in runs:
        left = count - len(values)
        if left <= 0:
            break
        values.extend(array("q", [value]) * min(number, left))
    return values


def _dts_shift(ctts: list[tuple[int, int]]) -> int:
    """How far FFmpeg moves decode times for negative offsets; the last two runs it does not ask."""
    return max([0, *(-offset for _, offset in ctts[:-2])])


def _rescale(value: int, to: int, scale: int) -> int:
    return (value * to + scale // 2) // scale


def _scale(header: bytes, name: str) -> int:
    scale = _u32(header, 20 if header[:1] == b"\1" else 12)
    if not 0 < scale < _LONGEST:
        raise NoProof(f"an {name} box without a time scale")
    return scale


_LITTLE: Final = struct.pack("=H", 1) == b"\1\0"


def _numbers(data: bytes, at: int, count: int, kind: str = "I") -> array[int]:
    width = 8 if kind == "Q" else 4
    if at + count * width > len(data):
        raise NoProof("a table that is shorter than it says")
    values = array(kind, data[at : at + count * width])
    if _LITTLE:
        values.byteswap()
    return values


def _u32(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise NoProof("a box that is cut")
    return int.from_bytes(data[at : at + 4], "big")
