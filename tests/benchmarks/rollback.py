"""A run over many documents that is taken back: seconds, CPU, peak, requests; also killed and repeated.

    python -m benchmarks.rollback [--documents N] [--json PATH]

One server in memory on the same cores. A first run writes N documents. The run that is taken back, with
`backup`, replaces all but a hundredth of them, deletes as many as that and creates as many: once beside the
same run without `backup`. Then the rollback as a plan, the rollback, the rollback killed by SIGKILL when half
of its documents are written, and the one that follows it. After each whole one, all documents and schema.json
are compared, byte by byte, with those of the first run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import PREFIX, Measured, Target
from servers.s3 import FastS3, fast_s3

_TREE: Final = f"{PREFIX}.lightly/metadata/"
_BACKUP: Final = {"backup": {"keep": "30d"}, "policy": {"delete": "orphans", "max_delete": "100%"}}
#: Seconds for the half of a rollback that is killed.
_PATIENCE: Final = 3600.0


def measure(server: FastS3, count: int) -> dict[str, Any]:
    """The figures by phase."""
    phases: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-rollback-") as temporary:
        folder = Path(temporary)
        target = Target(server.endpoint, server.key, server.secret)
        media = server.new_bucket()
        moved = max(1, count // 100)
        peers.step("seed", target.endpoint, media, count + moved)
        peers.step("make_table", folder / "table.parquet", count)
        documents = server.new_bucket()
        plain = peers.write_job(folder, target, media, documents)
        _measured(phases, "first run", server, peers.metaferry(plain), target)
        before = _digest(server, documents)

        # Without `backup`, into a tree of its own, for comparison.
        other = server.new_bucket()
        peers.run(peers.metaferry(peers.write_job(folder, target, media, other)), target.environment)
        peers.step("make_table", folder / "table.parquet", count, moved, 1)
        alone = peers.write_job(folder, target, media, other, policy=_BACKUP["policy"])
        _measured(phases, "changed run without backup", server, peers.metaferry(alone), target)

        job = peers.write_job(folder, target, media, documents, **_BACKUP)
        ran = _measured(phases, "changed run", server, peers.metaferry(job), target)
        report = json.loads(ran.out)
        found = {name: report["documents"][name] for name in ("create", "update", "delete")}
        if found != {"create": moved, "update": count - moved, "delete": moved}:
            raise SystemExit(f"the changed run did something else: {found}")
        changed = _digest(server, documents)
        back = [word if word != "sync" else "rollback" for word in peers.metaferry(job)]
        back += ["--run", report["run_id"]]
        _measured(phases, "rollback, plan", server, back, target)
        _measured(phases, "rollback", server, [*back, "--apply"], target)
        _require(_digest(server, documents) == before, "the rollback did not bring all back")

        again = json.loads(peers.run(peers.metaferry(job), target.environment).out)
        _require(_digest(server, documents) == changed, "the repeated run wrote something else")
        back[-1] = again["run_id"]
        phases["rollback, killed"] = _killed(server, [*back, "--apply"], target, count // 2)
        _require(_digest(server, documents) != before, "it was killed too late")
        _measured(phases, "rollback, again", server, [*back, "--apply"], target)
        _require(_digest(server, documents) == before, "the repeated rollback did not bring all back")
    return phases


def _measured(
    phases: dict[str, Any], name: str, server: FastS3, command: list[str], target: Target
) -> Measured:
    server.clear()
    ran = peers.run(command, target.environment)
    phases[name] = {
        "seconds": ran.seconds,
        "cpu": ran.cpu,
        "peak": ran.peak,
        "requests": _requests(server),
    }
    print(f"  {name}: {ran.seconds:.1f} s", file=sys.stderr, flush=True)
    return ran


def _requests(server: FastS3) -> dict[str, int]:
    counts: dict[str, int] = server.state()["counts"]
    return {operation: number for operation, number in counts.items() if operation != "Other"}


def _killed(server: FastS3, command: list[str], target: Target, puts: int) -> dict[str, Any]:
    """Killed once so many documents were put."""
    server.clear()
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=target.environment
    )
    descriptor = os.pidfd_open(process.pid)
    try:
        while (written := _requests(server).get("PutObject", 0)) < puts:
            if process.poll() is not None or time.perf_counter() - start > _PATIENCE:
                raise SystemExit(f"the rollback ended after {written} puts, before it was killed")
            select.select([descriptor], [], [], 0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        os.close(descriptor)
        process.kill()
    return {"seconds": time.perf_counter() - start, "requests": _requests(server)}


def _digest(server: FastS3, bucket: str) -> str:
    """Of all documents and of schema.json."""
    found = hashlib.sha256()
    for key, data in sorted(server.objects(bucket, _TREE).items()):
        found.update(f"{key} {len(data)}\n".encode() + data)
    return found.hexdigest()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--documents", type=int, default=50_000)
    asked, found = record.begin(parser, documents=400)
    with fast_s3() as server:
        server.set(log=False)
        phases = measure(server, asked.documents)
    print(f"{asked.documents:,} documents")
    print(f"{'':<28}{'seconds':>9}{'CPU':>8}{'MiB':>7}   requests")
    for name, each in phases.items():
        requests = ", ".join(f"{number:,} {kind}" for kind, number in sorted(each["requests"].items()))
        cpu, peak = (f"{each[key]:.0f}" if key in each else "" for key in ("cpu", "peak"))
        print(f"{name:<28}{each['seconds']:>9.1f}{cpu:>8}{peak:>7}   {requests}")
    found.write(phases)


if __name__ == "__main__":
    main()
