"""How many steps a thread takes at once, and that no outcome is lost between threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from metaferry.apply.outcome import Applied, OutcomeRecorder, Tally
from metaferry.apply.shards import Step
from metaferry.apply.threads import CHUNK, PutThreadPool
from metaferry.planning.formats import Action, Outcome
from metaferry.storage.protocol import Capabilities, Put, Storage


class OneAtATime:
    """A store with room for one thread, each of whose puts takes so long on a clock of its own."""

    concurrency_limit = 1
    capabilities = Capabilities(listing_md5=True, conditional=True)

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self._seconds = seconds
        self.taken: list[int] = []

    def put_blocking(self, puts: Sequence[Put], *, ended: Callable[[], bool]) -> list[str]:
        self.taken.append(len(puts))
        self.now += self._seconds * len(puts)
        return ["token" for _ in puts]


def steps(count: int) -> list[Step]:
    return [Step(f"{n}.json", Action.CREATE, b"{}", "md5", None) for n in range(count)]


def run(store: OneAtATime | AllTogether, count: int) -> list[Applied]:
    came: list[Applied] = []
    over = threading.Event()
    recorder = OutcomeRecorder(came.extend, Tally(), lambda done: None)
    lane = PutThreadPool(
        iter([steps(count)]),
        cast(Storage, store),
        recorder,
        ended=lambda: False,
        hand_over=lambda step, error: pytest.fail(f"{step.target} was handed over"),
        finished=over.set,
        clock=lambda: store.now,
    )
    lane.start()
    assert over.wait(30)
    assert lane.crash is None
    recorder.close()
    return came


@pytest.mark.parametrize(
    ("seconds", "at_first", "most"), [(0.0001, CHUNK, CHUNK), (0.005, 20, 40), (0.03, 3, 6), (2.0, 1, 1)]
)
def test_a_turn_is_a_moment_however_far_the_store_is(seconds: float, at_first: int, most: int) -> None:
    store = OneAtATime(seconds)
    came = run(store, 500)
    assert sorted(applied.target for applied in came) == sorted(step.target for step in steps(500))
    assert store.taken[0] == 1  # nobody knows yet
    early = [taken for n, taken in enumerate(store.taken) if sum(store.taken[:n]) * seconds < 0.4]
    assert max(early) == at_first, "the pace has to learn what the threads bring"
    assert max(store.taken) == most


class AllTogether:
    """A store that answers nobody until all that it has room for have come."""

    capabilities = Capabilities(listing_md5=True, conditional=True)
    now = 0.0

    def __init__(self, concurrency_limit: int) -> None:
        self.concurrency_limit = concurrency_limit
        self._everybody = threading.Barrier(concurrency_limit)

    def put_blocking(self, puts: Sequence[Put], *, ended: Callable[[], bool]) -> list[str]:
        self._everybody.wait(20)
        return ["token" for _ in puts]


def test_there_are_as_many_threads_as_the_pace_has_room_for() -> None:
    came = run(AllTogether(50), 50)  # each of them takes one: nobody knows yet what a step costs
    assert len(came) == 50


def test_no_outcome_is_lost_between_threads() -> None:
    came: list[Applied] = []
    tally, seen = Tally(), []
    recorder = OutcomeRecorder(came.extend, tally, seen.append)
    together = threading.Barrier(8)

    def add(number: int) -> None:
        together.wait()
        for n in range(200):
            target = f"{number}/{n}"
            recorder.add([Applied(target, Action.CREATE, Outcome.DONE, "token", "md5")])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    assert len(came) == len({applied.target for applied in came}) == tally.create == sum(seen) == 1600
    recorder.add([Applied("late", Action.CREATE, Outcome.DONE, "token", "md5")])
    assert len(came) == tally.create == 1600
