"""A task that waits for the lease of another run without a worker slot."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metaferry import Job
from metaferry.airflow import MetaferrySyncOperator
from metaferry.airflow.triggers import LeaseTrigger
from metaferry.airflow.versions import AirflowException
from servers.s3_rules import Fault

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:
    from airflow.exceptions import TaskDeferred

LEASE = "data/.metaferry/lease.json"


class Instance:
    task = None

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context() -> dict[str, Any]:
    return {"ti": Instance(), "outlet_events": {}}


def sync(site: Any, *overrides: str, **more: Any) -> MetaferrySyncOperator:
    given = {"job": str(site.job), "aws_conn_id": "aws_fleet", "deferrable": True, "poll": 0.05, **more}
    return MetaferrySyncOperator(task_id="sync", overrides=list(overrides), **given)


def hold(site: Any, *, lease_for: float = 600.0, renewed: int = 0) -> None:
    """The lease of a run on another machine."""
    record = {
        "version": 1,
        "holder": "aa",
        "run_id": "one",
        "host": "elsewhere",
        "user": "ann",
        "pid": 1,
        "lease_for": lease_for,
        "renewed": renewed,
    }
    site.s3.seed(site.bucket, [LEASE], json.dumps(record).encode())


def give_back(site: Any) -> None:
    from metaferry import unlock

    unlock(Job.load(site.job).with_storage({"s3": site.s3.options}))


def deferred(operator: MetaferrySyncOperator, here: dict[str, Any] | None = None) -> Any:
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(here or context())
    return caught.value


def reborn(trigger: Any) -> LeaseTrigger:
    """As the triggerer makes it: from what was stored as JSON."""
    path, kwargs = trigger.serialize()
    assert path == "metaferry.airflow.triggers.LeaseTrigger"
    return LeaseTrigger(**json.loads(json.dumps(kwargs)))


def fired(trigger: LeaseTrigger, meanwhile: Any = None) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            async for event in trigger.run():
                found: dict[str, Any] = event.payload
                return found
            raise AssertionError("it did not fire")

        looking = asyncio.create_task(look())
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        return await asyncio.wait_for(looking, 60)

    return asyncio.run(first())


def test_a_task_gives_its_slot_up_while_another_run_has_the_lease(site: Any, secret: str) -> None:
    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    assert site.written() == 0
    assert secret not in json.dumps(given.trigger.serialize())

    def later() -> None:
        site.s3.log()
        give_back(site)

    event = fired(reborn(given.trigger), later)
    assert event == {"free": True, "fault": "", "until": given.trigger.until}
    again = sync(site, "lease_wait=300")  # in another process
    report = getattr(again, given.method_name)(context(), event=event)
    assert report["documents"]["create"] == site.count


def test_a_lease_that_nobody_renews_may_be_taken_over(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trigger times it by the version of the object, and by its own clock alone."""
    from metaferry.airflow import triggers

    hold(site)
    given = deferred(sync(site, "lease_wait=300", "lease_for=90"))
    now = iter(range(0, 100_000, 40))
    monkeypatch.setattr(triggers, "monotonic", lambda: float(next(now)))
    assert fired(reborn(given.trigger))["free"]


