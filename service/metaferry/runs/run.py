"""One run, from start to end: gather, decide, and, for a sync, apply; then its report.

`plan` and `sync` gather and decide by the same code, so that a dry run cannot disagree with the run. A
run works in the caller's thread; its storages live on an event loop of their own (`storage/io/portal.py`),
so that it may be called from inside a running loop as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from metaferry.engines.choose import LOCAL, check_engine
from metaferry.errors import MetaferryError, exit_code
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.planning.build import Decided
from metaferry.planning.formats import BackupCounts, PlanReport, Report, RunReport
from metaferry.progress import Progress, Silent, Stop
from metaferry.runid import during
from metaferry.runs.apply import write
from metaferry.runs.context import RunContext, open_job
from metaferry.runs.decide import decide
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.draining import ending_at_once
from metaferry.runs.gather import Gathered, gather
from metaferry.runs.metrics.push import published
from metaferry.runs.sharded.engine_run import apply_on_engine, keep_plan
from metaferry.runs.sharded.plan_files import kept_location, plan_location
from metaferry.runs.state.defaults import remember_defaults
from metaferry.runs.state.inferred import remember_new
from metaferry.runs.storages import require_shared


def plan(
    job: Job,
    *,
    prefix: str = "",
    limit: int | None = None,
    out: str | None = None,
    keep: bool = False,
    shards: int = 1,
    page: Callable[[RunContext, Decided], bytes | None] | None = None,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> PlanReport:
    """What a sync would do and why. Writes nothing but the caches of frame counts and of facts, and the plan
    where it is kept.

    `out` is a folder (any URL), in place of which `keep` takes one in the state folder. It then holds
    `plan.json`, `shard=NNN/*.parquet`, `rejects.parquet` and `findings.parquet`, and has at least `shards`
    shards; `page` makes a further file of it, of its rows. Raises MetaferryError subclasses only; a safety
    limit that was passed is no error but `report.stopped`, with exit code 5.
    """
    # A plan writes nothing, so no pages of its listing either, unless it is to be kept.
    with planned(
        job, prefix=prefix, limit=limit, keep_listing=keep or out is not None, progress=progress, deps=deps
    ) as (run, gathered, decided):
        if keep or out is not None:
            folder = kept_location(job, run.report.run_id) if out is None else plan_location(job, out)
            with run.timed("write"):
                made = None if page is None else page(run, decided)
                keep_plan(run, gathered, decided, folder, shards, made)
        run.count_requests()
        assert isinstance(run.report, PlanReport)  # `planned` made it
        return run.report


@contextmanager
def planned(
    job: Job,
    *,
    prefix: str = "",
    limit: int | None = None,
    keep_listing: bool = False,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Iterator[tuple[RunContext, Gathered, Decided]]:
    """What a sync would do, with its rows, for one block: for whoever asks more of a plan than its report."""
    report = PlanReport(run_id="", job_digest="", started="")
    with _open_run(job, report, progress or Silent(), deps or RuntimeDeps()) as run:
        gathered = gather(run, prefix, keep_listing=keep_listing)
        yield run, gathered, decide(run, gathered, prefix, limit)


def sync(
    job: Job,
    *,
    prefix: str = "",
    limit: int | None = None,
    engine: str = LOCAL,
    progress: Progress | None = None,
    stop: Stop | None = None,
    deps: RuntimeDeps | None = None,
    report: RunReport | None = None,
) -> RunReport:
    """Makes the documents what the tables say; the report says what was done.

    With an engine other than the local one, the plan is kept in the state folder and its shards are
    written by the engine's workers.

    Documents first, deletes after them, `schema.json` last and only when all of them succeeded.
    Leaves `run.json`, and `rejects.parquet` and `findings.parquet` where there are any, in the
    state folder. When `stop` is set meanwhile, what is under way is finished and the report has
    the signal's exit code. Raises MetaferryError subclasses only; a `report` that is given then
    shows how far the run came. Its figures are sent where the job's `metrics` say.
    """
    report = report or RunReport(run_id="", job_digest="", started="")
    with synced(
        job,
        prefix=prefix,
        limit=limit,
        engine=engine,
        progress=progress,
        stop=stop,
        deps=deps,
        report=report,
    ):
        pass
    return report


@contextmanager
def synced(
    job: Job,
    *,
    report: RunReport,
    prefix: str = "",
    limit: int | None = None,
    engine: str = LOCAL,
    progress: Progress | None = None,
    stop: Stop | None = None,
    deps: RuntimeDeps | None = None,
) -> Iterator[tuple[RunContext, Gathered, Decided]]:
    """A sync, and then its rows for one block: for whoever shows more of it than its report.

    In the block the run has ended: its report is left, and its lease given back.
    """
    progress, stop, deps = progress or Silent(), stop or Stop(), deps or RuntimeDeps()
    check_engine(engine)
    with published(job, report, deps), _open_run(job, report, progress, deps, stop) as run:
        with run.lease(report.run_id, stop, progress, shared=engine != LOCAL) as lease:
            if engine != LOCAL:
                require_shared(run.lightly, run.state.storage)
            with ending_at_once(stop, run.storages, run.portal):
                gathered = gather(run, prefix, lease=lease, keep_listing=True)
                decided = decide(run, gathered, prefix, limit)
            _apply(run, gathered, decided, engine, stop)
        yield run, gathered, decided


@contextmanager
def _open_run(
    job: Job, report: Report, progress: Progress, deps: RuntimeDeps, stop: Stop | None = None
) -> Iterator[RunContext]:
    """The resources of a run, whose id, start, exit code and requests come into the report."""
    started = deps.now()
    report.run_id = deps.new_run_id(started)
    report.job_digest = job.digest()
    report.started = started.isoformat(timespec="seconds")
    with during(report.run_id), open_job(job, deps) as (storages, database):
        run = RunContext(job, deps, storages, database, report=report, progress=progress, stop=stop)
        try:
            yield run
        except MetaferryError as error:
            report.exit_code = exit_code(error)
            if not report.finished:  # a run that failed reports its requests, too
                run.count_requests()
            error.run_id, error.report_url = report.run_id, report.report_url
            raise


def _apply(run: RunContext, gathered: Gathered, decided: Decided, engine: str, stop: Stop) -> None:
    """Applies the plan and leaves the report, also where it raises what ended the run."""
    report = run.report
    try:
        if decided.stopped:
            _defer_all(report)
        elif engine != LOCAL and report.changes:
            apply_on_engine(run, gathered, decided, engine, stop)
            return
        elif report.changes or decided.entries.changed:
            with run.timed("apply"):
                run.state.start(report.run_id, report.started)
                run.ledger.made_for(decided.entries.entries)
                write(run, decided.entries, gathered.schema_token, stop)
                remember_new(run.state, run.job, report, decided.entries.entries)
                remember_defaults(run.state, run.job, decided.entries.entries)
    except MetaferryError as error:
        if stop.abandoned is not None:  # another run may be writing to this datasource by now
            raise stop.abandoned from (None if error is stop.abandoned else error)
        report.exit_code = exit_code(error)
        report.stopped = error.message
        run.leave_report_after_failure(gathered.history)
        raise
    if stop.abandoned is not None:
        raise stop.abandoned
    if stop.requested or Code.STORAGE_OUTAGE in report.findings:
        run.leave_report_after_failure(gathered.history)
    else:
        run.leave_report(gathered.history)


def _defer_all(report: Report) -> None:
    """The counts of a run that a safety limit stopped: what was planned is deferred to a later run."""
    documents = report.documents
    documents.deferred += documents.create + documents.update
    documents.skip += documents.delete
    documents.create = documents.update = documents.delete = 0
    report.schema.written = False
    report.backup = BackupCounts()
