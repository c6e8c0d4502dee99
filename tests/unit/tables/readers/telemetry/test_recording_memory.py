"""Recordings that are much larger than the memory that reading them may take."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from unit.tables.readers.telemetry.mcap_files import MAY, write_raw

#: Reads all samples of a file, after a small one of its kind; MB that the peak grew by, and the samples.
READ = """
import resource, sys
from pathlib import Path
from metaferry.tables.readers.registry import readers_of
from unit.tables.readers.reading import opened

(reader,) = [each for each in readers_of("telemetry", "") if each.name == sys.argv[1]]

def count(path):
    with opened(reader, path) as source:
        found = source.read({name: None for name in reader.relations}, lambda *rejected, **more: None)
        return sum(rows.batch.num_rows for rows in found)

count(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
samples = count(sys.argv[3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, samples)
"""
POINT = '<trkpt lat="48.1" lon="11.5"><time>2026-05-01T12:00:00Z</time></trkpt>\n'


def write_mcap(path: Path, count: int) -> Path:
    """Messages of 1 MB each, in chunks that are compressed. So long a text is left out of the rows."""
    data = b'{"lat": 48.5, "note": "' + b"x" * (1 << 20) + b'"}'
    return write_raw(path, [("/fix", MAY + at, data) for at in range(count)])


def write_gpx(path: Path, count: int) -> Path:
    """Points with a megabyte of a comment beside each."""
    comment = f"<!--{' ' * (1 << 20)}-->"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("<gpx><trk><trkseg>\n")
        for _ in range(count):
            file.write(comment + POINT)
        file.write("</trkseg></trk></gpx>")
    return path


def long_text(store: Typestore) -> Any:
    """A message of ROS with a text of a megabyte."""
    return store.types["std_msgs/msg/String"](data="x" * (1 << 20))


def write_bag1(path: Path, count: int) -> Path:
    """Messages of 1 MB each, in chunks that are compressed."""
    store = get_typestore(Stores.ROS1_NOETIC)
    data = store.serialize_ros1(long_text(store), "std_msgs/msg/String")
    writer = Bag1Writer(path)
    writer.set_compression(Bag1Writer.CompressionFormat.LZ4)
    with writer:
        topic = writer.add_connection("/note", "std_msgs/msg/String", typestore=store)
        for at in range(count):
            writer.write(topic, MAY + at, data)
    return path


def write_bag2(path: Path, count: int) -> Path:
    """Messages of 1 MB each, in a database."""
    store = get_typestore(Stores.ROS2_JAZZY)
    data = store.serialize_cdr(long_text(store), "std_msgs/msg/String")
    with Bag2Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        topic = writer.add_connection("/note", "std_msgs/msg/String", typestore=store)
        for at in range(count):
            writer.write(topic, MAY + at, data)
    (database,) = path.glob("*.db3")
    return database


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reader", "ending", "write"),
    [
        ("mcap", "mcap", write_mcap),
        ("gpx", "gpx.gz", write_gpx),
        ("rosbag", "bag", write_bag1),
        ("rosbag", "ros2", write_bag2),
    ],
)
def test_a_large_recording_takes_little_memory(
    tmp_path: Path, reader: str, ending: str, write: Callable[[Path, int], Path]
) -> None:
    """Of 120 MB, read in full."""
    small, large = write(tmp_path / f"small.{ending}", 2), write(tmp_path / f"large.{ending}", 120)
    done = subprocess.run(
        [sys.executable, "-c", READ, reader, str(small), str(large)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    grown, samples = map(int, done.stdout.split())
    assert samples == 120
    assert grown < 60, f"{grown} MB more"
