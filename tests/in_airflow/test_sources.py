"""A DAG whose job has annotations on the bucket, and a database by a connection where its driver is
installed: plan, shards, finish."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.sources.every_media_reader import expected, files, sources
from in_airflow.test_operators import context, sync

HERE = Path(__file__).parent

DAG = """
from datetime import datetime

try:
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG

from metaferry.airflow import MetaferryFinishOperator, MetaferryPlanOperator, MetaferryShardOperator

PLAN = "{{{{ ti.xcom_pull(task_ids='plan', key='plan') }}}}"
common = dict(job={job!r}, aws_conn_id="aws_fleet", sql_conn_ids={{"METAFERRY_LABELS": "labels"}})

with DAG("sources", schedule=None, start_date=datetime(2026, 1, 1), default_args=common) as dag:
    plan = MetaferryPlanOperator(task_id="plan", groups=2)
    write = MetaferryShardOperator.partial(task_id="write").expand_kwargs(plan.output)
    finish = MetaferryFinishOperator(task_id="finish", plan=PLAN)
    write >> finish
"""


def test_annotations_and_a_database_of_a_connection(site: Any, tmp_path: Path, secret: str) -> None:
    image, other = "day-0/image-0000.png", "day-1/image-0001.png"
    coco = {
        "images": [{"id": 1, "file_name": image}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1} for n in range(3)],
        "categories": [{"id": 1, "name": "car"}],
    }
    site.s3.put(site.bucket, "labels/coco.json", json.dumps(coco).encode())
    with sqlite3.connect(tmp_path / "labels.db") as con:
        con.execute("CREATE TABLE labels AS SELECT ? AS file_name, 12.5 AS speed", (other,))
    con.close()
    query = {"uri": "${METAFERRY_LABELS}", "query": "SELECT file_name, speed FROM labels"}
    sources: list[Any] = [{"annotations": f"s3://{site.bucket}/labels/coco.json"}]
    expected: dict[str, Any] = {"day-0/image-0000.json": {"objects": 3, "categories": {"car": 3}}}
    if importlib.util.find_spec("adbc_driver_sqlite"):  # an extra, which Airflow's lock does not have
        sources.append({"sql": query})
        expected["day-1/image-0001.json"] = {"speed": 12.5}
    site.job.write_text(json.dumps({"input": f"s3://{site.bucket}/data", "sources": sources}))
    dag = tmp_path / "dag.py"
    dag.write_text(DAG.format(job=str(site.job)))
    database = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "labels.db")})
    done = subprocess.run(
        [sys.executable, str(HERE / "run_dag.py"), str(dag)],
        env=site.environment(AIRFLOW_CONN_LABELS=database, AIRFLOW__CORE__DAGS_FOLDER=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["state"] == "success", said[-4000:]
    tree = {
        key.removeprefix("data/.lightly/metadata/"): json.loads(body)["metadata"]
        for key, body in site.tree().items()
        if not key.endswith("schema.json")
    }
    assert tree == expected
    state = site.s3.objects(site.bucket, "data/.metaferry/")
    assert not [key for key, body in state.items() if secret.encode() in body or b"labels.db?" in body]
    assert secret not in json.dumps(found)


def test_sources_about_the_media_themselves(site: Any, secret: str) -> None:
    bucket = site.s3.new_bucket()
    for path, data in files().items():
        site.s3.put(bucket, f"data/{path}", data)
    url = f"s3://{bucket}/data"
    site.job.write_text(json.dumps({"input": url, "sources": sources(url)}))
    report = sync(site).execute(context())
    assert (report["exit_code"], report["documents"]["create"]) == (0, len(expected()))
    tree = {
        key.removeprefix("data/.lightly/metadata/").removesuffix(".json"): json.loads(body)["metadata"]
        for key, body in site.s3.objects(bucket, "data/.lightly/").items()
        if not key.endswith("schema.json")
    }
    assert tree == expected()
    assert secret not in json.dumps(report)
