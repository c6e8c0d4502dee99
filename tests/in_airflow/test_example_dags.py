"""The example DAGs, run whole: what they leave is what a plain sync leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from metaferry.airflow import MetaferrySyncOperator

HERE = Path(__file__).parent


def start(site: Any, name: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "run_dag.py"), name],
        env=site.environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(site: Any, name: str, **environment: str) -> dict[str, Any]:
    process = start(site, name, **environment)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, (out + err)[-6000:]
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    found["said"] = out + err
    return found


def test_a_sync(site: Any, expected: dict[str, bytes], secret: str) -> None:
    found = run(site, "metaferry_sync")
    assert found["state"] == "success", found["said"][-4000:]
    assert site.tree() == expected
    ((*_, value),) = [xcom for xcom in found["xcoms"] if xcom[2] == "return_value"]
    assert value["documents"]["create"] == site.count
    (event,) = found["events"]
    assert event["documents"]["create"] == site.count
    assert secret not in json.dumps(found)
    assert {xcom[2] for xcom in found["xcoms"]} >= {"run_id", "report_url", "report"}
    again = run(site, "metaferry_sync")
    assert (again["state"], again["events"]) == ("success", [])  # nothing changed


def test_a_backfill(site: Any, expected: dict[str, bytes], secret: str) -> None:
    found = run(site, "metaferry_backfill")
    assert found["state"] == "success", found["said"][-4000:]
    assert {task for task, state in found["tasks"].items() if state == "success"} == {
        "plan[-1]",
        *(f"write[{n}]" for n in range(4)),
        "finish[-1]",
    }
    assert site.tree() == expected
    assert secret not in json.dumps(found)


def test_a_killed_task_is_made_good_by_the_next(
    site: Any, expected: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    site.s3.set(latency_ms=40)
    process = start(site, "metaferry_sync")
    wait_until(lambda: site.written() >= 60, process)
    process.kill()
    process.communicate()
    assert 60 <= site.written() < site.count
    site.s3.set(latency_ms=0)
    # Whoever died on this machine holds no lease: the next one takes it over at once.
    found = run(site, "metaferry_sync")
    assert found["state"] == "success", found["said"][-4000:]
    assert site.tree() == expected
    third = MetaferrySyncOperator(task_id="sync", job=str(site.job), aws_conn_id="aws_fleet")
    documents = third.execute({"ti": Mock(task=None), "outlet_events": {}})["documents"]
    assert (documents["keep"], documents["create"], documents["update"]) == (site.count, 0, 0)
    assert site.tree() == expected


def test_a_task_that_is_ended_drains(
    site: Any, expected: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    site.s3.set(latency_ms=40)
    process = start(site, "metaferry_sync")
    wait_until(lambda: site.written() >= 60, process)
    os.kill(process.pid, signal.SIGTERM)
    # A run that drained gives its lease back; one that was killed leaves it behind.
    wait_until(lambda: not site.s3.count(site.bucket, "data/.metaferry/lease.json"), process)
    process.kill()  # Airflow 3 would now wait for the time of the next attempt
    process.communicate()
    site.s3.set(latency_ms=0)
    assert 60 <= site.written() < site.count
    for body in site.tree().values():
        json.loads(body)
    assert run(site, "metaferry_sync")["state"] == "success"
    assert site.tree() == expected
