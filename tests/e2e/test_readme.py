"""Every command of the README, run in order in one empty folder, against the output it shows.

What differs from run to run is made equal on both sides: seconds, run ids, the folder. A line `…`
stands for any lines. A block of Python is run after the commands before it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import metaferry

README = Path(__file__).parents[2] / "README.md"
HOME = "/home/you"


@dataclass(frozen=True)
class Step:
    line: int
    command: str
    shown: tuple[str, ...]  # nothing: whatever it says


def steps() -> Iterator[Step]:
    """Commands and their output, of all ```console and ```python blocks, in order."""
    text = README.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(console|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, block.start()) + 2
        if block[1] == "python":
            yield Step(line, f"python - <<'END'\n{block[2]}END", ())
            continue
        for part in re.split(r"^\$ ", block[2], flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield Step(line, command, tuple(shown.splitlines()))


def even(text: str, folder: Path) -> str:
    text = text.replace(str(folder), HOME)
    text = re.sub(r"[0-9.]+ (s|min)\b", "0.0 s", text)
    return re.sub(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", "RUN", text)


def matches(shown: tuple[str, ...], output: list[str]) -> bool:
    """Whether the output is what is shown, `…` standing for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in output)) is not None


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty folder, and an environment whose `metaferry` and `python` are those under test."""
    tools = tmp_path_factory.mktemp("bin")
    for name, arguments in (("metaferry", "-m metaferry "), ("python", "")):
        script = tools / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        script.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(metaferry.__file__).parent.parent),
    }
    return tmp_path_factory.mktemp("you"), environment


@pytest.mark.slow
def test_every_command_does_what_the_readme_shows(shell: tuple[Path, dict[str, str]]) -> None:
    folder, environment = shell
    code = 0
    ran = 0
    for step in steps():
        done = subprocess.run(
            ["sh", "-c", f"(exit {code}); {step.command}"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        output = even(done.stdout, folder)
        where = f"README.md:{step.line}: $ {step.command}\n{output}"
        assert "Traceback" not in output, where
        assert done.returncode in (0, 2, 4, 5), where
        if step.shown:
            shown = tuple(even(line, folder) for line in step.shown)
            assert matches(shown, output.splitlines()), where
        elif done.returncode:
            pytest.fail(where)
        code = done.returncode
        ran += 1
    assert ran >= 15


def test_a_difference_would_be_seen() -> None:
    assert matches(("a", "…", "d"), ["a", "b", "c", "d"])
    assert not matches(("a", "…", "d"), ["a", "b", "c"])
    assert not matches(("a", "d"), ["a", "b", "d"])


def test_every_command_and_exit_code_is_in_the_readme() -> None:
    from metaferry.cli.main import app

    text = README.read_text(encoding="utf-8")
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    names += [
        f"{group.typer_instance.info.name} {command.callback.__name__}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
        if command.callback
    ]
    assert [name for name in names if f"**`{name} " not in text] == []
    for code in ("| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 4 |", "| 5 |", "| 11 |", "| 130, 143 |"):
        assert code in text
