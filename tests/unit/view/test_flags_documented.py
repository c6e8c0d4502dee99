"""Every flag of the commands that look at what is there is on the page of the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metaferry.cli.main import app

DOCS = Path(__file__).parents[3] / "docs"
#: Flags that every command has.
COMMON = {"--quiet", "--verbose", "--log-format", "--help"}
PAGES = {
    "check": "check.md",
    "doctor": "doctor.md",
    "export": "export.md",
    "report": "report.md",
    "rollback": "operations.md",
    "select": "select.md",
}


@pytest.mark.parametrize("command", PAGES)
def test_every_flag_is_on_the_page(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"]).output
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown)) - COMMON
    assert "--format" in flags
    text = (DOCS / PAGES[command]).read_text(encoding="utf-8")
    missing = {flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text)}
    assert not missing
