"""Each benchmark that needs nothing from elsewhere runs at a tiny size, so that none of them rots.

Its figures say nothing at that size, and none is looked at. `put` and `noop` compare with programs that
`make bench-put` fetches, `frames` with a folder of videos: they run where those are.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.servers]

TESTS = Path(__file__).parents[1]
BENCHMARKS = TESTS / "benchmarks"

TINY = {
    "apply_share": ["50", "1"],
    "plan_rows": ["2000"],
    "plan_scale": ["0.002"],
    "scale": ["--documents", "40", "--rounds", "1", "--json"],
    "threads": ["--puts", "50"],
}
#: Those that need what is fetched for them.
ELSEWHERE = {"frames", "noop", "peers", "put"}


def test_every_benchmark_is_run() -> None:
    programs = {path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()}
    assert programs == TINY.keys() | ELSEWHERE


@pytest.mark.parametrize("name", TINY)
def test_it_runs_at_a_tiny_size(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *TINY[name]],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(character.isdigit() for character in done.stdout)


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_the_others_can_be_loaded(name: str) -> None:
    """All that they import from the program, in functions too, is there."""
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    assert imported
    for node in imported:
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
