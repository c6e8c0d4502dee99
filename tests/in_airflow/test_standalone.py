"""A scheduler and a triggerer of Airflow, as processes: tasks that wait, events that start another DAG."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from in_airflow.run_dag import plain
from in_airflow.standalone import COMMAND, Standalone, standalone
from in_airflow.test_docs_dags import dag as dag_of_the_page

#: The Python with which the processes of Airflow are started.
OLDEST = (3, 11)
LEASE = "data/.metaferry/lease.json"
IMPORTS = """
from datetime import datetime

try:
    from airflow.sdk import DAG, Asset
except ImportError:
    from airflow import DAG
    from airflow.datasets import Dataset as Asset

from metaferry.airflow import MetaferryCheckOperator, MetaferrySyncOperator

NEVER = datetime(2026, 1, 1)
"""
WRITER = (
    IMPORTS
    + """
with DAG({dag!r}, schedule=None, start_date=NEVER) as dag:
    MetaferrySyncOperator(
        task_id="sync",
        job={job!r},
        aws_conn_id="aws_fleet",
        sql_conn_ids={databases!r},
        overrides=["lease_wait=1800"],
        outlets=[Asset({asset!r})],
        skip_on_no_change=True,
        deferrable=True,
        poll=0.5,
    )
"""
)
READER = (
    IMPORTS
    + """
with DAG({dag!r}, schedule=[Asset({asset!r})], start_date=NEVER) as dag:
    MetaferryCheckOperator(task_id="check", job={job!r}, aws_conn_id="aws_fleet", retries=0)
"""
)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    if sys.version_info[:2] != OLDEST:
        pytest.skip("the processes are started with the oldest Python alone: they take minutes")
    if not COMMAND.exists():
        pytest.skip(f"there is no {COMMAND}")
    with standalone(tmp_path_factory.mktemp("standalone")) as found:
        yield found


@pytest.fixture
def connected(site: Any, up: Standalone) -> Iterator[Any]:
    """The datasource, and Airflow's connection to it."""
    up.cli("connections", "add", "aws_fleet", "--conn-json", site.connection)
    yield site
    up.cli("connections", "delete", "aws_fleet")


@pytest.fixture
def held(connected: Any) -> Any:
    """The datasource, with the lease in the hands of a run on another machine."""
    record = {"version": 1, "holder": "aa", "run_id": "one", "host": "elsewhere", "user": "ann", "pid": 1}
    content = json.dumps({**record, "lease_for": 3600.0, "renewed": 0}).encode()
    connected.s3.seed(connected.bucket, [LEASE], content)
    return connected


def give_back(site: Any) -> None:
    from metaferry import Job, unlock

    unlock(
        Job.from_mapping(
            {
                "input": f"s3://{site.bucket}/data",
                "sources": [{"table": "x.csv"}],
                "storage": {"s3": site.s3.options},
            }
        )
    )


def xcoms(up: Standalone, dag_id: str) -> dict[str, Any]:
    try:
        from airflow.models.xcom import XComModel
    except ImportError:
        from airflow.models.xcom import XCom as XComModel
    return {row.key: plain(row.value) for row in up.rows(XComModel, dag_id=dag_id)}


def events(up: Standalone, dag_id: str) -> list[dict[str, Any]]:
    try:
        from airflow.models.asset import AssetEvent
    except ImportError:
        from airflow.models.dataset import DatasetEvent as AssetEvent
    return [dict(row.extra or {}) for row in up.rows(AssetEvent, source_dag_id=dag_id)]


def waits(up: Standalone, dag_id: str, site: Any) -> None:
    """Returns when the task waits in the triggerer, which has looked at the lease several times since."""
    up.cli("dags", "trigger", dag_id)
    settled = {"deferred", "failed", "skipped", "success", "up_for_retry"}
    up.until(lambda: settled & {state for _, state in up.tasks(dag_id)})
    assert up.tasks(dag_id) == [("sync", "deferred")], up.log(dag_id)[-4000:]
    # One that goes on before the scheduler has heard of this is taken for failed: apache/airflow#72716.
    for _ in range(2):
        last = up.heartbeat()
        up.until(lambda last=last: up.heartbeat() > last)
    site.s3.clear()
    up.until(lambda: len(site.s3.log("GET", "lease.json")) >= 3)
    assert site.written() == 0
    assert up.tasks(dag_id) == [("sync", "deferred")]