def test_a_task_goes_on_after_a_while_at_the_earliest(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow takes one for failed whose first process it has not seen end yet."""
    from metaferry.airflow import triggers

    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    give_back(site)
    site.s3.clear()
    waits: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        waits.append((seconds, len(site.s3.log("GET", "lease.json"))))

    monkeypatch.setattr(triggers, "asyncio", SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread))
    assert fired(reborn(given.trigger))["free"]
    assert waits == [(0.05, 0)]


def test_a_task_waits_no_longer_than_its_job_says(site: Any) -> None:
    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    trigger = reborn(given.trigger)
    trigger.until = over
    event = fired(trigger)
    assert event == {"free": False, "fault": "", "until": over}
    with pytest.raises(AirflowException, match="lease"):
        sync(site, "lease_wait=300").resume(context(), event=event)
    with pytest.raises(AirflowException, match="lease"):
        sync(site, "lease_wait=0").execute(context())


def test_a_task_that_finds_it_held_again_waits_again_until_the_same_moment(site: Any) -> None:
    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    event = {"free": True, "fault": "", "until": given.trigger.until}
    with pytest.raises(TaskDeferred) as caught:
        sync(site, "lease_wait=300").resume(context(), event=event)
    assert caught.value.trigger.until == given.trigger.until


def test_what_the_triggerer_cannot_do_is_done_in_the_slot(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    monkeypatch.delenv("AIRFLOW_CONN_AWS_FLEET")
    event = fired(reborn(given.trigger))
    assert not event["free"]
    assert "NotFound" in event["fault"]
    monkeypatch.setenv("AIRFLOW_CONN_AWS_FLEET", site.connection)
    give_back(site)
    report = sync(site, "lease_wait=300").resume(context(), event=event)
    assert report["documents"]["create"] == site.count


def test_a_store_that_the_triggerer_cannot_reach_is_named(site: Any, secret: str) -> None:
    hold(site)
    given = deferred(sync(site, "lease_wait=300"))
    site.s3.add(Fault("status", "GET", "lease", times=1000, status=403, code="AccessDenied"))
    event = fired(reborn(given.trigger))
    assert "AccessDenied" in event["fault"]
    assert secret not in json.dumps(event)


def test_a_job_with_a_secret_does_not_go_to_the_triggerer(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(site)
    options = ["storage.s3.key=k", "storage.s3.secret=canary-in-a-job", "lease_wait=1"]
    with pytest.raises(AirflowException, match="lease"):
        sync(site, *options).execute(context())


def test_the_variables_of_a_job_go_as_they_are_written(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFERRY_TEST_KEY", "canary-of-a-variable")
    job = json.loads(site.job.read_text()) | {"storage": {"s3": {"key": "${METAFERRY_TEST_KEY}"}}}
    site.job.write_text(json.dumps(job))
    hold(site)
    text = json.dumps(deferred(sync(site, "lease_wait=300")).trigger.serialize())
    assert "${METAFERRY_TEST_KEY}" in text
    assert "canary" not in text


def test_the_triggerer_reads_the_connections_of_databases(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no variable for their URIs, and its environment is that of all triggers."""
    monkeypatch.setenv("AIRFLOW_CONN_LABELS", "postgres://reader:canary-of-a-database@db/fleet")
    source = {"sql": {"uri": "${METAFERRY_LABELS}", "query": "SELECT 1"}}
    job = json.loads(site.job.read_text()) | {"sources": [source]}
    trigger = LeaseTrigger(
        job=job,
        until=(datetime.now(UTC) + timedelta(minutes=5)).isoformat(),
        poll=0.05,
        aws_conn_id="aws_fleet",
        sql_conn_ids={"METAFERRY_LABELS": "labels"},
    )
    again = reborn(trigger)
    assert "canary" not in json.dumps(again.serialize())
    assert fired(again) == {"free": True, "fault": "", "until": trigger.until}
    assert "METAFERRY_LABELS" not in os.environ


def test_waiting_in_the_triggerer_is_the_default_where_airflow_says_so(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not sync(site, deferrable=None).deferrable
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert sync(site, deferrable=None).deferrable


DAG = """
from datetime import datetime

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

from metaferry.airflow import MetaferrySyncOperator

with DAG("waits", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    MetaferrySyncOperator(
        task_id="sync",
        job={job!r},
        aws_conn_id="aws_fleet",
        overrides=["lease_wait=900"],
        deferrable=True,
        poll=0.5,
    )
"""


def test_airflow_itself_defers_the_task_and_resumes_it(
    site: Any, tmp_path: Path, expected: dict[str, bytes], wait_until: Callable[..., None]
) -> None:
    """The trigger runs in a loop of Airflow's, and reads the connection there."""
    hold(site)
    file = tmp_path / "waits.py"
    file.write_text(DAG.format(job=str(site.job)))
    said = tmp_path / "said.txt"
    with said.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "run_dag.py"), str(file)],
            env=site.environment(AIRFLOW__CORE__DAGS_FOLDER=str(tmp_path)),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            for looks in (1, 6):  # the first are the run's, the others the trigger's
                wait_until(lambda least=looks: len(site.s3.log("GET", "lease.json")) >= least, process)
            assert site.written() == 0
            give_back(site)
            code = process.wait(240)
        finally:
            process.kill()
    text = said.read_text()
    assert code == 0, text[-4000:]
    assert json.loads(text.strip().splitlines()[-1])["state"] == "success", text[-4000:]
    assert "waits for it outside of the worker" in text
    assert site.tree() == expected
