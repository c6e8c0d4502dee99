"""Rolls a run back, from its backup: documents are given back, then those it created go, schema.json last.

Documents before schema.json, as in a sync, and old versions before deletes, so that a document that was
renamed is never missing. What is done follows from the backup and from what is in place, so a rollback that
was killed is run again, and one that is done changes nothing. The ledger is left as if the run had not been.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext

from metaferry.apply.apply import DELETES, WRITES
from metaferry.apply.outcome import Tally
from metaferry.apply.step import IfChanged
from metaferry.errors import MetaferryError, Outage, StorageError, exit_code
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA
from metaferry.planning import build
from metaferry.planning.formats import RunReport
from metaferry.planning.price.model import Price, Requests
from metaferry.progress import Progress, Silent, Stop
from metaferry.runid import during
from metaferry.runs.apply import INTERRUPTED, apply_phase, name_failures
from metaferry.runs.backup.stored import StoredBackup, fetch_pieces, find_backup
from metaferry.runs.context import JobContext, open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.draining import ending_at_once, ending_soon
from metaferry.runs.lease.held import RunLease
from metaferry.runs.listings.links import refuse_links
from metaferry.runs.report import leave_report, requests_of
from metaferry.runs.rollback import decide, schema
from metaferry.runs.rollback.report import RollbackReport
from metaferry.runs.state.capability_probe import recall_conditions
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.folder import RunHistory
from metaferry.runs.state.ledger import Ledger
from metaferry.storage.counts import RequestCounts
from metaferry.storage.waits import Deferred

log = logging.getLogger(__name__)


def rollback(
    job: Job,
    run_id: str,
    *,
    apply: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
    deps: RuntimeDeps | None = None,
) -> RollbackReport:
    """What rolling the run `run_id` back would do, or, with `apply`, does.

    The lease is held while anything is decided and written. UsageError where the run has no backup,
    MetaferryError where the backup is not whole, with nothing changed. A document that is not as the run
    left it, and not as it was before, is a finding, and the exit code 3.
    """
    progress, stop, deps = progress or Silent(), stop or Stop(), deps or RuntimeDeps()
    started = deps.now()
    report = RollbackReport(run_id, started=started.isoformat(timespec="seconds"))
    rollback_id = deps.new_run_id(started)
    with during(rollback_id), open_job(job, deps) as (storages, database):
        run = JobContext(job, deps, storages, database)
        lease = run.lease(rollback_id, stop, progress, shared=False) if apply else nullcontext()
        with lease as held:
            rolled = _Rollback(run, report, rollback_id, progress, stop)
            with ending_at_once(stop, storages, run.portal):
                rolled.plan(held)
            if apply:
                report.applied, report.rollback_id = True, rollback_id
                rolled.apply()
        report.finished = deps.now().isoformat(timespec="seconds")
        report.requests = requests_of(storages.all)
        if apply:
            report.price = Price.of(storages.stores())
    return report


class _Rollback:
    """One rollback: `plan`, then perhaps `apply`."""

    def __init__(
        self, run: JobContext, report: RollbackReport, rollback_id: str, progress: Progress, stop: Stop
    ) -> None:
        self.run = run
        self.report = report
        self.rollback_id = rollback_id
        self.progress = progress
        self.stop = stop
        self.ledger = Ledger(run.database, run.state)
        self.schema = schema.SchemaStep(schema.NONE)
        self.history = RunHistory((), False, ())

    def plan(self, lease: RunLease | None) -> None:
        """Fills the report with what is to be done, and makes the files of the plan."""
        run, report, database = self.run, self.report, self.run.database
        report.lightly = run.lightly.url
        backup = find_backup(run.state, run.state.history(), report.run_id)
        if lease is not None:
            lease.take()
        else:
            stores = (run.lightly, run.state.storage)
            key = run.state.capabilities_key
            run.portal.run(recall_conditions(stores, run.state.storage, key, run.deps.now()))
        self.history = run.state.history()  # only now it does not change any more
        report.later_runs = tuple(each for each in self.history.begun if each > report.run_id)
        report.best_effort = not run.lightly.capabilities.honours("a token")
        self.progress.phase("Reading the backup", None)
        files = fetch_pieces(run.state, backup, database.scratch / "backup")
        decide.load_backup(database, files)
        decide.read_current(database, run.lightly, run.portal, self.progress)
        decide.decide_steps(database)
        decide.name_actions(database)
        refuse_links(database, run.lightly, table="to_write")
        self.schema = schema.decide_schema(backup.schema, run.lightly, run.portal)
        schema.keep_misfits(database, files, self.schema)
        decide.find_conflicts(database)
        report.schema = self.schema.step
        if self.schema.step == schema.CONFLICT:
            database.finding(
                Code.DOCUMENT_CONFLICT,
                "error",
                "schema.json was changed since the run; left as it is",
                advice="if a later run wrote it, roll that one back first",
                target=SCHEMA,
            )
        self._count(backup)
        decide.write_plan_files(database, files, database.scratch / "plan")

    def _count(self, backup: StoredBackup) -> None:
        report, documents = self.report, self.report.documents
        for step, count in decide.count_steps(self.run.database).items():
            setattr(documents, step, count)
        report.bytes = self.run.database.value(
            "SELECT coalesce(sum(size), 0)::BIGINT FROM rolled WHERE step IN ('restore', 'recreate')"
        )
        report.examples = decide.example_steps(self.run.database)
        report.findings, report.finding_examples = build.findings(self.run.database)
        self._estimate(backup)
        if documents.conflict or documents.failed or self.schema.step == schema.CONFLICT:
            report.exit_code = 3

    def _estimate(self, backup: StoredBackup) -> None:
        """The requests of an apply, and their price."""
        run, report, counts = self.run, self.report, self.report.documents
        writes, removes = self.schema.step == schema.RESTORE, self.schema.step == schema.REMOVE
        inferred = (writes or removes) and self.schema.inferred is not None
        deletes = counts.remove + removes
        documents = Requests(
            get=backup.rows + (backup.schema is not None) + deletes * run.lightly.capabilities.delete_looks,
            put=counts.restore + counts.recreate + writes,
            delete=deletes,
        )
        # Listed are the runs (twice), the backups, the ledger, and the markers and the plan of the run. Read
        # are the parts and the pieces, one piece of the ledger, and what the stores can do. Written are the
        # lease, start, ledger and report, and findings where there are conflicts.
        capabilities = run.state.storage.capabilities
        state = Requests(
            list=6,
            get=backup.parts
            + len(backup.pieces)
            + 1
            + capabilities.delete_looks
            + (capabilities.conditional and capabilities.conditions_vary),
            put=4 + inferred + bool(report.findings),
            delete=1 + ((writes or removes) and not inferred),
        )
        report.planned = documents + state
        storages = run.storages
        report.price = Price.of(
            (storages.store(run.lightly, documents), storages.store(run.state.storage, state))
        )

    # -- doing it

    def apply(self) -> None:
        """Does what was planned; the report then has what was done. Raises StorageError."""
        run, report = self.run, self.report
        self._follow_unchanged()
        follow: int = run.database.value("SELECT count(*) FROM outcomes")
        if report.changes or self.schema.step in (schema.RESTORE, schema.REMOVE) or follow:
            run.state.start(self.rollback_id, report.started)
            # Without its markers nobody takes the shards of this run for done, and completes it.
            run.state.forget_parts(report.run_id, plan=True)
            tally = Tally()
            try:
                self._write(tally)
            except MetaferryError as error:
                if self.stop.abandoned is not None:
                    raise self.stop.abandoned from None
                report.exit_code, report.stopped = exit_code(error), error.message
                self._leave(after_failure=True)
                raise
            if self.stop.abandoned is not None:
                raise self.stop.abandoned
            self._leave(after_failure=self.stop.requested)

    def _write(self, tally: Tally) -> None:
        run, report, counts = self.run, self.report, self.report.documents
        planned = report.changes
        writes, conflicts, failed = counts.restore + counts.recreate, counts.conflict, counts.failed
        remove, counts.remove = counts.remove, 0
        plan = run.database.scratch / "plan"
        try:
            if writes:
                self.progress.phase("Restoring documents", writes)
                apply_phase(run, WRITES, plan, tally, self.stop, self.progress, if_changed=IfChanged.LEAVE)
            # A document that took the place of another stays until that one is back.
            if remove and not (tally.failed or tally.outage or self.stop.requested):
                self.progress.phase("Deleting documents", remove)
                apply_phase(run, DELETES, plan, tally, self.stop, self.progress)
        finally:
            counts.restore, counts.recreate, counts.remove = tally.update, tally.create, tally.delete
            refused = run.database.value("SELECT count(*) FROM outcomes WHERE outcome = 'conflict'")
            counts.conflict = conflicts + refused
            counts.failed = failed + tally.conflict + tally.failed + tally.not_deleted - refused
            counts.deferred = planned - report.changes - (tally.conflict + tally.failed + tally.not_deleted)
            self._follow_done()
        if self.stop.abandoned is not None:
            return
        name_failures(run.database, tally)
        if self.stop.requested:
            report.exit_code, report.stopped = 128 + (self.stop.signal or 2), INTERRUPTED
        elif tally.outage:
            error = Outage(run.lightly.url, tally.outage)
            report.exit_code, report.stopped, report.advice = error.exit_code, error.message, error.advice
            run.database.finding(Code.STORAGE_OUTAGE, "error", error.message, advice=error.advice)
        self._write_schema(complete=not (tally.failed or tally.not_deleted or counts.deferred))
        if counts.conflict or counts.failed or counts.deferred:
            report.exit_code = report.exit_code or 3

    def _write_schema(self, *, complete: bool) -> None:
        run, report = self.run, self.report
        if self.schema.step not in (schema.RESTORE, schema.REMOVE):
            return
        if not complete or self.stop.requested or not self._fits():
            report.schema = schema.HELD_BACK
            report.exit_code = report.exit_code or 3
            return
        try:
            schema.put_schema(self.schema, run.lightly, run.state, run.portal)
        except StorageError as error:
            schema.name_failure(run.database, error)
            report.schema = schema.HELD_BACK
            report.exit_code = 3

    def _fits(self) -> bool:
        """Whether all that stays fits the older entries; only what others wrote may not."""
        counts = self.report.documents
        if not (self.report.later_runs or counts.conflict or counts.failed):
            return True
        run = self.run
        return schema.fits_old_entries(run.database, self.schema, run.lightly, run.portal, self.progress)

    # -- the ledger and the report

    def _follow_unchanged(self) -> None:
        """Adds to `outcomes` what an earlier rollback, which was killed, brought back, as far as the ledger
        does not have it."""
        self.ledger.load()
        self.run.database.run(
            """
            INSERT INTO outcomes
            SELECT r.target, 'keep', 'done', CASE WHEN r.ours THEN r.expect END, r.md5, ''
            FROM rolled r LEFT JOIN ledger l ON l.target = r.target
            WHERE r.step = 'unchanged' AND r.old
              AND CASE WHEN r.ours THEN l.token IS DISTINCT FROM r.expect ELSE l.token IS NOT NULL END
            """
        )

    def _follow_done(self) -> None:
        """What the ledger did not have as ours before the run, it does not have as ours again."""
        self.run.database.run(
            "UPDATE outcomes SET token = NULL "
            "WHERE outcome = 'done' AND target IN (SELECT target FROM rolled WHERE old AND NOT ours)"
        )

    def _leave(self, *, after_failure: bool) -> None:
        run, report = self.run, self.report
        # No job's digest: to the job's own runs this one is none.
        kept = RunReport(run_id=self.rollback_id, job_digest="", started=report.started)
        kept.lightly, kept.exit_code, kept.stopped = report.lightly, report.exit_code, report.stopped
        counts = kept.documents
        done = report.documents
        counts.create, counts.update, counts.delete = done.recreate, done.restore, done.remove
        counts.keep, counts.conflict = done.unchanged, done.conflict
        counts.failed, counts.deferred = done.failed, done.deferred
        report.findings, report.finding_examples = build.findings(run.database)
        kept.findings, kept.finding_examples = report.findings, report.finding_examples

        def count(last: RequestCounts) -> None:
            kept.requests = requests_of(run.storages.all) + last
            kept.stores = run.storages.stores()
            kept.price = Price.of(kept.stores)

        try:
            with ending_soon(self.stop, run.storages, run.portal):
                leave_report(
                    kept,
                    run.database,
                    run.state,
                    self.ledger,
                    self.history,
                    Damage(run.database, run.state, self.rollback_id),
                    keep_runs=run.job.keep_runs,
                    keep_backups=None,
                    finished=run.deps.now().isoformat(timespec="seconds"),
                    count=count,
                )
            report.report_url = kept.report_url
        except (StorageError, Deferred) as error:
            if not after_failure:
                raise
            why = error if isinstance(error, StorageError) else "the store took too long"
            log.warning("the report of this rollback could not be kept: %s", why)
