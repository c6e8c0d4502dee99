"""Reads a tree as its consumer does, and says how tables, media and documents have come apart.

What is known to be right is not read: a document that a sync of the job would keep, under the schema.json
that is in place; and one that is as a run of ours left it, under the schema.json of that run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass

from metaferry.errors import NotFound, SchemaError, UsageError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.lightly import schema as rules
from metaferry.lightly.names import SCHEMA
from metaferry.planning.build import Decided
from metaferry.planning.database import Database
from metaferry.planning.formats import PlanReport, ddl
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress, Silent
from metaferry.runs.context import JobContext, open_job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.report import requests_of
from metaferry.runs.run import planned
from metaferry.runs.state.folder import State
from metaferry.runs.state.ledger import Ledger
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage
from metaferry.view.check.found import (
    COLUMNS,
    TABLE,
    CheckFinding,
    CheckReport,
    Documents,
    Drift,
    findings,
    summarise,
)
from metaferry.view.check.frames import check_names
from metaferry.view.check.proof import mark_proved
from metaferry.view.check.reading import read_and_judge
from metaferry.view.check.sample import Sample, in_words
from metaferry.view.check.states import cover
from metaferry.view.tree.names import classify
from metaferry.view.tree.reading import list_tree
from metaferry.view.tree.target import Target, job_of

_SAME = "it is what the tables say, but only reading it shows that: a sync writes it again"


class Check:
    """A check that was made. Open while the block of `open_check` lasts."""

    def __init__(self, job: Job, database: Database, storages: Storages, report: CheckReport) -> None:
        self.report = report
        self.job = job
        self.database = database
        self.storages = storages

    def findings(self) -> Iterator[CheckFinding]:
        """Every finding, by code and key. One iteration at a time."""
        return findings(self.database)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A listed datasource: its tables are `media` and `documents`. `plan`: of a job, what a sync would do."""

    database: Database
    storages: Storages
    portal: Portal
    lightly: Storage
    input: Storage
    state: State
    ledger: Ledger
    plan: tuple[Decided, PlanReport] | None = None


