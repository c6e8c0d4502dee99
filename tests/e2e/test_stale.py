"""A frame document under another encoding's digits goes only where the one that replaces it stands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.oracle import job_mapping, read_folder
from metaferry.demo import DemoDataset, make_dataset
from metaferry.errors import Conflict, Corrupt, StorageError
from metaferry.job.model import Job
from metaferry.planning.formats import RunReport
from metaferry.runs import run
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.sharded.run import sync_plan
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import ANYTHING, Adapter, Precondition, PutResult

#: A video of 9 frames: its documents are `…-0-webm.json` to `…-8-webm.json`.
STEM = ".lightly/metadata/videos/rear/2026-05-14_0930"
RIGHT = [f"{STEM}-{n}-webm.json" for n in range(9)]
STALE = [f"{STEM}-{n:02d}-webm.json" for n in range(9)]

Wrap = Callable[[Adapter], Adapter]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    """The frames of one video, each with a document under one digit too many, and no other."""
    shutil.copytree(made, tmp_path / "demo")
    dataset = make_dataset(tmp_path / "demo")
    metaferry.sync(a_job(dataset))
    for right, stale in zip(RIGHT, STALE, strict=True):
        (dataset.media / right).rename(dataset.media / stale)
    return dataset


def a_job(dataset: DemoDataset, **changes: Any) -> Job:
    mapping = job_mapping(dataset, str(dataset.media), {})
    mapping |= {"sources": mapping["sources"][2:], "media": {"include": ["videos/rear/2026-05-14_0930*"]}}
    return Job.from_mapping(mapping | {"retry_for": 0} | changes)


def refusing(target: str, error: type[StorageError]) -> Wrap:
    """A wrapper whose puts of one document end with an error."""

    def wrap(adapter: Adapter) -> Adapter:
        assert isinstance(adapter, LocalAdapter)
        plain = adapter.put_blocking

        def put_blocking(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            if path == target:
                raise error("refused", url="file:///", path=path)
            return plain(path, data, only_if=only_if)

        async def put(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            return put_blocking(path, data, only_if=only_if)

        adapter.put_blocking = put_blocking  # type: ignore[method-assign]
        adapter.put = put  # type: ignore[method-assign]
        return adapter

    return wrap


def frames(dataset: DemoDataset) -> set[str]:
    return {key for key in read_folder(dataset.media) if key.startswith(f"{STEM}-")}


def messages(report: RunReport) -> dict[str, str]:
    return {f.target: f.message for f in report.finding_examples if f.code == "document.stale"}


@pytest.mark.parametrize("error", [Corrupt, Conflict])
def test_a_stale_document_stays_while_its_replacement_is_not_written(
    dataset: DemoDataset, error: type[StorageError]
) -> None:
    world = RuntimeDeps(wrap=refusing(RIGHT[4], error))
    report = run.sync(a_job(dataset), deps=world)
    assert (report.exit_code, report.documents.create, report.documents.delete) == (3, 8, 8)
    assert report.documents.failed + report.documents.conflict == 1
    assert report.documents.skip == 1
    assert frames(dataset) == {*RIGHT, STALE[4]} - {RIGHT[4]}
    assert "left in place: " in messages(report)[STALE[4]]
    again = metaferry.sync(a_job(dataset))
    assert (again.exit_code, again.documents.create, again.documents.delete) == (0, 1, 1)
    assert frames(dataset) == set(RIGHT)
    assert metaferry.sync(a_job(dataset)).changes == 0


def test_a_stale_document_stays_where_its_replacement_reads_back_wrong(dataset: DemoDataset) -> None:
    def wrap(adapter: Adapter) -> Adapter:
        assert isinstance(adapter, LocalAdapter)
        plain = adapter.put_blocking

        def put_blocking(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            return plain(path, data[:-2] + b" }" if path == RIGHT[4] else data, only_if=only_if)

        async def put(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            return put_blocking(path, data, only_if=only_if)

        adapter.put_blocking = put_blocking  # type: ignore[method-assign]
        adapter.put = put  # type: ignore[method-assign]
        return adapter

    report = run.sync(a_job(dataset, verify="all"), deps=RuntimeDeps(wrap=wrap))
    assert (report.exit_code, report.documents.failed, report.documents.delete) == (3, 1, 8)
    assert STALE[4] in frames(dataset)


def test_stale_documents_go_once_their_replacements_are_found_in_place(dataset: DemoDataset) -> None:
    """As after a run that was cut off between its writes and its deletes."""
    before = {key: (dataset.media / key).read_bytes() for key in STALE}
    metaferry.sync(a_job(dataset))
    for key, body in before.items():
        (dataset.media / key).write_bytes(body)
    report = metaferry.sync(a_job(dataset))
    assert (report.documents.keep, report.documents.delete, report.exit_code) == (9, 9, 0)
    assert frames(dataset) == set(RIGHT)


def test_what_no_row_replaces_is_left_under_never(dataset: DemoDataset) -> None:
    table = pq.read_table(dataset.frames_table)
    pq.write_table(table.filter(pc.field("frame_idx") < 1), dataset.frames_table)
    report = metaferry.sync(a_job(dataset))
    assert (report.documents.create, report.documents.delete) == (1, 1)
    assert frames(dataset) == {RIGHT[0], *STALE[1:]}
    assert report.findings["document.orphan"] == 8
    report = metaferry.sync(a_job(dataset, policy={"delete": "orphans", "max_delete": 7}))
    assert (report.exit_code, report.documents.delete) == (5, 0)
    report = metaferry.sync(a_job(dataset, policy={"delete": "orphans", "max_delete": 8}))
    assert (report.exit_code, report.documents.delete) == (0, 8)
    assert frames(dataset) == {RIGHT[0]}


def test_finish_keeps_a_stale_document_whose_replacement_went_since_the_plan_was_made(
    dataset: DemoDataset, tmp_path: Path
) -> None:
    before = {key: (dataset.media / key).read_bytes() for key in STALE}
    metaferry.sync(a_job(dataset))
    for key, body in before.items():
        (dataset.media / key).write_bytes(body)
    plan = str(tmp_path / "plan")
    metaferry.plan(a_job(dataset), out=plan, shards=2)
    (dataset.media / RIGHT[4]).unlink()
    report = metaferry.sync(a_job(dataset), plan=plan)
    assert (report.documents.delete, report.documents.skip) == (8, 1)
    assert frames(dataset) == {*RIGHT, STALE[4]} - {RIGHT[4]}
    assert "left in place: " in messages(report)[STALE[4]]
    assert metaferry.sync(a_job(dataset)).exit_code == 0
    assert frames(dataset) == set(RIGHT)


def test_finish_keeps_stale_documents_while_a_shard_failed(dataset: DemoDataset, tmp_path: Path) -> None:
    plan = str(tmp_path / "plan")
    metaferry.plan(a_job(dataset), out=plan, shards=2)
    world = RuntimeDeps(wrap=refusing(RIGHT[4], Corrupt))
    report = sync_plan(a_job(dataset), plan, deps=world)
    assert (report.exit_code, report.documents.failed, report.documents.delete) == (3, 1, 0)
    assert frames(dataset) == {*RIGHT, *STALE} - {RIGHT[4]}
    assert metaferry.sync(a_job(dataset), plan=plan).exit_code == 0
    assert frames(dataset) == set(RIGHT)
