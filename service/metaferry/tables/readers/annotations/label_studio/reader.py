"""Label Studio's JSON export: tasks with their annotations, of images and of videos.

From labelstud.io/guide/task_format. Frames are counted from 1 there, and from 0 here. Of several annotations
of a task one is taken: the ground truth, else the latest that was not cancelled. Predictions and drafts are
not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.counted import counted_query, example_of_cars, needs
from metaferry.tables.readers.annotations.documents import Found, first_of, objects_of, whole_object
from metaferry.tables.readers.annotations.elements import WHOLE
from metaferry.tables.readers.annotations.label_studio.media import file_name_of
from metaferry.tables.readers.annotations.label_studio.regions import Region, answers_and_regions
from metaferry.tables.readers.annotations.opened import OpenedFiles, Placed, Rejected
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import as_json, flag, items, shown, table, text
from metaferry.tables.readers.contract import Facts, Given, ReaderColumn, ReaderRelation, Wanted
from metaferry.tables.readers.files import ReaderFile

IMAGES: Final = ReaderRelation(
    "images",
    "one image, one video, or one frame of a video in which something is",
    (
        ReaderColumn("image", pa.int64(), "its number over all files, which `objects` has too"),
        ReaderColumn("file_name", pa.string(), "the path of the image or video that `data` names"),
        ReaderColumn("frame", pa.int64(), "of a frame: its number from 0; null for an image or video"),
        ReaderColumn("task", pa.string(), "the task's number"),
        ReaderColumn("annotation", pa.string(), "the number of the annotation that was taken; null for none"),
        ReaderColumn("annotations", pa.int64(), "how many annotations were not cancelled"),
        ReaderColumn("ground_truth", pa.bool_(), "whether the one that was taken is the ground truth"),
        ReaderColumn("answers", pa.string(), "choices, ratings, numbers, texts of the whole", json=True),
        ReaderColumn("data", pa.string(), "all keys of the task's `data`", json=True),
    ),
)
OBJECTS: Final = ReaderRelation(
    "objects",
    "one region of an image, or one in one frame of a video",
    (
        ReaderColumn("image", pa.int64(), "the image's or frame's number"),
        ReaderColumn("frame", pa.int64(), "of a video: the frame, from 0"),
        ReaderColumn("id", pa.string(), "the region's identifier, the same in all frames"),
        ReaderColumn("category", pa.string(), "its first label; null for none"),
        ReaderColumn("labels", pa.list_(pa.string()), "all of its labels"),
        ReaderColumn("control", pa.string(), "the name of the tag that it was made with (from_name)"),
        ReaderColumn("shape", pa.string(), "rectanglelabels, polygonlabels, videorectangle …"),
        ReaderColumn("keyframe", pa.bool_(), "of a video: whether it was drawn in this frame"),
        ReaderColumn("x", pa.float64(), "of a rectangle: left, in percent of the image's width"),
        ReaderColumn("y", pa.float64(), "of a rectangle: top, in percent of the image's height"),
        ReaderColumn("width", pa.float64(), "of a rectangle, in percent of the image's width"),
        ReaderColumn("height", pa.float64(), "of a rectangle, in percent of the image's height"),
        ReaderColumn("score", pa.float64(), "of a prediction that was taken over"),
        ReaderColumn("answers", pa.string(), "choices, ratings, numbers, texts of the region", json=True),
    ),
)


class LabelStudioReader:
    """`contract.Reader` of Label Studio."""

    key = "annotations"
    name = "label_studio"
    title = "Label Studio's JSON export"
    relations = ("images", "objects")
    frame_base: Literal[0, 1] = 0  # of the relations: numbers of the file, from 1, are counted down

    def recognises(self, head: bytes, names: Sequence[str]) -> bool:
        return is_task(first_of(head))

    def takes_folder(self, names: Sequence[str]) -> bool:
        return False

    def open(self, given: Given) -> OpenedLabelStudio:
        return OpenedLabelStudio(given)


def is_task(first: Mapping[str, Any]) -> bool:
    """Whether the first object of a file, as far as it is whole, is a task."""
    return (
        "id" in first
        and ("annotations" in first or "completions" in first or "data" in first)
        and (not first.keys() & {"images", "categories", "frames", "dataRow", "data_row"})
    )


class OpenedLabelStudio(OpenedFiles):
    """`contract.Opened` of it."""

    relations = (IMAGES, OBJECTS)

    def rows(self, file: ReaderFile) -> Iterator[Placed | Rejected]:
        def fault(message: str) -> JobError:
            return self.fault(file, message)

        is_list = file.head().lstrip()[:1] == b"["
        found = objects_of(file.utf8(), {WHOLE}, fault) if is_list else whole_object(file.utf8(), fault)
        for each in found:
            try:
                if each.bad is not None:
                    raise each.bad
                made = _task_rows(each.value, self.before)
                first = next(made)  # all that may be wrong is looked at before the first row
            except Bad as bad:
                yield Rejected("images", each.number, bad.of(f"task {each.value.get('id', each.number)}"))
                continue
            yield from self._placed(each, first)
            for row in made:
                yield from self._placed(each, row)

    def _placed(self, found: Found, row: tuple[str, dict[str, Any]]) -> Iterator[Placed]:
        relation, values = row
        if relation == "images":
            self.before = values["image"]
        size = sum(len(value) for value in values.values() if isinstance(value, str))
        yield Placed(relation, found.number, size, values)

    def needs(self) -> Wanted:
        return needs(("frame", "answers", "annotations", "ground_truth"))

    def records(self, facts: Facts) -> str:
        ((frames, several),) = facts.rows(
            "SELECT count(frame), count(*) FILTER (WHERE frame IS NULL AND annotations > 1 "
            "AND ground_truth IS DISTINCT FROM true) FROM images"
        )
        if several:
            facts.contradiction(
                f"{several:,} {'task has' if several == 1 else 'tasks have'} several annotations, of which "
                "the latest is taken",
                "set one of them as the ground truth, or choose in a query",
            )
        return counted_query(facts, keys=("answers",), frame=bool(frames))

    def example(self, table: str) -> str:
        return example_of_cars(table)


def _task_rows(task: Mapping[str, Any], before: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a task: the image or video, its frames, its objects. Raises Bad before the first."""
    data = table(task.get("data"), "data")
    taken, count = _taken(items(task.get("annotations", task.get("completions")), "annotations"))
    answers, regions = answers_and_regions(items(taken.get("result"), "result"))
    name = file_name_of(data)
    image = {
        "image": before + 1,
        "file_name": text(name, "data"),
        "frame": None,
        "task": text(task.get("id"), "id"),
        "annotation": text(taken.get("id"), "id of an annotation"),
        "annotations": count,
        "ground_truth": flag(taken.get("ground_truth")),
        "answers": as_json(answers, "answers"),
        "data": as_json(data, "data"),
    }
    yield "images", image
    frames = sorted({frame for region in regions for stretch in region.frames for frame in stretch})
    keys = {frame: before + 2 + at for at, frame in enumerate(frames)}
    for frame, key in keys.items():
        yield "images", {**image, "image": key, "frame": frame, "answers": None, "data": None}
    for region in regions:
        yield from _object_rows(region, before + 1, keys)


def _object_rows(region: Region, image: int, keys: Mapping[int, int]) -> Iterator[tuple[str, dict[str, Any]]]:
    row = region.columns()
    if not region.is_in_frames:
        yield "objects", {**row, "image": image, "frame": None, "keyframe": None}
        return
    for frame, box, is_key in region.in_frames():
        sides = dict(zip(("x", "y", "width", "height"), box, strict=True))
        yield "objects", {**row, **sides, "image": keys[frame], "frame": frame, "keyframe": is_key}


def _taken(annotations: Sequence[Any]) -> tuple[Mapping[str, Any], int]:
    """The annotation of a task that counts, {} for none, and how many were not cancelled. Raises Bad."""
    valid: list[Mapping[str, Any]] = []
    for at, one in enumerate(annotations):
        if not isinstance(one, dict):
            raise Bad(f"annotations[{at}] is {shown(one)}, and no object", "annotations")
        if not one.get("was_cancelled"):
            valid.append(one)
    truths = [one for one in valid if one.get("ground_truth") is True]
    if not valid:
        return {}, 0
    # Times are texts in ISO 8601, all in UTC.
    latest = max(truths or valid, key=lambda one: str(one.get("updated_at") or one.get("created_at") or ""))
    return latest, len(valid)
