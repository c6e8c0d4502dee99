"""The commands: each turns its flags into one call of the library and shows what came back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from metaferry.cli.options import (
    Format,
    JobFile,
    Limit,
    LogFormat,
    Logs,
    OutputFormat,
    Prefix,
    Quiet,
    Sets,
    Verbose,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from metaferry.media.frames.model import FrameCount, Level


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to write it.", show_default=False)
    ] = Path(),
    quiet: Quiet = False,
) -> None:
    """Writes a commented job.yaml to begin with."""
    from metaferry.cli.session import Session
    from metaferry.cli.starting import write_job

    path = write_job(folder)
    Session(quiet=quiet).say(f"wrote {path}: name your media and tables in it, then `metaferry plan {path}`")


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to make it.")] = Path(
        "metaferry-demo"
    ),
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Makes a small real dataset and syncs it: images, videos, three tables, 1,235 documents."""
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines
    from metaferry.cli.signals import stopping
    from metaferry.cli.starting import make_demo, tree_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    path, dataset = make_demo(folder, session.say)
    from metaferry import Job, sync

    with stopping(session.say) as stop, session.progress() as progress:
        report = sync(Job.load(path, sets or ()), progress=progress, stop=stop)
    if session.as_json:
        session.show_json(report.to_dict())
    else:
        session.show(tree_lines(dataset))
        session.show(run_lines(report))
    raise typer.Exit(session.exit_code(report.exit_code, output_is_result=False))


def plan(
    job: JobFile,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Keep the plan there, as Parquet.", show_default=False)
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=9_999,
            help="With --out: at least so many shards, to be applied apart.",
            show_default=False,
        ),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 4 when a sync would change anything.")
    ] = False,
    prefix: Prefix = "",
    limit: Limit = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Shows what a sync would do, and why. Writes nothing but the cache of frame counts."""
    from metaferry import Job
    from metaferry import plan as make_plan
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import plan_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        report = make_plan(
            Job.load(job, sets or ()), prefix=prefix, limit=limit, out=out, shards=shards, progress=progress
        )
    if session.as_json:
        session.show_json(report.to_dict())
    else:
        session.show(plan_lines(report))
    pending = bool(report.changes or report.schema.written)
    code = 4 if exit_code and pending and report.exit_code == 0 else report.exit_code
    raise typer.Exit(session.exit_code(code, output_is_result=True))


def sync(
    job: JobFile,
    plan: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Apply the plan that was kept there.", show_default=False),
    ] = None,
    shard_index: Annotated[
        int | None,
        typer.Option(
            metavar="I",
            min=0,
            help="With --num-shards: which share of the plan's shards this is, from 0; "
            "default: JOB_COMPLETION_INDEX.",
            show_default=False,
        ),
    ] = None,
    num_shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Only the documents of every N-th shard of the plan; `finish` does the rest.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="local|dask|dask=ADDRESS",
            help="Who writes: this machine, a Dask cluster of processes here, or one that is there.",
        ),
    ] = "local",
    prefix: Prefix = "",
    limit: Limit = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Makes the documents what the tables say; writes only what changed, schema.json last."""
    from metaferry import Job
    from metaferry import sync as run_sync
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines, shard_lines
    from metaferry.cli.signals import stopping

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with stopping(session.say) as stop, session.progress() as progress:
        report = run_sync(
            Job.load(job, sets or ()),
            prefix=prefix,
            limit=limit,
            plan=plan,
            shard_index=shard_index,
            num_shards=num_shards,
            engine=engine,
            progress=progress,
            stop=stop,
        )
    if session.as_json:
        session.show_json(report.to_dict())
    else:
        session.show(shard_lines(report) if report.shards_here else run_lines(report))
    raise typer.Exit(session.exit_code(report.exit_code, output_is_result=False))


