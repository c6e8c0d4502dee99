"""What `import metaferry` gives, pinned: a name that goes, or one that slips in, is seen here."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import metaferry

NAMES = [
    "Code",
    "Finding",
    "FrameCount",
    "Interrupted",
    "Job",
    "JobError",
    "LeaseHeld",
    "LeaseLost",
    "MetaferryError",
    "PlanReport",
    "Progress",
    "RollbackReport",
    "RunReport",
    "SafetyStop",
    "SchemaError",
    "Severity",
    "ShardsMissing",
    "Stop",
    "StorageError",
    "TableMissing",
    "Unlocked",
    "UsageError",
    "__version__",
    "check",
    "check_schema",
    "count_frames",
    "describe_tables",
    "diff_schema",
    "doctor",
    "export",
    "export_file",
    "finish",
    "infer_schema",
    "plan",
    "policy",
    "report",
    "rollback",
    "select",
    "sync",
    "unlock",
]
#: Libraries that take time to load, or that speak to a store.
HEAVY = {
    *(
        "adlfs",
        "aiobotocore",
        "aiohttp",
        "azure",
        "botocore",
        "fsspec",
        "gcsfs",
        "google",
        "requests",
        "s3fs",
    ),
    *("av", "duckdb", "numpy", "pandas", "pyarrow", "tenacity"),
}
COMMAND = "import metaferry.cli.main as m, sys; sys.argv = ['metaferry', {}]; m.main()"
#: Says at the end which top-level packages were imported.
TELL = "import atexit, sys; atexit.register(lambda: print(*{n.partition('.')[0] for n in sys.modules}))"


def test_the_public_names() -> None:
    assert metaferry.__all__ == NAMES
    assert dir(metaferry) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_there_and_documented(name: str) -> None:
    value = getattr(metaferry, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'sink'"):
        metaferry.sink  # noqa: B018 - looking it up is the test


def test_it_is_typed() -> None:
    assert (Path(metaferry.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import metaferry", {"pydantic", "typer", "rich", "yaml"}),
        (COMMAND.format("'--help'"), {"pydantic", "rich", "yaml"}),
        (COMMAND.format("'--version'"), {"pydantic", "rich", "yaml"}),
        (COMMAND.format("'sync', '--help'"), {"yaml"}),
    ],
)
def test_nothing_heavy_is_loaded_to_begin_with(code: str, more: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{TELL}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(metaferry.__file__).parent.parent)},
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "metaferry" in loaded
    assert loaded & (HEAVY | more) == set()
