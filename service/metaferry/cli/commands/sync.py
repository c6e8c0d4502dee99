"""`metaferry sync`."""

from __future__ import annotations

from typing import Annotated

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
