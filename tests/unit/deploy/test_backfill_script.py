"""backfill.sh against a kubectl that only remembers: the order of the steps, and what ends them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy/kustomize/backfill.sh"

#: A job has ended as the file `JOB.code` says; without such a file somebody deleted the job. The files
#: `suspended` and `mark` are the schedule's, which is not there without the first.
KUBECTL = r"""#!/bin/sh
printf '%s\n' "$*" >> "$STATE/calls"
shift 2 2>/dev/null
last() { eval "printf '%s\n' \"\${$#}\""; }
case "$*" in
    wait*) job=$(last "$@"); [ "$(cat "$STATE/${job#job/}.code")" = 0 ] ;;
    "get job metaferry-shards"*failedIndexes*) cat "$STATE/failed" 2>/dev/null || true ;;
    "get job"*--ignore-not-found*) [ ! -e "$STATE/$3.code" ] || printf '%s FailureTarget Failed' "$3" ;;
    "get cronjob"*) [ ! -e "$STATE/suspended" ] || echo "$(cat "$STATE/suspended") $(cat "$STATE/mark")" ;;
    "patch cronjob"*)
        case "$*" in *'"suspend":true'*) echo true ;; *) echo false ;; esac > "$STATE/suspended"
        case "$*" in *'suspended-by":null'*) : ;; *) printf backfill ;; esac > "$STATE/mark" ;;
    "get pods"*)
        for word in "$@"; do case $word in --selector=*) job=${word##*=} ;; esac; done
        printf '143\n'; cat "$STATE/$job.code" ;;
esac
"""


@pytest.fixture
def backfill(tmp_path: Path) -> Callable[..., tuple[int, list[str], str]]:
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)

    def run(
        plan: int, shards: int, finish: int | None, failed: str = "", schedule: str = ""
    ) -> tuple[int, list[str], str]:
        for name, code in (("plan", plan), ("shards", shards), ("finish", finish)):
            if code is not None:
                (tmp_path / f"metaferry-{name}.code").write_text(f"{code}\n")
        if schedule:
            suspended, _, mark = schedule.partition(" ")
            (tmp_path / "suspended").write_text(suspended)
            (tmp_path / "mark").write_text(mark)
        (tmp_path / "failed").write_text(failed)
        done = subprocess.run(
            ["sh", str(SCRIPT), "overlays/aws/backfill"],
            env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "STATE": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        calls = (tmp_path / "calls").read_text().splitlines()
        return done.returncode, calls, done.stderr

    return run


def steps(calls: list[str]) -> list[str]:
    """The calls that change something, shortly."""
    found = []
    for call in calls:
        words = call.removeprefix("--namespace metaferry ").split()
        if words[0] in ("delete", "apply"):
            found.append(words[0])
        elif words[0] == "patch":
            on = '"suspend":true' in words[-1]
            found.append(f"{'suspend' if on else 'resume'} {words[2]}")
    return found


def test_the_steps_follow_each_other(backfill: Callable[..., tuple[int, list[str], str]]) -> None:
    code, calls, said = backfill(0, 0, 0)
    assert (code, steps(calls)) == (
        0,
        [
            "delete",
            "apply",
            "suspend metaferry",
            "resume metaferry-shards",
            "resume metaferry-finish",
            "resume metaferry",
        ],
    ), said


@pytest.mark.parametrize("plan", [1, 2, 5])
def test_without_a_plan_nothing_is_begun(
    backfill: Callable[..., tuple[int, list[str], str]], plan: int
) -> None:
    code, calls, said = backfill(plan, 0, 0)
    assert code == plan
    assert steps(calls) == ["delete", "apply", "suspend metaferry", "resume metaferry"]
    assert f"the plan ended with {plan}: nothing was written" in said


def test_rejected_rows_stop_no_others(backfill: Callable[..., tuple[int, list[str], str]]) -> None:
    code, calls, said = backfill(3, 0, 3)
    assert code == 3
    assert "resume metaferry-finish" in steps(calls)
    assert "some rows were rejected" in said


def test_failed_shards_are_left_to_finish_which_says_so(
    backfill: Callable[..., tuple[int, list[str], str]],
) -> None:
    code, calls, said = backfill(0, 1, 1, failed="3,5-6")
    assert code == 1
    assert steps(calls)[-2:] == ["resume metaferry-finish", "resume metaferry"]
    assert "failed: the shards of 3,5-6" in said


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ("false ", ("false", "")),
        ("true ", ("true", "")),  # by somebody, before the backfill
        ("true backfill", ("false", "")),  # by a backfill that was killed
    ],
)
def test_a_schedule_that_somebody_suspended_stays_so(
    backfill: Callable[..., tuple[int, list[str], str]], tmp_path: Path, schedule: str, after: tuple[str, str]
) -> None:
    code, _, said = backfill(0, 0, 0, schedule=schedule)
    assert code == 0, said
    assert ((tmp_path / "suspended").read_text().strip(), (tmp_path / "mark").read_text()) == after
    assert ("stays so" in said) == (schedule == "true ")


def test_a_deleted_job_ends_the_backfill(backfill: Callable[..., tuple[int, list[str], str]]) -> None:
    code, calls, said = backfill(0, 0, None)
    assert code == 1
    assert "the job metaferry-finish was deleted; start the backfill again" in said
    assert steps(calls)[-1] == "resume metaferry"
