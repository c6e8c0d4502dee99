"""The standard streams of the process: closed ones, full ones, and pipes that nobody reads any more."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from rich.console import Console

_closed: set[int] = set()


def open_streams() -> None:
    """Puts something in the place of streams that the process was started without.

    Else the first file that is opened gets their number, and what is said is written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def check_stdout() -> None:
    """Raises OSError where the process was started without a standard output."""
    if 1 in _closed:
        raise OSError(errno.EBADF, "it is closed")


def give_up(stream: Any) -> None:
    """Sends what the stream still holds nowhere: the interpreter flushes it once more at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # no file of the system, as in a test
        return


class PlainConsole(Console):
    """A console without markup that raises BrokenPipeError where rich's own ends the process."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
