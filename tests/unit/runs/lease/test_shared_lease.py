"""The lease of a plan, in a world whose clock the test turns: who joins, who waits, who has lost it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from metaferry.errors import Conflict, LeaseHeld, LeaseLost, Unavailable
from metaferry.progress import Stop
from metaferry.runs.lease import lease
from metaferry.runs.lease.lease import living
from metaferry.runs.lease.look import find_lease
from metaferry.runs.lease.record import Member, is_gone, read_record, this_member, this_process
from metaferry.runs.lease.shared import SharedLease
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying
from unit.runs.lease.lease_world import KEY, Notes, Run, Store, Time, fallback_reason


class Part:
    """One member's part in the lease of a plan: 60 seconds, retries for at most two."""

    def __init__(self, store: Store, name: str, plan: str = "plan-1", *, machine: str | None = None) -> None:
        self.store, self.stop, self.progress = store, Stop(), Notes()
        time = store.time
        self.storage = Retrying(store, Policy(retry_for=2.0), clock=time.clock, sleep=time.sleep)
        record = this_process(plan, f"run-{plan}", acquired="2026-11-23T04:00:00+00:00", lease_for=60.0)
        member = this_member(name)
        if machine is not None:
            member = replace(member, machine=machine)
        self.lease = SharedLease(
            self.storage,
            KEY,
            record,
            member,
            stop=self.stop,
            progress=self.progress,
            clock=time.clock,
            sleep=time.sleep,
        )


def turned(test: Callable[[Store], Awaitable[None]]) -> None:
    """Runs a test on a fresh store; no lease of it is left in this process."""

    async def run() -> None:
        await test(Store(Time()))

    asyncio.run(run())
    assert living == set()


async def record(store: Store) -> dict[str, object]:
    value = json.loads((await store.read(KEY)).data)
    assert isinstance(value, dict)
    return value


async def names(store: Store) -> list[str]:
    found = await find_lease(Part(store, "looking").storage, KEY, 60.0)
    return [] if found is None else [member.name for member in found.holder.members]


def test_members_join_and_the_last_one_gives_it_back() -> None:
    async def test(store: Store) -> None:
        a, b = Part(store, "a"), Part(store, "b")
        await a.lease.take(0)
        await b.lease.take(0)
        assert await names(store) == ["a", "b"]
        await a.lease.give_back()
        assert await names(store) == ["b"]
        assert b.lease.check() is None
        await b.lease.give_back()
        assert await names(store) == []
        assert KEY not in store.timestamps or await find_lease(b.storage, KEY, 60.0) is None

    turned(test)


def test_a_run_waits_for_a_plan_and_a_plan_for_a_run() -> None:
    async def test(store: Store) -> None:
        part, run, other = Part(store, "a", machine="far"), Run(store, "run"), Part(store, "c", "plan-2")
        await part.lease.take(0)
        for waiting in (run, other):
            with pytest.raises(LeaseHeld, match="run-plan-1"):
                await waiting.lease.take(0)
        await part.lease.give_back()
        await run.lease.take(0)
        with pytest.raises(LeaseHeld, match="run-run"):
            await other.lease.take(0)
        await run.lease.give_back()

    turned(test)


def test_one_renewal_is_everybodys() -> None:
    async def test(store: Store) -> None:
        parts = [Part(store, str(n)) for n in range(5)]
        for part in parts:
            await part.lease.take(0)
            await store.time.turn(1.7)
        store.calls.clear()
        await store.time.turn(600)
        assert all(part.lease.check() is None for part in parts)
        # Five who look every ten seconds, and about one of them renews.
        assert 55 <= store.calls.count("put") <= 130
        assert store.calls.count("read") <= 5 * 61 * 2
        for part in parts:
            await part.lease.give_back()

    turned(test)


def test_who_cannot_reach_the_store_stops_before_others_may_begin() -> None:
    async def test(store: Store) -> None:
        cut, well = Part(store, "cut"), Part(store, "well")
        await cut.lease.take(0)
        await well.lease.take(0)

        class Away(Store):
            pass

        cut.storage._adapter = broken = Away(store.time)  # type: ignore[assignment]
        broken.fail = lambda operation: Unavailable("away")
        await store.time.turn(49)
        assert cut.lease.check() is None
        await store.time.turn(2)
        assert isinstance(cut.lease.check(), LeaseLost)
        assert cut.stop.abandoned is not None
        assert well.lease.check() is None
        for part in (cut, well):
            await part.lease.give_back()

    turned(test)