def test_a_task_waits_in_the_triggerer_and_its_event_starts_the_next_dag(
    held: Any, up: Standalone, expected: dict[str, bytes], secret: str
) -> None:
    asset = f"s3://{held.bucket}/data"
    up.add_dag("reader", READER.format(dag="reader", asset=asset, job=str(held.job)))
    up.add_dag("writer", WRITER.format(dag="writer", asset=asset, job=str(held.job), databases={}))
    waits(up, "writer", held)
    give_back(held)
    assert up.ended("writer") == "success", up.log("writer")[-4000:]
    assert held.tree() == expected

    left = xcoms(up, "writer")
    assert left["return_value"]["documents"]["create"] == held.count
    assert left["report_url"] == f"s3://{held.bucket}/data/.metaferry/runs/{left['run_id']}/run.json"
    (event,) = events(up, "writer")
    assert (event["run_id"], event["documents"]["create"]) == (left["run_id"], held.count)

    assert up.ended("reader") == "success", up.log("reader")[-4000:]
    assert xcoms(up, "reader")["return_value"]["documents"]["total"] == held.count
    assert secret not in up.log("writer") + up.log("reader")

    # A run that changes nothing is skipped, and makes no event, so that the other DAG has one run still.
    up.cli("dags", "trigger", "writer")
    up.until(lambda: len(up.tasks("writer")) == 2 and up.ended("writer"))
    assert up.tasks("writer") == [("sync", "skipped"), ("sync", "success")]
    assert len(events(up, "writer")) == 1
    assert up.tasks("reader") == [("check", "success")]


def test_a_mapped_backfill(
    connected: Any, up: Standalone, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The one of docs/airflow.md, whose scheduler makes the tasks of the shares when the plan is there."""
    code = dag_of_the_page("fleet_backfill", connected, tmp_path).read_text()
    assert "groups=16" in code
    # Each task is a process, and takes seconds to start.
    up.add_dag("fleet_backfill", code.replace("groups=16", "groups=3"))
    up.cli("dags", "trigger", "fleet_backfill")
    assert up.ended("fleet_backfill") == "success", up.log("fleet_backfill")[-4000:]
    assert up.tasks("fleet_backfill") == [
        (task, "success") for task in ("finish", "plan", "write", "write", "write")
    ]
    assert connected.tree() == expected
    assert connected.written() == connected.count + 1, "each document once, and schema.json"


def test_a_task_with_a_database_waits_in_the_triggerer(held: Any, up: Standalone, tmp_path: Path) -> None:
    """The triggerer has no variable for the URI: it reads the connection."""
    if importlib.util.find_spec("adbc_driver_sqlite") is None:
        pytest.skip('the driver of SQLite is not here: pip install "metaferry[sql]"')
    database = tmp_path / "labels.db"
    with sqlite3.connect(database) as con:
        con.execute("CREATE TABLE labels (file_name TEXT, scene TEXT)")
        con.execute("INSERT INTO labels VALUES ('day-0/image-0000.png', 'night')")
    con.close()
    source = {"sql": {"uri": "${LABELS}", "query": "SELECT * FROM labels"}}
    held.job.write_text(json.dumps(json.loads(held.job.read_text()) | {"sources": [source]}))
    up.cli(
        "connections",
        "add",
        "labels",
        "--conn-json",
        json.dumps({"conn_type": "sqlite", "host": str(database)}),
    )
    asset = f"s3://{held.bucket}/labels"
    up.add_dag(
        "labelled",
        WRITER.format(dag="labelled", asset=asset, job=str(held.job), databases={"LABELS": "labels"}),
    )
    waits(up, "labelled", held)
    give_back(held)
    assert up.ended("labelled") == "success", up.log("labelled")[-4000:]
    assert "could not look at the lease" not in up.log("labelled")
    assert xcoms(up, "labelled")["return_value"]["documents"]["create"] == 1
    assert held.written() == 2  # and schema.json
