"""The statistics tag of a Matroska file, where it is valid; there is no other proof in its index. Pure.

mkvmerge writes the number of frames of each track into a tag, with the application and the date
that the file itself must name (https://mkvtoolnix.download, "statistics tags"). A tag that some
other program carried over does not match, and proves nothing. At most three round trips. Cues,
durations and block counts never proved the digits of a file, so they are not used.
"""

from __future__ import annotations

import datetime
from typing import Final

from metaferry.media.frames.containers.reading import Asking, Cut, Indexed, NoProof, Source

_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
INFO: Final = 0x1549A966
TRACKS: Final = 0x1654AE6B
TAGS: Final = 0x1254C367
_CLUSTER: Final = 0x1F43B675

#: Codecs of which one block is one shown frame.
_PLAIN: Final = frozenset({"V_MPEG4/ISO/AVC", "V_MPEGH/ISO/HEVC", "V_MJPEG", "V_FFV1"})

MAX_ELEMENTS: Final = 20_000
MAX_METADATA: Final = 4 << 20
_AHEAD: Final = 4 << 10


def count(source: Source, *, times: bool = False) -> Asking[Indexed]:
    """N of the first video track, from a statistics tag of this very file. Raises `NoProof`."""
    found, end = yield from headers(source)
    if end > source.size:
        raise Cut("the file ends before its header says: it is cut")
    if not {INFO, TRACKS, TAGS} <= found.keys():
        raise NoProof("no statistics tag")
    track, several = _first_video(found[TRACKS])
    frames = _statistics(found[INFO], found[TAGS], track)
    return Indexed(frames, several, (f"track {track}: statistics tag, {frames} frames",))


def headers(source: Source) -> Asking[tuple[dict[int, bytes], int]]:
    """(content of `INFO`, `TRACKS` and `TAGS` where they are found, where the segment should end).

    Reads what stands in front of the first cluster, and the tags where the seek head says they are.
    """
    kind, _, length = yield from _element(source, 0)
    at = length
    kind, body, segment_end = yield from _element(source, at)
    if kind != _SEGMENT:
        raise NoProof("no segment")
    end = min(segment_end, source.size)
    places: dict[int, int] = {}
    found: dict[int, bytes] = {}
    at = body
    for _ in range(32):
        if at >= end:
            break
        kind, inside, after = yield from _element(source, at)
        if kind == _CLUSTER:
            break
        if kind in (_SEEK_HEAD, INFO, TRACKS, TAGS):
            if after - inside > MAX_METADATA:
                raise NoProof("a header that is too long")
            found[kind] = yield from source.get(inside, min(after, end))
        at = after
    if _SEEK_HEAD in found:
        places = _seek(found[_SEEK_HEAD], body)
    if TAGS not in found and places.get(TAGS, source.size) < end:
        kind, inside, after = yield from _element(source, places[TAGS], ahead=64 << 10)
        if kind != TAGS or after - inside > MAX_METADATA:
            raise NoProof("tags that are not where they are said to be")
        found[TAGS] = yield from source.get(inside, after)
    return found, segment_end


def _element(source: Source, at: int, ahead: int = _AHEAD) -> Asking[tuple[int, int, int]]:
    """(id, start of the content, end of it) of the element at `at`; unknown lengths reach the end."""
    if at >= source.size:
        raise NoProof("the file ends before its structure does")
    head = yield from source.get(at, min(source.size, at + 12), ahead)
    kind, width = _number(head, 0, keep_marker=True)
    length, next_width = _number(head, width, keep_marker=False)
    body = at + width + next_width
    if length == (1 << 7 * next_width) - 1:
        return kind, body, source.size
    return kind, body, body + length


def _number(data: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """(value, width) of an EBML number."""
    if at >= len(data) or not data[at]:
        raise NoProof("no element where one should be")
    width = 9 - data[at].bit_length()
    if at + width > len(data):
        raise NoProof("an element that is cut")
    value = int.from_bytes(data[at : at + width], "big")
    return (value if keep_marker else value & ((1 << 7 * width) - 1)), width


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """(id, content) of the elements inside another. Raises `NoProof` where they do not fit."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        kind, width = _number(data, at, keep_marker=True)
        length, next_width = _number(data, at + width, keep_marker=False)
        at += width + next_width
        if at + length > len(data) or len(found) >= MAX_ELEMENTS:
            raise NoProof("elements that do not fit")
        found.append((kind, data[at : at + length]))
        at += length
    return found


def _seek(data: bytes, base: int) -> dict[int, int]:
    places: dict[int, int] = {}
    for kind, body in elements(data):
        if kind == 0x4DBB:
            entry = dict(elements(body))
            if 0x53AB in entry and 0x53AC in entry:
                places[int.from_bytes(entry[0x53AB], "big")] = base + int.from_bytes(entry[0x53AC], "big")
    return places


def _first_video(tracks: bytes) -> tuple[int, bool]:
    """(UID of the first video track, whether there are more)."""
    videos: list[dict[int, bytes]] = []
    for kind, body in elements(tracks):
        if kind == 0xAE:
            entry = dict(elements(body))
            if entry.get(0x83) == b"\1":
                videos.append(entry)
    if not videos:
        raise NoProof("no video track")
    entry = videos[0]
    codec = entry.get(0x86, b"").rstrip(b"\0").decode("latin-1")
    if codec not in _PLAIN:
        raise NoProof(f"a codec that may have hidden frames: {codec!r}")
    if codec == "V_MPEG4/ISO/AVC":
        from metaferry.media.frames.containers.codecs import progressive

        if not progressive(entry.get(0x63A2, b"")):
            raise NoProof("H.264 that may store one field a block")
    return int.from_bytes(entry.get(0x73C5, b""), "big"), len(videos) > 1


def _statistics(info: bytes, tags: bytes, track: int) -> int:
    """NUMBER_OF_FRAMES of the track, from a tag that this file's own writer made on its date."""
    header = dict(elements(info))
    application = header.get(0x57 << 8 | 0x41, b"").rstrip(b"\0").decode("utf-8", "replace")
    date = header.get(0x4461)
    if not application.startswith("mkvmerge") or date is None or len(date) != 8:
        raise NoProof("not written by a program whose statistics are known")
    seconds = int.from_bytes(date, "big", signed=True) // 1_000_000_000
    written = datetime.datetime(2001, 1, 1) + datetime.timedelta(seconds=seconds)
    for kind, body in elements(tags):
        if kind != 0x7373:
            continue
        parts = elements(body)
        targets = [e for k, b in parts if k == 0x63C0 for e in elements(b)]
        if [int.from_bytes(v, "big") for k, v in targets if k == 0x63C5] != [track]:
            continue
        values: dict[str, str] = {}
        for part, content in parts:
            if part == 0x67C8:
                simple = dict(elements(content))
                name = simple.get(0x45A3, b"").decode("utf-8", "replace")
                values[name] = simple.get(0x4487, b"").rstrip(b"\0").decode("utf-8", "replace")
        frames = values.get("NUMBER_OF_FRAMES", "")
        if not frames.isascii() or not frames.isdigit() or len(frames) > 9:
            continue
        if values.get("_STATISTICS_WRITING_APP") != application:
            raise NoProof("statistics of another program")
        if values.get("_STATISTICS_WRITING_DATE_UTC") != written.strftime("%Y-%m-%d %H:%M:%S"):
            raise NoProof("statistics of another date")
        return int(frames)
    raise NoProof("no statistics tag")
