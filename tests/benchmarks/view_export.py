"""How fast documents that were read become a table, and in how much memory.

    python -m benchmarks.view_export [DOCUMENTS ...] [--json PATH]

The bytes of the documents are made in memory, as they come from a store: what a store takes to answer is
another benchmark's. They are parsed, put into the planning engine, and written as Parquet, as the consumer
shows them and as they are written. Each size runs in a process of its own, so that the peak memory is that
run's. Fourteen schema entries: seven numbers, five texts, two booleans, with near-random values.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import record

SIZES: Final = (1_000_000, 10_000_000)
#: Documents that are parsed alone, to see what of the time is the parser's.
PARSED: Final = 100_000
NUMBERS: Final = [f"number{n}" for n in range(7)]
TEXTS: Final = [f"text{n}" for n in range(5)]
TRUTHS: Final = [f"truth{n}" for n in range(2)]


@dataclass(frozen=True, slots=True)
class Document:
    target: str
    media: str
    metadata: dict[str, Any]
    kind: str = "image"
    frame: int | None = None
    orphan: bool = False
    misnamed: bool = False
    invalid: bool = False
    size: int = 500


def bodies(count: int) -> Iterator[tuple[str, bytes]]:
    """Media and metadata, as text. A thousand bodies repeat, so that making them takes no time."""
    made = random.Random(7)
    texts = [
        json.dumps(
            {name: made.random() * 100 for name in NUMBERS}
            | {name: f"value {made.randrange(40)}" for name in TEXTS}
            | {name: made.random() < 0.5 for name in TRUTHS}
        ).encode()
        for _ in range(1000)
    ]
    for n in range(count):
        yield f"2026/{n % 400:03d}/image_{n:09d}", texts[n % 1000]


def documents(count: int) -> Iterator[Document]:
    for name, body in bodies(count):
        yield Document(f".lightly/metadata/{name}.json", f"{name}.png", json.loads(body))


def measure(count: int, *, as_written: bool) -> dict[str, float]:
    from metaferry.lightly.schema import Entry, ValueType
    from metaferry.planning.database import open_database
    from metaferry.planning.listings import Listings
    from metaferry.view.export import rows
    from metaferry.view.export.files import write_parquet
    from metaferry.view.export.values import load_as_written, load_values

    entries = [
        *(Entry(name, name, 0.0, ValueType.NUMERIC_FLOAT) for name in NUMBERS),
        *(Entry(name, name, "undefined", ValueType.CATEGORICAL_STRING) for name in TEXTS),
        *(Entry(name, name, False, ValueType.CATEGORICAL_BOOLEAN) for name in TRUTHS),
    ]
    marks = [time.perf_counter()]
    for _ in documents(min(count, PARSED)):
        pass
    marks.append(time.perf_counter())
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(memory_limit="384MB", scratch=folder) as database,
    ):
        Listings(database)  # the table of the media, empty
        made = documents(count)
        values = load_as_written(database, made) if as_written else load_values(database, made, entries)
        marks.append(time.perf_counter())
        out = Path(folder) / "x.parquet"
        batches = rows.batches(database, values, as_written=as_written)
        write_parquet(out, rows.schema_of(values), batches, {})
        marks.append(time.perf_counter())
        octets = out.stat().st_size
    parse, load, write = (round(b - a, 3) for a, b in itertools.pairwise(marks))
    return {
        "documents": count,
        "as_written": as_written,
        "parse_us": round(parse / min(count, PARSED) * 1e6, 1),
        "load_s": load,
        "write_s": write,
        "documents_s": round(count / (load + write)),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "file_mb": round(octets / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("documents", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--one", choices=["shown", "as-written"], help=argparse.SUPPRESS)
    asked, kept = record.begin(parser, documents=[2_000])
    if asked.one:
        print(json.dumps(measure(asked.documents[0], as_written=asked.one == "as-written")))
        return
    print(
        f"{'documents':>12} {'table':>10} {'parse':>9} {'load':>8} {'write':>8} {'a second':>10} "
        f"{'peak':>8} {'file':>8}"
    )
    figures = []
    for count in asked.documents:
        for form in ("shown", "as-written"):
            command = [sys.executable, "-m", "benchmarks.view_export", str(count), "--one", form]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            figures.append(found)
            print(
                f"{count:>12,} {form:>10} {found['parse_us']:>6.1f} µs {found['load_s']:>6.1f} s "
                f"{found['write_s']:>6.1f} s {found['documents_s']:>10,} {found['peak_mb']:>5} MB "
                f"{found['file_mb']:>5} MB",
                flush=True,
            )
    kept.write(figures)


if __name__ == "__main__":
    main()
