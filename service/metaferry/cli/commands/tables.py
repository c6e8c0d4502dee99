"""`metaferry tables`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def tables(
    target: Annotated[
        str,
        typer.Argument(
            metavar="JOB|URL",
            help="A job file (.yaml, .yml), or the URL of a table or of annotations.",
            show_default=False,
        ),
    ],
    reader: Annotated[
        str,
        typer.Option(metavar="NAME", help="The reader of a URL: coco … Default: found.", show_default=False),
    ] = "",
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Shows what tables and annotations hold: relations, columns, types, three rows, a query to start from.

    Reads, and writes nothing.
    """
    from metaferry import describe_tables
    from metaferry.cli.session import Session
    from metaferry.cli.show.view.tables import described_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = describe_tables(target, reader=reader, overrides=sets or (), progress=progress)
    session.end(found, described_lines(found), 0, output_is_result=True)
