"""A run whose plan is kept: in a folder, or in the state folder to be applied by the workers of an engine."""

from __future__ import annotations

from typing import Final

from metaferry.errors import MetaferryError
from metaferry.findings import Code
from metaferry.job.parts import Location
from metaferry.planning.build import Decided
from metaferry.planning.formats import KeptPlan, RunReport
from metaferry.progress import Stop
from metaferry.runs.context import RunContext
from metaferry.runs.gather import Gathered
from metaferry.runs.sharded.plan_files import kept_location, write_plan
from metaferry.runs.sharded.plan_run import add_markers, count_findings
from metaferry.runs.sharded.run import sync_plan
from metaferry.runs.state.markers import Markers

#: Shards that a plan for an engine has, where its size needs no more; and the documents below which a
#: shard is not worth a task.
_MAX_SHARDS: Final = 64
_MIN_ROWS: Final = 1_000


def keep_plan(
    run: RunContext,
    gathered: Gathered,
    decided: Decided,
    folder: Location,
    shards: int,
    page: bytes | None = None,
) -> KeptPlan:
    """Writes the plan to a folder, in at least `shards` shards; one that a safety limit stopped says so."""
    run.count_requests()
    return write_plan(
        run.database,
        run.job,
        run.report,
        run.storages.writable(folder),
        run.portal,
        schema=decided.entries.entries,
        schema_token=gathered.schema_token,
        min_shards=shards,
        page=page,
    )


def apply_on_engine(run: RunContext, gathered: Gathered, decided: Decided, engine: str, stop: Stop) -> None:
    """Keeps the plan in the state folder and has it applied: the report becomes that of its end.

    The caller holds the lease of the plan. Raises MetaferryError subclasses; the report and the table
    `outcomes` then have the shards that are done.
    """
    report = run.report
    run.state.start(report.run_id, report.started)
    folder = kept_location(run.job, report.run_id)
    plan = keep_plan(run, gathered, decided, folder, min(_MAX_SHARDS, -(-report.changes // _MIN_ROWS)))
    try:
        ended = sync_plan(
            run.job,
            folder.url,
            engine=engine,
            leased=True,
            progress=run.write_progress,
            stop=stop,
            deps=run.deps,
        )
    except MetaferryError:
        if stop.abandoned is None:
            _count_done_shards(run, plan)
        raise
    outage = Code.STORAGE_OUTAGE in ended.findings
    if (stop.requested or outage) and stop.abandoned is None:
        _count_done_shards(run, plan)
        report.exit_code, report.stopped, report.advice = ended.exit_code, ended.stopped, ended.advice
        if outage:
            report.findings[Code.STORAGE_OUTAGE] = 1
            report.finding_examples += ended.finding_examples[-1:]
        run.leave_report_after_failure(gathered.history)
        return
    for name in RunReport.__dataclass_fields__:
        setattr(report, name, getattr(ended, name))


def _count_done_shards(run: RunContext, plan: KeptPlan) -> None:
    """The shards that are done, for the report and the ledger: the next run makes a new plan."""
    report, documents = run.report, run.report.documents
    planned_writes, planned_deletes = documents.create + documents.update, documents.delete
    markers = Markers(plan, run.state)
    found = markers.look()
    markers.load(found, run.database)
    documents.create = documents.update = documents.delete = 0
    add_markers(report, found.values())
    count_findings(report, found.values())
    documents.deferred += planned_writes - sum(marker.writes for marker in found.values())
    documents.skip += planned_deletes
    report.schema.written = False
