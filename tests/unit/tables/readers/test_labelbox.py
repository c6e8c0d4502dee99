"""The reader of Labelbox: a real export of v1, exports of v2, and data rows that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.labelbox import LabelboxReader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples"))
needs_samples = pytest.mark.skipif(
    not (SAMPLES / "labelbox").is_dir(), reason=f"there are no sample files in {SAMPLES}"
)


def read_lines(tmp_path: Path, *lines: Any) -> Read:
    path = tmp_path / "export.ndjson"
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(texts))
    return read(LabelboxReader(), path)


def box(name: str = "car", own: str = "f1", **more: Any) -> dict[str, Any]:
    sides = {"top": 2, "left": 1, "height": 4, "width": 3.5}
    return {
        "feature_id": own,
        "name": name,
        "annotation_kind": "ImageBoundingBox",
        "bounding_box": sides,
        **more,
    }


def radio(name: str, answer: str) -> dict[str, Any]:
    return {"name": name, "value": name.lower(), "radio_answer": {"name": answer, "value": answer.lower()}}


def data_row(key: str | None, *labels: Any, fields: Any = (), **more: Any) -> dict[str, Any]:
    """A line of an export; each label is its annotations."""
    made = [
        {"id": f"l{at}", "annotations": one, "label_details": {"created_at": f"2024-01-0{at}T00:00:00Z"}}
        for at, one in enumerate(labels, 1)
    ]
    return {
        "data_row": {"id": "d1", "global_key": key, "row_data": "https://host/b/x.jpg?sig=secret", **more},
        "media_attributes": {"width": 640, "height": 480},
        "metadata_fields": list(fields),
        "projects": {"p1": {"name": "one", "labels": made}},
    }


# -- a real file


@needs_samples
def test_a_real_export_of_v1_is_known_and_read_whole() -> None:
    path = SAMPLES / "labelbox/image_export.json"
    assert LabelboxReader().recognises(path.read_bytes()[:65536], [])
    found = read(LabelboxReader(), path)
    assert found.rejects == []
    (image,) = found.rows["images"]
    name = "2560px-Kitano_Street_Kobe01s5s4110.jpg"
    assert image["file_name"] == f"wikipedia/commons/thumb/0/08/Kitano_Street_Kobe01s5s4110.jpg/{name}"
    assert (image["data_row"], image["label"], image["labels"]) == (
        "ckr083n0e196n0ydk4uyzapvn",
        "ckr2k3bq8fe2b0y7he4y25udy",
        1,
    )
    held = json.loads(path.read_text())["Label"]["objects"]
    assert [row["category"] for row in found.rows["objects"]] == [one["title"] for one in held]
    first = found.rows["objects"][0]
    assert [first[side] for side in ("x1", "y1", "x2", "y2")] == [965, 1333, 1559, 1519]
    assert json.loads(found.rows["objects"][1]["answers"]) == {
        "has_handbag": "True",
        "nested1": "nested_op1",
        "super_nested_1": "super_nested_op1",
        "ultra_nested": "ultra_nested_1",
        "forever_nested": "hmmm",
    }
    assert not any("token=" in str(row) for rows in found.rows.values() for row in rows)


@needs_samples
@pytest.mark.parametrize("name", ["classification_import.json", "image_import.json", "video_import.json"])
def test_a_real_file_for_an_import_is_refused(name: str) -> None:
    path = SAMPLES / "labelbox" / name
    with pytest.raises(JobError, match="is made for an import") as caught:
        read(LabelboxReader(), path)
    assert caught.value.advice == "export the project from Labelbox as NDJSON"


# -- exports of v2


def test_a_data_row_with_metadata_answers_and_objects(tmp_path: Path) -> None:
    taken = {
        "objects": [box(classifications=[radio("parked", "Yes")]), {"name": "lane", "feature_id": "f2"}],
        "classifications": [
            radio("Weather", "Rain"),
            {"name": "seen", "checklist_answers": [{"name": "Dog"}, {"name": "Cat"}]},
            {"name": "note", "text_answer": {"content": "wet"}},
        ],
    }
    fields = [{"schema_name": "city", "value": "Bern"}, {"schema_name": "speed", "value": 3.5}]
    found = read_lines(tmp_path, data_row("front/a.jpg", taken, fields=fields), b"", data_row("b.jpg"))
    assert found.rejects == []
    first, second = found.rows["images"]
    assert first == {
        "@": 1,
        "image": 1,
        "file_name": "front/a.jpg",
        "frame": None,
        "data_row": "d1",
        "row_data": "b/x.jpg",
        "label": "l1",
        "labels": 1,
        "width": 640,
        "height": 480,
        "metadata": '{"city":"Bern","speed":3.5}',
        "answers": '{"Weather":"Rain","seen":["Dog","Cat"],"note":"wet"}',
    }
    assert (second["@"], second["image"], second["label"], second["labels"]) == (3, 2, None, 0)
    assert [tuple(row.values()) for row in found.rows["objects"]] == [
        (1, 1, None, "f1", "car", "ImageBoundingBox", 1, 2, 4.5, 6, '{"parked":"Yes"}'),
        (1, 1, None, "f2", "lane", None, None, None, None, None, None),
    ]


def test_frames_are_counted_from_1_in_the_file_and_from_0_here(tmp_path: Path) -> None:
    frames = {
        "10": {"objects": {}, "classifications": [radio("Weather", "Fog")]},
        "1": {"objects": {"f1": box(), "f2": box(own="f2")}, "classifications": []},
    }
    found = read_lines(tmp_path, data_row("clip.mp4", {"frames": frames, "objects": []}))
    assert [(row["image"], row["frame"], row["answers"]) for row in found.rows["images"]] == [
        (1, None, None),
        (2, 0, None),
        (3, 9, '{"Weather":"Fog"}'),
    ]
    assert [(row["image"], row["frame"], row["id"]) for row in found.rows["objects"]] == [
        (2, 0, "f1"),
        (2, 0, "f2"),
    ]


def test_frames_of_v1_are_a_list(tmp_path: Path) -> None:
    label = [{"frameNumber": 2, "objects": [{"featureId": "f", "title": "car"}], "classifications": []}]
    (tmp_path / "old.json").write_text(
        json.dumps([{"DataRow ID": "d", "External ID": "c.mp4", "Label": label}])
    )
    found = read(LabelboxReader(), tmp_path / "old.json")
    assert [row["frame"] for row in found.rows["images"]] == [None, 1]
    assert [(row["frame"], row["category"]) for row in found.rows["objects"]] == [(1, "car")]


def test_the_latest_label_that_was_not_skipped_counts(tmp_path: Path) -> None:
    row = data_row("a.jpg", {"objects": []}, {"objects": [box()]}, {"objects": [box(), box()]})
    row["projects"]["p1"]["labels"][2]["performance_details"] = {"skipped": True}
    found = read_lines(tmp_path, row)
    assert [(one["label"], one["labels"]) for one in found.rows["images"]] == [("l2", 2)]
    assert len(found.rows["objects"]) == 1


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"global_key": "k.jpg", "external_id": "e.jpg"}, "k.jpg"),
        ({"global_key": None, "external_id": "e.jpg"}, "e.jpg"),
        ({"global_key": None, "external_id": ""}, "b/x.jpg"),
    ],
)
def test_the_file_is_what_names_it_best(tmp_path: Path, row: dict[str, Any], name: str) -> None:
    line = data_row(None)
    line["data_row"] |= row
    assert [one["file_name"] for one in read_lines(tmp_path, line).rows["images"]] == [name]


# -- what cannot be read


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"[3]", "it is [3], and no object"),
        (b'{"data_row": {"id": NaN}}', "it holds NaN, which is no JSON"),
        (b'{"data_row": {"id": 1, "id": 2}}', "the key id stands twice in one object"),
        (b'{"data_row"', "it is not valid JSON"),
        (b'{"data_row": ' + b"[" * 100_000, "it is nested too deep"),
        (b'{"data_row": ' + b"[" * 64 + b"]" * 64 + b"}", "it is nested deeper than 64 levels"),
        ({"data_row": "d1"}, "data_row is 'd1', and no object"),
        ({"data_row": "https://h/a.jpg?X-Sig=abc"}, "data_row is 'https://h/a.jpg?…', and no object"),
        ({"data_row": {"id": "d1"}}, "nothing says which file it is about"),
        (data_row("a.jpg", {"objects": [3]}), "objects holds what is no object"),
        (
            data_row("a.jpg", {"objects": [box(bounding_box={"top": "x"})]}),
            "top of a bounding_box in objects",
        ),
        (data_row("a.jpg", {"frames": {"0": {}}}), "a frame is 0, and frames are counted from 1 here"),
        (
            data_row("a.jpg", {"frames": {"first": {}}}),
            "a frame is called 'first', where a number",
        ),
        (data_row("a.jpg", {"classifications": [3]}), "classifications[0] is 3, and no object"),
        (data_row("a.jpg", fields=[3]), "metadata_fields[0] is 3, and no object"),
    ],
)
def test_a_data_row_that_is_none_is_named(tmp_path: Path, bad: Any, why: str) -> None:
    found = read_lines(tmp_path, data_row("a.jpg", {"objects": [box()]}), bad, data_row("b.jpg"))
    assert [(row["image"], row["file_name"]) for row in found.rows["images"]] == [(1, "a.jpg"), (2, "b.jpg")]
    assert len(found.rows["objects"]) == 1
    ((relation, place, message),) = found.rejects
    assert (relation, place) == ("images", 2)
    assert message.startswith("data row 2: ")
    assert why in message


def test_a_line_without_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaferry.tables.readers.annotations import documents

    monkeypatch.setattr(documents, "MAX_ELEMENT", 1 << 20)
    with pytest.raises(JobError, match=r"has a line of more than 1 MiB \(line 2\)"):
        read_lines(tmp_path, data_row("a.jpg"), b'{"data_row": "' + b"a" * (3 << 20))


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'{"data_row":{"id":"a","global_key":"b"},"media_attributes":{"wi', True),
        (b'[{"ID": "x", "DataRow ID": "y", "Labeled Data": "https', True),
        (b'[{"answer": {}, "schemaId": "s", "dataRow": {"id": "x"}}]', True),
        (b'[{"id": 1, "data": {"image": "a"}, "annotations": []}]', False),
        (b"", False),
    ],
)
def test_it_knows_its_files_by_what_they_hold(head: bytes, known: bool) -> None:
    assert LabelboxReader().recognises(head, []) is known
