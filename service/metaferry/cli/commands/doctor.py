"""`metaferry doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def doctor(
    job: JobFile,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write nothing at all; checks that write are skipped.")
    ] = False,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Checks whether a job can run here: rights, stores, tables, this machine; each with its remedy.

    Writes below the doctor/ of the state folder alone, and removes it again. Exits with 1 when a check fails.
    """
    from metaferry import doctor as examine
    from metaferry.cli.session import Session
    from metaferry.cli.show.view.doctor import doctor_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = examine(job, overrides=sets or (), read_only=read_only, progress=progress)
    session.end(found, doctor_lines(found), found.exit_code, output_is_result=True)
