"""The lease on a store in memory: who gets it, who waits, who takes it over, and who has lost it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from metaferry.errors import Interrupted, LeaseHeld, LeaseLost, Unavailable, Unsupported, exit_code
from metaferry.runs.lease import lease as module
from metaferry.runs.lease.look import find_lease
from metaferry.runs.lease.record import LeaseRecord, read_record
from unit.runs.lease.lease_world import KEY, Run, Store, Time, fallback_reason, settle


@pytest.fixture(autouse=True)
def nobody_lives() -> Iterator[None]:
    yield
    assert module.living == set()


async def in_place(store: Store) -> LeaseRecord | None:
    found = await find_lease(Run(store, "looker").storage, KEY, 60.0)
    return None if found is None else found.holder


async def holds(run: Run) -> bool:
    found = await in_place(run.store)
    return found is not None and found.holder == run.name and run.stop.abandoned is None


async def ended(task: asyncio.Task[None]) -> bool:
    await settle()
    return task.done()


def check(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def taking(run: Run, wait: float = 1000.0) -> asyncio.Task[None]:
    return asyncio.create_task(run.lease.take(wait))


def test_it_is_taken_renewed_and_given_back() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        assert store.calls == ["put"], "one request where nobody has it"
        record = await in_place(store)
        assert record is not None
        assert (record.run_id, record.renewed, record.lease_for) == ("run-a", 0, 60.0)
        for renewed in (1, 2, 3):
            await store.time.turn(20)
            record = await in_place(store)
            assert record is not None
            assert (record.holder, record.renewed, record.held) == ("a", renewed, 20.0 * renewed)
        store.calls.clear()
        await run.lease.give_back()
        assert store.calls == ["delete"]
        assert await in_place(store) is None
        await store.time.turn(1000)
        assert store.calls == ["delete", "read"], "the renewals have ended"
        assert not run.stop.requested

    check(story())


def test_who_cannot_give_it_back_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)

        async def never(path: str, **_: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(store, "delete", never)
        monkeypatch.setattr("metaferry.runs.lease.lease._GIVE_BACK", 0.01)
        await run.lease.give_back()

    check(story())
    assert caplog.messages[-1].endswith("it expires in 60 s: this was not done within 0 s")


def test_another_waits_for_it_and_says_so_once() -> None:
    async def story() -> None:
        store = Store(Time())
        first, second = Run(store, "a"), Run(store, "b")
        await first.lease.take(0)
        waiting = taking(second)
        await store.time.turn(300)
        assert not await ended(waiting)
        assert await holds(first)
        assert store.calls.count("put") < 25, "waiting only looks: these are the renewals"
        [note] = second.progress.notes
        assert "waiting up to 16 min for" in note
        assert "run run-a" in note
        await first.lease.give_back()
        await store.time.turn(3)
        await waiting
        assert await holds(second)
        await second.lease.give_back()

    check(story())


@pytest.mark.parametrize("wait", [0, 90])
def test_who_waits_in_vain_is_told_who_has_it(wait: int) -> None:
    async def story() -> None:
        store = Store(Time())
        first, second = Run(store, "a"), Run(store, "b")
        await first.lease.take(0)
        await store.time.turn(300)
        waiting = taking(second, wait)
        await store.time.turn(wait + 1)
        with pytest.raises(LeaseHeld) as caught:
            await waiting
        assert exit_code(caught.value) == 11
        assert first.lease._record.name in caught.value.message
        assert "held for 5 min, renewed" in caught.value.message or "held for 6 min" in caught.value.message
        assert ("after 90 s of waiting" in caught.value.message) == (wait == 90)
        assert "metaferry unlock" in caught.value.advice
        await second.lease.give_back()
        assert await holds(first), "giving back what one has not is nothing"
        await first.lease.give_back()

    check(story())


# -- when it is free


async def left_by(store: Store, record: LeaseRecord, age: float = 0.0) -> None:
    await store.put(KEY, record.to_json())
    store.age(KEY, age)


@pytest.mark.parametrize("own_clock", [False, True])
def test_it_ends_when_nobody_renewed_it_for_its_time(own_clock: bool) -> None:
    """On the stopwatch of whoever waits, or by the store's stamps; its clock is a million seconds off."""

    async def story() -> None:
        store = Store(Time(), own_clock=own_clock)
        await left_by(store, fallback_reason("x", lease_for=40.0), age=25.0)
        run = Run(store, "a")
        waiting = taking(run)
        free = 40 - 25 + module._SKEW if own_clock else 40
        await store.time.turn(free - 2)
        assert not await ended(waiting)
        await store.time.turn(3)
        await waiting
        assert await holds(run)
        await run.lease.give_back()
        assert not [path for path in store.timestamps if path in store._fs.store]
        assert await in_place(store) is None

    check(story())


