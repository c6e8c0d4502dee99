"""`metaferry check`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from metaferry.cli.options import Format, LogFormat, Logs, OutputFormat, Quiet, Sets, Target, Verbose


def check(
    target: Target,
    sample: Annotated[
        str,
        typer.Option(
            "--sample",
            metavar="SAMPLE",
            help="Read some documents only: a share (1%), a part (3/7), or a number of them (10000).",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Another number takes another sample.")] = 0,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="Parquet of all findings: a file, or its URL.",
            show_default=False,
        ),
    ] = "",
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Reads the documents in place as their consumer does, and says what a sync of the job would change.

    Writes nothing but the cache of frame counts. Exits with 4 when something is invalid or a sync would
    change something; media without documents alone are no fault. With --format json: a line a finding, then
    one of the result.
    """
    from metaferry.api_view import open_check
    from metaferry.cli.session import Session
    from metaferry.cli.show.view.check import check_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with (
        session.progress() as progress,
        open_check(
            target, sample=sample, seed=seed, out=out, overrides=sets or (), progress=progress
        ) as checked,
    ):
        report = checked.report
        if session.as_json:
            for finding in checked.findings():
                session.show_json({"type": "finding", **asdict(finding)}, line=True)
    if session.as_json:
        session.show_json({"type": "result", **report.to_dict()}, line=True)
    else:
        session.show(check_lines(report))
    raise typer.Exit(session.exit_code(report.exit_code, output_is_result=True))
