"""The command as users run it: a process, its streams and its exit code. No storage but local folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metaferry
from metaferry.job.model import Job
from metaferry.job.tables import TEXT_OPTIONS

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")},
    "PYTHONPATH": str(Path(metaferry.__file__).parent.parent),
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metaferry", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_and_version(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert [
        word for word in ("init", "demo", "plan", "sync", "frames") if f"\n  {word} " not in done.stdout
    ] == []
    assert "Exit codes: 0 done" in done.stdout
    assert run(tmp_path, "--version").stdout == f"metaferry {metaferry.__version__}\n"
    bare = run(tmp_path)
    assert bare.returncode == 2 or "Usage" in bare.stdout


def test_init_writes_a_job_that_passes_its_own_check(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "here")
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote here/job.yaml" in done.stderr
    job = Job.load(tmp_path / "here/job.yaml")
    assert job.input.url == str(tmp_path / "here/data")
    # What is commented out is right as well.
    text = (tmp_path / "here/job.yaml").read_text()
    settings = (
        text.replace("# lightly:", "lightly:").replace("# storage:", "storage:").replace("#   s3:", "  s3:")
    )
    settings = (
        settings.replace("# media:", "media:")
        .replace("#   include", "  include")
        .replace("#   exclude", "  exclude")
    )
    settings = settings.replace("    # metadata:", "    metadata:")
    settings = settings.replace("    #   scene:", "      scene:").replace("    #   weather", "      weather")
    frames = re.findall(r"^    # frame: .*$", settings, re.MULTILINE)  # one of them at a time
    assert len(frames) == 4
    for frame in frames:
        (tmp_path / "all.yaml").write_text(settings.replace(frame, frame.replace("# ", "", 1)))
        full = Job.load(tmp_path / "all.yaml", ["storage.s3.endpoint_url=http://127.0.0.1"])
        assert full.sources[0].metadata is not None
        assert full.sources[0].frame is not None
        assert full.media.include
        assert full.lightly is not None


def test_the_options_of_csv_that_init_shows_are_right_too(tmp_path: Path) -> None:
    run(tmp_path, "init")
    text = (tmp_path / "job.yaml").read_text()
    options = {name: f"    {name}: " for name in TEXT_OPTIONS if f"    # {name}: " in text}
    for line in options.values():
        text = text.replace(line.replace("    ", "    # ", 1), line)
    (tmp_path / "all.yaml").write_text(text.replace("    # records:", "    records:"))
    source = Job.load(tmp_path / "all.yaml").sources[0]
    assert source.model_fields_set >= {"records", *TEXT_OPTIONS} - {"quote", "escape"}
    assert options.keys() == set(TEXT_OPTIONS) - {"quote", "escape"}  # found right in nearly all files


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("mine")
    done = run(tmp_path, "init")
    assert done.returncode == 2
    assert "job.yaml exists already" in done.stderr
    assert (tmp_path / "job.yaml").read_text() == "mine"
    (tmp_path / "file").write_text("")
    assert run(tmp_path, "init", "file").returncode == 2
    assert run(tmp_path, "init", "file/below").returncode == 1


def test_a_wrong_job_file_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("input: x\nsorces: []\nconcurency: 5\n")
    done = run(tmp_path, "plan", "job.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: 3 faults in the job\n"
        "  job.yaml:1: sources: is missing\n"
        '  job.yaml:2: sorces: unknown key; did you mean "sources"?\n'
        '  job.yaml:3: concurency: unknown key; did you mean "concurrency"?\n'
        "advice: docs/job-file.md describes every key\n"
    )


def test_errors_as_json(tmp_path: Path) -> None:
    done = run(tmp_path, "sync", "nope.yaml", "--log-format=json")
    assert done.returncode == 2
    line = json.loads(done.stderr)
    assert line["level"] == "error"
    assert line["message"] == "nope.yaml: there is no such job file"
    assert "init" in line["advice"]


WRONG = [
    (["plan"], "Missing argument"),
    (["plan", "job.yaml", "--nope"], "No such option"),
    (["nope"], "No such command"),
    (["plan", "job.yaml", "--limit", "0"], "limit"),
    (["plan", "job.yaml", "--format", "xml"], "xml"),
]


@pytest.mark.parametrize(("arguments", "word"), WRONG)
@pytest.mark.parametrize("log_format", [["--log-format", "json"], ["--log-format=json"]])
def test_usage_errors_as_json(tmp_path: Path, arguments: list[str], word: str, log_format: list[str]) -> None:
    done = run(tmp_path, *arguments, *log_format)
    assert (done.returncode, done.stdout) == (2, "")
    line = json.loads(done.stderr)
    assert (line["level"], line["logger"]) == ("error", "metaferry.cli")
    assert word in line["message"]
    assert re.search(r"`metaferry( plan)? -h`", line["advice"])


def test_a_help_text_is_the_same_whatever_the_log_is(tmp_path: Path) -> None:
    asked = run(tmp_path, "plan", "--log-format", "json", "--help")
    assert (asked.returncode, asked.stdout) == (0, run(tmp_path, "plan", "--help").stdout)


@pytest.mark.parametrize(("arguments", "word"), WRONG)
def test_usage_errors(tmp_path: Path, arguments: list[str], word: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_is_one_line_and_vv_shows_the_traceback(tmp_path: Path) -> None:
    code = (
        "import sys; from metaferry.cli import commands, main\n"
        "import metaferry.cli.starting as s\n"
        "def boom(*_): raise ZeroDivisionError('secret')\n"
        "s.write_job = boom\n"
        "main.main()"
    )
    command = [sys.executable, "-c", code, "init"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this is a bug in metaferry: ZeroDivisionError\nadvice: ")
    assert "secret" not in done.stderr


def test_a_pipe_that_closes_is_no_failure_to_shout_about(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "--help"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    process.wait(60)
