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
    """Creates a small real dataset, syncs it and reports on it: images, videos, tables, 1,235 documents."""
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines
    from metaferry.cli.starting import make_demo, tree_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    path, dataset = make_demo(folder, session.say)
    from metaferry import Job, sync
    from metaferry import report as make_report

    job, page = Job.load(path, sets or ()), folder / "report.html"
    with session.running() as (progress, stop):
        report = sync(job, progress=progress, stop=stop)
        # A second call changes nothing.
        if report.exit_code in (0, 3) and (report.changes or report.schema.written or not page.exists()):
            make_report(job, page, drift=False, progress=progress)
    if page.exists():
        report.page_url = str(page)
    session.end(report, itertools.chain(tree_lines(dataset), run_lines(report)), report.exit_code)
