"""Recordings that are much larger than the memory that reading them may take."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize(("reader", "write"), [("mcap", write_mcap), ("gpx", write_gpx)])
def test_a_large_recording_takes_little_memory(
    tmp_path: Path, reader: str, write: Callable[[Path, int], Path]
) -> None:
    """Of 120 MB, read in full."""
    ending = "mcap" if reader == "mcap" else "gpx.gz"
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
