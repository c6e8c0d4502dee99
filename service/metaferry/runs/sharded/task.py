"""One shard of a plan as a task for a worker of an engine.

The worker opens everything itself, from the job in the task, and joins the lease of the plan, so that it
stops when that is lost. The job is sent with every `${VAR}` as it was written, and the worker takes their
values from its own environment: no secret passes through a scheduler. Only a job that has one in plain
text is sent with it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaferry.engines.cancellation import cancellation_scope
from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.job.serialize import keep_job, restore_job
from metaferry.job.variables import remember_secrets
from metaferry.progress import Silent
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.sharded.plan_run import open_plan
from metaferry.runs.sharded.worker_logs import log_of_run


@dataclass(frozen=True, slots=True, repr=False)
class ShardTask:
    """What a worker needs to write one shard. Its repr, which executors log, has only the number."""

    plan: str
    shard: int
    job: Job | Mapping[str, Any]
    scope: str
    concurrency: int
    max_rate: float | None
    run_id: str = ""  # where the worker's log is its own; "" where it comes to the run's
    num_shards: int = 0  # of the share that this shard is of; 0 where it is none

    def __repr__(self) -> str:
        return f"ShardTask(shard {self.shard})"


def task_for(
    job: Job, plan: str, shard: int, *, run_id: str, scope: str, share: int, alone: bool, num_shards: int = 0
) -> ShardTask:
    """The task of a shard for one of `share` workers that write in parallel.

    `alone`: each has a machine, or a client, of its own; else they share the job's concurrency. The
    job's `max_rate` is for all of them together in any case.
    """
    kept, _ = keep_job(job)
    return ShardTask(
        plan,
        shard,
        job if kept is None else kept,
        scope,
        job.concurrency if alone else max(1, job.concurrency // share),
        None if job.max_rate is None else job.max_rate / share,
        run_id=run_id if alone else "",
        num_shards=num_shards,
    )


def write_shard(task: ShardTask) -> dict[str, Any]:
    """Writes the shard and its done-marker, unless it is done. JSON-ready: how many documents.

    Raises what opening the plan and writing raise; JobError where a variable of the job is not set
    here.
    """
    job = _job_of(task).model_copy(
        update={"concurrency": task.concurrency, "max_rate": task.max_rate, "workers": 1}
    )
    with (
        cancellation_scope(task.scope) as stop,
        log_of_run(task.run_id) if task.run_id else contextlib.nullcontext(),
        open_plan(job, task.plan, RuntimeDeps(), num_shards=task.num_shards) as run,
        run.plan_lease(stop, Silent()) as lease,
    ):
        if not run.to_do([task.shard]):
            return {"shard": task.shard, "done": True, "writes": 0}
        if stop.requested:
            return {"shard": task.shard, "done": False, "writes": 0}
        lease.take()
        run.begin()
        marker = run.write_shard(task.shard, stop=stop, progress=Silent())
        return {"shard": task.shard, "done": marker is not None, "writes": marker.writes if marker else 0}


def _job_of(task: ShardTask) -> Job:
    if isinstance(task.job, Job):
        remember_secrets(task.job.model_dump())  # they are not registered in this process yet
        return task.job
    try:
        return restore_job(task.job)
    except JobError as error:
        raise JobError(
            error.message,
            place=f"on the worker {os.uname().nodename}",
            advice="a worker takes the variables of the job from its own environment: set it there",
        ) from None
