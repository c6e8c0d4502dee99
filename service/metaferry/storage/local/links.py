"""Symbolic links in the way to a file that is to be written: where they would lead the write.

A datasource's own folder may be reached through links: the job names it. A link below it would lead
writes to a place that nobody named (and a link of `.lightly/metadata/` to the media beside it), so it is
refused, unless the option `linked_folders` names that place. Reading follows links.
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


def link_out(root: bytes, folders: Sequence[bytes], named: Sequence[bytes]) -> tuple[str, str] | None:
    """The first link among the folders below `root`, as its path there, and the place it leads to.

    None where there is none, or where each leads to a place in one of the `named` folders. Folders
    that are missing are no links. Raises OSError.
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
            if not any(_is_below(place, os.path.realpath(each)) for each in named):
                return from_disk(b"/".join(folders[: number + 1])), from_disk(place)
    return None


def _is_below(place: bytes, folder: bytes) -> bool:
    return place == folder or place.startswith(folder.rstrip(b"/") + b"/")
