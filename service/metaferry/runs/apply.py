"""Applies the plan of a run: documents, a check of a sample of them, deletes, and `schema.json` last.

Fills the counts and findings of the report. `schema.json` is written only when every document
succeeded, so that every document that it describes is there. A document that can never be
written does not hold it back, where what stands in its place fits the entries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from metaferry.apply.apply import DELETES, WRITES, apply_plan
from metaferry.apply.outcome import Applied, Tally
from metaferry.apply.step import IfChanged
from metaferry.engines.writers import write_in_processes
from metaferry.errors import Conflict, Outage, Scope, StorageError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.planning import build, diff
from metaferry.planning.database import Database
from metaferry.planning.entries import Entries
from metaferry.planning.formats import Action, BackupSchema, Outcome, Report
from metaferry.progress import Progress, Stop
from metaferry.runs.backup.keep import BackupKeeper
from metaferry.runs.context import JobContext, RunContext
from metaferry.runs.deletes import keep_back_unwritten
from metaferry.runs.outcomes import Outcomes, settle_findings
from metaferry.runs.schema_fit import refused_fit
from metaferry.runs.storages import WriterPool
from metaferry.runs.verify import verify
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, Storage

#: The `stopped` of a report after a stop.
INTERRUPTED: Final = "interrupted: what was under way is finished, the rest is left for the next run"

#: The part of a backup that covers a run without shards.
WHOLE_RUN: Final = "all"


def write(run: RunContext, entries: Entries, schema_token: str | None, stop: Stop) -> None:
    """Applies the plan (table `decided`); the table `outcomes` then holds what became of each document.

    The run's report comes with the planned counts and leaves with those of what was done; its exit code
    is 3 when a document failed or the store accepts no writes any more, the signal's when `stop` was set.
    `schema_token` is the version of schema.json that was listed. Raises the StorageError that ended the
    run, with the report as far as it got; and why, where `stop` was abandoned.
    """
    report, tally, deletes = run.report, Tally(), run.report.documents.delete
    keeper = run.keeper(report.run_id, report.started)
    schema: BackupSchema | None = None
    if keeper is not None:
        report.backup = keeper.counts
        schema = keeper.read_schema(schema_token, entries.entries) if entries.changed else None
    report.documents.skip += deletes
    report.documents.delete = 0
    _write_documents(run, tally, stop, keeper, schema, also_deletes=bool(deletes))
    share = run.job.verified_share
    if (share or run.damage) and not stop.requested and not tally.outage:
        run.write_progress.phase("Reading back", None)
        verify(
            run.database,
            run.lightly,
            run.portal,
            report,
            share,
            run.deps.random,
            run.write_progress,
            run.damage,
        )
    if deletes and not stop.requested and not tally.outage:
        run.write_progress.phase("Deleting documents", deletes)
        _delete_documents(run, tally, stop)
    if stop.abandoned is not None:
        raise stop.abandoned
    if stop.requested:
        report.exit_code = 128 + (stop.signal or 2)
        report.stopped = INTERRUPTED
        report.schema.written = False
    elif tally.outage:
        report_outage(run.database, report, run.lightly.url, tally.outage)
    else:
        lost, wrong = tally.failed + tally.not_deleted, tally.conflict + report.verified.wrong
        if lost or wrong:
            report.exit_code = 3
        report.schema.written = (
            entries.changed
            and lost == tally.refused
            and not wrong
            and (
                not lost
                or refused_fit(run.database, run.lightly, run.portal, entries.entries, run.write_progress)
            )
        )
        if report.schema.written:
            write_schema(run.database, run.lightly, run.portal, report, entries.entries, schema_token)
    _count_findings(run.database, report, tally)


def _write_documents(
    run: RunContext,
    tally: Tally,
    stop: Stop,
    keeper: BackupKeeper | None,
    schema: BackupSchema | None,
    *,
    also_deletes: bool,
) -> None:
    """Writes the plan's files, also where there are only deletes, and applies its writes.

    Before anything is written the `keeper` keeps all that the run will overwrite or delete.
    """
    documents = run.report.documents
    wanted = documents.create + documents.update
    if not wanted and not also_deletes:
        if keeper is not None:
            keeper.keep_schema(WHOLE_RUN, schema)
        return
    pool = run.storages.writers()
    if pool is not None and wanted < pool.least:
        pool = None
    # Each process has a shard to itself at least, and the last ones to end are short.
    diff.write_plan(run.database, min_shards=1 if pool is None else 4 * pool.workers)
    plan = run.database.scratch / "plan"
    try:
        if keeper is not None:
            run.write_progress.phase("Keeping old versions", None)
            keeper.keep(
                WHOLE_RUN,
                plan,
                WRITES | DELETES,
                tally,
                stop=stop,
                progress=run.write_progress,
                schema=schema,
            )
        if not wanted:
            return
        run.write_progress.phase("Writing documents", wanted)
        if pool is None:
            apply_phase(run, WRITES, plan, tally, stop, run.write_progress, if_changed=if_changed(run.job))
        else:
            _write_in_processes(run, pool, tally, stop)
    finally:
        documents.create, documents.update = tally.create, tally.update
        documents.failed, documents.conflict = tally.failed, tally.conflict
        done = tally.create + tally.update + tally.failed + tally.conflict
        documents.deferred += wanted - done


def _write_in_processes(run: RunContext, pool: WriterPool, tally: Tally, stop: Stop) -> None:
    with closing(Outcomes(run.database)) as outcomes:
        write_in_processes(
            run.database.scratch / "plan",
            pool.opening,
            workers=pool.workers,
            concurrency=max(1, run.job.concurrency // pool.workers),
            record=outcomes.add,
            tally=tally,
            stop=stop,
            grace=run.job.grace,
            silence=run.job.lease_for / 2,
            advance=run.write_progress.advance,
            absorb=run.lightly.absorb,
            if_changed=if_changed(run.job),
        )


def _delete_documents(run: RunContext, tally: Tally, stop: Stop) -> None:
    documents, plan = run.report.documents, run.database.scratch / "plan"
    if documents.failed or documents.conflict:
        keep_back_unwritten(run.database, plan)
    try:
        apply_phase(run, DELETES, plan, tally, stop, run.write_progress)
    finally:
        documents.delete += tally.delete
        documents.skip -= tally.delete


def apply_phase(
    run: JobContext,
    phase: frozenset[Action],
    plan: Path,
    tally: Tally,
    stop: Stop,
    progress: Progress,
    *,
    shards: Collection[int] | None = None,
    written: bool = False,
    if_changed: IfChanged = IfChanged.REPLACE,
) -> None:
    """Applies the writes, or the deletes, of a plan's files by this process; see `apply_plan`."""
    with closing(Outcomes(run.database)) as outcomes:
        run.portal.run(
            apply_plan(
                plan,
                run.lightly,
                concurrency=run.job.concurrency,
                record=outcomes.add,
                tally=tally,
                stop=stop,
                grace=run.job.grace,
                advance=progress.advance,
                phases=(phase,),
                shards=shards,
                written=written,
                if_changed=if_changed,
            )
        )


