"""What it costs to find out that nothing changed: `metaferry sync` against rclone and s5cmd.

    python -m benchmarks.noop [--documents N] [--rounds N] [--without-peers] [--json PATH]

A bucket of N media and their N documents, all of it in place. metaferry reads its table, lists media
and documents, and plans; `rclone sync --checksum` and `s5cmd sync` compare the bucket with ready files
on disk. Start-up is included. In turn, in one sitting, to one server in memory that counts what it is
asked; a contender that writes anything is a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import PREFIX, Measured, Target
from servers.s3 import fast_s3

#: Writes that are no document: the report of the run.
_STATE: Final = ".metaferry/"


def measure(count: int, rounds: int, with_peers: bool) -> dict[str, Any]:
    """Seconds, CPU, peak and requests by contender."""
    runs: dict[str, list[Measured]] = {}
    requests: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-noop-") as temporary, fast_s3() as server:
        folder = Path(temporary)
        files, target = folder / "files", Target(server.endpoint, server.key, server.secret)
        peers.step("make_table", folder / "table.parquet", count)
        media, documents = server.new_bucket(), server.new_bucket()
        peers.step("seed", server.endpoint, media, count)
        job = peers.write_job(folder, target, media, documents)
        peers.run(peers.metaferry(job), target.environment)
        about = peers.step("keep_files", server.endpoint, documents, files)
        tree = f"{files}/{PREFIX}.lightly/"
        there = f"{documents}/{PREFIX}.lightly/"
        contenders = {"metaferry sync": peers.metaferry(job)}
        if with_peers:
            contenders["rclone sync"] = peers.rclone(
                target, "sync", "--checksum", "--fast-list", tree, f":s3:{there}", transfers=64
            )
            contenders["s5cmd sync"] = peers.s5cmd(target, "sync", tree, f"s3://{there}", workers=64)
        for _ in range(rounds):
            for name, command in contenders.items():
                server.clear()
                measured = peers.run(command, target.environment)
                asked = {
                    operation: number
                    for operation, number in server.state()["counts"].items()
                    if operation != "Other"
                }
                written = [key for _, _, key, _, _ in server.log("PUT|POST|DELETE") if _STATE not in key]
                if written:
                    raise SystemExit(f"{name} wrote {len(written)} objects, such as {written[0]}")
                runs.setdefault(name, []).append(measured)
                requests[name] = asked
                print(f"  {name}: {measured.seconds:.2f} s", file=sys.stderr, flush=True)
    return {
        "documents": count,
        "files": about["files"],
        "contenders": {
            name: {
                "seconds": peers.median(each).seconds,
                "cpu": peers.median(each).cpu,
                "peak": peers.median(each).peak,
                "requests": requests[name],
            }
            for name, each in runs.items()
        },
        "ratios": {
            name: [
                theirs.seconds / ours.seconds
                for theirs, ours in zip(each, runs["metaferry sync"], strict=True)
            ]
            for name, each in runs.items()
            if name != "metaferry sync"
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true", help="metaferry alone")
    asked, found = record.begin(parser, documents=40, rounds=1)
    if not asked.without_peers:
        peers.programs()  # or nothing is begun
    result = measure(asked.documents, asked.rounds, not asked.without_peers)
    print(f"nothing changed at {result['documents']:,} documents; uvloop server in memory")
    print(f"{'':<16}{'seconds':>9}{'CPU s':>8}{'peak MiB':>10}  requests")
    for name, each in result["contenders"].items():
        said = ", ".join(f"{number:,} {operation}" for operation, number in sorted(each["requests"].items()))
        print(f"{name:<16}{each['seconds']:>9.2f}{each['cpu']:>8.2f}{each['peak']:>10,}  {said}")
    for name, ratios in result["ratios"].items():
        print(f"{name.split()[0]} / metaferry, seconds: {peers.spread(ratios)}")
    found.write(result)


if __name__ == "__main__":
    main()
