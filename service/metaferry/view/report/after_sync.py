"""A sync that leaves a page about itself, where its job asks for one: `report: {html: true}`.

The page is made of the plan's rows once the run has ended, so it reads nothing. A plan that is kept has what
a page shows of values beside it, since its rows go to whoever applies it. A page that cannot be made changes
nothing of the run: that is a warning.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from metaferry.errors import MetaferryError
from metaferry.job.model import Job
from metaferry.masking import showable
from metaferry.planning.build import Decided
from metaferry.planning.database import disk_errors
from metaferry.planning.formats import PlanReport, Report, RunReport
from metaferry.progress import Stop
from metaferry.runs import run as runs
from metaferry.runs.context import JobContext, RunContext
from metaferry.runs.sharded import run as sharded
from metaferry.runs.sharded.plan_files import fetch
from metaferry.runs.sharded.plan_run import PlanRun
from metaferry.storage.waits import Deferred
from metaferry.view.report.facts import About

log = logging.getLogger(__name__)

_FAILED: Final = "report.html of this run could not be made: %s"


def plan(job: Job, **how: Any) -> PlanReport:
    """What `runs.run.plan` does, by its arguments; where it is kept, with what a page of its run shows."""
    return runs.plan(job, page=_counted if job.report.html else None, **how)


def sync(
    job: Job, *, report: RunReport | None = None, stop: Stop | None = None, copy: str = "", **how: Any
) -> RunReport:
    """What `runs.run.sync` does, by its arguments, and then the page. `report.page_url` is where that is.

    copy: the path of a local file that then has the page as well.
    """
    report = report or RunReport(run_id="", job_digest="", started="")
    stop = stop or Stop()
    with runs.synced(job, report=report, stop=stop, **how) as (run, _, decided):
        if job.report.html and not stop.requested:
            with _warned():
                _leave_page(run, report, decided, copy)
    return report


def sync_plan(job: Job, plan: str, **how: Any) -> RunReport:
    """What `runs.sharded.run.sync_plan` does, by its arguments; and the page, where it came to its end."""
    return sharded.sync_plan(job, plan, ended=_leave_kept_page, **how)


def finish(plan: str, **how: Any) -> RunReport:
    """What `runs.sharded.run.finish` does, by its arguments, and then the page."""
    return sharded.finish(plan, ended=_leave_kept_page, **how)


def _counted(run: RunContext, decided: Decided) -> bytes | None:
    """What a page of a plan shows of values; None where it cannot be made."""
    from metaferry.view.report.build import count_values
    from metaferry.view.report.page import pack
    from metaferry.view.report.plan_values import TABLE, load_plan_values

    try:
        columns = load_plan_values(run.database, decided.entries.entries)
        found = count_values(run.database, TABLE, columns, progress=run.progress)
        return pack(found.head, found.parts)
    except MetaferryError as error:
        log.warning(_FAILED, error)
        return None


def _leave_page(run: RunContext, report: RunReport, decided: Decided, copy: str) -> None:
    from metaferry.view.report.build import build_page
    from metaferry.view.report.plan_values import TABLE, load_plan_values

    columns = load_plan_values(run.database, decided.entries.entries)
    about = _about(run, report)
    page = build_page(run.database, TABLE, columns, about, progress=run.write_progress)
    _put(run, report, page.html)
    if copy:
        with disk_errors(Path(copy)):
            Path(f"{copy}.new").write_text(page.html, encoding="utf-8")
            os.replace(f"{copy}.new", copy)


def _leave_kept_page(run: PlanRun, report: RunReport) -> None:
    """The page of a plan that was applied to its end, of what was kept beside it; once."""
    from metaferry.view.report.build import Counted, page_of
    from metaferry.view.report.page import unpack

    if not run.job.report.html:
        return
    with _warned():
        key = run.state.page_key(report.run_id)
        if run.state.read(key) is not None:
            report.page_url = run.state.url_of(key)
            return
        if run.plan.page is None:
            raise MetaferryError("the plan was kept without what it shows", advice="make the plan again")
        folder = run.database.scratch / "page"
        try:
            fetch(run.folder, run.portal, [run.plan.page], folder, concurrency=1)
            head, parts = unpack((folder / run.plan.page.name).read_bytes())
        except ValueError as error:
            raise MetaferryError(f"{run.plan.page.name}: {error}") from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _put(run, report, page_of(Counted(head, parts), _about(run, report)).html)


def _put(run: JobContext, report: RunReport, html: str) -> None:
    key = run.state.page_key(report.run_id)
    run.state.write(key, html.encode())
    report.page_url = run.state.url_of(key)


def _about(run: JobContext, report: RunReport) -> About:
    from metaferry.view.report.facts import group_findings
    from metaferry.view.report.panels import plan_panels

    return About(
        title=showable(report.lightly),
        made=run.deps.now().isoformat(timespec="seconds"),
        basis=_basis(report),
        input=showable(report.input),
        lightly=showable(report.lightly),
        run_id=report.run_id,
        findings=group_findings(report.findings, report.finding_examples),
        panels=plan_panels(report),
    )


def _basis(report: Report) -> str:
    ended = f"It was stopped before it wrote anything: {report.stopped}. " if report.stopped else ""
    return (
        f"The plan of this sync, with defaults where a document has no value. {ended}No document was "
        "read for this page: those that no table speaks of are shown without values."
    )


@contextmanager
def _warned() -> Iterator[None]:
    try:
        yield
    except (MetaferryError, Deferred) as error:
        why = error if isinstance(error, MetaferryError) else "the store took too long"
        log.warning(_FAILED, why)