def if_changed(job: Job) -> IfChanged:
    """What becomes of a document that changed since it was listed: without its bytes in a backup, where the
    job wants one, it is not replaced."""
    return IfChanged.REPLACE if job.backup is None else IfChanged.LEAVE


def report_outage(database: Database, report: Report, url: str, reason: str) -> None:
    """The end of a run whose store accepts no writes any more: one finding, and exit code 3."""
    error = Outage(url, reason)
    report.exit_code = error.exit_code
    report.stopped, report.advice = error.message, error.advice
    report.schema.written = False
    database.finding(Code.STORAGE_OUTAGE, "error", error.message, advice=error.advice)


def write_schema(
    database: Database,
    lightly: Storage,
    portal: Portal,
    report: Report,
    entries: Sequence[rules.Entry],
    token: str | None,
) -> None:
    """Puts schema.json in the place of the version with that token (None: of nothing).

    Where it was changed meanwhile, or is protected, it is left: a finding and exit code 3. Raises every
    other StorageError.
    """
    try:
        portal.run(
            lightly.put(SCHEMA, rules.schema_bytes(entries), only_if=ABSENT if token is None else token)
        )
    except Conflict:
        # The new entries there have to be read and kept, which is how a run begins.
        report.exit_code = 3
        report.schema.written = False
        database.finding(
            Code.DOCUMENT_CONFLICT,
            "error",
            "schema.json was changed by somebody else during the run; left as they wrote it",
            advice="run it again: it keeps their entries and adds what is new",
            target=SCHEMA,
        )
    except StorageError as error:
        this_file = error.scope is Scope.OBJECT and not error.retryable
        others_written = report.documents.create + report.documents.update > 0
        if not this_file and not (error.scope is Scope.EITHER and others_written):
            raise
        report.exit_code = 3
        report.schema.written = False
        database.finding(Code.DOCUMENT_FAILED, "error", error.message, advice=error.advice, target=SCHEMA)


def _count_findings(database: Database, report: Report, tally: Tally) -> None:
    """Adds the findings of what was applied: the counts are complete, the rows are the first hundred."""
    settle_findings(database)
    name_failures(database, tally)
    before = report.findings.get(Code.DOCUMENT_MODIFIED_EXTERNALLY, 0)
    report.findings, report.finding_examples = build.findings(database)
    counts = {
        Code.DOCUMENT_MODIFIED_EXTERNALLY: before + tally.foreign,
        Code.DOCUMENT_FAILED: max(
            tally.failed + tally.not_deleted, report.findings.get(Code.DOCUMENT_FAILED, 0)
        ),
        Code.DOCUMENT_CONFLICT: max(tally.conflict, report.findings.get(Code.DOCUMENT_CONFLICT, 0)),
    }
    report.findings.update({code: count for code, count in counts.items() if count})


def name_failures(database: Database, tally: Tally) -> None:
    """Findings of the first hundred documents that failed, and of those that replaced external changes."""
    for applied in tally.failures:
        conflict = applied.outcome is Outcome.CONFLICT
        code = Code.DOCUMENT_CONFLICT if conflict else Code.DOCUMENT_FAILED
        advice = applied.advice or "run it again: it does exactly what is missing"
        if applied.outcome is Outcome.REFUSED and not applied.advice:
            advice = "running it again would not help: see the error of the store"
        _finding(database, code, "error", applied, applied.message, advice)
    for applied in tally.replaced:
        _finding(
            database,
            Code.DOCUMENT_MODIFIED_EXTERNALLY,
            "warning",
            applied,
            "replaced: somebody else wrote it since it was listed",
            "keep changes in the tables: documents are made from them",
        )


def _finding(
    database: Database, code: Code, severity: str, applied: Applied, message: str, advice: str
) -> None:
    database.finding(code, severity, message, advice=advice, target=applied.target)
