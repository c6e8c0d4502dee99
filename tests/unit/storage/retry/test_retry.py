"""The retry layer over an adapter that fails as told, with a clock and a sleep that only count."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from metaferry.errors import (
    Conflict,
    Corrupt,
    Denied,
    Expired,
    NotFound,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import (
    ABSENT,
    ANYTHING,
    Blob,
    Capabilities,
    Entry,
    Page,
    Precondition,
    PutResult,
)
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Time:
    """A clock that moves only when somebody sleeps, and remembers how long."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Scripted:
    """Memory behind a list of what the next calls do: an error to raise before or after, or None.

    `("after", error)` does the work and then raises: the answer that was lost.
    """

    def __init__(self, *script: object) -> None:
        self.inner = MemoryAdapter(f"scripted-{random.random()}")  # noqa: TID251 - only a name
        self.script = list(script)
        self.calls: list[str] = []
        self.cursors: list[Any] = []
        self.renewed = 0
        self.closed = 0
        self.hanging = asyncio.Event()
        self.capabilities = Capabilities(listing_md5=True, conditional=True)
        self.url = "test://scripted"

    async def _next(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.calls.append(name)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, BaseException):
            raise step
        if step == "old credentials":
            renewed = self.renewed
            await asyncio.sleep(0)
            if not renewed:
                raise Expired("old")
        if step == "hang":
            self.hanging.set()
            await asyncio.Event().wait()
        result = await work()
        if isinstance(step, tuple):
            raise step[1]
        return result

    async def list_page(
        self, prefix: str, *, start_after: str | None = None, cursor: Any | None = None
    ) -> Page:
        self.cursors.append(cursor)
        return await self._next("list", lambda: self._page(int(cursor or 0)))

    async def _page(self, number: int) -> Page:
        entry = Entry(f"k{number}", 1, "t", None, 0.0)
        return Page([entry] if number != 1 else [], number + 1 if number < 3 else None)

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        return await self._next("read", lambda: self.inner.read(path, start, end, version=version))

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        return await self._next("put", lambda: self.inner.put(path, data, only_if=only_if))

    async def delete(self, path: str, *, only_if: Precondition = ANYTHING) -> None:
        await self._next("delete", lambda: self.inner.delete(path, only_if=only_if))

    async def renew(self) -> None:
        self.renewed += 1

    async def close(self) -> None:
        self.closed += 1


def retrying(adapter: Scripted, time: Time, retry_for: float = 300.0, **policy: Any) -> Retrying:
    return Retrying(
        adapter,
        Policy(retry_for=retry_for, **policy),
        clock=time.clock,
        sleep=time.sleep,
        rng=random.Random(7),
    )


@pytest.mark.parametrize("error", [Unavailable("x"), Throttled("x"), Corrupt("x")])
def test_what_passes_is_tried_again(error: StorageError) -> None:
    adapter, time = Scripted(error, error, error), Time()
    storage = retrying(adapter, time)
    put_result = run(storage.put("a", b"1"))
    assert put_result.md5 == "c4ca4238a0b923820dcc509a6f75849b"
    assert adapter.calls == ["put"] * 4
    assert len(time.slept) >= 3
    assert (storage.requests.put, storage.requests.retries) == (4, 3)
    assert storage.requests.throttled == (3 if isinstance(error, Throttled) else 0)
    assert storage.requests.bytes_written == 1


@pytest.mark.parametrize("error", [Denied("x"), NotFound("x"), Unsupported("x")])
def test_what_stays_is_raised_at_once(error: StorageError) -> None:
    adapter, time = Scripted(error), Time()
    with pytest.raises(type(error)):
        run(retrying(adapter, time).put("a", b"1"))
    assert adapter.calls == ["put"]
    assert time.slept == []


def test_a_request_that_works_costs_no_wait() -> None:
    adapter, time = Scripted(), Time()
    storage = retrying(adapter, time)
    run(storage.put("a", b"1"))
    assert (adapter.calls, time.slept) == (["put"], [])
    assert (storage.requests.put, storage.requests.retries) == (1, 0)


def test_time_is_bounded_and_waits_are_drawn_from_a_growing_range() -> None:
    adapter, time = Scripted(*[Unavailable("down")] * 10_000), Time()
    with pytest.raises(Unavailable, match="down"):
        run(retrying(adapter, time, retry_for=300.0).read("a"))
    assert sum(time.slept) <= 300.0
    assert sum(time.slept) > 250.0  # it did not give up early
    assert max(time.slept) <= 20.0
    limits = [min(20.0, 0.2 * 2**attempt) for attempt in range(1, len(time.slept) + 1)]
    assert all(wait <= limit for wait, limit in zip(time.slept, limits, strict=True))
    drawn = [wait for wait in time.slept if wait < 20.0]
    assert len(set(drawn)) == len(drawn) > 5  # jitter


