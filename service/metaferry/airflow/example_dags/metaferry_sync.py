"""Every hour: the documents of a datasource are made what its tables say.

The job file, and the connection whose credentials are used, come from the environment of the workers.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

try:
    from airflow.sdk import DAG, Asset
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.datasets import Dataset as Asset

from metaferry.airflow import MetaferrySyncOperator

with DAG(
    dag_id="metaferry_sync",
    schedule=timedelta(hours=1),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["metaferry"],
) as dag:
    MetaferrySyncOperator(
        task_id="sync",
        job=os.environ.get("METAFERRY_JOB", "/opt/airflow/jobs/fleet.yaml"),
        aws_conn_id="aws_fleet",
        retries=3,
        retry_delay=timedelta(minutes=2),
        outlets=[Asset(os.environ.get("METAFERRY_ASSET", "s3://fleet-lightly/2026"))],
    )