def test_one_that_ended_long_ago_is_taken_at_once() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, fallback_reason("x"), age=3600.0)
        run = Run(store, "a")
        await run.lease.take(0)
        assert await holds(run)
        await run.lease.give_back()

    check(story())


def test_a_stamp_from_the_future_makes_nobody_younger() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, fallback_reason("x"), age=-5000.0)
        run = Run(store, "a")
        waiting = taking(run)
        await store.time.turn(59)
        assert not await ended(waiting)
        await store.time.turn(3)
        await waiting
        await run.lease.give_back()

    check(story())


def test_one_that_is_renewed_is_never_taken() -> None:
    async def story() -> None:
        store = Store(Time())
        record = fallback_reason("x")
        await left_by(store, record)
        waiting = taking(Run(store, "a"), wait=500)
        for renewed in range(1, 25):
            await store.time.turn(20)
            record = replace(record, renewed=renewed)
            assert not waiting.done()
            await left_by(store, record)
        await store.time.turn(20)
        with pytest.raises(LeaseHeld, match="anna@far"):
            await waiting

    check(story())


def test_of_two_that_take_it_over_one_wins() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, fallback_reason("x"), age=30.0)
        runs = [Run(store, "a"), Run(store, "b")]
        tasks = [taking(run, wait=300) for run in runs]
        await store.time.turn(40)
        assert [task.done() for task in tasks].count(True) == 1
        winner = runs[[task.done() for task in tasks].index(True)]
        loser = runs[1 - runs.index(winner)]
        assert await holds(winner)
        await store.time.turn(300)
        with pytest.raises(LeaseHeld, match=f"run run-{winner.name}"):
            await tasks[runs.index(loser)]
        await winner.lease.give_back()

    check(story())


def test_a_run_of_this_process_that_ended_without_giving_it_back() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, replace(Run(store, "dead").lease._record, renewed=3))
        run = Run(store, "a")
        await run.lease.take(0)
        assert await holds(run)
        await run.lease.give_back()

    check(story())


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"holder": ""}', b"\xff\xfe", b'{"holder": 7}'])
def test_a_record_that_cannot_be_read_is_a_lease_all_the_same(data: bytes) -> None:
    async def story() -> None:
        store = Store(Time())
        await store.put(KEY, data)
        run = Run(store, "a")
        with pytest.raises(LeaseHeld, match="cannot be read"):
            await run.lease.take(0)
        waiting = taking(run)
        await store.time.turn(59)
        assert not await ended(waiting)
        await store.time.turn(5)
        await waiting
        await run.lease.give_back()

    check(story())


def test_other_peoples_names_are_shown_on_one_line() -> None:
    record = read_record(
        json.dumps({"holder": "x", "user": "a\x1b[2J\nb", "host": "h" * 500, "lease_for": 1e999}).encode(),
        lease_for=60.0,
    )
    assert record.name.startswith("a[2Jb@hhh")
    assert len(record.name) < 150
    assert record.lease_for == 60.0


def test_marks_that_dead_ones_left_are_removed() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, fallback_reason("x"))
        for name, age in (("old", 4000), ("new", 10)):
            await store.put(f"state/lease-clock-{name}", b"1")
            store.age(f"state/lease-clock-{name}", age)
        with pytest.raises(LeaseHeld):
            await Run(store, "a").lease.take(0)
        left = {path.rpartition("/")[2] for path in store._fs.store if path.startswith(store._base)}
        assert left == {"lease.json", "lease-clock-new"}

    check(story())


def test_waiting_ends_when_the_run_is_told_to_stop() -> None:
    async def story() -> None:
        store = Store(Time())
        await left_by(store, fallback_reason("x"))
        run = Run(store, "a")
        waiting = taking(run)
        await store.time.turn(5)
        run.stop.request(signal.SIGTERM)
        await store.time.turn(0.5)
        with pytest.raises(Interrupted) as caught:
            await waiting
        assert exit_code(caught.value) == 143
        await run.lease.give_back()

    check(story())


# -- losing it


def test_who_was_taken_over_stops_and_says_by_whom() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        heard: list[bool] = []
        run.stop.listen(lambda: heard.append(True))
        await run.lease.take(0)
        await left_by(store, fallback_reason("x"))
        assert run.stop.abandoned is None
        await store.time.turn(20)
        lost = run.stop.abandoned
        assert isinstance(lost, LeaseLost)
        assert exit_code(lost) == 11
        assert "was taken over by anna@far (process 4711, run run-x)" in lost.message
        assert (run.stop.requested, run.stop.signal, run.stop.error, heard) == (True, None, lost, [True])
        await run.lease.give_back()
        found = await in_place(store)
        assert found is not None
        assert found.holder == "x", "what is somebody else's is left alone"

    check(story())