def test_no_time_means_one_attempt() -> None:
    adapter, time = Scripted(Unavailable("x")), Time()
    with pytest.raises(Unavailable):
        run(retrying(adapter, time, retry_for=0.0).read("a"))
    assert adapter.calls == ["read"]


def test_a_store_that_says_how_long_is_given_that_long() -> None:
    slow = Throttled("x")
    slow.retry_after = 30.0
    adapter, time = Scripted(slow), Time()
    run(retrying(adapter, time).put("a", b"1"))
    assert 30.0 <= time.slept[0] <= 30.4


def test_a_page_that_failed_is_asked_with_the_same_cursor() -> None:
    adapter = Scripted(None, Unavailable("x"), Unavailable("x"), None, Throttled("x"))
    storage = retrying(adapter, Time())

    async def listed() -> list[list[str]]:
        return [[entry.path for entry in page] async for page in storage.list()]

    assert run(listed()) == [["k0"], ["k2"], ["k3"]]  # the empty page is not given out
    assert adapter.cursors == [None, 1, 1, 1, 2, 2, 3]
    assert storage.requests.list == 7


def test_an_answer_that_was_lost_is_no_conflict_with_ourselves() -> None:
    adapter, time = Scripted(("after", Unavailable("reset"))), Time()
    storage = retrying(adapter, time)
    put_result = run(storage.put("lease", b"ours", only_if=ABSENT))
    assert adapter.calls == ["put", "put", "read"]
    assert run(storage.read("lease")).token == put_result.token


def test_a_lost_answer_to_a_replacement_is_settled_too() -> None:
    adapter, time = Scripted(None, ("after", Unavailable("reset"))), Time()
    storage = retrying(adapter, time)

    async def work() -> PutResult:
        old = await storage.put("doc", b"old")
        return await storage.put("doc", b"new", only_if=old.token)

    put_result = run(work())
    assert run(storage.read("doc")).data == b"new"
    assert run(storage.read("doc")).token == put_result.token


@pytest.mark.parametrize("theirs", [b"else", b"theirs and longer", b""])
def test_a_real_conflict_stays_one(theirs: bytes) -> None:
    adapter = Scripted(None, Unavailable("reset"))
    storage = retrying(adapter, Time())

    async def work() -> None:
        await storage.put("lease", theirs)
        await storage.put("lease", b"ours", only_if=ABSENT)

    with pytest.raises(Conflict):
        run(work())
    assert run(storage.read("lease")).data == theirs


def test_a_conflict_that_cannot_be_looked_at_stays_one() -> None:
    adapter = Scripted(Conflict("412"), Denied("403"))
    with pytest.raises(Conflict):
        run(retrying(adapter, Time()).put("doc", b"new", only_if=ABSENT))
    assert adapter.calls == ["put", "read"]


def test_a_put_whose_every_answer_is_lost_is_looked_up_in_the_end() -> None:
    adapter, time = Scripted(*[("after", Unavailable("reset"))] * 3), Time()
    storage = retrying(adapter, time, retry_for=0.9, first=0.4)
    run(storage.put("doc", b"new"))
    assert adapter.calls[-1] == "read"


def test_a_lost_answer_to_a_delete_is_success() -> None:
    adapter, time = Scripted(None, ("after", Unavailable("reset")), Conflict("412")), Time()
    storage = retrying(adapter, time)

    async def work() -> None:
        put_result = await storage.put("doc", b"new")
        await storage.delete("doc", only_if=put_result.token)

    run(work())
    assert adapter.calls == ["put", "delete", "delete", "read"]


def test_credentials_are_renewed_once_and_then_it_stops() -> None:
    adapter = Scripted(Expired("old"))
    storage = retrying(adapter, Time())
    run(storage.put("a", b"1"))
    assert (adapter.renewed, adapter.calls) == (1, ["put", "put"])

    adapter = Scripted(Expired("old"), Expired("still"))
    with pytest.raises(Expired, match="still"):
        run(retrying(adapter, Time()).put("a", b"1"))
    assert (adapter.renewed, adapter.calls) == (1, ["put", "put"])


def test_requests_that_expire_together_share_one_renewal() -> None:
    adapter = Scripted(*["old credentials"] * 16)
    storage = retrying(adapter, Time())

    async def work() -> None:
        await asyncio.gather(*(storage.put(f"k{number}", b"1") for number in range(8)))

    run(work())
    assert adapter.renewed == 1
    assert len(adapter.calls) == 16


def test_an_attempt_that_hangs_is_given_up() -> None:
    adapter = Scripted("hang")
    storage = retrying(adapter, Time(), deadline=0.05)
    run(storage.put("a", b"1"))
    assert adapter.calls == ["put", "put"]

    adapter = Scripted("hang")
    storage = retrying(adapter, Time(), deadline=0.05, retry_for=0.0)
    with pytest.raises(Unavailable, match="no answer within") as caught:
        run(storage.read("a"))
    assert caught.value.code == "Deadline"


