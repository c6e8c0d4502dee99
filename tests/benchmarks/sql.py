"""How fast a query to PostgreSQL is read: N rows into the engine, against the bare driver.

    python -m benchmarks.sql [--rows N] [--rounds N] [--json PATH]

A server of this machine, or of the wheel, is started for it, so rows come over loopback or a socket. `bare`
is ADBC alone, whose batches are let go; `reader` is what our reader gives, batches let go too; `load` is
what a run does: rows into the engine, with its memory limit, and records made of them. Each is measured in
a process of its own, in turn, so that the peak memory is that one's, and the best of the rounds is shown.
Prints a line each: rows a second, peak memory, and the share of the bare driver's rate.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import record
from servers.postgres import postgres

ROWS: Final = 5_000_000
QUERY: Final = "SELECT file_name, objects, speed, night, scene FROM labels"
_TABLE: Final = """
    CREATE UNLOGGED TABLE labels AS
    SELECT '2026/' || lpad((n % 400)::text, 3, '0') || '/image_' || lpad(n::text, 9, '0') || '.png'
            AS file_name,
        n % 37 AS objects, (n % 1000) / 7.0::double precision AS speed, n % 5 = 0 AS night,
        (ARRAY['city', 'highway', 'tunnel'])[n % 3 + 1] AS scene
    FROM generate_series(1, {}) n"""


def bare(uri: str) -> int:
    """Rows that the driver gives."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        return sum(batch.num_rows for batch in cursor.fetch_record_batch())


@contextlib.contextmanager
def _loading(uri: str) -> Iterator[tuple[Any, Any, Any]]:
    """The job of one source, its storages, and the engine."""
    from metaferry.job.model import Job
    from metaferry.planning.database import open_database
    from metaferry.runs.storages import Storages
    from metaferry.storage.io.portal import Portal

    with tempfile.TemporaryDirectory() as folder:
        job = Job.from_mapping({"input": folder, "sources": [{"sql": {"uri": uri, "query": QUERY}}]})
        with (
            Portal() as portal,
            contextlib.closing(Storages(job, portal)) as storages,
            open_database(memory_limit=job.memory_limit, scratch=None) as database,
        ):
            yield job, storages, database


def reader(uri: str) -> int:
    """Rows that our reader gives."""
    from metaferry.tables.readers.contract import Given
    from metaferry.tables.readers.sql.reader import SqlReader

    with _loading(uri) as (job, _, _):
        opened = SqlReader().open(Given(job.sources[0].sql, (), "sources[0].sql"))
        rejects: list[object] = []
        rows = sum(
            len(one.places) for one in opened.read({"rows": None}, lambda *why, **_: rejects.append(why))
        )
        assert not rejects
        return rows


def load(uri: str) -> int:
    """Rows that a run reads into the engine, and makes records of."""
    from metaferry.progress import Silent
    from metaferry.runs.gather import load_sources

    with _loading(uri) as (job, storages, database):
        (source,) = load_sources(job, database, storages, storages.portal, Silent()).sources
        assert source.malformed == 0
        return int(source.read)


KINDS: Final[dict[str, Callable[[str], int]]] = {"bare": bare, "reader": reader, "load": load}


def _measured(kind: str, uri: str) -> dict[str, float]:
    """Rows a second and the peak memory of a process that does nothing else, imports left out of the time."""
    command = [sys.executable, "-m", "benchmarks.sql", "--step", kind, "--uri", uri]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _step(kind: str, uri: str) -> None:
    import duckdb  # noqa: F401

    import metaferry.runs.gather
    import metaferry.tables.load_all  # noqa: F401

    started = time.perf_counter()
    rows = KINDS[kind](uri)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "rows_per_second": rows / seconds, "peak_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", choices=sorted(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    if "--step" in sys.argv:
        asked = parser.parse_args()
        _step(asked.step, asked.uri)
        return
    asked, kept = record.begin(parser, rows=5_000, rounds=1)
    best: dict[str, dict[str, float]] = {}
    with postgres() as server:
        uri = server.new_database(_TABLE.format(asked.rows), "ANALYZE labels")
        for _ in range(asked.rounds):
            for kind in KINDS:
                found = _measured(kind, uri)
                assert found["rows"] == asked.rows, found
                known = best.setdefault(kind, found)
                if found["rows_per_second"] > known["rows_per_second"]:
                    best[kind] = found
    for kind, found in best.items():
        found["share"] = found["rows_per_second"] / best["bare"]["rows_per_second"]
        print(
            f"{kind:8} {found['rows_per_second']:>12,.0f} rows/s  peak {found['peak_mib']:6,.0f} MiB  "
            f"{found['share']:.2f} of the bare driver"
        )
    kept.write({"rows": asked.rows, **best})


if __name__ == "__main__":
    main()
