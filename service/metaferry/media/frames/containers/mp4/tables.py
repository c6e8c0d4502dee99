"""The sample tables of an MP4 track: how many samples, how long, where. Pure; requests no ranges.

Every table is checked against the others and against the size of the file; a table that could be
read in two ways is a `NoProof`. Which samples are shown, and when, is in `edits.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, TypeAlias

from metaferry.media.frames.containers import codecs
from metaferry.media.frames.containers.mp4.numbers import numbers, scale_of, u32
from metaferry.media.frames.containers.reading import Cut, NoProof

#: Sample tables that are read, where they are there.
TABLES: Final = (b"stsd", b"stts", b"ctts", b"stss", b"stsz", b"stz2", b"stsc", b"stco", b"co64")

#: Most samples of a track: ten days at 25 frames a second. More is no proof, and no work.
MAX_SAMPLES: Final = 25_000_000

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


def movie_scale(mvhd: bytes) -> int:
    return scale_of(mvhd, "mvhd")


def track_number(tkhd: bytes) -> int:
    at = 20 if tkhd[:1] == b"\1" else 12
    return u32(tkhd, at)


def track(number: int, mdhd: bytes, parts: dict[bytes, bytes], edits: bytes, dref: bytes) -> Track:
    """The tables of the video track; raises `NoProof` for what cannot be proved whatever they say."""
    _here_only(dref)
    codec = codecs.of_mp4(parts.get(b"stsd", b""))
    prefix = codecs.length_of_nals(parts[b"stsd"]) if codec in codecs.NALS else 0
    return Track(
        number=number,
        codec=codec,
        prefix=prefix,
        scale=scale_of(mdhd, "mdhd"),
        samples=_samples(parts),
        parts=parts,
        edits=edits,
        first_is_sync=_first_is_sync(parts),
    )


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
        places = numbers(stco, 8, u32(stco, 4))
    else:
        assert co64 is not None
        places = numbers(co64, 8, u32(co64, 4), "Q")
    entries = numbers(stsc, 8, 3 * u32(stsc, 4))
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
                raise Cut("samples behind the end of the file: it is cut")
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


def _first_is_sync(parts: dict[bytes, bytes]) -> bool:
    stss = parts.get(b"stss")
    return stss is None or (u32(stss, 4) > 0 and u32(stss, 8) == 1)


def _samples(parts: dict[bytes, bytes]) -> Samples:
    stsz, stz2 = parts.get(b"stsz"), parts.get(b"stz2")
    if (stsz is None) == (stz2 is None):
        raise NoProof("no table of sample sizes, or two")
    if stz2 is not None:
        count, width = u32(stz2, 8), stz2[7]
        if width not in (8, 16) or count > MAX_SAMPLES or 12 + count * width // 8 > len(stz2):
            raise NoProof("a table of sample sizes that is cut")
        sizes = numbers(stz2, 12, count, "H") if width == 16 else array("B", stz2[12 : 12 + count])
        return Samples(count, 0, sizes)
    assert stsz is not None
    size, count = u32(stsz, 4), u32(stsz, 8)
    if count > MAX_SAMPLES:
        raise NoProof(f"more than {MAX_SAMPLES} samples")
    return Samples(count, size, () if size else numbers(stsz, 12, count))


def _here_only(dref: bytes) -> None:
    """Refuses tracks whose samples lie in another file."""
    if not dref:
        return
    if u32(dref, 4) != 1 or u32(dref, 16) & 0xFFFFFF != 1:
        raise NoProof("samples that lie in another file")
