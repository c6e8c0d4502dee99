"""`metaferry unlock`."""

from __future__ import annotations

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def unlock(
    job: JobFile,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Removes a stuck lease and names its holder. A run that still holds it stops writing."""
    from metaferry import Job
    from metaferry import unlock as remove_lease
    from metaferry.cli.session import Session
    from metaferry.cli.show.render import unlock_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    unlocked = remove_lease(Job.load(job, sets or ()))
    session.end(unlocked, unlock_lines(unlocked), 0)
