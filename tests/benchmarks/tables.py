"""How fast tables are read, by kind, against DuckDB's own reader: N rows of each into the engine.

    python -m benchmarks.tables [KIND ...] [--rows N] [--json PATH]

Ours are read through the storage contract, with types found over all rows and every faulty row named;
DuckDB opens the file itself, with the same threads and memory limit. Each measurement runs in a process
of its own, so that the peak memory is that one's. Prints a line a kind: rows and megabytes a second, peak
memory of the process, and the share of DuckDB's rate.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import record

ROWS: Final = 5_000_000
#: What every table holds; `n` is the number of the row.
_FLAT: Final = """
    printf('2026/%03d/image_%09d.png', n % 400, n) AS file_name, n % 37 AS objects, n % 1000 / 7 AS speed,
    n % 5 = 0 AS night, ['city', 'highway', 'tunnel'][n % 3 + 1] AS scene"""
_NESTED: Final = f"""{_FLAT},
    {{'description': ['clear', 'rain', 'snow'][n % 7 % 3 + 1], 'temperature': n % 400 / 10 - 10}} AS weather,
    'written by the annotation tool, version ' || n % 9 AS note"""
_WIDE: Final = f"{_FLAT}, ['clear', 'rain', 'snow'][n % 7 % 3 + 1] AS sky, n % 400 / 10 - 10 AS temperature"
_EUROPEAN: Final = _WIDE.replace("n % 1000 / 7", "replace((n % 1000 / 7)::VARCHAR, '.', ',')").replace(
    "n % 400 / 10 - 10", "replace((n % 400 / 10 - 10)::VARCHAR, '.', ',')"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A table: how DuckDB writes it (SQL of the rows, options of COPY) and reads it, and our source of it."""

    path: str
    rows: str
    copy: str
    read: str
    source: dict[str, Any] = field(default_factory=dict)
    glob: str = ""
    before: str = ""
    columns: str = "*"  # what DuckDB selects of it
    query: str = ""  # over `boxes`, which is the table, and `scenes`


#: A new kind of source is one entry more.
KINDS: Final[dict[str, Kind]] = {
    "csv": Kind("t.csv", _WIDE, "FORMAT csv", "read_csv('{}')"),
    "csv with options": Kind(
        "t.csv",
        _EUROPEAN,
        "FORMAT csv, DELIMITER ';'",
        "read_csv('{}', delim = ';', decimal_separator = ',', skip = 2, header = true)",
        {"delimiter": ";", "decimal": ",", "skip": {"before": 2}, "trim": True},
        before="made by the annotation tool\n\n",
        # Its reader takes blanks off numbers, and off no text.
        columns="* REPLACE (trim(file_name) AS file_name, trim(scene) AS scene, trim(sky) AS sky)",
    ),
    "jsonl": Kind("t.jsonl", _NESTED, "FORMAT json", "read_json('{}', format = 'newline_delimited')"),
    "json array": Kind("t.json", _NESTED, "FORMAT json, ARRAY true", "read_json('{}', format = 'array')"),
    "parquet": Kind("t.parquet", _NESTED, "FORMAT parquet", "read_parquet('{}')"),
    "hive folders": Kind(
        "hive",
        f"{_NESTED}, 'day-' || n % 8 AS day",
        "FORMAT parquet, PARTITION_BY (day)",
        "read_parquet('{}', hive_partitioning = true)",
        glob="hive/**/*.parquet",
    ),
    "query": Kind(
        "boxes.parquet",
        f"{_NESTED.replace('%09d', '%08d').replace('n % 400, n)', 'n // 10 % 400, n // 10)')}, "
        "n % 1000 AS scene_id",
        "FORMAT parquet",
        "read_parquet('{}')",
        query="SELECT file_name, count(*) AS objects, max(speed) AS fastest, min(s.place) AS place "
        "FROM boxes JOIN scenes s USING (scene_id) GROUP BY file_name",
    ),
}


def make(kind: Kind, folder: Path, rows: int) -> None:
    import duckdb

    path = folder / kind.path
    with contextlib.closing(duckdb.connect()) as con:
        con.execute("SET preserve_insertion_order = false")
        con.execute(f"COPY (SELECT {kind.rows} FROM range({rows}) r(n)) TO '{path}' ({kind.copy})")
        if kind.query:
            scenes = "SELECT n AS scene_id, 'place ' || n % 50 AS place FROM range(1000) r(n)"
            con.execute(f"COPY ({scenes}) TO '{folder / 'scenes.csv'}' (FORMAT csv)")
    if kind.before:
        whole = path.with_suffix(".whole")
        with whole.open("wb") as file, path.open("rb") as rest:
            file.write(kind.before.encode())
            while block := rest.read(1 << 24):
                file.write(block)
        whole.replace(path)