@contextmanager
def open_check(
    target: Target,
    *,
    overrides: Sequence[str] = (),
    sample: Sample | None = None,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> Iterator[Check]:
    """Checks a job's datasource, or the one at a URL. Raises JobError, UsageError and StorageError.

    sample: which of the documents are read that nothing proves; None: all.
    """
    progress, deps = progress or Silent(), deps or RuntimeDeps()
    job = job_of(target, overrides)
    with ExitStack() as stack:
        start = deps.clock()
        opened, broken = _open(stack, job, progress, deps)
        report = CheckReport(opened.lightly.url)
        database = opened.database
        database.run(ddl(TABLE, COLUMNS))
        entries = _schema(opened, report)
        classify(database)
        if not job.sources and not database.value("SELECT count(*) FROM media"):
            _require_something(opened, entries)
        check_names(
            database,
            opened.input,
            opened.portal,
            opened.state,
            progress,
            report,
            planned=opened.plan is not None,
            keep_counts=bool(job.sources),
        )
        mark_proved(database, opened.ledger, entries, report, plan=opened.plan and opened.plan[0])
        read_and_judge(
            database,
            opened.lightly,
            opened.portal,
            progress,
            entries or (),
            sample,
            planned=opened.plan is not None,
        )
        _count(database, report, sample)
        cover(database, report, entries or (), planned=opened.plan is not None)
        if opened.plan is not None:
            _drift(database, report, *opened.plan)
        elif broken:
            report.notes.append(f"the tables were not compared, since the plan needs a schema.json: {broken}")
        summarise(database, report)
        report.requests = {k: v for k, v in asdict(requests_of(opened.storages.all)).items() if v}
        report.seconds = round(deps.clock() - start, 3)
        yield Check(job, database, opened.storages, report)


def _open(stack: ExitStack, job: Job, progress: Progress, deps: RuntimeDeps) -> tuple[_Opened, str]:
    """What is there; and why there is no plan of the job's tables, "" where there is one or no table."""
    broken = ""
    if job.sources:
        try:
            run, _, decided = stack.enter_context(planned(job, progress=progress, deps=deps))
        except SchemaError as error:
            broken = str(error)
        else:
            assert isinstance(run.report, PlanReport)  # `planned` made it
            ledger, plan = run.ledger, (decided, run.report)
            return (
                _Opened(
                    run.database, run.storages, run.portal, run.lightly, run.input, run.state, ledger, plan
                ),
                "",
            )
    storages, database = stack.enter_context(open_job(job, deps))
    context = JobContext(job, deps, storages, database)
    list_tree(job, storages, database, deps, progress)
    ledger = Ledger(database, context.state)
    place = storages.at(job.input)
    return _Opened(database, storages, context.portal, context.lightly, place, context.state, ledger), broken


def _schema(opened: _Opened, report: CheckReport) -> tuple[rules.Entry, ...] | None:
    """The entries of the schema.json in place, its faults among the findings; None where there is none."""
    with suppress(NotFound):
        text = opened.portal.run(opened.lightly.read(SCHEMA)).data
        entries, faults = rules.read_entries(text)
        report.entries = len(entries)
        advice = "mend it, or let a sync of the job write it; `metaferry schema check` has more"
        for fault in faults:
            _note(opened.database, Code.SCHEMA_INVALID, fault.message, advice, fault.line, fault.column)
        return entries
    if opened.plan is not None and not opened.plan[0].entries.entries:
        report.notes.append("there is no schema.json: the tables have no value that an entry could show")
    elif opened.database.value("SELECT count(*) FROM documents"):
        message = "there is no schema.json, so nothing of the documents is shown"
        advice = "a sync writes it; `metaferry schema infer` proposes entries"
        _note(opened.database, Code.SCHEMA_INVALID, message, advice)
    return None


def _require_something(opened: _Opened, entries: tuple[rules.Entry, ...] | None) -> None:
    if entries is None and not opened.database.value("SELECT count(*) FROM documents"):
        raise UsageError(
            f"{opened.lightly.url}: there are no media, no documents and no {SCHEMA} here",
            advice="name the folder above .lightly/, or a job file (.yaml, .yml, .json)",
        )


def _note(database: Database, code: Code, message: str, advice: str, line: int = 0, column: int = 0) -> None:
    """A finding about schema.json."""
    severity = "warning" if code is Code.SCHEMA_CHANGED else "error"
    database.run(
        f"INSERT INTO {TABLE} VALUES (?, ?, ?, '', '', ?, ?, ?, ?)",
        [str(code), severity, SCHEMA, line, column, message, advice],
    )


def _count(database: Database, report: CheckReport, sample: Sample | None) -> None:
    """How many documents there are, how they were judged, and what that says of those that were not read."""
    count: Documents = report.documents
    count.total, count.proved, count.read, count.sampled, count.sampled_invalid = database.row(
        """
        SELECT count(*), count(*) FILTER (proved), count(*) FILTER (looked),
               count(*) FILTER (looked AND sampled), count(*) FILTER (sampled AND state = 'invalid')
        FROM checked
        """
    )
    count.unread = count.total - count.proved - count.read
    by_code = dict(database.rows(f"SELECT code, count(*) FROM {TABLE} GROUP BY code"))
    count.invalid = by_code.get(Code.DOCUMENT_INVALID, 0)
    count.misnamed = by_code.get(Code.DOCUMENT_MISNAMED, 0)
    count.orphans = by_code.get(Code.DOCUMENT_ORPHAN, 0)
    if sample is None or not count.unread:
        return
    report.sample = in_words(count.total - count.proved, count.sampled, count.sampled_invalid)
    if count.read > count.sampled:
        report.sample += f"; {count.read - count.sampled:,} more were read to look into each folder"
    folders, named = database.row(
        "SELECT count(*), list(folder ORDER BY folder)[:3] FROM (SELECT folder FROM checked WHERE NOT proved "
        "GROUP BY folder HAVING NOT bool_or(looked))"
    )
    if folders:
        shown = ", ".join(folder or "/" for folder in named)
        report.notes.append(
            f"in {folders:,} folder{'s' if folders > 1 else ''} no document was read: {shown}"
            + (" …" if folders > 3 else "")
        )


def _drift(database: Database, report: CheckReport, decided: Decided, plan: PlanReport) -> None:
    """What a sync would change, as findings and counts."""
    drift = report.drift = Drift(schema=decided.entries.changed, rejected=plan.rejected)
    drift.stopped = decided.stopped
    drift.create, drift.update, drift.delete = database.row(
        "SELECT count(*) FILTER (action = 'create'), count(*) FILTER (action = 'update'), "
        "count(*) FILTER (action = 'delete') FROM decided"
    )
    database.run(
        f"""
        INSERT INTO {TABLE}
        SELECT '{Code.DOCUMENT_OUTDATED}', 'warning', d.target, coalesce(d.kind, ''), coalesce(d.media, ''),
               0, 0,
               CASE WHEN d.action = 'create' THEN 'it is not there: a sync creates it'
                    WHEN d.action = 'delete' THEN 'a sync deletes it: ' || d.why
                    WHEN c.md5 = d.md5 THEN {quote_text(_SAME)}
                    WHEN c.md5 IS NULL THEN 'nothing proves that it is what the tables say: a sync writes it'
                    ELSE 'it is not what the tables say: a sync replaces it' END,
               {quote_text("run `metaferry sync`, or mend the tables; `metaferry plan` shows the same")}
        FROM decided d LEFT JOIN checked c ON c.target = d.target
        WHERE d.action IN ('create', 'update', 'delete')
        """
    )
    if drift.schema:
        entries = decided.entries
        what = ", ".join(
            f"{number:,} {word}"
            for number, word in (
                (len(entries.added), "added"),
                (len(entries.schema_edits()), "changed"),
                (len(entries.removed), "removed"),
            )
            if number
        )
        message = f"a sync writes it{f': entries {what}' if what else ''}"
        _note(database, Code.SCHEMA_CHANGED, message, "see `metaferry schema diff`")
