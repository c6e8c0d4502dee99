"""How long the page of a report takes to be made, in how much memory, and how large it is.

    python -m benchmarks.view_report [DOCUMENTS ...] [--memory-limit SIZE] [--json PATH]

Over a table of documents that is there already, as `report` and a sync with `report: {html: true}` have it:
ten schema entries, images and frames. Each size runs in a process of its own, so that the peak memory is that
run's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import Final

from benchmarks import record

#: The `memory_limit` of a job that names none.
LIMIT: Final = "384MB"
SIZES: Final = (1_000_000, 10_000_000)


def measure(count: int, memory_limit: str) -> dict[str, float]:
    from browser.driving import COLUMNS, fill_driving
    from metaferry.planning.database import open_database
    from metaferry.view.report.build import build_page
    from metaferry.view.report.facts import About

    about = About("s3://fleet/", "2026-11-28T05:40:00+00:00", "made up")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_database(memory_limit=memory_limit, scratch=folder) as database,
    ):
        table = fill_driving(database, count)
        begun = time.perf_counter()
        page = build_page(database, table, COLUMNS, about)
        seconds = time.perf_counter() - begun
    return {
        "documents": count,
        "seconds": round(seconds, 3),
        "documents_s": round(count / seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "page_bytes": len(page.html.encode()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("documents", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--memory-limit", default=LIMIT, help="of the planning engine (default: %(default)s)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked, kept = record.begin(parser, documents=[2_000])
    if asked.one:
        print(json.dumps(measure(asked.documents[0], asked.memory_limit)))
        return
    print(f"{'documents':>12} {'seconds':>9} {'a second':>10} {'peak':>8} {'page':>12}")
    figures = []
    for count in asked.documents:
        command = [sys.executable, "-m", "benchmarks.view_report", str(count), "--one"]
        command += ["--memory-limit", asked.memory_limit]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        figures.append(found)
        print(
            f"{count:>12,} {found['seconds']:>7.1f} s {found['documents_s']:>10,} {found['peak_mb']:>5} MB "
            f"{found['page_bytes']:>10,} B",
            flush=True,
        )
    kept.write(figures)


if __name__ == "__main__":
    main()
