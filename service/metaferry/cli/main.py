"""The command line: `main()` is what the installed `metaferry` runs.

The commands are in `commands/`. This module does what holds for all of them: it turns an error into
one message and an exit code, and imports nothing heavy to show a help text.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Annotated, NoReturn

import typer

from metaferry.cli.commands.check import check
from metaferry.cli.commands.demo import demo
from metaferry.cli.commands.doctor import doctor
from metaferry.cli.commands.export import export
from metaferry.cli.commands.finish import finish
from metaferry.cli.commands.frames import frames
from metaferry.cli.commands.init import init
from metaferry.cli.commands.plan import plan
from metaferry.cli.commands.policy import policy
from metaferry.cli.commands.report import report
from metaferry.cli.commands.rollback import rollback
from metaferry.cli.commands.schema import schema
from metaferry.cli.commands.select import select
from metaferry.cli.commands.serve import serve
from metaferry.cli.commands.sync import sync
from metaferry.cli.commands.tables import tables
from metaferry.cli.commands.unlock import unlock
from metaferry.cli.show.failures import close_streams, report_failure, wants_json
from metaferry.storage.local.disk_names import python_agrees

EXIT_CODES = """\
Exit codes: 0 done; 1 failed; 2 usage or job file; 3 done, but rows were rejected, documents
failed, or invalid ones were left out (export), or a selection config is not feasible (select);
4 changes pending (plan --exit-code, schema diff, check), or faults (check, schema check); 5 a safety
limit stopped it before the first write; 11 another run holds the lease, or took it; 130 and 143
interrupted and drained, run it again.\
"""

app = typer.Typer(
    name="metaferry",
    help="Keeps the .lightly/metadata of a datasource in step with the tables it comes from.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    init,
    demo,
    doctor,
    policy,
    plan,
    sync,
    finish,
    rollback,
    serve,
    unlock,
    frames,
    check,
    export,
    report,
    select,
    tables,
):
    app.command()(_command)
app.add_typer(schema)


def _version(wanted: bool) -> None:
    if wanted:
        from metaferry.version import __version__

        typer.echo(f"metaferry {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Runs the command of `sys.argv` and exits the process with its code."""
    if not python_agrees():
        _start_in_utf8_mode()
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        from metaferry.cli.streams import open_streams

        open_streams()
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal cannot encode must not fail the run.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    # A run creates millions of small objects and hardly a cycle: the default thresholds cost 10% of its time.
    gc.set_threshold(50_000, 20, 100)
    try:
        # Where the log is JSON, usage errors come here instead of being printed as text.
        code: int | str | None = app(prog_name="metaferry", standalone_mode=not wants_json(sys.argv[1:])) or 0
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:  # noqa: BLE001 - the one place where every error ends
        code = 0 if isinstance(error, BrokenPipeError) else report_failure(error, sys.argv[1:])
    if not close_streams() and code == 0:
        code = 1
    sys.exit(code)


def _start_in_utf8_mode() -> None:
    """Replaces this process by the same command in Python's UTF-8 mode.

    Otherwise the locale would decode names on the command line, and those that libraries open, differently
    from those in tables and job files. If exec fails the command continues: files of a datasource are
    named by their bytes in any case.
    """
    os.environ["PYTHONUTF8"] = "1"  # for the processes that a run starts
    with contextlib.suppress(OSError):
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
