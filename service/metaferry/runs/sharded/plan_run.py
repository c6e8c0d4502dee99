"""A kept plan, opened to be applied by this process: its job's storages, its state, its shards.

Writes documents and done-markers, nothing else: deletes and `schema.json` are `finish.py`'s, when
every shard is there. Nothing is decided here. A shard is written under the conditions that the plan
has, so writing it twice, or by two processes at once, leaves what writing it once would.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

from metaferry.apply.apply import WRITES
from metaferry.apply.outcome import Tally
from metaferry.apply.step import IfChanged
from metaferry.errors import Outage, UsageError
from metaferry.findings import Code, Finding, Severity
from metaferry.job.model import Job
from metaferry.planning.database import Database, open_database
from metaferry.planning.formats import (
    FINDING_COLUMNS,
    OLDER_VERSIONS,
    VERSION,
    Action,
    KeptPlan,
    PlanShard,
    Report,
    RunReport,
    ShardMarker,
    VerifyCounts,
    read_format,
)
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress, Silent, Stop
from metaferry.runid import during
from metaferry.runs.apply import apply_phase, if_changed, name_failures
from metaferry.runs.context import JobContext
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.lease.held import RunLease
from metaferry.runs.report import requests_of
from metaferry.runs.sharded.plan_files import MAKE, check_plan, fetch, plan_location, plan_url, read_plan
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.markers import Markers, rows_to_do
from metaferry.runs.storages import Storages, require_shared
from metaferry.runs.verify import verify
from metaferry.storage.counts import RequestCounts
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import Storage

#: Findings after which the run of a plan is not finished.
UNFINISHED: Final = (Code.DOCUMENT_FAILED, Code.DOCUMENT_CONFLICT, Code.STORAGE_OUTAGE)


class PlanRun(JobContext):
    """A kept plan with its shards; `open_plan` opens one. `markers` is what is known of the shards."""

    def __init__(
        self,
        job: Job,
        deps: RuntimeDeps,
        storages: Storages,
        database: Database,
        *,
        folder: Storage,
        plan: KeptPlan,
        num_shards: int,
    ) -> None:
        super().__init__(job, deps, storages, database)
        self.folder = folder
        self.plan = plan
        self.markers = Markers(plan, self.state)
        #: Requests of this process that done-markers count.
        self.marked = RequestCounts()
        self.num_shards = num_shards
        self._newest = True  # no run has begun since the plan was made

    @property
    def place(self) -> str:
        """The URL of plan.json, for messages."""
        return plan_url(self.folder)

    def plan_lease(self, stop: Stop, progress: Progress) -> AbstractContextManager[RunLease]:
        """This process's part in the lease of the plan."""
        return self.lease(self.plan.plan_id, stop, progress, shared=True)

    def require_shared(self) -> None:
        """UsageError where another process cannot read what this one writes."""
        require_shared(self.lightly, self.state.storage, self.folder)

    def final_report(self) -> RunReport | None:
        """The report of the plan that has been applied to its end; None before that."""
        data = self.state.read(self.state.report_key(self.plan.plan_id))
        if data is None:
            return None
        try:
            report = read_format(RunReport, data, VERSION, older=OLDER_VERSIONS)
        except ValueError:
            return None  # it is written again
        unfinished = report.stopped or any(report.findings.get(code) for code in UNFINISHED)
        return None if unfinished else report

    def to_do(self, shards: Iterable[int]) -> list[int]:
        """Those of the shards that write anything and are not done, after reading the markers."""
        writing = [number for number in shards if self.plan.shards[number].writes]
        found = self.markers.look(writing)
        return [number for number in writing if number not in found or not found[number].is_good]

    def begin(self) -> None:
        """Marks the run of this plan as begun; the lease has to be held.

        UsageError where runs that began after the plan was made have written to a store without
        conditional writes, which could not detect what they changed.
        """
        later = [each for each in self.state.history().begun if each > self.plan.plan_id]
        if later and not self.lightly.capabilities.honours("a token"):
            raise UsageError(
                f"{self.place}: this plan is older than the run {later[-1]}, and without conditional writes "
                "what that run wrote would be overwritten",
                advice=f"make the plan again: {MAKE}",
            )
        self._newest = not later
        self.state.start(self.plan.plan_id, self.plan.listed)

    def backup_part(self, name: str) -> str:
        """A part of the backup of this attempt alone: an earlier one may have kept, and replaced, others."""
        return f"{name}-{self.deps.random.getrandbits(64):016x}"

    # -- one shard

    def write_shard(self, number: int, *, stop: Stop, progress: Progress) -> ShardMarker | None:
        """Writes the documents of a shard and its done-marker; None where `stop` ended it before.

        Of a shard with a marker only what failed is written again. Raises the StorageError that
        every other document would meet, and Outage.
        """
        shard, before = self.plan.shards[number], self.markers.found.get(number)
        began, before_requests = self.deps.clock(), requests_of(self.storages.all)
        for table in ("outcomes", "findings", "damaged"):
            self.database.run(f"DELETE FROM {table}")
        folder = self.database.scratch / "plan"
        try:
            fetch(self.folder, self.portal, shard.files, folder, concurrency=self.job.concurrency)
            report, tally = self._apply(folder, shard, before, stop, progress)
            if stop.abandoned is not None:
                raise stop.abandoned
            if tally.outage:
                raise Outage(self.lightly.url, tally.outage)
            if tally.create + tally.update + tally.failed + tally.conflict < shard.writes:
                return None
            damage, proved = self._known_damage(folder, shard), tuple[str, ...]()
            if self.job.verified_share or damage:
                known = self._damaged()
                verify(
                    self.database,
                    self.lightly,
                    self.portal,
                    report,
                    self.job.verified_share,
                    self.deps.random,
                    Silent(),  # what is counted are the documents that are written
                    damage,
                )
                known |= set(before.proved if before is not None else ())
                proved = tuple(sorted(known - self._damaged()))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        documents, verified = report.documents, report.verified
        if before is not None:
            verified = VerifyCounts(
                before.verified.read + verified.read,
                before.verified.rewritten + verified.rewritten,
                verified.wrong,
            )
        name_failures(self.database, tally)
        spent = requests_of(self.storages.all) - before_requests
        marker = ShardMarker(
            self.plan.plan_id,
            number,
            create=documents.create,
            update=documents.update,
            failed=documents.failed,
            refused=tally.refused,
            conflict=documents.conflict,
            foreign=tally.foreign,
            bytes=tally.bytes,
            seconds=round(self.deps.clock() - began, 3),
            requests=spent,
            verified=verified,
            findings=(*self._lasting(before), *self._findings()),
            num_shards=self.num_shards,
            proved=proved,
        )
        if stop.abandoned is not None:
            raise stop.abandoned
        self.markers.write(marker, self.database)
        self.marked += spent
        return marker

    def _apply(
        self,
        folder: Path,
        shard: PlanShard,
        before: ShardMarker | None,
        stop: Stop,
        progress: Progress,
    ) -> tuple[Report, Tally]:
        tally = Tally()
        if before is not None:
            tally.foreign, tally.bytes = before.foreign, before.bytes
            self.markers.load([shard.number], self.database)
            self.database.run("DELETE FROM outcomes WHERE outcome <> 'done'")
            done = dict(self.database.rows("SELECT action, count(*) FROM outcomes GROUP BY action"))
            tally.create, tally.update = done.get(Action.CREATE, 0), done.get(Action.UPDATE, 0)
            rows_to_do(folder, self.database)
        keeper = self.keeper(self.plan.plan_id, self.plan.listed)
        if keeper is not None:
            keeper.keep(
                self.backup_part(f"shard-{shard.number:04d}"),
                folder,
                WRITES,
                tally,
                stop=stop,
                progress=Silent(),
                shards=[shard.number],
            )
        changed = if_changed(self.job)
        apply_phase(
            self,
            WRITES,
            folder,
            tally,
            stop,
            progress,
            shards=[shard.number],
            written=any(each.create + each.update for each in self.markers.found.values()),
            if_changed=changed if self._newest else IfChanged.LEAVE_NEWER,
        )
        report = RunReport(run_id=self.plan.plan_id, job_digest=self.plan.job_digest, started="")
        counts = report.documents
        counts.create, counts.update = tally.create, tally.update
        counts.failed, counts.conflict = tally.failed, tally.conflict
        return report, tally

    def _known_damage(self, folder: Path, shard: PlanShard) -> Damage:
        """Those of the shard's documents that the plan wants to be read back; and its rows as `wanted`."""
        files = ", ".join(quote_text(str(folder / file.name)) for file in shard.files)
        rows = f"FROM read_parquet([{files}], hive_partitioning = false)"
        # Plans of the versions before there was such a column want nothing to be read back.
        columns = [str(name) for name, *_ in self.database.rows(f"DESCRIBE SELECT * {rows}")]
        read_back = "read_back" if "read_back" in columns else "false AS read_back"
        self.database.run(f"CREATE OR REPLACE TEMP VIEW wanted AS SELECT target, body, {read_back} {rows}")
        self.database.run(
            "INSERT INTO damaged SELECT target FROM wanted WHERE read_back AND body IS NOT NULL"
        )
        # A file of its own: another process may be at the same shard.
        name = f"damaged-{shard.number:04d}-{self.deps.random.getrandbits(64):016x}"
        return Damage(self.database, self.state, self.plan.plan_id, name)

    def _damaged(self) -> set[str]:
        return {target for (target,) in self.database.rows("SELECT target FROM damaged")}

    def _findings(self) -> list[Finding]:
        rows = self.database.rows(f"SELECT {', '.join(FINDING_COLUMNS)} FROM findings")
        return [Finding(Code(code), Severity(severity), *rest) for code, severity, *rest in rows]

    @staticmethod
    def _lasting(before: ShardMarker | None) -> Sequence[Finding]:
        """The findings of an earlier attempt that this one cannot make again."""
        lasting = (Code.DOCUMENT_MODIFIED_EXTERNALLY, Code.DOCUMENT_CORRUPT)
        return [f for f in before.findings if f.code in lasting and f.severity != "error"] if before else []


