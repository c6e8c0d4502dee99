"""`metaferry finish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def finish(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="The folder of the plan.", show_default=False)],
    job: Annotated[
        Path | None,
        typer.Option(metavar="JOB", help="The job file, if the plan could not keep it.", show_default=False),
    ] = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Completes a plan that was applied in shares: once every shard is done, deletes, then schema.json."""
    from metaferry import Job
    from metaferry import finish as finish_plan
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    given = None if job is None else Job.load(job, sets or ())
    overrides = sets if sets and job is None else ()
    with session.running() as (progress, stop):
        report = finish_plan(plan, job=given, overrides=overrides, progress=progress, stop=stop)
    session.end(report, run_lines(report), report.exit_code)
