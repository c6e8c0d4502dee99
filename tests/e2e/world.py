"""A small datasource on the local disk with tables and a job file, and the command run on it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import yaml

import metaferry
from metaferry.cli.main import main

#: Stand in for credentials: whoever prints one of these prints a secret.
CANARIES = ("canary-key-4711", "canary-secret-0815")

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")},
    "PYTHONPATH": str(Path(metaferry.__file__).parent.parent),
    "PYTHONWARNINGS": "default",  # a warning of ours would then be seen on stderr
}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left on its streams. Whatever it was, it showed no traceback and no warning."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        for word in ("Traceback", "Warning", "this is a bug"):
            assert word not in self.err, self.err

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON object of `--format json`."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@dataclass
class World:
    """`data/` holds the media, `tables/` the tables, `job.yaml` the job; all below `root`."""

    root: Path
    job: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def source(self) -> dict[str, Any]:
        """The first source of the job, to be changed."""
        source: dict[str, Any] = self.job["sources"][0]
        return source

    def put(self, name: str, content: str | bytes) -> Path:
        """Writes one file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def tree(self) -> dict[str, tuple[bytes, int]]:
        """Every file below `.lightly/`, with its time of writing in nanoseconds."""
        return {
            path.relative_to(self.data).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted((self.data / ".lightly").rglob("*"))
            if path.is_file()
        }

    def write_job(self) -> None:
        self.put("job.yaml", yaml.safe_dump(self.job, sort_keys=False, allow_unicode=True))

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        """`metaferry …` in the root, in this process: its `main`, its streams, its exit code."""
        return Ran(*self.run_roughly(*arguments, environment=environment))

    def run_roughly(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """The same where a traceback is what is looked at: code, stdout, stderr."""
        out, err = _stream(), _stream()
        with (
            contextlib.chdir(self.root),
            mock.patch.object(sys, "argv", ["metaferry", *arguments]),
            mock.patch.dict(os.environ, environment or {}),
            _own_logging(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name in ("FORCE_COLOR", "NO_COLOR"):
                os.environ.pop(name, None)
            try:
                main()
            except SystemExit as ended:
                code = ended.code
        assert isinstance(code, int)
        return code, _text(out), _text(err)

    def run_process(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        """The same as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "metaferry", *arguments],
            cwd=self.root,
            env={**ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def run_folders(self) -> list[Path]:
        """What runs left in the state folder, oldest first."""
        return sorted((self.data / ".metaferry/runs").glob("*"))

    def rejects(self) -> list[dict[str, Any]]:
        """The rows of the newest run's rejects.parquet."""
        rows: list[dict[str, Any]] = pq.read_table(self.run_folders()[-1] / "rejects.parquet").to_pylist()
        return rows

    def everything_said(self, ran: Ran) -> str:
        """Both streams, and every file that runs left in the state folder, Parquet as its rows."""
        said = [ran.out, ran.err]
        for path in sorted((self.data / ".metaferry").rglob("*")):
            if path.suffix == ".parquet":
                said.append(repr(pq.read_table(path).to_pylist()))
            elif path.is_file():
                said.append(path.read_text())
        return "\n".join(said)


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    """The command sets up the logging of its process, which here is not its own."""
    loggers = [logging.getLogger(), logging.getLogger("metaferry")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()
