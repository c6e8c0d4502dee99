"""docs/operations.md: what it names is there, and it leaves no exit code out."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from metaferry import errors
from metaferry.cli.main import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def help_of(command: str) -> str:
    """What `metaferry COMMAND --help` says; empty where there is no such command."""
    out = io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        app([command, "--help"], prog_name="metaferry")
    return out.getvalue()


def commands() -> list[str]:
    """Every call of metaferry that the page shows, in blocks and in the text."""
    return sorted({"".join(call) for call in calls()})


def calls() -> Iterator[tuple[str, str]]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"^ *metaferry ([a-z]+ .*)|metaferry:0\.1\.0 ([a-z]+ .*)", line)
    yield from re.findall(r"`metaferry ([^`]+)`()", PAGE)


def test_the_page_shows_some_commands() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("words", commands())
def test_a_command_is_one_and_knows_its_options(words: str) -> None:
    command, *rest = words.split()
    told = help_of(command)
    assert told, command
    for word in rest:
        assert not word.startswith("--") or word in told


def test_every_path_of_the_repository_is_there() -> None:
    paths = {path.rstrip("/.") for path in re.findall(r"(?:^|[ `(/@])(deploy/[A-Za-z0-9_./-]+)", PAGE)}
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_exit_code_is_explained() -> None:
    table = PAGE[PAGE.index("## Exit codes") : PAGE.index("## Resume")]
    explained = set(re.findall(r"\d+", " ".join(re.findall(r"^\| ([0-9, ]+) \|", table, re.MULTILINE))))
    raised = {
        str(kind.exit_code)
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MetaferryError)
    }
    assert raised | {"0", "3", "4", "130", "143"} <= explained


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
