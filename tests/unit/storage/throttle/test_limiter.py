"""The pace: how many at once, how many a second, what a refusal and a good answer change."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.storage.rates import Rates
from metaferry.storage.throttle.limiter import START, Limiter, Outcome, urgent

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


class Time:
    """A clock that moves only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def limiter(most: int, time: Time | None = None, **more: Any) -> Limiter:
    time = time or Time()
    return Limiter(most, clock=time.clock, sleep=time.sleep, **more)


def turns(pace: Limiter, count: int) -> list[int]:
    """So many turns at once; fails where the pace does not give them."""
    assert pace._under_way + count <= pace.allowed
    taken = [pace.acquire_blocking() for _ in range(count)]
    assert None not in taken
    return [turn for turn in taken if turn is not None]


def serve(pace: Limiter, time: Time, rate: Callable[[int], float], seconds: float) -> list[int]:
    """Full use of a store with `rate(width)` answers a second; the widths it was used with."""
    widths: list[int] = []
    under_way = turns(pace, pace.allowed)
    end = time.now + seconds
    while time.now < end:
        width = pace.allowed
        if not widths or widths[-1] != width:
            widths.append(width)
        time.now += 1.0 / rate(width)
        pace.release(under_way.pop(), Outcome.GOOD)
        if len(under_way) < pace.allowed:
            under_way += turns(pace, pace.allowed - len(under_way))
    for turn in under_way:
        pace.release(turn, Outcome.NONE)
    return widths


def test_no_more_than_allowed_are_under_way() -> None:
    async def work() -> tuple[int, int]:
        pace = limiter(5)
        now = most = done = 0

        async def one() -> None:
            nonlocal now, most, done
            turn = await pace.acquire()
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            done += 1
            pace.release(turn, Outcome.GOOD)

        await asyncio.gather(*(one() for _ in range(100)))
        return most, done

    assert run(work()) == (5, 100)


def test_it_starts_moderate() -> None:
    assert limiter(1000).allowed == START
    assert limiter(7).allowed == 7


def test_it_grows_while_that_pays() -> None:
    time = Time()
    pace = limiter(256, time)
    widths = serve(pace, time, lambda width: width * 100.0, 4.0)
    assert widths == [8, 16, 32, 64, 128, 256]


def test_it_goes_back_where_more_at_once_is_no_faster() -> None:
    time = Time()
    pace = limiter(256, time)
    assert serve(pace, time, lambda width: 4000.0, 4.0) == [8, 16, 8]


def test_the_time_before_anybody_asked_for_much_is_no_measure() -> None:
    """A run plans for a while before it writes: its few requests then are not the rate of a width."""
    time = Time()
    pace = limiter(256, time)
    for _ in range(5):
        time.now += 10.0
        (turn,) = turns(pace, 1)
        pace.release(turn, Outcome.GOOD)
    assert serve(pace, time, lambda width: 4000.0, 4.0) == [8, 16, 8]


@pytest.mark.slow
def test_it_becomes_narrow_where_many_are_in_each_others_way() -> None:
    time = Time()
    pace = limiter(256, time)
    serve(pace, time, lambda width: 8000.0 / (1 + width / 64), 60.0)
    assert pace.allowed <= 4


@pytest.mark.slow
def test_it_finds_the_way_when_the_store_changes() -> None:
    time = Time()
    pace = limiter(256, time)
    serve(pace, time, lambda width: 4000.0, 20.0)  # nearby: narrow is as good
    assert pace.allowed <= 16
    serve(pace, time, lambda width: width * 30.0, 90.0)  # far away all of a sudden
    assert pace.allowed == 256


def test_it_learns_nothing_from_answers_that_nobody_waited_for() -> None:
    time = Time()
    pace = limiter(256, time)
    for _ in range(1000):
        time.now += 0.01
        (turn,) = turns(pace, 1)
        pace.release(turn, Outcome.GOOD)
    assert pace.allowed == START


def test_a_turn_may_serve_several_requests() -> None:
    time = Time()
    pace = limiter(256, time)
    (turn,) = turns(pace, 1)
    pace.release(turn, Outcome.THROTTLED, good=7)
    history = pace.rates.history()
    assert (sum(history.answered), sum(history.throttled)) == (7, 1)


