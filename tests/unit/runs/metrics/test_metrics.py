"""The figures of a run: out of a report, complete, and what two runs add up to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from metaferry.findings import Code
from metaferry.planning.formats import (
    DocumentCounts,
    FrameCounts,
    MediaCounts,
    RelationCounts,
    RunReport,
    SourceCounts,
    VerifyCounts,
)
from metaferry.runs.metrics.exposition import counters, gauges, registry
from metaferry.runs.metrics.figures import METRICS, Ended, Samples, Totals, samples
from metaferry.storage.counts import RequestCounts

ENDED = Ended(at=1_790_000_000.5, seconds=12.25)


def report(code: int = 0) -> RunReport:
    return RunReport(
        run_id="r",
        job_digest="d",
        started="2026-11-23T07:00:00+00:00",
        exit_code=code,
        sources=[SourceCounts("a", read=10, used=6, rejected=3, unmatched=1), SourceCounts("b")],
        relations=[RelationCounts("boxes", read=9, rejected=2), RelationCounts("scenes", read=3)],
        media=MediaCounts(images=4, videos=2),
        documents=DocumentCounts(1, 2, 3, 4, 5, 6, 7, 8),
        frames=FrameCounts(counted=1, cached=1, unproved=0),
        requests=RequestCounts(5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4),
        verified=VerifyCounts(3, 2, 1),
        findings={"value.type": 3, "schema.changed": 1},
        rejects={"value.type": 3},
        seconds={"gather": 1.5, "decide": 0.5},
    )


def found(code: int = 0) -> Samples:
    return samples(report(code).to_dict(), ENDED, version="1.2.3")


def test_every_figure_of_a_report_is_there() -> None:
    values = found()
    assert set(values) == {metric.name for metric in METRICS}
    assert values["metaferry_last_run_documents"] == {
        ("create",): 1,
        ("update",): 2,
        ("keep",): 3,
        ("delete",): 4,
        ("skip",): 5,
        ("failed",): 6,
        ("conflict",): 7,
        ("deferred",): 8,
    }
    assert values["metaferry_last_run_records"]["a", "rejected"] == 3
    assert sum(n for (source, _), n in values["metaferry_last_run_records"].items() if source == "a") == 10
    assert values["metaferry_last_run_table_rows"] == {
        ("boxes", "used"): 7,
        ("boxes", "rejected"): 2,
        ("scenes", "used"): 3,
        ("scenes", "rejected"): 0,
    }
    assert values["metaferry_last_run_requests"] == {
        ("list", "ok"): 4,
        ("list", "error"): 1,
        ("get", "ok"): 4,
        ("get", "error"): 2,
        ("put", "ok"): 4,
        ("put", "error"): 3,
        ("delete", "ok"): 4,
        ("delete", "error"): 4,
        ("tags", "ok"): 0,
        ("tags", "error"): 0,
    }
    assert values["metaferry_last_run_bytes"] == {("read",): 11, ("written",): 12}
    assert values["metaferry_last_run_phase_seconds"] == {("gather",): 1.5, ("decide",): 0.5, ("apply",): 0}
    assert values["metaferry_last_run_verified"] == {("read",): 3, ("rewritten",): 2, ("wrong",): 1}
    assert values["metaferry_build_info"] == {("1.2.3",): 1}
    assert values["metaferry_last_run_duration_seconds"] == {(): 12.25}


#: Figures whose labels are what a job or a build is called.
OF_TABLES = ("metaferry_last_run_records", "metaferry_last_run_table_rows", "metaferry_build_info")


def test_label_sets_are_complete_where_nothing_happened() -> None:
    empty = samples(RunReport("", "", "").to_dict(), ENDED, version="1")
    full = found()
    for name in empty:
        if name not in OF_TABLES:
            assert set(empty[name]) == set(full[name]), name
    assert set(empty["metaferry_last_run_findings"]) == {(str(code),) for code in Code}
    assert ("value.type",) in set(empty["metaferry_last_run_rejects"])
    assert set(empty["metaferry_last_run_rejects"].values()) == {0}


@pytest.mark.parametrize(
    ("code", "good"), [(0, True), (3, True), (1, False), (5, False), (11, False), (143, False)]
)
def test_only_a_run_that_did_its_work_is_a_success(code: int, good: bool) -> None:
    values = found(code)
    assert values["metaferry_last_run_exit_code"] == {(): code}
    assert values["metaferry_last_run_timestamp_seconds"] == {(): ENDED.at}
    assert values.get("metaferry_last_success_timestamp_seconds") == ({(): ENDED.at} if good else None)


def test_totals_add_up_and_begin_with_zeros() -> None:
    totals = Totals()
    totals.add(found())
    totals.add(found(1))
    values = {metric.name: (metric.labels, of) for metric, of in totals}
    assert values["metaferry_documents_total"][1]["keep",] == 6
    assert values["metaferry_records_total"][1]["b", "used"] == 0
    assert values["metaferry_run_seconds_total"][1] == {(): 24.5}
    assert set(values) == {metric.total for metric in METRICS if metric.total}


def test_prometheus_reads_what_is_shown() -> None:
    totals = Totals()
    totals.add(found())

    text = generate_latest(
        registry(lambda: [*gauges(found(), label='a "b"\n'), *counters(totals, label="job")])
    ).decode()
    read = {
        (sample.name, tuple(sorted(sample.labels.items()))): (family.type, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    named = (("action", "create"), ("metaferry_job", 'a "b"\n'))
    assert read["metaferry_last_run_documents", named] == ("gauge", 1)
    assert read["metaferry_documents_total", (("action", "create"), ("metaferry_job", "job"))] == (
        "counter",
        1,
    )
    assert {name for name, _ in read} == {
        name for metric in METRICS for name in (metric.name, metric.total) if name
    }


def test_the_page_lists_every_metric_and_no_other() -> None:
    page = (Path(__file__).parents[4] / "docs/operations.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(metaferry_\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in listed}
    metrics = {metric.name: ("gauge", metric.labels) for metric in METRICS}
    metrics |= {metric.total: ("counter", metric.labels) for metric in METRICS if metric.total}
    of_serve = {
        "metaferry_runs_total": ("counter", ("exit_code",)),
        "metaferry_missed_starts_total": ("counter", ()),
        "metaferry_run_active": ("gauge", ()),
        "metaferry_run_started_timestamp_seconds": ("gauge", ()),
        "metaferry_next_run_timestamp_seconds": ("gauge", ()),
    }
    assert len(listed) == len(documented)
    assert documented == metrics | of_serve