def finish(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The folder of the plan.", show_default=False)],
    job: Annotated[
        Path | None,
        typer.Option(
            metavar="JOB", help="The job file, where the plan could not keep the job.", show_default=False
        ),
    ] = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Ends a plan that was applied in shares: deletes, then schema.json, once every shard is done."""
    from metaferry import Job
    from metaferry import finish as finish_plan
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines
    from metaferry.cli.signals import stopping

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    given = None if job is None else Job.load(job, sets or ())
    overrides = sets if sets and job is None else ()
    with stopping(session.say) as stop, session.progress() as progress:
        report = finish_plan(plan, job=given, overrides=overrides, progress=progress, stop=stop)
    if session.as_json:
        session.show_json(report.to_dict())
    else:
        session.show(run_lines(report))
    raise typer.Exit(session.exit_code(report.exit_code, output_is_result=False))


def serve(
    job: JobFile,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="A run so often, the first at once: 15m, 1h30m.", show_default=False
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help='Runs by a cron expression: "*/15 * * * *".', show_default=False),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Whose clocks --cron means; default: UTC.", show_default=False),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Begin up to so much later, by chance; default: 30s, at most a tenth of the period.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "0.0.0.0",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Of /healthz and /metrics; 0: any.")
    ] = 9464,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Syncs again and again, one run at a time, and answers /healthz and /metrics."""
    from metaferry.cli.serve.command import serve_job
    from metaferry.cli.serve.schedule import schedule
    from metaferry.cli.session import Session

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    code = serve_job(
        session,
        job,
        tuple(sets or ()),
        schedule(every, cron, timezone),
        jitter=jitter,
        host=host,
        port=port,
        verbose=verbose,
        log_format=log_format,
    )
    raise typer.Exit(code)


def unlock(
    job: JobFile,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Takes a stuck lease away, naming its holder. A run that still holds it stops writing."""
    from metaferry import Job
    from metaferry import unlock as take_away
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import unlock_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    unlocked = take_away(Job.load(job, sets or ()))
    if session.as_json:
        session.show_json(unlocked.to_dict())
    else:
        session.show(unlock_lines(unlocked))
    raise typer.Exit(session.exit_code(0, output_is_result=False))


def frames(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL...", help="Videos, folders or globs, on any storage.", show_default=False
        ),
    ],
    deadline: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, help="Give a video up after so long.", show_default=False),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="storage.SCHEME.OPTION=VALUE, as in a job file.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format", help="table, or json: a line a video (default in a pipe).", show_default=False
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--level",
            metavar="index|scan|decode",
            help="At most this much work; default: as much as a proof takes.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="How each count was proved.")] = False,
    timestamps: Annotated[
        bool,
        typer.Option("--timestamps", help="The time of every frame in seconds."),
    ] = False,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Counts the frames of videos, exactly or not at all."""
    from metaferry import count_frames
    from metaferry.cli.session import Session
    from metaferry.cli.show.frames import FRAME_TITLES, frame_details, frame_json, frame_line
    from metaferry.job.loader import storage_of

    session = Session(quiet=quiet, verbose=verbose, log_format=log_format)
    lines = format is Format.JSON or (format is None and not session.out.is_terminal)
    if not lines:
        session.show([FRAME_TITLES])
    unproved = 0
    with session.progress() as progress:
        progress.phase("Counting frames", None)
        counts = count_frames(
            urls,
            storage=storage_of(sets or ()),
            deadline=deadline,
            level=cast("Level | None", level),  # what is none of them is refused by the call
            times=timestamps,
            progress=lambda count: progress.advance(1, count.bytes),
        )
        for found in counts:
            unproved += found.frames is None
            if lines:
                session.show_json(frame_json(found, explain=explain, times=timestamps), line=True)
            else:
                session.show([frame_line(found), *frame_details(found, explain=explain, times=timestamps)])
            if session.lost is not None:
                break
        cast("Generator[FrameCount, None, None]", counts).close()  # and with it the frame workers
    raise typer.Exit(session.exit_code(3 if unproved else 0, output_is_result=True))
