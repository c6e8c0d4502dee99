"""How a plan grows: N image records joined with N images of an inventory, under a memory limit.

    python -m benchmarks.plan_scale [MILLIONS ...] [--memory 1GB] [--scratch FOLDER] [--json PATH]

All of `metaferry plan --out`: the tables are local Parquet files of a million rows each, the media come
from an S3 inventory in Parquet, the documents' datasource is an empty local folder, and the plan is
written to another. Each size runs in a process of its own. Prints a line a size: seconds by step,
peak memory of the process, and the most that its scratch folder held.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record
from benchmarks.plan_rows import make_table, name

MILLION = 1_000_000
#: Seconds between two looks at the scratch folder.
LOOK = 0.25


def make(folder: Path, rows: int) -> None:
    """The tables and the inventory, as files below `folder`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = folder / "inventory" / "data"
    data.mkdir(parents=True)
    (folder / "tables").mkdir()
    files = []
    schema = pa.schema(
        [("bucket", pa.string()), ("key", pa.string()), ("size", pa.int64()), ("e_tag", pa.string())]
    )
    for number, start in enumerate(range(0, rows, MILLION)):
        numbers = range(start, min(start + MILLION, rows))
        make_table(folder / "tables" / f"part-{number:03d}.parquet", len(numbers), start=start)
        path = data / f"part-{number:03d}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for some in _pieces(numbers, 100_000):
                keys = [f"2026/{name(n)}" for n in some]
                tags = [f"{n * 0x9E3779B97F4A7C15 % (1 << 128):032x}" for n in some]
                batch = [["fleet"] * len(some), keys, [1000] * len(some), tags]
                writer.write_batch(pa.record_batch([pa.array(column) for column in batch], schema=schema))
        content = path.read_bytes()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files.append({"key": f"data/{path.name}", "size": len(content), "MD5checksum": md5})
    manifest = {
        "sourceBucket": "fleet",
        "destinationBucket": "arn:aws:s3:::elsewhere",
        "version": "2016-11-30",
        "creationTimestamp": "1790000000000",
        "fileFormat": "Parquet",
        "fileSchema": "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); }",
        "files": files,
    }
    (folder / "inventory" / "2026-09-21T01-00Z").mkdir()
    (folder / "inventory" / "2026-09-21T01-00Z" / "manifest.json").write_text(json.dumps(manifest))


def measure(folder: Path, rows: int, memory: str) -> dict[str, object]:
    from metaferry.job.model import Job
    from metaferry.runs.run import plan

    (folder / "lightly").mkdir()
    (folder / "scratch").mkdir()
    job = Job.from_mapping(
        {
            "input": "s3://fleet/2026/",
            "lightly": str(folder / "lightly"),
            "media": {"inventory": str(folder / "inventory")},
            "sources": [{"table": str(folder / "tables" / "*.parquet")}],
            "memory_limit": memory,
            "scratch": str(folder / "scratch"),
        }
    )
    ended, most = threading.Event(), 0

    def look() -> None:
        nonlocal most
        while not ended.wait(LOOK):
            most = max(most, _size(folder / "scratch"))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    report = plan(job, out=str(folder / "plan"))
    ended.set()
    looking.join()
    assert report.documents.create == rows, report.documents
    return {
        "seconds": report.seconds,
        "scratch": most,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _size(folder: Path) -> int:
    """Bytes on disk below a folder from which files vanish meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for each in names:
            try:
                total += os.stat(os.path.join(root, each)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _pieces(numbers: range, size: int) -> Iterator[range]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("millions", nargs="*", type=float, default=[1, 3, 10])
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--scratch", default=None, help="where tables and scratch files are put")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "ROWS"), help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=2, metavar=("FOLDER", "ROWS"), help=argparse.SUPPRESS)
    given, found = record.begin(parser, millions=[0.002])
    if given.make:
        make(Path(given.make[0]), int(given.make[1]))
        return
    if given.measure:
        print(json.dumps(measure(Path(given.measure[0]), int(given.measure[1]), given.memory)))
        return
    command = [sys.executable, "-m", "benchmarks.plan_scale", "--memory", given.memory]
    results = []
    for millions in given.millions or [1, 3, 10]:
        rows = str(int(millions * MILLION))
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            subprocess.run([*command, "--make", folder, rows], check=True)
            done = subprocess.run(
                [*command, "--measure", folder, rows], check=True, capture_output=True, text=True
            )
        result = json.loads(done.stdout.splitlines()[-1])
        results.append({"rows": int(rows), **result})
        seconds = result["seconds"]
        total = sum(seconds.values())
        steps = ", ".join(f"{step} {value:.1f}" for step, value in seconds.items())
        print(
            f"{int(rows):>11,} records x images, {given.memory}: {total:6.1f} s ({steps}; "
            f"{int(rows) / total:,.0f} documents/s), peak {result['peak'] / 1e6:,.0f} MB, "
            f"scratch {result['scratch'] / 1e9:,.2f} GB",
            flush=True,
        )
    found.write({"memory_limit": given.memory, "plans": results})


if __name__ == "__main__":
    main()
