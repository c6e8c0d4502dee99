"""A file of annotations that is cut anywhere: an error that says so, or the rows of its whole lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.keys import Given as Asked
from metaferry.storage.io.portal import Portal
from metaferry.tables.readers.cut import EndsEarly
from metaferry.tables.readers.source import UnknownFormat, find_source
from unit.tables.readers.test_annotations import SAMPLES
from unit.tables.table_loading import storages

COCO = {
    "info": {"year": 2017, "text": 'a "quoted" [ { text'},
    "images": [{"id": 1, "file_name": "a.png", "width": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1.5, 2]]}],
    "categories": [{"id": 1, "name": "car"}],
}
LIGHTLY = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "metadata": [{"id": 1, "image_id": 1, "metadata": {"scene": "city"}}],
}
TEXTS: dict[str, str] = {
    "coco": json.dumps(COCO, indent=1),
    "lightly": json.dumps(LIGHTLY),
    **{
        name: content if isinstance(content, str) else json.dumps(content)
        for name, (_, _, content) in SAMPLES.items()
    },
}


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """A function that reads what is at a path as a short form is read: its rows, and its rejects."""
    job = Job.from_mapping({"input": str(path.parent), "sources": [{"annotations": str(path)}]})
    with Portal() as portal, storages(portal) as storage_for:
        storage = storage_for(str(path.parent), {})

        def read() -> tuple[int, list[str]]:
            source = find_source(
                job,
                Asked("annotations", Annotations(url=str(path))),
                "sources[0]",
                storage_for=lambda url, options: storage,
                portal=portal,
                progress=lambda rows: None,
            )
            rejects: list[str] = []

            def reject(relation: str, place: int, message: str, **more: Any) -> None:
                rejects.append(message)

            opened = source.open()
            wanted = dict.fromkeys(source.reader.relations)
            return sum(len(rows.places) for rows in opened.read(wanted, reject)), rejects

        yield read


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_file_that_is_cut_says_so_wherever_that_is(name: str, tmp_path: Path) -> None:
    whole = TEXTS[name].encode()
    path = tmp_path / "labels.dat"
    is_lines = name == "labelbox"
    line_ends = {at for at, byte in enumerate(whole) if byte == ord("\n")}
    with reading(path) as read:
        # Nearly all of the cases that differ are in the first bytes; each read takes milliseconds.
        lengths = {*range(1, 48), *range(48, len(whole), 31), *line_ends, len(whole) - 1}
        for length in sorted(lengths):
            path.write_bytes(whole[:length])
            fault, rows, rejects = "", 0, []
            try:
                rows, rejects = read()
            except JobError as error:
                fault = str(error)
            if fault:
                told = ("cut short", "is not valid XML: ") if name == "cvat" else ("cut short",)
                assert any(message in fault for message in told), (length, fault)
                assert not is_lines or length not in line_ends
            else:
                assert is_lines, f"the first {length} bytes are read as {rows} rows"
                is_end = length in line_ends or length - 1 in line_ends
                assert rows if is_end else rows or rejects


@pytest.mark.parametrize(
    ("text", "place"),
    [('{"info": {"year"', "line 1 at byte 16"), ("[\n {", "line 2 at byte 4"), ("<?xml", "line 1 at byte 5")],
)
def test_the_place_of_the_end_is_told(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with reading(path) as read, pytest.raises(EndsEarly, match=place) as raised:
        read()
    assert "copy it again" in raised.value.advice


@pytest.mark.parametrize("text", ['{"a": {}}', "[1, 2]", "<html/>", "a,b\n1,2\n", '{"a": 1}\n{"b":'])
def test_what_is_whole_and_unknown_is_not_said_to_be_cut(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with reading(path) as read, pytest.raises(UnknownFormat):
        read()
