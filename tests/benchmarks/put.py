"""How fast documents are put: `metaferry sync` as a whole, against s5cmd, rclone and a bare loop.

    python -m benchmarks.put [--documents N] [--rounds N] [--only NAME] [--large] [--without-peers]
        [--json PATH]

All write the same bytes to one local server, in turn, in one sitting. metaferry starts from a Parquet
table and a bucket of media: its seconds hold start-up, listing, joining, planning, conditional puts,
ledger and report. s5cmd and rclone find the documents as ready files; "bare" is metaferry's HTTP client
in threads, the bytes in memory, nothing but the loop counted: once with the shortest requests there
are, once with those that metaferry makes (create only, content type, SHA-256). Three settings: `fast`
is a server in memory (`tests/servers/s3.py`) that is not the limit; `delay` the same with 30 ms added to
each answer; `seaweedfs` a real object store. `--large` adds the peak memory at 50,000 and at 500,000.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import peers, record
from benchmarks.peers import PREFIX, Measured, Target
from servers.ministack import S3Server
from servers.s3 import FastS3, fast_s3
from servers.seaweedfs import seaweedfs

DELAY_MS: Final = 30
#: How many times faster ours was: (theirs, ours).
RATIOS: Final = {
    "metaferry / s5cmd": ("s5cmd cp", "metaferry sync"),
    "metaferry / rclone": ("rclone copy", "metaferry sync"),
    "apply / bare": ("bare client", "  its apply step"),
    "apply / bare, same puts": ("bare, same puts", "  its apply step"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One server, and how many requests each contender keeps under way: what suits it best there."""

    name: str
    server: str
    share: float  # of the documents
    metaferry: dict[str, Any]  # over the job file's defaults
    s5cmd: int
    rclone: int
    bare: int

    def asked(self, contender: str) -> str:
        match contender:
            case "metaferry sync":
                return ", ".join(f"{name} {value}" for name, value in self.metaferry.items()) or "as it comes"
            case "s5cmd cp":
                return f"--numworkers {self.s5cmd}"
            case "rclone copy":
                return f"--transfers {self.rclone}"
            case _:
                return f"{self.bare} threads"


SETTINGS: Final = (
    Setting("fast", "uvloop server in memory", 1.0, {}, 64, 64, 32),
    Setting("delay", f"the same, {DELAY_MS} ms an answer", 1.0, {"concurrency": 256}, 256, 256, 256),
    Setting("seaweedfs", "SeaweedFS", 0.4, {}, 64, 64, 32),
)


@contextlib.contextmanager
def serving(setting: Setting) -> Iterator[FastS3 | S3Server]:
    if setting.name == "seaweedfs":
        with seaweedfs() as real:
            yield real
    else:
        with fast_s3() as ours:
            ours.set(log=False, latency_ms=DELAY_MS if setting.name == "delay" else 0)
            yield ours


