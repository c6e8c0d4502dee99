"""MCAP files for tests, written by the format's own library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer
from mcap_ros2.writer import Writer as Ros2Writer

SECOND = 10**9
MAY = 1_777_593_600 * SECOND  # 2026-05-01T00:00:00Z
FIX = """\
std_msgs/Header header
float64 latitude
float64 longitude
float32 speed
float64[] ranges
uint8[] data
string frame
geometry_msgs/Point[] points
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: geometry_msgs/Point
float64 x
float64 y
"""


def fix(at: int, **more: Any) -> dict[str, Any]:
    """A message of `FIX`, with the time of its own in nanoseconds."""
    stamp = {"sec": at // SECOND, "nanosec": at % SECOND}
    return {
        "header": {"stamp": stamp, "frame_id": "gps"},
        "latitude": 48.5,
        "longitude": 11.5,
        "speed": 0.1,
        "ranges": [1.5, 2.5],
        "data": b"\x01",
        "frame": "a",
        "points": [{"x": 1.0, "y": 2.0}],
        **more,
    }


def write_ros2(
    path: Path,
    messages: Sequence[tuple[str, int, dict[str, Any]]],
    *,
    compression: str = "ZSTD",
    chunk: int = 4096,
) -> Path:
    """A file of messages of `FIX`, each a topic, a time of the log, and its fields."""
    with path.open("wb") as stream:
        writer = Ros2Writer(stream, chunk_size=chunk, compression=CompressionType[compression])
        schema = writer.register_msgdef("sensor_msgs/msg/NavSatFix", FIX)
        for topic, log, message in messages:
            writer.write_message(topic, schema, message, log_time=log, publish_time=log + 1)
        writer.finish()
    return path


def write_raw(
    path: Path,
    messages: Sequence[tuple[str, int, bytes]],
    *,
    encoding: str = "json",
    schema: tuple[str, str, bytes] | None = None,
    **options: Any,
) -> Path:
    """A file of messages as they stand, each a topic, a time of the log, and its bytes."""
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=4096, **options)
        writer.start()
        known = writer.register_schema(*schema) if schema is not None else 0
        channels: dict[str, int] = {}
        for topic, log, data in messages:
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, encoding, known)
            writer.add_message(channels[topic], log, data, log + 1)
        writer.finish()
    return path


def as_json(**values: Any) -> bytes:
    return json.dumps(values).encode()
