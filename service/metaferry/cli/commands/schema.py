"""`metaferry schema infer`, `check` and `diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from metaferry.cli.options import (
    Format,
    JobFile,
    Limit,
    LogFormat,
    Logs,
    OutputFormat,
    Prefix,
    Quiet,
    Sets,
    Verbose,
)

schema = typer.Typer(
    name="schema",
    help="Schema entries: proposed from the data, checked, compared with those in place.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@schema.command()
def infer(
    job: JobFile,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Prints entries for the job's tables, ready to paste, each with its reasons.

    YAML for the job file; with --format json, `entries` are those of a schema.json.
    """
    from metaferry import Job, infer_schema
    from metaferry.cli.session import Session
    from metaferry.cli.show.schema import inferred_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = infer_schema(Job.load(job, sets or ()), progress=progress)
    session.end(found, inferred_lines(found), 0, output_is_result=True)


@schema.command()
def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH|URL|JOB",
            help="A schema.json, a datasource, or a job file (.yaml, .yml).",
            show_default=False,
        ),
    ],
    all_documents: Annotated[
        bool, typer.Option("--all", help="Read all documents in place, not only 10,000 of them.")
    ] = False,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Names every fault of a schema.json, and what in the documents in place does not fit it.

    Exits with 4 when there is a fault.
    """
    from metaferry import check_schema
    from metaferry.cli.session import Session
    from metaferry.cli.show.schema import checked_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = check_schema(target, overrides=sets or (), all_documents=all_documents, progress=progress)
    session.end(found, checked_lines(found), found.exit_code, output_is_result=True)


@schema.command()
def diff(
    job: JobFile,
    prefix: Prefix = "",
    limit: Limit = None,
    sets: Sets = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    format: OutputFormat = Format.TABLE,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Says what a sync would change in schema.json. Writes nothing but the cache of frame counts.

    Exits with 4 when it would change it, and with 5 when a safety limit would stop the sync.
    """
    from metaferry import Job, diff_schema
    from metaferry.cli.session import Session
    from metaferry.cli.show.schema import diff_lines

    session = Session(quiet=quiet, verbose=verbose, format=format, log_format=log_format)
    with session.progress() as progress:
        found = diff_schema(Job.load(job, sets or ()), prefix=prefix, limit=limit, progress=progress)
    session.end(found, diff_lines(found), found.exit_code, output_is_result=True)
