"""docs/operations.md and docs/kubernetes.md: what they name is there, and no exit code is left out."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from metaferry import errors
from metaferry.cli.main import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
KUBERNETES = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
BOTH = f"{PAGE}\n{KUBERNETES}"


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
    """Every call of metaferry that the pages show, in blocks and in the text."""
    return sorted({"".join(call) for call in calls()})


def calls() -> Iterator[tuple[str, str]]:
    for block in re.findall(r"```sh\n(.*?)```", BOTH, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            call = r"^ *metaferry ([a-z]+ .*)|docker run.* metaferry:0\.1\.0 ([a-z]+ .*)|once\.sh ([^#]*)"
            for words in re.findall(call, line):
                yield "".join(words), ""
    yield from re.findall(r"`metaferry ([^`]+)`()", BOTH)


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
    paths = {path.rstrip("/.") for path in re.findall(r"(?:^|[ `(/@])(deploy/[A-Za-z0-9_./-]+)", BOTH)}
    assert len(paths) > 15
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


def headings(page: str) -> set[str]:
    return {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }


@pytest.mark.parametrize("page", [PAGE, KUBERNETES], ids=["operations", "kubernetes"])
def test_every_link_within_a_page_leads_to_a_heading(page: str) -> None:
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= headings(page)
    assert set(re.findall(r"\]\(operations\.md#([^)]+)\)", page)) <= headings(PAGE)


def test_a_value_that_a_command_sets_is_one_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text(encoding="utf-8"))
    given = re.findall(r"--set(?:-file)? ([A-Za-z.]+)=", KUBERNETES)
    named = re.findall(r"`((?:monitoring|backfill|image|networkPolicy)\.[A-Za-z.]+[a-zA-Z])`", BOTH)
    assert len(given) > 4
    for name in (*given, *named):
        value = values
        for key in name.split("."):
            assert key in value, name
            value = value[key]


def test_a_build_argument_of_a_command_is_one_of_the_dockerfile() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    given = set(re.findall(r"--build-arg[ =](?:\")?([A-Z_]+)=", BOTH))
    assert given
    assert given <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))


def test_the_commands_that_stop_the_schedule_are_about_what_is_there() -> None:
    """kubectl itself makes the patches, and the pods that are waited for have the label."""
    (section,) = re.findall(r"\n## Stop and go on\n(.*?)\n## ", KUBERNETES, re.DOTALL)
    patches = re.findall(r"kubectl -n metaferry patch cronjob metaferry --patch '(.*)'", section)
    assert [yaml.safe_load(patch)["spec"]["suspend"] for patch in patches] == [True, False]
    labels = re.findall(r"--selector=(\S+)=(\S+)", section)
    serve = yaml.safe_load((ROOT / "deploy/kustomize/serve/deployment.yaml").read_text(encoding="utf-8"))
    assert serve["metadata"]["name"] == "metaferry"
    assert labels
    assert dict(labels).items() <= serve["spec"]["template"]["metadata"]["labels"].items()
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here to make the patches")
    schedule = ROOT / "deploy/kustomize/base/cronjob.yaml"
    for patch in patches:
        command = ["kubectl", "patch", "--local", "-f", str(schedule), "--patch", patch, "-o", "yaml"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert yaml.safe_load(done.stdout)["spec"]["suspend"] is yaml.safe_load(patch)["spec"]["suspend"]
