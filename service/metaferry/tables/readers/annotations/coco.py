"""COCO annotations: instances, captions, keypoints, panoptic segmentation; and Lightly's custom metadata.

The format is that of https://cocodataset.org/#format-data. Only the lists `images`, `annotations` and
`categories` are read, in any order; polygons and masks are passed over. Identifiers are compared as texts:
files in the wild have numbers, tokens, and numbers of 38 digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa

from metaferry.tables.model import TableFile
from metaferry.tables.readers.annotations.coco_objects import OBJECTS, ObjectRows
from metaferry.tables.readers.annotations.coco_records import records_query
from metaferry.tables.readers.annotations.elements import Element, elements
from metaferry.tables.readers.annotations.text import (
    Bad,
    Batches,
    as_text,
    decoded,
    identifier_of,
    no_key_twice,
    object_of,
    shown,
)
from metaferry.tables.readers.contract import (
    Facts,
    Given,
    ReaderColumn,
    ReaderRelation,
    Reject,
    Rows,
    Wanted,
)

IMAGES: Final = ReaderRelation(
    "images",
    "one image, with or without annotations",
    (
        ReaderColumn("id", pa.string(), "its identifier in the file, as text"),
        ReaderColumn("file_name", pa.string(), "its file: often a base name, or a path below another root"),
        ReaderColumn("width", pa.int64(), "in pixels"),
        ReaderColumn("height", pa.int64(), "in pixels"),
        ReaderColumn("date_captured", pa.string(), "as the file has it, without a zone"),
        ReaderColumn("license", pa.string(), "the identifier of its licence"),
        ReaderColumn("coco_url", pa.string(), "where the publisher has it"),
        ReaderColumn("flickr_url", pa.string(), "where it came from"),
        ReaderColumn("attributes", pa.string(), "all other keys of the image", json=True),
    ),
)
CATEGORIES: Final = ReaderRelation(
    "categories",
    "one category, used or not",
    (
        ReaderColumn("id", pa.string(), "its identifier, as text"),
        ReaderColumn("name", pa.string(), "its name"),
        ReaderColumn("supercategory", pa.string(), "the group that it belongs to"),
        ReaderColumn("isthing", pa.bool_(), "panoptic: whether it can be counted"),
    ),
)
METADATA: Final = ReaderRelation(
    "metadata",
    "one element of the list `metadata`, which Lightly's own custom metadata has in place of annotations",
    (
        ReaderColumn("image_id", pa.string(), "the image's identifier"),
        ReaderColumn("id", pa.string(), "its own identifier, where it has one"),
        ReaderColumn("values", pa.string(), "all other keys", json=True),
    ),
)
RELATIONS: Final = (IMAGES, OBJECTS, CATEGORIES, METADATA)
#: The keys of the document, with the relation and what one element is called.
_LISTS: Final = {
    "images": ("images", "image"),
    "annotations": ("objects", "annotation"),
    "categories": ("categories", "category"),
    "metadata": ("metadata", "element of metadata"),
}
#: What the head of such a file holds, and of no other format that is known.
_SIGNS: Final = re.compile(
    rb'"(?:annotations|categories|licenses|metadata)"\s*:\s*\[|"images"\s*:\s*\[\s*(?:\{[^{}]*"file_name"|\])'
    rb'|"images"\s*:\s*\[\s*\{'
)
#: Elements between two looks at whether there is enough for a batch.
_LOOK: Final = 64
_DECODED: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_INTEGER: Final = msgspec.json.Decoder(int | float | None)


class CocoReader:
    """`contract.Reader` of COCO."""

    key = "annotations"
    name = "coco"
    title = "COCO: instances, captions, keypoints, panoptic"
    relations = ("images", "objects", "categories", "metadata")
    frame_base: Literal[0, 1] = 0

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return (
            head.lstrip()[:1] == b"{" and _SIGNS.search(head) is not None and b'"frames"' not in head[:4096]
        )

    def takes_folder(self, names: Sequence[str]) -> bool:
        return False

    def open(self, given: Given) -> OpenedCoco:
        return OpenedCoco(given)


class LightlyReader(CocoReader):
    """`contract.Reader` of Lightly's custom metadata: COCO's list of images, with a list `metadata`.

    The same reader under the name that users look for; a file of it is recognised as COCO.
    """

    name = "lightly"
    title = "Lightly's custom metadata: images and metadata"

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return False


@dataclass(slots=True)
class OpenedCoco:
    """`contract.Opened` of COCO: any number of files, whose identifiers are each file's own."""

    given: Given
    files: list[TableFile] = field(default_factory=list)
    relations: tuple[ReaderRelation, ...] = RELATIONS

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The lists that are wanted, file by file, each in one pass."""
        lists = {key for key, (relation, _) in _LISTS.items() if relation in wanted}
        for number, file in enumerate(self.given.files):

            def fault(message: str, url: str = file.url) -> Any:
                return self.given.fault(
                    f"{url} {message}",
                    advice="write or download the file again, or name its reader: reader: …",
                )

            rows = _Lists(wanted, reject, number)
            for count, element in enumerate(elements(file.utf8(), lists, fault)):
                rows.take(element)
                if not count % _LOOK:
                    yield from rows.full()
            yield from rows.rest()
            self.files.append(file.done())

    def needs(self) -> Wanted:
        return {
            "images": frozenset({"id", "file_name", "attributes", "_path"}),
            "objects": frozenset(
                {"image_id", "id", "category_id", "iscrowd", "caption", "num_keypoints", "_path"}
            ),
            "categories": frozenset({"id", "name", "_path"}),
            "metadata": frozenset({"image_id", "values", "_path"}),
        }

    def records(self, facts: Facts) -> str:
        return records_query(facts)

    def example(self, table: str) -> str:
        return (
            "SELECT i.file_name, count(o.id) AS objects,\n"
            "       count(*) FILTER (WHERE c.name = 'car') AS cars\n"
            f"FROM {table}.images i\n"
            f"LEFT JOIN {table}.objects o ON o.image_id = i.id AND NOT o.iscrowd\n"
            f"LEFT JOIN {table}.categories c ON c.id = o.category_id\n"
            "GROUP BY i.file_name"
        )


class _Lists:
    """The rows of one file, relation by relation."""

    def __init__(self, wanted: Wanted, reject: Reject, file: int) -> None:
        self._batches = {
            one.name: Batches(one, wanted, file)
            for one in RELATIONS
            if one.name in wanted and one is not OBJECTS
        }
        self._objects = ObjectRows(wanted, file) if OBJECTS.name in wanted else None
        self._reject = reject
        self._file = file
        self._takers = {
            "images": self._image,
            "categories": self._category,
            "metadata": self._metadata,
        }
        if self._objects is not None:
            self._takers["objects"] = self._objects.take

    def take(self, element: Element) -> None:
        """One element of a list, as rows or as a reject."""
        relation, called = _LISTS[element.list]
        try:
            self._takers[relation](element)
        except Bad as bad:
            self._reject(
                relation,
                element.number,
                f"{called} {element.number:,}: {bad.message}",
                file=self._file,
                column=bad.column,
                value=bad.value or shown(element.text),
                expected=bad.expected,
            )

    @property
    def _gathered(self) -> Iterator[Batches | ObjectRows]:
        yield from self._batches.values()
        if self._objects is not None:
            yield self._objects

    def full(self) -> Iterator[Rows]:
        for batches in self._gathered:
            yield from batches.full()

    def rest(self) -> Iterator[Rows]:
        for batches in self._gathered:
            yield from batches.rest()

    def _image(self, element: Element) -> None:
        values = decoded(_DECODED, element.text)
        no_key_twice(element.text, tuple(values))
        name = as_text(values.pop("file_name", None), "file_name")
        if not name:
            raise Bad("it has no file_name", "file_name", expected="the image's file")
        number = identifier_of(values.pop("id", None), "id")
        if number is None:
            raise Bad("it has no id", "id", expected="a number or text")
        own = {key: values.pop(key, None) for key in ("coco_url", "flickr_url")}
        self._batches["images"].add(
            element.number,
            len(element.text),
            id=number,
            file_name=name,
            width=_whole(values.pop("width", None), "width"),
            height=_whole(values.pop("height", None), "height"),
            date_captured=identifier_of(values.pop("date_captured", None), "date_captured"),
            license=identifier_of(values.pop("license", None), "license"),
            coco_url=as_text(own["coco_url"], "coco_url"),
            flickr_url=as_text(own["flickr_url"], "flickr_url"),
            attributes=object_of(values) if values else None,
        )

    def _category(self, element: Element) -> None:
        values = decoded(_DECODED, element.text)
        no_key_twice(element.text, tuple(values))
        number = identifier_of(values.get("id"), "id")
        if number is None:
            raise Bad("it has no id", "id", expected="a number or text")
        thing = values.get("isthing")
        self._batches["categories"].add(
            element.number,
            100,
            id=number,
            name=as_text(values.get("name"), "name"),
            supercategory=as_text(values.get("supercategory"), "supercategory"),
            isthing=None if thing is None else bytes(thing) in (b"1", b"true"),
        )

    def _metadata(self, element: Element) -> None:
        values = decoded(_DECODED, element.text)
        no_key_twice(element.text, tuple(values))
        image = identifier_of(values.pop("image_id", None), "image_id")
        if image is None:
            raise Bad("it has no image_id", "image_id", expected="the id of an image")
        number = identifier_of(values.pop("id", None), "id")
        self._batches["metadata"].add(
            element.number, len(element.text), image_id=image, id=number, values=object_of(values)
        )


def _whole(raw: msgspec.Raw | None, column: str) -> int | None:
    """A number of pixels; 640.0 is one too."""
    if raw is None:
        return None
    try:
        value = _INTEGER.decode(raw)
    except msgspec.MsgspecError:
        value = None if bytes(raw) == b'""' else -1
    if value is None:
        return None
    if not 0 <= value < 2**53 or value != int(value):
        raise Bad(f"{column} is {shown(bytes(raw))}", column, expected="a number of pixels")
    return int(value)
