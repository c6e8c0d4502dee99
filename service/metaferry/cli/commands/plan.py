"""`metaferry plan`."""

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


def plan(
    job: JobFile,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the plan in the state folder, to apply it later.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Keep it in this folder instead, as Parquet.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=9_999,
            help="Of a kept plan: at least this many shards, which can be applied separately.",
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
    """Shows what a sync would do, and why. Writes nothing but the cache of frame counts, and a plan."""
    from metaferry import Job
    from metaferry import plan as make_plan
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import plan_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        report = make_plan(
            Job.load(job, sets or ()),
            prefix=prefix,
            limit=limit,
            out=out,
            keep=keep,
            shards=shards,
            progress=progress,
        )
    pending = bool(report.changes or report.schema.written)
    code = 4 if exit_code and pending and report.exit_code == 0 else report.exit_code
    session.end(report, plan_lines(report), code, output_is_result=True)