def measure(
    setting: Setting, count: int, rounds: int, with_peers: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Everything about one setting, by contender."""
    runs: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-put-") as temporary, serving(setting) as server:
        folder = Path(temporary)
        files = folder / "files"
        target = Target(server.endpoint, server.key, server.secret)
        where = (target.endpoint, target.key, target.secret)
        peers.step("make_table", folder / "table.parquet", count)
        about = make_files(folder, files, count)
        media = server.new_bucket()
        if isinstance(server, FastS3):
            peers.step("seed", target.endpoint, media, count)
        else:
            peers.step("upload_media", *where, media, count)

        def contend(name: str, command: Callable[[str], list[str]]) -> Measured:
            """One run into a bucket of its own, looked at afterwards."""
            bucket = server.new_bucket()
            measured = peers.run(command(bucket), target.environment)
            if name.startswith("bare"):
                said = json.loads(measured.out)
                measured = Measured(said["seconds"], said["cpu"], said["peak"], "")
            there = peers.step("count_objects", *where, bucket)
            if there != about["files"]:
                raise SystemExit(f"{name}: {there} documents are there, not {about['files']}")
            runs.setdefault(name, []).append(measured)
            say(f"  {name}: {measured.seconds:.1f} s")
            return measured

        for _ in range(rounds):
            whole = contend(
                "metaferry sync",
                lambda bucket: peers.metaferry(
                    peers.write_job(folder, target, media, bucket, **setting.metaferry)
                ),
            )
            apply = json.loads(whole.out)["seconds"]["apply"]
            runs.setdefault("  its apply step", []).append(Measured(apply, 0.0, 0, ""))
            if with_peers:
                contend(
                    "s5cmd cp",
                    lambda bucket: peers.s5cmd(
                        target, "cp", f"{files}/{PREFIX}", f"s3://{bucket}/{PREFIX}", workers=setting.s5cmd
                    ),
                )
                contend(
                    "rclone copy",
                    lambda bucket: peers.rclone(
                        target, "copy", "--no-traverse", "--no-check-dest", str(files), f":s3:{bucket}",
                        transfers=setting.rclone,
                    ),
                )  # fmt: skip
            for name, same in (("bare client", ""), ("bare, same puts", "same")):
                contend(
                    name,
                    lambda bucket, same=same: [
                        sys.executable, "-m", "benchmarks.peers",
                        "bare", *where, bucket, str(files), str(setting.bare), same,
                    ],
                )  # fmt: skip
    return {
        "setting": setting.name,
        "server": setting.server,
        "documents": count,
        "bytes": about["bytes"],
        "contenders": {
            name: {"asked": setting.asked(name), **_figures(peers.median(each), count)}
            for name, each in runs.items()
        },
        "ratios": {
            name: _ratios(runs[theirs], runs[ours])
            for name, (theirs, ours) in RATIOS.items()
            if theirs in runs
        },
    }


def make_files(folder: Path, files: Path, count: int) -> dict[str, float]:
    """The ready files for the peers: what metaferry itself wrote, to a server that is then gone."""
    with fast_s3() as server:
        target = Target(server.endpoint, server.key, server.secret)
        media, documents = server.new_bucket(), server.new_bucket()
        peers.step("seed", server.endpoint, media, count)
        peers.run(peers.metaferry(peers.write_job(folder, target, media, documents)), target.environment)
        about: dict[str, float] = peers.step("keep_files", server.endpoint, documents, files)
        return about


def large(counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Peak memory of a whole sync, by number of documents."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="bench-put-") as temporary, fast_s3() as server:
            server.set(log=False)
            folder, target = Path(temporary), Target(server.endpoint, server.key, server.secret)
            peers.step("make_table", folder / "table.parquet", count)
            media, documents = server.new_bucket(), server.new_bucket()
            peers.step("seed", server.endpoint, media, count)
            measured = peers.run(
                peers.metaferry(peers.write_job(folder, target, media, documents)), target.environment
            )
            found.append({"documents": count, **_figures(measured, count)})
    return found


def _figures(measured: Measured, count: int) -> dict[str, float]:
    figures = asdict(measured)
    del figures["out"]
    return figures | {"rate": count / measured.seconds, "cpu_per_1000": measured.cpu / count * 1000}


def _ratios(slower: list[Measured], ours: list[Measured]) -> list[float]:
    """How many times faster ours was, round by round."""
    return [theirs.seconds / each.seconds for theirs, each in zip(slower, ours, strict=True)]


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['server']}: {result['documents']:,} documents of {result['bytes']:.0f} bytes")
    print(f"{'':<18}{'objects/s':>10}{'seconds':>9}{'CPU s/1,000':>13}{'peak MiB':>10}  asked for")
    for name, each in result["contenders"].items():
        line = f"{name:<18}{each['rate']:>10,.0f}{each['seconds']:>9.1f}"
        if each["cpu"]:
            line += f"{each['cpu_per_1000']:>13.2f}{each['peak']:>10,}  {each['asked']}"
        print(line)
    for name, ratios in result["ratios"].items():
        print(f"{name}: {peers.spread(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=[each.name for each in SETTINGS], action="append")
    parser.add_argument("--large", action="store_true", help="memory at 50,000 and 500,000 (minutes)")
    parser.add_argument("--without-peers", action="store_true", help="metaferry and the bare loop alone")
    asked, found = record.begin(parser, documents=40, rounds=1)
    if not asked.without_peers:
        peers.programs()  # or nothing is begun

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    results = []
    for setting in SETTINGS:
        if asked.only is None or setting.name in asked.only:
            say(f"bench-put: {setting.server}, {asked.rounds} rounds")
            count = max(1, int(asked.documents * setting.share))
            results.append(measure(setting, count, asked.rounds, not asked.without_peers, say))
            show(results[-1])
    memory = large((100,) if asked.tiny else (50_000, 500_000)) if asked.large else []
    for each in memory:
        print(f"metaferry sync of {each['documents']:,}: {each['seconds']:.1f} s, peak {each['peak']:,} MiB")
    found.write({"settings": results, "memory": memory})


if __name__ == "__main__":
    main()
