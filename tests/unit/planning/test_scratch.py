"""The scratch folder goes with its run, also one that was killed; never that of a run that lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from metaferry.planning.scratch import scratch_folder

RUN = """
import sys
from metaferry.planning.scratch import scratch_folder

with scratch_folder(sys.argv[1]) as folder:
    (folder / "spill").mkdir()
    (folder / "spill" / "data").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    sys.stdin.read()
"""


def start(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folders_of_killed_runs_are_removed_by_the_next(tmp_path: Path) -> None:
    killed, left = start(tmp_path)
    living, kept = start(tmp_path)
    with killed, living:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "spill/data").exists()
        with scratch_folder(str(tmp_path)) as ours:
            assert not left.exists(), "nobody holds its lock"
            assert (kept / "spill/data").exists(), "a run lives there"
            assert ours.is_dir()
        assert not ours.exists()
        assert living.stdin is not None
        living.stdin.close()
        living.wait()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_scratch_folder_stays(tmp_path: Path) -> None:
    """One without a lock (of an older version, or of somebody else), a file, a link to elsewhere."""
    fallback_reason = tmp_path / "elsewhere"
    for folder in (tmp_path / "metaferry-older", fallback_reason):
        folder.mkdir()
        (folder / "data").write_text("x")
    (fallback_reason / "in-use.lock").write_text("")
    (tmp_path / "metaferry-link").symlink_to(fallback_reason)
    (tmp_path / "metaferry-file").write_text("x")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with scratch_folder(str(tmp_path)):
        pass
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
