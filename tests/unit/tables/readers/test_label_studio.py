"""The reader of Label Studio: real files, frames from 1, and tasks that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.label_studio import regions
from metaferry.tables.readers.annotations.label_studio.media import file_name_of
from metaferry.tables.readers.annotations.label_studio.reader import LabelStudioReader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples"))
needs_samples = pytest.mark.skipif(
    not (SAMPLES / "label-studio").is_dir(), reason=f"there are no sample files in {SAMPLES}"
)


def read_document(tmp_path: Path, document: Any) -> Read:
    path = tmp_path / "project.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return read(LabelStudioReader(), path)


def task(*results: Any, number: int = 1, image: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "data": {"image": image},
        "annotations": [{"id": 5, "result": list(results), **more}],
    }


def rectangle(label: str | None = "car", own: str = "r1", **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1, "y": 2, "width": 3, "height": 4.5}
    value |= {"rectanglelabels": [label]} if label else {}
    return {"id": own, "type": "rectanglelabels", "from_name": "box", "value": value, **more}


def keyframe(frame: int, *, enabled: bool = True, x: float = 0) -> dict[str, Any]:
    return {"frame": frame, "enabled": enabled, "x": x, "y": 0, "width": 10, "height": 10, "time": frame / 25}


def in_video(*keyframes: dict[str, Any], count: int = 9, labels: Any = ("car",)) -> dict[str, Any]:
    value = {"framesCount": count, "sequence": list(keyframes), "labels": list(labels)}
    return {"id": "v1", "type": "videorectangle", "from_name": "box", "value": value}


# -- real files


@needs_samples
@pytest.mark.parametrize(
    ("name", "files", "categories"),
    [
        (
            "csv_test.json",
            [
                "open-images/train_0/mini/0030019819f25b28.jpg",
                "open-images/train_0/mini/00155094b7acc33b.jpg",
            ],
            ["Car", "Car", "Car"],
        ),
        ("csv_test_colliding_keys.json", [None], []),
        ("data.json", ["image1", "image2"], ["parasites", "white", "white", "white"]),
        (
            "test_export_coco_data.json",
            ["test_image1.jpg"],
            ["rectangle_label", "polygon_label", "keypoint_label1", "keypoint_label2"],
        ),
    ],
)
def test_real_files_are_known_and_read_whole(name: str, files: list[str], categories: list[str]) -> None:
    path = SAMPLES / "label-studio" / name
    assert LabelStudioReader().recognises(path.read_bytes()[:65536], [])
    found = read(LabelStudioReader(), path)
    assert found.rejects == []
    assert [row["file_name"] for row in found.rows["images"]] == files
    assert [row["category"] for row in found.rows["objects"]] == categories


@needs_samples
def test_a_real_answer_does_not_mix_with_the_data_of_its_name() -> None:
    (row,) = read(LabelStudioReader(), SAMPLES / "label-studio/csv_test_colliding_keys.json").rows["images"]
    assert (row["answers"], row["data"]) == (
        '{"text":"positive"}',
        '{"text":"This is a sample sentence"}',
    )
    first = read(LabelStudioReader(), SAMPLES / "label-studio/data.json").rows["images"][0]
    assert (first["annotation"], first["annotations"]) == ("2", 2)  # the latest of two


# -- tasks


@pytest.mark.parametrize(
    ("annotations", "taken", "count"),
    [
        ([], None, 0),
        ([{"id": 1, "was_cancelled": True, "result": []}], None, 0),
        ([{"id": 1, "result": []}, {"id": 2, "result": []}], "1", 2),
        ([{"id": 1, "updated_at": "2024-01-02"}, {"id": 2, "updated_at": "2024-01-01"}], "1", 2),
        ([{"id": 1, "updated_at": "2024-01-01"}, {"id": 2, "updated_at": "2024-01-02"}], "2", 2),
        ([{"id": 1, "ground_truth": True}, {"id": 2, "updated_at": "2024-01-02"}], "1", 2),
        ([{"id": 1, "updated_at": "2024-01-03", "was_cancelled": True}, {"id": 2}], "2", 1),
    ],
)
def test_one_annotation_of_a_task_counts(tmp_path: Path, annotations: Any, taken: str, count: int) -> None:
    found = read_document(tmp_path, [{"id": 1, "data": {"image": "a.jpg"}, "annotations": annotations}])
    assert found.rejects == []
    assert [(row["annotation"], row["annotations"]) for row in found.rows["images"]] == [(taken, count)]


def test_answers_are_of_the_whole_or_of_a_region(tmp_path: Path) -> None:
    def answer(kind: str, own: str, **value: Any) -> dict[str, Any]:
        return {"id": own, "type": kind, "from_name": f"my_{kind}", "value": value}

    found = read_document(
        tmp_path,
        [
            task(
                rectangle(),
                {**rectangle(None), "type": "rectangle"},  # the same region by another tag
                answer("choices", "r1", choices=["parked"]),
                answer("choices", "c", choices=["day", "rain"]),
                answer("rating", "d", rating=4),
                answer("number", "e", number=2.5),
                answer("textarea", "f", text=["a note"]),
                answer("taxonomy", "g", taxonomy=[["a", "b"]]),
                {"id": "rel", "type": "relation", "from_id": "x", "to_id": "y"},
            )
        ],
    )
    assert found.rejects == []
    (image,) = found.rows["images"]
    assert json.loads(image["answers"]) == {
        "my_choices": ["day", "rain"],
        "my_rating": 4,
        "my_number": 2.5,
        "my_textarea": "a note",
        "my_taxonomy": "a/b",
    }
    (row,) = found.rows["objects"]
    assert row == {
        "@": 1,
        "image": 1,
        "frame": None,
        "id": "r1",
        "category": "car",
        "labels": ["car"],
        "control": "box",
        "shape": "rectanglelabels",
        "keyframe": None,
        "x": 1.0,
        "y": 2.0,
        "width": 3.0,
        "height": 4.5,
        "score": None,
        "answers": '{"my_choices":"parked"}',
    }


def test_frames_of_a_video_are_counted_from_1_in_the_file_and_from_0_here(tmp_path: Path) -> None:
    shown = in_video(keyframe(1), keyframe(3, enabled=False, x=8), keyframe(6, x=5), keyframe(7, x=6))
    found = read_document(tmp_path, [task(shown, image="clip.mp4"), task(number=2)])
    assert found.rejects == []
    assert [(row["frame"], row["x"], row["keyframe"]) for row in found.rows["objects"]] == [
        (0, 0, True),
        (1, 4, False),
        (2, 8, True),  # the last frame before it is gone
        (5, 5, True),
        (6, 6, True),
        (7, 6, False),
        (8, 6, False),  # framesCount is 9
    ]
    assert [(row["image"], row["file_name"], row["frame"]) for row in found.rows["images"]] == [
        (1, "clip.mp4", None),
        *((2 + at, "clip.mp4", frame) for at, frame in enumerate((0, 1, 2, 5, 6, 7, 8))),
        (9, "a.jpg", None),
    ]
    keys = {row["frame"]: row["image"] for row in found.rows["images"][:8]}
    assert all(row["image"] == keys[row["frame"]] for row in found.rows["objects"])


def test_stretches_of_time_with_a_label_are_in_their_frames(tmp_path: Path) -> None:
    value = {"ranges": [{"start": 4, "end": 5}, {"start": 1, "end": 2}], "timelinelabels": ["rain"]}
    stretch = {"id": "t", "type": "timelinelabels", "from_name": "time", "value": value}
    found = read_document(tmp_path, [task(stretch, image="clip.mp4")])
    assert [(row["frame"], row["category"]) for row in found.rows["objects"]] == [
        (0, "rain"),
        (1, "rain"),
        (3, "rain"),
        (4, "rain"),
    ]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"image": "s3://bucket/front/a.jpg"}, "front/a.jpg"),
        ({"image": "https://host/front/a%20b.jpg?sig=1"}, "front/a b.jpg"),
        ({"image": "/data/upload/7/1a2b3c4d-a.jpg"}, "a.jpg"),
        ({"image": "/data/upload/1a2b3c4d-a-b.jpg"}, "a-b.jpg"),
        ({"img": "/data/local-files/?d=front/a%20b.jpg"}, "front/a b.jpg"),
        ({"my_clip": "gs://b/clip.mp4", "text": "a note"}, "clip.mp4"),
        ({"left": "a.jpg", "right": "b.jpg"}, None),
        ({"left": "a.jpg", "image": "b.jpg"}, "b.jpg"),
        ({"text": "a note"}, None),
        ({"image": "/image1"}, "image1"),
        ({"image": ["a.jpg", "b.jpg"]}, None),
        ({}, None),
    ],
)
def test_the_file_is_what_data_names(data: Any, name: str | None) -> None:
    assert file_name_of(data) == name


# -- what cannot be read


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (3, "task 2: it is 3, and no object"),
        ({"id": 7, "data": "a.jpg"}, "task 7: data is 'a.jpg', and no object"),
        ({"id": 7, "annotations": {}}, "task 7: annotations is {}, and no list"),
        ({"id": 7, "annotations": [4]}, "task 7: annotations[0] is 4, and no object"),
        (task("x", number=7), "task 7: result[0] is 'x', and no object"),
        (
            task({"type": "rectanglelabels", "value": []}, number=7),
            "task 7: result[0].value is [], and no object",
        ),
        (task(rectangle(score="high"), number=7), "task 7: result[0].score is 'high', and no number"),
        (task(in_video(keyframe(0)), number=7), "sequence[0].frame is 0, and frames are counted from 1 here"),
        (task(in_video({"x": 1}), number=7), "task 7: result[0].value.sequence[0] has no frame"),
        (task(in_video(keyframe(1), count=10**15), number=7), "task 7: its regions are in more than"),
    ],
)
def test_a_task_that_is_none_is_named(tmp_path: Path, bad: Any, why: str) -> None:
    with mock.patch.object(regions, "MOST_FRAMES", 1_000):
        found = read_document(tmp_path, [task(rectangle()), bad, task(number=3, image="b.jpg")])
    assert [(row["image"], row["file_name"]) for row in found.rows["images"]] == [(1, "a.jpg"), (2, "b.jpg")]
    ((relation, place, message),) = found.rejects
    assert (relation, place) == ("images", 2)
    assert why in message


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'[{"id": 1, "data"', "it is cut short"),
        (b'{"id": 1, "annotations": [', "it is cut short"),
        (b'[{"id": ' + b"[" * 100_000, "is nested deeper than 64 levels"),
        ("[]".encode("utf-16"), "is UTF-16"),
        (b"", "it is cut short|is empty"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_one_error(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        read_document(tmp_path, data)
    assert "project.json" in str(caught.value)
    assert caught.value.advice


def test_a_file_may_be_one_task(tmp_path: Path) -> None:
    found = read_document(tmp_path, task(rectangle()))
    assert (len(found.rows["images"]), len(found.rows["objects"])) == (1, 1)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'[{"id": 1, "annotations": [{"id": 1, "completed_by": {"id"', True),
        (b'{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}', True),
        (b'[{"id": 1, "image": "a.jpg", "label": "x"}]', False),
        (b'{"images": [{"id": 1}], "annotations": []}', False),
        (b'{"data_row": {"id": "x"}}', False),
        (b'[{"name": "a.jpg", "labels": [{"id": 1}]}]', False),
        (b"", False),
    ],
)
def test_it_knows_its_files_by_what_they_hold(head: bytes, known: bool) -> None:
    assert LabelStudioReader().recognises(head, []) is known
