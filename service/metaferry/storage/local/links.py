"""Symbolic links on the path of a file to write, and where they lead.

The folder of a datasource may itself be reached through links: the job gives it. A link below it would lead
writes to a place that the job does not give (or, as a link from `.lightly/metadata/`, to the media), so it is
refused, unless the option `linked_folders` lists that place. Reading follows links.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from metaferry.storage.local.disk_names import from_disk

OPTION: Final = "linked_folders"
ADVICE: Final = (
    "name that place in the job: storage: {file: {%s: [%s]}}; or name it as the datasource (`lightly`)"
)


def link_out(root: bytes, folders: Sequence[bytes], allowed: Sequence[bytes]) -> tuple[str, str] | None:
    """The first link among the folders below `root`, as its path below it, and its target.

    None where there is none, or where all lead into one of the `allowed` folders. Missing folders are no
    links. Raises OSError.
    """
    at = root
    for number, folder in enumerate(folders):
        at = os.path.join(at, folder)
        try:
            status = os.lstat(at)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(status.st_mode):
            place = os.path.realpath(at)
            if not any(_is_below(place, os.path.realpath(each)) for each in allowed):
                return from_disk(b"/".join(folders[: number + 1])), from_disk(place)
    return None


def _is_below(place: bytes, folder: bytes) -> bool:
    return place == folder or place.startswith(folder.rstrip(b"/") + b"/")
