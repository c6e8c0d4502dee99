"""`metaferry export`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Target, Verbose


def export(
    target: Target,
    file: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="The file, or its URL: .parquet, .csv, .jsonl; the last two also with .gz or .zst behind.",
            show_default=False,
        ),
    ],
    as_written: Annotated[
        bool,
        typer.Option(
            "--as-written",
            help="What each document itself says. Parquet comes with a job that reads it back.",
        ),
    ] = False,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Writes the metadata of a datasource as one table: rows are media and frames, columns schema entries.

    Defaults are applied, and frames have the values of their video. Exits with 3 when a document is invalid
    and was left out.
    """
    from metaferry import export_file
    from metaferry.cli.session import Session
    from metaferry.cli.show.view.export import export_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = export_file(target, file, as_written=as_written, overrides=sets or (), progress=progress)
    session.end(found, export_lines(found), found.exit_code)