def ours(kind: Kind, folder: Path) -> int:
    """Rows read into the engine by the code of a run."""
    from metaferry.job.model import Job
    from metaferry.planning.database import open_database
    from metaferry.progress import Silent
    from metaferry.runs.gather import load_sources
    from metaferry.runs.storages import Storages
    from metaferry.storage.io.portal import Portal

    table = str(folder / (kind.glob or kind.path))
    job = Job.from_mapping({"input": str(folder), **_relations(kind, folder, table)})
    with (
        Portal() as portal,
        contextlib.closing(Storages(job, portal)) as storages,
        open_database(memory_limit=job.memory_limit, scratch=None) as database,
    ):
        (source,) = load_sources(job, database, storages, portal, Silent()).sources
        assert source.malformed == 0
        return source.read


def _relations(kind: Kind, folder: Path, table: str) -> dict[str, Any]:
    if not kind.query:
        return {"sources": [{**kind.source, "table": table}]}
    tables = {"boxes": table, "scenes": str(folder / "scenes.csv")}
    return {"tables": tables, "sources": [{"query": kind.query}]}


def duckdbs(kind: Kind, folder: Path) -> int:
    """Rows read by DuckDB's own reader into a table of a database on disk, as ours is."""
    import duckdb

    from metaferry.job.model import Job

    limit = Job.from_mapping({"input": str(folder), "sources": [{"table": "t.csv"}]}).memory_limit
    with contextlib.closing(duckdb.connect(folder / "peer.db")) as con:
        con.execute("SET preserve_insertion_order = false")
        con.execute(f"SET memory_limit = '{limit}'")
        con.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
        source = kind.read.format(folder / (kind.glob or kind.path))
        if kind.query:
            con.execute(f"CREATE VIEW boxes AS SELECT * FROM {source}")
            con.execute(f"CREATE VIEW scenes AS SELECT * FROM read_csv('{folder / 'scenes.csv'}')")
        rows_of = kind.query or f"SELECT {kind.columns} FROM {source}"
        con.execute(f"CREATE TABLE t AS {rows_of}").fetchall()
        ((rows,),) = con.execute("SELECT count(*) FROM t").fetchall()
        return int(rows)


#: Loaded before the clock starts. PyArrow imports pandas, where it is installed, with its first array.
_LOADED: Final = (
    "duckdb",
    "metaferry.runs.gather",
    "metaferry.tables.csv.stage",
    "metaferry.tables.json.lines",
    "pandas",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.json",
    "pyarrow.parquet",
)

READERS: Final[dict[str, Callable[[Kind, Path], int]]] = {"ours": ours, "duckdb": duckdbs}


def measure(kind: str, reader: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--measure", kind, reader, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_mib() -> int:
    """The most memory that this process had. What getrusage says counts its parent's at the fork, too."""
    try:
        status = Path("/proc/self/status").read_text()
    except FileNotFoundError:  # no Linux
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        kind, reader, folder = sys.argv[2:]
        for module in _LOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)  # which is no part of reading
        begun, cpu = time.perf_counter(), time.process_time()
        rows = READERS[reader](KINDS[kind], Path(folder))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        print(json.dumps({"rows": rows, "seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak_mib()}))
        return
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kinds", nargs="*", default=[], metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--rows", type=int, default=ROWS)
    asked, found = record.begin(parser, rows=2_000)
    results = []
    for name in asked.kinds or KINDS:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            make(KINDS[name], folder, asked.rows)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            both = {reader: measure(name, reader, folder) for reader in READERS}
        assert both["ours"]["rows"] == both["duckdb"]["rows"], both
        assert KINDS[name].query or both["ours"]["rows"] == asked.rows, both
        mine, theirs = both["ours"], both["duckdb"]
        share = theirs["seconds"] / mine["seconds"]
        of_cpu = theirs["cpu_seconds"] / mine["cpu_seconds"]
        results.append(
            {"kind": name, "bytes": size, **both, "share_of_duckdb": share, "share_by_cpu": of_cpu}
        )
        megabytes = size / 1e6 / mine["seconds"]
        print(
            f"{name:<17} {asked.rows / mine['seconds']:>9,.0f} rows/s, {megabytes:>5,.0f} MB/s, "
            f"peak {mine['peak_mib']:>5,} MiB; DuckDB {asked.rows / theirs['seconds']:>9,.0f} rows/s, "
            f"peak {theirs['peak_mib']:>5,} MiB: {share:.2f} of its rate ({of_cpu:.2f} by processor time)",
            flush=True,
        )
    found.write({"rows": asked.rows, "tables": results})


if __name__ == "__main__":
    main()
