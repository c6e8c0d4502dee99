"""The reader of BDD100K and Scalabel: real files, and files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.scalabel import ScalabelReader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples")) / "bdd100k"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")


def read_document(tmp_path: Path, document: Any) -> Read:
    path = tmp_path / "labels.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return read(ScalabelReader(), path)


@needs_samples
@pytest.mark.parametrize(
    ("name", "images", "objects"),
    [
        ("example_annotation.json", 1, 4),
        ("image_list.json", 99, 0),
        ("image_list_with_auto_labels.json", 10, 25),
        ("scalabel_box_track.json", 2, 8),
        ("scalabel_det.json", 1, 4),
        ("tag_gts.json", 10, 0),
        ("waymo_cam_anns.json", 10, 21),
    ],
)
def test_real_files_are_known_and_read_whole(name: str, images: int, objects: int) -> None:
    assert ScalabelReader().recognises(
        (SAMPLES / name).read_bytes().removeprefix(b"\xef\xbb\xbf")[:65536], []
    )
    found = read(ScalabelReader(), SAMPLES / name)
    assert found.rejects == []
    assert [len(found.rows[one]) for one in ("images", "objects")] == [images, objects]


@needs_samples
def test_a_real_frame_as_it_stands() -> None:
    found = read(ScalabelReader(), SAMPLES / "example_annotation.json")
    assert found.rows["images"] == [
        {
            "@": 1,
            "image": 1,
            "file_name": "b1c81faa-3df17267-0000001.jpg",
            "frame": 0,
            "video": "b1c81faa-3df17267",
            "url": None,
            "width": None,
            "height": None,
            "timestamp": None,
            "attributes": None,
        }
    ]
    assert [(row["id"], row["category"], row["shape"]) for row in found.rows["objects"]][:2] == [
        ("a", "car", "poly2d"),
        ("b", "car", "poly2d"),
    ]
    first = read(ScalabelReader(), SAMPLES / "image_list_with_auto_labels.json").rows["objects"][0]
    assert first == {
        "@": 1,
        "image": 1,
        "id": "0",
        "category": "car",
        "shape": "box2d",
        "x1": 895.4950561523438,
        "y1": 418.41326904296875,
        "x2": 981.058837890625,
        "y2": 474.0956115722656,
        "score": None,
        "crowd": None,
        "occluded": False,
        "truncated": False,
        "attributes": '{"Occluded":false,"Traffic Light Color":[0,"NA"],"Truncated":false}',
    }


def test_frames_of_the_file_of_one_image_have_its_name(tmp_path: Path) -> None:
    one = {
        "name": "a",
        "frames": [
            {"timestamp": 0, "objects": [{"category": "car", "id": 3, "box2d": {"x1": 1}}]},
            {"timestamp": 100, "objects": []},
        ],
        "attributes": {"weather": "clear"},
    }
    found = read_document(tmp_path, one)
    assert [(row["image"], row["file_name"], row["frame"]) for row in found.rows["images"]] == [
        (1, "a", 0),
        (2, "a", 1),
    ]
    assert [(row["image"], row["category"], row["x1"], row["y1"]) for row in found.rows["objects"]] == [
        (1, "car", 1.0, None)
    ]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"7", "it is 7, and no object"),
        (b"{}", "it has no name, no url and no videoName: nothing says which file it is about"),
        (b'{"name": 1, "labels": {}}', "labels is {}, and no list"),
        (b'{"name": true}', "name is True, and no text"),
        (b'{"name": "\\ud800"}', "name holds half of a surrogate pair, which is no character"),
        (b'{"name": "\xff"}', "it is no UTF-8: byte 11 of it"),
        (b'{"name": "a", "name": "b"}', "the key name stands twice in one object"),
        (b'{"name": "a", "timestamp": NaN}', "it holds NaN, which is no JSON"),
        (b'{"name": "a", "frameIndex": 1.5}', "frameIndex is 1.5, and no whole number of 64 bits"),
        (b'{"name": "a", "frameIndex": -1}', "frameIndex is -1, and frames are counted from 0 here"),
        (b'{"name": "a", "timestamp": 9223372036854775808}', "and no whole number of 64 bits"),
        (b'{"name": "a", "size": [1, 2]}', "size is [1, 2], and no object"),
        (b'{"name": "a", "attributes": {"x": 1e999}}', "attributes holds a number that no double can hold"),
        (
            b'{"name": "a", "labels": [{"box2d": {"x1": 1e999}}]}',
            "labels[0].box2d.x1 is inf, which no double can hold",
        ),
        (b'{"name": "a", "labels": [{"score": "0.5"}]}', "labels[0].score is '0.5', and no number"),
        (b'{"name": "a", "timestamp": ' + b"9" * 5000 + b"}", "it holds a number of too many digits"),
        (b'{"name" "a"}', "it is not valid JSON: Expecting ':' delimiter (character 9 of it)"),
    ],
)
def test_a_frame_that_is_none_is_named_and_the_others_are_read(
    tmp_path: Path, frame: bytes, why: str
) -> None:
    found = read_document(tmp_path, b'[{"name": "a.jpg", "labels": [{}]}, ' + frame + b', {"name": "b.jpg"}]')
    assert [row["file_name"] for row in found.rows["images"]] == ["a.jpg", "b.jpg"]
    assert len(found.rows["objects"]) == 1
    ((relation, place, message),) = found.rejects
    assert (relation, place) == ("images", 2)
    assert message.startswith("frame 2: ")
    assert message.endswith(why)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'[{"name": "a.jpg", "labels": [', "it is cut short"),
        (b'[{"name": "a.jpg"}, ', "it is cut short"),
        (b'{"frames": [{"name": "a.jpg"}]', "it is cut short"),
        (b'{"frames": [{"timestamp": 1, "objects": []}]', "it is cut short"),
        (b'[{"name": ' + b"[" * 100_000, "is nested deeper than 64 levels"),
        (b'{"frames": [{"objects": [' + b'{"a":' * 100_000, "is nested deeper than 64 levels"),
        (b"", "is empty"),
        ("[]".encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_one_error(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        read_document(tmp_path, data)
    assert str(caught.value).startswith("tables.t.annotations: ")
    assert "labels.json" in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'[{"name": "a.jpg", "labels": [{"id": 1, "poly2d": [[1,', True),
        (b'{"config": {}, "groups": null, "frames": [{"videoName": "a", "frameIndex": 0, "url"', True),
        (b'{"name": "a", "frames": [{"timestamp": 1, "objects": [{"cat', True),
        (b'{"images": [{"id": 1, "file_name": "a"}], "annotations": []}', False),
        (b'[{"id": 1, "data": {"image": "a"}, "annotations": []}]', False),
        (b'[{"name": "a", "age": 3}]', False),
        (b"<annotations>", False),
        (b"", False),
    ],
)
def test_it_knows_its_files_by_what_they_hold(head: bytes, known: bool) -> None:
    assert ScalabelReader().recognises(head, []) is known
