"""A group of processes to which the kernel gives no memory: it kills the first that wants a page more.

With version 1 of control groups, and with version 2 where the group of the tests may have groups below it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

MOUNTED = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class NoMemory:
    """The folder of the group, and its files for the limit and for what happened."""

    folder: Path
    limit: str
    events: str

    def take_in(self, pid: int) -> None:
        """Its memory so far counts elsewhere, what it asks for from now on counts here."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def killed(self) -> int:
        """How many processes of the group the kernel has killed for lack of memory."""
        lines = (self.folder / self.events).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


@contextlib.contextmanager
def no_memory() -> Iterator[NoMemory]:
    """The group; the block ends what it takes in. Skips where no group can be made."""
    try:
        group = _make()
    except (OSError, LookupError) as error:
        pytest.skip(f"no group of processes with a limit of memory can be made here: {error}")
    try:
        yield group
    finally:
        group.folder.rmdir()


def _make() -> NoMemory:
    groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    first = next((path for _, names, path in groups if "memory" in names.split(",")), None)
    if first is not None:
        above = MOUNTED / "memory" / first.lstrip("/")
        names = ("memory.limit_in_bytes", "memory.oom_control")
    else:
        second = next((path for number, _, path in groups if number == "0"), None)
        if second is None:
            raise LookupError("/proc/self/cgroup names neither version of control groups")
        above = MOUNTED / second.lstrip("/")
        (above / "cgroup.subtree_control").write_text("+memory")
        names = ("memory.max", "memory.events")
    group = NoMemory(above / f"metaferry-test-{os.getpid()}", *names)
    group.folder.mkdir()
    try:
        (group.folder / group.limit).write_text("0")
    except OSError:
        group.folder.rmdir()
        raise
    return group
