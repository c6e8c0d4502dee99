"""Who holds a lease: the record in `lease.json`, and whether that process is still there.

A process id is unique only on one machine, since its last boot, in one PID namespace (each container
counts from 1). `machine` identifies that; where it cannot be known it is "", which equals no other, and
such a lease can only expire. Times of different machines are never compared: `held` is measured by the
holder's monotonic clock.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import math
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

VERSION: Final = 1

#: Characters of a name in a record that are shown at most: the file is not trusted.
_SHOWN: Final = 80
_STATE: Final = 0  # fields of /proc/PID/stat after the name of the command
_THREADS: Final = 17
_STARTED: Final = 19


@dataclass(frozen=True, slots=True)
class Member:
    """One process among those that hold a lease together, in the name of their plan.

    `name` is random; the rest identifies the process, as in `LeaseRecord`.
    """

    name: str
    machine: str = ""
    pid: int = 0
    started: int = 0


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One lease as it is written down. Of a record that cannot be read, what is unknown is empty.

    `holder` is random, so that no two leases are the same. `started` is when the process began, in
    the kernel's ticks since the machine started, 0 where it is not known. `acquired` is the
    holder's time of day, for people only. `held` is how many seconds it had held the lease when it wrote
    this; `renewed` counts the renewals, so that no two versions have the same bytes.

    `members` are those who hold it together, if it is a plan's (`shared.py`); the other fields
    are then of one of them.
    """

    holder: str = ""
    run_id: str = ""
    user: str = ""
    host: str = ""
    pid: int = 0
    machine: str = ""
    started: int = 0
    acquired: str = ""
    held: float = 0.0
    renewed: int = 0
    lease_for: float = 0.0
    members: tuple[Member, ...] = ()
    version: int = VERSION

    @property
    def name(self) -> str:
        """The holder for people: `anna@node-7 (process 4711, run 20261123T040000Z-0a1b2c)`."""
        if not self.holder:
            return "an unknown run, whose lease.json cannot be read"
        others = len(self.members) - 1
        more = f" and {others} other{'s' if others > 1 else ''}" if others > 0 else ""
        return f"{self.user}@{self.host}{more} (process {self.pid}, run {self.run_id})"

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=2).encode() + b"\n"


def this_member(name: str) -> Member:
    """This process as one of those that hold a lease together."""
    return Member(name, machine(), os.getpid(), _started(os.getpid()) or 0)


def joined(holder: LeaseRecord, member: Member) -> LeaseRecord:
    """The record with one more member."""
    others = tuple(m for m in holder.members if m.name != member.name)
    return replace(holder, members=(*others, member))


def left(holder: LeaseRecord, member: Member, *, living: Iterable[str]) -> LeaseRecord:
    """The record without a member, and without those whose processes are known to be gone."""
    rest = (m for m in holder.members if m.name != member.name and not is_member_gone(m, living=living))
    return replace(holder, members=tuple(rest), renewed=holder.renewed + 1)


def is_member_gone(member: Member, *, living: Iterable[str] = ()) -> bool:
    """As `is_gone`, of one member."""
    alone = LeaseRecord(member.name, machine=member.machine, pid=member.pid, started=member.started)
    return is_gone(alone, living=living)


def this_process(holder: str, run_id: str, *, acquired: str, lease_for: float) -> LeaseRecord:
    """The record of a lease that this process takes."""
    return LeaseRecord(
        holder=holder,
        run_id=run_id,
        user=_user(),
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=machine(),
        started=_started(os.getpid()) or 0,
        acquired=acquired,
        lease_for=lease_for,
    )


def read_record(data: bytes, *, lease_for: float) -> LeaseRecord:
    """The record of these bytes. What is damaged is a lease all the same, for `lease_for` seconds."""
    try:
        value = json.loads(data)
        if not isinstance(value, dict) or not isinstance(value.get("holder"), str) or not value["holder"]:
            raise ValueError("this is no lease")
    except ValueError as error:  # not UTF-8 and not JSON are ValueErrors as well
        log.warning("a lease.json that cannot be read, taken for the lease of an unknown run: %s", error)
        return LeaseRecord(lease_for=lease_for)
    stated = _number(value.get("lease_for"))
    return LeaseRecord(
        holder=value["holder"],
        run_id=_text(value.get("run_id")),
        user=_text(value.get("user")),
        host=_text(value.get("host")),
        pid=int(_number(value.get("pid"))),
        machine=_text(value.get("machine")),
        started=int(_number(value.get("started"))),
        acquired=_text(value.get("acquired")),
        held=_number(value.get("held")),
        renewed=int(_number(value.get("renewed"))),
        lease_for=stated if stated > 0 else lease_for,
        members=tuple(_members(value.get("members"))),
    )


def is_gone(holder: LeaseRecord, *, living: Iterable[str] = ()) -> bool:
    """Whether the process that holds it is known to have ended; False where that cannot be known.

    `living` are the leases that this process itself holds: any other lease in its name was left by
    a run that ended without giving it back.
    """
    if holder.members:
        return all(is_member_gone(member, living=living) for member in holder.members)
    if not holder.machine or holder.machine != machine() or holder.pid <= 0 or not holder.started:
        return False
    if holder.pid == os.getpid() and holder.started == _started(os.getpid()):
        return holder.holder not in living
    started = _started(holder.pid)
    if started is not None:
        return started != holder.started  # else another process by now
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # somebody else's process; or no number of one
        return False
    return False  # there, but hidden in /proc


def in_words(seconds: float) -> str:
    """A time for a sentence: `12 s`, `3 min`, `2 h`."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"


@cache
def machine() -> str:
    """The same for processes whose ids may be compared; "" where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    try:
        times = os.readlink("/proc/self/ns/time")  # what `started` counts from
    except OSError:
        times = ""
    return hashlib.sha256("\n".join((socket.gethostname(), boot, numbers, times)).encode()).hexdigest()[:16]


def _started(pid: int) -> int | None:
    """When a process began, in ticks; None where the system does not say.

    0 when it has ended, and only waits for its parent to ask for the exit code.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command's name may hold anything
    if len(fields) <= _STARTED:
        return None
    if fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1:
        return 0
    return int(fields[_STARTED])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        return str(os.getuid())


def _members(value: Any) -> Iterator[Member]:
    """The members; one that cannot be read counts as a member of an unknown machine."""
    for member in value if isinstance(value, list) else ():
        known = member if isinstance(member, dict) else {}
        yield Member(
            _text(known.get("name")),
            _text(known.get("machine")),
            int(_number(known.get("pid"))),
            int(_number(known.get("started"))),
        )


def _text(value: Any) -> str:
    """A name on one line, without what could move a cursor."""
    return "".join(c for c in value if c.isprintable())[:_SHOWN] if isinstance(value, str) else ""


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return number if math.isfinite(number) and number >= 0 else 0.0
