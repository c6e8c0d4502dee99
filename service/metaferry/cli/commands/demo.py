"""`metaferry demo`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder to create.")] = Path(
        "metaferry-demo"
    ),
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Creates a small real dataset and syncs it: images, videos, three tables, 1,235 documents."""
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines
    from metaferry.cli.starting import make_demo, tree_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    path, dataset = make_demo(folder, session.say)
    from metaferry import Job, sync

    with session.running() as (progress, stop):
        report = sync(Job.load(path, sets or ()), progress=progress, stop=stop)
    session.end(report, itertools.chain(tree_lines(dataset), run_lines(report)), report.exit_code)
