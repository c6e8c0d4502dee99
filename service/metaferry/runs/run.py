"""One run, from start to end: gather, decide, and, for a sync, apply; then its report.

`plan` and `sync` are this one function, so that a dry run cannot disagree with the run. It works
in the caller's thread; the storages live on an event loop of their own (`storage/io/portal.py`), so
that it may be called from inside a running loop as well.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

from metaferry.engines.choose import LOCAL, check_engine
from metaferry.errors import MetaferryError, StorageError, exit_code
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.media.frames.cache import FrameCache
from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.model import FrameCount
from metaferry.planning import build
from metaferry.planning.database import Database, open_database
from metaferry.planning.formats import (
    OUTCOME_COLUMNS,
    KeptPlan,
    PlanReport,
    Report,
    RunReport,
    SchemaChange,
    ddl,
)
from metaferry.planning.listings import listing_prefixes
from metaferry.planning.match import Video, Videos
from metaferry.planning.rejects import count_rejects
from metaferry.progress import Progress, Silent, Stop, Stopping
from metaferry.runid import during
from metaferry.runs.apply import write
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.draining import ending_at_once, ending_soon
from metaferry.runs.gather import gather
from metaferry.runs.in_place import read_in_place
from metaferry.runs.lease.held import RunLease
from metaferry.runs.listings.age import note_age
from metaferry.runs.listings.links import refuse_links
from metaferry.runs.listings.no_media import explain_no_media
from metaferry.runs.listings.revalidate import revalidated
from metaferry.runs.metrics.push import published
from metaferry.runs.report import leave_report, requests_of
from metaferry.runs.schema_fit import judge_types
from metaferry.runs.sharded.plan_files import plan_location, write_plan
from metaferry.runs.sharded.plan_run import add_markers, count_findings, must_be_shared
from metaferry.runs.sharded.run import sync_plan
from metaferry.runs.state.capability_probe import recall_conditions
from metaferry.runs.state.damage import Damage
from metaferry.runs.state.folder import State
from metaferry.runs.state.inferred import inferred_entries, remember_new
from metaferry.runs.state.ledger import Ledger
from metaferry.runs.state.listing_checkpoint import ListingCheckpoint
from metaferry.runs.state.markers import Markers
from metaferry.runs.storages import Storages
from metaferry.storage.io.portal import Portal
from metaferry.storage.waits import Deferred

log = logging.getLogger(__name__)

#: Shards that a plan for an engine has, where they need not be more for its size; and the documents
#: below which one is not worth a task.
_MOST_SHARDS: Final = 64
_LEAST_ROWS: Final = 1_000


def plan(
    job: Job,
    *,
    prefix: str = "",
    limit: int | None = None,
    out: str | None = None,
    shards: int = 1,
    progress: Progress | None = None,
    deps: RuntimeDeps | None = None,
) -> PlanReport:
    """What a sync would do and why. Writes nothing but the frame-count cache, and `out` if given.

    `out` is a folder (any URL) that then holds `plan.json`, `shard=NNN/*.parquet`,
    `rejects.parquet` and `findings.parquet`; it has at least `shards` shards. Raises
    MetaferryError subclasses only; a passed safety limit is no error but `report.stopped`, with
    exit code 5.
    """
    report = PlanReport(run_id="", job_digest="", started="")
    world = deps or RuntimeDeps()
    _run(job, report, prefix, limit, progress or Silent(), world, None, out=out, shards=shards)
    return report


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

    With another engine than the local one the plan is kept in the state folder and applied by the
    engine's workers, shard by shard (`sharded/run.py`).

    Documents first, deletes after them, `schema.json` last and only when all of them succeeded.
    Leaves `run.json`, and `rejects.parquet` and `findings.parquet` where there are any, in the
    state folder. When `stop` is set meanwhile, what is under way is finished and the report has
    the signal's exit code. Raises MetaferryError subclasses only; a `report` that is given then
    tells how far the run came. Its figures are sent where the job's `metrics` say.
    """
    report = report or RunReport(run_id="", job_digest="", started="")
    world = deps or RuntimeDeps()
    check_engine(engine)
    with published(job, report, world):
        _run(job, report, prefix, limit, progress or Silent(), world, stop or Stop(), engine=engine)
    return report


