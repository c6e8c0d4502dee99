"""How fast a plan is made: N image records joined with N images, to a plan of N documents on disk.

    python -m benchmarks.plan_rows [ROWS ...] [--json PATH]

The listing is made in memory, page by page; the table is a Parquet file read through the storage
contract. Each size runs in a process of its own, so that the peak memory is that run's. Prints a
line a size: seconds by step, documents a second, peak memory of the process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record

SIZES = (1_000_000,)
PAGE = 1_000


def name(n: int) -> str:
    return f"2026/{n % 400:03d}/image_{n:09d}.png"


def make_table(path: Path, rows: int, *, start: int = 0) -> None:
    """Five columns of metadata besides the name: int, float, bool, two strings (one nested)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("file_name", pa.string()),
            ("objects", pa.int32()),
            ("speed", pa.float64()),
            ("night", pa.bool_()),
            ("scene", pa.string()),
            ("weather", pa.struct([("description", pa.string()), ("temperature", pa.float64())])),
        ]
    )
    scenes, skies = ("city", "highway", "tunnel"), ("clear", "rain", "snow")
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(start, start + rows, 100_000):
            numbers = range(first, min(first + 100_000, start + rows))
            writer.write_batch(
                pa.record_batch(
                    [
                        pa.array([name(n) for n in numbers]),
                        pa.array([n % 37 for n in numbers], pa.int32()),
                        pa.array([n % 1000 / 7 for n in numbers]),
                        pa.array([n % 5 == 0 for n in numbers]),
                        pa.array([scenes[n % 3] for n in numbers]),
                        pa.array(
                            [
                                {"description": skies[n % 7 % 3], "temperature": n % 400 / 10 - 10}
                                for n in numbers
                            ],
                            schema.field("weather").type,
                        ),
                    ],
                    schema=schema,
                )
            )


def pages(rows: int) -> Iterator[list[object]]:
    from metaferry.storage.protocol import Entry

    for start in range(0, rows, PAGE):
        yield [Entry(name(n), 1000, "t", None, 0.0) for n in range(start, min(start + PAGE, rows))]


def measure(table: Path, rows: int) -> dict[str, float]:
    from metaferry.job.model import Job
    from metaferry.media.listing import MediaFilter
    from metaferry.planning import build, diff
    from metaferry.planning.database import open_database
    from metaferry.planning.formats import LEDGER_COLUMNS, ddl
    from metaferry.planning.listings import Listings
    from metaferry.progress import Silent
    from metaferry.runs.gather import load_sources
    from metaferry.runs.storages import Storages
    from metaferry.storage.io.portal import Portal

    job = Job.from_mapping({"input": str(table.parent), "sources": [{"table": str(table)}]})
    marks = [time.perf_counter()]

    def mark() -> float:
        marks.append(time.perf_counter())
        return round(marks[-1] - marks[-2], 2)

    seconds = {}
    with (
        Portal() as portal,
        contextlib.closing(Storages(job, portal)) as storages,
        open_database(memory_limit=job.memory_limit, scratch=None) as database,
    ):
        sources = load_sources(job, database, storages, portal, Silent()).sources
        seconds["tables"] = mark()
        listings, rules = Listings(database), MediaFilter()
        for page in pages(rows):
            listings.add_media(rules.page(page))  # type: ignore[arg-type]
        listings.finish()
        seconds["listing"] = mark()
        database.run(ddl("ledger", LEDGER_COLUMNS))
        decided = build.decide(
            database,
            job,
            sources,
            in_place=None,
            given=None,
            count_frames=lambda videos: [],
            load_ledger=lambda: None,
            read_documents=lambda documents: iter(()),
        )
        seconds["decide"] = mark()
        diff.write_plan(database)
        seconds["write"] = mark()
        assert decided.documents.create == rows, decided.documents
    seconds["all"] = round(marks[-1] - marks[0], 2)
    return seconds


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        table, rows = Path(sys.argv[2]), int(sys.argv[3])
        seconds = measure(table, rows)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rows": rows, "seconds": seconds, "peak_mib": round(peak)}))
        return
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("rows", nargs="*", type=int, default=SIZES)
    asked, found = record.begin(parser, rows=[2_000])
    results = []
    for rows in asked.rows or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "labels.parquet"
            subprocess.run(
                [sys.executable, "-c", _MAKE.format(table=str(table), rows=rows)], check=True
            )  # a process of its own: its memory is not the plan's
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.plan_rows", "--measure", str(table), str(rows)],
                check=True,
                capture_output=True,
                text=True,
            )
        result = json.loads(done.stdout.splitlines()[-1])
        results.append(result)
        seconds = result["seconds"]
        steps = ", ".join(f"{step} {value} s" for step, value in seconds.items() if step != "all")
        print(
            f"{rows:>11,} records x {rows:,} images: {seconds['all']:6.1f} s "
            f"({rows / seconds['all']:>9,.0f} documents/s; {steps}), peak {result['peak_mib']:,} MiB"
        )
    found.write({"plans": results})


_MAKE = """
from pathlib import Path
from benchmarks.plan_rows import make_table
make_table(Path({table!r}), {rows})
"""

if __name__ == "__main__":
    main()
