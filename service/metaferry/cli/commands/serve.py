"""`metaferry serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def serve(
    job: JobFile,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time between runs, the first starts at once: 15m, 1h30m.",
            show_default=False,
        ),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR", help='Run at the times of a cron expression: "*/15 * * * *".', show_default=False
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="Time zone of --cron; default: UTC.", show_default=False),
    ] = None,
    jitter: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Random delay before each run, up to this; default: 30s, at most a tenth of the period.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port of /healthz and /metrics; 0: any free port."
        ),
    ] = 9464,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Show the page of the last run at /report: it has values of your data."
        ),
    ] = False,
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
        report=report,
    )
    raise typer.Exit(code)
