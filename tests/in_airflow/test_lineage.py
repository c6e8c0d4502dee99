"""OpenLineage: what its client sends for a DAG that ran, and what a job and a report say of lineage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metaferry import Job
from metaferry.airflow.lineage import lineage_of, named

HERE = Path(__file__).parent


def events(site: Any, tmp_path: Path, name: str) -> list[dict[str, Any]]:
    """Every event that the client wrote while the example DAG ran."""
    log = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(log), "append": True}
    done = subprocess.run(
        [sys.executable, str(HERE / "run_dag.py"), name],
        env=site.environment(
            AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport), AIRFLOW__OPENLINEAGE__NAMESPACE="tests"
        ),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_sync_tells_of_its_tables_its_datasource_and_its_columns(
    site: Any, tmp_path: Path, secret: str
) -> None:
    sent = events(site, tmp_path, "metaferry_sync")
    assert secret not in json.dumps(sent)
    (event,) = [
        each for each in sent if each["eventType"] == "COMPLETE" and each["job"]["name"].endswith(".sync")
    ]
    inputs = {(each["namespace"], each["name"]): each for each in event["inputs"]}
    table = inputs["file", str(site.table)]
    assert {each["name"] for each in table["facets"]["schema"]["fields"]} == {"file_name", "scene", "speed"}
    assert table["inputFacets"]["inputStatistics"]["rowCount"] == site.count
    assert (f"s3://{site.bucket}", "data") in inputs
    (output,) = event["outputs"]
    assert (output["namespace"], output["name"]) == (f"s3://{site.bucket}", "data")
    assert {each["name"] for each in output["facets"]["schema"]["fields"]} == {"scene", "speed"}
    assert output["facets"]["columnLineage"]["fields"]["scene"]["inputFields"] == [
        {"namespace": "file", "name": str(site.table), "field": "scene", "transformations": []}
    ]
    assert output["outputFacets"]["outputStatistics"]["fileCount"] == site.count


def test_a_run_that_fails_tells_of_them_too(site: Any, tmp_path: Path) -> None:
    site.job.write_text(json.dumps(json.loads(site.job.read_text()) | {"policy": {"max_cost": 0}}))
    sent = events(site, tmp_path, "metaferry_sync")
    (event,) = [
        each for each in sent if each["eventType"] == "FAIL" and each["job"]["name"].endswith(".sync")
    ]
    assert ("file", str(site.table)) in {(each["namespace"], each["name"]) for each in event["inputs"]}


def test_expressions_are_traced_to_their_columns() -> None:
    job = Job.from_mapping(
        {
            "input": "gs://media/2026",
            "lightly": "az://lightly/2026",
            "storage": {"az": {"account_name": "fleet"}},
            "sources": [
                {
                    "table": "https://user:word@h.example/t.csv?sig=canary",
                    "file_name": "image || '.jpg'",
                    "metadata": {"weather.temperature": "(low + high) / 2", "site": "'north'"},
                },
                {"query": "SELECT file_name, n FROM boxes"},
            ],
            "tables": {"boxes": "s3://warehouse/boxes/*.parquet"},
        }
    )
    found = lineage_of(job, None)
    assert [(each.namespace, each.name) for each in found.inputs] == [
        ("https://h.example", "t.csv"),
        ("s3://warehouse", "boxes/*.parquet"),
        ("gs://media", "2026"),
    ]
    assert found.output is not None
    assert (found.output.namespace, found.output.name) == (
        "abfss://lightly@fleet.dfs.core.windows.net",
        "2026",
    )
    assert {key: [column for _, column in columns] for key, columns in found.keys.items()} == {
        "weather.temperature": ["high", "low"],
        "site": [],
    }
    assert "canary" not in repr(found)
    assert "word" not in repr(found)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/t.csv", ("file", "/data/t.csv")),
        ("file:///data/t.csv", ("file", "/data/t.csv")),
        ("s3://b/x/t.csv", ("s3://b", "x/t.csv")),
        ("s3://b", ("s3://b", "/")),
        ("gcs://b/x", ("gs://b", "x")),
        ("az://c/x", ("az://c", "x")),
    ],
)
def test_the_naming_of_openlineage(url: str, expected: tuple[str, str]) -> None:
    assert named(url) == expected
