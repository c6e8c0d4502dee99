"""Reading back what was written: a store that answers well and keeps something else is found out."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping, read_folder
from metaferry.demo import DemoDataset, make_dataset
from metaferry.findings import Code
from metaferry.job import Job
from metaferry.planning.formats import RunReport
from metaferry.runs.run import sync
from metaferry.runs.surroundings import Surroundings
from metaferry.storage.contract import ANYTHING, Adapter, Precondition, Stamp
from metaferry.storage.local import LocalAdapter


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
        plain = adapter.put_now

        def put_now(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
            with self._lock:
                hit = path.endswith(self.name) and self.left > 0
                self.left -= hit
            return plain(path, data[:-2] + b" }" if hit else data, only_if=only_if)

        async def put(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> Stamp:
            return put_now(path, data, only_if=only_if)

        adapter.put_now = put_now  # type: ignore[method-assign]
        adapter.put = put  # type: ignore[method-assign]
        return adapter


def run(dataset: DemoDataset, wrap: Any = lambda adapter: adapter, **changes: Any) -> RunReport:
    job = Job.from_mapping(job_mapping(dataset, str(dataset.media), {}) | changes)
    return sync(job, surroundings=Surroundings(wrap=wrap))


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
