"""once.sh against a kubectl that only remembers, but for the patch, which kubectl itself makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from unit.deploy.schemas import validate_manifest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "deploy/once.sh"

#: `job.json` is what a CronJob makes, `code` the exit code of the pod; without it somebody deleted the job.
KUBECTL = r"""#!/bin/sh
printf '%s\n' "$*" >> "$STATE/calls"
shift 2
case "$*" in
    "create job"*) cat "$STATE/job.json" ;;
    "create --filename"*) cat > "$STATE/created.json" ;;
    patch*) exec "$REAL" "$@" ;;
    logs*) echo "the log of the pod" ;;
    wait*) [ "$(cat "$STATE/code")" = 0 ] ;;
    "get job"*) [ ! -e "$STATE/code" ] || printf '%s FailureTarget Failed' "$3" ;;
    "get pods"*) cat "$STATE/code" ;;
esac
"""
Once = Callable[..., tuple["subprocess.CompletedProcess[str]", dict[str, Any], list[str]]]


@pytest.fixture
def once(tmp_path: Path) -> Once:
    real = shutil.which("kubectl")
    if real is None:
        pytest.skip("kubectl is not here to change the job")
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    schedule = yaml.safe_load((ROOT / "deploy/kustomize/base/cronjob.yaml").read_text(encoding="utf-8"))
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "made"},
        "spec": schedule["spec"]["jobTemplate"]["spec"],
    }
    (tmp_path / "job.json").write_text(json.dumps(job))

    def run(
        *words: str, code: int | None = 0, **environment: str
    ) -> tuple[subprocess.CompletedProcess[str], dict[str, Any], list[str]]:
        if code is not None:
            (tmp_path / "code").write_text(f"{code}\n")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", str(SCRIPT), *words],
            env={**os.environ, "PATH": path, "STATE": str(tmp_path), "REAL": real, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        created = tmp_path / "created.json"
        made = json.loads(created.read_text()) if created.exists() else {}
        calls = tmp_path / "calls"
        return done, made, calls.read_text().splitlines() if calls.exists() else []

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("unlock", "/etc/metaferry/job.yaml"),
        ("plan", "/etc/metaferry/job.yaml", "--prefix", 'a "quoted" \\ folder'),
        ("finish", "s3://fleet-lightly/2026/.metaferry/runs/1/plan", "--job", "/etc/metaferry/job.yaml"),
    ],
)
def test_a_command_runs_in_the_pod_of_the_schedule(once: Once, words: tuple[str, ...]) -> None:
    done, made, calls = once(*words)
    assert (done.returncode, done.stdout) == (0, "the log of the pod\n"), done.stderr
    assert f"once: {words[0]} ended with 0\n" in done.stderr
    validate_manifest(made)
    schedule = yaml.safe_load((ROOT / "deploy/kustomize/base/cronjob.yaml").read_text(encoding="utf-8"))
    before = schedule["spec"]["jobTemplate"]["spec"]["template"]
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["args"] == list(words)
    container["args"] = before["spec"]["containers"][0]["args"]
    assert made["spec"]["template"] == before, "identity, secrets, limits: all is the schedule's"
    assert "--from=cronjob/metaferry --dry-run=client -o json" in calls[0]
    assert calls[0].startswith(f"--namespace metaferry create job metaferry-{words[0]}-")


def test_a_command_that_fails_is_run_once_and_its_code_is_ours(once: Once) -> None:
    done, made, _ = once("plan", "/etc/metaferry/job.yaml", "--exit-code", code=4)
    assert done.returncode == 4
    assert made["spec"]["backoffLimit"] == 0
    (rule,) = made["spec"]["podFailurePolicy"]["rules"]
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_the_names_of_a_release_are_taken_from_the_environment(once: Once) -> None:
    _, _, calls = once("doctor", "/etc/metaferry/job.yaml", NAMESPACE="data", NAME="fleet")
    assert {call.split()[1] for call in calls if call.startswith("--namespace ")} == {"data"}
    assert "--from=cronjob/fleet" in calls[0]


def test_a_job_that_somebody_deleted_is_told(once: Once) -> None:
    done, _, _ = once("unlock", "/etc/metaferry/job.yaml", code=None)
    assert done.returncode == 1
    assert "was deleted; start it again" in done.stderr


def test_without_a_command_it_says_how_it_is_called(once: Once) -> None:
    done, _, calls = once()
    assert done.returncode != 0
    assert "usage: once.sh COMMAND" in done.stderr
    assert calls == []
