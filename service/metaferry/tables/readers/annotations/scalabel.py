"""BDD100K and Scalabel: labels of images, and of the frames of videos, in the four shapes that are around.

- a list of frames `[{name, videoName, frameIndex, attributes, labels: […]}]` (BDD100K, Scalabel exports);
- a dataset `{frames: [frame, …], groups, config}` (Scalabel from 0.2);
- one file an image `{name, attributes, frames: [{timestamp, objects: […]}]}` (BDD100K before 2020);
- a list where `name` is missing, or a URL, and the video is "" (the tool's own lists and exports).

From doc/format.md of ucbdrive/bdd-data and label/typing.py of scalabel/scalabel. Numbers in a name are never
read: in BDD100K a name counts from 1 where `frameIndex` counts from 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.counted import counted_query, example, needs
from metaferry.tables.readers.annotations.documents import Found, first_of, objects_of, whole_object
from metaferry.tables.readers.annotations.elements import WHOLE
from metaferry.tables.readers.annotations.opened import OpenedFiles, Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import (
    as_json,
    flag,
    index,
    integer,
    items,
    number,
    path_of,
    shown,
    table,
    text,
)
from metaferry.tables.readers.contract import Facts, Given, ReaderColumn, ReaderRelation, TooMuch, Wanted
from metaferry.tables.readers.files import ReaderFile

IMAGES: Final = ReaderRelation(
    "images",
    "one image, or one frame of a video",
    (
        ReaderColumn("image", pa.int64(), "its number over all files, which `objects` has too"),
        ReaderColumn("file_name", pa.string(), "`name`, or `url` where there is none; of a URL its path"),
        ReaderColumn("frame", pa.int64(), "`frameIndex`: the frame of the video, from 0"),
        ReaderColumn("video", pa.string(), "`videoName`, mostly without an extension"),
        ReaderColumn("url", pa.string(), "as the file has it"),
        ReaderColumn("width", pa.int64(), "in pixels"),
        ReaderColumn("height", pa.int64(), "in pixels"),
        ReaderColumn("timestamp", pa.int64(), "as the file has it: ms since 1970, or since the video began"),
        ReaderColumn("attributes", pa.string(), "weather, scene, timeofday, and what else", json=True),
    ),
)
OBJECTS: Final = ReaderRelation(
    "objects",
    "one label of an image",
    (
        ReaderColumn("image", pa.int64(), "the image's number"),
        ReaderColumn("id", pa.string(), "its identifier, as text: of a track the same in all frames"),
        ReaderColumn("category", pa.string(), "its category"),
        ReaderColumn("shape", pa.string(), "box2d, poly2d, box3d, rle or graph; null for none"),
        ReaderColumn("x1", pa.float64(), "of the box: left, in pixels"),
        ReaderColumn("y1", pa.float64(), "of the box: top, in pixels"),
        ReaderColumn("x2", pa.float64(), "of the box: right, in pixels"),
        ReaderColumn("y2", pa.float64(), "of the box: bottom, in pixels"),
        ReaderColumn("score", pa.float64(), "of a prediction"),
        ReaderColumn("crowd", pa.bool_(), "the attribute of that name, in any case"),
        ReaderColumn("occluded", pa.bool_(), "the attribute of that name, in any case"),
        ReaderColumn("truncated", pa.bool_(), "the attribute of that name, in any case"),
        ReaderColumn("attributes", pa.string(), "all attributes of the label", json=True),
    ),
)
#: What a label may be drawn as, in the order in which one is named where there are several.
SHAPES: Final = ("box2d", "poly2d", "box3d", "rle", "graph")
#: Attributes of a label that are columns too.
FLAGS: Final = ("crowd", "occluded", "truncated")
#: Keys of a frame that tell it from the elements of other formats.
_OWN: Final = frozenset({"labels", "videoName", "frameIndex", "attributes", "timestamp"})
_FRAMES: Final = re.compile(rb'"frames"\s*:\s*(?=\[)')


class Image(NamedTuple):
    """A row of `images`."""

    image: int
    file_name: str | None
    frame: int | None
    video: str | None
    url: str | None
    width: int | None
    height: int | None
    timestamp: int | None
    attributes: str | None


class Object(NamedTuple):
    """A row of `objects`."""

    image: int
    id: str | None
    category: str | None
    shape: str | None
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    score: float | None
    crowd: bool | None
    occluded: bool | None
    truncated: bool | None
    attributes: str | None


class ScalabelReader:
    """`contract.Reader` of BDD100K and Scalabel."""

    key = "annotations"
    name = "scalabel"
    title = "BDD100K and Scalabel"
    relations = ("images", "objects")
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        first = _first_frame(head)
        return is_old(first) or is_frame(first)

    def takes_folder(self, names: Sequence[str]) -> bool:
        return False

    def open(self, given: Given) -> OpenedScalabel:
        return OpenedScalabel(given)


class OpenedScalabel(OpenedFiles):
    """`contract.Opened` of it."""

    relations = (IMAGES, OBJECTS)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        def fault(message: str) -> JobError:
            return self.fault(file, message)

        head = file.head()
        if head.lstrip()[:1] == b"{" and is_old(_first_frame(head)):
            found = whole_object(file.utf8(), fault)
        else:
            lists = {WHOLE} if head.lstrip()[:1] == b"[" else {"frames"}
            found = objects_of(file.utf8(), lists, fault)
        for each in found:
            try:
                if each.bad is not None:
                    raise each.bad
                made = _made(each, self.before)
            except Bad as bad:
                yield Rejected("images", each.number, bad.of(f"frame {each.number:,}"))
                continue
            for row in made:
                is_image = isinstance(row, Image)
                self.before += is_image
                relation = "images" if is_image else "objects"
                yield Placed(relation, each.number, each.size // len(made), row._asdict())

    def needs(self) -> Wanted:
        return needs(("frame", "video", "attributes"))

    def records(self, facts: Facts) -> str:
        ((frames,),) = facts.rows(
            "SELECT count(*) FROM (SELECT 1 FROM images WHERE video IS NOT NULL AND frame IS NOT NULL "
            "GROUP BY file_name HAVING count(DISTINCT frame) > 1)"
        )
        if frames:
            raise TooMuch("several frames of videos have one name, so it is no image's", _of_videos())
        return counted_query(facts, keys=("attributes",))

    def example(self, table: str) -> str:
        return example(["car"], table)


def _of_videos() -> str:
    return (
        "SELECT i.video || '.mp4' AS file_name, i.frame, count(o.image) AS objects\n"
        "FROM annotations.images i LEFT JOIN annotations.objects o ON o.image = i.image\n"
        "GROUP BY i.video, i.frame"
    )


def _first_frame(head: bytes) -> dict[str, Any]:
    if head.lstrip()[:1] == b"[":
        return first_of(head)
    frames = _FRAMES.search(head)
    return first_of(head[frames.end() :]) if frames is not None else {}


def is_frame(first: Mapping[str, Any]) -> bool:
    """Whether the first element of a list is a frame of one of these shapes."""
    return bool(first.keys() & {"name", "url", "videoName"}) and bool(first.keys() & _OWN)


def is_old(first: Mapping[str, Any]) -> bool:
    """Whether the first of an object's `frames` is one of the file of a single image."""
    return "objects" in first and not first.keys() & {"name", "url", "labels"}


