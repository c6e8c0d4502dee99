"""What the tree must be, worked out a second time: plain Python over the same tables, no SQL.

It shares nothing with the planner but the format rules under `lightly/`, which have tests of
their own; the reading back goes through the storage contract or the local file system.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from metaferry.demo import DemoDataset
from metaferry.lightly.document import document
from metaferry.lightly.names import Kind, digits, document_path, frame_document_path, frame_file_name

#: The mapping of the demonstration's images, as its job file writes it.
IMAGE_MAPPING = {
    "scene": "scene",
    "weather.description": "weather",
    "weather.temperature": "round((temp_f - 32) * 5 / 9, 1)",
    "timeofday": "timeofday",
    "pedestrians": "pedestrians",
}


def job_mapping(dataset: DemoDataset, input_url: str, options: dict[str, Any]) -> dict[str, Any]:
    """A job over the demonstration's tables, with media and documents at `input_url`."""
    return {
        "input": {"url": input_url, "options": options},
        "sources": [
            {"table": str(dataset.images_table), "file_name": "image_path", "metadata": IMAGE_MAPPING},
            {"table": str(dataset.videos_table), "file_name": "video"},
            {"table": str(dataset.frames_table), "file_name": "video", "frame": "frame_idx"},
        ],
    }


def expected_documents(dataset: DemoDataset) -> dict[str, bytes]:
    """Every document of the demonstration by target, except schema.json."""
    wanted: dict[str, bytes] = {}
    with dataset.images_table.open(newline="") as file:
        for row in csv.DictReader(file):
            values = {
                "scene": row["scene"] or None,
                "weather": {
                    "description": row["weather"] or None,
                    "temperature": round((float(row["temp_f"]) - 32) * 5 / 9, 1) if row["temp_f"] else None,
                },
                "timeofday": row["timeofday"] or None,
                "pedestrians": int(row["pedestrians"]) if row["pedestrians"] else None,
            }
            name = row["image_path"]
            wanted[document_path(name)] = document(name, Kind.IMAGE, values)
    videos: dict[str, dict[str, Any]] = {}
    for line in dataset.videos_table.read_text().splitlines():
        row = json.loads(line)
        name = row.pop("video")
        videos[name] = row
        wanted[document_path(name)] = document(name, Kind.VIDEO, row)
    for row in pq.read_table(dataset.frames_table).to_pylist():
        name, index = row.pop("video"), row.pop("frame_idx")
        width = digits(dataset.videos[name])
        merged = _below(row, videos.get(name, {}))
        wanted[frame_document_path(name, index, width)] = document(
            frame_file_name(name, index, width), Kind.FRAME, merged
        )
    return wanted


def _below(own: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    """The video's values where the frame has none, key by key."""
    merged = dict(under)
    for key, value in own.items():
        if isinstance(value, dict):
            merged[key] = _below(value, under.get(key) or {})
        elif value is not None:
            merged[key] = value
    return merged


def read_folder(root: Path) -> dict[str, bytes]:
    """Every file below `.lightly/` of a local datasource, by key."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / ".lightly").rglob("*"))
        if path.is_file()
    }
