"""The reader of nuScenes-like tables: real folders, links that lead nowhere, and times of all units."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.job.readers.annotations import Annotations
from metaferry.tables.readers.annotations.nuscenes import links
from metaferry.tables.readers.annotations.nuscenes.reader import NuscenesReader
from metaferry.tables.readers.annotations.nuscenes.rows import instant
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.testing import check_reader
from unit.tables.readers.reading import Read, read

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples")) / "nuscenes"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")

TABLES: dict[str, list[Any]] = {
    "sensor": [
        {"token": "cam", "channel": "CAM_FRONT", "modality": "camera"},
        {"token": "top", "channel": "LIDAR_TOP", "modality": "lidar"},
    ],
    "calibrated_sensor": [{"token": "c1", "sensor_token": "cam"}, {"token": "c2", "sensor_token": "top"}],
    "log": [{"token": "l", "vehicle": "v1", "location": "boston", "date_captured": "2018-07-18"}],
    "scene": [{"token": "sc", "name": "scene-1", "description": "rain", "log_token": "l"}],
    "sample": [{"token": "s", "scene_token": "sc", "timestamp": 1531883530449377, "prev": "", "next": ""}],
    "sample_data": [
        {"token": "i1", "sample_token": "s", "calibrated_sensor_token": "c1", "ego_pose_token": "p",
         "filename": "samples/CAM_FRONT/a.jpg", "fileformat": "jpg", "is_key_frame": True, "width": 4,
         "height": 3, "timestamp": 1531883530449377, "prev": "", "next": ""},
        {"token": "i2", "sample_token": "s", "calibrated_sensor_token": "c2", "fileformat": "pcd",
         "filename": "samples/LIDAR_TOP/a.pcd", "is_key_frame": True, "timestamp": 1531883530449377},
    ],
    "ego_pose": [
        {"token": "p", "translation": [1, 2.5, 0], "rotation": [1, 0, 0, 0], "timestamp": 1531883530.5}
    ],
    "category": [{"token": "k", "name": "vehicle.car"}],
    "attribute": [{"token": "m", "name": "vehicle.moving"}],
    "visibility": [{"token": "4", "level": "v80-100"}],
    "instance": [{"token": "n", "category_token": "k"}],
    "sample_annotation": [
        {"token": "o1", "sample_token": "s", "instance_token": "n", "visibility_token": "4",
         "attribute_tokens": ["m"], "translation": [373.2, 1130.4, 0.8], "num_lidar_pts": 5},
        {"token": "o2", "sample_token": "s", "instance_token": "n", "visibility_token": ""},
    ],
    "object_ann": [
        {"token": "o3", "sample_data_token": "i1", "category_token": "k", "attribute_tokens": [],
         "bbox": [1, 2, 3, 4.5], "mask": None},
    ],
    "map": [{"token": "x", "filename": "maps/x.png"}],
}  # fmt: skip


def folder(tmp_path: Path, **more: Any) -> str:
    """The tables of a dataset, some of them others; None: not there."""
    for name, rows in {**TABLES, **more}.items():
        if rows is not None:
            text = rows if isinstance(rows, str) else json.dumps(rows)
            (tmp_path / f"{name}.json").write_text(text)
    return f"{tmp_path}/"


def read_tables(tmp_path: Path, **more: Any) -> Read:
    return read(NuscenesReader(), folder(tmp_path, **more))


# -- real folders


@needs_samples
@pytest.mark.parametrize(("name", "images", "objects", "poses"), [("t4", 6, 4, 3), ("bevdet", 60, 0, 0)])
def test_real_folders_are_known_and_read_whole(name: str, images: int, objects: int, poses: int) -> None:
    names = [path.name for path in (SAMPLES / name).iterdir()]
    assert NuscenesReader().takes_folder(names)
    found = read(NuscenesReader(), f"{SAMPLES / name}/")
    assert found.rejects == []
    assert [len(found.rows[one]) for one in ("images", "objects", "ego_poses")] == [images, objects, poses]


@needs_samples
def test_a_real_image_has_what_its_tokens_lead_to() -> None:
    first = read(NuscenesReader(), f"{SAMPLES / 't4'}/").rows["images"][0]
    assert (first["@"], first["file_name"], first["channel"]) == (2, "data/CAM_FRONT/001.jpg", "CAM_FRONT")
    assert (first["scene"], first["location"], first["vehicle"], first["date_captured"]) == (
        "minimal_test_scene",
        "test_location",
        "test_vehicle",
        "2024-01-01",  # the table calls it data_captured
    )
    assert (str(first["time"]), first["timestamp_unit"]) == ("2024-01-01 00:00:00+00:00", "us")
    first = read(NuscenesReader(), f"{SAMPLES / 'bevdet'}/").rows["images"][0]
    assert (str(first["time"]), first["timestamp_unit"]) == ("2023-01-07 05:23:38.503470+00:00", "ns")


# -- tables


def test_rows_have_what_their_tokens_lead_to(tmp_path: Path) -> None:
    found = read_tables(tmp_path)
    assert found.rejects == []
    (image,) = found.rows["images"]
    taken = datetime.datetime(2018, 7, 18, 3, 12, 10, 449377, tzinfo=datetime.UTC)
    assert image == {
        "@": 1,
        "image": "i1",
        "file_name": "samples/CAM_FRONT/a.jpg",
        "channel": "CAM_FRONT",
        "is_key_frame": True,
        "time": taken,
        "timestamp_unit": "us",
        "width": 4,
        "height": 3,
        "sample": "s",
        "scene": "scene-1",
        "description": "rain",
        "vehicle": "v1",
        "location": "boston",
        "date_captured": "2018-07-18",
        "logfile": None,
        "ego_pose": "p",
    }
    objects = [
        (row["id"], row["image"], row["sample"], row["category"], row["attributes"], row["visibility"])
        for row in found.rows["objects"]
    ]
    assert objects == [
        ("o3", "i1", None, "vehicle.car", [], None),
        ("o1", None, "s", "vehicle.car", ["vehicle.moving"], "v80-100"),
        ("o2", None, "s", "vehicle.car", [], None),
    ]
    assert [found.rows["objects"][0][side] for side in ("x1", "y1", "x2", "y2")] == [1, 2, 3, 4.5]
    assert [found.rows["objects"][1][side] for side in ("x", "y", "z", "num_lidar_pts")] == [
        373.2,
        1130.4,
        0.8,
        5,
    ]
    (pose,) = found.rows["ego_poses"]
    assert (pose["x"], pose["y"], pose["z"], pose["rotation"]) == (1, 2.5, 0, [1, 0, 0, 0])
    assert str(pose["time"]) == "2018-07-18 03:12:10.500000+00:00"


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    tables = check_reader(NuscenesReader(), Annotations(url=folder(tmp_path), reader="nuscenes"))
    assert {name: table.num_rows for name, table in tables.items()} == {
        "images": 1,
        "objects": 3,
        "ego_poses": 1,
    }


def test_tables_that_may_be_missing_leave_columns_null(tmp_path: Path) -> None:
    left_out = (
        "scene",
        "log",
        "ego_pose",
        "sample_annotation",
        "object_ann",
        "instance",
        "visibility",
        "map",
    )
    found = read_tables(tmp_path, **dict.fromkeys(left_out))
    assert found.rejects == []
    (image,) = found.rows["images"]
    assert (image["scene"], image["vehicle"], image["channel"]) == (None, None, "CAM_FRONT")
    assert (found.rows["objects"], found.rows["ego_poses"]) == ([], [])


@pytest.mark.parametrize(
    ("table", "change", "reject"),
    [
        (
            "sample_data",
            {"sample_token": "z"},
            "sample_data i1: its sample_token 'z' is in no row of sample.json",
        ),
        (
            "sample_data",
            {"sample_token": None},
            "sample_data i1: its sample_token None is in no row of sample",
        ),
        (
            "sample_data",
            {"calibrated_sensor_token": "z"},
            "its calibrated_sensor_token 'z' is in no row of cali",
        ),
        (
            "calibrated_sensor",
            {"sensor_token": "z"},
            "sample_data i1: its sensor_token 'z' is in no row of sens",
        ),
        ("sample", {"scene_token": "z"}, "sample_data i1: its scene_token 'z' is in no row of scene.json"),
        ("scene", {"log_token": "z"}, "sample_data i1: its log_token 'z' is in no row of log.json"),
        ("sample_data", {"filename": ""}, "sample_data i1: it has no filename"),
        ("sample_data", {"timestamp": "now"}, "sample_data i1: timestamp is 'now', and no number"),
        ("sample_data", {"timestamp": 10**25}, "and no whole number of 64 bits"),
        (
            "object_ann",
            {"category_token": "z"},
            "object_ann o3: its category_token 'z' is in no row of category",
        ),
        ("object_ann", {"bbox": [1]}, "object_ann o3: bbox has 1 elements, where 4 numbers are expected"),
        ("ego_pose", {"translation": ["a", 1, 2]}, "ego_pose p: translation[0] is 'a', and no number"),
        ("sample", {"token": ""}, "sample 1: it has no token"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(
    tmp_path: Path, table: str, change: dict[str, Any], reject: str
) -> None:
    first, *others = TABLES[table]
    found = read_tables(tmp_path, **{table: [{**first, **change}, *others]})
    assert any(reject in message for *_, message in found.rejects), found.rejects
    if table in ("object_ann", "ego_pose"):
        assert [row["image"] for row in found.rows["images"]] == ["i1"]
    else:
        assert found.rows["images"] == []


def test_two_rows_with_one_token_are_named(tmp_path: Path) -> None:
    found = read_tables(tmp_path, log=[*TABLES["log"], {"token": "l", "vehicle": "other"}])
    assert found.rejects == [("images", 2, "log 2: its token l is that of another row")]
    assert found.rows["images"][0]["vehicle"] == "v1"


def test_small_tables_are_held_within_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MOST", 5)
    with pytest.raises(JobError, match="rows in its small tables"):
        read_tables(tmp_path)


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({"sensor": None}, "has no sensor.json"),
        ({"sample_data": '[{"token": "a"'}, "sample_data.json .*cut short"),
        ({"sample": '{"token": "a"}'}, "sample.json is an object, and a table is a list"),
        ({"log": "[" * 100_000}, "log.json is nested deeper than 64 levels"),
    ],
)
def test_a_folder_that_is_broken_as_a_whole_is_one_error(tmp_path: Path, tables: Any, why: str) -> None:
    with pytest.raises(JobError, match=why) as caught:
        read_tables(tmp_path, **tables)
    assert caught.value.advice


def test_two_versions_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    for version in ("v1.0-mini", "v1.0-test"):
        (tmp_path / version).mkdir()
        folder(tmp_path / version)
    with pytest.raises(JobError, match="there are two tables"):
        read(NuscenesReader(), f"{tmp_path}/")


@pytest.mark.parametrize(
    ("value", "time", "unit"),
    [
        (1531883530449377, "2018-07-18 03:12:10.449377+00:00", "us"),
        (1531883530449377.0, "2018-07-18 03:12:10.449377+00:00", "us"),
        (1531883530449, "2018-07-18 03:12:10.449000+00:00", "ms"),
        (1531883530.25, "2018-07-18 03:12:10.250000+00:00", "s"),
        (1531883530449377123, "2018-07-18 03:12:10.449377+00:00", "ns"),
        (10000, "None", None),
        (0, "None", None),
        (-1531883530449377, "None", None),
    ],
)
def test_the_size_of_a_timestamp_tells_its_unit(value: Any, time: str, unit: str | None) -> None:
    found, told_by_size = instant(value, "timestamp")
    assert (str(found), told_by_size) == (time, unit)


@pytest.mark.parametrize("value", ["1", True, float("inf"), 1e300])
def test_what_is_no_time_is_named(value: Any) -> None:
    with pytest.raises(Bad, match="timestamp is "):
        instant(value, "timestamp")
