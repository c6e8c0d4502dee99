"""Temporary files without a name, also where no folder takes them."""

from __future__ import annotations

import os
import tempfile
from typing import IO

from metaferry.errors import MetaferryError


def temporary_file() -> IO[bytes]:
    """A file for reading and writing that goes when it is closed: in a temporary folder, else in memory.

    Raises MetaferryError where neither can be had.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        try:
            return os.fdopen(os.memfd_create("metaferry"), "w+b")
        except (OSError, AttributeError):  # not Linux
            raise no_temporary_folder() from error


def no_temporary_folder() -> MetaferryError:
    """What to say where Python finds no folder for temporary files that can be written."""
    return MetaferryError(
        "there is no folder for temporary files that can be written (TMPDIR, /tmp, /var/tmp)",
        advice="name one: scratch: /path in the job file, or TMPDIR in the environment",
    )
