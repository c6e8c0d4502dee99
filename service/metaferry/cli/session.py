"""One call of a command: where its results, its log and its progress go.

Results go to stdout, everything else to stderr. Colour and moving bars only where a terminal is,
and never under `NO_COLOR`. A pipe that closes early ends the command quietly.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text

from metaferry.cli.failures import TALK
from metaferry.cli.logs import start_logging
from metaferry.cli.options import Format, LogFormat
from metaferry.cli.progress import Bars, Lines
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
        plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
        self.out = Console(**plain)
        self.err = Console(stderr=True, **plain)
        self.quiet = quiet
        self.as_json = format is Format.JSON
        self._json_logs = log_format is LogFormat.JSON
        start_logging(self.err, quiet=quiet, verbose=verbose, as_json=self._json_logs)

    def show(self, lines: Iterable[str | Text]) -> None:
        """Lines for people, on stdout."""
        for line in lines:
            self.out.print(line)

    def show_json(self, value: Mapping[str, Any], *, line: bool = False) -> None:
        """One JSON object on stdout: indented, or as one line of a list."""
        text = json.dumps(value, ensure_ascii=False, indent=None if line else 2)
        sys.stdout.write(f"{text}\n")
        if line:
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line for people on stderr; not under --quiet."""
        if self.quiet:
            return
        if self._json_logs:
            logging.getLogger(TALK).info("%s", text)
        else:
            self.err.print(text)

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
