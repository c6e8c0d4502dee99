"""What all commands share: output, log, progress, signals, and the way from a report to an exit code.

Results go to stdout, everything else to stderr. Colours and progress bars appear on a terminal only,
and colours never under `NO_COLOR`. A command goes on when stdout cannot be written: its exit code is
about what it did (`Session.exit_code`), and a pipe that was closed early is no failure.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import typer
from rich.console import Console
from rich.text import Text

from metaferry.cli.options import Format, LogFormat
from metaferry.cli.show.failures import CLI_LOGGER
from metaferry.cli.show.logs import start_logging
from metaferry.cli.show.progress import Bars, Lines
from metaferry.cli.signals import stopping
from metaferry.cli.streams import PlainConsole, check_stdout, give_up
from metaferry.progress import Progress, Silent, Stop


class Result(Protocol):
    """What a call of the library returns; `to_dict()` is what `--format json` prints."""

    def to_dict(self) -> dict[str, Any]: ...


class Session:
    """Created first by every command from its flags; starts the logging of the process."""

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: int = 0,
        format: Format = Format.TABLE,
        log_format: LogFormat = LogFormat.TEXT,
    ) -> None:
        self.out: Console = PlainConsole()
        self.err: Console = PlainConsole(stderr=True)
        #: Why stdout can no longer be written; None while it can.
        self.lost: OSError | None = None
        self.quiet = quiet
        self.as_json = format is Format.JSON
        self._json_logs = log_format is LogFormat.JSON
        start_logging(self.err, quiet=quiet, verbose=verbose, as_json=self._json_logs)

    @contextmanager
    def running(self) -> Iterator[tuple[Progress, Stop]]:
        """Progress and the stop request for a call that writes; signals set it while the block runs."""
        with stopping(self.say) as stop, self.progress() as progress:
            yield progress, stop

    def end(
        self, result: Result, lines: Iterable[str | Text], code: int, *, output_is_result: bool = False
    ) -> NoReturn:
        """Ends the command: shows the result as `--format` says, then exits with `code`.

        `lines` are the result for people. `output_is_result` as of `exit_code`.
        """
        if self.as_json:
            self.show_json(result.to_dict())
        else:
            self.show(lines)
        raise typer.Exit(self.exit_code(code, output_is_result=output_is_result))

    def show(self, lines: Iterable[str | Text]) -> None:
        """Lines for people, on stdout."""

        def write() -> None:
            for line in lines:
                self.out.print(line)

        self._to_stdout(write)

    def show_json(self, value: Mapping[str, Any], *, line: bool = False) -> None:
        """One JSON object on stdout: indented, or as one line of a list."""
        text = json.dumps(value, ensure_ascii=False, indent=None if line else 2)
        self._to_stdout(lambda: sys.stdout.write(f"{text}\n"))

    def _to_stdout(self, write: Callable[[], object]) -> None:
        if self.lost is not None:
            return
        try:
            check_stdout()
            write()
            sys.stdout.flush()
        except OSError as error:
            self.lost = error
            give_up(sys.stdout)

    def exit_code(self, code: int, *, output_is_result: bool) -> int:
        """The exit code of a command that ends with `code`, given what became of its output.

        output_is_result: the output is all that the command is for, so it fails (1) when the output
        could not be written. A pipe that its reader closed is no failure.
        """
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return code
        why = f"the result could not be written to stdout: {self.lost.strerror}"
        if output_is_result:
            logging.getLogger(CLI_LOGGER).error("%s", why)
            return 1
        logging.getLogger(CLI_LOGGER).warning("%s; the exit code is that of the run", why)
        return code

    def say(self, text: str) -> None:
        """A line for people on stderr; nothing under --quiet."""
        if self.quiet:
            return
        if self._json_logs:
            logging.getLogger(CLI_LOGGER).info("%s", text)
            return
        try:
            self.err.print(text)
        except OSError:  # a full disk or a closed pipe: the run matters more than its messages
            give_up(sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars on a terminal, a line every 30 seconds in a log, nothing under --quiet."""
        if self.quiet:
            yield Silent()
        elif self.err.is_terminal and not self.err.is_dumb_terminal and not self._json_logs:
            with Bars(self.err) as bars:
                yield bars
        else:
            with Lines(self.say) as lines:
                yield lines
