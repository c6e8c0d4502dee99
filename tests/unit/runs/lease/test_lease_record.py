"""Whether the process of a lease is gone: asked of real processes, and not asked where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import metaferry
from metaferry.runs.lease.record import LeaseRecord, in_words, is_gone, machine, read_record, this_process

#: Prints its own record, and ends when its stdin does.
CHILD = """
import sys
from metaferry.runs.lease.record import this_process
record = this_process("child", "run", acquired="", lease_for=60.0)
sys.stdout.write(record.to_json().decode().replace("\\n", "") + "\\n")
sys.stdout.flush()
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not machine(), reason="this system does not tell which machine it is")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(metaferry.__file__).parent.parent)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def record_of(child: subprocess.Popen[str]) -> LeaseRecord:
    assert child.stdout is not None
    record = read_record(child.stdout.readline().encode(), lease_for=1.0)
    assert (record.holder, record.pid, record.lease_for) == ("child", child.pid, 60.0)
    return record


def test_a_process_that_lives_is_not_gone_and_one_that_ended_is(child: subprocess.Popen[str]) -> None:
    record = record_of(child)
    assert not is_gone(record)
    child.kill()
    # Ended, and nobody has asked for its exit code: still in the list of processes.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(record)
    child.wait()
    assert is_gone(record)


def test_another_process_of_the_same_number_is_another(child: subprocess.Popen[str]) -> None:
    record = record_of(child)
    assert is_gone(replace(record, started=record.started - 1))


@pytest.mark.parametrize(
    "changes", [{"machine": "another"}, {"machine": ""}, {"pid": 0}, {"started": 0}, {"pid": 10**30}]
)
def test_where_it_cannot_be_asked_it_is_not_gone(
    child: subprocess.Popen[str], changes: dict[str, int]
) -> None:
    record = record_of(child)
    child.kill()
    child.wait()
    assert not is_gone(replace(record, **changes))


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[str]) -> None:
    record = replace(record_of(child), machine="")
    child.kill()
    child.wait()
    monkeypatch.setattr("metaferry.runs.lease.record.machine", lambda: "")
    assert not is_gone(record)


def test_a_lease_of_this_process_is_gone_unless_it_is_held() -> None:
    record = this_process("mine", "run", acquired="", lease_for=60.0)
    assert is_gone(record)
    assert not is_gone(record, living={"mine"})


def test_a_record_comes_back_as_it_was_written() -> None:
    record = replace(this_process("h", "run", acquired="then", lease_for=60.0), held=12.5, renewed=3)
    assert read_record(record.to_json(), lease_for=1.0) == record
    assert f"(process {os.getpid()}, run run)" in record.name


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7199, "119 min"), (7300, "2 h")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