def _run(
    job: Job,
    report: Report,
    prefix: str,
    limit: int | None,
    progress: Progress,
    world: RuntimeDeps,
    stop: Stop | None,
    out: str | None = None,
    shards: int = 1,
    engine: str = LOCAL,
) -> None:
    """Fills the report. `stop` None is a plan: nothing is applied."""
    started = world.now()
    # Microseconds first: ids sort by time, also those of runs that began within one second.
    unique = f"{started.microsecond:05x}{world.random.getrandbits(12):03x}"
    report.run_id = f"{started:%Y%m%dT%H%M%SZ}-{unique}"
    report.job_digest = job.digest()
    report.started = started.isoformat(timespec="seconds")
    with (
        during(report.run_id),
        Portal() as portal,
        Storages(job, portal, world) as storages,
        open_database(memory_limit=job.memory_limit, scratch=job.scratch) as database,
    ):
        run = _Run(job, report, database, storages, portal, progress, world, stop, engine)
        try:
            with run.lease or contextlib.nullcontext():
                with ending_at_once(stop, storages, portal):
                    # A plan alone writes nothing, unless it is to be kept.
                    run.decide(prefix, limit, keep_listing=stop is not None or out is not None)
                if out is not None:
                    with _timed(run, "write"):
                        run.keep_plan(plan_location(job, out), shards)
                if stop is None:
                    run.count_requests()
                else:
                    run.apply(stop)
        except MetaferryError as error:
            report.exit_code = exit_code(error)
            if not report.finished:  # what it asked of the stores is told of a run that failed, too
                run.count_requests()
            raise


