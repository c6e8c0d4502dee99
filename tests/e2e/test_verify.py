"""Reading back what was written: a store that answers well and keeps something else is found out."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from metaferry.demo import DemoDataset, make_dataset
from metaferry.errors import Unavailable
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly.document import md5_hex
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.planning.formats import RunReport
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import plan as make_plan
from metaferry.runs.run import sync
from metaferry.runs.sharded.run import Share, finish, sync_plan
from metaferry.runs.verify import _PARALLEL, _SLICE
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import ANYTHING, Adapter, Blob, Page, Precondition, PutResult

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(tmp_path: Path) -> DemoDataset:
    return make_dataset(tmp_path / "demo")


class Bitrot:
    """A wrapper that damages some documents on their way to the disk, and says nothing."""

    def __init__(self, name: str, times: int) -> None:
        self.name = name
        self.left = times
        self._lock = threading.Lock()

    def __call__(self, adapter: Adapter) -> Adapter:
        assert isinstance(adapter, LocalAdapter)
        plain = adapter.put_blocking

        def put_blocking(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            with self._lock:
                hit = path.endswith(self.name) and self.left > 0
                self.left -= hit
            return plain(path, data[:-2] + b" }" if hit else data, only_if=only_if)

        async def put(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            return put_blocking(path, data, only_if=only_if)

        adapter.put_blocking = put_blocking  # type: ignore[method-assign]
        adapter.put = put  # type: ignore[method-assign]
        return adapter


def run(dataset: DemoDataset, wrap: Any = lambda adapter: adapter, **changes: Any) -> RunReport:
    return sync(a_job(dataset, **changes), deps=RuntimeDeps(wrap=wrap))


def a_job(dataset: DemoDataset, **changes: Any) -> Job:
    return Job.from_mapping(job_mapping(dataset, str(dataset.media), {}) | changes)


def one_document(dataset: DemoDataset) -> str:
    return sorted(expected_documents(dataset))[3]


def test_all_that_is_right_is_read_once(dataset: DemoDataset) -> None:
    report = run(dataset, verify="all")
    assert report.verified.read == report.documents.create > 0
    assert (report.verified.rewritten, report.verified.wrong, report.exit_code) == (0, 0, 0)


def test_a_sample_is_a_share_and_at_least_one(dataset: DemoDataset) -> None:
    report = run(dataset, verify="sample 0.01%")
    assert report.verified.read == 1
    assert run(dataset, verify="all").verified.read == 0  # nothing was written


def test_nothing_is_read_back_unless_asked(dataset: DemoDataset) -> None:
    assert run(dataset).verified.read == 0


def test_damage_that_passes_is_written_again(dataset: DemoDataset) -> None:
    target = one_document(dataset)
    report = run(dataset, Bitrot(target, times=1), verify="all")
    tree = read_folder(dataset.media)
    assert tree[target] == expected_documents(dataset)[target]
    assert (report.verified.rewritten, report.verified.wrong, report.exit_code) == (1, 0, 0)
    assert report.findings[Code.DOCUMENT_CORRUPT] == 1
    assert report.schema.written


def test_damage_that_stays_is_a_failure_and_holds_the_schema_back(dataset: DemoDataset) -> None:
    target = one_document(dataset)
    planned = len(expected_documents(dataset))
    report = run(dataset, Bitrot(target, times=1000), verify="all")
    assert report.exit_code == 3
    assert (report.documents.failed, report.documents.create) == (1, planned - 1)
    assert report.verified.wrong == 1
    assert not report.schema.written
    (finding,) = [one for one in report.finding_examples if one.code == Code.DOCUMENT_CORRUPT]
    assert finding.target == target
    # The ledger does not vouch for it: the next run writes exactly this one, then the schema.
    again = run(dataset)
    assert (again.documents.create + again.documents.update, again.exit_code) == (1, 0)
    assert again.schema.written
    assert read_folder(dataset.media)[target] == expected_documents(dataset)[target]


def test_the_report_says_how_fast_it_went(dataset: DemoDataset) -> None:
    report = run(dataset)
    assert sum(report.rate.answered) > report.documents.create
    assert sum(report.rate.throttled) == 0
    rate = json.loads(report.to_json())["rate"]
    assert rate["seconds"] >= 1.0


def test_the_job_refuses_what_is_no_share(dataset: DemoDataset) -> None:
    with pytest.raises(metaferry.JobError, match="sample 1%"):
        run(dataset, verify="sometimes")


# -- damage that stays, in the next run


def remembered(dataset: DemoDataset) -> list[str]:
    files = (dataset.media / ".metaferry/runs").glob("*/damaged*.parquet")
    return [row["target"] for file in files for row in pq.read_table(file).to_pylist()]


class Proving:
    """A wrapper whose listings vouch for every document, as those of object stores do, and which keeps
    other bytes of one of them."""

    def __init__(self, name: str, times: int) -> None:
        self.bitrot = Bitrot(name, times)
        self.reads: list[str] = []
        self.promised: dict[str, str] = {}

    def __call__(self, adapter: Adapter) -> Adapter:
        self.bitrot(adapter)
        put_blocking, read, list_page = adapter.put_blocking, adapter.read, adapter.list_page  # type: ignore[attr-defined]

        def promise(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            self.promised[path] = md5_hex(data)
            put_result: PutResult = put_blocking(path, data, only_if=only_if)
            return put_result

        async def put(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
            return promise(path, data, only_if=only_if)

        async def listed(*given: Any, **more: Any) -> Page:
            page = await list_page(*given, **more)
            entries = [entry._replace(md5=self.promised.get(entry.path)) for entry in page.entries]
            return Page(entries, page.cursor)

        async def reading(path: str, *given: Any, **more: Any) -> Blob:
            if path.startswith(DOCUMENTS) and path != SCHEMA:
                self.reads.append(path)
            return await read(path, *given, **more)

        adapter.put_blocking, adapter.put = promise, put  # type: ignore[attr-defined,method-assign]
        adapter.read, adapter.list_page = reading, listed  # type: ignore[method-assign]
        return adapter


def test_what_was_damaged_is_written_and_read_again_though_the_listing_vouches_for_it(
    dataset: DemoDataset,
) -> None:
    target = one_document(dataset)
    store = Proving(target, times=5)
    assert run(dataset, store, verify="all").documents.failed == 1  # two puts
    assert remembered(dataset) == [target]
    planned = make_plan(a_job(dataset), deps=RuntimeDeps(wrap=store))
    assert planned.documents.update == 1
    assert planned.examples["update"][0].why == "written again: an earlier run read back other bytes"
    store.reads.clear()
    again = run(dataset, store)  # does not ask for verification at all; two more puts
    assert (again.documents.failed, again.verified.read, again.verified.wrong, again.exit_code) == (
        1,
        1,
        1,
        3,
    )
    assert set(store.reads) == {target}
    assert remembered(dataset) == [target]
    assert "document.modified_externally" not in again.findings
    third = run(dataset, store)  # the last damaged put, and one that is right
    assert (third.documents.update, third.verified.rewritten, third.exit_code) == (1, 1, 0)
    assert remembered(dataset) == []
    assert read_folder(dataset.media)[target] == expected_documents(dataset)[target]
    store.reads.clear()
    last = run(dataset, store)
    assert (last.changes, last.findings, store.reads) == (0, {}, [])


def test_a_document_that_was_written_again_is_still_known(dataset: DemoDataset) -> None:
    """On a store whose listings prove nothing, by the token of the second put."""
    run(dataset, Bitrot(one_document(dataset), times=1), verify="all")
    assert remembered(dataset) == []
    report = run(dataset)
    assert (report.changes, report.findings) == (0, {})


def test_a_run_that_is_killed_remembers_what_it_found(dataset: DemoDataset) -> None:
    target = one_document(dataset)
    store = Proving(target, times=1)

    class Killed(BaseException):
        pass

    with (
        mock.patch("metaferry.runs.verify._write_again", side_effect=Killed),
        pytest.raises(Killed),
    ):
        run(dataset, store, verify="all")
    assert remembered(dataset) == [target]
    report = run(dataset, store)
    assert (report.documents.update, report.exit_code, remembered(dataset)) == (1, 0, [])
    assert read_folder(dataset.media)[target] == expected_documents(dataset)[target]
    assert run(dataset, store).changes == 0


def test_what_a_part_leaves_out_stays_remembered(dataset: DemoDataset) -> None:
    target = one_document(dataset)
    store = Proving(target, times=2)
    run(dataset, store, verify="all", keep_runs=1)
    for _ in range(2):
        sync(a_job(dataset, keep_runs=1), prefix="videos/", deps=RuntimeDeps(wrap=store))
        assert remembered(dataset) == [target]
    assert run(dataset, store).documents.update == 1
    assert remembered(dataset) == []


def test_what_is_gone_is_forgotten(dataset: DemoDataset) -> None:
    target = one_document(dataset)
    run(dataset, Proving(target, times=2), verify="all")
    stem = target.removeprefix(".lightly/metadata/").removesuffix(".json")
    lines = dataset.images_table.read_text().splitlines(keepends=True)
    dataset.images_table.write_text("".join(line for line in lines if stem not in line))
    (dataset.media / target).unlink()
    assert run(dataset).exit_code == 0
    assert remembered(dataset) == []


@pytest.mark.parametrize("parallel", [True, False])
def test_a_plan_that_is_divided_writes_and_reads_it_again(
    dataset: DemoDataset, tmp_path: Path, parallel: bool
) -> None:
    target = one_document(dataset)
    store = Proving(target, times=4)
    run(dataset, store, verify="all")
    world, plan = RuntimeDeps(wrap=store), str(tmp_path / "plan")
    for exit_code, left in ((3, [target]), (0, [])):  # the first of them writes it twice in vain
        make_plan(a_job(dataset), out=plan, shards=2, deps=world)
        if not parallel:
            for index in range(2):
                sync_plan(a_job(dataset), plan, share=Share(index, 2), deps=world)
            report = finish(plan, job=a_job(dataset), deps=world)
        else:
            report = sync_plan(a_job(dataset), plan, deps=world)
        assert (report.exit_code, sorted(set(remembered(dataset)))) == (exit_code, left)
    assert read_folder(dataset.media)[target] == expected_documents(dataset)[target]
    assert run(dataset, store).changes == 0


class Mute:
    """A wrapper under which some documents can be written, and never read back."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.asked: list[str] = []  # by whoever wants to write them once more

    def __call__(self, adapter: Adapter) -> Adapter:
        assert isinstance(adapter, LocalAdapter)
        honest = adapter.read

        async def read(
            path: str, start: int = 0, end: int | None = None, *, version: str | None = None
        ) -> Blob:
            if path not in self.names:
                return await honest(path, start, end, version=version)
            if end == 1:
                self.asked.append(path)
            raise Unavailable("no answer", url=adapter.url, path=path)

        adapter.read = read  # type: ignore[method-assign]
        return adapter


def test_faults_in_many_documents_are_waited_for_side_by_side(dataset: DemoDataset) -> None:
    """A `retry_for` for all of them, and not one for each."""
    names = set(sorted(expected_documents(dataset))[::3])
    mute = Mute(names)
    report = run(dataset, mute, verify="all", retry_for=2)
    assert (report.verified.wrong, report.exit_code) == (len(names), 3)
    assert len(names) > 10
    spells = len(list(itertools.groupby(mute.asked)))
    assert spells > len(names), "one after the other, each would be asked for in one spell"


def test_a_document_that_waits_holds_up_none_of_a_large_sample() -> None:
    """A fault in every 256 documents is one wait for all of them: they are looked at together."""
    assert _SLICE >= 256 * _PARALLEL
