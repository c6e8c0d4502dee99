"""Rows of the relations of nuScenes-like tables. Pure functions.

From docs/schema_nuscenes.md and docs/schema_nuimages.md of nutonomy/nuscenes-devkit; datasets in their shape
have timestamps as floats, or in nanoseconds, and leave tables out.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from metaferry.tables.readers.annotations.nuscenes.links import Links
from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.annotations.values import flag, integer, items, number, shown, text
from metaferry.tables.readers.contract import ReaderColumn, ReaderRelation

_TIME: Final = pa.timestamp("us", "UTC")

IMAGES: Final = ReaderRelation(
    "images",
    "one image of a camera: a row of sample_data",
    (
        ReaderColumn("image", pa.string(), "its token, which `objects` has too"),
        ReaderColumn("file_name", pa.string(), "below the root of the data: samples/… or sweeps/…"),
        ReaderColumn("channel", pa.string(), "the camera: CAM_FRONT …"),
        ReaderColumn("is_key_frame", pa.bool_(), "whether it is the image of its sample"),
        ReaderColumn("time", _TIME, "when it was taken"),
        ReaderColumn("timestamp_unit", pa.string(), "what the file counts in, by the size: s, ms, us, ns"),
        ReaderColumn("width", pa.int64(), "in pixels"),
        ReaderColumn("height", pa.int64(), "in pixels"),
        ReaderColumn("sample", pa.string(), "the token of its sample, which 3D objects have"),
        ReaderColumn("scene", pa.string(), "the name of its scene"),
        ReaderColumn("description", pa.string(), "of its scene"),
        ReaderColumn("vehicle", pa.string(), "of its log"),
        ReaderColumn("location", pa.string(), "of its log"),
        ReaderColumn("date_captured", pa.string(), "of its log, as the file has it"),
        ReaderColumn("logfile", pa.string(), "of its log"),
        ReaderColumn("ego_pose", pa.string(), "the token of the vehicle's pose"),
    ),
)
OBJECTS: Final = ReaderRelation(
    "objects",
    "one object: of an image in 2D (object_ann), or of a sample in 3D (sample_annotation)",
    (
        ReaderColumn("image", pa.string(), "in 2D: the image's token"),
        ReaderColumn("sample", pa.string(), "in 3D: the token of the sample; each camera has images of it"),
        ReaderColumn("id", pa.string(), "its token"),
        ReaderColumn("instance", pa.string(), "the token of the thing that is followed over samples"),
        ReaderColumn("category", pa.string(), "the name of its category"),
        ReaderColumn("attributes", pa.list_(pa.string()), "the names of its attributes"),
        ReaderColumn("visibility", pa.string(), "in 3D: how much is seen, by its level"),
        ReaderColumn("x1", pa.float64(), "in 2D: left, in pixels"),
        ReaderColumn("y1", pa.float64(), "in 2D: top, in pixels"),
        ReaderColumn("x2", pa.float64(), "in 2D: right, in pixels"),
        ReaderColumn("y2", pa.float64(), "in 2D: bottom, in pixels"),
        ReaderColumn("x", pa.float64(), "in 3D: the centre, in metres, in the frame of the map"),
        ReaderColumn("y", pa.float64(), "in 3D: the centre, in metres, in the frame of the map"),
        ReaderColumn("z", pa.float64(), "in 3D: the centre, in metres, in the frame of the map"),
        ReaderColumn("num_lidar_pts", pa.int64(), "in 3D: points of the lidar in its box"),
        ReaderColumn("num_radar_pts", pa.int64(), "in 3D: points of the radars in its box"),
    ),
)
EGO_POSES: Final = ReaderRelation(
    "ego_poses",
    "one pose of the vehicle",
    (
        ReaderColumn("ego_pose", pa.string(), "its token, which `images` has too"),
        ReaderColumn("time", _TIME, "when it was there"),
        ReaderColumn("x", pa.float64(), "in metres, in the frame of the map"),
        ReaderColumn("y", pa.float64(), "in metres, in the frame of the map"),
        ReaderColumn("z", pa.float64(), "in metres, in the frame of the map"),
        ReaderColumn("rotation", pa.list_(pa.float64()), "a quaternion: w, x, y, z"),
    ),
)
_IMAGE_FILES: Final = frozenset({"jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff"})
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
#: The smallest number of a unit, and how many microseconds are in one thousand of it.
_UNITS: Final = ((1e17, "ns", 1), (1e14, "us", 1_000), (1e11, "ms", 1_000_000), (1e8, "s", 1_000_000_000))


def instant(value: Any, key: str) -> tuple[datetime.datetime | None, str | None]:
    """The time of a timestamp, and its unit by its size; (None, None) for one that counts from no known day.

    A double of nanoseconds has lost its last digits in the file. Raises Bad for what is no time.
    """
    found = integer(value, key) if isinstance(value, int) else number(value, key)
    if found is None:
        return None, None
    for least, unit, thousand in _UNITS:
        if found >= least:
            whole = int(found)
            micros = whole * thousand // 1_000
            if not isinstance(found, int) and thousand > 1_000:
                micros = round(found * (thousand // 1_000))
            try:
                return _EPOCH + datetime.timedelta(microseconds=micros), unit
            except OverflowError:
                raise Bad(f"{key} is {shown(value)}, and no time since 1970", key) from None
    return None, None


def image_row(value: Mapping[str, Any], links: Links) -> dict[str, Any] | None:
    """The row of sample_data; None for what is no image of a camera. Raises Bad."""
    kind = (text(value.get("fileformat"), "fileformat") or "").lower()
    calibrated = value.get("calibrated_sensor_token")
    known = links.find("calibrated_sensor", calibrated)
    sensor = links.find("sensor", known.get("sensor_token")) if known is not None else None
    is_image = kind in _IMAGE_FILES or (not kind and known is None)
    if sensor is not None and sensor.get("modality"):
        is_image = sensor["modality"] == "camera"
    if not is_image:
        return None
    links.must("calibrated_sensor", calibrated, "calibrated_sensor_token")
    links.must("sensor", (known or {}).get("sensor_token"), "sensor_token")
    sample = links.must("sample", value.get("sample_token"), "sample_token")
    scene = links.may("scene", sample.get("scene_token"), "scene_token")
    log = links.may("log", scene.get("log_token") or sample.get("log_token"), "log_token")
    token, name = text(value.get("token"), "token"), text(value.get("filename"), "filename")
    if not token or not name:
        raise Bad(f"it has no {'filename' if token else 'token'}", "filename" if token else "token")
    time, unit = instant(value.get("timestamp"), "timestamp")
    return {
        "image": token,
        "file_name": name,
        "channel": text((sensor or {}).get("channel"), "channel"),
        "is_key_frame": flag(value.get("is_key_frame")),
        "time": time,
        "timestamp_unit": unit,
        "width": integer(value.get("width"), "width"),
        "height": integer(value.get("height"), "height"),
        "sample": text(value.get("sample_token"), "sample_token") or None,
        "scene": text(scene.get("name"), "name of a scene"),
        "description": text(scene.get("description"), "description of a scene"),
        "vehicle": text(log.get("vehicle"), "vehicle of a log"),
        "location": text(log.get("location"), "location of a log"),
        "date_captured": text(log.get("date_captured") or log.get("data_captured"), "date_captured of a log"),
        "logfile": text(log.get("logfile"), "logfile of a log"),
        "ego_pose": text(value.get("ego_pose_token"), "ego_pose_token") or None,
    }


def object_row(value: Mapping[str, Any], links: Links) -> dict[str, Any]:
    """The row of object_ann (2D, of an image) or sample_annotation (3D, of a sample). Raises Bad."""
    image = text(value.get("sample_data_token"), "sample_data_token") or None
    sample = text(value.get("sample_token"), "sample_token") or None
    if image is None and sample is None:
        raise Bad("it has no sample_data_token and no sample_token")
    category = value.get("category_token")
    if category is None and image is None:
        instance = links.must("instance", value.get("instance_token"), "instance_token")
        category = instance.get("category_token")
    named = links.must("category", category, "category_token")
    names = [
        text(links.must("attribute", token, "attribute_tokens").get("name"), "name of an attribute")
        for token in items(value.get("attribute_tokens"), "attribute_tokens")
    ]
    level = links.may("visibility", value.get("visibility_token"), "visibility_token").get("level")
    box = _numbers(value, "bbox", 4)
    centre = _numbers(value, "translation", 3)
    return {
        "image": image,
        "sample": sample,
        "id": text(value.get("token"), "token"),
        "instance": text(value.get("instance_token"), "instance_token") or None,
        "category": text(named.get("name"), "name of a category"),
        "attributes": names,
        "visibility": text(level, "level of a visibility"),
        **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
        **dict(zip(("x", "y", "z"), centre, strict=True)),
        "num_lidar_pts": integer(value.get("num_lidar_pts"), "num_lidar_pts"),
        "num_radar_pts": integer(value.get("num_radar_pts"), "num_radar_pts"),
    }


def pose_row(value: Mapping[str, Any], links: Links) -> dict[str, Any]:
    """The row of ego_pose. Raises Bad."""
    token = text(value.get("token"), "token")
    if not token:
        raise Bad("it has no token", "token")
    x, y, z = _numbers(value, "translation", 3)
    turned = items(value.get("rotation"), "rotation")
    is_matrix = bool(turned) and isinstance(turned[0], list)  # as some datasets have it
    rotation = [None] if is_matrix else _numbers(value, "rotation", 4)
    return {
        "ego_pose": token,
        "time": instant(value.get("timestamp"), "timestamp")[0],
        "x": x,
        "y": y,
        "z": z,
        "rotation": rotation if None not in rotation else None,
    }


def _numbers(value: Mapping[str, Any], key: str, count: int) -> list[float | None]:
    """So many numbers, or as many nulls where there are none. Raises Bad."""
    found = items(value.get(key), key)
    if not found:
        return [None] * count
    if len(found) != count:
        raise Bad(f"{key} has {len(found)} elements, where {count} numbers are expected", key)
    return [number(one, f"{key}[{at}]") for at, one in enumerate(found)]
