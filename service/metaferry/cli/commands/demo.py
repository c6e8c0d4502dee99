"""`metaferry demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to make it.")] = Path(
        "metaferry-demo"
    ),
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Makes a small real dataset and syncs it: images, videos, three tables, 1,235 documents."""
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import run_lines
    from metaferry.cli.signals import stopping
    from metaferry.cli.starting import make_demo, tree_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    path, dataset = make_demo(folder, session.say)
    from metaferry import Job, sync

    with stopping(session.say) as stop, session.progress() as progress:
        report = sync(Job.load(path, sets or ()), progress=progress, stop=stop)
    if session.as_json:
        session.show_json(report.to_dict())
    else:
        session.show(tree_lines(dataset))
        session.show(run_lines(report))
    raise typer.Exit(session.exit_code(report.exit_code, output_is_result=False))
