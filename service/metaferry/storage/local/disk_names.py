"""Names on disk are bytes. Here they become text, and text becomes them: as UTF-8, whatever the locale.

Python decodes names by the locale, so that under ISO-8859-1 the file `Brücke.png` would be another
one than the `Brücke.png` of a table, and its document an orphan. Every path of a datasource, and
every path that a job file gives, goes through here instead. Bytes that are no UTF-8 become lone
surrogates, and those become the bytes again. A working directory that is gone (deleted while a shell was
in it) matters only to relative paths.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from os import PathLike

from metaferry.errors import UsageError


def to_disk(path: str) -> bytes:
    """The bytes of a path given as text. ValueError where it holds a surrogate that stands for no byte."""
    return path.encode("utf-8", "surrogateescape")


def from_disk(path: str | bytes | PathLike[str]) -> str:
    """The text of a path as Python has it: bytes, or what it decoded by the locale."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:  # it did not decode this one: it is text already
        return os.fsdecode(path)
    return name.decode("utf-8", "surrogateescape")


def absolute(path: str | PathLike[str]) -> str:
    """The text of a path as Python has it, seen from the working directory where it is relative.

    Raises UsageError where that directory is gone.
    """
    try:
        return from_disk(os.path.abspath(to_disk(from_disk(path))))
    except FileNotFoundError:
        raise UsageError(
            f"{from_disk(path)} is relative to the working directory, which is gone",
            advice="go into a folder that is there, or give the whole path",
        ) from None


@contextlib.contextmanager
def a_working_directory() -> Iterator[None]:
    """A working directory that is there while the block runs, for libraries that want one."""
    try:
        os.getcwd()
    except OSError:
        gone = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.chdir("/")
            try:
                yield
            finally:
                os.fchdir(gone)
        finally:
            os.close(gone)
    else:
        yield


def python_agrees() -> bool:
    """Whether Python decodes names as is done here, so that these functions only change the type."""
    return sys.getfilesystemencoding().lower() in ("utf-8", "utf8")
