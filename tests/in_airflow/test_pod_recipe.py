"""The recipe of docs/airflow.md for a pod of its own: what Airflow asks a cluster for, and what runs in it.

There is no cluster here. The pod is built as the operator builds it, is valid by the schemas of Kubernetes,
has what the CronJob's pod has, and its arguments are run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.providers.cncf.kubernetes", reason="the provider of Kubernetes is not here")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/airflow.md").read_text(encoding="utf-8")
#: As the manifests are checked: `tests/unit/deploy/schemas`.
VERSIONS = ("1.31", "1.34")


def recipe() -> Any:
    """The operator of the page, in a DAG."""
    try:
        from airflow.sdk import DAG
    except ImportError:
        from airflow import DAG
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        if "KubernetesPodOperator(" in block
    )
    with DAG("pods", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        exec(compile(code, "docs/airflow.md", "exec"), {})
    (task,) = dag.tasks
    return task


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The pod as it goes over the wire."""
    from kubernetes.client import ApiClient

    # Not dry, it asks a cluster for the labels of the task alone.
    built = recipe().build_pod_request_obj(dry_run=True)
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(built)
    return found


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    """The pod of the CronJob."""
    import yaml

    job = yaml.safe_load((ROOT / "deploy/kustomize/base/cronjob.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pod_is_valid(pod: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(pod, version, strict=True)


def test_a_pod_with_a_field_that_does_not_exist_is_not(pod: dict[str, Any]) -> None:
    wrong = json.loads(json.dumps(pod))
    wrong["spec"]["serviceAccuontName"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_it_has_what_the_pod_of_the_cronjob_has(pod: dict[str, Any], template: dict[str, Any]) -> None:
    """A namespace that enforces the profile `restricted`, as ours does, refuses one without."""
    for key in (
        "restartPolicy",
        "serviceAccountName",
        "automountServiceAccountToken",
        "securityContext",
        "terminationGracePeriodSeconds",
        "volumes",
    ):
        assert pod["spec"][key] == template["spec"][key], key
    ours = next(each for each in pod["spec"]["containers"] if each["name"] == "base")
    (theirs,) = template["spec"]["containers"]
    for key in ("args", "envFrom", "securityContext", "resources"):
        assert ours[key] == theirs[key], key
    mounts = [{key: value for key, value in each.items() if value} for each in ours["volumeMounts"]]
    assert mounts == theirs["volumeMounts"]
    assert template["metadata"]["annotations"].items() <= pod["metadata"]["annotations"].items()
    assert not ours.get("command")  # that of the image
    assert len(pod["spec"]["containers"]) == 1


def test_a_dry_run_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    recipe().dry_run()
    out = capsys.readouterr().out
    shown = yaml.safe_load(out[out.index("api_version:") :])  # after the log
    assert shown["spec"]["containers"][0]["image"].startswith("registry.example.com/metaferry:")
    assert shown["metadata"]["namespace"] == "metaferry"


def test_its_arguments_make_a_sync(pod: dict[str, Any], tmp_path: Path) -> None:
    """As the image runs them, with the job where the volume would have it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_bytes(b"image")
    (tmp_path / "labels.csv").write_text("file_name,scene\na.png,fog\n")
    job = tmp_path / "job.yaml"
    job.write_text("input: data\nsources:\n  - table: labels.csv\n")
    words = [
        word.replace("/etc/metaferry/job.yaml", str(job)) for word in pod["spec"]["containers"][0]["args"]
    ]
    assert str(job) in words
    done = subprocess.run(
        [sys.executable, "-m", "metaferry", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "service")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"]["create"] == 1
