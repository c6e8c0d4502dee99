"""The whole job on a local folder: against the oracle, again, and after the world has changed."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from metaferry.demo import DemoDataset, make_dataset
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA
from metaferry.planning.formats import RunReport


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


def sync(dataset: DemoDataset, **changes: Any) -> RunReport:
    return metaferry.sync(Job.from_mapping(job_mapping(dataset, str(dataset.media), {}) | changes))


def test_the_tree_is_the_oracles_byte_by_byte(dataset: DemoDataset) -> None:
    report = sync(dataset)
    tree = read_folder(dataset.media)
    schema = json.loads(tree.pop(SCHEMA))
    assert tree == expected_documents(dataset)
    assert {entry["path"] for entry in schema} >= {"weather.temperature", "speed_kmh", "scene"}
    assert report.exit_code == 0
    assert report.documents.create == len(tree)
    assert report.frames.counted == len(dataset.videos)
    for source in report.sources:
        left_out = source.unmatched + source.excluded + source.filtered + source.repeated
        assert source.read == source.used + source.rejected + left_out


def test_a_second_run_writes_nothing(dataset: DemoDataset) -> None:
    sync(dataset)
    before = {path: path.stat().st_mtime_ns for path in (dataset.media / ".lightly").rglob("*")}
    report = sync(dataset)
    assert report.changes == 0
    assert not report.schema.written
    assert report.documents.keep == len(expected_documents(dataset))
    assert report.frames.counted == 0
    assert {path: path.stat().st_mtime_ns for path in (dataset.media / ".lightly").rglob("*")} == before


def test_without_its_ledger_a_run_writes_again_and_the_one_after_does_not(dataset: DemoDataset) -> None:
    sync(dataset)
    shutil.rmtree(dataset.media / ".metaferry")
    assert sync(dataset).documents.update == len(expected_documents(dataset))
    assert sync(dataset).changes == 0


def test_a_damaged_ledger_is_a_lost_one(dataset: DemoDataset, caplog: pytest.LogCaptureFixture) -> None:
    sync(dataset)
    (piece,) = (dataset.media / ".metaferry/ledger").iterdir()
    piece.write_bytes(piece.read_bytes()[:100])
    assert sync(dataset).documents.update == len(expected_documents(dataset))
    assert "damaged" in caplog.text


def test_what_somebody_else_wrote_is_replaced_and_reported(dataset: DemoDataset) -> None:
    sync(dataset)
    target = sorted(expected_documents(dataset))[0]
    (dataset.media / target).write_bytes(b'{"mine": true}')
    report = sync(dataset)
    assert report.documents.update == 1
    assert report.findings["document.modified_externally"] == 1
    assert read_folder(dataset.media)[target] == expected_documents(dataset)[target]


def test_an_edited_row_changes_its_document_alone(dataset: DemoDataset) -> None:
    sync(dataset)
    text = dataset.images_table.read_text()
    dataset.images_table.write_text(text.replace("city street", "market", 1))
    report = sync(dataset)
    assert (report.documents.create, report.documents.update, report.documents.delete) == (0, 1, 0)
    tree = read_folder(dataset.media)
    tree.pop(SCHEMA)
    assert tree == expected_documents(dataset)


def test_a_re_encoded_video_renames_its_frame_documents(dataset: DemoDataset, made: Path) -> None:
    sync(dataset)
    before = set(read_folder(dataset.media))
    clip = "videos/front/2026-05-14_0930.mp4"  # 10 frames: two digits
    other = "videos/front/2026-05-14_0801.mp4"  # 1000 frames: four
    shutil.copy(dataset.media / other, dataset.media / clip)
    report = sync(dataset)
    after = set(read_folder(dataset.media))
    assert report.documents.delete == 10
    assert report.documents.create == 10
    assert ".lightly/metadata/videos/front/2026-05-14_0930-0009-mp4.json" in after - before
    assert ".lightly/metadata/videos/front/2026-05-14_0930-09-mp4.json" in before - after
    assert report.findings["document.stale"] == 10


def test_orphans_are_reported_then_deleted_within_the_limit(dataset: DemoDataset) -> None:
    sync(dataset)
    gone = dataset.images[0]
    (dataset.media / gone).unlink()
    kept = {"policy": {"max_rejects": 5}}
    report = sync(dataset, **kept)
    assert report.findings["document.orphan"] == 1
    assert report.documents.delete == 0
    report = sync(dataset, policy={"delete": "orphans", "max_delete": 0})
    assert report.exit_code == 5
    assert "max_delete" in report.stopped
    report = sync(dataset, policy={"delete": "orphans"})
    assert report.documents.delete == 1
    assert not any(gone.rpartition(".")[0] in key for key in read_folder(dataset.media))


def test_excluded_media_make_no_orphans(dataset: DemoDataset) -> None:
    sync(dataset)
    before = read_folder(dataset.media)
    report = sync(
        dataset, media={"include": ["images/**"]}, policy={"delete": "orphans", "max_delete": "100%"}
    )
    assert report.documents.delete == 0
    assert read_folder(dataset.media) == before
    assert sum(source.excluded for source in report.sources) == dataset.frame_rows + len(dataset.videos)


def test_prefix_narrows_and_limit_defers(dataset: DemoDataset) -> None:
    job = Job.from_mapping(job_mapping(dataset, str(dataset.media), {}))
    report = metaferry.sync(job, prefix="images/berlin/")
    assert report.documents.create == 4
    report = metaferry.sync(job, limit=6)
    assert report.documents.create == 6
    assert report.documents.deferred == len(expected_documents(dataset)) - 10
    assert metaferry.sync(job).documents.deferred == 0
    tree = read_folder(dataset.media)
    tree.pop(SCHEMA)
    assert tree == expected_documents(dataset)


def test_rejects_stop_the_run_before_the_first_write(dataset: DemoDataset) -> None:
    text = dataset.images_table.read_text()
    lines = text.splitlines()
    lines.insert(3, lines[2].split(",")[0])  # a ragged row: line 4
    dataset.images_table.write_text("\n".join(lines) + "\n")
    report = sync(dataset)
    assert report.exit_code == 5
    assert "policy.max_rejects=1" in report.advice
    assert not (dataset.media / ".lightly").exists()
    rejects = pq.read_table(report.rejects_url.removeprefix("file://")).to_pylist()
    assert [(row["code"], row["row"]) for row in rejects] == [("source.malformed", 4)]
    report = sync(dataset, policy={"max_rejects": 1})
    assert report.exit_code == 3
    tree = read_folder(dataset.media)
    tree.pop(SCHEMA)
    assert len(tree) == len(dataset.images) + len(dataset.videos) + dataset.frame_rows


def test_a_plan_writes_nothing_but_the_frame_counts(dataset: DemoDataset) -> None:
    job = Job.from_mapping(job_mapping(dataset, str(dataset.media), {}))
    report = metaferry.plan(job)
    assert report.documents.create == len(expected_documents(dataset))
    assert not (dataset.media / ".lightly").exists()
    assert [path.name for path in (dataset.media / ".metaferry").rglob("*")] == ["frames.parquet"]


def test_a_plan_that_is_kept_is_a_data_set(dataset: DemoDataset, tmp_path: Path) -> None:
    job = Job.from_mapping(job_mapping(dataset, str(dataset.media), {}))
    metaferry.plan(job, out=str(tmp_path / "plan"))
    rows = duckdb.sql(f"SELECT target, body FROM '{tmp_path}/plan/shard=*/*.parquet'").fetchall()
    assert {target: body.encode() for target, body in rows} == expected_documents(dataset)
    about = json.loads((tmp_path / "plan/plan.json").read_text())
    assert about["job_digest"] == job.digest()
    assert about["report"]["documents"]["create"] == len(rows)


def test_sync_works_inside_a_running_event_loop(dataset: DemoDataset) -> None:
    async def inside() -> RunReport:
        return sync(dataset)

    assert asyncio.run(inside()).exit_code == 0


def test_nothing_is_printed(dataset: DemoDataset, capfd: pytest.CaptureFixture[str]) -> None:
    sync(dataset)
    assert capfd.readouterr() == ("", "")
