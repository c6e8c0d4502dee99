"""The chart of deploy/helm, rendered by Helm itself: the library of it that helm-python-sdk carries.

In a process of its own for each rendering, since the library brings a runtime with threads and signal
handlers that the tests' own process should not have.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[3] / "deploy/helm"
JOB = (CHART.parent / "kustomize/base/job.yaml").read_text(encoding="utf-8")

PROGRAM = """
import json, sys
import helm_python as helm

given = json.load(sys.stdin)
found = {}
try:
    with helm.Chart.load(given["chart"]) as chart:
        chart.validate_schema(given["values"])
        found["manifests"] = chart.render(given["values"], name=given["name"], namespace=given["namespace"])
    found["lint"] = helm.lint(given["chart"], given["values"], strict=True)
except helm.HelmError as error:
    found["error"] = str(error)
json.dump(found, sys.stdout)
"""


class Refused(Exception):
    """Helm, the schema or a template refused the values; the message is theirs."""


def render(
    values: dict[str, Any] | None = None, *, name: str = "metaferry", namespace: str = "metaferry"
) -> list[dict[str, Any]]:
    """The objects of a release, in the order of files; `values` go over the chart's, and `job` is there."""
    documents = []
    for path, text in manifests(values, name=name, namespace=namespace).items():
        if path.endswith(".yaml"):
            documents += [each for each in yaml.safe_load_all(text) if each]
    return documents


def template_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """The pod of a Job, a CronJob or a Deployment."""
    spec = document.get("spec", {})
    found: dict[str, Any] | None = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return found


def manifests(
    values: dict[str, Any] | None = None, *, name: str = "metaferry", namespace: str = "metaferry"
) -> dict[str, str]:
    """The text of every template."""
    found: dict[str, str] = _run(values, name, namespace)["manifests"]
    return found


def lint(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What `helm lint --strict` finds: `severity` 1 is information, 2 a warning, 3 an error."""
    found: list[dict[str, Any]] = _run(values, "metaferry", "metaferry")["lint"]["messages"]
    return found


def _run(values: dict[str, Any] | None, name: str, namespace: str) -> dict[str, Any]:
    if importlib.util.find_spec("helm_python") is None:
        pytest.skip("helm-python-sdk has no wheel for this system, so nothing here renders charts")
    given = {"job": JOB, **(values or {})}
    answer: dict[str, Any] = json.loads(_rendered(json.dumps(given, sort_keys=True), name, namespace))
    if "error" in answer:
        raise Refused(answer["error"])
    return answer


@cache
def _rendered(values: str, name: str, namespace: str) -> str:
    given = {"chart": str(CHART), "values": json.loads(values), "name": name, "namespace": namespace}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout
