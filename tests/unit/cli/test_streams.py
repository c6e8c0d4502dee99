"""Where the output goes nowhere: what the command did decides its exit code, and no traceback is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaferry.cli.streams import open_streams
from metaferry.demo import make_dataset
from unit.cli.test_cli_main import ENVIRONMENT

FULL = Path("/dev/full")

#: Commands on a job of ten images, and whether what they say is their result.
COMMANDS = [
    (("plan", "job.yaml"), True),
    (("plan", "job.yaml", "--format", "json"), True),
    (("frames", "data/videos"), True),
    (("frames", "data/videos", "--format", "table"), True),
    (("sync", "job.yaml"), False),
    (("sync", "job.yaml", "--format", "json"), False),
    (("finish", "plan"), False),
    (("unlock", "job.yaml"), False),
]
#: Each is a process of its own, so that the quick part has two of them with one redirection.
QUICK = {(("plan", "job.yaml"), ">/dev/full"), (("sync", "job.yaml"), ">/dev/full")}
CASES = [
    pytest.param(
        arguments,
        is_result,
        redirection,
        id=f"{' '.join(arguments)} {redirection}",
        marks=[] if (arguments, redirection) in QUICK else pytest.mark.slow,
    )
    for redirection in (">&-", ">/dev/full", "| head -1", "| true")
    for arguments, is_result in COMMANDS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    make_dataset(folder)
    text = "input: data\nsources: [{table: tables/images.csv, file_name: image_path}]\n"
    (folder / "job.yaml").write_text(text)
    for arguments in (["plan", "job.yaml", "--out", "plan"], ["sync", "job.yaml", "--plan", "plan"]):
        subprocess.run([*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    subprocess.run(
        [*COMMAND, "sync", "job.yaml", "--plan", "plan", "--shard-index", "0", "--num-shards", "1"],
        cwd=folder,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    return folder


COMMAND = [sys.executable, "-m", "metaferry"]


def shell(folder: Path, arguments: tuple[str, ...], redirection: str) -> tuple[int, str]:
    """The exit code of the command itself, and what it said on stderr."""
    words = " ".join([*COMMAND, *arguments])
    done = subprocess.run(
        ["bash", "-c", f"{words} {redirection}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(("arguments", "is_result", "redirection"), CASES)
def test_the_result_of_a_run_decides(
    folder: Path, arguments: tuple[str, ...], is_result: bool, redirection: str
) -> None:
    if "full" in redirection and not FULL.exists():
        pytest.skip("no full device here")
    code, said = shell(folder, arguments, redirection)
    failed = is_result and not redirection.startswith("|")
    assert code == (1 if failed else 0), said
    if not redirection.startswith("|"):
        assert "could not be written" in said


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ">&- 2>&- <&-", "<&-"])
@pytest.mark.slow
def test_a_run_needs_no_streams(folder: Path, redirection: str) -> None:
    assert shell(folder, ("sync", "job.yaml", "-v"), redirection)[0] == 0


def test_a_help_text_that_cannot_be_written(folder: Path) -> None:
    code, said = shell(folder, ("--help",), ">/dev/full")
    assert (code, "could not be written" in said) == (1, True)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what is printed would be written into the first file that a run opens."""
    code = (
        "import os; from metaferry.cli.streams import open_streams as o; o(); print(os.open('x', os.O_CREAT))"
    )
    words = f'cd {tmp_path}; exec {sys.executable} -c "{code}" <&- 2>&-'
    done = subprocess.run(["bash", "-c", words], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 3
    assert open_streams() is None
    assert os.fstat(1)
