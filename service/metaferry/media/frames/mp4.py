"""The index of an MP4, MOV or M4V: where its boxes are and which are read. Pure; asks for ranges.

Reads the head and the moov box, in at most three dependent reads; of a moov above 8 MiB only the
boxes that are needed. Fragmented files are walked moof by moof; `sidx` and `mfra` only say which
ranges to fetch together, the chain of boxes is verified whole. What the tables mean is in
`mp4_tables.py`. Claims nothing for what it does not know: every oddity is a `NoProof`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from metaferry.media.frames import codecs
from metaferry.media.frames import mp4_tables as tables
from metaferry.media.frames.reading import Asking, Indexed, NoProof, Range, Source

#: A moov box up to this size is read whole; of a larger one only what is needed.
WHOLE_MOOV: Final = 8 << 20

#: What is read beyond the end of the mdat box, in the hope to have all of moov with it.
TAIL: Final = 256 << 10

#: What is read of the first sample, which is mostly part of the head.
FIRST_SAMPLE: Final = 2 << 10

#: What is read of a fragment's moof; most are shorter.
MOOF: Final = 4 << 10

#: Budgets against hostile files: boxes looked at, tracks, fragments known from hints.
MAX_BOXES: Final = 200_000
MAX_TRACKS: Final = 200
MAX_HINTS: Final = 4_096

#: A fragmented file up to this size is read whole: it is cheaper than one read a fragment.
WHOLE_FILE: Final = 1 << 20

#: Handlers of tracks that FFmpeg never takes for video.
_NO_VIDEO: Final = frozenset(
    {b"soun", b"text", b"sbtl", b"subt", b"subp", b"tmcd", b"hint", b"meta", b"clcp", b"data", b"mdir"}
)


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int  # of the header
    body: int
    end: int


@dataclass(slots=True)
class _Budget:
    boxes: int = 0

    def spend(self) -> None:
        self.boxes += 1
        if self.boxes > MAX_BOXES:
            raise NoProof(f"more than {MAX_BOXES} boxes")


def count(source: Source, *, times: bool = False) -> Asking[Indexed]:
    """N of the first video track that is no cover picture, from the index alone.

    times: also the presentation time of every frame. Raises `NoProof`.
    """
    budget = _Budget()
    explain: list[str] = []
    moov, fragments = yield from _top(source, budget)
    if moov is None:
        raise NoProof("no moov box")
    if moov.end - moov.start <= WHOLE_MOOV:
        yield from source.fetch([(moov.start, moov.end)])
        explain.append(f"moov: {moov.end - moov.start} bytes at {moov.start}")
    else:
        explain.append(f"moov: {moov.end - moov.start} bytes at {moov.start}, read box by box")
    inside = yield from _children(source, moov.body, moov.end, budget)
    traks = [box for box in inside if box.kind == b"trak"]
    if len(traks) > MAX_TRACKS:
        raise NoProof(f"more than {MAX_TRACKS} tracks")
    if any(box.kind in (b"cmov", b"rmra") for box in inside):
        raise NoProof("a compressed or referring moov")
    track, several = yield from _first_video(source, traks, budget)
    header = _only(inside, b"mvhd")
    movie_scale = tables.movie_scale((yield from source.get(header.body, min(header.end, header.body + 32))))
    mvex = [box for box in inside if box.kind == b"mvex"]
    explain.append(f"track {track.number}: codec {track.codec}, {track.samples.count} samples")
    if mvex or fragments:
        if len(mvex) != 1:
            raise NoProof("fragments without an mvex box, or several of them")
        defaults = yield from _defaults(source, mvex[0], track.number, budget)
        return (yield from _fragmented(source, moov, track, defaults, several, budget, explain, times))
    places = tables.check_places(track, source.size)
    shown, stamps = tables.shown(track, movie_scale, times=times)
    yield from _look_at_samples(source, track, places)
    explain.extend(track.notes)
    return Indexed(shown, several, tuple(explain), stamps)


def _top(source: Source, budget: _Budget) -> Asking[tuple[Box | None, bool]]:
    """(the moov box, whether a fragment was met before or right behind it)."""
    at, moov = 0, None
    while at < source.size:
        if at + 8 > source.size and moov is None:
            raise NoProof("the file ends before its structure does")
        if at + 8 > source.size:
            return moov, False
        box = yield from _box(source, at, source.size, budget, ahead=TAIL)
        if box.kind == b"moof":
            return moov, True
        if box.kind == b"moov":
            if moov is not None:
                raise NoProof("two moov boxes")
            moov = box
            if source.known(box.end, box.end + 8):
                at = box.end
                continue
            # Whether fragments follow is what mvex tells; a second moov FFmpeg ignores.
            return moov, False
        if moov is not None and box.kind == b"mdat":
            return moov, False
        at = box.end
    return moov, False


def _box(source: Source, at: int, end: int, budget: _Budget, ahead: int = 0) -> Asking[Box]:
    """The header of the box at `at`, which must lie inside `end`."""
    budget.spend()
    size, kind = struct.unpack(">I4s", (yield from source.get(at, at + 8, ahead)))
    body = at + 8
    if size == 1:
        (size,) = struct.unpack(">Q", (yield from source.get(at + 8, at + 16, ahead)))
        body = at + 16
    elif size == 0:
        size = end - at
    if size < body - at or at + size > end:
        raise NoProof(f"a box at byte {at} does not fit its place: the file is cut or damaged")
    return Box(kind, at, body, at + size)


def _children(source: Source, start: int, end: int, budget: _Budget) -> Asking[list[Box]]:
    found: list[Box] = []
    while start + 8 <= end:
        if not any((yield from source.get(start, start + 4))):
            raise NoProof("a box without a size inside another")
        box = yield from _box(source, start, end, budget, ahead=_AHEAD)
        found.append(box)
        start = box.end
    return found


#: What is fetched with a box header that is hopped to.
_AHEAD: Final = 1 << 10


def _only(boxes: list[Box], kind: bytes) -> Box:
    """The box of a kind that must be there exactly once."""
    found = [box for box in boxes if box.kind == kind]
    if len(found) != 1:
        raise NoProof(f"{len(found)} {kind.decode('latin-1')} boxes where one is needed")
    return found[0]


def _maybe(boxes: list[Box], kind: bytes) -> Box | None:
    return _only(boxes, kind) if any(box.kind == kind for box in boxes) else None


def _first_video(source: Source, traks: list[Box], budget: _Budget) -> Asking[tuple[tables.Track, bool]]:
    """The track that FFmpeg takes for the first video stream; whether there are more."""
    videos: list[tuple[int, list[Box], list[Box]]] = []
    chapters: set[int] = set()
    for trak in traks:
        boxes = yield from _children(source, trak.body, trak.end, budget)
        media = _only(boxes, b"mdia")
        inner = yield from _children(source, media.body, media.end, budget)
        handler = _only(inner, b"hdlr")
        (kind,) = struct.unpack(">8x4s", (yield from source.get(handler.body, handler.body + 12)))
        header = _only(boxes, b"tkhd")
        number = tables.track_number((yield from source.get(header.body, min(header.end, header.body + 24))))
        reference = _maybe(boxes, b"tref")
        if reference is not None:
            for box in (yield from _children(source, reference.body, reference.end, budget)):
                if box.kind == b"chap":
                    data = yield from source.get(box.body, box.end)
                    chapters.update(value for (value,) in struct.iter_unpack(">I", data[: len(data) & ~3]))
        if kind == b"vide":
            videos.append((number, boxes, inner))
        elif kind not in _NO_VIDEO:
            raise NoProof("a track of a kind that is not known")
    if len({number for number, _, _ in videos}) != len(videos):
        raise NoProof("two tracks of one number")
    videos = [video for video in videos if video[0] not in chapters]
    if not videos:
        raise NoProof("no video track")
    number, boxes, inner = videos[0]
    track = yield from _track(source, number, boxes, inner, budget)
    return track, len(videos) > 1


def _track(
    source: Source, number: int, boxes: list[Box], inner: list[Box], budget: _Budget
) -> Asking[tables.Track]:
    information = _only(inner, b"minf")
    within = yield from _children(source, information.body, information.end, budget)
    sample_table = _only(within, b"stbl")
    stbl = yield from _children(source, sample_table.body, sample_table.end, budget)
    places = _maybe(within, b"dinf")
    references = b""
    if places is not None:
        dref = _maybe((yield from _children(source, places.body, places.end, budget)), b"dref")
        if dref is not None:
            references = yield from source.get(dref.body, dref.end)
    edits = b""
    edts = _maybe(boxes, b"edts")
    if edts is not None:
        elst = _maybe((yield from _children(source, edts.body, edts.end, budget)), b"elst")
        if elst is not None:
            edits = yield from source.get(elst.body, elst.end)
    mdhd = _only(inner, b"mdhd")
    parts: dict[bytes, bytes] = {}
    wanted = [box for kind in tables.TABLES if (box := _maybe(stbl, kind)) is not None]
    yield from source.fetch([(box.body, box.end) for box in wanted])
    for box in wanted:
        parts[box.kind] = yield from source.get(box.body, box.end)
    header = yield from source.get(mdhd.body, min(mdhd.end, mdhd.body + 32))
    return tables.track(number, header, parts, edits, references)


def _defaults(source: Source, mvex: Box, number: int, budget: _Budget) -> Asking[tables.Defaults]:
    for box in (yield from _children(source, mvex.body, mvex.end, budget)):
        if box.kind == b"trex":
            found = tables.defaults((yield from source.get(box.body, box.end)))
            if found.number == number:
                return found
    raise NoProof("no trex box of the video track")


def _fragmented(
    source: Source,
    moov: Box,
    track: tables.Track,
    defaults: tables.Defaults,
    several: bool,
    budget: _Budget,
    explain: list[str],
    times: bool,
) -> Asking[Indexed]:
    """Sums the trun boxes of every moof, over the whole chain of top-level boxes.

    FFmpeg ignores the edit list of such a file (measured), so nothing is left out.
    """
    sums = tables.Fragments(track, defaults, source.size)
    if source.size <= WHOLE_FILE:
        yield from source.fetch([(0, source.size)])
    hints = yield from _hints(source, moov, budget)
    yield from source.fetch(_merged(hints))
    at = 0
    behind = False  # whether a moof waits for its mdat
    while at < source.size:
        box = yield from _box(source, at, source.size, budget, ahead=MOOF)
        if box.kind == b"moof":
            if behind:
                raise NoProof("a fragment without its mdat")
            yield from source.fetch([(box.start, box.end)])
            behind = True
            for traf in (yield from _children(source, box.body, box.end, budget)):
                if traf.kind == b"traf":
                    parts = yield from _children(source, traf.body, traf.end, budget)
                    bodies = []
                    for part in parts:
                        bodies.append((part.kind, (yield from source.get(part.body, part.end))))
                    sums.add(bodies, box.start)
        elif box.kind == b"mdat":
            behind = False
        at = box.end
    if behind:
        raise NoProof("the last fragment has no mdat: the file is cut")
    explain.append(f"{sums.fragments} fragments, {len(hints)} known beforehand, {sums.frames} samples")
    if sums.frames:
        if sums.first is None:
            raise NoProof("a fragment that does not tell where its samples are")
        yield from _look_at_samples(source, track, iter([sums.first]))
    return Indexed(sums.frames, several, tuple(explain))


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


def _merged(places: list[int]) -> list[Range]:
    """The beginning of a moof at each place; ranges that touch are one."""
    ranges: list[Range] = []
    for at in sorted(places):
        if ranges and at <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], at + MOOF)
        else:
            ranges.append((at, at + MOOF))
    return ranges


def _hints(source: Source, moov: Box, budget: _Budget) -> Asking[list[int]]:
    """Where fragments are said to begin; nothing but ranges to fetch comes of it."""
    if source.size <= WHOLE_FILE:
        return []
    at = moov.end
    for _ in range(4):
        if at + 16 > source.size:
            break
        try:
            box = yield from _box(source, at, source.size, budget, ahead=MOOF)
        except NoProof:
            break
        if box.kind == b"moof":
            break
        if box.kind == b"sidx" and box.end - box.start <= 1 << 20:
            return list(_segment_starts((yield from source.get(box.body, box.end)), box.end))
        at = box.end
    last = yield from source.get(source.size - 16, source.size)
    size = int.from_bytes(last[12:16], "big")
    if last[4:8] == b"mfro" and 16 <= size <= min(source.size, 1 << 20):
        data = yield from source.get(source.size - size, source.size)
        return list(_random_access(data))
    return []


def _segment_starts(sidx: bytes, at: int) -> Iterator[int]:
    version = sidx[0] if sidx else 0
    start = 12 + (16 if version else 8)
    if len(sidx) < start + 4:
        return
    at += int.from_bytes(sidx[12 + (8 if version else 4) : start], "big")
    for (word,) in list(struct.iter_unpack(">I8x", sidx[start + 4 :][: (len(sidx) - start - 4) // 12 * 12]))[
        :MAX_HINTS
    ]:
        yield at
        at += word & 0x7FFFFFFF


def _random_access(mfra: bytes) -> Iterator[int]:
    """The moof offsets of the first tfra box of an mfra box."""
    if mfra[4:8] != b"mfra" or mfra[12:16] != b"tfra" or len(mfra) < 32:
        return
    size = int.from_bytes(mfra[8:12], "big")
    wide = mfra[16] == 1
    lengths = int.from_bytes(mfra[24:28], "big")
    entry = (16 if wide else 8) + sum(1 + (lengths >> shift & 3) for shift in (4, 2, 0))
    number = int.from_bytes(mfra[28:32], "big")
    seen: set[int] = set()
    for index in range(min(number, MAX_HINTS)):
        at = 32 + index * entry
        if at + entry > min(len(mfra), 8 + size):
            return
        place = mfra[at + 8 : at + 16] if wide else mfra[at + 4 : at + 8]
        offset = int.from_bytes(place, "big")
        if offset not in seen:
            seen.add(offset)
            yield offset
