"""Alert rules and dashboard: derived files are fresh, and every expression asks for what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaferry.cli.serve.status import Status
from metaferry.planning.formats import RunReport
from metaferry.runs.metrics.figures import METRICS, Ended, samples

MONITORING = Path(__file__).parents[3] / "deploy/monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"][0]["rules"]
BOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())

#: A metric and what is asked of its labels.
SELECTOR = re.compile(r"(metaferry_\w+|\bup\b)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
WORDS = {"time", "sum", "max", "by", "on", "and", "or", "unless", "absent", "last_over_time", "d"}


def labels() -> dict[str, tuple[str, ...]]:
    """The labels of every metric there is, beside the job's; what `serve` adds is told by itself."""
    found = {metric.name: metric.labels for metric in METRICS}
    found |= {metric.total: metric.labels for metric in METRICS if metric.total}
    loop = Status("fleet", "1", lambda: datetime(2026, 11, 23, tzinfo=UTC), lambda: 0.0)
    loop.waits(datetime(2026, 11, 24, tzinfo=UTC), 86_400.0, 0)
    families = list(loop.families())
    loop.begins()
    families += loop.families()
    shown = {sample.name: sample.labels for family in families for sample in family.samples}
    shown["up"] = {"job": "", "instance": ""}  # what Prometheus says of each target itself
    return {name: tuple(had) for name, had in shown.items()} | found


def values() -> dict[str, set[str]]:
    """The values that a label can have, where they are a closed set."""
    found: dict[str, set[str]] = {}
    known = samples(RunReport(run_id="", job_digest="", started="").to_dict(), Ended(0, 0), version="0")
    for metric in METRICS:
        for sample in known.get(metric.name, {}):
            for label, value in zip(metric.labels, sample, strict=True):
                found.setdefault(label, set()).add(value)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def selectors(expression: str) -> list[tuple[str, str]]:
    """The metrics of an expression, each with its matchers."""
    found = SELECTOR.findall(re.sub(r"(?:by|on) \([^)]*\)", "", expression))
    return [(name, matchers) for name, matchers in found if name != "metaferry_job"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_asks_for_what_there_is(title: str, expression: str) -> None:
    metrics, possible = labels(), values()
    asked = selectors(expression)
    assert asked
    for name, matchers in asked:
        assert name in metrics
        found = MATCHER.findall(matchers)
        assert MATCHER.sub("", matchers).strip(", ") == ""
        for label, operator, value in found:
            if label == "metaferry_job":
                continue
            assert label in metrics[name]
            if name == "up":
                continue
            wanted = value.split("|") if operator in ("=~", "!~") else [value]
            assert set(wanted) <= possible[label]
    # What is left is arithmetic.
    rest = set(re.findall(r"[a-z_]+", re.sub(r"\{[^}]*\}|metaferry_\w+|\bup\b", "", expression)))
    assert rest <= WORDS
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_tells_what_and_how_bad(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    first = selectors(rule["expr"])[0][0]
    assert used <= {"metaferry_job", *(() if "sum by" in rule["expr"] else labels()[first])}


def test_two_vectors_are_compared_by_the_same_labels() -> None:
    """One side summed up and the other not would match nothing, and the alert would never fire."""
    for rule in RULES:
        if " on (" in rule["expr"]:
            continue  # which names the labels itself
        sides = re.split(r" (?:>|<|and|or|unless) ", rule["expr"])
        vectors = [side for side in sides if "metaferry_" in side.replace("(metaferry_job)", "")]
        assert len({"sum by" in side for side in vectors}) <= 1, rule["alert"]


def test_each_rule_is_tried_and_nothing_else() -> None:
    tried = yaml.safe_load((MONITORING / "rules_test.yaml").read_text())
    cases = [case for one in tried["tests"] for case in one["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case.get("exp_alerts")}
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(("what", "file"), [("check", "rules.yaml"), ("test", "rules_test.yaml")])
def test_prometheus_takes_the_rules(what: str, file: str) -> None:
    command = ["promtool", what, "rules", file]
    done = subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_derived_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(MONITORING / "make.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
