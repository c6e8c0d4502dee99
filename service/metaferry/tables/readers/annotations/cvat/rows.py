"""Rows of the relations of a CVAT file, made of the attributes of its tags. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from metaferry.tables.readers.annotations.cvat.meta import whole
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import as_json, shown
from metaferry.tables.readers.contract import ReaderColumn, ReaderRelation

IMAGES: Final = ReaderRelation(
    "images",
    "one image, or one frame of a video",
    (
        ReaderColumn("image", pa.int64(), "its number over all files, which `objects` has too"),
        ReaderColumn("file_name", pa.string(), "the image below the root of its task, or the video"),
        ReaderColumn("frame", pa.int64(), "of a video: the frame of the original file, from 0"),
        ReaderColumn("width", pa.int64(), "in pixels"),
        ReaderColumn("height", pa.int64(), "in pixels"),
        ReaderColumn("subset", pa.string(), "of an image: Train, Validation, Test or what else"),
        ReaderColumn("task", pa.string(), "of an image of a project: the number of its task"),
        ReaderColumn("tags", pa.list_(pa.string()), "the labels of its tags"),
        ReaderColumn("attributes", pa.string(), "of each tag its attributes, below its label", json=True),
    ),
    place="line",
)
OBJECTS: Final = ReaderRelation(
    "objects",
    "one shape of an image, or one object in one frame",
    (
        ReaderColumn("image", pa.int64(), "the image's or frame's number"),
        ReaderColumn("frame", pa.int64(), "of a track: the frame of the original file, from 0"),
        ReaderColumn("track", pa.string(), "of a track: its number, the same in all of its frames"),
        ReaderColumn("category", pa.string(), "its label; null for none"),
        ReaderColumn("shape", pa.string(), "box, ellipse, polygon, polyline, points, cuboid, mask, skeleton"),
        ReaderColumn("occluded", pa.bool_(), "whether it is covered in part"),
        ReaderColumn("keyframe", pa.bool_(), "of a track: whether it was drawn in this frame"),
        ReaderColumn("filled", pa.bool_(), "whether it is not in the file, and follows from keyframes"),
        ReaderColumn("source", pa.string(), "manual, auto, semi-auto, file …"),
        ReaderColumn("x1", pa.float64(), "of a box: left, in pixels"),
        ReaderColumn("y1", pa.float64(), "of a box: top, in pixels"),
        ReaderColumn("x2", pa.float64(), "of a box: right, in pixels"),
        ReaderColumn("y2", pa.float64(), "of a box: bottom, in pixels"),
        ReaderColumn("attributes", pa.string(), "by their names, with the types of the labels", json=True),
    ),
    place="line",
)
SHAPES: Final = frozenset(["box", "ellipse", "polygon", "polyline", "points", "cuboid", "mask", "skeleton"])
#: Left, top, right, bottom; null for a shape that is no box.
Sides = tuple[float | None, float | None, float | None, float | None]
NO_SIDES: Final[Sides] = (None, None, None, None)


class Image(NamedTuple):
    """A row of `images`."""

    image: int
    file_name: str | None
    frame: int | None
    width: int | None
    height: int | None
    subset: str | None
    task: str | None
    tags: list[str] | None
    attributes: str | None


class Object(NamedTuple):
    """A row of `objects`."""

    image: int
    frame: int | None
    track: str | None
    category: str | None
    shape: str
    occluded: bool | None
    keyframe: bool | None
    filled: bool
    source: str | None
    x1: float | None
    y1: float | None
    x2: float | None
    y2: float | None
    attributes: str | None


class Shape(NamedTuple):
    """A shape or a tag as it stands in the file, its line, and what its attributes say."""

    kind: str
    given: Mapping[str, str]
    line: int
    attributes: dict[str, Any]


def image_row(
    key: int, name: str | None, frame: int | None, tags: Sequence[Shape], *, given: Mapping[str, str]
) -> Image:
    """The row of an image or frame; `given` are the attributes of its tag. Raises Bad."""
    said: dict[str, dict[str, Any]] = {}
    for tag in tags:
        said.setdefault(tag.given.get("label", ""), {}).update(tag.attributes)
    sides = (given.get(side) for side in ("width", "height"))
    width, height = (whole(side, "width or height") if side else None for side in sides)
    return Image(
        key,
        name,
        frame,
        width,
        height,
        given.get("subset") or None,
        given.get("task_id") or None,
        list(said) or None,
        as_json({label: one for label, one in said.items() if one}, "attributes"),
    )


def object_row(key: int, shape: Shape, track: Mapping[str, str] | None = None) -> Object:
    """The row of a shape; `track` are the attributes of its track. Raises Bad."""
    given = shape.given
    over = {} if track is None else track
    return Object(
        key,
        None,
        over.get("id"),
        (given if track is None else over).get("label") or None,
        shape.kind,
        switch(given, "occluded"),
        switch(given, "keyframe"),
        False,
        over.get("source") or given.get("source"),
        *sides_of(shape),
        as_json(shape.attributes, "attributes"),
    )


def sides_of(shape: Shape) -> Sides:
    """The sides of a box. Raises Bad for one that is no number."""
    if shape.kind != "box":
        return NO_SIDES
    left, top, right, bottom = (_side(shape.given, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    return left, top, right, bottom


def _side(given: Mapping[str, str], key: str) -> float:
    text = given.get(key, "")
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise Bad(f"{key} of a box is {shown(text)}, and no number", key)
    return found


def switch(given: Mapping[str, str], key: str) -> bool | None:
    """0 or 1. Raises Bad."""
    text = given.get(key)
    if text is None:
        return None
    if text not in ("0", "1"):
        raise Bad(f"{key} is {shown(text)}, where 0 or 1 is expected", key)
    return text == "1"
