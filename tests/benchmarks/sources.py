"""How fast sources that are no table are read, by kind: a file of N megabytes.

    python -m benchmarks.sources [KIND ...] [--megabytes N] [--json PATH]

Each is measured twice, each time in a process of its own, so that the peak memory is that one's: `read` is
the reader alone, through the storage contract, into batches that are let go; `load` is what a run does, the
short form of a source into records in the engine, with its memory limit. Prints a line for both.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import record

MEGABYTES: Final = 1_000
_CATEGORIES: Final = 80


def coco(path: Path, size: int) -> None:
    """Instances as in train2017: seven objects an image, each with a polygon of 24 points."""
    chance = random.Random(1)
    polygons = [json.dumps([[round(chance.random() * 640, 2) for _ in range(48)]]) for _ in range(1_000)]
    images = max(1, size // 4_000)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for n in range(images):
            file.write(
                f'{", " if n else ""}{{"license": 3, "file_name": "{n:012}.jpg", "coco_url": '
                f'"http://images.cocodataset.org/train2017/{n:012}.jpg", "height": 427, "width": 640, '
                f'"date_captured": "2013-11-14 11:18:45", "id": {n}}}'
            )
        file.write('], "annotations": [')
        n = 0
        while file.tell() < size:
            for _ in range(1_000):
                area = chance.random() * 9_000
                file.write(
                    f'{", " if n else ""}{{"segmentation": {polygons[n % 1_000]}, "area": {area}, '
                    f'"iscrowd": 0, "image_id": {chance.randrange(images)}, '
                    f'"bbox": [{area / 100:.2f}, 45.3, 479.9, 1.5], '
                    f'"category_id": {chance.randrange(_CATEGORIES)}, "id": {n}}}'
                )
                n += 1
        file.write('], "categories": [')
        names = ({"supercategory": "thing", "id": at, "name": f"category {at}"} for at in range(_CATEGORIES))
        file.write(", ".join(map(json.dumps, names)))
        file.write("]}")


@dataclass(frozen=True, slots=True)
class Kind:
    """A format: how a file of so many bytes is made, its name, and its key in a job."""

    make: Callable[[Path, int], None]
    name: str
    key: str = "annotations"


#: A new kind of source is one entry more.
KINDS: Final[dict[str, Kind]] = {"coco": Kind(coco, "coco.json")}


def read(kind: Kind, path: Path) -> int:
    """Rows that the reader gives of what its records need."""
    from metaferry.job.parts import Location
    from metaferry.tables.readers.source import find_source

    with _opened(kind, path) as (job, storages):
        source = find_source(
            job,
            job.sources[0].given,
            "sources[0]",
            storage_for=lambda url, options: storages.at(Location(url=url, options=dict(options))),
            portal=storages.portal,
            progress=lambda rows: None,
        )
        opened, rejects = source.open(), []

        def reject(*given: Any, **more: Any) -> None:
            rejects.append(given)

        rows = sum(len(one.places) for one in opened.read(opened.needs(), reject))
        assert not rejects
        return rows


def load(kind: Kind, path: Path) -> int:
    """Rows that a run reads into the engine, and makes records of."""
    from metaferry.planning.database import open_database
    from metaferry.progress import Silent
    from metaferry.runs.gather import load_sources

    with (
        _opened(kind, path) as (job, storages),
        open_database(memory_limit=job.memory_limit, scratch=None) as database,
    ):
        loaded = load_sources(job, database, storages, storages.portal, Silent())
        assert all(not one.malformed for one in loaded.relations)
        return sum(one.read for one in loaded.relations)


@contextlib.contextmanager
def _opened(kind: Kind, path: Path) -> Iterator[tuple[Any, Any]]:
    """The job of one source, and its storages."""
    from metaferry.job.model import Job
    from metaferry.runs.storages import Storages
    from metaferry.storage.io.portal import Portal

    job = Job.from_mapping({"input": str(path.parent), "sources": [{kind.key: str(path)}]})
    with Portal() as portal, contextlib.closing(Storages(job, portal)) as storages:
        yield job, storages


WAYS: Final[dict[str, Callable[[Kind, Path], int]]] = {"read": read, "load": load}
#: Loaded before the clock starts. PyArrow imports pandas, where it is installed, with its first array.
_LOADED: Final = (
    "duckdb",
    "metaferry.runs.gather",
    "metaferry.tables.readers.annotations.coco",
    "pandas",
    "pyarrow",
)


def measure(kind: str, way: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sources", "--measure", kind, way, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(kind: str, way: str, path: str) -> None:
    for module in _LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)  # which is no part of reading
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun, cpu = time.perf_counter(), time.process_time()
    rows = WAYS[way](KINDS[kind], Path(path))
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "rows": rows,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "peak_mib": round(peak),
                "before_mib": round(before),
            }
        )
    )


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        _measured(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kinds", nargs="*", default=[], metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    asked, found = record.begin(parser, megabytes=2)
    results = []
    for name in asked.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / KINDS[name].name
            KINDS[name].make(path, asked.megabytes * 1_000_000)
            size = path.stat().st_size
            for way in WAYS:
                one = measure(name, way, path)
                results.append({"kind": name, "way": way, "bytes": size, **one})
                print(
                    f"{name:<10} {way:<5} {size / 1e6 / one['seconds']:>5,.0f} MB/s, "
                    f"{size / 1e6 / one['cpu_seconds']:>5,.0f} MB a second of processor time, "
                    f"{one['rows']:>11,} rows, peak {one['peak_mib']:,} MiB ({one['before_mib']:,} before)",
                    flush=True,
                )
    found.write(results)


if __name__ == "__main__":
    main()
