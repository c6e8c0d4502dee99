"""Rows that are fetched in a thread: cancelled, broken, never read, and asked again as a whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from metaferry.errors import Denied, Unavailable
from metaferry.tables.readers.again import Again
from metaferry.tables.readers.sql import pull as pull_module
from metaferry.tables.readers.sql.pull import Pull

SCHEMA = pa.schema([("n", pa.int64())])


class Rows:
    """A result of `count` batches; it waits for ever in `open` or before a batch, until it is cancelled."""

    def __init__(self, count: int = 0, *, waits_in: str = "", fails_at: int = -1) -> None:
        self.count = count
        self.waits_in = waits_in
        self.fails_at = fails_at
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.given = 0

    def open(self) -> pa.Schema:
        if self.waits_in == "open":
            self._wait()
        return SCHEMA

    def batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(self.count):
            if number == self.fails_at:
                raise Unavailable("db: gone")
            self.given += 1
            yield pa.record_batch([pa.array([number])], schema=SCHEMA)
        if self.waits_in == "batches":
            self._wait()

    def cancel(self) -> bool:
        self.cancelled.set()
        return True

    def close(self) -> None:
        self.closed.set()

    def _wait(self) -> None:
        assert self.cancelled.wait(60)
        raise Unavailable("db: cancelled")


class Unwanted(Exception):
    """The run is to end."""


def unwanted() -> None:
    raise Unwanted


def test_all_rows_come_in_their_order_and_the_connection_is_closed() -> None:
    rows = Rows(100)
    with Pull(rows, lambda: None) as pull:
        assert pull.schema() == SCHEMA
        assert [batch["n"][0].as_py() for batch in pull.batches()] == list(range(100))
    assert rows.closed.is_set()
    assert not rows.cancelled.is_set()


@pytest.mark.parametrize("place", ["open", "batches"])
def test_a_run_that_is_to_end_cancels_what_it_waits_for(place: str) -> None:
    rows = Rows(1, waits_in=place)
    with Pull(rows, unwanted) as pull, pytest.raises(Unwanted):
        list(rest_of(pull))
    assert rows.cancelled.is_set()
    assert rows.closed.is_set()


def test_a_driver_that_cannot_be_told_to_end_is_told_once_and_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull_module, "_END_TIMEOUT", 0.0)
    told = []

    class Deaf(Rows):
        def cancel(self) -> bool:
            told.append(True)
            return False

    rows = Deaf(1, waits_in="open")
    with Pull(rows, unwanted) as pull, pytest.raises(Unwanted):
        pull.schema()
    assert told == [True]
    rows.cancelled.set()  # its thread ends
    assert rows.closed.wait(60)


def test_rows_that_nobody_reads_are_not_fetched_ahead_without_end() -> None:
    rows = Rows(1_000)
    with Pull(rows, lambda: None) as pull:
        pull.schema()
    assert rows.closed.is_set()
    assert rows.given < 10


def test_what_fails_in_the_thread_is_raised_where_rows_are_wanted() -> None:
    rows = Rows(3, fails_at=1)
    with Pull(rows, lambda: None) as pull:
        pull.schema()
        batches = pull.batches()
        next(batches)
        with pytest.raises(Unavailable, match="gone"):
            next(batches)
    assert rows.closed.is_set()


def rest_of(pull: Pull) -> Iterator[pa.RecordBatch]:
    pull.schema()
    yield from pull.batches()


class Clock:
    """Goes on by what is slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def again(clock: Clock, retry_for: float = 10.0, wanted: object = None) -> Again:
    return Again(retry_for, lambda: None, clock=clock, sleep=clock.sleep)


def test_what_breaks_is_asked_again_until_the_time_is_over() -> None:
    clock = Clock()
    asked = again(clock)
    with pytest.raises(Unavailable):
        asked.call(lambda: (_ for _ in ()).throw(Unavailable("db: gone")))
    assert asked.count == 5
    assert clock.now == pytest.approx(0.5 + 1 + 2 + 4 + 8)


def test_an_answer_that_takes_longer_than_the_time_is_asked_for_twice_more() -> None:
    clock = Clock()
    asked = again(clock)

    def hour() -> None:
        clock.now += 3_600
        raise Unavailable("db: gone")

    with pytest.raises(Unavailable):
        asked.call(hour)
    assert asked.count == 2


def test_what_cannot_pass_is_not_asked_again_and_nothing_is_with_no_time() -> None:
    clock = Clock()
    assert not again(clock).after(Denied("db: no"))
    assert not again(clock, 0.0).after(Unavailable("db: gone"))
    assert clock.now == 0


def test_a_run_that_is_to_end_does_not_wait() -> None:
    clock = Clock()
    asked = Again(10.0, unwanted, clock=clock, sleep=clock.sleep)
    with pytest.raises(Unwanted):
        asked.after(Unavailable("db: gone"))
