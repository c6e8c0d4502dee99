"""A tree that somebody else wrote, or ours without its state: what would be lost is looked at first."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from e2e.test_killed import job_file
from e2e.test_ledger import NAMES, Generic, Mounted
from e2e.world import World
from metaferry.demo import DemoDataset, make_dataset
from metaferry.errors import SafetyStop, UsageError
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA
from metaferry.planning.formats import RunReport
from metaferry.runs import run
from metaferry.runs.deps import RuntimeDeps
from metaferry.storage.protocol import Adapter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_dataset(folder)
    return folder


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> DemoDataset:
    shutil.copytree(made, tmp_path / "demo")
    return make_dataset(tmp_path / "demo")


def a_job(dataset: DemoDataset, **changes: Any) -> Job:
    """The images alone: twelve documents."""
    mapping = job_mapping(dataset, str(dataset.media), {})
    return Job.from_mapping(mapping | {"sources": mapping["sources"][:1]} | changes)


def sync(dataset: DemoDataset, **changes: Any) -> RunReport:
    return metaferry.sync(a_job(dataset, **changes))


def images(dataset: DemoDataset) -> list[str]:
    return sorted(key for key in expected_documents(dataset) if "/images/" in key)


def write_by_hand(dataset: DemoDataset, target: str, **values: Any) -> bytes:
    body = json.dumps({"file_name": "by hand", "type": "image", "metadata": values}, indent=1).encode()
    (dataset.media / target).parent.mkdir(parents=True, exist_ok=True)
    (dataset.media / target).write_bytes(body)
    return body


def test_a_tree_by_hand_stops_the_first_run_before_it_writes(dataset: DemoDataset) -> None:
    targets = images(dataset)
    for target in targets[:3]:
        write_by_hand(dataset, target, scene="by hand", reviewer="R", quality=4)
    before = read_folder(dataset.media)
    report = sync(dataset)
    assert (report.exit_code, report.changes) == (5, 0)
    assert report.documents.deferred == len(targets)
    assert "3 documents in place" in report.stopped
    assert "quality (3), reviewer (3)" in report.stopped
    assert "policy.existing=replace" in report.advice
    assert report.findings["document.unsourced"] == 3
    assert {f.target for f in report.finding_examples if f.code == "document.unsourced"} == set(targets[:3])
    assert read_folder(dataset.media) == before
    planned = metaferry.plan(a_job(dataset))
    assert (planned.exit_code, planned.stopped) == (5, report.stopped)
    report = sync(dataset, policy={"existing": "replace"})
    assert (report.exit_code, report.documents.update, report.findings["document.existing"]) == (0, 3, 1)
    tree = read_folder(dataset.media)
    assert {key: tree[key] for key in targets} == {key: expected_documents(dataset)[key] for key in targets}
    assert sync(dataset).changes == 0


def test_keys_of_which_a_table_gives_each_are_replaced_and_counted(dataset: DemoDataset) -> None:
    for target in images(dataset)[:3]:
        write_by_hand(dataset, target, scene="by hand", weather={"temperature": 1})
    report = sync(dataset)
    assert (report.exit_code, report.documents.update) == (0, 3)
    [finding] = [f for f in report.finding_examples if f.code == "document.existing"]
    assert finding.message.startswith("3 documents in place")
    assert sync(dataset).findings == {}


def test_our_own_tree_without_its_state_is_no_hindrance(dataset: DemoDataset) -> None:
    sync(dataset)
    shutil.rmtree(dataset.media / ".metaferry")
    dataset.images_table.write_text(dataset.images_table.read_text().replace("city street", "market"))
    report = sync(dataset)
    assert (report.exit_code, report.documents.update) == (0, 12)
    [finding] = [f for f in report.finding_examples if f.code == "document.existing"]
    assert finding.message.startswith("4 documents in place"), "the others read back as they would be written"
    assert sync(dataset).changes == 0


def test_a_run_that_was_cut_off_is_no_hindrance(dataset: DemoDataset) -> None:
    """Its documents are in no ledger, and the tables say something else by now."""

    class Cut(Exception):
        pass

    def wrap(adapter: Adapter) -> Adapter:
        plain = adapter.put

        async def put(path: str, data: bytes, **given: Any) -> Any:
            if path == SCHEMA:
                raise Cut
            return await plain(path, data, **given)

        adapter.put = put  # type: ignore[method-assign]
        return adapter

    with pytest.raises(Cut):
        run.sync(a_job(dataset), deps=RuntimeDeps(wrap=wrap))
    assert len(read_folder(dataset.media)) == 12
    assert not list((dataset.media / ".metaferry").glob("ledger/*"))
    dataset.images_table.write_text(dataset.images_table.read_text().replace("city street", "market"))
    report = sync(dataset)
    assert (report.exit_code, report.findings.get("document.unsourced")) == (0, None)
    assert sync(dataset).changes == 0


def test_a_column_that_went_is_no_hindrance_while_the_ledger_is_there(
    dataset: DemoDataset,
) -> None:
    sync(dataset)
    mapping = job_mapping(dataset, str(dataset.media), {})["sources"][0]
    fewer = {key: value for key, value in mapping["metadata"].items() if key != "scene"}
    report = sync(dataset, sources=[mapping | {"metadata": fewer}])
    assert (report.exit_code, report.documents.update, report.findings) == (0, 12, {})


def test_a_plan_that_existing_documents_stop_is_refused(dataset: DemoDataset, tmp_path: Path) -> None:
    write_by_hand(dataset, images(dataset)[0], reviewer="R")
    plan = str(tmp_path / "plan")
    assert metaferry.plan(a_job(dataset), out=plan, shards=2).exit_code == 5
    for share in ({}, {"shard_index": 0, "num_shards": 2}):
        with pytest.raises(SafetyStop, match="reviewer"):
            metaferry.sync(a_job(dataset), plan=plan, **share)
    with pytest.raises(SafetyStop, match="reviewer"):
        metaferry.finish(plan)
    assert len(read_folder(dataset.media)) == 1


@pytest.mark.parametrize("narrowed", [["--prefix", "images/berlin/"], ["--limit", "1"]])
def test_a_part_looks_at_what_it_changes(dataset: DemoDataset, narrowed: list[str]) -> None:
    first, *_, last = images(dataset)
    assert "/berlin/" in first
    assert "/berlin/" not in last
    write_by_hand(dataset, last, reviewer="R")
    world = World(dataset.root)
    mapping = job_mapping(dataset, str(dataset.media), {})
    job_file(dataset.root, mapping | {"sources": mapping["sources"][:1]})
    assert world.run("sync", "job.yaml", *narrowed).code == 0
    ran = world.run("sync", "job.yaml")
    assert ran.code == 5
    assert "reviewer" in ran.out
    assert "--set policy.existing=replace" in ran.out
    assert world.run("sync", "job.yaml", "--set", "policy.existing=replace").code == 0


# -- an old plan


def market(dataset: DemoDataset, before: str, after: str) -> None:
    dataset.images_table.write_text(dataset.images_table.read_text().replace(before, after))


def test_an_old_plan_does_not_overwrite_what_a_later_run_wrote(dataset: DemoDataset, tmp_path: Path) -> None:
    sync(dataset)
    plan = str(tmp_path / "plan")
    market(dataset, "city street", "market")
    assert metaferry.plan(a_job(dataset), out=plan).documents.update == 4
    market(dataset, "market", "harbour")
    assert sync(dataset).documents.update == 4
    before = read_folder(dataset.media)
    report = metaferry.sync(a_job(dataset), plan=plan)
    assert (report.exit_code, report.documents.conflict) == (3, 4)
    assert report.findings["document.conflict"] == 4
    assert "document.modified_externally" not in report.findings
    assert "runs after it" in report.finding_examples[0].message
    assert read_folder(dataset.media) == before


def test_an_old_plan_does_not_bring_back_what_a_later_run_deleted(
    dataset: DemoDataset, tmp_path: Path
) -> None:
    sync(dataset)
    plan = str(tmp_path / "plan")
    market(dataset, "city street", "market")
    metaferry.plan(a_job(dataset), out=plan)
    gone = next(key for key in images(dataset) if b"market" in expected_documents(dataset)[key])
    lines = dataset.images_table.read_text().splitlines(keepends=True)
    stem = gone.removeprefix(".lightly/metadata/").removesuffix(".json")
    dataset.images_table.write_text("".join(line for line in lines if stem not in line))
    orphans = {"delete": "orphans", "max_delete": "100%"}
    assert sync(dataset, policy=orphans).documents.delete == 1
    report = metaferry.sync(a_job(dataset), plan=plan)
    assert report.documents.conflict == 1
    assert not (dataset.media / gone).exists()


def test_what_others_changed_is_told_by_every_way_to_apply_a_plan(
    dataset: DemoDataset, tmp_path: Path
) -> None:
    sync(dataset)
    first, second = images(dataset)[:2]
    market(dataset, "city street", "market")
    (dataset.media / first).write_bytes(b'{"theirs": "before the plan"}')
    plan = str(tmp_path / "plan")
    assert metaferry.plan(a_job(dataset), out=plan).findings["document.modified_externally"] == 1
    (dataset.media / second).write_bytes(b'{"theirs": "since the plan"}')
    report = metaferry.sync(a_job(dataset), plan=plan)
    assert (report.exit_code, report.findings["document.modified_externally"]) == (0, 2)
    named = {f.target for f in report.finding_examples if f.code == "document.modified_externally"}
    assert named == {first, second}
    assert sync(dataset).changes == 0


def test_without_conditional_writes_an_old_plan_is_refused(tmp_path: Path) -> None:
    fsspec.register_implementation("mounted", Mounted, clobber=True)
    datasource = Generic(tmp_path)
    metaferry.sync(datasource.job())
    datasource.rows[NAMES[0]]["cars"] = 100
    datasource.write_table()
    plan = str(tmp_path / "plan")
    assert metaferry.plan(datasource.job(), out=plan).documents.update == 1
    datasource.rows[NAMES[0]]["cars"] = 200
    datasource.write_table()
    metaferry.sync(datasource.job())
    before = datasource.below(".lightly/")
    with pytest.raises(UsageError, match="this plan is older than the run"):
        metaferry.sync(datasource.job(), plan=plan)
    assert datasource.below(".lightly/") == before
