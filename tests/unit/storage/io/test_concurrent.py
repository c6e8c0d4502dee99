"""Requests side by side: how many at once, in which order, and what a failure does to the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from metaferry.job.model import Job
from metaferry.runs.storages import Storages
from metaferry.storage.io.concurrent import as_they_end, close_all, in_order
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying


def test_results_come_in_order_and_never_more_are_under_way() -> None:
    under_way, most = 0, 0

    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(number % 7):
            await asyncio.sleep(0)
        under_way -= 1
        return number * 2

    assert asyncio.run(in_order(range(100), work, most=5)) == [2 * n for n in range(100)]
    assert most == 5


def test_one_that_waits_holds_up_nobody() -> None:
    """Not those of its own batch, and not those of later ones."""

    async def run() -> list[int]:
        others = asyncio.Event()
        ended: list[int] = []

        async def work(number: int) -> None:
            if number == 0:
                await others.wait()

        batches: Iterator[list[int]] = iter([list(range(n, n + 10)) for n in range(0, 100, 10)])
        async for number, _ in as_they_end(batches, work, most=4):
            ended.append(number)
            if len(ended) == 99:
                others.set()
        return ended

    ended = asyncio.run(run())
    assert ended[-1] == 0
    assert sorted(ended) == list(range(100))


def test_the_first_failure_ends_the_others() -> None:
    cancelled: list[int] = []

    async def work(number: int) -> None:
        if number == 3:
            raise ValueError("three")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with pytest.raises(ValueError, match="three"):
        asyncio.run(in_order(range(50), work, most=10))
    assert sorted(cancelled) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_what_cannot_be_closed_leaves_nothing_else_open() -> None:
    closed: list[int] = []

    async def close(number: int) -> None:
        if number == 1:
            raise RuntimeError("cannot be closed")
        closed.append(number)

    with pytest.raises(RuntimeError):
        asyncio.run(close_all(close(number) for number in range(4)))
    assert closed == [0, 2, 3]


def test_a_run_closes_all_its_storages(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after one that fails, which changes nothing of what was done."""
    closed: list[str] = []

    async def close(storage: Retrying) -> None:
        closed.append(storage.url)
        if "first" in storage.url:
            raise RuntimeError("secret text of a library")

    monkeypatch.setattr(Retrying, "close", close)
    job = Job.from_mapping({"input": "memory://first", "sources": [{"table": "memory://t/a.csv"}]})
    with Portal() as portal, contextlib.closing(Storages(job, portal)) as storages:
        storages.of("memory://first", {})
        storages.of("memory://second", {})
    assert len(closed) == 2
    assert "could not be closed (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