def test_a_width_is_measured_over_several_turns_however_much_one_brings() -> None:
    """Answers are counted when a turn ends: over less than some turns of each the rate would be chance."""
    time = Time()
    pace = limiter(64, time)
    under_way = turns(pace, START)
    for n in range(3 * START - 1):
        time.now += 0.4 / START
        pace.release(under_way[n % START], Outcome.NONE, good=6)
        under_way[n % START] = turns(pace, 1)[0]
        assert pace.allowed == START
    time.now += 0.4 / START
    pace.release(under_way[0], Outcome.NONE, good=6)
    assert pace.allowed == 2 * START


def test_a_refusal_halves_once_for_all_that_were_under_way() -> None:
    pace = limiter(32, start=32)
    for turn in turns(pace, 32):
        pace.release(turn, Outcome.THROTTLED)
    assert pace.allowed == 16
    (later,) = turns(pace, 1)
    pace.release(later, Outcome.THROTTLED)
    assert pace.allowed == 1  # half of what was under way, not of a width that nobody used


def test_good_answers_widen_a_throttled_store_step_by_step() -> None:
    time = Time()
    pace = limiter(32, time, start=32)
    for turn in turns(pace, 32):
        pace.release(turn, Outcome.THROTTLED)
    for _ in range(17):
        pace.release(turns(pace, 1)[0], Outcome.GOOD)
    assert pace.allowed == 17
    for _ in range(2000):
        pace.release(turns(pace, 1)[0], Outcome.GOOD)
    assert pace.allowed == 32


def test_a_storm_costs_about_two_windows_and_then_a_trickle() -> None:
    """Sixty seconds in which everything is refused: what is asked stays far below what was wanted."""
    time = Time()
    pace = limiter(256, time)
    asked = 0
    end = time.now + 60.0
    while time.now < end:
        under_way = []
        while pace._under_way < pace.allowed and (turn := pace.acquire_blocking()) is not None:
            under_way.append(turn)
        asked += len(under_way)
        time.now += 0.01
        for turn in under_way:
            pace.release(turn, Outcome.THROTTLED)
    assert START <= asked <= 2 * START + 20


def test_a_store_that_says_how_long_is_left_alone_so_long() -> None:
    time = Time()
    pace = limiter(8, time)
    (turn,) = turns(pace, 1)
    pace.release(turn, Outcome.THROTTLED, retry_after=30.0)
    assert pace.acquire_blocking() is None
    start = time.now
    run(pace.acquire())
    assert time.now - start == pytest.approx(30.0)


@given(st.lists(st.floats(0.0, 0.3), min_size=20, max_size=200), st.sampled_from([1.0, 7.5, 50.0]))
def test_no_second_ever_sees_more_than_the_rate(gaps: list[float], rate: float) -> None:
    time = Time()
    pace = limiter(64, time, max_rate=rate)
    begun: list[float] = []

    async def work() -> None:
        for gap in gaps:
            time.now += gap
            assert pace.acquire_blocking() is None  # a matter of time: not for threads
            turn = await pace.acquire()
            begun.append(time.now)
            pace.release(turn, Outcome.GOOD)

    run(work())
    for n, start in enumerate(begun):
        within = [moment for moment in begun[n:] if moment < start + 1.0 - 1e-6]
        assert len(within) <= max(1, int(rate) + 1)


def test_turns_come_in_the_order_of_arrival() -> None:
    async def work() -> list[int]:
        pace = limiter(1)
        order: list[int] = []

        async def one(name: int) -> None:
            turn = await pace.acquire()
            order.append(name)
            pace.release(turn, Outcome.GOOD)

        turn = await pace.acquire()
        tasks = [asyncio.create_task(one(n)) for n in range(5)]
        await asyncio.sleep(0)
        thread = asyncio.create_task(asyncio.to_thread(pace.acquire_blocking))
        while len(pace._waiting) < 6:  # noqa: ASYNC110 - a thread does not set events of a loop
            await asyncio.sleep(0)
        pace.release(turn, Outcome.GOOD)
        await asyncio.gather(*tasks)
        last = await thread
        order.append(99)
        assert last is not None
        pace.release(last, Outcome.GOOD)
        return order

    assert run(work()) == [0, 1, 2, 3, 4, 99]


