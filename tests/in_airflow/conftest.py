"""An Airflow of its own (home folder, database), a real S3 server, and a datasource on it.

Airflow reads its settings when it is imported, so they are made before anything imports it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HOME = Path(tempfile.mkdtemp(prefix="airflow-"))
EXAMPLES = Path(__file__).parents[2] / "service/metaferry/airflow/example_dags"
SETTINGS = {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:9/execution/",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "NO_PROXY": "127.0.0.1,localhost",
}
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ |= SETTINGS
SECRET = "canary-of-the-connection"


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Iterator[Path]:
    """Airflow's folder, with its database."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    yield HOME
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    from servers.s3 import fast_s3

    with fast_s3() as server:
        yield server


@dataclass
class Site:
    """A bucket of images, a table and a job file, and the connection that opens the bucket."""

    s3: Any
    bucket: str
    table: Path
    job: Path
    count: int

    @property
    def connection(self) -> str:
        return json.dumps(
            {
                "conn_type": "aws",
                "login": self.s3.key,
                "password": SECRET,
                "extra": {
                    "endpoint_url": self.s3.endpoint,
                    "region_name": "us-east-1",
                    "config_kwargs": {"s3": {"addressing_style": "path"}},
                },
            }
        )

    def tree(self) -> dict[str, bytes]:
        found: dict[str, bytes] = self.s3.objects(self.bucket, "data/.lightly/")
        return found

    def written(self) -> int:
        return int(self.s3.count(self.bucket, "data/.lightly/metadata/"))

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "AIRFLOW_CONN_AWS_FLEET": self.connection,
            "METAFERRY_JOB": str(self.job),
            "METAFERRY_ASSET": f"s3://{self.bucket}/data",
            **more,
        }


@pytest.fixture
def site(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 400
    names = [f"day-{n % 7}/image-{n:04d}.png" for n in range(count)]
    bucket = s3.new_bucket()
    s3.seed(bucket, [f"data/{name}" for name in names])
    table = tmp_path / "table.parquet"
    pq.write_table(
        pa.table({"file_name": names, "scene": ["city"] * count, "speed": list(range(count))}), table
    )
    job = tmp_path / "job.yaml"
    job.write_text(
        json.dumps(
            {"input": f"s3://{bucket}/data", "sources": [{"table": str(table)}], "max_rate": None}
        ).replace(', "max_rate": null', "")
    )
    made = Site(s3, bucket, table, job, count)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_FLEET", made.connection)
    yield made
    s3.reset()


@pytest.fixture
def secret() -> str:
    """What must never be seen anywhere but in the connection."""
    return SECRET


@pytest.fixture
def expected(site: Site) -> dict[str, bytes]:
    """The documents that a plain sync of the same job makes, in a bucket of its own."""
    from metaferry import Job, sync

    fallback_reason = site.s3.new_bucket()
    job = Job.from_mapping(
        {
            "input": f"s3://{site.bucket}/data",
            "lightly": f"s3://{fallback_reason}/data",
            "sources": [{"table": str(site.table)}],
            "storage": {"s3": site.s3.options},
        }
    )
    assert sync(job).exit_code == 0
    found: dict[str, bytes] = site.s3.objects(fallback_reason, "data/.lightly/")
    return found


@pytest.fixture
def wait_until() -> Any:
    from servers.process import wait_until

    return wait_until


@pytest.fixture
def examples() -> Path:
    """The folder of the example DAGs."""
    return EXAMPLES
