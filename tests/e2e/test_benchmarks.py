"""Each benchmark runs at a tiny size, so that none of them rots, and leaves its figures as JSON.

The figures say nothing at that size, and none is looked at. `put` and `noop` compare with programs that
`make bench-put` fetches: where those are missing, they run without them.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers, record
from unit.media.synthetic import video

pytestmark = [pytest.mark.slow, pytest.mark.servers]

TESTS = Path(__file__).parents[1]
BENCHMARKS = [
    "apply_share",
    "frames",
    "media_facts",
    "noop",
    "plan_rows",
    "plan_scale",
    "put",
    "rollback",
    "scale",
    "sources",
    "sql",
    "stores",
    "tables",
    "threads",
    "time_join",
    "view_check",
    "view_export",
    "view_page",
    "view_report",
]
#: What the others start as a process, a step of theirs at a time.
STEPS = {"peers"}


def test_every_benchmark_is_run_here() -> None:
    programs = {path.stem for path in (TESTS / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert programs == {*BENCHMARKS, *STEPS}


def test_make_runs_every_benchmark() -> None:
    recipes = (TESTS.parent / "Makefile").read_text()
    loops = " ".join(re.findall(r"for name in ([a-z_ ]+); do .*", recipes)).split()
    assert {*loops, *re.findall(r"-m benchmarks\.(\w+)", recipes)} >= set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_runs_at_a_tiny_size_and_keeps_its_figures(name: str, tmp_path: Path) -> None:
    arguments = ["--json", str(tmp_path / "figures.json")]
    if name == "frames":
        arguments.append(str(_videos(tmp_path / "videos")))
    if name in ("noop", "put") and not peers.are_there():
        arguments.append("--without-peers")
    if name == "put":
        arguments.append("--large")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--tiny", *arguments],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert any(character.isdigit() for character in done.stdout)
    kept = json.loads((tmp_path / "figures.json").read_text())
    assert kept["benchmark"] == name
    assert kept["arguments"] == ["--tiny", *arguments]
    assert kept["machine"] == record.machine()
    assert kept["commit"] == record.commit()
    assert any(isinstance(number, float) and number > 0 for number in _leaves(kept["figures"]))
    assert None not in _leaves(kept["figures"]) or name == "frames"  # where there is no ffprobe


def test_the_machine_is_described() -> None:
    machine = record.machine()
    assert set(machine) == {"cpu", "cores", "memory", "python", "os"}
    assert all(machine.values())


def test_a_tree_that_differs_from_its_commit_is_dirty(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "begin")
    head = git("rev-parse", "HEAD").strip()
    assert record.commit(tmp_path) == {"id": head, "dirty": False}
    (tmp_path / "new.py").touch()
    assert record.commit(tmp_path) == {"id": head, "dirty": True}


def test_without_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert record.commit(tmp_path) is None


def _videos(folder: Path) -> Path:
    """A folder as `frames` wants it: videos, and the number of frames that decode of each."""
    folder.mkdir()
    with (folder / "truth.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "size", "container", "decoded_frames", "notes"])
        for number, (name, container, muxer) in enumerate(
            [("a.mp4", "mov,mp4", "mp4"), ("b.avi", "avi", "avi"), ("c.mkv", "matroska,webm", "matroska")]
        ):
            data = video(20 + number, format=muxer, size=256, noise=True, options={"qmin": "1", "qmax": "2"})
            (folder / name).write_bytes(data)
            table.writerow([name, len(data), container, 20 + number, ""])
    return folder


def _leaves(figures: Any) -> Sequence[Any]:
    match figures:
        case dict():
            return [leaf for each in figures.values() for leaf in _leaves(each)]
        case list():
            return [leaf for each in figures for leaf in _leaves(each)]
    return [figures]
