"""`metaferry report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Target, Verbose


def report(
    target: Target,
    file: Annotated[
        str,
        typer.Option("--out", "-o", metavar="OUT.html", help="The page, or its URL.", show_default=False),
    ],
    drift: Annotated[
        bool,
        typer.Option(
            "--drift/--no-drift",
            help="With a job: plan it, too, and show what a sync would do, with its price.",
        ),
    ] = True,
    selection: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A selection config (v4): show what it can have, as `select` says it.",
            show_default=False,
        ),
    ] = None,
    thumbnails: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Show small pictures of N images and videos, which are read for it; up to 500. "
            "Whoever gets the page sees them.",
        ),
    ] = 0,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Makes one page about the metadata of a datasource: coverage, every entry, findings; works offline."""
    from metaferry import report as make_report
    from metaferry.cli.session import Session
    from metaferry.cli.show.report import page_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        made = make_report(
            target,
            file,
            overrides=sets or (),
            drift=drift,
            selection=selection,
            thumbnails=thumbnails,
            progress=progress,
        )
    session.end(made, page_lines(made), 0)
