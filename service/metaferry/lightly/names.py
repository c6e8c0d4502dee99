"""Names of the format: which files are media, and what their documents are called.

Every function here is a pure function of key paths relative to the datasource, exact code points:
nothing is normalised, decoded or looked up. `planning/sql/rules.py` states the same rules in SQL and is
held equal to this module by tests. Sources of the rules: docs/format.md, "Names".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: Where documents are kept, below the Lightly datasource.
DOCUMENTS: Final = ".lightly/metadata/"
#: The one file there that is no document.
SCHEMA: Final = DOCUMENTS + "schema.json"
#: Folders that never hold media, at the root of a datasource or below (where another datasource is).
RESERVED: Final = (".lightly/", ".metaferry/")

_RESERVED_BELOW: Final = tuple(f"/{folder}" for folder in RESERVED)

VIDEO_EXTENSIONS: Final = frozenset({"mp4", "m4v", "hevc", "mpg", "mpeg", "avi", "mov", "webm"})
IMAGE_EXTENSIONS: Final = frozenset({"png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "webp"})

#: An index of more digits than this is no frame index: it would not fit 64 bits.
MAX_DIGITS: Final = 18


class Kind(StrEnum):
    """What a document speaks of; the value of its `type`."""

    IMAGE = "image"
    VIDEO = "video"
    FRAME = "frame"


class Standing(StrEnum):
    """How a document in place stands to the media it is named after."""

    CURRENT = "current"
    STALE = "stale"  # a frame name with another number of digits than the video has now
    GONE = "gone"  # the right digits, but the video has no such frame


class HostileName(ValueError):
    """A name under which nothing may be written; `reason` completes "its name has …"."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} has {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FrameName:
    """What the name of a frame document says: the video, the index (from 0), the digits written."""

    video_path: str
    index: int
    digits_written: int


@dataclass(frozen=True, slots=True)
class Belonging:
    """A video that a document belongs to, and the frame's index for a frame document."""

    kind: Kind
    media: str
    index: int | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class Collision:
    """One document path that several media (or a media and schema.json) would share."""

    target: str
    media: tuple[str, ...]


def media_kind(path: str) -> Kind | None:
    """Image or video by the last extension in any letter case; None for what is no media.

    A name that is only an extension (`.mp4`) is no media, nor is anything below a `.lightly/` or
    `.metaferry/`, in whichever folder that lies.
    """
    if path.startswith(RESERVED) or any(folder in path for folder in _RESERVED_BELOW):
        return None
    stem, _, extension = path.rpartition(".")
    if not stem or stem.endswith("/"):
        return None
    extension = extension.lower()
    if extension in VIDEO_EXTENSIONS:
        return Kind.VIDEO
    return Kind.IMAGE if extension in IMAGE_EXTENSIONS else None


def document_path(media: str) -> str:
    """Key of the document of an image or a whole video.

    `sub/clip.mp4` gives `.lightly/metadata/sub/clip.json`: the last extension is replaced.
    ValueError for a path that is no media.
    """
    stem, _ = _stem_and_extension(media)
    return f"{DOCUMENTS}{stem}.json"


def digits(frames: int) -> int:
    """How many digits the index has in frame names of a video with `frames` frames: `len(str(N))`.

    It is the count that is measured, not the last index: N = 10 gives two digits. A video without
    frames has no frame names: ValueError.
    """
    if frames < 1:
        raise ValueError(f"a video of {frames} frames has no frame names")
    return len(str(frames))


def frame_document_path(video: str, index: int, digits: int) -> str:
    """Key of a frame's document: `.lightly/metadata/sub/clip-099-mp4.json`.

    The extension keeps its letter case. ValueError for a negative index, for one that does not fit
    `digits`, and for a path that is no video.
    """
    return f"{DOCUMENTS}{_frame_stem(video, index, digits)}.json"


def frame_file_name(video: str, index: int, digits: int) -> str:
    """`file_name` inside a frame's document, the frame as an image: `sub/clip-099-mp4.png`."""
    return f"{_frame_stem(video, index, digits)}.png"


def parse_frame_document(target: str) -> FrameName | None:
    """The inverse of :func:`frame_document_path`, from the name alone; None for any other key.

    The video's path follows uniquely, since neither index nor extension can hold a `-`. Whether
    there is such a video, and with that many frames, is another question: :func:`parse_document`.
    """
    match = _FRAME_DOCUMENT.fullmatch(target)
    if match is None:
        return None
    stem, index, extension = match.groups()
    video = f"{stem}.{extension}"
    if media_kind(video) is not Kind.VIDEO:
        return None
    return FrameName(video, int(index), len(index))


