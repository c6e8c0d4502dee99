"""No folder for temporary files, a working directory that is gone, options that no library can take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import metaferry
from metaferry.errors import MetaferryError, UsageError
from metaferry.storage.factory import open_adapter
from metaferry.tempfiles import temporary_file
from unit.cli.test_cli_main import ENVIRONMENT

COMMAND = f"{sys.executable} -m metaferry"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_bytes(b"x")
    (tmp_path / "table.csv").write_text("file_name,scene\na.png,city\n")
    (tmp_path / "job.yaml").write_text("input: data\nsources: [{table: table.csv}]\n")
    return tmp_path


def in_a_folder_that_is_gone(folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    script = f"mkdir {folder}/gone; cd {folder}/gone; rmdir {folder}/gone; {words}"
    done = subprocess.run(
        ["bash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )
    assert "this is a bug" not in done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("words", ["plan {0}/job.yaml", "sync {0}/job.yaml", "frames {0}/data/*.mp4"])
@pytest.mark.slow
def test_a_working_directory_that_is_gone_does_not_matter_to_whole_paths(folder: Path, words: str) -> None:
    done = in_a_folder_that_is_gone(folder, f"{COMMAND} {words.format(folder)}")
    assert done.returncode == (1 if "frames" in words else 0), done.stderr


@pytest.mark.slow
def test_a_relative_path_needs_the_working_directory(folder: Path) -> None:
    for words in ("plan job.yaml", f"plan {folder}/job.yaml --out plan"):
        done = in_a_folder_that_is_gone(folder, f"{COMMAND} {words}")
        assert done.returncode == 2, done.stderr
        assert "relative to the working directory, which was deleted" in done.stderr


def test_no_folder_for_temporary_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(MetaferryError, match="no folder for temporary files") as caught:
        metaferry.plan(folder / "job.yaml")
    assert "scratch:" in caught.value.advice
    (folder / "scratch").mkdir()
    job = metaferry.Job.load(folder / "job.yaml", ["scratch=scratch"])
    assert metaferry.plan(job).exit_code == 0


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux")
def test_a_temporary_file_is_in_memory_where_no_folder_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: Any, **more: Any) -> Any:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    with temporary_file() as file:
        file.write(b"12")
        file.seek(0)
        assert file.read() == b"12"
    monkeypatch.setattr(os, "memfd_create", none)
    with pytest.raises(MetaferryError, match="no folder for temporary files"):
        temporary_file()


@pytest.mark.parametrize("url", ["s3://b/p", "gs://b/p", "az://c/p"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("client_kwargs", "hunter2"),
        ("client_kwargs", 5),
        ("config_kwargs", "hunter2"),
        ("s3_additional_kwargs", "hunter2"),
        ("session_kwargs", "hunter2"),
        ("session", "hunter2"),
        ("session", {"a": "hunter2"}),
        ("key", 12345),
        ("secret", 1.5),
        ("endpoint_url", 5),
        ("account_key", True),
        ("connection_string", 5),
    ],
)
def test_an_option_that_no_library_can_take_is_named(url: str, option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"the option {option} ") as caught:
        open_adapter(url, {option: value})
    assert "hunter2" not in str(caught.value) + caught.value.advice
