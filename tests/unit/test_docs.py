"""The docs say what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import metaferry
from metaferry.findings import Code
from metaferry.job.yaml_text import read_yaml

ROOT = Path(__file__).parents[2]


def test_the_job_files_page_is_what_the_model_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(metaferry.__file__).parent.parent)},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_finding_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `([a-z_.]+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(documented)) == sorted(Code)


def test_the_complete_job_of_the_page_is_one() -> None:
    text = (ROOT / "docs/job-file.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    tree = read_yaml(example.replace("${S3_ENDPOINT}", "http://127.0.0.1"))
    assert tree.faults == []
    job = metaferry.Job.from_mapping(tree.value)
    assert len(job.sources) == 1


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def definitions(path: Path) -> set[str]:
    """Functions and classes of a module, and the methods of its classes as `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{each.name}" for each in methods}
    return found


def test_the_way_of_a_call_names_functions_that_exist() -> None:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    steps = re.findall(r"`([a-z_0-9/]+\.py):([A-Za-z_.]+)`", text)
    assert len(steps) >= 10
    for module, name in steps:
        assert name in definitions(ROOT / "service/metaferry" / module), f"{module}:{name}"


def test_packages_of_the_design_are_those_that_exist() -> None:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    table = text[text.index("## Where things are") : text.index("## The way of a call")]
    named = set(re.findall(r"^\| `([a-z_]+)/` \|", table, re.MULTILINE))
    there = {path.parent.name for path in (ROOT / "service/metaferry").glob("*/__init__.py")}
    assert named == there


def test_each_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    file, named, gone = "", 0, []
    for place, name in re.findall(r"`((?:tests/[\w/.]+\.py)?)::(\w+)`", text):
        file = place or file  # `::name` is of the file before it
        path = ROOT / file
        named += 1
        if not path.is_file() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            gone.append(f"{file}::{name}")
    assert gone == []
    assert named >= 30


def test_each_threat_has_a_test() -> None:
    text = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!---|threat |\| )(.*?) \|$", text[text.index("## Media that") :], re.MULTILINE)
    assert len(rows) >= 15
    assert [row for row in rows if "`tests/" not in row] == []


def test_modules_are_named_as_they_are_called() -> None:
    """In the docs, and in docstrings and comments of the code."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "service").rglob("*.py")]
    modules = [
        path.relative_to(ROOT).as_posix()
        for folder in ("service", "tests", "docs", "deploy")
        for path in (ROOT / folder).rglob("*.py")
    ]
    gone = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for name in re.findall(r"`([a-z_0-9/]+\.py)\b", page.read_text(encoding="utf-8"))
        if not any(f"/{module}".endswith(f"/{name}") for module in modules)
    ]
    assert gone == []