def test_a_cancelled_request_is_not_taken_for_a_deadline() -> None:
    adapter = Scripted("hang")
    storage = retrying(adapter, Time())

    async def work() -> None:
        task = asyncio.create_task(storage.read("a"))
        await adapter.hanging.wait()
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        run(work())
    assert adapter.calls == ["read"]


def test_closing_closes_the_adapter() -> None:
    adapter = Scripted()
    run(retrying(adapter, Time()).close())
    assert adapter.closed == 1


@pytest.mark.slow
def test_retries_stay_in_proportion_and_then_trickle() -> None:
    """A storm of an hour on a hundred puts: three requests for each at most, then one in 20 seconds."""
    adapter, time = Scripted(*[Unavailable("storm")] * 100_000), Time()
    storage = retrying(adapter, time, retry_for=3600.0)

    async def work() -> None:
        puts = [asyncio.create_task(storage.put(f"k{n}", b"1")) for n in range(100)]
        await asyncio.gather(*puts, return_exceptions=True)

    start = time.now
    run(work())
    storm = time.now - start
    trickle = storm / 20.0
    assert storage.requests.put - 100 <= 2 * 100 + 10 + trickle + 1


def test_an_attempt_made_elsewhere_counts_as_the_first() -> None:
    adapter, time = Scripted(), Time()
    storage = retrying(adapter, time)
    put_result = run(storage.put("a", b"1", failed=Unavailable("reset")))
    assert put_result.md5 == "c4ca4238a0b923820dcc509a6f75849b"
    assert (storage.requests.put, storage.requests.retries) == (1, 1)
    assert len(time.slept) == 1  # it waited before it tried again


def test_a_conflict_met_elsewhere_is_settled_by_reading_back() -> None:
    adapter = Scripted()
    storage = retrying(adapter, Time())
    run(adapter.inner.put("a", b"1"))
    run(storage.put("a", b"1", only_if=ABSENT, failed=Conflict("x")))
    assert adapter.calls == ["read"]
    with pytest.raises(Conflict):
        run(storage.put("a", b"2", only_if=ABSENT, failed=Conflict("x")))


def test_credentials_refused_in_threads_are_renewed_once_for_all() -> None:
    adapter = Scripted()
    storage = retrying(adapter, Time())
    first, second = Expired("old"), Expired("old")
    first.generation = second.generation = 0

    async def work() -> None:
        await asyncio.gather(storage.put("a", b"1", failed=first), storage.put("b", b"1", failed=second))

    run(work())
    assert adapter.renewed == 1


class DirectScripted(Scripted):
    """The same, with puts from threads."""

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        return asyncio.run(self.put(path, data, only_if=only_if))


def test_a_put_from_a_thread_is_one_attempt() -> None:
    adapter = DirectScripted(None, Throttled("slow"), None)
    storage = retrying(adapter, Time())
    assert storage.direct
    assert not retrying(Scripted(), Time()).direct
    met = storage.put_blocking([(name, b"1", ABSENT, "") for name in "abc"])
    assert isinstance(met[0], str)
    assert isinstance(met[1], Throttled)
    assert met[2] is None  # not tried: the store wants a pause
    assert (storage.requests.put, storage.requests.throttled, storage.requests.retries) == (2, 1, 0)
    assert storage.requests.bytes_written == 1
    assert sum(storage.rates.answered) == 1
    assert sum(storage.rates.throttled) == 1


def test_an_expiry_in_a_thread_says_which_credentials_it_met() -> None:
    storage = retrying(DirectScripted(Expired("old")), Time())
    (met,) = storage.put_blocking([("a", b"1", ANYTHING, "")])
    assert isinstance(met, Expired)
    assert met.generation == 0


def test_no_turn_for_a_thread_while_the_store_wants_a_pause() -> None:
    slow = Throttled("x")
    slow.retry_after = 30.0
    time = Time()
    storage = retrying(DirectScripted(slow), time)
    put = [("a", b"1", ANYTHING, "")]
    assert storage.put_blocking(put) == [slow]
    assert storage.put_blocking(put) == [None]
    time.now += 31.0
    (met,) = storage.put_blocking(put)
    assert isinstance(met, str)


@pytest.mark.parametrize("error", [Unavailable("x"), Throttled("x")])
def test_who_may_not_write_any_more_does_not_try_again(error: StorageError) -> None:
    """A wait that spans the loss of a lease: the next run may have kept what would be overwritten."""
    adapter, time = Scripted(error, None), Time()
    ours = True

    async def lose(seconds: float) -> None:
        nonlocal ours
        ours = False
        await time.sleep(seconds)

    storage = Retrying(adapter, clock=time.clock, sleep=lose, rng=random.Random(7))
    storage.writes_while(lambda: ours)
    with pytest.raises(Unsupported, match="not tried again"):
        run(storage.put("a", b"1"))
    assert adapter.calls == ["put"]
