"""The list `annotations` of a COCO file as rows: most of the bytes, so each element costs little.

An element is decoded no further than the wanted columns need, as values of Python only where it is kept, and
what a column makes of them is made a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
import pyarrow as pa

from metaferry.tables.model import folded
from metaferry.tables.readers.annotations.elements import Element
from metaferry.tables.readers.annotations.text import Bad, decoded, no_key_twice, number_text, object_text
from metaferry.tables.readers.contract import BATCH_ROWS, ReaderColumn, ReaderRelation, Rows, Wanted

OBJECTS: Final = ReaderRelation(
    "objects",
    "one annotation: an object, a caption, or a segment of a panoptic image",
    (
        ReaderColumn("image_id", pa.string(), "the image's identifier"),
        ReaderColumn("id", pa.string(), "its own identifier"),
        ReaderColumn("category_id", pa.string(), "the category's identifier; null for a caption"),
        ReaderColumn("iscrowd", pa.bool_(), "whether it is a region with many objects"),
        ReaderColumn("area", pa.float64(), "in pixels"),
        ReaderColumn("x", pa.float64(), "of the box: left, in pixels"),
        ReaderColumn("y", pa.float64(), "of the box: top, in pixels"),
        ReaderColumn("width", pa.float64(), "of the box, in pixels"),
        ReaderColumn("height", pa.float64(), "of the box, in pixels"),
        ReaderColumn("score", pa.float64(), "of a prediction, from 0 to 1"),
        ReaderColumn("caption", pa.string(), "a description of the image"),
        ReaderColumn("num_keypoints", pa.int64(), "keypoints that are labelled"),
        ReaderColumn(
            "attributes", pa.string(), "the key `attributes`, as CVAT and others write it", json=True
        ),
    ),
)
_BOX: Final = ("x", "y", "width", "height")
#: Bytes of elements whose texts are held, before they become a batch.
_BATCH_BYTES: Final = 64 << 20
_IDENTIFIER: Final = int | float | str | None
#: COCO-Annotator writes flags as text.
_Flag = Literal["true", "false", "0", "1", ""]
_NO: Final = (None, False, 0, "false", "0", "")
_COUNT: Final = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
#: The keys of an annotation: what is decoded, and the columns that are made of it.
_KEYS: Final[Mapping[str, tuple[Any, frozenset[str]]]] = {
    "id": (_IDENTIFIER, frozenset({"id"})),
    "category_id": (_IDENTIFIER, frozenset({"category_id"})),
    "iscrowd": (bool | int | float | _Flag | None, frozenset({"iscrowd"})),
    "area": (float | None, frozenset({"area"})),
    "bbox": (list[float] | None, frozenset(_BOX)),
    "score": (float | None, frozenset({"score"})),
    "caption": (str | None, frozenset({"caption"})),
    "num_keypoints": (_COUNT | None, frozenset({"num_keypoints"})),
    "attributes": (msgspec.Raw, frozenset({"attributes"})),
}


class ObjectRows:
    """Annotations of one file on their way into batches of the wanted columns."""

    def __init__(self, wanted: Wanted, file: int) -> None:
        named = wanted[OBJECTS.name]
        columns = [c for c in OBJECTS.columns if named is None or folded(c.name) in named]
        names = {column.name for column in columns}
        self._file = file
        self._schema = pa.schema([(column.name, column.type) for column in columns])
        keys = {key: kind for key, (kind, made) in _KEYS.items() if made & names}
        fields = [(key, kind, None) for key, kind in keys.items()]
        segment: Any = msgspec.defstruct("Segment", fields)
        of_image = [("image_id", _IDENTIFIER, None), ("segments_info", list[segment] | None, None)]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct("Annotation", [*fields, *of_image])
        )
        self._keys = ("image_id", "segments_info", *keys)
        self._needles = [b'"%b"' % key.encode() for key in self._keys]
        self._values = _getter(list(keys))
        self._read_keys = list(keys)
        self._box = "bbox" in keys
        self._places: list[int] = []
        self._images: list[Any] = []
        self._rows: list[tuple[Any, ...]] = []
        self._size = 0

    def take(self, element: Element) -> None:
        """An element as one row, or as one for each segment. Raises Bad."""
        text = element.text
        one = decoded(self._decoder, text)
        for needle in self._needles:
            if text.count(needle) > 1:
                no_key_twice(text, self._keys)
                break
        if one.image_id is None:
            raise Bad("it has no image_id", "image_id", expected="the id of an image")
        parts = (one,) if one.segments_info is None else one.segments_info
        if self._box:
            for part in parts:
                if part.bbox and len(part.bbox) != 4:
                    raise Bad(
                        f"its bbox has {len(part.bbox)} numbers", "bbox", expected="x, y, width and height"
                    )
        for part in parts:
            self._places.append(element.number)
            self._images.append(one.image_id)
            self._rows.append(self._values(part))
        self._size += len(text)

    def full(self) -> Iterator[Rows]:
        """The batch, where there is enough for one."""
        if len(self._places) >= BATCH_ROWS or self._size >= _BATCH_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[Rows]:
        """What is left, at the end; in pieces, since one image may have any number of segments."""
        for start in range(0, len(self._places), BATCH_ROWS):
            part = slice(start, start + BATCH_ROWS)
            places = self._places[part]
            columns = zip(*self._rows[part], strict=True)
            values = dict(zip(self._read_keys, columns, strict=False))
            arrays = [
                pa.array(_made(field.name, self._images[part], values), field.type) for field in self._schema
            ]
            batch = (
                pa.RecordBatch.from_arrays(arrays, schema=self._schema)
                if arrays
                else pa.RecordBatch.from_arrays([pa.nulls(len(places))], names=[""]).select([])
            )
            yield Rows(OBJECTS.name, pa.array(places, pa.int64()), batch, self._file)
        self._places, self._images, self._rows, self._size = [], [], [], 0


def _getter(keys: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """The values of these keys, as a tuple."""
    if len(keys) > 1:
        return attrgetter(*keys)
    return (lambda one: (getattr(one, keys[0]),)) if keys else lambda one: ()


def _made(column: str, images: list[Any], values: Mapping[str, tuple[Any, ...]]) -> list[Any]:
    """A column, of the values of its key."""
    if column == "image_id":
        return list(map(number_text, images))
    if column in ("id", "category_id"):
        return list(map(number_text, values[column]))
    if column == "iscrowd":
        return [value not in _NO for value in values[column]]
    if column in _BOX:
        at = _BOX.index(column)
        return [box[at] if box else None for box in values["bbox"]]
    if column == "attributes":
        return [None if raw is None else object_text(bytes(raw)) for raw in values[column]]
    return list(values[column])
