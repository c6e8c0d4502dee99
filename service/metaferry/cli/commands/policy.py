"""`metaferry policy`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from metaferry.cli.options import Format, JobFile, LogFormat, Logs, OutputFormat, Quiet, Sets, Verbose


def policy(
    job: JobFile,
    cloud: Annotated[
        Literal["aws", "gcp", "azure"] | None,
        typer.Option("--cloud", help="Default: the one that the job uses.", show_default=False),
    ] = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Prints the least rights for this job as a policy of its cloud; what each is for goes to stderr.

    Opens no storage. docs/policy.md says how each cloud takes it.
    """
    from metaferry import policy as least_rights
    from metaferry.cli.session import Session
    from metaferry.cli.show.view.policy import policy_lines, reason_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    found = least_rights(job, cloud=cloud, overrides=sets or ())
    if not session.as_json:
        for line in reason_lines(found):
            session.say(line)
    session.end(found, policy_lines(found), 0, output_is_result=True)
