"""A sync that leaves a page about itself, where its job asks for one: `report: {html: true}`.

The page is made of the plan's rows once the run has ended, so it reads nothing. A page that cannot be made
changes nothing of the run: that is a warning.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from metaferry.errors import MetaferryError
from metaferry.job.model import Job
from metaferry.masking import showable
from metaferry.planning.build import Decided
from metaferry.planning.database import disk_errors
from metaferry.planning.formats import Report, RunReport
from metaferry.progress import Stop
from metaferry.runs.context import RunContext
from metaferry.runs.run import synced
from metaferry.storage.waits import Deferred

log = logging.getLogger(__name__)


def sync(
    job: Job, *, report: RunReport | None = None, stop: Stop | None = None, copy: str = "", **how: Any
) -> RunReport:
    """What `runs.run.sync` does, by its arguments, and then the page. `report.page_url` is where that is.

    copy: the path of a local file that then has the page as well.
    """
    report = report or RunReport(run_id="", job_digest="", started="")
    stop = stop or Stop()
    with synced(job, report=report, stop=stop, **how) as (run, _, decided):
        if job.report.html and not stop.requested:
            try:
                _leave_page(run, report, decided, copy)
            except (MetaferryError, Deferred) as error:
                why = error if isinstance(error, MetaferryError) else "the store took too long"
                log.warning("report.html of this run could not be made: %s", why)
    return report


def _leave_page(run: RunContext, report: RunReport, decided: Decided, copy: str) -> None:
    from metaferry.view.report.build import build_page
    from metaferry.view.report.facts import About, group_findings
    from metaferry.view.report.panels import plan_panels
    from metaferry.view.report.plan_values import TABLE, load_plan_values

    columns = load_plan_values(run.database, decided.entries.entries)
    page = build_page(
        run.database,
        TABLE,
        columns,
        About(
            title=showable(report.lightly),
            made=run.deps.now().isoformat(timespec="seconds"),
            basis=_basis(report),
            input=showable(report.input),
            lightly=showable(report.lightly),
            run_id=report.run_id,
            findings=group_findings(report.findings, report.finding_examples),
            panels=plan_panels(report),
        ),
        progress=run.write_progress,
    )
    key = run.state.page_key(report.run_id)
    run.state.write(key, page.html.encode())
    report.page_url = run.state.url_of(key)
    if copy:
        with disk_errors(Path(copy)):
            Path(f"{copy}.new").write_text(page.html, encoding="utf-8")
            os.replace(f"{copy}.new", copy)


def _basis(report: Report) -> str:
    ended = f"It was stopped before it wrote anything: {report.stopped}. " if report.stopped else ""
    return (
        f"The plan of this sync, with defaults where a document has no value. {ended}No document was "
        "read for this page: those that no table speaks of are shown without values."
    )