def test_who_was_unlocked_stops() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        await store.delete(KEY)
        await store.time.turn(20)
        assert "was taken away" in str(run.stop.abandoned)
        await run.lease.give_back()
        assert await in_place(store) is None

    check(story())


def test_an_outage_shorter_than_the_lease_costs_nothing() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        store.fail = lambda operation: Unavailable("the store is away")
        await store.time.turn(45)
        assert run.stop.abandoned is None
        store.fail = lambda operation: None
        await store.time.turn(4)
        record = await in_place(store)
        assert record is not None
        assert (record.holder, record.renewed) == ("a", 1)
        await store.time.turn(40)
        assert await holds(run)
        await run.lease.give_back()
        assert await in_place(store) is None

    check(story())


def test_an_outage_as_long_as_the_lease_ends_it() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        store.fail = lambda operation: Unavailable("the store is away")
        await store.time.turn(49.9)
        assert not run.stop.requested
        await store.time.turn(0.2)
        assert run.stop.requested, "ten seconds before anybody may take it over"
        assert "could not be renewed for 50 s: the store is away" in str(run.stop.abandoned)
        store.fail = lambda operation: None
        await store.time.turn(100)
        calls = len(store.calls)
        await store.time.turn(100)
        await run.lease.give_back()
        assert len(store.calls) == calls, "lost is lost"
        assert run.stop.abandoned is not None

    check(story())


def test_a_process_that_was_suspended_sees_it_before_anything_else() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        store.time.now += 1000  # and nobody has run meanwhile: no renewal, no timer
        assert run.stop.requested
        assert "could not be renewed" in str(run.stop.abandoned)
        await run.lease.give_back()

    check(story())


def test_a_bug_in_a_renewal_is_not_swallowed() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)

        def broken(operation: str) -> None:
            raise ZeroDivisionError

        store.fail = broken
        await store.time.turn(20)
        with pytest.raises(ZeroDivisionError):
            await run.lease.give_back()

    check(story())


# -- answers that do not come


@pytest.mark.parametrize("operation", ["put", "delete"])
def test_a_lost_answer_is_no_conflict_with_oneself(operation: str) -> None:
    """The first answer is lost each time: to the create, to each renewal, to the delete."""

    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        losses = 0

        def lose(done: str) -> Unavailable | None:
            nonlocal losses
            losses += done == operation
            return Unavailable("reset") if done == operation and losses % 2 else None

        store.lose = lose
        task = taking(run)
        await store.time.turn(5)
        await task
        await store.time.turn(100)
        assert await holds(run)
        giving = asyncio.create_task(run.lease.give_back())
        await store.time.turn(5)
        await giving
        assert losses >= 2 if operation == "delete" else losses >= 5
        assert await in_place(store) is None

    check(story())


def test_a_renewal_whose_answer_never_came_is_given_back_all_the_same() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        away = False

        def lose(operation: str) -> Unavailable | None:
            nonlocal away
            away = True
            return Unavailable("reset")

        store.lose = lose
        store.fail = lambda operation: Unavailable("away") if away else None
        await store.time.turn(30)  # done, but nobody heard of it, and no reading back either
        store.lose = store.fail = lambda operation: None
        await run.lease.give_back()
        assert await in_place(store) is None

    check(story())


def test_a_store_that_takes_its_time_does_not_shorten_the_lease() -> None:
    async def story() -> None:
        store = Store(Time())
        store.takes = 45.0
        run = Run(store, "a")
        task = taking(run)
        await store.time.turn(46)
        await task
        record = await in_place(store)
        assert record is not None
        assert record.renewed == 1, "renewed at once"
        await store.time.turn(15)
        assert await holds(run)
        await run.lease.give_back()

    check(story())


def test_a_store_that_does_not_answer_ends_no_run() -> None:
    async def story() -> None:
        store = Store(Time())
        run = Run(store, "a")
        await run.lease.take(0)
        store.fail = lambda operation: Unsupported("no deletes here") if operation == "delete" else None
        await run.lease.give_back()
        assert (await in_place(store)) is not None, "left behind, and named in the log"

    check(story())


# -- without conditional writes


def test_without_conditions_he_who_is_read_is_the_holder() -> None:
    async def story() -> None:
        store = Store(Time(), conditional=False)
        runs = [Run(store, "a"), Run(store, "b")]
        tasks = [taking(run, wait=30) for run in runs]
        await store.time.turn(3)
        assert [task.done() for task in tasks].count(True) == 1
        winner = runs[[task.done() for task in tasks].index(True)]
        assert await holds(winner)
        await store.time.turn(60)
        assert await holds(winner)
        with pytest.raises(LeaseHeld):
            await tasks[1 - runs.index(winner)]
        await winner.lease.give_back()
        assert await in_place(store) is None

    check(story())