class _Run:
    """The resources of one run and the report it fills."""

    def __init__(
        self,
        job: Job,
        report: Report,
        database: Database,
        storages: Storages,
        portal: Portal,
        progress: Progress,
        world: RuntimeDeps,
        stop: Stop | None,
        engine: str,
    ) -> None:
        self.job = job
        self.engine = engine
        self.stop = stop
        self.report = report
        self.database = database
        self.storages = storages
        self.portal = portal
        # Until the first write a stop ends the run where it is; nothing has to be drained.
        self.progress = progress if stop is None else Stopping(progress, stop)
        self.progress_of_writing = progress
        self.world = world
        self.input = storages.at(job.input)
        self.lightly = storages.at(job.lightly_location)
        self.state = State.of(job, storages, portal)
        if stop is not None:
            for storage in (self.lightly, self.state.storage):
                storage.writes_while(lambda: stop.abandoned is None)
        self.lease = (
            None
            if stop is None
            else RunLease(
                job,
                self.lightly,
                self.state,
                portal,
                world,
                run_id=report.run_id,
                stop=stop,
                progress=progress,
                shared=engine != LOCAL,
            )
        )
        if engine != LOCAL:
            must_be_shared(self.lightly, self.state.storage)
        self.ledger = Ledger(database, self.state)
        self.damage = Damage(database, self.state, report.run_id)
        database.run(ddl("outcomes", OUTCOME_COLUMNS))
        report.input = self.input.url
        report.lightly = self.lightly.url

    # -- gather and decide

    def decide(self, prefix: str, limit: int | None, *, keep_listing: bool = False) -> None:
        report = self.report
        with _timed(self, "gather"):
            self.gathered = gather(
                self.job,
                self.database,
                self.storages,
                self.portal,
                prefix=prefix,
                progress=self.progress,
                now=self.world.now(),
                before_listing=lambda: self._before_listing(prefix, keep=keep_listing),
            )
        report.media, report.listing = self.gathered.media, self.gathered.listing
        with _timed(self, "decide"):
            self.progress.phase("Planning", None)
            self.decided = build.decide(
                self.database,
                self.job,
                self.gathered.sources,
                in_place=self.gathered.in_place,
                given=self.gathered.given,
                count_frames=self._count_frames,
                load_ledger=self.ledger.load,
                read_documents=self._read_documents,
                inferred=lambda: inferred_entries(self.state),
                explain_no_media=lambda: explain_no_media(
                    self.job, self.database, self.storages, self.portal, report.listing, prefix
                ),
                prefix=prefix,
                limit=limit,
                ledger_complete=not self.history.interrupted,
                media_current=report.listing.fresh,
                limits=self.lightly.capabilities.key_limits,
            )
        refuse_links(self.database, self.lightly)
        self.decided = judge_types(
            self.decided, self.database, self.lightly, self.portal, prefix, self.progress
        )
        if not prefix:
            self.damage.forget("SELECT target FROM damaged WHERE target NOT IN (SELECT target FROM decided)")
        self._note_capabilities()
        note_age(self.database, self.job, report.listing)
        self._describe()

    def _before_listing(self, prefix: str, *, keep: bool) -> ListingCheckpoint | None:
        if self.lease is not None:
            # Who lists without it may plan on what another run is about to change.
            self.lease.take()
        else:
            self._recall()
        self.history = self.state.history()
        self.damage.load(self.history)
        if not keep or self.job.media.inventory is not None or not self.input.capabilities.start_key:
            return None
        address = f"{self.input.url} {listing_prefixes(prefix)[0]}"
        return ListingCheckpoint(
            self.state, self.portal, self.report.run_id, address, self.history, self.world.now()
        )

    def _recall(self) -> None:
        """What earlier runs found out about the stores, so that a plan sees what a sync would see."""
        state = self.state
        stores, now = (self.lightly, state.storage), self.world.now()
        self.portal.run(recall_conditions(stores, state.storage, state.capabilities_key, now))

    def _describe(self) -> None:
        report, decided = self.report, self.decided
        report.sources = decided.sources
        if isinstance(report, PlanReport):
            report.tables = [source.reading for source in self.gathered.sources]
        media = report.media
        total, media.with_metadata = media.images + media.videos, decided.with_metadata
        media.coverage = media.with_metadata / total if total else None
        report.documents = decided.documents
        report.frames.unproved = decided.unproved
        report.bytes_to_write = decided.bytes_to_write
        report.schema = SchemaChange(
            entries=len(decided.entries.entries),
            added=decided.entries.added,
            written=decided.entries.changed,
            changed=decided.entries.schema_edits(),
            removed=tuple(entry.path for entry in decided.entries.removed),
        )
        report.stopped, report.advice = decided.stopped, decided.advice
        report.examples = build.examples(self.database)
        report.findings, report.finding_examples = build.findings(self.database)
        report.rejects = count_rejects(self.database)
        if decided.stopped:
            report.exit_code = 5
        elif report.rejected:
            report.exit_code = 3

    def _count_frames(self, videos: Videos) -> Iterator[FrameCount]:
        self.progress.phase("Counting frames", len(videos))
        cache = FrameCache(self.state.storage, self.portal, self.state.frame_cache_key)
        cache.load()
        frames, gone = self.report.frames, list[str]()
        asked: Iterable[Video] = videos
        if not self.report.listing.fresh:
            asked = revalidated(videos, self.input, self.portal, gone)
        counts = count_frames(
            self.input,
            self.portal,
            ((video.path, video.size, video.token) for video in asked),
            cache=cache,
            progress=lambda count: self.progress.advance(1, count.bytes),
        )
        for count in counts:
            frames.cached += count.cached
            frames.counted += not count.cached
            yield count
        for path in gone:
            yield FrameCount(path, None, None, reason="gone: it was there when the media were listed")
        frames.counted += len(gone)
        self.progress.phase("Planning", None)

    def _read_documents(
        self, rows: Iterable[tuple[str, int]]
    ) -> Iterator[tuple[str, bytes | StorageError | None]]:
        self.progress.phase("Reading documents in place", None)
        return read_in_place(self.lightly, self.portal, rows, self.progress)

    def _note_capabilities(self) -> None:
        if not self.lightly.capabilities.atomic:
            self.database.finding(
                Code.STORAGE_NOT_ATOMIC,
                "warning",
                f"{self.lightly.url}: this file system cannot rename: a reader may see part of a document",
                advice="keep the documents on a store that writes atomically",
            )
        for url, create in sorted(
            {
                (storage.url, storage.capabilities.conditional)
                for storage in (self.lightly, self.state.storage)
                if not (storage.capabilities.conditional and storage.capabilities.replaces)
            }
        ):
            what = "conditional writes" if not create else "replacing under a condition"
            self.database.finding(
                Code.STORAGE_NO_CONDITIONS,
                "warning",
                f"{url}: without {what}, what others write during a run can be overwritten",
                advice="let one run at a time, and nobody else, write there",
            )

    def keep_plan(self, out: Location, shards: int) -> KeptPlan:
        """Writes the plan to a folder; a safety limit that stopped it stands in it."""
        self.count_requests()
        return write_plan(
            self.database,
            self.job,
            self.report,
            self.storages.writable(out),
            self.portal,
            schema=self.decided.entries.entries,
            schema_token=self.gathered.schema_token,
            min_shards=shards,
        )

    # -- apply

    def apply(self, stop: Stop) -> None:
        report = self.report
        try:
            if self.decided.stopped:
                self._nothing_done()
            elif self.engine != LOCAL and report.changes:
                self._apply_on_engine(stop)
                return
            elif report.changes or self.decided.entries.changed:
                with _timed(self, "apply"):
                    self.state.start(report.run_id, report.started)
                    write(
                        self.database,
                        self.job,
                        self.lightly,
                        self.portal,
                        report,
                        self.decided.entries,
                        schema_token=self.gathered.schema_token,
                        stop=stop,
                        progress=self.progress_of_writing,
                        random=self.world.random,
                        damage=self.damage,
                        writers=self.storages.writers(),
                    )
                    remember_new(self.state, self.job, report, self.decided.entries.entries)
        except MetaferryError as error:
            if stop.abandoned is not None:  # this datasource is somebody else's by now
                raise stop.abandoned from (None if error is stop.abandoned else error)
            report.exit_code = exit_code(error)
            report.stopped = error.message
            self._leave_report_after()
            raise
        if stop.abandoned is not None:
            raise stop.abandoned
        if stop.requested or Code.STORAGE_OUTAGE in report.findings:
            self._leave_report_after()
        else:
            self._leave_report()

    def _apply_on_engine(self, stop: Stop) -> None:
        """Keeps the plan in the state folder and has it applied: the report becomes that of its end."""
        report, job = self.report, self.job
        self.state.start(report.run_id, report.started)
        folder = job.state_location.below(f"runs/{report.run_id}/plan")
        kept = self.keep_plan(folder, min(_MOST_SHARDS, -(-report.changes // _LEAST_ROWS)))
        try:
            ended = sync_plan(
                job,
                folder.url,
                engine=self.engine,
                leased=True,
                progress=self.progress_of_writing,
                stop=stop,
                deps=self.world,
            )
        except MetaferryError:
            if stop.abandoned is None:
                self._take_what_is_done(kept)
            raise
        outage = Code.STORAGE_OUTAGE in ended.findings
        if (stop.requested or outage) and stop.abandoned is None:
            self._take_what_is_done(kept)
            report.exit_code, report.stopped, report.advice = ended.exit_code, ended.stopped, ended.advice
            if outage:
                report.findings[Code.STORAGE_OUTAGE] = 1
                report.finding_examples += ended.finding_examples[-1:]
            self._leave_report_after()
            return
        for name in RunReport.__dataclass_fields__:
            setattr(report, name, getattr(ended, name))

    def _take_what_is_done(self, kept: KeptPlan) -> None:
        """The shards that are done, for the report and the ledger: the next run plans anew."""
        report, documents = self.report, self.report.documents
        wanted, planned_deletes = documents.create + documents.update, documents.delete
        markers = Markers(kept, self.state)
        found = markers.look()
        markers.load(found, self.database)
        documents.create = documents.update = documents.delete = 0
        add_markers(report, found.values())
        count_findings(report, found.values())
        documents.deferred += wanted - sum(marker.writes for marker in found.values())
        documents.skip += planned_deletes
        report.schema.written = False

    def _nothing_done(self) -> None:
        """The counts of a run that a limit stopped: what was planned waits for a later one."""
        documents = self.report.documents
        documents.deferred += documents.create + documents.update
        documents.skip += documents.delete
        documents.create = documents.update = documents.delete = 0
        self.report.schema.written = False

    # -- the report

    def _leave_report(self) -> None:
        with ending_soon(self.stop, self.storages, self.portal):
            leave_report(
                self.report,
                self.database,
                self.state,
                self.ledger,
                self.history,
                self.damage,
                keep_runs=self.job.keep_runs,
                finished=self.world.now().isoformat(timespec="seconds"),
                count=self.count_requests,
            )

    def _leave_report_after(self) -> None:
        """The same after a failure, which stays what ended the run."""
        try:
            self._leave_report()
        except (StorageError, Deferred) as second:
            why = second if isinstance(second, StorageError) else "the store took too long"
            log.warning("the report of this run could not be kept: %s", why)
            self.report.finished = self.world.now().isoformat(timespec="seconds")
            self.report.report_url = self.report.rejects_url = ""
            self.count_requests()

    def count_requests(self) -> None:
        """Adds up the requests of all storages of the run."""
        self.report.requests = requests_of(self.storages.all)
        self.report.rate = self.lightly.rates


class _timed:
    """Notes the seconds of a phase in the report."""

    def __init__(self, run: _Run, phase: str) -> None:
        self._run, self._phase = run, phase

    def __enter__(self) -> None:
        self._start = self._run.world.clock()

    def __exit__(self, *ended: Any) -> None:
        seconds = self._run.world.clock() - self._start
        self._run.report.seconds[self._phase] = round(seconds, 3)
