"""A kept plan, applied: whole, or a share of its shards, here or by the workers of an engine.

`sync --plan` and `finish` are here. The lease of the plan is held while anything is written, so any
number of these may run side by side for one plan, and nothing else for its datasource.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from metaferry.engines.choose import LOCAL, check_engine, open_workers
from metaferry.engines.shards import run_shards
from metaferry.errors import JobError, Outage, UsageError
from metaferry.job.loader import storage_of
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.job.serialize import restore_job
from metaferry.planning.formats import RunReport
from metaferry.planning.price.model import Price
from metaferry.progress import Progress, Silent, Stop
from metaferry.runs.apply import INTERRUPTED
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.metrics.push import published
from metaferry.runs.report import requests_of
from metaferry.runs.sharded.finish import finish_run, missing_shards
from metaferry.runs.sharded.plan_files import PLAN, read_plan
from metaferry.runs.sharded.plan_run import PlanRun, add_markers, add_outage, count_findings, open_plan
from metaferry.runs.sharded.task import task_for, write_shard
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal

#: Seconds beyond the grace of an interrupt that workers get to return their results.
_RESULT_TIMEOUT: Final = 5.0
#: Findings that the report of a share shows.
_EXAMPLES: Final = 100

#: What Kubernetes gives each pod of an Indexed Job: its number, from 0.
INDEX_VARIABLE: Final = "JOB_COMPLETION_INDEX"


#: What is called at the end of a plan, while it is open.
Ended: TypeAlias = Callable[[PlanRun, RunReport], None]


def _nothing(run: PlanRun, report: RunReport) -> None:
    """Nothing is to be done at the end."""


@dataclass(frozen=True, slots=True)
class Share:
    """The shards `s` with `s % of == index`."""

    index: int
    of: int

    def numbers(self, shards: int) -> list[int]:
        return list(range(self.index, shards, self.of))


def share_of(index: int | None, of: int | None) -> Share | None:
    """The share by its index and number; None for the whole plan. UsageError for an invalid one."""
    if of is None:
        if index is not None:
            raise UsageError("--shard-index has no meaning without --num-shards", advice="give both")
        return None
    if index is None:
        text = os.environ.get(INDEX_VARIABLE)
        if text is None:
            raise UsageError(
                "--num-shards needs --shard-index: the number of this share, from 0",
                advice=f"in a Kubernetes Indexed Job it comes from {INDEX_VARIABLE}",
            )
        if not text.isascii() or not text.isdigit():
            raise UsageError(f"{INDEX_VARIABLE} should be a number from 0, is {text!r}")
        index = int(text)
    if of < 1 or not 0 <= index < of:
        raise UsageError(f"--shard-index should be 0 to {max(of - 1, 0)} with --num-shards {of}, is {index}")
    return Share(index, of)


def sync_plan(
    job: Job,
    plan: str,
    *,
    share: Share | None = None,
    engine: str = LOCAL,
    leased: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
    deps: RuntimeDeps | None = None,
    ended: Ended = _nothing,
) -> RunReport:
    """Applies a kept plan: everything, its end included, or the documents of a share of its shards.

    `engine` writes the shards: this process and, where the job has `workers`, processes of its own, or
    the workers of Dask. `leased`: the caller holds the plan's lease already. `ended` is called with the
    report of a whole plan, when its lease is given back.

    A shard that is done is not run again. The report of a share has its shards only, whichever
    process wrote them; its exit code is 3 when documents failed, the signal's when `stop` ended it.
    """
    stop, progress, deps = stop or Stop(), progress or Silent(), deps or RuntimeDeps()
    check_engine(engine)

    def apply() -> RunReport:
        return _apply(job, plan, share, engine, leased, progress, stop, deps, ended)

    if share is not None or leased:
        # A share sends no metrics: they would replace those of another share.
        return apply()
    with published(job, RunReport("", job.digest(), ""), deps) as account:
        account.report = report = apply()
    return report


def _apply(
    job: Job,
    plan: str,
    share: Share | None,
    engine: str,
    leased: bool,
    progress: Progress,
    stop: Stop,
    deps: RuntimeDeps,
    ended: Ended,
) -> RunReport:
    with open_plan(job, plan, deps, num_shards=share.of if share is not None else 0) as run:
        shards = len(run.plan.shards)
        numbers = list(range(shards)) if share is None else share.numbers(shards)
        if share is not None or engine != LOCAL:
            run.require_shared()
        began = run.deps.clock()
        run.writes_while(stop)
        outage: Outage | None = None
        whole: RunReport | None = None
        with contextlib.nullcontext() if leased else run.plan_lease(stop, progress) as lease:
            if run.final_report() is None and (left := run.to_do(numbers)):
                if lease is not None:
                    lease.take()
                run.begin()
                try:
                    _write(run, plan, left, engine, stop, progress)
                except Outage as error:
                    outage = error
                    run.markers.look(left)
            if share is None and not stop.requested and outage is None:
                whole = finish_run(run, lease, stop, progress)
        if whole is not None:
            ended(run, whole)
            return whole
        if stop.abandoned is not None:
            raise stop.abandoned
        report = _report_of(run, numbers, share, stop, run.deps.clock() - began)
        if outage is not None and not stop.requested:
            add_outage(report, outage)
        return report


def finish(
    plan: str,
    *,
    job: Job | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    stop: Stop | None = None,
    deps: RuntimeDeps | None = None,
    ended: Ended = _nothing,
) -> RunReport:
    """Ends a plan whose shards are all done, with the job that is kept in it unless one is given.

    `overrides` are `key=value` over the job that was kept; those of `storage` open the plan as well. `ended`
    is called with the report, when the lease is given back.
    """
    stop, progress, deps = stop or Stop(), progress or Silent(), deps or RuntimeDeps()
    if job is None:
        job = _kept_job(plan, overrides, deps)
    with published(job, RunReport("", job.digest(), ""), deps) as account:
        with open_plan(job, plan, deps) as run:
            with run.plan_lease(stop, progress) as lease:
                account.report = report = finish_run(run, lease, stop, progress)
            ended(run, report)
        return report


def _write(
    run: PlanRun, plan: str, numbers: Sequence[int], engine: str, stop: Stop, progress: Progress
) -> None:
    writes = sum(run.plan.shards[number].writes for number in numbers)
    progress.phase("Writing documents", writes)
    writers = run.storages.writers() if engine == LOCAL else None
    if engine != LOCAL or (writers is not None and writes >= writers.least):
        workers = writers.workers if writers is not None else _local_workers(run.job)
        _write_on_engine(run, plan, numbers, engine, workers, stop, progress)
        return
    for number in numbers:
        if stop.requested:
            return
        run.write_shard(number, stop=stop, progress=progress)


def _write_on_engine(
    run: PlanRun,
    plan: str,
    numbers: Sequence[int],
    engine: str,
    workers: int | None,
    stop: Stop,
    progress: Progress,
) -> None:
    """Writes the shards by an engine. Raises ShardsMissing for those that were given up."""
    job, scope = run.job, f"{run.plan.plan_id}-{run.deps.random.getrandbits(64):016x}"
    with open_workers(engine, scope=scope, workers=workers, grace=job.grace) as opened:
        share = max(1, min(opened.parallelism, len(numbers)))
        tasks = {
            number: task_for(
                job,
                plan,
                number,
                run_id=run.plan.plan_id,
                scope=scope,
                share=share,
                alone=engine != LOCAL,
                num_shards=run.num_shards,
            )
            for number in numbers
        }
        ran = run_shards(
            opened,
            write_shard,
            tasks,
            stop=stop,
            grace=job.grace + _RESULT_TIMEOUT,
            done=lambda shard, answer: progress.advance(answer["writes"]),
        )
    run.markers.look(numbers)
    if ran.given_up and not stop.requested:
        why = "; ".join(sorted(set(ran.given_up.values())))
        raise missing_shards(run, sorted(ran.given_up), why)


def _local_workers(job: Job) -> int | None:
    return None if job.workers == "auto" else job.workers


def _report_of(
    run: PlanRun, numbers: Sequence[int], share: Share | None, stop: Stop, seconds: float
) -> RunReport:
    """The report of some shards of a plan."""
    planned, final = run.plan.report, run.final_report()
    report = RunReport(
        run_id=run.plan.plan_id,
        job_digest=run.plan.job_digest,
        started=planned.started,
        finished=run.deps.now().isoformat(timespec="seconds"),
        input=planned.input,
        lightly=planned.lightly,
        shards=len(run.plan.shards),
        shards_here=tuple(numbers),
    )
    found = {n: marker for n, marker in run.markers.found.items() if n in numbers}
    if final is not None:
        report.advice = f"this plan was finished at {final.finished}; nothing is left to do"
    else:
        add_markers(report, found.values())
        count_findings(report, found.values())
        report.finding_examples = [f for marker in found.values() for f in marker.findings][:_EXAMPLES]
        left = [n for n in numbers if run.plan.shards[n].writes and n not in found]
        report.documents.deferred = sum(run.plan.shards[n].writes for n in left)
    report.seconds = {"apply": round(seconds, 3)}
    if stop.requested:
        report.exit_code = 128 + (stop.signal or 2)
        report.stopped = INTERRUPTED
        report.advice = "run it again: a shard that is done is not run again"
    report.requests, report.rate = requests_of(run.storages.all), run.lightly.rates
    report.stores = run.storages.stores()
    report.price = Price.of(report.stores, max_cost=run.job.policy.max_cost)
    return report


def _kept_job(plan: str, overrides: Sequence[str], deps: RuntimeDeps) -> Job:
    """The job that is kept in a plan. UsageError where none is, JobError where a variable is not set."""
    storage = [each for each in overrides if each.lstrip().startswith("storage.")]
    opening = Job.model_construct(storage=storage_of(storage))
    options = opening.storage_options(Location.named(plan))
    with Portal() as portal:
        folder = open_storage(plan, options, wrap=deps.wrap, sleep=deps.sleep, clock=deps.clock)
        try:
            kept = read_plan(folder, portal)
        finally:
            portal.run(folder.close())
    place = f"{folder.url.rstrip('/')}/{PLAN}"
    if kept.job is None:
        raise UsageError(
            f"{place}: the job could not be kept in the plan, since its {kept.job_left_out} may be a secret",
            advice="bring the job: --job JOB (job=… in a program); as ${VAR} in a job file it can be kept",
        )
    try:
        return restore_job(kept.job, overrides)
    except JobError as error:
        raise JobError(error.message, place=f"{place}: job", advice=error.advice) from None
