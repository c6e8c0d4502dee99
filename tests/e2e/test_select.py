"""`metaferry select`: the examples of docs/select.md, and trees of other kinds, over real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import metaferry
from e2e.world import World
from metaferry.view.selection.result import Verdict

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/select.md").read_text(encoding="utf-8")
ENTRY = {"name": "N", "path": "n", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
ABOVE = {
    "n_samples": 1,
    "strategies": [
        {
            "input": {"type": "METADATA", "key": "n"},
            "strategy": {"type": "THRESHOLD", "threshold": 1, "operation": "BIGGER_EQUAL"},
        }
    ],
}


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.run("demo").code == 0
    configs = re.findall(r"```yaml\n(n_samples.*?)```", PAGE, re.DOTALL)
    shown = re.findall(r"```text\n\$ metaferry (select .*?)\n(.*?)```", PAGE, re.DOTALL)
    assert len(configs) == len(shown) == 2
    for config, (command, output), code in zip(configs, shown, (3, 0), strict=True):
        arguments = command.split()
        world.put(arguments[-1], config)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        ran = world.run(*arguments)
        assert (ran.code, ran.out) == (code, output.replace("/home/you", str(tmp_path)))
        # Nothing is written, a cache included.
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_tree_that_others_wrote_by_url_and_by_job(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        world.put(f"data/{name}", b"")
    world.put("data/.lightly/metadata/schema.json", json.dumps([ENTRY]))
    world.put("data/.lightly/metadata/a.json", '{"metadata": {"n": 3}}')
    world.put("data/.lightly/metadata/b.json", '{"metadata": {"n": 3},}')
    world.put("selection.json", json.dumps(ABOVE))
    ran = world.run("select", "data", "--config", "selection.json", "--format", "json")
    assert ran.code == 0
    assert (ran.report["samples"], ran.report["passing"], ran.report["verdict"]) == (3, 1, "feasible")
    assert ran.report["strategies"][0]["default"] == 1
    assert ran.report["notes"] == ["1 document is invalid, over which the consumer stops: metaferry check"]

    world.job = {
        "input": "data",
        "media": {"exclude": ["a.png"]},
        "sources": [{"table": "t.csv", "file_name": "f"}],
    }
    world.write_job()
    found = metaferry.select(tmp_path / "job.yaml", ABOVE)
    assert (found.samples, found.verdict, found.exit_code) == (2, Verdict.NOT_FEASIBLE, 3)


def test_without_a_schema_nothing_is_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put("data/a.png", b"")
    found = metaferry.select(world.data, ABOVE)
    assert found.reasons[-1].endswith("there is no schema entry with the path 'n'; there are: none")
    assert found.notes[0] == "there is no schema.json, so nothing is shown"


def test_a_config_that_is_none_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(
        "selection.yaml", "strategies:\n  - input: {type: METADATA, key: n}\n    strategy: {type: THRESH}\n"
    )
    ran = world.run("select", "nowhere", "--config", "selection.yaml")
    assert ran.code == 2
    assert "selection.yaml:3:22: strategies[0].strategy.type: should be one of DIVERSITY, WEIGHTS" in ran.err
    assert world.run("select", "nowhere", "--config", "none.yaml").code == 2
