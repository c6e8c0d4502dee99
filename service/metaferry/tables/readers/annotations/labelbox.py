"""Labelbox's exports: NDJSON with one data row a line (v2), and the JSON lists of before (v1).

Frames of videos are counted from 1 there, and from 0 here. Of several labels of a data row the latest that
was not skipped is taken. Links to masks hold credentials, and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.counted import counted_query, example_of_cars, needs
from metaferry.tables.readers.annotations.documents import Found, first_of, lines_of, objects_of, whole_object
from metaferry.tables.readers.annotations.elements import WHOLE
from metaferry.tables.readers.annotations.opened import OpenedFiles, Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import (
    as_json,
    index,
    integer,
    items,
    number,
    path_of,
    shown,
    table,
    text,
)
from metaferry.tables.readers.contract import Facts, Given, ReaderColumn, ReaderRelation, Wanted
from metaferry.tables.readers.files import ReaderFile

IMAGES: Final = ReaderRelation(
    "images",
    "one image, one video, or one frame of a video that the file lists",
    (
        ReaderColumn("image", pa.int64(), "its number over all files, which `objects` has too"),
        ReaderColumn("file_name", pa.string(), "global_key, else external_id, else the path of row_data"),
        ReaderColumn("frame", pa.int64(), "of a frame: its number from 0; null for an image or video"),
        ReaderColumn("data_row", pa.string(), "the identifier of the data row"),
        ReaderColumn("row_data", pa.string(), "the path of the file, without its host and what signs it"),
        ReaderColumn("label", pa.string(), "the identifier of the label that was taken; null for none"),
        ReaderColumn("labels", pa.int64(), "how many labels were not skipped"),
        ReaderColumn("width", pa.int64(), "in pixels"),
        ReaderColumn("height", pa.int64(), "in pixels"),
        ReaderColumn("metadata", pa.string(), "the metadata fields of the data row, by name", json=True),
        ReaderColumn("answers", pa.string(), "classifications of the whole, or of the frame", json=True),
    ),
    place="line or element",
)
OBJECTS: Final = ReaderRelation(
    "objects",
    "one object of an image, or one in one frame of a video",
    (
        ReaderColumn("image", pa.int64(), "the image's or frame's number"),
        ReaderColumn("frame", pa.int64(), "of a video: the frame, from 0"),
        ReaderColumn("id", pa.string(), "its feature identifier, the same in all frames"),
        ReaderColumn("category", pa.string(), "the name of its tool"),
        ReaderColumn("shape", pa.string(), "ImageBoundingBox, ImagePolygon …; null in exports of v1"),
        ReaderColumn("x1", pa.float64(), "of a box: left, in pixels"),
        ReaderColumn("y1", pa.float64(), "of a box: top, in pixels"),
        ReaderColumn("x2", pa.float64(), "of a box: right, in pixels"),
        ReaderColumn("y2", pa.float64(), "of a box: bottom, in pixels"),
        ReaderColumn("answers", pa.string(), "classifications of the object, by name", json=True),
    ),
    place="line or element",
)
_FRAME: Final = re.compile(r"[0-9]{1,9}")
_IMPORT: Final = (
    "is made for an import: it names classes by identifiers, and files by those of data rows",
    "export the project from Labelbox as NDJSON",
)


class LabelboxReader:
    """`contract.Reader` of Labelbox."""

    key = "annotations"
    name = "labelbox"
    title = "Labelbox's exports: NDJSON (v2), JSON (v1)"
    relations = ("images", "objects")
    frame_base: Literal[0, 1] = 0  # of the relations: numbers of the file, from 1, are counted down

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        first = first_of(head)
        return bool(first.keys() & {"data_row", "DataRow ID", "dataRow"})

    def takes_folder(self, names: Sequence[str]) -> bool:
        return False

    def open(self, given: Given) -> OpenedLabelbox:
        return OpenedLabelbox(given)


class OpenedLabelbox(OpenedFiles):
    """`contract.Opened` of it."""

    relations = (IMAGES, OBJECTS)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        for each in self._found(file):
            try:
                if each.bad is not None:
                    raise each.bad
                if "dataRow" in each.value:
                    raise self.fault(file, *_IMPORT)
                made = _rows_of(each.value, self.before)
            except Bad as bad:
                yield Rejected("images", each.number, bad.of(f"data row {each.number:,}"))
                continue
            for relation, values in made:
                if relation == "images":
                    self.before = values["image"]
                yield Placed(relation, each.number, each.size // len(made), values)

    def _found(self, file: ReaderFile) -> Iterator[Found]:
        def fault(message: str) -> JobError:
            return self.fault(file, message)

        head = file.head().lstrip()
        if head[:1] == b"[":
            return objects_of(file.utf8(), {WHOLE}, fault)
        line, newline, _ = head.partition(b"\n")
        is_printed = bool(newline) and not line.rstrip().endswith(b"}")  # one object over many lines
        return whole_object(file.utf8(), fault) if is_printed else lines_of(file.utf8(), fault)

    def needs(self) -> Wanted:
        return needs(("frame", "labels", "metadata", "answers"))

    def records(self, facts: Facts) -> str:
        ((frames, several),) = facts.rows(
            "SELECT count(frame), count(*) FILTER (WHERE frame IS NULL AND labels > 1) FROM images"
        )
        if several:
            facts.contradiction(
                f"{several:,} {'data row has' if several == 1 else 'data rows have'} several labels, of "
                "which the latest is taken",
                "export one project, without labels of a consensus, or choose in a query",
            )
        return counted_query(facts, keys=("metadata", "answers"), frame=bool(frames))

    def example(self, table: str) -> str:
        return example_of_cars(table)


def _rows_of(value: Mapping[str, Any], before: int) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a data row: itself, its frames, and its objects. Raises Bad: it is read whole, or not."""
    row, said, taken, count = _new(value) if "data_row" in value else _old(value)
    name = row["global_key"] or row["external_id"] or row["row_data"]
    if not name:
        raise Bad("it has no global_key, no external_id and no row_data: nothing says which file it is about")
    image = {
        "image": before + 1,
        "file_name": name,
        "frame": None,
        "data_row": row["id"],
        "row_data": row["row_data"],
        "label": row["label"],
        "labels": count,
        "width": row["width"],
        "height": row["height"],
        "metadata": as_json(said, "metadata"),
        "answers": as_json(_answers(taken.get("classifications"), "classifications"), "classifications"),
    }
    rows = [("images", image)]
    objects = [("objects", _object(one, "objects", image["image"], None)) for one in _each(taken, "objects")]
    frames = table(taken.get("frames"), "frames")
    for at, (frame, held) in enumerate(sorted(_numbered(frames)), before + 2):
        own = table(held, f"frames.{frame + 1}")
        answers = as_json(_answers(own.get("classifications"), "classifications"), "classifications")
        rows.append(("images", {**image, "image": at, "frame": frame, "metadata": None, "answers": answers}))
        where = f"frame {frame + 1}"
        objects += [("objects", _object(one, where, at, frame)) for one in _each(own, "objects")]
    return rows + objects


