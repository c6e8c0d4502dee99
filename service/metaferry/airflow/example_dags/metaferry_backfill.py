"""Once: a whole bucket, planned by one task, written by many, finished by one.

`metaferry plan --keep`, a mapped `sync --plan` for each share of its shards, then `finish`, which fails
while a shard is missing. Clear a failed task and run it again: what is done is not done twice.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG

from metaferry.airflow import MetaferryFinishOperator, MetaferryPlanOperator, MetaferryShardOperator

PLAN = "{{ ti.xcom_pull(task_ids='plan', key='plan') }}"

with DAG(
    dag_id="metaferry_backfill",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={
        "job": os.environ.get("METAFERRY_JOB", "/opt/airflow/jobs/fleet.yaml"),
        "aws_conn_id": "aws_fleet",
        "retries": 2,
        "retry_delay": timedelta(minutes=2),
    },
    tags=["metaferry"],
) as dag:
    plan = MetaferryPlanOperator(task_id="plan", groups=4)
    write = MetaferryShardOperator.partial(task_id="write").expand_kwargs(plan.output)
    # Also when some of them failed: it says which shards are missing.
    finish = MetaferryFinishOperator(task_id="finish", plan=PLAN, trigger_rule="all_done")
    write >> finish
