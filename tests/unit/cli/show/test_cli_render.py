"""Reports as lines: numbers, reasons, findings with their places, and the verdict."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from metaferry.cli.show.render import Line, plan_lines, run_lines
from metaferry.findings import Code, Finding, Severity
from metaferry.planning.formats import (
    DocumentCounts,
    Example,
    FrameCounts,
    MediaCounts,
    PlanReport,
    RunReport,
    SchemaChange,
    SourceCounts,
)
from metaferry.storage.counts import RequestCounts


def shown(lines: Any, **console: Any) -> str:
    """The lines as a stream gets them."""
    file = io.StringIO()
    out = Console(file=file, markup=False, emoji=False, highlight=False, soft_wrap=True, **console)
    for line in lines:
        assert isinstance(line, Line)
        out.print(line)
    return file.getvalue()


def fill(report: Any, **changes: Any) -> Any:
    report.input = report.lightly = "s3://bucket/x"
    report.sources = [
        SourceCounts("images", 1200, 1190, 10, used_share=1190 / 1200),
        SourceCounts("[red]frames[/red]", 5, 5),
    ]
    report.media = MediaCounts(1500, 4, 2, with_metadata=1503, coverage=1503 / 1504)
    report.frames = FrameCounts(3, 1, 1)
    report.documents = DocumentCounts(create=1000, keep=190, delete=2)
    report.schema = SchemaChange(3, ("a", "b"), written=True)
    report.requests = RequestCounts(list=3, get=4)
    report.bytes_to_write = 123456
    report.seconds = {"gather": 1.5, "decide": 0.2}
    for key, value in changes.items():
        setattr(report, key, value)
    return report


def plan(**changes: Any) -> PlanReport:
    return fill(PlanReport(run_id="r", job_digest="d", started="s"), **changes)  # type: ignore[no-any-return]


def run(**changes: Any) -> RunReport:
    return fill(RunReport(run_id="r", job_digest="d", started="s"), **changes)  # type: ignore[no-any-return]


def finding(row: int, message: str = "no media file is called x.png", **more: Any) -> Finding:
    place = {"source": "images", "file": "s3://warehouse/labels/images.csv", "row": row}
    return Finding(Code.RECORD_UNMATCHED, Severity.WARNING, message, "correct the names", **{**place, **more})


def test_a_plan_for_people() -> None:
    examples = {"create": [Example(".lightly/metadata/a.json", "new")], "keep": [Example("k", "unchanged")]}
    assert (
        shown(
            plan_lines(
                plan(
                    examples=examples,
                    findings={"record.unmatched": 12},
                    finding_examples=[finding(n) for n in range(2, 12)],
                )
            )
        )
        == """\
Plan s3://bucket/x

Media    1,500 images, 4 videos (2 more excluded); 99.9% with metadata
Frames   3 videos counted, 1 cached, 1 not proved

Rows
                      read   used  rejected  share used
  images             1,200  1,190        10       99.1%
  [red]frames[/red]      5      5         0           –

Documents
  create  1,000  new
  update      0  changes, or is not known to be the same
  delete      2  stale or orphaned
  keep      190  unchanged

Schema   3 entries, 2 of them new: a, b; schema.json would be written

Examples of create
  .lightly/metadata/a.json  new

Findings
       12  warning  record.unmatched
             images.csv:2: no media file is called x.png
             → correct the names
             images.csv:3: no media file is called x.png
             images.csv:4: no media file is called x.png
             images.csv:5: no media file is called x.png
             images.csv:6: no media file is called x.png
             … and 7 more

A sync would write 1,000 documents (123.5 kB) and delete 2 documents, then schema.json.
No document was written. Requests: 3 list, 4 get, 0 put. Time: gather 1.5 s, decide 0.2 s.
"""
    )


def test_a_run_for_people() -> None:
    text = shown(
        run_lines(
            run(
                lightly="gs://other",
                documents=DocumentCounts(create=1, update=2, keep=3, delete=4, skip=5, failed=6, deferred=7),
                exit_code=3,
                rejects_url="gs://other/.metaferry/runs/r/rejects.parquet",
                findings={"record.unmatched": 1},
                finding_examples=[finding(2)],
                report_url="gs://other/.metaferry/runs/r/run.json",
                requests=RequestCounts(1, 2, 3, 4, retries=1, throttled=5),
            )
        )
    )
    for part in (
        "Sync s3://bucket/x, documents in gs://other\n",
        "  failed    6  could not be written\n",
        "  deferred  7  for a later run\n",
        "Every row that was not used: gs://other/.metaferry/runs/r/rejects.parquet\n",
        "Done, but not everything",
        "Requests: 1 list, 2 get, 3 put, 4 delete, 1 retry, 5 throttled.",
        "Report: gs://other/.metaferry/runs/r/run.json\n",
    ):
        assert part in text
    assert "conflict" not in text


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (
            plan(stopped="10 rows were rejected", advice="mend"),
            "A sync would stop before its first write: 10 rows",
        ),
        (plan(documents=DocumentCounts(keep=5), schema=SchemaChange()), "A sync would write nothing"),
        (plan(documents=DocumentCounts(create=1), schema=SchemaChange()), "write 1 document (123.5 kB).\n"),
    ],
)
def test_the_verdict_of_a_plan(report: PlanReport, verdict: str) -> None:
    assert verdict in shown(plan_lines(report))


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (run(stopped="interrupted", exit_code=143), "Stopped: interrupted"),
        (run(), "\nDone.\n"),
        (run(documents=DocumentCounts(keep=5), schema=SchemaChange(5)), "all documents are unchanged."),
        (run(documents=DocumentCounts(keep=5), schema=SchemaChange(5), exit_code=3), "not everything"),
    ],
)
def test_the_verdict_of_a_run(report: RunReport, verdict: str) -> None:
    assert verdict in shown(run_lines(report))


def test_names_do_no_harm_and_are_not_cut() -> None:
    evil = "[bold]\x1b[2J\u202e" + "long" * 100
    report = plan(
        examples={"create": [Example(evil, evil)]},
        findings={"record.unmatched": 1},
        finding_examples=[finding(2, evil)],
        schema=SchemaChange(1, (evil,), True),
    )
    text = shown(plan_lines(report), force_terminal=True, color_system="truecolor", width=40)
    assert text.count("[bold]\\x1b[2J\\u202e" + "long" * 100) == 4
    assert "\x1b[2J" not in text
    assert "\u202e" not in text


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in shown(plan_lines(plan()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown(plan_lines(plan(stopped="x")), force_terminal=True, color_system="truecolor")
