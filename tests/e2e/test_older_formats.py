"""What an earlier version left is used after an upgrade: kept plans and reports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.oracle import job_mapping
from metaferry import Job
from metaferry.demo import DemoDataset, make_dataset
from metaferry.runs.state.earlier import earlier_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return make_dataset(tmp_path_factory.mktemp("demo"))


def job_of(dataset: DemoDataset) -> Job:
    media = {"media": {"include": ["images/**"]}}
    return Job.from_mapping(job_mapping(dataset, str(dataset.media), {}) | media)


def as_version_3(plan: Path) -> None:
    """Rewrites a kept plan as the version before wrote it: with the action `leave`."""
    kept = json.loads((plan / "plan.json").read_text())
    kept["version"] = 3
    for key in ("documents", "examples"):
        kept["report"][key]["leave"] = kept["report"][key].pop("skip")
    for file in (each for shard in kept["shards"] for each in shard["files"]):
        path = plan / file["name"]
        rows = pq.ParquetFile(path).read()
        at = rows.column_names.index("action")
        actions = pc.replace_substring(rows["action"].cast(pa.string()), "skip", "leave")
        pq.write_table(rows.set_column(at, "action", actions), path)
        data = path.read_bytes()
        file |= {"size": len(data), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    (plan / "plan.json").write_text(json.dumps(kept))


def test_a_kept_plan_of_the_version_before_is_applied(dataset: DemoDataset, tmp_path: Path) -> None:
    job = job_of(dataset)
    written = metaferry.sync(job).documents.create
    gone, changed = sorted((dataset.media / ".lightly/metadata/images").rglob("*.json"))[:2]
    media = dataset.media / gone.relative_to(dataset.media / ".lightly/metadata")
    [picture] = media.parent.glob(f"{media.stem}.[!j]*")
    picture.unlink()
    changed.write_text('{"file_name": "x", "type": "image", "metadata": {}}')
    planned = metaferry.plan(job, out=tmp_path / "plan")
    assert planned.documents.skip == 1
    as_version_3(tmp_path / "plan")
    report = metaferry.sync(job, plan=tmp_path / "plan")
    counts = report.documents
    assert (report.exit_code, counts.update, counts.keep, counts.skip) == (0, 1, written - 2, 1)
    assert gone.exists()


def test_serve_reads_the_reports_of_earlier_versions(dataset: DemoDataset) -> None:
    job = job_of(dataset)
    report = metaferry.sync(job)
    path = dataset.media / ".metaferry/runs" / report.run_id / "run.json"
    value = json.loads(path.read_text())
    value["version"] = 2
    value["documents"]["leave"] = value["documents"].pop("skip") + 7
    path.write_text(json.dumps(value))
    last = earlier_runs(job).last
    assert last is not None
    assert (last.run_id, last.documents.skip) == (report.run_id, report.documents.skip + 7)
