"""What a run has open: a job's storages, its state folder, and the planning database.

`JobContext` is what every process has that works on a job; `RunContext` adds the report of a whole run.
They hold resources and leave the report behind; what a run does is in `gather`, `decide` and `apply`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator

from metaferry.errors import StorageError
from metaferry.job.model import Job
from metaferry.planning.database import Database, open_database
from metaferry.planning.formats import OUTCOME_COLUMNS, PlanReport, Report, ddl
from metaferry.planning.price.model import Price, Requests, Store, add_up
from metaferry.progress import Progress, Stop, Stopping
from metaferry.runs.backup.keep import BackupKeeper
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.draining import ending_soon
from metaferry.runs.lease.held import RunLease
from metaferry.runs.report import leave_report, requests_of
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.folder import RunHistory, State
from metaferry.runs.state.ledger import Ledger
from metaferry.runs.storages import Storages
from metaferry.storage.counts import RequestCounts
from metaferry.storage.io.portal import Portal
from metaferry.storage.waits import Deferred

log = logging.getLogger(__name__)


class JobContext:
    """A job with its storages, its state folder and a planning database with the table `outcomes`."""

    def __init__(self, job: Job, deps: RuntimeDeps, storages: Storages, database: Database) -> None:
        self.job = job
        self.deps = deps
        self.storages = storages
        self.portal: Portal = storages.portal
        self.database = database
        self.lightly = storages.at(job.lightly_location)
        self.state = State.of(job, storages, self.portal)
        database.run(ddl("outcomes", OUTCOME_COLUMNS))

    @contextlib.contextmanager
    def lease(self, run_id: str, stop: Stop, progress: Progress, *, shared: bool) -> Iterator[RunLease]:
        """The lease of a run, or of a plan that is `shared`: to be taken in the block, given back after it.

        Once the lease is lost, no write is tried again.
        """
        self.writes_while(stop)
        lease = RunLease(
            self.job,
            self.lightly,
            self.state,
            self.portal,
            self.deps,
            run_id=run_id,
            stop=stop,
            progress=progress,
            shared=shared,
        )
        with contextlib.closing(lease):
            yield lease

    def keeper(self, run_id: str, started: str) -> BackupKeeper | None:
        """What keeps old versions before a run overwrites them; None where the job wants none kept."""
        if self.job.backup is None:
            return None
        return BackupKeeper(
            self.database, self.storages, self.lightly, self.state, run_id=run_id, started=started
        )

    def writes_while(self, stop: Stop) -> None:
        """No request that writes is tried again once `stop` is abandoned: the lease is lost."""
        for storage in (self.lightly, self.state.storage):
            storage.writes_while(lambda: stop.abandoned is None)


class RunContext(JobContext):
    """The resources of one run from gathering to its report. `stop` None: a plan, which writes nothing."""

    def __init__(
        self,
        job: Job,
        deps: RuntimeDeps,
        storages: Storages,
        database: Database,
        *,
        report: Report,
        progress: Progress,
        stop: Stop | None = None,
    ) -> None:
        super().__init__(job, deps, storages, database)
        self.report = report
        self.stop = stop
        # Until the first write a stop ends the run where it is: nothing has to be drained.
        self.progress = progress if stop is None else Stopping(progress, stop)
        self.write_progress = progress
        self.input = storages.at(job.input)
        self.ledger = Ledger(database, self.state)
        self.damage = Damage(database, self.state, report.run_id)
        self.unprobed = 0  # stores whose capabilities a sync has to probe
        #: Requests that counted frames for the first time: the next run has their outcome from its cache.
        self.frames_counted: tuple[Store, ...] = ()
        #: Requests for facts of objects, which the job could do without.
        self.objects_asked = Requests()
        report.input = self.input.url
        report.lightly = self.lightly.url

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Notes the seconds of a phase in the report."""
        start = self.deps.clock()
        try:
            yield
        finally:
            self.report.seconds[phase] = round(self.deps.clock() - start, 3)

    def counted_frames(self, before: Iterable[Store], *, but: Requests = Requests()) -> None:  # noqa: B008 - not changed
        """Adds the requests since `before` to those that the next run does not make again, such as counts of
        frames; `but` those to the state folder that it does make."""
        spent = [Store(each.name, Requests() - each.requests, each.prices) for each in before]
        spent.append(self.storages.store(self.state.storage, Requests() - but))
        self.frames_counted = tuple(add_up((*self.frames_counted, *self.storages.stores(), *spent)))

    def count_requests(self, last: RequestCounts = RequestCounts()) -> None:  # noqa: B008 - not changed
        """Adds up the requests of all storages of the run, and the `last` ones to the state folder.

        The price of a plan is that of its sync; of a run, that of the requests that it made.
        """
        report = self.report
        report.requests = requests_of(self.storages.all) + last
        report.stores = tuple(
            add_up((*self.storages.stores(), self.storages.store(self.state.storage, Requests.of(last))))
        )
        if not isinstance(report, PlanReport):
            report.price = Price.of(report.stores, max_cost=self.job.policy.max_cost)
        report.rate = self.lightly.rates

    def leave_report(self, history: RunHistory) -> None:
        """Writes the ledger, the rejects, the findings and `run.json`. Raises StorageError and Deferred."""
        with ending_soon(self.stop, self.storages, self.portal):
            leave_report(
                self.report,
                self.database,
                self.state,
                self.ledger,
                history,
                self.damage,
                keep_runs=self.job.keep_runs,
                keep_backups=self.job.backup.age if self.job.backup is not None else None,
                finished=self.deps.now().isoformat(timespec="seconds"),
                count=self.count_requests,
            )

    def leave_report_after_failure(self, history: RunHistory) -> None:
        """The same, where a report that cannot be written must not hide what ended the run."""
        try:
            self.leave_report(history)
        except (StorageError, Deferred) as second:
            why = second if isinstance(second, StorageError) else "the store took too long"
            log.warning("the report of this run could not be kept: %s", why)
            self.report.finished = self.deps.now().isoformat(timespec="seconds")
            self.report.report_url = self.report.rejects_url = ""
            self.count_requests()


@contextlib.contextmanager
def open_job(job: Job, deps: RuntimeDeps) -> Iterator[tuple[Storages, Database]]:
    """The storages and the planning database of a job, on an event loop of their own, for one block."""
    with (
        Portal() as portal,
        contextlib.closing(Storages(job, portal, deps)) as storages,
        open_database(memory_limit=job.memory_limit, scratch=job.scratch) as database,
    ):
        yield storages, database
