"""The standard streams of the process: closed streams, full disks and broken pipes."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from rich.console import Console

_closed: set[int] = set()


def open_streams() -> None:
    """Opens the null device in place of standard streams that the process was started without.

    Otherwise the next file that is opened would get their number, and output would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(number)
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, as a rule this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def check_stdout() -> None:
    """Raises OSError if the process was started without a standard output."""
    if 1 in _closed:
        raise OSError(errno.EBADF, "it is closed")


def give_up(stream: Any) -> None:
    """Redirects the stream to the null device: the interpreter flushes its buffer again at exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):  # no real file descriptor, as in a test
        return


class PlainConsole(Console):
    """A console without markup that raises BrokenPipeError where rich would exit the process."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
