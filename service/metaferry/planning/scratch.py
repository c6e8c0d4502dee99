"""The scratch folder of a run, and those that killed runs left beside it.

Each run has a folder of its own that holds a locked file for as long as the run lives. A folder whose lock
is free is left over from a run that was killed, and the next run removes it. Process ids are not used: on a
disk that containers share they mean nothing, while the kernel releases a lock however the run ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from metaferry.errors import UsageError
from metaferry.storage.local.disk_names import python_agrees
from metaferry.tempfiles import no_temporary_folder

log = logging.getLogger(__name__)

_PREFIX: Final = "metaferry-"
_LOCK: Final = "in-use.lock"


@contextlib.contextmanager
def scratch_folder(parent: str | None) -> Iterator[Path]:
    """A new folder below `parent` (None: the system's), which goes when the block ends.

    Raises UsageError where none can be made, and MetaferryError where the system has none.
    """
    try:
        where = parent or tempfile.gettempdir()
    except FileNotFoundError as error:
        raise no_temporary_folder() from error
    if not where.isascii() and not python_agrees():
        # The engine reads this path as UTF-8, and Python by the locale.
        raise UsageError(
            "scratch: the locale is not a UTF-8 one, and the path of the scratch folder is not ASCII",
            advice="set PYTHONUTF8=1, or name a folder in the job file: scratch: /tmp",
        )
    _remove_left_over(Path(where))
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = _locked_file(folder)
    except OSError as error:
        raise UsageError(
            f"scratch: no folder can be made in {where} ({error.strerror})",
            advice="name a folder with free space in the job file: scratch: /path",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_file(folder: Path) -> int:
    """Gets its name only once it is locked, so that no other run finds it unlocked."""
    made = folder / f"{_LOCK}.new"
    lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a disk without locks: then nothing is ever taken for left over
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        made.rename(folder / _LOCK)
    return lock


def _remove_left_over(parent: Path) -> None:
    """Removes the folders of this user below `parent` whose lock is free."""
    removed = 0
    try:
        found = list(parent.glob(f"{_PREFIX}*"))
    except OSError:
        return
    for folder in found:
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed += 1
            finally:
                os.close(lock)
    if removed:
        log.info("%s: removed %d scratch folders that killed runs left behind", parent, removed)