def _made(found: Found, before: int) -> list[Image | Object]:
    """The rows of an element; an image comes before its objects. Raises Bad: it is read whole, or not."""
    rows: list[Image | Object] = []
    for image, part in enumerate(_parts(found.value), before + 1):
        rows.append(_image(image, part))
        labels = items(part.get("labels"), "labels")
        rows += [_object(image, label, f"labels[{at}]") for at, label in enumerate(labels)]
    return rows


def _parts(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The frames of an element: itself, or those of the file of one image."""
    if "frames" not in value:
        return [value]
    frames = items(value["frames"], "frames")
    parts = []
    for at, frame in enumerate(frames):
        own = dict(table(frame, f"frames[{at}]"))
        own["labels"] = own.pop("objects", None)
        own.setdefault("attributes", value.get("attributes"))
        own.setdefault("name", value.get("name"))
        if len(frames) > 1:
            own.setdefault("frameIndex", at)
        parts.append(own)
    return parts


def _image(image: int, value: Mapping[str, Any]) -> Image:
    name, url = text(value.get("name"), "name") or None, text(value.get("url"), "url") or None
    video = text(value.get("videoName"), "videoName") or None
    given = name or url
    if not (given or video):
        raise Bad("it has no name, no url and no videoName: nothing says which file it is about")
    size = table(value.get("size"), "size")
    return Image(
        image,
        path_of(given) if given else None,
        index(value.get("frameIndex"), "frameIndex"),
        video,
        url,
        integer(size.get("width"), "size.width"),
        integer(size.get("height"), "size.height"),
        integer(value.get("timestamp"), "timestamp"),
        as_json(table(value.get("attributes"), "attributes"), "attributes"),
    )


def _object(image: int, label: Any, key: str) -> Object:
    if not isinstance(label, dict):
        raise Bad(f"{key} is {shown(label)}, and no object", key)
    box = table(label.get("box2d"), f"{key}.box2d")
    attributes = table(label.get("attributes"), f"{key}.attributes")
    flags = {name.lower(): flag(value) for name, value in attributes.items() if name.lower() in FLAGS}
    x1, y1, x2, y2 = (number(box.get(side), f"{key}.box2d.{side}") for side in ("x1", "y1", "x2", "y2"))
    crowd, occluded, truncated = (flags.get(name) for name in FLAGS)
    return Object(
        image,
        text(label.get("id"), f"{key}.id"),
        text(label.get("category"), f"{key}.category"),
        next((shape for shape in SHAPES if label.get(shape)), None),
        x1,
        y1,
        x2,
        y2,
        number(label.get("score"), f"{key}.score"),
        crowd,
        occluded,
        truncated,
        as_json(attributes, f"{key}.attributes"),
    )
