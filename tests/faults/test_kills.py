"""A run that ends before or after any of its storage calls, all of them in turn; then it is run again.

In this process a kill is an exception that nobody handles, after which no call reaches a store; in
a process of its own it is SIGKILL.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from e2e.world import ENVIRONMENT
from faults.invariants import check, converges, is_done, look
from faults.site import STATE, Disk, LocalDisk, MemoryDisk, Ran, furnished
from metaferry.lightly.names import SCHEMA
from metaferry.storage.protocol import Adapter
from metaferry.storage.testing.faulty import Call, Faults
from metaferry.storage.testing.rules import PUTS, Kill, Meddle, Rule

TESTS = Path(__file__).parent.parent
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]+")


def story(ran: Ran) -> list[tuple[str, str]]:
    """What was asked, in order. Documents and videos come in any order, and runs have their own names."""

    def name(call: Call) -> str:
        if call.path.endswith(".mp4"):
            return "a video"
        if call in ran.writes and call.path != SCHEMA:
            return "a document"
        return _RUN_ID.sub("ID", call.path)

    return [(call.operation, name(call)) for call in ran.faults.calls]


def state_of(objects: dict[str, bytes]) -> frozenset[tuple[str, bytes]]:
    """What the next run finds. Of the state folder the names: its content follows from the documents."""
    return frozenset(
        (_RUN_ID.sub("ID", key), b"" if f"data/{STATE}" in key else data) for key, data in objects.items()
    )


@pytest.mark.slow
def test_killed_at_every_call(disk: Disk) -> None:
    site = furnished(disk)
    site.settings = {"concurrency": 1}  # the same calls in the same order
    start = site.disk.objects()
    before = look(site)
    ran = site.sync()
    check(site, before, ran)
    is_done(site, before, ran)
    clean, calls = site.documents(), story(ran)
    assert {operation for operation, _ in calls} == {"list", "read", "put", "delete"}
    writes = sum(operation in ("put", "delete") for operation, _ in calls)
    assert writes > 15

    proved: set[frozenset[tuple[str, bytes]]] = set()
    # Where a call is done as a whole or not at all, before it is after the one before it.
    instants = ("before", "after") if isinstance(disk, LocalDisk) else ("after",)
    for number, when in product(range(len(calls)), instants):
        site.reset(start)
        killed = site.sync([Rule(fault=Kill("before" if when == "before" else "after"), number=number)])
        assert killed.killed
        assert story(killed) == calls[: number + 1]
        check(site, before, killed)
        last = number if when == "before" else number + 1
        assert (site.documents()[SCHEMA] == clean[SCHEMA]) == (("put", SCHEMA) in calls[:last])
        state = state_of(site.disk.objects())
        if state not in proved:  # what a run finds decides what it does
            proved.add(state)
            converges(site, clean)
    assert len(proved) > writes / 2, "a write makes a state of its own, or nothing new"


@pytest.mark.slow
def test_killed_with_many_writes_under_way(disk: Disk) -> None:
    """What is under way when it ends may be done or not; either way the next run makes it right."""
    site = furnished(disk)
    site.settings = {"concurrency": 8}
    start = site.disk.objects()
    before = look(site)
    writes = [call.number for call in site.sync().writes]
    clean = site.documents()
    for number in writes[::6]:
        site.reset(start)
        killed = site.sync([Rule(fault=Kill("after"), number=number)])
        assert killed.killed
        check(site, before, killed)
        converges(site, clean)


@pytest.mark.slow
def test_killed_again_and_again() -> None:
    """Where listings prove what is there, each run gets one document further than the one before."""
    site = furnished(MemoryDisk())
    site.settings = {"concurrency": 1}
    start = site.disk.objects()
    site.sync()
    clean = site.documents()
    site.reset(start)
    kill = Rule(fault=Kill("after"), path=r"^\.lightly/", operations=PUTS)
    wrong = [target for target, data in clean.items() if site.documents().get(target) != data]
    for _ in wrong:  # `schema.json` is the last of them
        before = look(site)
        ran = site.sync([kill])
        check(site, before, ran)
        assert ran.killed
    assert site.documents()[SCHEMA] == clean[SCHEMA]
    converges(site, clean)


# -- a process of its own

CHILD = """
import os, signal, sys
from pathlib import Path
from faults.test_kills import furnish_again, sigkill_at
site = furnish_again(Path(sys.argv[1]))
site.sync(sigkill_at(int(sys.argv[2]), sys.argv[3]))
"""


def furnish_again(folder: Path):  # type: ignore[no-untyped-def]
    """The site in a folder that another process has furnished."""
    site = furnished(LocalDisk(folder / "unused"))
    site.disk = LocalDisk(folder / "site")
    site.settings = {"concurrency": 1}
    return site


def sigkill_at(number: int, when: str) -> list[Rule]:
    async def end(adapter: Adapter) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return [Rule(fault=Meddle(end, "before" if when == "before" else "after"), number=number)]


@pytest.mark.slow
def test_sigkill_between_two_calls(tmp_path: Path) -> None:
    site = furnished(LocalDisk(tmp_path / "site"))
    site.settings = {"concurrency": 1}
    start = site.disk.objects()
    before = look(site)
    numbers = [call.number for call in site.sync().faults.calls if call.operation in ("put", "delete")]
    clean = site.documents()
    for number, when in [(numbers[1], "after"), (numbers[7], "before"), (numbers[-6], "after")]:
        site.reset(start)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path), str(number), when],
            env={**ENVIRONMENT, "PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{TESTS}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        check(site, before, Ran(Faults()))
        converges(site, clean)
