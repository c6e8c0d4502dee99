"""A rollback, or its plan, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.price import price_lines
from metaferry.cli.show.render import Line, finding_lines, request_text
from metaferry.cli.show.text import columns, count, heading, safe, size

if TYPE_CHECKING:
    from metaferry.runs.rollback.report import RollbackReport

#: Each count with its word in a plan, its word afterwards, and what it means.
_ROWS: Final = (
    ("restore", "restore", "restored", "replaced by the run: given their old bytes"),
    ("recreate", "recreate", "recreated", "deleted by the run: written again"),
    ("remove", "delete", "deleted", "created by the run"),
    ("unchanged", "unchanged", "unchanged", "as they were before the run"),
    ("conflict", "conflict", "conflict", "not as the run left them: not touched"),
    ("failed", "failed", "failed", "could not be read, written or deleted"),
    ("deferred", "deferred", "deferred", "not begun: run it again"),
)
_ALWAYS: Final = ("restore", "recreate", "remove")
_SCHEMA: Final = {
    "restore": ("would be as it was before the run", "is as it was before the run"),
    "remove": (
        "would be deleted: there was none before the run",
        "is deleted: there was none before",
    ),
    "unchanged": ("is as it was before the run",) * 2,
    "conflict": ("was changed since the run, and is left",) * 2,
    "held back": ("is held back",) * 2,
    "none": ("was not changed by the run",) * 2,
}
#: Later runs that are named.
_RUNS: Final = 5


def rollback_lines(report: RollbackReport) -> Iterator[Line]:
    """What `metaferry rollback` prints."""
    what = "Rollback" if report.applied else "Plan of a rollback"
    yield Text.assemble((f"{what} ", "bold"), f"of the run {safe(report.run_id)} in {safe(report.lightly)}")
    yield ""
    yield heading("Documents")
    rows = []
    for name, planned, done, meaning in _ROWS:
        number = getattr(report.documents, name)
        if number or name in _ALWAYS:
            rows.append([done if report.applied else planned, f"{number:,}", meaning])
    yield from columns(rows, right=(1,))
    yield ""
    yield Text.assemble(("Schema   ", "bold"), f"schema.json {_SCHEMA[report.schema][report.applied]}")
    if report.later_runs:
        runs = sorted(report.later_runs, reverse=True)
        more = f" … and {len(runs) - _RUNS} more" if len(runs) > _RUNS else ""
        yield Text.assemble(
            ("Since    ", "bold"),
            f"{count(len(runs), 'run')} began to write after it: {', '.join(map(safe, runs[:_RUNS]))}{more}",
        )
    if report.best_effort:
        yield Text(
            "This store checks no conditions: what others write meanwhile can be overwritten.", style="yellow"
        )
    for step, shown in report.examples.items():
        yield ""
        yield Text.assemble(("Examples ", "bold"), f"of {'delete' if step == 'remove' else step}")
        yield from columns([[safe(one.target), safe(one.why)] for one in shown])
    yield from finding_lines(report.findings, report.finding_examples)
    yield ""
    yield from price_lines(report.price, planned=not report.applied)
    yield from _verdict(report)


def _verdict(report: RollbackReport) -> Iterator[Line]:
    if report.stopped:
        yield Text.assemble(("Stopped: ", "bold red"), safe(report.stopped))
        if report.advice:
            yield f"  → {safe(report.advice)}"
    elif report.is_nothing:
        yield Text("Nothing to roll back: everything is as it was before that run.", style="green")
    elif not report.applied:
        yield _planned(report)
    elif report.exit_code == 3:
        yield Text("Done, but not everything: the findings above say what is missing.", style="yellow")
    else:
        yield Text("Done: everything is as it was before that run.", style="bold green")
        yield "  → the next sync makes these changes again, until the tables or the job are mended"
    cost = request_text(report.requests)
    yield Text(cost if report.applied else f"Nothing was written. {cost}", style="dim")
    if report.report_url:
        yield Text(f"Report: {safe(report.report_url)}", style="dim")


def _planned(report: RollbackReport) -> Line:
    counts, planned = report.documents, report.planned
    writes = counts.restore + counts.recreate
    deletes = f" and delete {count(counts.remove, 'document')}" if counts.remove else ""
    requests = f"{planned.list:,} list, {planned.get:,} get, {planned.put:,} put, {planned.delete:,} delete"
    return Text.assemble(
        ("With --apply it would ", "bold"),
        f"write {count(writes, 'document')} ({size(report.bytes)}){deletes}, by about {requests}.",
    )
