"""The reader of CVAT: real files, tracks as they are filled, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.annotations.cvat import document, tracks
from metaferry.tables.readers.annotations.cvat.reader import CvatReader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples")) / "cvat"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")


def read_document(tmp_path: Path, text: str | bytes) -> Read:
    path = tmp_path / "annotations.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(CvatReader(), path)


def task(tracks: str, *, stop: str = "9", start: str = "0", step: str = "") -> str:
    return (
        "<?xml version='1.0'?>\n<annotations><version>1.1</version><meta><task>"
        f"<mode>interpolation</mode><start_frame>{start}</start_frame><stop_frame>{stop}</stop_frame>"
        f"<frame_filter>{step}</frame_filter></task><source>clip.mp4</source></meta>{tracks}</annotations>"
    )


def box(frame: int, *, outside: int = 0, more: str = 'keyframe="1"', x: float = 0.0) -> str:
    sides = f'xtl="{x}" ytl="0" xbr="{x + 10}" ybr="5"'
    return f'<box frame="{frame}" outside="{outside}" occluded="0" {sides} {more}/>'


def frames(found: Read) -> list[int]:
    return [row["frame"] for row in found.rows["objects"]]


# -- real files


@needs_samples
def test_a_real_video_has_original_frames_and_no_object_that_is_outside() -> None:
    found = read(CvatReader(), SAMPLES / "annotations.xml")
    assert found.rejects == []
    # start_frame 10, stop_frame 19, step 3
    assert [(row["file_name"], row["frame"], row["width"]) for row in found.rows["images"]] == [
        ("t.mp4", 10, 25),
        ("t.mp4", 13, 25),
        ("t.mp4", 16, 25),
        ("t.mp4", 19, 25),
    ]
    assert [
        (row["frame"], row["track"], row["category"], row["shape"], row["keyframe"], row["filled"])
        for row in found.rows["objects"]
    ] == [
        (10, "0", "II", "box", True, False),
        (10, "1", "klhg", "points", True, False),
        (13, "2", "II", "polyline", True, False),
        (10, "3", "skeleton", "skeleton", True, False),
        (13, "3", "skeleton", "skeleton", False, False),
        (16, "3", "skeleton", "skeleton", False, False),
    ]
    assert found.rows["objects"][1]["attributes"] == '{"hgl":"hgkf"}'
    keys = {row["frame"]: row["image"] for row in found.rows["images"]}
    assert all(row["image"] == keys[row["frame"]] for row in found.rows["objects"])


@needs_samples
def test_real_images_have_attributes_of_the_types_of_their_labels() -> None:
    found = read(CvatReader(), SAMPLES / "train.xml")
    assert found.rejects == []
    assert [(row["file_name"], row["width"], row["frame"], row["tags"]) for row in found.rows["images"]] == [
        ("img0.jpg", 8, None, None),
        ("img1.jpg", 10, None, None),
    ]
    assert [(row["@"], row["image"], row["category"], row["shape"]) for row in found.rows["objects"]] == [
        (84, 1, "label1", "box"),
        (90, 1, None, "polyline"),
        (91, 1, "skeleton", "skeleton"),
        (103, 2, None, "polygon"),
        (104, 2, "label2", "points"),
        (105, 2, "skeleton", "skeleton"),
    ]
    assert found.rows["objects"][0]["attributes"] == '{"a1":true,"a2":"v3","a3":"0003","a4":2.4}'
    assert [found.rows["objects"][0][side] for side in ("x1", "y1", "x2", "y2")] == [0, 2, 4, 4]


# -- tracks


def test_between_keyframes_an_object_is_there_unless_it_is_outside(tmp_path: Path) -> None:
    shapes = box(0) + box(1, x=1) + box(4, x=4) + box(6, outside=1, x=9) + box(8, x=8)
    found = read_document(tmp_path, task(f'<track id="7" label="car">{shapes}</track>'))
    assert [(row["frame"], row["filled"], row["x1"]) for row in found.rows["objects"]] == [
        (0, False, 0),
        (1, False, 1),
        (2, True, 2),
        (3, True, 3),
        (4, False, 4),
        (5, True, 4),  # where it is seen last
        (8, False, 8),
        (9, True, 8),  # to the end of the task
    ]
    assert {row["track"] for row in found.rows["objects"]} == {"7"}
    assert [row["frame"] for row in found.rows["images"]] == list(range(10))


def test_a_track_that_is_written_in_full_ends_with_its_last_shape(tmp_path: Path) -> None:
    shapes = box(0) + box(1, more='keyframe="0"') + box(2, more='keyframe="0"')
    assert frames(read_document(tmp_path, task(f'<track id="0" label="car">{shapes}</track>'))) == [0, 1, 2]


def test_frames_are_filled_in_steps_of_the_task(tmp_path: Path) -> None:
    text = task(f'<track label="car">{box(10) + box(19)}</track>', start="10", stop="21", step="step=3")
    found = read_document(tmp_path, text)
    assert frames(found) == [10, 13, 16, 19]
    assert [row["frame"] for row in found.rows["images"]] == [10, 13, 16, 19]


def test_of_other_shapes_only_that_they_are_there_is_known(tmp_path: Path) -> None:
    shapes = '<polygon frame="0" points="1,2;3,4" outside="0"/>' + box(2)
    rows = read_document(tmp_path, task(f"<track>{shapes}</track>", stop="2")).rows["objects"]
    assert [(row["frame"], row["shape"], row["x1"]) for row in rows] == [
        (0, "polygon", None),
        (1, "polygon", None),
        (2, "box", 0),
    ]


def test_a_job_tells_no_frames_but_those_with_something_in_them(tmp_path: Path) -> None:
    text = (
        "<annotations><meta><job><mode>interpolation</mode><start_frame>0</start_frame>"
        f"<stop_frame>9</stop_frame></job></meta><track label='car'>{box(20) + box(22)}</track>"
        "<tag label='night' frame='30'><attribute name='rain'>yes</attribute></tag></annotations>"
    )
    found = read_document(tmp_path, text)
    assert frames(found) == [20, 21, 22]
    assert [
        (row["file_name"], row["frame"], row["tags"], row["attributes"]) for row in found.rows["images"]
    ] == [
        (None, 20, None, None),
        (None, 21, None, None),
        (None, 22, None, None),
        (None, 30, ["night"], '{"night":{"rain":"yes"}}'),
    ]


def test_a_small_file_does_not_make_rows_without_end(tmp_path: Path) -> None:
    with mock.patch.object(tracks, "MOST_FILLED", 1_000), pytest.raises(JobError, match="more than 1,000"):
        read_document(tmp_path, task(f"<track>{box(0) + box(900_000_000_000)}</track>"))
    with pytest.raises(JobError, match=r"has 900,000,000,001 frames, and at most 5,000,000 can be read"):
        read_document(tmp_path, task("", stop="900000000000"))
    shape = '<box frame="{}" outside="1"/>'
    many = "".join(f"<track>{shape.format(n)}</track>" for n in range(20, 40))
    tags = "".join(f'<tag label="a" frame="{n}"/>' for n in range(20, 40))
    with mock.patch.object(document, "MOST_FRAMES", 10):
        assert frames(read_document(tmp_path, task(many, stop="9"))) == []
        with pytest.raises(JobError, match="more than 10 frames"):
            read_document(tmp_path, task(tags, stop="9"))


# -- what cannot be read


@pytest.mark.parametrize(
    ("tracks", "rejects", "read_frames"),
    [
        (box(3) + box(2) + box(4), ["frame 2 comes after frame 3 in one track"], [3, 4]),
        (box(0).replace('frame="0"', 'frame="x"') + box(4), ["frame is 'x', and no whole number"], [4]),
        (box(0).replace('frame="0"', "") + box(4), ["frame is '', and no whole number"], [4]),
        (box(0).replace('outside="0"', 'outside="no"') + box(4), ["outside is 'no', where 0 or 1"], [4]),
        (box(0).replace('ytl="0"', 'ytl="nan"') + box(4), ["ytl of a box is 'nan', and no number"], [4]),
        (box(0).replace('ytl="0"', "") + box(4), ["ytl of a box is '', and no number"], [4]),
    ],
)
def test_a_shape_that_cannot_be_read_is_named(
    tmp_path: Path, tracks: str, rejects: list[str], read_frames: list[int]
) -> None:
    found = read_document(tmp_path, task(f"\n\n<track>{tracks}</track>", stop="4"))
    assert frames(found) == read_frames
    assert [(relation, place) for relation, place, _ in found.rejects] == [("objects", 4)]
    assert [message.startswith(start) for (*_, message), start in zip(found.rejects, rejects, strict=True)]


def test_an_image_that_cannot_be_read_is_named_as_a_whole(tmp_path: Path) -> None:
    good = '<image id="1" name="b.jpg"><points label="p" points="1,2"/></image>'
    bad = '<image id="0" name="a.jpg"><box label="x" xtl="a"/><box label="y"/></image>'
    found = read_document(tmp_path, f"<annotations>\n{bad}\n<image id='2'/>\n{good}</annotations>")
    assert [row["file_name"] for row in found.rows["images"]] == ["b.jpg"]
    assert [row["category"] for row in found.rows["objects"]] == ["p"]
    assert found.rejects == [
        ("images", 2, "image 'a.jpg': xtl of a box is 'a', and no number"),
        ("images", 3, "image '': an image has no name"),
    ]


BOMB = '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB + "<annotations><image name='&b;'/></annotations>", r"has a document type \(line 1\)"),
        ("<annotations>" + " " * 70_000 + BOMB + "</annotations>", "is not valid XML: "),
        ("<annotations><image name='a'>", r"is not valid XML: no element found \(line 1\)"),
        ("<annotations><image name='a'></annotations>", "mismatched tag"),
        ("<annotations><image name='&b;'/></annotations>", "undefined entity"),
        ("<annotations>" + "<a>" * 100_000, r"more than 64 levels of elements \(line 1\)"),
        (
            "<annotation><object/></annotation>",
            "begins with <annotation>, and a CVAT file",
        ),
        ("", "no element found"),
        ("[]", "is not valid XML: "),
        (b"<annotations><image name='\xff'/></annotations>", "not well-formed"),
        ("<annotations/>".encode("utf-16"), "is UTF-16"),
        (task("", start="ten"), "has a head that cannot be read: start_frame is 'ten'"),
        (task("", step="each third"), "frame_filter is 'each third', where step=N is expected"),
        (task("", step="step=0"), "frame_filter is 'step=0', where step=N is expected"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_one_error(tmp_path: Path, text: Any, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        read_document(tmp_path, text)
    assert str(caught.value).startswith("tables.t.annotations: ")
    assert "annotations.xml" in str(caught.value)
    assert caught.value.advice


def test_a_tag_without_end_is_not_held(tmp_path: Path) -> None:
    from metaferry.tables.readers.annotations import xml_stream

    with mock.patch.object(xml_stream, "MAX_ELEMENT", 1 << 20):
        for text in ('<annotations><image name="', "<annotations><meta><source>"):
            with pytest.raises(JobError, match="more than 1 MiB"):
                read_document(tmp_path, text + "a" * (3 << 20))


def test_a_file_may_be_larger_than_any_tag_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaferry.tables.readers.annotations import xml_stream

    monkeypatch.setattr(xml_stream, "MAX_ELEMENT", 1 << 20)
    images = "".join(f'<image id="{n}" name="{n:0200}.jpg"><box xtl="x"/></image>\n' for n in range(12_000))
    found = read_document(tmp_path, f"<annotations>{images}{'<!-- a comment -->' * 80_000}</annotations>")
    assert len(found.rejects) == 12_000


def test_tracks_of_a_project_are_refused_and_its_images_are_read(tmp_path: Path) -> None:
    meta = (
        "<meta><project><id>1</id><tasks><task><start_frame>0</start_frame></task></tasks></project></meta>"
    )
    image = '<image id="0" name="a.jpg" subset="Train" task_id="5" width="3" height="2"/>'
    (row,) = read_document(tmp_path, f"<annotations>{meta}{image}</annotations>").rows["images"]
    assert (row["subset"], row["task"], row["frame"], row["width"]) == ("Train", "5", None, 3)
    with pytest.raises(JobError, match="does not say of which video they are") as caught:
        read_document(tmp_path, f"<annotations>{meta}<track>{box(0)}</track></annotations>")
    assert caught.value.advice == (
        "export each task by itself as CVAT for video 1.1, or the project as CVAT for images 1.1"
    )


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1', True),
        (b"<!-- made by a script -->\n<annotations >", True),
        (b"<annotations>", True),
        (b"<annotation><folder>VOC2007</folder>", False),
        (b'{"annotations": []}', False),
        (b"", False),
    ],
)
def test_it_knows_its_files_by_what_they_hold(head: bytes, known: bool) -> None:
    assert CvatReader().recognises(head, []) is known