@pytest.mark.parametrize("granted", [True, False])
def test_a_waiter_that_is_cancelled_loses_nobodys_turn(granted: bool) -> None:
    async def work() -> list[str]:
        pace = limiter(1)
        order: list[str] = []

        async def one(name: str) -> None:
            turn = await pace.acquire()
            order.append(name)
            pace.release(turn, Outcome.GOOD)

        turn = await pace.acquire()
        first, second = asyncio.create_task(one("first")), asyncio.create_task(one("second"))
        await asyncio.sleep(0)
        if granted:
            pace.release(turn, Outcome.GOOD)  # hands the turn to the first …
            first.cancel()  # … which is cancelled before it runs
        else:
            first.cancel()
            pace.release(turn, Outcome.GOOD)
        await asyncio.gather(first, second, return_exceptions=True)
        await one("third")
        return order

    assert run(work()) == ["second", "third"]


def test_a_cancelled_wait_for_the_rate_gives_its_turn_back() -> None:
    async def work() -> None:
        asleep = asyncio.Event()

        async def sleep(seconds: float) -> None:
            asleep.set()
            await asyncio.Event().wait()

        pace = Limiter(1, clock=lambda: 0.0, sleep=sleep, max_rate=1.0)
        pace.release(await pace.acquire(), Outcome.GOOD)
        task = asyncio.create_task(pace.acquire())
        await asleep.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pace._under_way == 0

    run(work())


def test_threads_and_a_loop_share_it() -> None:
    pace = limiter(8)
    lock = threading.Lock()
    now = most = 0

    def work() -> int:
        nonlocal now, most
        done = 0
        while done < 200:
            turn = pace.acquire_blocking()
            assert turn is not None
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
            pace.release(turn, Outcome.GOOD)
            done += 1
        return done

    async def coroutines() -> None:
        async def one() -> None:
            for _ in range(50):
                turn = await pace.acquire()
                await asyncio.sleep(0)
                pace.release(turn, Outcome.GOOD)

        await asyncio.gather(*(one() for _ in range(10)))

    with ThreadPoolExecutor(6) as threads:
        results = [threads.submit(work) for _ in range(6)]
        run(coroutines())
        assert [result.result() for result in results] == [200] * 6
    assert most <= 8
    assert pace._under_way == 0


def test_what_is_urgent_waits_for_nobody() -> None:
    async def work() -> int | None:
        pace = limiter(1)
        (turn,) = turns(pace, 1)
        with urgent():
            first = await pace.acquire()
        pace.release(turn, Outcome.THROTTLED, retry_after=1000.0)
        with urgent():
            second = await pace.acquire()
        for each in (first, second):
            pace.release(each, Outcome.GOOD)
        return pace.acquire_blocking()

    assert run(work()) is None  # the others still wait


def test_only_the_requests_of_the_block_are_urgent() -> None:
    async def work() -> bool:
        pace = limiter(1)
        turns(pace, 1)
        with urgent():
            pass
        task = asyncio.create_task(pace.acquire())
        await asyncio.sleep(0)
        waits = not task.done()
        task.cancel()
        return waits

    assert run(work())


def test_a_burst_of_refusals_is_one_refusal() -> None:
    time = Time()
    pace = limiter(256, time)
    under_way = turns(pace, START)
    for turn in under_way:
        pace.release(turn, Outcome.THROTTLED)
    assert pace.acquire_blocking() is not None  # half as many, and no pause yet


def test_rates_keep_every_count_in_sixty_points() -> None:
    now = 5.0
    rates = Rates(lambda: now)
    for n in range(10_000):
        rates.answered(now + n * 0.1)
    rates.refused(now + 999.0)
    history = rates.history()
    assert history.seconds == 32.0
    assert sum(history.answered) == 10_000
    assert history.throttled[-1] == 1
    assert len(history.answered) == len(history.throttled) <= 60
