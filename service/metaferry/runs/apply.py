"""The writing half of a run: documents, a look at a sample of them, deletes, and `schema.json` last.

Fills the counts and findings of the report. `schema.json` is written only when every document
succeeded, so that whoever reads it finds every document that it describes. A document that can never be
written does not hold it back, where what stands in its place fits the entries.
"""

from __future__ import annotations

import random as randomness
from collections.abc import Sequence

from metaferry.apply.apply import DELETES, WRITES, apply_plan
from metaferry.apply.outcome import Applied, Tally
from metaferry.engines.processes import write_in_processes
from metaferry.errors import Conflict, Outage, Scope, StorageError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.planning import build, diff
from metaferry.planning.database import Database
from metaferry.planning.entries import Entries
from metaferry.planning.formats import Outcome, Report
from metaferry.progress import Progress, Stop
from metaferry.runs.deletes import keep_back_unwritten
from metaferry.runs.outcomes import Outcomes, say_what_was_done
from metaferry.runs.schema_fit import refused_fit
from metaferry.runs.state.damage import Damage
from metaferry.runs.storages import WriterPool
from metaferry.runs.verify import verify
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, Storage


def write(
    database: Database,
    job: Job,
    lightly: Storage,
    portal: Portal,
    report: Report,
    entries: Entries,
    *,
    schema_token: str | None,
    stop: Stop,
    progress: Progress,
    random: randomness.Random,
    damage: Damage,
    writers: WriterPool | None = None,
) -> None:
    """Applies what was decided; the table `outcomes` then holds what became of each document.

    `report` comes with the planned counts and leaves with those of what was done; its exit code is
    3 when a document failed or the store took nothing any more, and the signal's when `stop` was set.
    Raises the StorageError that ended the run, with the report as far as it got; and why, where `stop`
    was abandoned.
    """
    tally, deletes = Tally(), report.documents.delete
    report.documents.skip += deletes
    report.documents.delete = 0
    _write_documents(database, job, lightly, portal, report, tally, stop, progress, writers, bool(deletes))
    if (job.verified_share or damage) and not stop.requested and not tally.outage:
        progress.phase("Reading back", None)
        verify(database, lightly, portal, report, job.verified_share, random, progress, damage)
    if deletes and not stop.requested and not tally.outage:
        progress.phase("Deleting documents", deletes)
        _delete_documents(database, job, lightly, portal, report, tally, stop, progress)
    if stop.abandoned is not None:
        raise stop.abandoned
    if stop.requested:
        report.exit_code = 128 + (stop.signal or 2)
        report.stopped = "interrupted: what was under way is finished, the rest is left for the next run"
        report.schema.written = False
    elif tally.outage:
        report_outage(database, report, lightly.url, tally.outage)
    else:
        lost, wrong = tally.failed + tally.not_deleted, tally.conflict + report.verified.wrong
        if lost or wrong:
            report.exit_code = 3
        report.schema.written = (
            entries.changed
            and lost == tally.refused
            and not wrong
            and (not lost or refused_fit(database, lightly, portal, entries.entries, progress))
        )
        if report.schema.written:
            write_schema(database, lightly, portal, report, entries.entries, schema_token)
    _find(database, report, tally)


def _write_documents(
    database: Database,
    job: Job,
    lightly: Storage,
    portal: Portal,
    report: Report,
    tally: Tally,
    stop: Stop,
    progress: Progress,
    writers: WriterPool | None,
    deletes: bool,
) -> None:
    """Writes the plan's files, also where there are only `deletes`, and applies its writes."""
    documents = report.documents
    wanted = documents.create + documents.update
    if not wanted and not deletes:
        return
    if writers is not None and wanted < writers.least:
        writers = None
    # Each process has a shard to itself at least, and the last ones to end are short.
    shards = 1 if writers is None else 4 * writers.workers
    diff.write_plan(database, min_shards=shards)
    if not wanted:
        return
    progress.phase("Writing documents", wanted)
    try:
        with Outcomes(database) as outcomes:
            if writers is not None:
                write_in_processes(
                    database.scratch / "plan",
                    writers.opening,
                    workers=writers.workers,
                    concurrency=max(1, job.concurrency // writers.workers),
                    record=outcomes.add,
                    tally=tally,
                    stop=stop,
                    grace=job.grace,
                    silence=job.lease_for / 2,
                    advance=progress.advance,
                    absorb=lightly.absorb,
                )
            else:
                portal.run(
                    apply_plan(
                        database.scratch / "plan",
                        lightly,
                        concurrency=job.concurrency,
                        record=outcomes.add,
                        tally=tally,
                        stop=stop,
                        grace=job.grace,
                        advance=progress.advance,
                        phases=(WRITES,),
                    )
                )
    finally:
        documents.create, documents.update = tally.create, tally.update
        documents.failed, documents.conflict = tally.failed, tally.conflict
        done = tally.create + tally.update + tally.failed + tally.conflict
        documents.deferred += wanted - done


def _delete_documents(
    database: Database,
    job: Job,
    lightly: Storage,
    portal: Portal,
    report: Report,
    tally: Tally,
    stop: Stop,
    progress: Progress,
) -> None:
    documents = report.documents
    if documents.failed or documents.conflict:
        keep_back_unwritten(database, database.scratch / "plan")
    try:
        with Outcomes(database) as outcomes:
            portal.run(
                apply_plan(
                    database.scratch / "plan",
                    lightly,
                    concurrency=job.concurrency,
                    record=outcomes.add,
                    tally=tally,
                    stop=stop,
                    grace=job.grace,
                    advance=progress.advance,
                    phases=(DELETES,),
                )
            )
    finally:
        documents.delete += tally.delete
        documents.skip -= tally.delete


def report_outage(database: Database, report: Report, url: str, reason: str) -> None:
    """The end of a run whose store takes no document any more: one finding, and exit code 3."""
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

    Where somebody else changed it meanwhile it is left, and where it is protected; each is a finding
    and exit code 3. Raises every other StorageError.
    """
    try:
        portal.run(
            lightly.put(SCHEMA, rules.schema_bytes(entries), only_if=ABSENT if token is None else token)
        )
    except Conflict:
        # What somebody wrote there has to be read and kept in place, which is what a run begins with.
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
        ours_alone = error.scope is Scope.OBJECT and not error.retryable
        others_written = report.documents.create + report.documents.update > 0
        if not ours_alone and not (error.scope is Scope.EITHER and others_written):
            raise
        report.exit_code = 3
        report.schema.written = False
        database.finding(Code.DOCUMENT_FAILED, "error", error.message, advice=error.advice, target=SCHEMA)


def _find(database: Database, report: Report, tally: Tally) -> None:
    """Adds the findings of what was applied; the counts are whole, the rows the first hundred."""
    say_what_was_done(database)
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
    """Findings of the first hundred documents that failed, and of those that replaced another's."""
    for applied in tally.failures:
        conflict = applied.outcome is Outcome.CONFLICT
        code = Code.DOCUMENT_CONFLICT if conflict else Code.DOCUMENT_FAILED
        advice = applied.advice or "run it again: it does exactly what is missing"
        if applied.outcome is Outcome.REFUSED and not applied.advice:
            advice = "running it again would not help: see what the store says"
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
