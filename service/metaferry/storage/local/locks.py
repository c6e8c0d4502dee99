"""Locks on a local file system: who changes a name holds the file that has it.

A replacement locks the file that is in place, checks that it still has the name, and renames over it:
whoever waited for the same file then finds another one. So two processes (and two threads) that mean the
same document exclude each other, and one that was suspended in the middle holds up that document alone.
Only where there is no file to lock, and no hard link to create one with, the folder is locked.
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

#: Seconds to wait for a lock. It is held for a rename: only a process that was suspended holds it longer.
LOCK_WITHIN: Final = 2.0

#: States of a process in which it holds a lock for long, as /proc has them.
_STATES: Final = {"T": ", suspended", "t": ", suspended", "D": ", waiting for the disk"}


class StillLocked(TimeoutError):
    """Somebody else kept the lock for `LOCK_WITHIN`. `holder` names the process, as far as it is known."""

    def __init__(self, holder: str) -> None:
        super().__init__(errno.ETIMEDOUT, "it stays locked")
        self.holder = holder


@contextlib.contextmanager
def in_place(target: bytes, folder: int) -> Iterator[os.stat_result | None]:
    """What has this name now, while the block runs; None where nothing has it, and then nothing is locked.

    Other metaferry processes and threads leave a file alone that is given here. `folder` is an open
    descriptor of its folder, which is locked where the file cannot be opened. Raises StillLocked.
    """
    while True:
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            if not os.path.lexists(target):
                yield None
                return
            with locked(folder):  # one that may not be read, or a link to nothing
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

    Raises StillLocked when somebody else has it for `LOCK_WITHIN`, as a process does that was suspended
    in the middle of a rename. The kernel's own wait has no end, so it is asked again.
    """
    until = time.monotonic() + LOCK_WITHIN
    asking = threading.Event()
    pause = 0.000_5
    while not _try_lock(descriptor):
        if time.monotonic() > until:
            raise StillLocked(holder_of(descriptor))
        asking.wait(pause)
        pause = min(2 * pause, 0.05)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def holder_of(descriptor: int) -> str:
    """Who has the lock of an open file, in words: its process where the system tells (Linux)."""
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
    # Some file systems show another device to stat than the kernel has.
    alike = [fields[3] for fields in flocks if fields[4].endswith(f":{status.st_ino}")]
    for pid in exact or alike:
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
    """What the name leads to, or the link itself where that leads to nothing; None where nothing has it."""
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
        # Where a file system knows no locks (some network mounts) names are changed without one:
        # a put is still atomic, only the check before it can race.
        pass
    return True
