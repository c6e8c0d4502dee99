"""The shape of the code base: its words, the size of its parts, and what each package says of itself."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.planning import formats
from metaferry.runs.metrics.figures import METRICS, Ended, samples

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "service/metaferry"
MODULES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({module.parent for module in MODULES})
TESTS = sorted({module.parent for module in (ROOT / "tests/unit").rglob("test_*.py")})

#: What may stand in the root.
TOP_LEVEL = {
    *(".ci", ".dockerignore", ".gitignore"),
    *("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "docker-compose.yml", "pyproject.toml"),
    *("requirements.lock", "deploy", "docs", "service", "tests"),
}

#: Lines of a module, and modules of a folder, at most. A module is one idea, read from top to bottom.
MOST_LINES = 400
MOST_MODULES = 15
#: Folders that may hold more: one module a command.
LARGER_FOLDERS = {"cli/commands": 20}

#: Names that gave way to those of the field (docs/design.md has the glossary), in any case and as any
#: kind of identifier: `_KeptListing` is `kept_listing`.
GONE = frozenset(
    [
        "at_once",
        "list_at_once",
        "between",
        "crew",
        "learned",
        "traits",
        "slower",
        "bridge",
        "elsewhere",
        "untranslatable",
        "speech",
        "dialect",
        "authority",
        "nobody",
        "put_now",
        "put_all_now",
        "stamp",
        "sibling",
        "bell",
        "rung",
        "listening",
        "voice",
        "ear",
        "last_word",
        "thread_lane",
        "surroundings",
        "divided",
        "past",
        "kept_listing",
        "confirm",
        "conditions",
        "patience",
        "moment",
        "told",
        "met",
        "book",
        "postponed",
        "postpone",
        "slow",
        "width",
    ]
)
#: Names of classes that are gone; as names of values they are ordinary words.
GONE_CLASSES = frozenset({"Chain", "Holder", "Order", "Place", "Ring", "Traits"})
#: Modules where such a name is the field's own: a width in bytes, cells or pixels; a fault of a
#: store; the dialect of a CSV file.
ALLOWED = {
    "width": re.compile(
        r"^demo\.py|^media/frames/|^media/facts/|^storage/s3/listing|^tables/|^cli/show/|^planning/advice/"
    ),
    "slow": re.compile(r"^storage/testing/"),
    "dialect": re.compile(r"^tables/"),
    "nobody": re.compile(r"^storage/http/transfers"),  # an option of libcurl: no body
}


def words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip("_")).lower()


def identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=asname):
                yield from name.split(".")
                yield asname or ""
            case ast.ImportFrom(module=str(module)):
                yield from module.split(".")
            case ast.keyword(arg=str(name)):
                yield name


def place_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=place_of)
def test_names_are_the_words_of_the_field(module: Path) -> None:
    where = place_of(module)
    names = {*identifiers(ast.parse(module.read_text(encoding="utf-8"))), module.stem, module.parent.name}
    found = {
        name
        for name in names
        if name.strip("_") in GONE_CLASSES
        or (words(name) in GONE and not ((rule := ALLOWED.get(words(name))) and rule.search(where)))
    }
    assert not found
    assert not module.stem.startswith("fast_")


def keys(value: Any) -> Iterator[str]:
    """Every key of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from keys(inner)


def job_keys(schema: dict[str, Any]) -> Iterator[str]:
    for definition in (schema, *schema.get("$defs", {}).values()):
        yield from definition.get("properties", {})


def names_for_users() -> dict[str, set[str]]:
    """What programs, queries and job files of users name, by where."""
    report = formats.RunReport(run_id="", job_digest="", started="")
    file = formats.PlanFile("", 0, "")
    shards = (formats.PlanShard(0, files=(file,)),)
    planned = formats.PlanReport("", "", "")
    plan = formats.KeptPlan("", "", "", planned, (), None, shards, file, file)
    known = samples(report.to_dict(), Ended(0, 0), version="0")
    labels = {label for metric in METRICS for label in metric.labels}
    values = {value for sample in known.values() for labelled in sample for value in labelled}
    columns = (formats.PLAN_COLUMNS, formats.REJECT_COLUMNS, formats.FINDING_COLUMNS, formats.LEDGER_COLUMNS)
    return {
        "finding codes": {part for code in Code for part in code.split(".")},
        "job keys": set(job_keys(Job.model_json_schema())),
        "run.json": {*keys(report.to_dict())},
        "plan.json": {*keys(asdict(plan))},
        "columns": {column for table in columns for column in table},
        "actions": {str(action) for action in formats.Action} | {str(each) for each in formats.Outcome},
        "metrics": {part for metric in METRICS for part in metric.name.split("_")},
        "labels": labels | values,
    }


NAMES_FOR_USERS = names_for_users()


@pytest.mark.parametrize("where", NAMES_FOR_USERS)
def test_users_meet_the_words_of_the_field(where: str) -> None:
    names = NAMES_FOR_USERS[where]
    assert len(names) > 3
    assert not {name for name in names if words(name) in GONE | {"leave", "foreign"}}


@pytest.mark.parametrize("module", MODULES, ids=place_of)
def test_a_module_is_short_enough_to_be_read(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("folder", FOLDERS, ids=place_of)
def test_a_folder_can_be_taken_in_at_a_glance(folder: Path) -> None:
    most = LARGER_FOLDERS.get(place_of(folder), MOST_MODULES)
    assert len([module for module in folder.glob("*.py") if module.name != "__init__.py"]) <= most


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != PACKAGE], ids=place_of)
def test_a_package_says_what_is_in_it(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    assert len(docstring.splitlines()) <= 8


@pytest.mark.parametrize("folder", TESTS, ids=lambda folder: folder.name)
def test_tests_mirror_the_packages(folder: Path) -> None:
    """`deploy` has the tests of the folder of that name beside the package."""
    mirrored = folder.relative_to(ROOT / "tests/unit")
    assert (PACKAGE / mirrored).is_dir() or (ROOT / mirrored).is_dir()


def test_no_test_imports_a_conftest() -> None:
    """The name means whichever pytest loaded first, which depends on the arguments it was given."""
    imported = re.compile(r"^\s*(from|import)\s+conftest\b", re.MULTILINE)
    assert not [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if imported.search(path.read_text(encoding="utf-8"))
    ]


def test_the_top_level_holds_what_belongs_there() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone")
    assert {name.split("/")[0] for name in listed.stdout.splitlines()} <= TOP_LEVEL
