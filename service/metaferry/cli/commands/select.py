"""`metaferry select`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Target, Verbose


def select(
    target: Target,
    config: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The selection config (v4), as YAML or JSON.", show_default=False),
    ],
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Says whether the metadata in place can meet a selection config, and why not. Forecasts nothing.

    Exits with 3 when it cannot.
    """
    from metaferry import select as preview
    from metaferry.cli.session import Session
    from metaferry.cli.show.select import selection_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = preview(target, config, overrides=sets or (), progress=progress)
    session.end(found, selection_lines(found), found.exit_code, output_is_result=True)
