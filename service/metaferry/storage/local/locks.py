"""Locks on a local file system: changing a name requires the lock of the file that has it.

A replacement locks the file in place, checks that it still has the name, and renames over it: a process
that waited for that lock then finds another file, and locks that one. So processes and threads that write
the same document exclude each other, and one that is suspended meanwhile blocks that document only. The
folder is locked only where there is no file to lock and a hard link cannot create it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Seconds to wait for a lock. It is held during a rename: only a suspended process holds it longer.
LOCK_WITHIN: Final = 2.0

#: States of a process in which it holds a lock for long, as /proc has them.
_STATES: Final = {"T": ", suspended", "t": ", suspended", "D": ", waiting for the disk"}


class StillLocked(TimeoutError):
    """Another process kept the lock for `LOCK_WITHIN`. `holder` describes it, as far as known."""

    def __init__(self, holder: str) -> None:
        super().__init__(errno.ETIMEDOUT, "it stays locked")
        self.holder = holder


@contextlib.contextmanager
def in_place(target: bytes, folder: int) -> Iterator[os.stat_result | None]:
    """Locks the file of this name while the block runs, and yields its status; None where there is none.

    Other metaferry processes and threads do not change the file meanwhile. `folder` is an open descriptor
    of its folder, which is locked where the file cannot be opened. Raises StillLocked.
    """
    while True:
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            if not os.path.lexists(target):
                yield None
                return
            with locked(folder):  # an unreadable file, or a dangling link
                yield _status(target)
            return
        try:
            with locked(descriptor):
                status, named = os.fstat(descriptor), _status(target)
                if named is not None and (named.st_dev, named.st_ino) == (status.st_dev, status.st_ino):
                    yield status
                    return
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(descriptor: int) -> Iterator[None]:
    """Holds the lock of an open file or folder while the block runs.

    Raises StillLocked when another process keeps it for `LOCK_WITHIN`, as one that was suspended during
    a rename. The kernel's own wait has no time limit, so the lock is polled.
    """
    until = time.monotonic() + LOCK_WITHIN
    polling = threading.Event()
    pause = 0.000_5
    while not _try_lock(descriptor):
        if time.monotonic() > until:
            raise StillLocked(holder_of(descriptor))
        polling.wait(pause)
        pause = min(2 * pause, 0.05)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def holder_of(descriptor: int) -> str:
    """The process that has the lock of an open file, in words; known on Linux."""
    status = os.fstat(descriptor)
    here = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return "another process"
    # NUMBER: FLOCK ADVISORY WRITE PID DEVICE:INODE START END; one that waits has an arrow.
    locks = [line.split()[1:] for line in lines]
    flocks = [fields for fields in locks if len(fields) >= 5 and fields[0] == "FLOCK"]
    exact = [fields[3] for fields in flocks if fields[4] == here]
    # On some file systems stat shows another device than /proc/locks.
    same_inode = [fields[3] for fields in flocks if fields[4].endswith(f":{status.st_ino}")]
    for pid in exact or same_inode:
        if pid.isdigit() and pid != "0":  # 0: of another container
            return _in_words(int(pid))
    return "another process"


def _in_words(pid: int) -> str:
    if pid == os.getpid():
        return "another thread of this process"
    try:
        head, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return f"process {pid}"
    name = "".join(c for c in head.partition("(")[2] if c.isprintable())
    return f"process {pid} ({name}{_STATES.get(rest.strip()[:1], '')})"


def _status(target: bytes) -> os.stat_result | None:
    """The status of the target, or of the link itself where it dangles; None for a free name."""
    for look in (os.stat, os.lstat):
        with contextlib.suppress(OSError):
            return look(target)
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # On file systems without locks (some network mounts) names are changed without one: a put is
        # still atomic, but its precondition can race.
        pass
    return True
