"""`metaferry unlock`."""

from __future__ import annotations

import typer

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def unlock(
    job: JobFile,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Takes a stuck lease away, naming its holder. A run that still holds it stops writing."""
    from metaferry import Job
    from metaferry import unlock as take_away
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import unlock_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    unlocked = take_away(Job.load(job, sets or ()))
    if session.as_json:
        session.show_json(unlocked.to_dict())
    else:
        session.show(unlock_lines(unlocked))
    raise typer.Exit(session.exit_code(0, output_is_result=False))
