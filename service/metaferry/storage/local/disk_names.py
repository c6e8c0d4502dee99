"""Converts file names on disk, which are bytes, to text and back: as UTF-8, whatever the locale.

Python decodes names by the locale, so that under ISO-8859-1 the file `Brücke.png` would differ from
`Brücke.png` in a table, and its document would be an orphan. Every path of a datasource and every path in a
job file is converted here instead. Bytes that are no UTF-8 become lone surrogates and back. A deleted
working directory matters only to relative paths.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from os import PathLike

from metaferry.errors import UsageError


def to_disk(path: str) -> bytes:
    """The bytes of a path given as text. ValueError for a surrogate that stands for no byte."""
    return path.encode("utf-8", "surrogateescape")


def from_disk(path: str | bytes | PathLike[str]) -> str:
    """The text of a path as Python has it: bytes, or what it decoded by the locale."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:  # not decoded by Python: it is text already
        return os.fsdecode(path)
    return name.decode("utf-8", "surrogateescape")


def absolute(path: str | PathLike[str]) -> str:
    """The absolute path as text; a relative one is resolved from the working directory.

    Raises UsageError where that directory was deleted.
    """
    try:
        return from_disk(os.path.abspath(to_disk(from_disk(path))))
    except FileNotFoundError:
        raise UsageError(
            f"{from_disk(path)} is relative to the working directory, which was deleted",
            advice="change to an existing folder, or give the absolute path",
        ) from None


@contextlib.contextmanager
def a_working_directory() -> Iterator[None]:
    """Provides an existing working directory while the block runs, for libraries that need one."""
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
    """Whether Python decodes names in the same way, so that these functions only change the type."""
    return sys.getfilesystemencoding().lower() in ("utf-8", "utf8")
