"""The DAGs of docs/airflow.md, run whole in this major."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs/airflow.md").read_text(encoding="utf-8")
#: What the page says to write in Airflow 2.
IN_AIRFLOW_2 = re.compile(r"^(.*)  # Airflow 2: (.*)$", re.MULTILINE)


def dag(dag_id: str, site: Any, folder: Path) -> Path:
    """The DAG of the page as a file, with the job and the bucket of the test."""
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
        if f'with DAG("{dag_id}"' in block
    )
    if airflow.__version__.startswith("2."):
        code = IN_AIRFLOW_2.sub(lambda line: "\n".join(line[2].split("; ")), code)
        code = code.replace("import Dataset", "import Dataset as Asset")
    code = code.replace("/opt/airflow/jobs/fleet.yaml", str(site.job))
    code = code.replace("s3://analysis", f"s3://{site.bucket}/analysis")
    assert "fleet.yaml" not in code
    file = folder / f"{dag_id}.py"
    file.write_text(code)
    return file


def run(site: Any, file: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(HERE / "run_dag.py"), str(file)],
        env=site.environment(AIRFLOW__CORE__DAGS_FOLDER=str(file.parent)),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["state"] == "success", (done.stdout + done.stderr)[-6000:]
    return found


@pytest.fixture(scope="module", autouse=True)
def pool() -> None:
    """The pool of the page, by its own command."""
    (command,) = re.findall(r"```bash\n\s*(airflow pools set .*?)\n\s*```", PAGE)
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_hourly_sync(site: Any, tmp_path: Path, expected: dict[str, bytes]) -> None:
    file = dag("fleet", site, tmp_path)
    found = run(site, file)
    assert set(found["tasks"].values()) == {"success"}
    assert site.tree() == expected
    assert len(found["events"]) == 1
    names = site.s3.objects(site.bucket, "analysis/")
    assert {name.rpartition(".")[2] for name in names} >= {"parquet", "html"}
    again = run(site, file)
    assert {task: state for task, state in again["tasks"].items() if state != "skipped"} == {}
    assert again["events"] == []


def test_the_backfill(site: Any, tmp_path: Path, expected: dict[str, bytes]) -> None:
    found = run(site, dag("fleet_backfill", site, tmp_path))
    assert {state for task, state in found["tasks"].items() if task != "write[-1]"} == {"success"}
    assert site.tree() == expected
