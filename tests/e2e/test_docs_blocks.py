"""Every block of code in docs/*.md is run, is read by what would read it, or is listed with the reason.

YAML is read as the job, or the part of one, that it is. Shell is parsed, and each call of metaferry in it by
its command line; blocks that need nothing but the demonstration are run in it, as Python is. A block that is
new and fits none of this fails here: run it, name the test that does, or say why it cannot be.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import metaferry
from metaferry.cli.main import app
from metaferry.job.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]
BASE: dict[str, Any] = {"input": "data", "sources": [{"table": "labels.csv"}]}

#: Blocks that are run as they stand, in the folder of the demonstration, by page and number of the block.
RUN = {
    ("check.md", 2),
    ("contributing.md", 1),
    ("doctor.md", 0),
    ("doctor.md", 2),
    ("export.md", 2),
    ("export.md", 4),
    ("operations.md", 10),
    ("report.md", 0),
}
#: Blocks that a test of their own runs, or a reason why none does.
LISTED = {
    ("airflow.md", 0): "tests/in_airflow/test_docs_dags.py::test_the_hourly_sync",
    ("airflow.md", 1): "tests/in_airflow/test_docs_dags.py::test_the_backfill",
    ("airflow.md", 2): "tests/in_airflow/test_docs_dags.py::pool",
    ("airflow.md", 3): "tests/in_airflow/test_pod_recipe.py",
    ("check.md", 1): "tests/e2e/test_check.py::test_the_example_of_the_page",
    ("export.md", 5): "tests/e2e/test_export.py::test_recipe_duckdb",
    ("export.md", 6): "tests/e2e/test_export.py::test_recipe_pandas",
    ("export.md", 7): "tests/e2e/test_export.py::test_recipe_lightly_studio_against_its_documented_calls",
    ("export.md", 8): "tests/e2e/test_export.py::test_recipe_fiftyone_against_its_documented_calls",
    (
        "policy.md",
        1,
    ): "an account of Google Cloud; tests/unit/view/policy/test_policy_blocks.py",
    ("policy.md", 2): "an account of Azure; tests/unit/view/policy/test_policy_blocks.py",
    ("select.md", 1): "tests/e2e/test_select.py",
    ("select.md", 3): "tests/e2e/test_select.py",
    ("select.md", 6): "needs the dataset of the page; tests/e2e/test_select.py has its configs",
    ("sources/README.md", 2): "a reader of somebody's own; tests/unit/tables/readers has the suite on ours",
}
#: Programs of a shell block that no test has here, and what shows that the block is right.
FOREIGN = {
    "aws": "an account of AWS",
    "az": "an account of Azure",
    "gcloud": "an account of Google Cloud",
    "buildah": "an engine for containers: make test-image",
    "cosign": "a registry",
    "docker": "an engine for containers: make test-image",
    "helm": "a cluster; the chart is rendered in tests/unit/deploy/test_helm.py",
    "kubectl": "a cluster; the manifests are checked in tests/unit/deploy",
    "deploy/kustomize/backfill.sh": "a cluster; tests/unit/deploy",
    "deploy/once.sh": "a cluster; tests/unit/deploy",
    "git": "a clone",
}


@dataclass(frozen=True)
class Block:
    page: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}-{self.number}-{self.language or 'plain'}"


def blocks() -> Iterator[Block]:
    for path in sorted((ROOT / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        found = re.finditer(r"^( *)```(\w*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
        for number, match in enumerate(found):
            code = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
            yield Block(path.relative_to(ROOT / "docs").as_posix(), number, match[2], code)


def of(*languages: str) -> list[Block]:
    return [block for block in blocks() if block.language in languages]


def named(block: Block) -> str:
    return block.name


def test_a_block_has_a_language_that_is_checked() -> None:
    known = {"", "text", "json", "yaml", "sh", "bash", "console", "python"}
    assert {block.language for block in blocks()} <= known


def test_what_is_listed_is_there() -> None:
    there = {(block.page, block.number) for block in blocks()}
    assert {*RUN, *LISTED} - there == set()
    assert RUN & LISTED.keys() == set()
    for what in [*LISTED.values(), *FOREIGN.values()]:
        for place in re.finditer(r"(tests/[\w/]+(?:\.py)?)(?:::(\w+))?", what):
            file = ROOT / place[1]
            assert file.exists(), what
            assert not place[2] or f"def {place[2]}(" in file.read_text(encoding="utf-8"), what


@pytest.mark.parametrize("block", of("yaml"), ids=named)
def test_a_job_or_a_part_of_one_is_read_as_such(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    if (block.page, block.number) in LISTED:
        return
    for name in re.findall(r"\$\{(\w+)\}", block.text):
        monkeypatch.setenv(name, "http://127.0.0.1" if "ENDPOINT" in name else "x")
    tree = read_yaml(block.text)
    assert tree.faults == []
    metaferry.Job.from_mapping({**BASE, **tree.value}, base=str(ROOT))


@pytest.mark.parametrize("block", of("json"), ids=named)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a shell block, without what the shell itself does with it."""
    text = block.text
    if block.language == "console":
        text = "\n".join(re.findall(r"^\$ (.*)$", text, re.MULTILINE))
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s\|\s|&&|;|\$\(", re.sub(r"(^|\s)#.*|\s>\s\S+|\s<<<\s\S+", "", line)):
            words = part.strip().rstrip(")").split()
            while words and (re.fullmatch(r"\w+=\S*|do|then|--|while|for|done|export", words[0])):
                words = words[1:]
            if words:
                found.append(words)
    return found


@pytest.mark.parametrize("block", of("sh", "bash", "console"), ids=named)
def test_shell_is_parsed_and_so_are_its_calls(block: Block) -> None:
    text = block.text
    if block.language == "console":
        text = "\n".join(re.findall(r"^\$ (.*)$", text, re.MULTILINE))
    shell = "bash" if block.language == "bash" else "sh"
    done = subprocess.run([shell, "-n"], input=text.replace("JOB|URL", "JOB"), text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    for path in re.findall(r"(?<![\w/.])(?:deploy|docs|tests)/[\w./-]+", text):
        assert (ROOT / path).exists() or "/CLOUD/" in path, path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands(block):
        if words[0] in ("metaferry", ".venv/bin/metaferry"):
            parse(words[1:])
        elif words[0] == "make":
            assert set(words[1:]) <= targets
        elif block.page not in ("operations.md", "kubernetes.md"):
            assert words[0] in FOREIGN or (block.page, block.number) in LISTED, words


def parse(words: list[str]) -> None:
    """That the command line takes these words. Nothing is run."""
    text = " ".join(words).replace("JOB|URL", "JOB").replace("I ", "1 ")
    group: Any = typer.main.get_command(app)
    name, *arguments = shlex.split(text)
    command = group.commands[name]
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments)


def readers_of(page: str) -> list[str]:
    """The test files, other than this one, that read a page of docs/sources: they run its blocks."""
    if not page.startswith("sources/"):
        return []
    name = page.rpartition("/")[2]
    files = (ROOT / "tests/e2e/sources").rglob("*.py")
    return [file.name for file in files if name in file.read_text(encoding="utf-8")]


@pytest.mark.parametrize("block", of("python"), ids=named)
def test_python_is_run_or_listed(block: Block) -> None:
    compile(block.text, block.name, "exec")
    known = (block.page, block.number) in RUN | LISTED.keys() or readers_of(block.page)
    assert known, "run it, name its test, or say why it is not run"


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demonstration")
    done = subprocess.run(
        [sys.executable, "-m", "metaferry", "demo", "metaferry-demo", "--quiet"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def environment(folder: Path) -> dict[str, str]:
    """One whose `metaferry` and `.venv/bin/metaferry` are those under test."""
    tools = folder / ".venv/bin"
    tools.mkdir(parents=True, exist_ok=True)
    script = tools / "metaferry"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m metaferry "$@"\n')
    script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(metaferry.__file__).parent.parent),
    }


@pytest.mark.parametrize("block", [one for one in blocks() if (one.page, one.number) in RUN], ids=named)
def test_a_block_runs_in_the_demonstration(block: Block, demonstration: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    shutil.copytree(demonstration, world, symlinks=True)
    job = yaml.safe_load((world / "metaferry-demo/job.yaml").read_text())
    moved = json.dumps(job).replace(str(demonstration), str(world))
    (world / "metaferry-demo/job.yaml").write_text(moved)
    # The pages speak of a job.yaml in the folder where one is.
    at = world if "metaferry-demo" in block.text else world / "metaferry-demo"
    code = block.text
    if block.language == "console":
        code = "\n".join(re.findall(r"^\$ (.*)$", code, re.MULTILINE))
    words = [sys.executable, "-c", code] if block.language == "python" else ["sh", "-ec", code]
    done = subprocess.run(
        words, cwd=at, env=environment(world), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
