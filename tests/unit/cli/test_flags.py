"""Every flag of every command is taken by the real parser, with its documented values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from metaferry.cli.main import app


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its name, those of a group as `group command`."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS: dict[str, Any] = dict(commands(typer.main.get_command(app)))
ARGUMENTS = {
    "init": ["folder"], "demo": ["folder"], "plan": ["job.yaml"], "sync": ["job.yaml"], "finish": ["plan"],
    "serve": ["job.yaml"], "unlock": ["job.yaml"], "frames": ["a.mp4", "b.mp4"], "schema infer": ["job.yaml"],
    "schema check": ["s3://bucket/a"], "schema diff": ["job.yaml"], "check": ["s3://bucket/a"],
    "export": ["job.yaml", "-o", "other.csv"], "report": ["job.yaml", "-o", "other.html"],
    "doctor": ["job.yaml"], "policy": ["job.yaml"],
    "rollback": ["job.yaml", "--run", "20261123T081500Z-0a1b2c3d"],
    "select": ["job.yaml", "--config", "other.yaml"], "tables": ["s3://bucket/coco.json"],
}  # fmt: skip
#: By parameter: what is written, and what the command gets.
FLAGS: dict[str, list[tuple[list[str], Any]]] = {
    "sets": [(["--set", "policy.max_rejects=5", "--set", "a=b"], ["policy.max_rejects=5", "a=b"])],
    "quiet": [(["--quiet"], True), (["-q"], True)],
    "verbose": [(["--verbose"], 1), (["-v"], 1), (["-vv"], 2)],
    "format": [(["--format", "table"], "table"), (["--format", "json"], "json")],
    "log_format": [(["--log-format", "text"], "text"), (["--log-format", "json"], "json")],
    "out": [(["--out", "dir"], "dir"), (["-o", "dir"], "dir")],
    "file": [(["--out", "x.csv"], "x.csv"), (["-o", "x.csv"], "x.csv")],
    "config": [(["--config", "selection.yaml"], Path("selection.yaml"))],
    "selection": [(["--selection", "selection.yaml"], Path("selection.yaml"))],
    "reader": [(["--reader", "coco"], "coco")],
    "source": [(["--from", "coco.json"], "coco.json")],
    "cloud": [(["--cloud", name], name) for name in ("aws", "gcp", "azure")],
    "thumbnails": [(["--thumbnails", "3"], 3)],
    "read_only": [(["--read-only"], True)],
    "as_written": [(["--as-written"], True)],
    "report": [(["--report"], True)],
    "sample": [(["--sample", "3/7"], "3/7")],
    "seed": [(["--seed", "5"], 5)],
    "drift": [(["--drift"], True), (["--no-drift"], False)],
    "shards": [(["--shards", "1"], 1), (["--shards", "9999"], 9_999)],
    "exit_code": [(["--exit-code"], True)],
    "keep": [(["--keep"], True)],
    "prefix": [(["--prefix", "a/b"], "a/b")],
    "limit": [(["--limit", "1"], 1)],
    "plan": [(["--plan", "dir"], "dir")],
    "shard_index": [(["--shard-index", "0"], 0)],
    "num_shards": [(["--num-shards", "1"], 1)],
    "engine": [(["--engine", name], name) for name in ("local", "dask", "dask=tcp://host:8786")],
    "job": [(["--job", "job.yaml"], "job.yaml")],
    "every": [(["--every", "15m"], "15m")],
    "cron": [(["--cron", "*/15 * * * *"], "*/15 * * * *")],
    "timezone": [(["--timezone", "Europe/Berlin"], "Europe/Berlin")],
    "jitter": [(["--jitter", "30s"], "30s")],
    "host": [(["--host", "127.0.0.1"], "127.0.0.1")],
    "port": [(["--port", "0"], 0), (["--port", "65535"], 65_535)],
    "deadline": [(["--deadline", "1.5"], 1.5)],
    "level": [(["--level", level], level) for level in ("index", "scan", "decode")],
    "explain": [(["--explain"], True)],
    "all_documents": [(["--all"], True)],
    "run": [(["--run", "20261123T081500Z-0a1b2c3d"], "20261123T081500Z-0a1b2c3d")],
    "apply": [(["--apply"], True)],
    "timestamps": [(["--timestamps"], True)],
}


def flags(command: str) -> list[Any]:
    return [each for each in COMMANDS[command].params if each.opts[0].startswith("-")]


CASES = [
    (command, flag.name, given, wanted)
    for command in ARGUMENTS
    for flag in flags(command)
    for given, wanted in FLAGS.get(flag.name, [])
]


def test_no_command_and_no_flag_is_missing_here() -> None:
    assert set(COMMANDS) == set(ARGUMENTS)
    for command in COMMANDS:
        for flag in flags(command):
            assert flag.name in FLAGS, (command, flag.name)
            written = {word for given, _ in FLAGS[flag.name] for word in given if word.startswith("-")}
            assert set(flag.opts) <= written, (command, flag.opts)


@pytest.mark.parametrize(("command", "name", "given", "wanted"), CASES)
def test_a_flag_is_taken(command: str, name: str, given: list[str], wanted: Any) -> None:
    context = COMMANDS[command].make_context(command, [*ARGUMENTS[command], *given])
    got = context.params[name]
    assert (list(got) if isinstance(got, tuple) else str(got) if isinstance(wanted, str) else got) == wanted
