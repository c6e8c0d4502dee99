"""`metaferry rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def rollback(
    job: JobFile,
    run: Annotated[
        str, typer.Option("--run", metavar="ID", help="The run to take back.", show_default=False)
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without, only show what it would do.")
    ] = False,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Brings back what a run replaced or deleted, and deletes what it created; a plan first.

    For runs of a job with `backup`. Documents that are not as that run left them are named and not touched.
    """
    from metaferry import Job
    from metaferry import rollback as roll_back
    from metaferry.cli.session import Session
    from metaferry.cli.show.rollback import rollback_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    loaded = Job.load(job, sets or ())
    with session.running() as (progress, stop):
        report = roll_back(loaded, run, apply=apply, progress=progress, stop=stop)
    session.end(report, rollback_lines(report), report.exit_code, output_is_result=not apply)
