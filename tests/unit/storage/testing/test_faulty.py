"""Every fault does what it says, strikes when its rule says, and strikes the same for the same seed."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from metaferry.errors import (
    Conflict,
    Corrupt,
    Denied,
    Expired,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)
from metaferry.storage.errors import errno_failure
from metaferry.storage.fsspec_adapter import FsspecAdapter
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ABSENT, Adapter, Direct
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying
from metaferry.storage.testing.faulty import DirectFaultyAdapter, Faults, FaultyAdapter, Killed
from metaferry.storage.testing.rules import (
    CORRUPTED,
    DENIED,
    EXPIRED,
    LISTS,
    LOST_REPLY,
    NO_SPACE,
    PUTS,
    READS,
    RESET,
    SLOW_DOWN,
    TOO_MANY,
    TRUNCATED,
    UNAVAILABLE,
    Delay,
    Flip,
    Kill,
    Meddle,
    Refusal,
    Rule,
    storm,
)

T = TypeVar("T")
_names = itertools.count()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 5000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def memory(faults: Faults) -> tuple[MemoryAdapter, DirectFaultyAdapter]:
    inner = MemoryAdapter(f"faulty-{next(_names)}")
    wrapped = faults.wrap(inner)
    assert isinstance(wrapped, DirectFaultyAdapter)
    return inner, wrapped


async def outcome(call: Callable[[], Awaitable[object]]) -> str:
    try:
        await call()
    except StorageError as error:
        return type(error).__name__
    return "done"


async def outcomes(adapter: Adapter, calls: int) -> list[str]:
    return [await outcome(lambda n=n: adapter.put(f"k{n}", b"x")) for n in range(calls)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (SLOW_DOWN, Throttled, "SlowDown"),
        (TOO_MANY, Throttled, "TooManyRequests"),
        (UNAVAILABLE, Unavailable, "InternalError"),
        (RESET, Unavailable, "ConnectionResetError"),
        (TRUNCATED, Corrupt, "IncompleteBody"),
        (CORRUPTED, Corrupt, "ChecksumMismatch"),
        (DENIED, Denied, "AccessDenied"),
        (EXPIRED, Expired, "ExpiredToken"),
        (NO_SPACE, Unsupported, "ENOSPC"),
    ],
)
def test_a_refused_call_does_nothing(fault: Refusal, kind: type[StorageError], code: str) -> None:
    inner, wrapped = memory(Faults([Rule(fault=fault)]))

    async def check() -> None:
        for call in (
            lambda: wrapped.put("a", b"1"),
            lambda: wrapped.read("a"),
            lambda: wrapped.list_page(""),
            lambda: wrapped.delete("a"),
        ):
            with pytest.raises(kind) as caught:
                await call()
            assert type(caught.value) is kind
            assert (caught.value.code, caught.value.url) == (code, inner.url)
        assert (await inner.list_page("")).entries == []

    run(check())
    with pytest.raises(kind):
        wrapped.put_blocking("a", b"1")


def test_a_full_device_is_told_as_the_local_adapter_tells_it() -> None:
    assert NO_SPACE.failure == errno_failure(OSError(errno.ENOSPC, "no space left"))


def test_a_lost_reply_comes_after_the_work() -> None:
    inner, wrapped = memory(Faults([Rule(fault=LOST_REPLY, times=2)]))

    async def check() -> None:
        assert await outcome(lambda: wrapped.put("a", b"1", only_if=ABSENT)) == "Unavailable"
        assert (await inner.read("a")).data == b"1"
        with pytest.raises(Unavailable):
            wrapped.put_blocking("b", b"2", only_if=ABSENT)
        assert (await inner.read("b")).data == b"2"

    run(check())
    with pytest.raises(Conflict):
        wrapped.put_blocking("a", b"1", only_if=ABSENT)


def test_the_retry_layer_settles_a_lost_reply() -> None:
    time = Time()
    _, wrapped = memory(faults := Faults([Rule(fault=LOST_REPLY, operations=PUTS, times=1)]))

    async def check() -> None:
        storage = Retrying(wrapped, clock=time.clock, sleep=time.sleep)
        await storage.put("a", b"1", only_if=ABSENT)
        assert (await storage.read("a")).data == b"1"

    run(check())
    assert [call.operation for call in faults.calls] == ["put", "put", "read", "read"]
    assert [call.fault for call in faults.calls] == [LOST_REPLY, None, None, None]


def test_when_a_rule_strikes() -> None:
    rules = [
        Rule(fault=RESET, operations=READS),
        Rule(fault=DENIED, path=r"^k[13]$"),
        Rule(fault=TOO_MANY, operations=PUTS, after=2, times=1),
        Rule(fault=CORRUPTED, number=6),
    ]
    _, wrapped = memory(faults := Faults(rules))
    # k0 and k2 pass the third rule before it strikes k4; a rule counts only what reaches it.
    assert run(outcomes(wrapped, 8)) == [
        *("done", "Denied", "done", "Denied", "Throttled"),
        *("done", "Corrupt", "done"),
    ]
    assert [call.number for call in faults.calls] == list(range(8))
    assert [call.path for call in faults.calls] == [f"k{n}" for n in range(8)]
    assert not any(call.direct for call in faults.calls)


def test_a_listing_that_fails_at_a_page() -> None:
    for times, expected in ((1, ["done", "Unavailable", "done"]), (None, ["done", *["Unavailable"] * 2])):
        inner = MemoryAdapter(f"faulty-{next(_names)}", page_size=2)
        wrapped = Faults([Rule(fault=RESET, operations=LISTS, after=1, times=times)]).wrap(inner)

        async def check(inner: Adapter, wrapped: Adapter, expected: list[str]) -> None:
            await outcomes(inner, 5)
            page = await wrapped.list_page("")
            got = [await outcome(lambda: wrapped.list_page("", cursor=page.cursor)) for _ in range(2)]
            assert ["done", *got] == expected

        run(check(inner, wrapped, expected))


def test_a_storm_by_the_clock() -> None:
    time = Time()
    faults = Faults(storm(30.0, share=0.2, retry_after=7.0), seed=3, clock=time.clock)
    _, wrapped = memory(faults)
    assert set(run(outcomes(wrapped, 100))) == {"Throttled"}
    with pytest.raises(Throttled) as caught:
        wrapped.put_blocking("a", b"1")
    assert caught.value.retry_after == 7.0
    time.now += 30.0
    refused = run(outcomes(wrapped, 1000)).count("Throttled")
    assert 140 <= refused <= 260
    statuses = {c.fault.failure.status for c in faults.calls if isinstance(c.fault, Refusal)}
    assert statuses == {503, 429}


def test_the_seed_decides() -> None:
    def story(seed: int) -> list[str]:
        rules = [Rule(fault=RESET, chance=0.3), Rule(fault=TOO_MANY, chance=0.3)]
        return run(outcomes(memory(Faults(rules, seed=seed))[1], 60))

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_slow_sleeps_as_it_is_told() -> None:
    time = Time()
    faults = Faults([Rule(fault=Delay(12.5))], clock=time.clock, sleep=time.sleep)
    _, wrapped = memory(faults)
    run(outcomes(wrapped, 2))
    assert time.now == 5025.0
    wrapped.put_blocking("a", b"1")
    assert time.now == 5037.5
    assert [call.age for call in faults.calls] == [0.0, 12.5, 25.0]


def test_a_flipped_bit_in_a_read_and_in_a_put() -> None:
    inner, wrapped = memory(Faults([Rule(fault=Flip())]))
    data = bytes(range(64))

    def bits(a: bytes, b: bytes) -> int:
        assert len(a) == len(b)
        return sum((x ^ y).bit_count() for x, y in zip(a, b, strict=True))

    async def check() -> None:
        plain = await inner.put("a", data)
        assert bits((await wrapped.read("a")).data, data) == 1
        assert (await inner.read("a")).data == data, "only the answer was spoiled"
        for direct in (False, True):
            put_result = wrapped.put_blocking("b", data) if direct else await wrapped.put("b", data)
            stored = await inner.read("b")
            assert bits(stored.data, data) == 1
            assert (put_result.md5, put_result.token) == (plain.md5, stored.token), (
                "it answers for what was sent"
            )
        await wrapped.put("empty", b"")
        assert (await inner.read("empty")).data == b""
        await wrapped.delete("b")

    run(check())


def test_expired_until_renewed() -> None:
    _, wrapped = memory(faults := Faults([Rule(fault=EXPIRED, after=2)]))

    async def check() -> None:
        assert await outcomes(wrapped, 4) == ["done", "done", "Expired", "Expired"]
        await wrapped.renew()
        assert await outcomes(wrapped, 4) == ["done"] * 4
        assert faults.renewals == 1

    run(check())


def test_the_retry_layer_renews_once_for_all() -> None:
    time = Time()
    _, wrapped = memory(faults := Faults([Rule(fault=EXPIRED, after=3)]))

    async def check() -> None:
        storage = Retrying(wrapped, clock=time.clock, sleep=time.sleep)
        await asyncio.gather(*(storage.put(f"k{n}", b"1") for n in range(20)))

    run(check())
    assert faults.renewals == 1


def test_somebody_else_writes() -> None:
    async def theirs(adapter: Adapter) -> None:
        await adapter.put("a", b"theirs")

    for when, left, answer in (("before", b"theirs", "Conflict"), ("after", b"theirs", "done")):
        rule = Rule(fault=Meddle(theirs, "before" if when == "before" else "after"), times=1)
        inner, wrapped = memory(Faults([rule]))

        async def check(inner: Adapter, wrapped: Adapter, answer: str, left: bytes) -> None:
            assert await outcome(lambda: wrapped.put("a", b"ours", only_if=ABSENT)) == answer
            assert (await inner.read("a")).data == left

        run(check(inner, wrapped, answer, left))


def test_somebody_else_writes_while_a_thread_does() -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    async def theirs(adapter: Adapter) -> None:
        seen.append(asyncio.get_running_loop())
        await adapter.put("a", b"theirs")

    inner, wrapped = memory(Faults([Rule(fault=Meddle(theirs), path="^a$")]))

    async def check() -> None:
        await wrapped.put("b", b"1")
        with pytest.raises(Conflict):
            await asyncio.to_thread(wrapped.put_blocking, "a", b"ours", only_if=ABSENT)
        assert seen == [asyncio.get_running_loop()], "on the loop of the run"
        assert (await inner.read("a")).data == b"theirs"

    run(check())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("direct", [False, True])
def test_nothing_happens_after_a_kill(when: str, direct: bool) -> None:
    fault = Kill("before" if when == "before" else "after")
    faults = Faults([Rule(fault=fault, number=1)])
    inner, wrapped = memory(faults)
    _, other = memory(faults)

    async def check() -> None:
        await wrapped.put("k0", b"0")
        put = asyncio.to_thread(wrapped.put_blocking, "k1", b"1") if direct else wrapped.put("k1", b"1")
        with pytest.raises(Killed):
            await put
        for call in (
            lambda: wrapped.put("k2", b"2"),
            lambda: wrapped.delete("k0"),
            lambda: wrapped.read("k0"),
            lambda: wrapped.list_page(""),
            lambda: other.put("k2", b"2"),
            lambda: wrapped.renew(),
        ):
            with pytest.raises(Killed):
                await call()
        with pytest.raises(Killed):
            wrapped.put_blocking("k2", b"2")
        left = [entry.path for entry in (await inner.list_page("")).entries]
        assert left == (["k0"] if when == "before" else ["k0", "k1"])
        await wrapped.close()

    run(check())
    assert faults.killed
    assert [call.number for call in faults.calls] == [0, 1]


def test_a_kill_also_ends_the_calls_under_way() -> None:
    async def check() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def hold(adapter: Adapter) -> None:
            reached.set()
            await go_on.wait()

        rules = [Rule(fault=Meddle(hold), path="slow"), Rule(fault=Kill(), path="last")]
        _, wrapped = memory(Faults(rules))
        task = asyncio.create_task(wrapped.put("slow", b"1"))
        await reached.wait()
        with pytest.raises(Killed):
            await wrapped.put("last", b"1")
        go_on.set()
        with pytest.raises(Killed):
            await task

    run(check())


def test_killed_is_no_error_that_anybody_handles() -> None:
    assert not issubclass(Killed, Exception)


def test_put_blocking_exactly_where_it_is(tmp_path: Path) -> None:
    faults = Faults()
    for inner in (LocalAdapter(tmp_path), MemoryAdapter("x"), FsspecAdapter(f"file://{tmp_path}", {})):
        wrapped = faults.wrap(inner)
        assert isinstance(wrapped, FaultyAdapter)
        assert isinstance(wrapped, Direct) == isinstance(inner, Direct)
        assert (wrapped.url, wrapped.capabilities) == (inner.url, inner.capabilities)
        assert Retrying(wrapped, Policy()).direct == isinstance(inner, Direct)
    with pytest.raises(TypeError, match="put_blocking"):
        DirectFaultyAdapter(FsspecAdapter(f"file://{tmp_path}", {}), faults)


def test_threads_and_coroutines_share_one_sequence() -> None:
    _, wrapped = memory(faults := Faults([Rule(fault=RESET, after=150, times=7)]))

    def put(n: int) -> bool:
        try:
            wrapped.put_blocking(f"t{n}", b"1")
        except Unavailable:
            return False
        return True

    async def check() -> int:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(8) as pool:
            done = [loop.run_in_executor(pool, put, n) for n in range(200)]
            answers = await outcomes(wrapped, 100)
            return (await asyncio.gather(*done)).count(False) + answers.count("Unavailable")

    assert run(check()) == 7
    calls = faults.calls
    assert [call.number for call in calls] == list(range(300))
    assert sum(call.direct for call in calls) == 200
    assert sum(call.fault is not None for call in calls) == 7


def test_an_error_of_the_store_is_an_answer_too() -> None:
    _, wrapped = memory(Faults([Rule(fault=LOST_REPLY, times=2), Rule(fault=Kill("after"), after=1)]))

    async def check() -> None:
        await wrapped.put("a", b"1")

    with pytest.raises(Unavailable):
        run(check())
    with pytest.raises(Unavailable):
        wrapped.put_blocking("a", b"2", only_if=ABSENT)
    with pytest.raises(Conflict):
        wrapped.put_blocking("a", b"2", only_if=ABSENT)
    with pytest.raises(Killed):
        wrapped.put_blocking("a", b"2", only_if=ABSENT)
