"""How a plan that is kept is applied: by one process and by two, against one local S3 server.

    python -m benchmarks.scale [--documents N] [--rounds N] [--json PATH]

Each run is a whole `metaferry sync --plan` into a bucket of its own, from the start of the process to
its end: `workers: 1` writes every shard itself, `workers: 2` has two processes of its own write them.
Two clients: libcurl (what is used where it can be), and s3fs on an event loop, which one core keeps busy
(`transport: fsspec`). The server is in memory and answers after 10 ms, as a near store
does; it takes its part of the same cores, so the speed-up of two is below what two machines have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import Measured, Target
from servers.s3 import FastS3, fast_s3

DELAY_MS: Final = 10
WORKERS: Final = (1, 2)
#: Opening a shard costs a worker about a second; they are meant to last minutes.
SHARDS: Final = 4
#: What each client is asked for: one event loop is busy with fewer requests than many threads are.
CLIENTS: Final[dict[str, dict[str, Any]]] = {
    "libcurl": {"concurrency": 64},
    "s3fs": {"transport": "fsspec", "concurrency": 64},
}


def measure(server: FastS3, client: str, count: int, rounds: int) -> dict[str, Any]:
    """Objects a second by number of processes, and the speed-up of two, each round by itself."""
    runs: dict[int, list[Measured]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as temporary:
        folder = Path(temporary)
        target = Target(server.endpoint, server.key, server.secret)
        peers.step("make_table", folder / "table.parquet", count)
        media = server.new_bucket()
        peers.step("seed", target.endpoint, media, count)
        for number in range(rounds):
            for workers in WORKERS:
                documents = server.new_bucket()
                job = peers.write_job(folder, target, media, documents, workers=workers, **CLIENTS[client])
                plan = folder / f"plan-{number}-{workers}"
                command = peers.metaferry(job)
                server.set(latency_ms=0)
                peers.run(
                    [*_with(command, "plan"), "--out", str(plan), "--shards", str(SHARDS)], target.environment
                )
                server.set(latency_ms=DELAY_MS)
                measured = peers.run([*command, "--plan", str(plan)], target.environment)
                written = json.loads(measured.out)["documents"]["create"]
                if (
                    written != server.count(documents, f"{peers.PREFIX}.lightly/metadata/") - 1
                    or written < count
                ):
                    raise SystemExit(f"{written:,} of {count:,} documents are there")
                runs[workers].append(measured)
                print(f"  {client}, {workers} process(es): {measured.seconds:.1f} s", file=sys.stderr)
    rates = {
        workers: statistics.median(count / run.seconds for run in each) for workers, each in runs.items()
    }
    return {
        "client": client,
        "documents": count,
        "objects_per_second": rates,
        "cpu_seconds": {w: statistics.median(run.cpu for run in each) for w, each in runs.items()},
        "speed_up": [one.seconds / two.seconds for one, two in zip(runs[1], runs[2], strict=True)],
    }


def _with(command: list[str], verb: str) -> list[str]:
    return [verb if word == "sync" else word for word in command]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked, found = record.begin(parser, documents=40, rounds=1)
    with fast_s3() as server:
        server.set(log=False)
        results = [measure(server, client, asked.documents, asked.rounds) for client in CLIENTS]
    print(f"apply of {asked.documents:,} documents, {DELAY_MS} ms an answer; whole runs of `sync --plan`")
    print(f"{'client':<10}{'1 process':>12}{'2 processes':>13}   speed-up")
    for each in results:
        one, two = (each["objects_per_second"][workers] for workers in WORKERS)
        print(f"{each['client']:<10}{one:>10,.0f}/s{two:>11,.0f}/s   {peers.spread(each['speed_up'])}")
    found.write({"delay_ms": DELAY_MS, "apply": results})


if __name__ == "__main__":
    main()
