"""The samples of a fragmented MP4: trun boxes, summed fragment by fragment. Pure; requests no ranges.

What a run lists is checked against the size of the file and against the times of the fragments
before it. FFmpeg ignores the edit list of such a file (measured), and so does this.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

from metaferry.media.frames.containers.mp4.numbers import LONGEST, numbers, runs, u32
from metaferry.media.frames.containers.mp4.tables import MAX_SAMPLES, Span, Track, check_places
from metaferry.media.frames.containers.reading import SMALL, Cut, NoProof
from metaferry.media.frames.model import Times

#: Flags of a fragment's sample that is no key frame for FFmpeg: no sync sample, or depends on others.
_NO_SYNC: Final = 0x0101_0000


#: No fragment begins at this tick or later: FFmpeg computes with 63 bits.
_LATEST: Final = 1 << 61


@dataclass(frozen=True, slots=True)
class Defaults:
    """The trex box: the defaults of the samples of a fragment."""

    number: int
    duration: int
    size: int
    flags: int


def defaults_of(trex: bytes) -> Defaults:
    if u32(trex, 8) != 1:
        raise NoProof("fragments of another sample description")
    return Defaults(u32(trex, 4), u32(trex, 12), u32(trex, 16), u32(trex, 20))


class Fragments:
    """Sums the trun boxes of one track, fragment by fragment."""

    def __init__(self, track: Track, defaults: Defaults, size: int, *, offset: int | None = None) -> None:
        """offset: how much earlier samples are shown than their boxes say; None: times are not requested."""
        self.frames = track.samples.count  # a hybrid file has its first samples in moov
        self.fragments = 0
        self.first: Span | None = None
        #: Where the samples of the fragments lie; kept for small files only, of which all is known.
        self.spans: list[Span] = []
        self._track = track
        self._defaults = defaults
        self._size = size
        self._at = 0  # where the next run without an offset lies
        self._next = 0  # decode time before which no other fragment may begin
        self._offset = offset or 0
        self._moof = -1
        self._end = -_LATEST  # of the sample that is shown last
        self._timed: bool | None = None  # whether fragments have the time at which they begin
        # What FFmpeg makes of samples both in moov and in fragments is left to it.
        self._ticks = array("q") if offset is not None and not self.frames else None
        if self.frames:
            if not track.first_is_sync:
                raise NoProof("the first sample is no sync sample")
            self.first = next(iter(check_places(track, size)))
            stts = runs(track.parts.get(b"stts", b""), "stts", signed=False)
            self._next = sum(number * delta for number, delta in stts)

    @property
    def times(self) -> Times | None:
        """When the samples are shown; None where that was not requested, or is not certain."""
        if self._ticks is None:
            return None
        return Times(Fraction(1, self._track.scale), array("q", sorted(self._ticks)))

    @property
    def duration(self) -> Fraction | None:
        """Seconds from the first frame to the end of the last one; None like `times`, and for no frames."""
        if not self._ticks:
            return None
        return Fraction(self._end - min(self._ticks), self._track.scale)

    def add(self, boxes: list[tuple[bytes, bytes]], moof: int) -> None:
        """The traf box of a moof that begins at `moof`; those of other tracks are passed over."""
        headers = [body for kind, body in boxes if kind == b"tfhd"]
        if len(headers) != 1:
            raise NoProof("a fragment without its header")
        header = headers[0]
        flags = u32(header, 0) & 0xFFFFFF
        if u32(header, 4) != self._track.number:
            return
        base = moof  # FFmpeg starts from the moof, whether the flag says so or not
        at = 8
        if flags & 0x1:
            base, at = u32(header, 8) << 32 | u32(header, 12), 16
        if flags & 0x2:
            if u32(header, at) != 1:
                raise NoProof("a fragment with another sample description")
            at += 4
        duration, size, usual = self._defaults.duration, self._defaults.size, self._defaults.flags
        if flags & 0x8:
            duration, at = u32(header, at), at + 4
        if flags & 0x10:
            size, at = u32(header, at), at + 4
        if flags & 0x20:
            usual = u32(header, at)
        times = [body for kind, body in boxes if kind == b"tfdt"]
        if len(times) > 1:
            raise NoProof("a fragment with two times")
        if times:
            begins = int.from_bytes(times[0][4:12], "big") if times[0][:1] == b"\1" else u32(times[0], 4)
            if begins >= _LATEST:
                raise NoProof("a fragment at an impossible time")
            if begins < self._next:
                raise NoProof("fragments that overlap in time")
            self._next = begins
        if self._timed not in (None, bool(times)):
            raise NoProof("fragments with a time and fragments without")
        self._timed = bool(times)
        if not times or moof == self._moof:
            self._ticks = None  # FFmpeg takes the time from sidx, or from the run before
        self._moof = moof
        if any(kind in (b"senc", b"saiz") for kind, _ in boxes):
            raise NoProof("encrypted")
        self._at = base
        for kind, body in boxes:
            if kind == b"trun":
                self._run(body, duration, size, usual, base)
        self.fragments += 1

    def _run(self, trun: bytes, duration: int, size: int, usual: int, base: int) -> None:
        flags, count = u32(trun, 0) & 0xFFFFFF, u32(trun, 4)
        at = 8
        if flags & 0x1:
            (offset,) = struct.unpack(">i", trun[8:12].ljust(4, b"\0"))
            at, self._at = 12, base + offset
        first = None
        if flags & 0x4:
            first, at = u32(trun, at), at + 4
        fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
        width = 4 * len(fields)
        if at + count * width > len(trun) or self.frames + count > MAX_SAMPLES:
            raise NoProof("a fragment that claims more samples than it lists")
        values = numbers(trun, at, count * len(fields))
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
            raise Cut("samples behind the end of the file: it is cut")
        if self._size <= SMALL:
            lengths = columns[0x200] if 0x200 in columns else [size] * count
            self.spans.extend(zip(accumulate(lengths[:-1], initial=self._at), lengths, strict=False))
        self._at += length
        self._note_times(count, columns.get(0x100), duration, columns.get(0x800))
        self._next += sum(columns[0x100]) if 0x100 in columns else count * duration
        self.frames += count

    def _note_times(
        self, count: int, durations: Sequence[int] | None, duration: int, offsets: Sequence[int] | None
    ) -> None:
        if self._ticks is None:
            return
        if offsets is not None and any(offset >= LONGEST for offset in offsets):
            self._ticks = None  # negative: FFmpeg moves all times by the greatest it has seen so far
            return
        at = self._next - self._offset
        for index in range(count):
            shown_at = at if offsets is None else at + offsets[index]
            length = duration if durations is None else durations[index]
            self._ticks.append(shown_at)
            self._end = max(self._end, shown_at + length)
            at += length

    def _check_leading(self, offsets: Sequence[int], durations: Sequence[int] | None, duration: int) -> None:
        at = 0
        shown = []
        for index, offset in enumerate(offsets[:64]):
            if offset >= LONGEST:
                # FFmpeg reads them as signed whatever the version.
                offset -= 1 << 32
            shown.append(at + offset)
            at += duration if durations is None else durations[index]
        if any(time < shown[0] for time in shown):
            raise NoProof("samples before the first sync sample are shown")