def test_when_it_is_taken_away_all_stop() -> None:
    async def test(store: Store) -> None:
        parts = [Part(store, name) for name in "ab"]
        for part in parts:
            await part.lease.take(0)
        await store.delete(KEY)
        await store.time.turn(11)
        for part in parts:
            assert isinstance(part.stop.abandoned, LeaseLost)
            assert "was taken away" in str(part.stop.abandoned)
            await part.lease.give_back()

    turned(test)


def test_nobody_loses_it_when_all_renew_at_once() -> None:
    async def test(store: Store) -> None:
        parts = [Part(store, str(n)) for n in range(12)]
        await asyncio.gather(*(part.lease.take(0) for part in parts))
        assert sorted(await names(store)) == sorted(str(n) for n in range(12))
        for _ in range(20):
            await store.time.turn(10)
            assert all(part.lease.check() is None for part in parts)
        await all_leave(store, parts)
        assert await names(store) == []

    turned(test)


async def all_leave(store: Store, parts: list[Part]) -> None:
    """At once, while time passes for those who pause."""
    leaving = [asyncio.create_task(part.lease.give_back()) for part in parts]
    while not all(task.done() for task in leaving):
        await store.time.turn(0.01)
    await asyncio.gather(*leaving)


@pytest.mark.parametrize("members", [32, 64])
def test_members_that_leave_at_once_release_it(members: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each change is over the version that one saw, so that of those who try together one succeeds."""

    async def test(store: Store) -> None:
        parts = [Part(store, str(n)) for n in range(members)]
        for part in parts:
            await part.lease.take(0)
        began = store.time.clock()
        await all_leave(store, parts)
        assert await names(store) == []
        assert store.time.clock() - began < 10, "the time that giving it back may take"

    turned(test)
    assert "could not be given back" not in caplog.text


def test_one_that_cannot_leave_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lease, "_GIVE_BACK", 0.05)

    async def test(store: Store) -> None:
        part = Part(store, "a")
        await part.lease.take(0)
        store.fail = lambda operation: Conflict("another one") if operation == "delete" else None
        await part.lease.give_back()  # its pauses have no end here
        store.fail = lambda operation: None
        await store.delete(KEY)

    turned(test)
    assert "the lease could not be given back; it expires in 60 s: this was not done within" in caplog.text


def test_members_that_died_are_seen_to_be_gone() -> None:
    async def test(store: Store) -> None:
        dead = Member("dead", this_member("x").machine, 2**22 + 1, 5)
        left = replace(fallback_reason("plan-1"), members=(dead,))
        await store.put(KEY, left.to_json())
        run = Run(store, "run")
        await run.lease.take(0)  # at once: nobody is there any more
        await run.lease.give_back()
        far = Member("far", "another", 4711, 5)
        await store.put(KEY, replace(left, members=(dead, far)).to_json())
        with pytest.raises(LeaseHeld):
            await run.lease.take(0)
        part = Part(store, "a")
        await part.lease.take(0)
        assert await names(store) == ["far", "a"], "the dead one is not carried along"
        await part.lease.give_back()
        assert await names(store) == ["far"], "who cannot be asked may still be there"
        waiting = asyncio.create_task(run.lease.take(90))
        await store.time.turn(70)
        await waiting
        await run.lease.give_back()

    turned(test)


def test_a_lost_answer_loses_no_lease() -> None:
    async def test(store: Store) -> None:
        part = Part(store, "a")
        await part.lease.take(0)
        lost = iter([Unavailable("the answer was lost")] * 3)
        store.lose = lambda operation: next(lost, None) if operation == "put" else None
        await store.time.turn(120)
        assert part.lease.check() is None
        await part.lease.give_back()
        assert await names(store) == []

    turned(test)


def test_a_store_without_conditions_is_best_effort() -> None:
    async def run() -> None:
        store = Store(Time(), conditional=False)
        parts = [Part(store, name) for name in "ab"]
        for part in parts:
            taking = asyncio.create_task(part.lease.take(0))
            await store.time.turn(2)
            await taking
        await store.time.turn(100)
        assert all(part.lease.check() is None for part in parts)
        assert sorted(await names(store)) == ["a", "b"]
        for part in parts:
            await part.lease.give_back()
        assert await names(store) == []

    asyncio.run(run())


def test_a_record_with_members_that_cannot_be_read() -> None:
    data = json.dumps({"holder": "plan-1", "members": [7, {"name": "a", "pid": "x"}]}).encode()
    holder = read_record(data, lease_for=60.0)
    assert holder.members == (Member(""), Member("a"))
    assert not is_gone(holder)
    assert read_record(this_process("h", "r", acquired="", lease_for=5).to_json(), lease_for=1).members == ()
