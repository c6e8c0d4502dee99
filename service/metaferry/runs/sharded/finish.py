"""The end of a plan that was applied in parts: deletes, `schema.json`, ledger and report.

What was written is taken from the done-markers, never from the processes that wrote it. Deletes wait
for the end because a stale document may be deleted only when its replacement is in place, and another
machine may be writing that; a replacement that was in place before is read once more. When a shard is
missing nothing is changed; when documents failed, nothing is deleted and `schema.json` is held back.
Finishing twice changes nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from copy import deepcopy
from typing import Final

from metaferry.apply.apply import DELETES
from metaferry.apply.outcome import Tally
from metaferry.errors import ShardsMissing
from metaferry.findings import Code
from metaferry.lightly import schema as rules
from metaferry.planning import build
from metaferry.planning.formats import (
    FINDING_COLUMNS,
    JOINED_COLUMNS,
    JOINED_VIDEOS,
    REJECT_COLUMNS,
    RunReport,
    ShardMarker,
)
from metaferry.planning.price.model import Price, Requests, add_up
from metaferry.planning.sql.rules import quote_text
from metaferry.progress import Progress, Silent, Stop
from metaferry.runs.apply import apply_phase, name_failures, report_outage, write_schema
from metaferry.runs.deletes import keep_back_missing
from metaferry.runs.lease.held import RunLease
from metaferry.runs.outcomes import settle_findings
from metaferry.runs.report import leave_report, requests_of
from metaferry.runs.schema_fit import refused_fit
from metaferry.runs.sharded.plan_files import fetch
from metaferry.runs.sharded.plan_run import UNFINISHED, PlanRun, add_markers, count_findings
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.defaults import remember_defaults
from metaferry.runs.state.inferred import remember_new
from metaferry.runs.state.ledger import Ledger
from metaferry.storage.counts import RequestCounts

#: Shards that a message names.
_NAMED: Final = 20


def finish_run(run: PlanRun, lease: RunLease | None, stop: Stop, progress: Progress) -> RunReport:
    """Ends an opened plan. `lease` is taken where it is not held yet (None: the caller holds it).

    Raises ShardsMissing when a shard has no done-marker, with nothing touched.
    """
    if (final := run.final_report()) is not None:
        progress.note(f"this plan was finished at {final.finished}; nothing is changed")
        return final
    progress.phase("Looking at the shards", None)
    found = run.markers.look()
    missing = [shard.number for shard in run.plan.shards if shard.writes and shard.number not in found]
    if missing:
        raise missing_shards(run, missing)
    if lease is not None:
        lease.take()
    if stop.requested:
        raise stop.error
    run.begin()
    # A plan that was made to be kept stays, to say at a second finish that it is done; one that an engine
    # was given is of no use any more.
    return _Finish(run, found, stop, progress, of_engine=lease is None).run_to_end()


def missing_shards(run: PlanRun, missing: Sequence[int], why: str = "") -> ShardsMissing:
    """The error that names shards without a done-marker."""
    total = len(run.plan.shards)
    used = sorted({marker.num_shards for marker in run.markers.found.values() if marker.num_shards})
    again = [
        f"--num-shards {of} with --shard-index {_listed(sorted({number % of for number in missing}))}"
        for of in used
    ]
    how = (
        " (or ".join(again) + ")" * (len(again) - 1)
        if again
        else ("with the --num-shards that is used, S: shard N is of --shard-index N modulo S")
    )
    what = "shard is" if len(missing) == 1 else "shards are"
    return ShardsMissing(
        f"{run.place}: {len(missing)} of its {total} {what} not done: {_listed(missing)}"
        f"{f' ({why})' if why else ''}; schema.json is held back and nothing was deleted",
        shards=tuple(missing),
        advice="run them again, which does only what is missing: metaferry sync JOB --plan "
        f"{run.folder.url} {how}",
    )


class _Finish:
    """One finish: `found` are the markers of all shards that write anything."""

    def __init__(
        self,
        run: PlanRun,
        found: dict[int, ShardMarker],
        stop: Stop,
        progress: Progress,
        *,
        of_engine: bool,
    ) -> None:
        self.run = run
        self.of_engine = of_engine
        self.markers = [found[number] for number in sorted(found)]
        self.stop = stop
        self.progress = progress
        self.planned = run.plan.report
        fields = RunReport.__dataclass_fields__
        self.report = RunReport(**{name: deepcopy(getattr(self.planned, name)) for name in fields})
        self.report.examples = {}
        self.keeper = run.keeper(run.plan.plan_id, run.plan.listed)
        self.ledger = Ledger(run.database, run.state)
        self.history = run.state.history()
        self.damage = Damage(run.database, run.state, run.plan.plan_id)

    def run_to_end(self) -> RunReport:
        run, report = self.run, self.report
        began = run.deps.clock()
        self._load()
        bad = [marker.shard for marker in self.markers if not marker.is_settled]
        tally = Tally() if bad else self._delete()
        if self.stop.requested:
            raise self.stop.error  # no report is left: the next finish goes on
        self._count(tally)
        report.schema.written = False
        if tally.not_deleted:
            report.exit_code = 3
        if bad:
            self._report_failed(bad)
        elif tally.outage:
            report_outage(run.database, report, run.lightly.url, tally.outage)
        elif tally.not_deleted == tally.refused and self.planned.schema.written:
            self._write_schema(tally)
        if report.changes:
            remember_defaults(run.state, run.job, rules.check_entries(run.plan.schema, run.place))
        self._find(tally)
        report.seconds["finish"] = round(run.deps.clock() - began, 3)
        self._leave()
        if not any(report.findings.get(code) for code in UNFINISHED):
            run.state.forget_parts(run.plan.plan_id, plan=self.of_engine)
        return report

    def _write_schema(self, tally: Tally) -> None:
        """schema.json, unless a document that can never be written left something there that does not fit."""
        run, report = self.run, self.report
        entries = rules.check_entries(run.plan.schema, run.place)
        self.ledger.made_for(entries)
        refused = tally.refused or any(marker.refused for marker in self.markers)
        if refused and not refused_fit(run.database, run.lightly, run.portal, entries, self.progress):
            return
        report.schema.written = True
        if self.keeper is not None:
            before = self.keeper.read_schema(run.plan.schema_token, entries)
            self.keeper.keep_schema(run.backup_part("schema"), before)
        write_schema(run.database, run.lightly, run.portal, report, entries, run.plan.schema_token)
        remember_new(run.state, run.job, report, entries)

    def _load(self) -> None:
        """Fills the tables of a run with the findings of the plan and the outcomes of its writes."""
        run = self.run
        folder = run.database.scratch / "plan"
        tables = [("findings", FINDING_COLUMNS), ("rejects", REJECT_COLUMNS)]
        found = [run.plan.findings, run.plan.rejects]
        if run.plan.joined is not None:
            tables.append((JOINED_VIDEOS, JOINED_COLUMNS))
            found.append(run.plan.joined)
        fetch(run.folder, run.portal, found, folder, concurrency=run.job.concurrency)
        for table, columns in tables:
            file = quote_text(str(folder / f"{table}.parquet"))
            names = ", ".join(f'"{name}"' for name in columns)
            run.database.run(f"DELETE FROM {table}")
            run.database.run(f"INSERT INTO {table} SELECT {names} FROM read_parquet({file})")
        run.database.run("DELETE FROM outcomes")
        run.database.run("DELETE FROM damaged")
        self.damage.load(self.history)
        run.markers.load([marker.shard for marker in self.markers], run.database)
        for target in (target for marker in self.markers for target in marker.proved):
            self.damage.forget(f"SELECT {quote_text(target)}")
        if run.job.verified_share == 1:
            self.damage.forget("SELECT target FROM outcomes WHERE outcome = 'done'")

    def _delete(self) -> Tally:
        run, tally = self.run, Tally()
        shards = [shard for shard in run.plan.shards if shard.deletes]
        if shards:
            self.progress.phase("Deleting documents", sum(shard.deletes for shard in shards))
        folder = run.database.scratch / "plan"
        for shard in shards:
            if self.stop.requested or tally.outage:
                break
            fetch(run.folder, run.portal, shard.files, folder, concurrency=run.job.concurrency)
            keep_back_missing(run.database, folder, run.lightly, run.portal, Silent())
            if self.keeper is not None:
                self.keeper.keep(
                    run.backup_part(f"deletes-{shard.number:04d}"),
                    folder,
                    DELETES,
                    tally,
                    stop=self.stop,
                    progress=Silent(),
                    shards=[shard.number],
                )
            apply_phase(run, DELETES, folder, tally, self.stop, self.progress, shards=[shard.number])
            shutil.rmtree(folder)
        return tally

    def _count(self, tally: Tally) -> None:
        report, documents = self.report, self.report.documents
        documents.create = documents.update = 0
        documents.delete = tally.delete
        documents.skip += self.planned.documents.delete - tally.delete
        add_markers(report, self.markers)

    def _report_failed(self, bad: Sequence[int]) -> None:
        self.report.exit_code = 3
        self.report.stopped = (
            f"documents of the shard{'s' if len(bad) > 1 else ''} {_listed(bad)} could not be written; "
            "schema.json is held back and nothing was deleted"
        )
        self.report.advice = "run these shards again, which tries only what failed, and finish again"

    def _find(self, tally: Tally) -> None:
        """The findings of the plan, of the shards and of this; the counts are whole."""
        database, report = self.run.database, self.report
        settle_findings(database)
        name_failures(database, tally)
        report.findings, _ = build.findings(database)
        if tally.not_deleted:
            report.findings[Code.DOCUMENT_FAILED] = tally.not_deleted
        count_findings(report, self.markers)
        for finding in (finding for marker in self.markers for finding in marker.findings):
            database.finding(
                finding.code, finding.severity, finding.message, advice=finding.advice, target=finding.target
            )
        _, report.finding_examples = build.findings(database)

    def _leave(self) -> None:
        run, report = self.run, self.report
        leave_report(
            report,
            run.database,
            run.state,
            self.ledger,
            self.history.without(run.plan.plan_id),
            self.damage,
            keep_runs=run.job.keep_runs,
            keep_backups=run.job.backup.age if run.job.backup is not None else None,
            finished=run.deps.now().isoformat(timespec="seconds"),
            count=self._count_requests,
        )

    def _count_requests(self, last: RequestCounts) -> None:
        """Those of the plan, of the attempts that ended the shards, and the others of this process, with the
        `last` ones to the state folder. Those of shards count as requests to the Lightly datasource."""
        run, report, storages = self.run, self.report, self.run.storages
        of_shards = sum((marker.requests for marker in self.markers), RequestCounts()) - run.marked
        report.requests = self.planned.requests + of_shards + requests_of(storages.all) + last
        report.stores = tuple(
            add_up(
                (
                    *self.planned.stores,
                    *storages.stores(),
                    storages.store(run.lightly, Requests.of(of_shards)),
                    storages.store(run.state.storage, Requests.of(last)),
                )
            )
        )
        report.price = Price.of(report.stores, max_cost=run.job.policy.max_cost)
        report.rate = run.lightly.rates


def _listed(numbers: Sequence[int]) -> str:
    more = f" … and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(map(str, numbers[:_NAMED])) + more
