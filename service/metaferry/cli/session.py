"""One call of a command: where its results, its log and its progress go.

Results go to stdout, everything else to stderr. Colour and moving bars only where a terminal is,
and never under `NO_COLOR`. Where stdout cannot be written, the command goes on: what it did decides
its exit code (`Session.exit_code`), and a pipe that closes early is no failure.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from metaferry.cli.options import Format, LogFormat
from metaferry.cli.show.failures import TALK
from metaferry.cli.show.logs import start_logging
from metaferry.cli.show.progress import Bars, Lines
from metaferry.cli.streams import PlainConsole, check_stdout, give_up
from metaferry.progress import Progress, Silent


class Session:
    """Made first by every command, from its flags; starts the logging of the process."""

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
        #: Why nothing more can be written to stdout.
        self.lost: OSError | None = None
        self.quiet = quiet
        self.as_json = format is Format.JSON
        self._json_logs = log_format is LogFormat.JSON
        start_logging(self.err, quiet=quiet, verbose=verbose, as_json=self._json_logs)

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
        """The exit code of a command that ends with `code`, in view of what became of its output.

        output_is_result: the command did nothing else than to say something, so that output which
        could not be written is a failure (1). Nobody read on where a pipe was closed: that is none.
        """
        if self.lost is None or isinstance(self.lost, BrokenPipeError):
            return code
        why = f"the result could not be written to stdout: {self.lost.strerror}"
        if output_is_result:
            logging.getLogger(TALK).error("%s", why)
            return 1
        logging.getLogger(TALK).warning("%s; the exit code is that of the run", why)
        return code

    def say(self, text: str) -> None:
        """A line for people on stderr; not under --quiet."""
        if self.quiet:
            return
        if self._json_logs:
            logging.getLogger(TALK).info("%s", text)
            return
        try:
            self.err.print(text)
        except OSError:  # a full disk, or nobody there: what is done matters more than what is said of it
            give_up(sys.stderr)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Bars on a terminal; in a log a line every 30 seconds; nothing under --quiet."""
        if self.quiet:
            yield Silent()
        elif self.err.is_terminal and not self.err.is_dumb_terminal and not self._json_logs:
            with Bars(self.err) as bars:
                yield bars
        else:
            with Lines(self.say) as lines:
                yield lines
