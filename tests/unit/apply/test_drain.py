"""No run goes on for ever: what a stop ends, and when a store that takes nothing any more ends the run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaferry.apply.apply import apply_plan
from metaferry.apply.outage import IN_A_ROW, Outage
from metaferry.apply.outcome import Applied, Tally
from metaferry.errors import StorageError, Throttled, Unavailable, Unsupported
from metaferry.progress import Stop
from metaferry.storage.io.portal import Portal
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ANYTHING, Precondition, PutResult
from metaferry.storage.retry.storage import Policy, Retrying
from unit.apply.test_apply import creates, write_plan


class Refusing(MemoryAdapter):
    """Memory whose puts `refuses` decides upon: an error to raise, or None."""

    def __init__(self, refuses: Callable[[str], StorageError | None]) -> None:
        super().__init__(f"refusing-{random.random()}")  # noqa: TID251 - only a name
        self.refuses = refuses
        self.tried = 0

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        self._look(path)
        return super().put_blocking(path, data, only_if=only_if)

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        self._look(path)
        return super().put_blocking(path, data, only_if=only_if)

    def _look(self, path: str) -> None:
        self.tried += 1
        error = self.refuses(path)
        if error is not None:
            raise error


class Applying:
    """A plan applied by a clock that moves only when somebody sleeps."""

    def __init__(self, adapter: Refusing, *, retry_for: float = 30.0, max_rate: float | None = None) -> None:
        self.now = 0.0
        self.slept: Callable[[float], None] = lambda seconds: None
        self.rows: list[Applied] = []
        self.storage = Retrying(
            adapter,
            Policy(retry_for=retry_for),
            concurrency=16,
            max_rate=max_rate,
            clock=lambda: self.now,
            sleep=self._sleep,
            rng=random.Random(1),
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def __call__(self, plan: Path, stop: Stop | None = None) -> Tally:
        tally = Tally()
        with Portal() as portal:
            portal.run(
                apply_plan(
                    plan, self.storage, concurrency=16, record=self.rows.extend, tally=tally, stop=stop
                )
            )
        return tally


def throttled(retry_after: float | None = None) -> Throttled:
    error = Throttled("less", status=503, code="SlowDown")
    error.retry_after = retry_after
    return error


@pytest.mark.parametrize("retry_after", [None, 3.0, 3600.0])
def test_a_store_that_throttles_for_good_ends_the_run(tmp_path: Path, retry_after: float | None) -> None:
    applying = Applying(Refusing(lambda path: throttled(retry_after)))
    tally = applying(write_plan(tmp_path, creates(500)))
    assert "SlowDown" in tally.outage
    assert tally.create == 0
    assert tally.failed < 100  # the rest is deferred
    assert 60.0 <= applying.now <= 150.0  # twice retry_for, and the last pause


def test_one_pause_of_an_hour_costs_retry_for_and_no_document(tmp_path: Path) -> None:
    once = iter([throttled(3600.0)])
    applying = Applying(Refusing(lambda path: next(once, None)))
    tally = applying(write_plan(tmp_path, creates(100)))
    assert (tally.create, tally.failed, tally.outage) == (100, 0, "")
    assert applying.now <= 31.0


def test_max_rate_and_other_documents_cost_a_document_nothing(tmp_path: Path) -> None:
    """Each document waits longer for its turn than it may be retried for, and every third fails once."""
    failed: set[str] = set()

    def first_attempt(path: str) -> StorageError | None:
        if path in failed or int(path[4:10]) % 3:
            return None
        failed.add(path)
        return Unavailable("500")

    applying = Applying(Refusing(first_attempt), retry_for=20.0, max_rate=0.5)
    tally = applying(write_plan(tmp_path, creates(60)))
    assert (tally.create, tally.failed, tally.outage) == (60, 0, "")
    assert applying.now >= 150.0


def test_a_thousand_in_a_row_for_one_reason_end_the_run(tmp_path: Path) -> None:
    adapter = Refusing(lambda path: Unsupported("full", status=507, code="InsufficientStorage"))
    tally = Applying(adapter)(write_plan(tmp_path, creates(3 * IN_A_ROW)))
    assert IN_A_ROW <= tally.failed <= IN_A_ROW + 64
    assert "507 InsufficientStorage" in tally.outage


def test_failures_among_others_that_are_written_do_not() -> None:
    outage = Outage(10.0)
    for n in range(5 * IN_A_ROW):
        outage.failed("507")
        if n % 500 == 0:
            outage.written()
        outage.failed("507" if n % 2 else "400")
    assert outage.reason == ""
    for now in range(100):
        outage.attempted(Unavailable("500"), now)
        if now % 5 == 0:
            outage.attempted(None, now)
    assert outage.reason == ""


@pytest.mark.parametrize("wait", ["max_rate", "pause"])
def test_what_waits_when_a_stop_comes_is_left(tmp_path: Path, wait: str) -> None:
    stop = Stop()
    adapter = Refusing(lambda path: throttled(25.0) if wait == "pause" and adapter.tried > 20 else None)
    applying = Applying(adapter, retry_for=1e6, max_rate=10.0 if wait == "max_rate" else None)
    begun: list[int] = []

    def slept(seconds: float) -> None:
        if adapter.tried > 20 and not begun:
            begun.append(adapter.tried)
            stop.request()

    applying.slept = slept
    tally = applying(write_plan(tmp_path, creates(500)), stop)
    assert tally.stopped
    assert adapter.tried <= begun[0] + 1
    assert tally.create + tally.failed < 100
    assert tally.failed == 0


def test_the_storage_is_left_without_a_drain(tmp_path: Path) -> None:
    stop = Stop()
    applying = Applying(Refusing(lambda path: stop.request()))  # type: ignore[func-returns-value]
    applying(write_plan(tmp_path, creates(50)), stop)

    async def put() -> Any:
        return await applying.storage.put("state", b"1")

    with Portal() as portal:
        assert portal.run(put()).token
