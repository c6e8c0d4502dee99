"""What holds for every reader of annotations: the contract, and files that are cut and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaferry.job.readers.annotations import Annotations
from metaferry.tables.readers.annotations.cvat.reader import CvatReader
from metaferry.tables.readers.annotations.label_studio.reader import LabelStudioReader
from metaferry.tables.readers.annotations.labelbox import LabelboxReader
from metaferry.tables.readers.annotations.scalabel import ScalabelReader
from metaferry.tables.readers.contract import Reader
from metaferry.tables.readers.registry import readers_of
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers import test_label_studio as label_studio
from unit.tables.readers import test_labelbox as labelbox

BOX = {"x1": 1, "y1": 2.5, "x2": 3, "y2": 4}
SAMPLES: dict[str, tuple[Reader, str, Any]] = {
    "cvat": (
        CvatReader(),
        "annotations.xml",
        """<?xml version="1.0" encoding="utf-8"?>
<annotations><meta><task><start_frame>2</start_frame><stop_frame>9</stop_frame><labels><label><name>car</name>
<attributes><attribute><name>age</name><input_type>number</input_type></attribute></attributes></label></labels>
</task><source>clip.mp4</source></meta>
<track id="0" label="car">
<box frame="2" outside="0" occluded="0" keyframe="1" xtl="1" ytl="2" xbr="3" ybr="4">
<attribute name="age">3.5</attribute></box>
<box frame="6" outside="1" keyframe="1" xtl="1" ytl="2" xbr="3" ybr="4"/>
</track><track id="1" label="bad"><box frame="x"/></track>
<tag label="night" frame="4"><attribute name="rain">a lot</attribute></tag></annotations>""",
    ),
    "label_studio": (
        LabelStudioReader(),
        "project.json",
        [
            label_studio.task(label_studio.rectangle(), number=1),
            label_studio.task(
                label_studio.in_video(label_studio.keyframe(1), label_studio.keyframe(4, enabled=False)),
                {"id": "w", "type": "choices", "from_name": "é", "value": {"choices": ["rain"]}},
                image="clip.mp4",
            ),
            {"id": 3, "data": 4},
        ],
    ),
    "labelbox": (
        LabelboxReader(),
        "export.ndjson",
        "\n".join(
            json.dumps(line)
            for line in (
                labelbox.data_row("a.jpg", {"objects": [labelbox.box()]}, fields=[{"name": "é", "value": 1}]),
                labelbox.data_row("c.mp4", {"frames": {"2": {"objects": {"f": labelbox.box()}}}}),
                {"data_row": 3},
            )
        ),
    ),
    "scalabel": (
        ScalabelReader(),
        "labels.json",
        [
            {
                "name": "a.jpg",
                "videoName": "é",
                "frameIndex": 3,
                "size": {"width": 1, "height": 2},
                "attributes": {"weather": "clear", "t": [1, {"x": None}]},
                "labels": [{"id": 1, "category": "car", "attributes": {"Occluded": True}, "box2d": BOX}],
            },
            {"url": "https://host/b.jpg", "timestamp": 10000, "labels": None},
            3,
        ],
    ),
}


@pytest.fixture(params=sorted(SAMPLES))
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Reader, Path]:
    reader, name, content = SAMPLES[request.param]
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return reader, path


def test_it_keeps_the_contract(sample: tuple[Reader, Path]) -> None:
    reader, path = sample
    tables = check_reader(reader, Annotations(url=str(path), reader=reader.name))
    assert all(table.num_rows for table in tables.values())


def test_damaged_files_end_in_rows_rejects_or_an_error(sample: tuple[Reader, Path], tmp_path: Path) -> None:
    reader, path = sample
    check_damaged(reader, path, tmp_path)


def test_its_files_are_of_one_format(sample: tuple[Reader, Path]) -> None:
    reader, path = sample
    known = [
        one.name for one in readers_of("annotations", "") if one.recognises(path.read_bytes(), [path.name])
    ]
    assert known == [reader.name]
