"""The pieces of an atomic write on a local file system: temporary names, syncing, making folders.

Nothing here decides what is written where; `adapter.py` does.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from metaferry.lightly.key_limits import KeyLimits

#: A temporary file of ours: machine, process, and random digits.
TEMPORARY: Final = re.compile(r"\.metaferry-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{16}\.tmp\Z")

#: Seconds after which a temporary file counts as stale where its process cannot be looked up.
STALE_AFTER: Final = 3600.0


def temporary_name() -> str:
    """A unique file name with the machine and the process that made it."""
    return f".metaferry-{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.tmp"


def is_stale(path: bytes, modified: float, now: float) -> bool:
    """Whether the process that made the file is gone; where that is unknown, whether the file is old.

    A wrong guess costs that process one retry: its rename fails, and it writes again.
    """
    match = TEMPORARY.match(os.path.basename(path).decode(errors="replace"))
    if match is None:
        return False
    if match[1] == _machine():
        try:
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):  # another user's process, or no valid number
            pass
    return now - modified > STALE_AFTER


def limits_of(root: bytes | str) -> KeyLimits:
    """How long names below a folder may be, by its file system: 255 bytes for most, 143 for eCryptfs.

    A missing folder will be on the file system of its parent. The path of the temporary file next to
    each file must fit too.
    """
    folder = os.fsencode(root)
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    try:
        name, path = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    except (OSError, ValueError):
        return KeyLimits()
    below = path - 1 - len(os.fsencode(root)) - 1 - len(temporary_name())
    return KeyLimits(key=below if path > 0 else None, name=name if name > 0 else None)


def write_synced(descriptor: int, data: bytes) -> os.stat_result:
    """Writes the data, syncs it to the device, closes the file; returns its status."""
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        # The kernel's timestamps advance in steps of some milliseconds, and inodes are reused at
        # once: without this, a third version could have the token of the first.
        now = time.time_ns()
        os.utime(descriptor, ns=(now, now))
        os.fsync(descriptor)
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def synced_names(folder: bytes) -> Iterator[int]:
    """Syncs a folder after the block has changed its names; yields its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
        _sync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(root: bytes, folder: bytes) -> None:
    """Creates the folders between `root` (which exists) and `folder`, and syncs them."""
    parent = root
    for segment in os.path.relpath(folder, root).split(b"/"):
        child = os.path.join(parent, segment)
        with contextlib.suppress(FileExistsError), synced_names(parent):
            os.mkdir(child)
        parent = child


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders cannot be synced
            raise


@functools.cache
def _machine() -> str:
    """This boot of this machine, within which process numbers are meaningful."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        boot = ""
    return hashlib.sha256(f"{socket.gethostname()}\n{boot}".encode()).hexdigest()[:8]
