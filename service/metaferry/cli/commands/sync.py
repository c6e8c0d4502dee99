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
        typer.Option(metavar="DIR", help="Apply the plan kept here.", show_default=False),
    ] = None,
    shard_index: Annotated[
        int | None,
        typer.Option(
            metavar="I",
            min=0,
            help="With --num-shards: the index of this share, from 0; default: JOB_COMPLETION_INDEX.",
            show_default=False,
        ),
    ] = None,
    num_shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Write only every N-th shard of the plan; `finish` completes it.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="local|dask|dask=ADDRESS",
            help="Where writers run: on this machine, in a Dask cluster started here, or in an existing one.",
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
    """Brings the documents in line with the tables: writes only what changed, schema.json last."""
    from metaferry import Job
    from metaferry import sync as run_sync
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines, shard_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.running() as (progress, stop):
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
    lines = shard_lines(report) if report.shards_here else run_lines(report)
    session.end(report, lines, report.exit_code)