def parse_document(target: str, videos: Mapping[str, int]) -> tuple[Belonging, ...]:
    """The known videos (path to number of frames) that a document belongs to.

    Usually one or none. More than one means that they collide; none, that it is an image's
    document, an orphan's or no document at all.
    """
    found: list[Belonging] = []
    if target.startswith(DOCUMENTS) and target.endswith(".json") and target != SCHEMA:
        stem = target[len(DOCUMENTS) : -len("json")]
        for extension in _VIDEO_SPELLINGS:
            if stem + extension in videos:
                found.append(Belonging(Kind.VIDEO, stem + extension, None, Standing.CURRENT))
    frame = parse_frame_document(target)
    if frame is not None and frame.video_path in videos:
        frames = videos[frame.video_path]
        if frames < 1:
            standing = Standing.GONE
        elif frame.digits_written != digits(frames):
            standing = Standing.STALE
        else:
            standing = Standing.CURRENT if frame.index < frames else Standing.GONE
        found.append(Belonging(Kind.FRAME, frame.video_path, frame.index, standing))
    return tuple(found)


def clean_record_name(name: str) -> str:
    """A record's file name as the key it means: leading `./` and `/` are taken off, repeatedly.

    HostileName for what :func:`hostile` names.
    """
    cleaned = _LEADING.sub("", name, count=1)
    reason = hostile(cleaned)
    if reason is not None:
        raise HostileName(name, reason)
    return cleaned


def hostile(path: str) -> str | None:
    """Why nothing may be written under a key, or None. It completes the sentence "its name has …"."""
    if not path:
        return "no characters"
    if _CONTROL.search(path):
        return "a control character"
    if "\\" in path:
        return "a backslash"
    if _SURROGATE.search(path):
        return "a lone surrogate"
    segments = path.split("/")
    if "" in segments:
        return "an empty segment"
    if "." in segments or ".." in segments:
        return "a `.` or `..` segment"
    return None


def collisions(media: Iterable[str], frames: Mapping[str, int]) -> list[Collision]:
    """Every document path that two media would share, or that would be schema.json; sorted.

    `frames` is the number of frames of those videos among the media whose count is known: only
    they have frame documents that a media's own document can meet. Paths that are no media are
    passed over.
    """
    owners: dict[str, list[str]] = {}
    paths = {path for path in media if media_kind(path) is not None}
    for path in paths:
        owners.setdefault(document_path(path), []).append(path)
    found = [
        Collision(target, tuple(sorted(own)))
        for target, own in owners.items()
        if len(own) > 1 or target == SCHEMA
    ]
    for target, own in owners.items():
        frame = parse_frame_document(target)
        if frame is None or frame.video_path not in paths:
            continue
        count = frames.get(frame.video_path, 0)
        if frame.index < count and frame.digits_written == digits(count):
            found.append(Collision(target, (*sorted(own), frame.video_path)))
    return sorted(found, key=lambda collision: (collision.target, collision.media))


_LEADING = re.compile(r"\A(?:\./|/)+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FRAME_DOCUMENT = re.compile(
    re.escape(DOCUMENTS) + rf"(.+)-([0-9]{{1,{MAX_DIGITS}}})-([A-Za-z0-9]+)\.json", re.DOTALL
)


def _spellings(extension: str) -> list[str]:
    spelled = [""]
    for letter in extension:
        spelled = [head + tail for head in spelled for tail in sorted({letter.lower(), letter.upper()})]
    return spelled


#: Every letter case of every video extension: 84, so that a document finds its video by look-ups.
_VIDEO_SPELLINGS: Final = tuple(sorted(s for e in VIDEO_EXTENSIONS for s in _spellings(e)))


def _stem_and_extension(media: str) -> tuple[str, str]:
    if media_kind(media) is None:
        raise ValueError(f"{media!r} is no media")
    stem, _, extension = media.rpartition(".")
    return stem, extension


def _frame_stem(video: str, index: int, digits: int) -> str:
    stem, extension = _stem_and_extension(video)
    if extension.lower() not in VIDEO_EXTENSIONS:
        raise ValueError(f"{video!r} is no video")
    if index < 0 or len(str(index)) > digits or digits > MAX_DIGITS:
        raise ValueError(f"index {index} has no name of {digits} digits")
    return f"{stem}-{index:0{digits}d}-{extension}"
