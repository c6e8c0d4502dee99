"""What a benchmark found, kept as JSON beside the text that it prints: figures, machine and commit.

Figures of two machines, or of two commits, are only compared by somebody who knows that they are two. The
commit and the state of the tree are read when the benchmark begins: they may be others when it ends.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
FOLDER: Final = REPOSITORY / ".cache/bench"


@dataclass(frozen=True, slots=True)
class Record:
    """A benchmark that has begun; `write` ends it."""

    path: Path
    about: dict[str, Any]

    def write(self, figures: Any) -> None:
        """Writes the file, and says on stderr where it is. `figures` is anything that JSON can hold."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.about | {"figures": figures}, indent=2) + "\n")
        print(f"bench: figures, machine and commit are in {self.path}", file=sys.stderr, flush=True)


def begin(parser: argparse.ArgumentParser, **tiny: Any) -> tuple[argparse.Namespace, Record]:
    """Reads the command line, with `--json` and `--tiny` added to the benchmark's own arguments.

    `tiny` are the arguments as they are under `--tiny`, a size at which a benchmark only shows that it runs.
    """
    name = Path(sys.argv[0]).stem
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"default: .cache/bench/{name}.json")
    parser.add_argument("--tiny", action="store_true", help="only shows that it runs; into .cache/bench/tiny")
    asked = parser.parse_args()
    if asked.tiny:
        vars(asked).update(tiny)
    path = asked.json or (FOLDER / "tiny" if asked.tiny else FOLDER) / f"{name}.json"
    about = {
        "benchmark": name,
        "arguments": sys.argv[1:],
        "begun": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(),
    }
    return asked, Record(path.resolve(), about)


def machine() -> dict[str, Any]:
    """What the figures depend on; `cores` are those that this process may use, `memory` is in bytes."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "os": platform.platform(),
    }


def _cpu_model() -> str:
    """As Linux names it; the architecture where it names none (ARM, other systems)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def commit(repository: Path = REPOSITORY) -> dict[str, Any] | None:
    """The commit, and whether files differ from it; None where this is no checkout, or git is missing."""
    try:
        head = _git(repository, "rev-parse", "HEAD")
        return {"id": head.strip(), "dirty": bool(_git(repository, "status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
