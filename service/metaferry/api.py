"""The calls of the library: what `metaferry.plan`, `sync` and the others that run a job are.

Each takes what a user has at hand (the path of a job file, a `Job`, a URL), opens what it needs,
closes it again, prints nothing and raises `MetaferryError` subclasses only. All of them are
synchronous and work inside a running event loop, whose thread they then occupy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from metaferry.errors import UsageError
from metaferry.job.model import Job
from metaferry.job.parts import Location
from metaferry.masked_logs import masked_logs
from metaferry.progress import Progress, Stop
from metaferry.storage.local.disk_names import absolute

if TYPE_CHECKING:
    from metaferry.media.frames.model import FrameCount, Level
    from metaferry.planning.formats import PlanReport, RunReport
    from metaferry.runs.lease.held import Unlocked
    from metaferry.runs.rollback.report import RollbackReport
    from metaferry.storage.protocol import Storage

#: The largest number of shards that can be asked for.
MAX_SHARDS: Final = 9_999

#: A job, or the path of its file.
AnyJob: TypeAlias = "Job | str | PathLike[str]"


@masked_logs()
def plan(
    job: AnyJob,
    *,
    prefix: str = "",
    limit: int | None = None,
    out: str | PathLike[str] | None = None,
    keep: bool = False,
    shards: int | None = None,
    progress: Progress | None = None,
) -> PlanReport:
    """What a `sync` would do, and why. Writes the cache of frame counts, and the plan where it is kept.

    prefix: only media whose path begins with it, and their documents. limit: at most so many
    documents are changed. keep: the plan is kept in the state folder, for `sync(plan=report.report_url)`,
    as Parquet in `report.shards` shards (`shards`: at least so many of them). out: in this folder, or at
    this URL, instead. A safety limit that would stop the sync is no error here: `report.stopped` names it.
    """
    from metaferry.view.report import after_sync

    if keep and out is not None:
        raise UsageError("a plan is kept in the state folder or in another one: give keep or out, not both")
    if shards is not None and not keep and out is None:
        raise UsageError(f"shards is {shards}, and only a plan that is kept has shards", advice="give keep")
    if shards is not None and not 1 <= shards <= MAX_SHARDS:
        raise UsageError(f"shards should be 1 to {MAX_SHARDS}, is {shards}")
    return after_sync.plan(
        as_job(job),
        prefix=prefix,
        limit=positive(limit),
        out=None if out is None else _folder(out),
        keep=keep,
        shards=shards or 1,
        progress=progress,
    )


@masked_logs()
def sync(
    job: AnyJob,
    *,
    prefix: str = "",
    limit: int | None = None,
    plan: str | PathLike[str] | None = None,
    shard_index: int | None = None,
    num_shards: int | None = None,
    engine: str = "local",
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> RunReport:
    """Makes the documents of the Lightly datasource what the job's tables say.

    `prefix` and `limit` narrow it as they do a plan. plan: the folder of a plan that was kept, or its
    plan.json, which is applied as it is; with `num_shards` only the documents of the shards `s` for which
    `s % num_shards == shard_index` (default: JOB_COMPLETION_INDEX of the environment), and `finish`
    does the rest once all of them are done. engine: `local`, `dask` (a cluster of processes of this
    machine) or `dask=tcp://…` (one that is there), whose workers write the shards.

    `report.exit_code` is what the command would exit with: 0 done, 3 rows were rejected or documents
    failed, 5 a safety limit stopped it before the first write, 130 or 143 after `stop` was set.
    Running it again does what is missing.
    """
    from metaferry.runs.sharded import run as sharded
    from metaferry.view.report import after_sync

    share = sharded.share_of(shard_index, num_shards)
    if plan is not None:
        if prefix or limit is not None:
            raise UsageError("prefix and limit can be set when a plan is made, not when it is applied")
        if share is not None and engine != "local":
            raise UsageError("a share of the shards is written by this process: it takes no engine")
        return after_sync.sync_plan(
            as_job(job), _plan_folder(plan), share=share, engine=engine, progress=progress, stop=stop
        )
    if share is not None:
        raise UsageError("only a kept plan has shards", advice="name it: --plan DIR")
    return after_sync.sync(
        as_job(job), prefix=prefix, limit=positive(limit), engine=engine, progress=progress, stop=stop
    )


@masked_logs()
def finish(
    plan: str | PathLike[str],
    *,
    job: AnyJob | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> RunReport:
    """Ends a plan whose shards were applied apart: deletes, schema.json, and the report of it all.

    Raises ShardsMissing, with nothing touched, while a shard is not done. Where documents failed,
    `report.exit_code` is 3 and schema.json is held back. A second call changes nothing. `job` is
    needed only where the plan could not keep it, since it holds a secret that is no `${VAR}`.
    `overrides` are `key=value` over the job that was kept; those of `storage` open the plan as well.
    """
    from metaferry.view.report import after_sync

    if job is not None and overrides:
        raise UsageError(
            "overrides apply to the job kept in the plan; with another job, put them in that job"
        )
    return after_sync.finish(
        _plan_folder(plan),
        job=None if job is None else as_job(job),
        overrides=overrides,
        progress=progress,
        stop=stop,
    )


@masked_logs()
def rollback(
    job: AnyJob,
    run_id: str,
    *,
    apply: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> RollbackReport:
    """Brings the documents back that a run replaced or deleted, and deletes those that it created.

    Without `apply` nothing is written: the report says what would be done. For runs of a job with `backup`.
    Only documents that are as that run left them are touched; `report.exit_code` is 3 where others are in
    their place. Running it again does what is missing. UsageError where the run has no backup.
    """
    from metaferry.runs.rollback import run

    return run.rollback(as_job(job), run_id, apply=apply, progress=progress, stop=stop)


@masked_logs()
def unlock(job: AnyJob, *, run_id: str = "") -> Unlocked:
    """Removes the lease of the job's datasource, whoever holds it, and returns who that was.

    For a lease that is stuck. A run that still holds it fails at its next renewal, and stops writing.
    run_id: removes it only where it is that run's; LeaseHeld where it is another's.
    """
    from metaferry.runs.lease import held as leased

    return leased.unlock(as_job(job), run_id=run_id)


def count_frames(
    urls: str | Sequence[str],
    *,
    storage: Mapping[str, Mapping[str, Any]] | None = None,
    level: Level | None = None,
    times: bool = False,
    deadline: float | None = None,
    workers: int | None = None,
    progress: Callable[[FrameCount], None] | None = None,
) -> Iterator[FrameCount]:
    """The frame counts of the videos at `urls` (files, folders, globs), as they are counted.

    level: at most this much work (index, scan, decode); default: as much as a proof takes. times: also
    the presentation time of every frame, in seconds.
    storage: fsspec options by URL scheme, as in a job file. deadline: seconds for one video.
    A video whose count nothing proves has `frames` None and says why in `reason`. Everything is
    closed when the iterator ends or is closed.
    """
    given = [urls] if isinstance(urls, str) else list(urls)
    options = Job.model_construct(storage={k: dict(v) for k, v in (storage or {}).items()})
    return _count_frames(given, options, level, times, deadline, workers, progress)


def _count_frames(
    urls: list[str],
    options: Job,
    level: Level | None,
    times: bool,
    deadline: float | None,
    workers: int | None,
    progress: Callable[[FrameCount], None] | None,
) -> Iterator[FrameCount]:
    from metaferry.media.frames.counter import DEADLINE
    from metaferry.media.frames.urls import count_urls
    from metaferry.storage.factory import open_storage
    from metaferry.storage.io.portal import Portal

    opened: list[Storage] = []

    def storage_for(url: str) -> Storage:
        given = options.storage_options(Location.named(url))
        opened.append(open_storage(url, given, transport=options.transport))
        return opened[-1]

    with masked_logs(), Portal() as portal:
        try:
            yield from count_urls(
                urls,
                storage_for=storage_for,
                portal=portal,
                level=level,
                times=times,
                workers=workers,
                deadline=DEADLINE if deadline is None else deadline,
                progress=progress,
            )
        finally:
            for storage in opened:
                portal.run(storage.close())


def _folder(folder: str | PathLike[str]) -> str:
    """A folder as an absolute path or a URL."""
    given = fspath(folder)
    return given if "://" in given or "::" in given else absolute(given)


def _plan_folder(plan: str | PathLike[str]) -> str:
    """The folder of a plan, which may be named by its plan.json."""
    return _folder(plan).removesuffix("/plan.json")


def as_job(job: AnyJob) -> Job:
    """The job, or what the file of that path holds. Raises JobError."""
    return job if isinstance(job, Job) else Job.load(job)


def positive(limit: int | None) -> int | None:
    """The limit. Raises UsageError for one below 1."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit should be at least 1, is {limit}")
    return limit