@contextmanager
def open_plan(job: Job, location: str, deps: RuntimeDeps, *, num_shards: int = 0) -> Iterator[PlanRun]:
    """The plan in the folder `location`, opened to be applied while the block runs.

    `num_shards` is that of the share which this process writes, for the done-markers; 0: it is none.
    Raises UsageError for a folder that holds no plan, or another job's; SafetyStop for a plan that a
    limit of the policy stopped.
    """
    with Portal() as portal, closing(Storages(job, portal, deps)) as storages:
        folder = storages.at(plan_location(job, location))
        plan = read_plan(folder, portal)
        check_plan(plan, job, plan_url(folder))
        with (
            during(plan.plan_id),
            open_database(memory_limit=job.memory_limit, scratch=job.scratch) as database,
        ):
            yield PlanRun(job, deps, storages, database, folder=folder, plan=plan, num_shards=num_shards)


def add_outage(report: Report, error: Outage) -> None:
    """Adds the outage that ended the writing of a plan."""
    report.exit_code = error.exit_code
    report.stopped, report.advice = error.message, error.advice
    report.findings[Code.STORAGE_OUTAGE] = 1
    report.finding_examples.append(Finding(Code.STORAGE_OUTAGE, Severity.ERROR, error.message, error.advice))


def add_markers(report: Report, markers: Iterable[ShardMarker]) -> None:
    """Adds what became of shards to the counts of a report: documents, what was read back, seconds."""
    documents, verified = report.documents, report.verified
    for marker in markers:
        documents.create += marker.create
        documents.update += marker.update
        documents.failed += marker.failed
        documents.conflict += marker.conflict
        verified.read += marker.verified.read
        verified.rewritten += marker.verified.rewritten
        verified.wrong += marker.verified.wrong
        report.seconds["apply"] = round(report.seconds.get("apply", 0.0) + marker.seconds, 3)
        if not marker.is_good:
            report.exit_code = 3


def count_findings(report: Report, markers: Iterable[ShardMarker]) -> None:
    """Adds the findings about the documents of shards to those that the report has, by code."""
    found = report.findings
    for marker in markers:
        wrong = marker.verified.wrong
        for code, count in (
            (Code.DOCUMENT_MODIFIED_EXTERNALLY, marker.foreign),
            (Code.DOCUMENT_FAILED, marker.failed - wrong),
            (Code.DOCUMENT_CONFLICT, marker.conflict),
            (Code.DOCUMENT_CORRUPT, marker.verified.rewritten + wrong),
        ):
            if count:
                found[code] = found.get(code, 0) + count
