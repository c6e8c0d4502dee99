"""A CVAT file from its first tag to its last: rows of images as they end, and rows of tracks shape by shape.

Frames are those of the original video from 0, also where the task takes each third of them. Skeletons are one
object; what they are made of is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from metaferry.tables.readers.annotations.cvat.meta import Meta, whole
from metaferry.tables.readers.annotations.cvat.rows import SHAPES, Shape, image_row, object_row
from metaferry.tables.readers.annotations.cvat.tracks import Filling, InFrame, Track
from metaferry.tables.readers.annotations.opened import Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.xml_stream import BrokenXml, read_xml

#: Frames of one video, and shapes of one image, at most: these are held in memory.
MOST_FRAMES: Final = 5_000_000
MOST_SHAPES: Final = 100_000
#: Attributes of one shape, at most.
MOST_ATTRIBUTES: Final = 10_000
#: Attributes that say what a shape looks like: most of the bytes, and of no use here.
_DRAWN: Final = frozenset({"points", "rle"})
#: About how many bytes a row holds.
_ROW: Final = 300

_PROJECT: Final = (
    "has tracks, and is the export of a project, which counts frames over all of its tasks and does not say "
    "of which video they are",
    "export each task by itself as CVAT for video 1.1, or the project as CVAT for images 1.1",
)


class CvatDocument:
    """The rows of one file; the keys of `images` are greater than `before`.

    In a video's file rows of `images` come after all objects, one for each frame of the task, or where the
    file does not tell its frames, one for each frame with an object or a tag.
    """

    def __init__(self, before: int) -> None:
        self.meta = Meta()
        self._is_ours = False
        self._before = before
        self._images = 0
        self._found: list[Iterator[Placed | Rejected]] = []
        self._image: Mapping[str, str] = {}
        self._shapes: list[Shape] = []
        self._tags: list[Shape] = []
        self._shape: Shape | None = None
        self._attribute = ""
        self._track: Track | None = None
        self._has_frames = False
        self._filling = Filling()
        self._seen: set[int] = set()
        self._frame_tags: dict[int, list[Shape]] = {}

    def rows(self, blocks: Iterator[bytes]) -> Iterator[Placed | Rejected]:
        """All rows. Raises BrokenXml."""
        for _ in read_xml(blocks, self):
            found, self._found = self._found, []
            yield from chain.from_iterable(found)
        yield from self._frames()

    @property
    def last(self) -> int:
        """A number that is not less than any key of the file, once it was read."""
        frames = self.meta.frames or range(0)
        return self._before + self._images + max(frames.stop, max(self._seen, default=0) + 1)

    # -- tags, as `xml_stream.Handler`

    def begin(self, path: tuple[str, ...], attributes: Mapping[str, str], line: int) -> None:
        match path:
            case ("annotations",):
                self._is_ours = True
            case (name,):
                raise BrokenXml(f"begins with <{name}>, and a CVAT file with <annotations>")
            case (_, "image"):
                self._image, self._shapes, self._tags = attributes, [], []
            case (_, "track"):
                if self.meta.kind == "project":
                    raise BrokenXml(*_PROJECT)
                self._has_frames = True
                self._track = Track(attributes, self._key_of, self._filling, self.meta.step)
            case (_, "image" | "track", kind) if kind in SHAPES or (kind, path[1]) == ("tag", "image"):
                given = {key: value for key, value in attributes.items() if key not in _DRAWN}
                self._shape = Shape(kind, given, line, {})
            case (_, "tag"):
                self._shape = Shape("tag", attributes, line, {})
            case (_, "image" | "track", _, "attribute") | (_, "tag", "attribute"):
                self._attribute = attributes.get("name", "")

    def end(self, path: tuple[str, ...], text: str, line: int) -> None:
        shape = self._shape
        match path:
            case (_, "meta", *_):
                self._end_meta(path, text, line)
            case (_, "image"):
                self._found.append(self._end_image(line))
            case (_, "track") if self._track is not None:
                track, self._track = self._track, None
                self._found.append(_placed(track.end(self.meta.frames.stop if self.meta.frames else None)))
            case (_, "image", kind) if shape is not None and kind == shape.kind:
                self._end_shape(shape, line)
            case (_, "track", kind) if shape is not None and kind == shape.kind and self._track is not None:
                self._shape = None
                self._found.append(_placed(self._track.add(shape)))
            case (_, "tag") if shape is not None:
                self._end_frame_tag(shape)
            case (_, "image" | "track", _, "attribute") | (_, "tag", "attribute") if shape is not None:
                shape.attributes[self._attribute] = self._typed(shape, text)
                if len(shape.attributes) > MOST_ATTRIBUTES:
                    raise BrokenXml(
                        f"has more than {MOST_ATTRIBUTES:,} attributes of one shape (line {line})"
                    )

    def _typed(self, shape: Shape, text: str) -> Any:
        given = shape.given if self._track is None else self._track.given
        return self.meta.typed(given.get("label", ""), self._attribute, text)

    def _end_meta(self, path: tuple[str, ...], text: str, line: int) -> None:
        try:
            self.meta.end(path, text)
        except Bad as bad:
            raise BrokenXml(f"has a head that cannot be read: {bad.message} (line {line})") from None

    # -- images

    def _end_shape(self, shape: Shape, line: int) -> None:
        self._shape = None
        (self._tags if shape.kind == "tag" else self._shapes).append(shape)
        if len(self._shapes) + len(self._tags) > MOST_SHAPES:
            raise BrokenXml(f"has more than {MOST_SHAPES:,} shapes in one image (line {line})")

    def _end_image(self, line: int) -> Iterator[Placed | Rejected]:
        """The rows of the image that ends; it is read whole, or not, since its counts would be wrong."""
        given, shapes, tags = self._image, self._shapes, self._tags
        self._image, self._shapes, self._tags = {}, [], []
        self._images += 1
        key = self._before + self._images
        try:
            name = given.get("name")
            if not name:
                raise Bad("an image has no name", "name")
            rows = [Placed("images", line, _ROW, image_row(key, name, None, tags, given=given)._asdict())]
            for shape in shapes:
                rows.append(Placed("objects", shape.line, _ROW, object_row(key, shape)._asdict()))
        except Bad as bad:
            return iter([Rejected("images", line, _about(given, bad))])
        return iter(rows)

    # -- frames

    def _key_of(self, frame: int) -> int:
        """The key of a frame; it is remembered where nothing else tells which frames there are."""
        frames = self.meta.frames
        if frames is None or frame not in frames:
            self._seen.add(frame)
            if len(self._seen) > MOST_FRAMES:
                raise BrokenXml(f"has more than {MOST_FRAMES:,} frames")
        return self._before + self._images + frame + 1

    def _end_frame_tag(self, shape: Shape) -> None:
        self._shape = None
        try:
            frame = whole(shape.given.get("frame", ""), "frame of a tag")
        except Bad as bad:
            self._found.append(iter([Rejected("images", shape.line, bad)]))
            return
        self._has_frames = True
        self._key_of(frame)
        self._frame_tags.setdefault(frame, []).append(shape)
        if len(self._frame_tags) > MOST_FRAMES:
            raise BrokenXml(f"has tags in more than {MOST_FRAMES:,} frames")

    def _frames(self) -> Iterator[Placed | Rejected]:
        """A row of `images` for each frame of a video: of a file with images they have come with names."""
        meta = self.meta
        if not self._has_frames and (self._images or meta.mode != "interpolation"):
            return
        frames = meta.frames or range(0)
        if len(frames) > MOST_FRAMES:
            raise BrokenXml(f"has {len(frames):,} frames, and at most {MOST_FRAMES:,} can be read")
        size = {side: str(has) for side, has in (("width", meta.width), ("height", meta.height)) if has}
        for frame in chain(frames, sorted(self._seen)):
            tags = self._frame_tags.get(frame, [])
            line = tags[0].line if tags else 1
            try:
                row = image_row(self._key_of(frame), meta.source, frame, tags, given=size)
                yield Placed("images", line, _ROW, row._asdict())
            except Bad as bad:
                yield Rejected("images", line, Bad(f"frame {frame}: {bad.message}", bad.column))


def _about(given: Mapping[str, str], bad: Bad) -> Bad:
    return Bad(f"image {given.get('name', '')!r}: {bad.message}", bad.column)


def _placed(found: Iterator[InFrame]) -> Iterator[Placed | Rejected]:
    for line, row in found:
        if isinstance(row, Bad):
            yield Rejected("objects", line, row)
        else:
            yield Placed("objects", line, _ROW, row._asdict())
