"""Runs one DAG with `dag.test()` and prints its XComs and asset events as the last line.

python run_dag.py metaferry_sync
python run_dag.py /path/of/dag.py
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from typing import Any

import airflow


def main() -> None:
    name = sys.argv[1]
    if airflow.__version__.startswith("2."):
        # Events are kept for the datasets of DAGs that the scheduler has seen; 3 sees to that itself.
        from airflow.models import DagBag

        DagBag(name if name.endswith(".py") else None, include_examples=False).sync_to_db()
    run = dag_of(name).test()
    state = str(getattr(run.state, "value", run.state))
    found = {}
    for instance in run.get_task_instances():
        found[f"{instance.task_id}[{instance.map_index}]"] = str(
            getattr(instance.state, "value", instance.state)
        )
    print(json.dumps({"state": state, "tasks": found, "xcoms": xcoms(run), "events": events(run)}))


def dag_of(name: str) -> Any:
    if name.endswith(".py"):
        return runpy.run_path(name)["dag"]
    return importlib.import_module(f"metaferry.airflow.example_dags.{name}").dag


def xcoms(run: object) -> list[list[object]]:
    """Every XCom that the run left, as it lies in the database."""
    from airflow.utils.session import create_session

    try:
        from airflow.models.xcom import XComModel
    except ImportError:
        from airflow.models.xcom import XCom as XComModel
    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.run_id == run.run_id).all()
        return [[row.task_id, row.map_index, row.key, plain(row.value)] for row in rows]


def plain(value: object) -> object:
    """The value as the task returned it; Airflow 3 shows it as it lies in the database."""
    try:
        return json.loads(value) if isinstance(value, str | bytes) else value
    except ValueError:
        return value  # text that is decoded already, such as a URL


def events(run: object) -> list[dict[str, object]]:
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent
    except ImportError:
        from airflow.models.dataset import DatasetEvent as AssetEvent
    with create_session() as session:
        rows = session.query(AssetEvent).filter(AssetEvent.source_run_id == run.run_id).all()
        return [dict(row.extra or {}) for row in rows]


if __name__ == "__main__":
    main()
