"""The reader of COCO: real files, files as they are in the wild, and files that are none."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.coco import CocoReader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples")) / "coco"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")


def read_document(tmp_path: Path, document: Any, **more: Any) -> Read:
    path = tmp_path / "coco.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read(CocoReader(), path, **more)


IMAGE = {"id": 1, "file_name": "a.png"}
#: An object with all that may hide a brace.
ODD = {"n": 'é\\"}', "[": "\\\\"}


# -- real files


@needs_samples
@pytest.mark.parametrize(
    ("name", "images", "objects", "categories"),
    [
        ("captions_train.json", 1, 1, 0),
        ("coco_import_input.json", 2, 2, 2),
        ("image_info_train.json", 1, 0, 0),
        ("instances.json", 10, 62, 80),
        ("instances_train.json", 1, 1, 3),
        ("nus_infos_mono3d.coco.json", 6, 11, 10),
        ("panoptic_train.json", 1, 1, 2),
        ("person_keypoints_train.json", 1, 1, 2),
    ],
)
def test_real_files_are_read_whole(name: str, images: int, objects: int, categories: int) -> None:
    document = json.loads((SAMPLES / name).read_text())
    found = read(CocoReader(), SAMPLES / name)
    assert found.rejects == []
    counts = [len(found.rows[one]) for one in ("images", "objects", "categories")]
    assert counts == [images, objects, categories]
    assert [row["file_name"] for row in found.rows["images"]] == [
        image["file_name"] for image in document["images"]
    ]
    assert {row["image_id"] for row in found.rows["objects"]} == {
        str(one["image_id"]) for one in document["annotations"]
    }


@needs_samples
def test_keypoints_captions_and_segments_are_columns() -> None:
    keypoints = read(CocoReader(), SAMPLES / "person_keypoints_train.json").rows["objects"]
    document = json.loads((SAMPLES / "person_keypoints_train.json").read_text())
    assert [row["num_keypoints"] for row in keypoints] == [
        one.get("num_keypoints") for one in document["annotations"]
    ]
    (caption,) = read(CocoReader(), SAMPLES / "captions_train.json").rows["objects"]
    assert (caption["caption"], caption["image_id"]) == ("hello", "5")
    panoptic = json.loads((SAMPLES / "panoptic_train.json").read_text())
    segments = read(CocoReader(), SAMPLES / "panoptic_train.json").rows["objects"]
    (one,) = panoptic["annotations"]
    assert [row["category_id"] for row in segments] == [str(s["category_id"]) for s in one["segments_info"]]


# -- files as they are in the wild


def test_identifiers_are_their_tokens(tmp_path: Path) -> None:
    text = """{"annotations": [{"image_id": 98765432109876543210987654321, "id": "x", "category_id": 1},
        {"image_id": "5", "category_id": null}],
        "images": [{"id": 98765432109876543210987654321, "file_name": "a.png"},
                   {"id": 5, "file_name": "b.png"}]}"""
    found = read_document(tmp_path, text)
    assert [row["id"] for row in found.rows["images"]] == ["98765432109876543210987654321", "5"]
    assert [(row["image_id"], row["category_id"]) for row in found.rows["objects"]] == [
        ("98765432109876543210987654321", "1"),
        ("5", None),
    ]


def test_categories_may_be_an_object_and_other_keys_anything(tmp_path: Path) -> None:
    document = {
        "info": None,
        "licenses": [[[]], "x", 1.5],
        "categories": {"1": {"id": 1, "name": "person", "isthing": 1}},
        "images": [{**IMAGE, "width": 640.0, "height": "", "camera": "front", "n": {"a": [1, 2]}}],
        "annotations": [
            {"image_id": 1, "segmentation": {"counts": '}]"[{', "size": [1, 1]}, "iscrowd": True}
        ],
    }
    found = read_document(tmp_path, document)
    assert found.rejects == []
    assert found.rows["categories"] == [
        {"@": 1, "id": "1", "name": "person", "supercategory": None, "isthing": True}
    ]
    (image,) = found.rows["images"]
    assert (image["width"], image["height"]) == (640, None)
    assert json.loads(image["attributes"]) == {"camera": "front", "n": {"a": [1, 2]}}
    assert found.rows["objects"][0]["iscrowd"] is True


def test_only_what_is_wanted_is_decoded(tmp_path: Path) -> None:
    document = {"images": [IMAGE], "annotations": [{"image_id": 1, "id": 7, "bbox": "none", "area": {}}]}
    found = read_document(tmp_path, document, relations=["objects"], columns=["image_id", "id"])
    assert found.rows == {"objects": [{"@": 1, "image_id": "1", "id": "7"}]}
    assert found.rejects == []


@pytest.mark.parametrize("size", [1, 7, 4 << 20])
def test_where_blocks_are_cut_changes_nothing(tmp_path: Path, size: int) -> None:
    from metaferry.tables.readers.annotations.elements import elements

    text = json.dumps(
        {'a"': ["\\\\", {"b": "]"}], "images": [ODD, [], 1.5, "x", None, [[{}]]], "z": -1e5},
        ensure_ascii=False,
    ).encode()
    blocks = (text[at : at + size] for at in range(0, len(text), size))
    found = list(elements(blocks, {"images"}, JobError))
    assert [json.loads(one.text) for one in found] == [ODD, [], 1.5, "x", None, [[{}]]]
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6]


# -- elements that are none


@pytest.mark.parametrize(
    ("relation", "element", "message"),
    [
        ("images", {"id": 1}, "it has no file_name"),
        ("images", {"id": 1, "file_name": 5}, "file_name is no text: 5"),
        ("images", {"id": [1], "file_name": "a.png"}, "an identifier is a number or text, is [1]"),
        ("images", {"file_name": "a.png"}, "it has no id"),
        ("images", {**IMAGE, "width": -1}, "width is -1"),
        ("images", {**IMAGE, "width": 2**63}, "width is 9223372036854775808"),
        ("images", '{"id": 1, "id": 2, "file_name": "a.png"}', "the key id stands twice in one object"),
        ("images", '{"id": 1, "file_name": "a.png", "b": NaN}', "it is no valid JSON"),
        ("images", '{"id": 1, "file_name": "\\ud800.png"}', "it is no valid JSON"),
        ("images", 5, "it is wrong: Expected object"),
        ("objects", {"id": 1}, "it has no image_id"),
        ("objects", {"image_id": 1, "bbox": [1, 2, 3]}, "its bbox has 3 numbers"),
        ("objects", {"image_id": 1, "area": "big"}, "area is wrong: Expected float | null, got str"),
        ("objects", {"image_id": 1, "num_keypoints": 2**63}, "num_keypoints is wrong"),
        ("objects", '{"image_id": 1, "area": 1e999}', "area is wrong: Number out of range"),
        ("objects", '{"image_id": 1, "image_id": 2}', "the key image_id stands twice in one object"),
        ("categories", {"name": "a"}, "it has no id"),
        ("metadata", {"a": 1}, "it has no image_id"),
    ],
)
def test_an_element_that_is_none_is_named(tmp_path: Path, relation: str, element: Any, message: str) -> None:
    key = {"objects": "annotations"}.get(relation, relation)
    good = '{"id": 1, "file_name": "a.png", "image_id": 1}'
    text = element if isinstance(element, str) else json.dumps(element)
    found = read_document(tmp_path, f'{{"{key}": [{good}, {text}, {good}]}}')
    ((where, place, why),) = found.rejects
    assert (where, place) == (relation, 2)
    assert message in why
    assert [row["@"] for row in found.rows[relation]] == [1, 3]


# -- files that are none


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("[1]", "is a list"),
        ("images: []", "it begins with neither { nor ["),
        ('{"images": [{"id": 1, "file_name": "a.png"}', "it is cut short"),
        ('{"images": [{"id": 1, "file_na', "ends in element 1 of images"),
        ('{"images": [{}] "a": 1}', "a comma, or the end of the object is expected at byte 16"),
        ('{"images": [{},]}', "an element is expected"),
        ('{"images": [{} {}]}', "a comma, or the end of the list is expected"),
        ('{"images": [], "images": []}', "has the key images twice"),
        ('{"images": []} {', "has more after its end"),
        ('{"images": [], "info": {"a": NaN}}', "is no valid JSON below info"),
        ('{"images": [{"a": ' + "[" * 100_000, "is nested deeper than 64 levels, in element 1 of images"),
        ("{" + '"a":{' * 100_000, "is nested deeper than 64 levels"),
        ("[" * 100_000, "is a list"),
    ],
)
def test_a_file_that_is_none_is_one_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        read_document(tmp_path, text)
    assert message in str(caught.value)
    assert "tables.t.annotations" in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps({"images": [IMAGE]}).encode(encoding))
    with pytest.raises(JobError, match=encoding.upper()):
        read(CocoReader(), tmp_path / "a.json")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps({"images": [IMAGE]}).encode("utf-8-sig"))
    assert len(read(CocoReader(), tmp_path / "a.json").rows["images"]) == 1


def test_bytes_that_are_no_text_are_a_reject(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(
        b'{"images": [{"id": 1, "file_name": "\xff.png"}, {"id": 2, "file_name": "a.png"}]}'
    )
    found = read(CocoReader(), tmp_path / "a.json")
    assert [place for _, place, _ in found.rejects] == [1]


def test_a_huge_token_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaferry.tables.readers.annotations import elements

    monkeypatch.setattr(elements, "MAX_ELEMENT", 1 << 20)
    with gzip.open(tmp_path / "a.json.gz", "wb", compresslevel=1) as file:
        file.write(b'{"images": [{"id": 1, "file_name": "')
        for _ in range(12):
            file.write(b"a" * (1 << 20))
    with pytest.raises(JobError, match="more than 1 MiB in element 1 of images"):
        read(CocoReader(), tmp_path / "a.json.gz")


def test_a_small_archive_that_holds_all_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaferry.tables.readers import files

    monkeypatch.setattr(files, "FREE", 8 << 20)
    monkeypatch.setattr(files, "MAX_EXPANSION", 10)
    with gzip.open(tmp_path / "a.json.gz", "wb") as file:
        file.write(b'{"images": [')
        for _ in range(40):
            file.write(b" " * (1 << 20))
        file.write(b"]}")
    with pytest.raises(JobError, match="it is no file of annotations"):
        read(CocoReader(), tmp_path / "a.json.gz")


def test_an_identifier_that_became_a_float_is_the_same(tmp_path: Path) -> None:
    document = {"images": [{"id": 5, "file_name": "a.png"}], "annotations": [{"image_id": 5.0, "id": 5.5}]}
    found = read_document(tmp_path, document)
    assert [(row["image_id"], row["id"]) for row in found.rows["objects"]] == [("5", "5.5")]


def test_an_image_with_any_number_of_segments_is_read_in_pieces(tmp_path: Path) -> None:
    segments = [{"id": n, "category_id": n % 7, "iscrowd": 0, "area": 1} for n in range(40_000)]
    document = {"images": [IMAGE], "annotations": [{"image_id": 1, "segments_info": segments}]}
    found = read_document(tmp_path, document, relations=["objects"], columns=["image_id", "id"])
    assert len(found.rows["objects"]) == 40_000
    assert found.rows["objects"][-1] == {"@": 1, "image_id": "1", "id": "39999"}


@pytest.mark.parametrize("depth", [5, 6, 7, 63])
def test_deep_elements_are_elements(tmp_path: Path, depth: int) -> None:
    inner: Any = "]"
    for _ in range(depth):
        inner = [inner]
    found = read_document(
        tmp_path, {"annotations": [{"image_id": 1, "segmentation": inner}], "images": [IMAGE]}
    )
    assert len(found.rows["objects"]) == len(found.rows["images"]) == 1