def _numbered(frames: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Frames by number, from 0. Raises Bad."""
    found = []
    for name, held in frames.items():
        if not _FRAME.fullmatch(name):
            raise Bad(f"a frame is called {shown(name)}, where a number is expected", "frames")
        found.append((index(int(name), "a frame", 1) or 0, held))
    return found


def _each(value: Mapping[str, Any], key: str) -> list[Any]:
    """The objects of an image, which are a list, or of a frame, which are an object by identifiers."""
    found = value.get(key)
    return list(found.values()) if isinstance(found, dict) else items(found, key)


_Parts = tuple[dict[str, Any], dict[str, Any], Mapping[str, Any], int]


def _new(value: Mapping[str, Any]) -> _Parts:
    """The data row, its metadata, the annotations that count, and the number of labels, of v2."""
    row = table(value.get("data_row"), "data_row")
    media = table(value.get("media_attributes"), "media_attributes")
    labels: list[Mapping[str, Any]] = []
    for name, project in table(value.get("projects"), "projects").items():
        for at, one in enumerate(items(table(project, f"projects.{name}").get("labels"), "labels")):
            label = table(one, f"labels[{at}]")
            if not table(label.get("performance_details"), "performance_details").get("skipped"):
                labels.append(label)
    taken = max(labels, key=_created, default={})
    said = {}
    for at, one in enumerate(items(value.get("metadata_fields"), "metadata_fields")):
        metadata = table(one, f"metadata_fields[{at}]")
        field = text(
            metadata.get("schema_name") or metadata.get("name"), f"metadata_fields[{at}].schema_name"
        )
        if field:
            said[field] = metadata.get("value")
    parts = _row(row.get("id"), row.get("global_key"), row.get("external_id"), row.get("row_data"))
    parts["label"] = text(taken.get("id"), "id of a label")
    for side in ("width", "height"):
        parts[side] = integer(media.get(side), f"media_attributes.{side}")
    return parts, said, table(taken.get("annotations"), "annotations"), len(labels)


def _created(label: Mapping[str, Any]) -> str:
    return str(table(label.get("label_details"), "label_details").get("created_at") or "")


def _old(value: Mapping[str, Any]) -> _Parts:
    """The same of v1, which has one label in each element."""
    label = value.get("Label")
    if isinstance(label, list):  # of a video: a list of frames
        frames: dict[str, Any] = {}
        for at, one in enumerate(label):
            held = table(one, f"Label[{at}]")
            frames[str(integer(held.get("frameNumber"), f"Label[{at}].frameNumber"))] = held
        label = {"frames": frames}
    said = {}
    for at, one in enumerate(items(value.get("DataRow Metadata"), "DataRow Metadata")):
        metadata = table(one, f"DataRow Metadata[{at}]")
        name = text(metadata.get("name") or metadata.get("schema_name"), f"DataRow Metadata[{at}].name")
        if name:
            said[name] = metadata.get("value")
    skipped = value.get("Skipped") is True
    parts = _row(
        value.get("DataRow ID"), value.get("Global Key"), value.get("External ID"), value.get("Labeled Data")
    )
    parts |= {"label": None if skipped else text(value.get("ID"), "ID"), "width": None, "height": None}
    taken = {} if skipped else table(label, "Label")
    return parts, said, taken, 0 if skipped or not taken else 1


def _row(row: Any, key: Any, external: Any, data: Any) -> dict[str, Any]:
    url = text(data, "row_data")
    return {
        "id": text(row, "id of a data row"),
        "global_key": text(key, "global_key"),
        "external_id": text(external, "external_id"),
        "row_data": None if not url else path_of(url),
    }


def _answers(classifications: Any, key: str) -> dict[str, Any]:
    """The answers of classifications by their names: a text, or a list for a checklist. Raises Bad."""
    found = {}
    for at, one in enumerate(items(classifications, key)):
        own = table(one, f"{key}[{at}]")
        name = text(own.get("name") or own.get("title"), f"{key}[{at}].name")
        if name:
            found[name] = _answer(own, f"{key}[{at}]")
    return found


def _answer(own: Mapping[str, Any], key: str) -> Any:
    if "text_answer" in own:
        return table(own["text_answer"], f"{key}.text_answer").get("content")
    for many in ("checklist_answers", "answers"):
        if many in own:
            return [_named(one, f"{key}.{many}") for one in items(own[many], f"{key}.{many}")]
    answer = own.get("radio_answer", own.get("answer"))
    return _named(answer, key) if isinstance(answer, dict) else answer


def _named(value: Any, key: str) -> str | None:
    own = table(value, key)
    return text(own.get("name") or own.get("title") or own.get("value"), f"{key}.name")


def _object(value: Any, key: str, image: int, frame: int | None) -> dict[str, Any]:
    """The row of an object. Raises Bad."""
    if not isinstance(value, dict):
        raise Bad(f"{key} holds what is no object", key)
    box = table(value.get("bounding_box", value.get("bbox")), f"bounding_box in {key}")
    left, top, width, height = (
        number(box.get(side), f"{side} of a bounding_box in {key}")
        for side in ("left", "top", "width", "height")
    )
    return {
        "image": image,
        "frame": frame,
        "id": text(value.get("feature_id", value.get("featureId")), f"feature_id in {key}"),
        "category": text(value.get("name", value.get("title")), f"name in {key}"),
        "shape": text(value.get("annotation_kind"), f"annotation_kind in {key}"),
        "x1": left,
        "y1": top,
        "x2": None if left is None or width is None else left + width,
        "y2": None if top is None or height is None else top + height,
        "answers": as_json(_answers(value.get("classifications"), "classifications"), "classifications"),
    }
