"""Applying a plan through both lanes: every step once, nothing taken after the end, nothing lost."""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.apply.apply import apply_plan
from metaferry.apply.outcome import Applied, Tally
from metaferry.errors import Denied, LeaseLost, Throttled, Unavailable
from metaferry.lightly.document import md5_hex
from metaferry.planning.formats import Action, Outcome
from metaferry.progress import Stop
from metaferry.storage.io.portal import Portal
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ANYTHING, Precondition, PutResult
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying


class Store(MemoryAdapter):
    """Memory whose puts a test can watch and disturb: `before` runs in the thread of the put."""

    def __init__(self, before: Callable[[str, int], None] = lambda path, call: None) -> None:
        super().__init__(f"apply-{uuid.uuid4()}")
        self.before = before
        self.calls = 0
        self.threads: set[int] = set()
        self._lock = threading.Lock()

    def put_blocking(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        with self._lock:
            self.calls += 1
            call = self.calls
            self.threads.add(threading.get_ident())
        self.before(path, call)
        return super().put_blocking(path, data, only_if=only_if)


class Looped(Store):
    """The same without a thread lane."""

    put_blocking = None  # type: ignore[assignment]

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        await asyncio.sleep(0)
        return Store.put_blocking(self, path, data, only_if=only_if)


def write_plan(
    folder: Path, rows: Sequence[tuple[str, str, str | None, str | None]], shards: int = 2
) -> Path:
    """A plan of (target, action, body, expect)."""
    for shard in range(shards):
        chosen = [row for n, row in enumerate(rows) if n % shards == shard]
        target, action, body, expect = (list(column) for column in zip(*chosen, strict=True))
        md5 = [None if text is None else md5_hex(text.encode()) for text in body]
        table = pa.table(
            {
                "target": pa.array(target, pa.string()),
                "action": pa.array(action, pa.string()),
                "body": pa.array(body, pa.string()),
                "md5": pa.array(md5, pa.string()),
                "expect": pa.array(expect, pa.string()),
            }
        )
        (folder / f"shard={shard:03d}").mkdir(parents=True)
        pq.write_table(table, folder / f"shard={shard:03d}/data_0.parquet")
    return folder


def creates(count: int) -> list[tuple[str, str, str | None, str | None]]:
    return [(f"doc-{n:06d}.json", "create", f'{{"n":{n}}}', None) for n in range(count)]


class Run:
    """One application of a plan, with what it recorded. Its clock moves only when somebody sleeps."""

    def __init__(self, store: Store, **policy: Any) -> None:
        self.store = store
        self.policy = policy
        self.now = 0.0
        self.rows: list[Applied] = []
        self.tally = Tally()
        self.advanced = 0

    def __call__(self, plan: Path, *, stop: Stop | None = None, grace: float = 20.0) -> Tally:
        with Portal() as portal:
            storage = Retrying(
                self.store,
                Policy(**self.policy),
                rng=random.Random(1),
                clock=lambda: self.now,
                sleep=self._sleep,
            )
            portal.run(
                apply_plan(
                    plan,
                    storage,
                    concurrency=16,
                    record=self.rows.extend,
                    tally=self.tally,
                    stop=stop,
                    grace=grace,
                    advance=self._advance,
                )
            )
        return self.tally

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def _advance(self, count: int) -> None:
        self.advanced += count

    def in_place(self) -> dict[str, bytes]:
        async def read() -> dict[str, bytes]:
            page = await self.store.list_page("")
            return {entry.path: (await self.store.read(entry.path)).data for entry in page.entries}

        return asyncio.run(read())


@pytest.mark.parametrize("store", [Store, Looped])
def test_every_step_is_done_and_recorded_once(tmp_path: Path, store: type[Store]) -> None:
    run = Run(store())
    rows = creates(900)
    tally = run(write_plan(tmp_path, rows))
    assert (tally.create, tally.failed, tally.stopped) == (900, 0, False)
    assert sorted(row.target for row in run.rows) == [row[0] for row in rows]
    assert run.advanced == 900
    assert tally.bytes == sum(len(row[2] or "") for row in rows)
    assert run.in_place() == {target: (body or "").encode() for target, _, body, _ in rows}


def test_documents_go_through_several_threads(tmp_path: Path) -> None:
    together = threading.Barrier(4)  # passes only when four puts are under way at once

    def before(path: str, call: int) -> None:
        if 2 <= call <= 5:
            together.wait(timeout=30)

    run = Run(Store(before))
    run(write_plan(tmp_path, creates(400)))
    assert len(run.store.threads) >= 4


@pytest.mark.parametrize("error", [Unavailable, Throttled])
def test_what_a_thread_met_is_settled_on_the_loop(tmp_path: Path, error: type[Exception]) -> None:
    def before(path: str, call: int) -> None:
        if call % 7 == 0:
            raise error("passing")

    run = Run(Store(before))
    tally = run(write_plan(tmp_path, creates(300)))
    assert (tally.create, tally.failed) == (300, 0)
    assert len(run.rows) == 300
    assert len(run.in_place()) == 300


def test_a_lost_answer_is_no_conflict(tmp_path: Path) -> None:
    store = Store()
    lost: set[str] = set()

    def put_blocking(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        put_result = Store.put_blocking(store, path, data, only_if=only_if)
        if path not in lost and path.endswith("3.json"):
            lost.add(path)
            raise Unavailable("the connection broke after the write")
        return put_result

    store.put_blocking = put_blocking  # type: ignore[method-assign]
    run = Run(store)
    tally = run(write_plan(tmp_path, creates(100)))
    assert len(lost) == 10
    assert (tally.create, tally.conflict, tally.foreign) == (100, 0, 0)


@pytest.mark.parametrize("store", [Store, Looped])
def test_a_missing_right_ends_the_run_at_the_first_document(tmp_path: Path, store: type[Store]) -> None:
    def before(path: str, call: int) -> None:
        raise Denied("no")

    run = Run(store(before))
    with pytest.raises(Denied, match="no"):
        run(write_plan(tmp_path, creates(500)))
    assert run.store.calls == 1
    assert run.rows == []


@pytest.mark.parametrize("store", [Store, Looped])
def test_a_right_that_is_lost_ends_the_run_soon(tmp_path: Path, store: type[Store]) -> None:
    def before(path: str, call: int) -> None:
        if call > 100:
            raise Denied("no")

    run = Run(store(before))
    with pytest.raises(Denied):
        run(write_plan(tmp_path, creates(3000)))
    assert run.store.calls < 1000
    assert len(run.rows) == len(run.in_place()) == 100


def test_one_document_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    def before(path: str, call: int) -> None:
        if path == "doc-000123.json":
            raise Unavailable("this one never works")

    run = Run(Store(before), retry_for=5.0)
    tally = run(write_plan(tmp_path, creates(300)))
    assert (tally.create, tally.failed) == (299, 1)
    (failure,) = tally.failures
    assert (failure.target, failure.outcome) == ("doc-000123.json", Outcome.FAILED)
    assert "this one never works" in failure.message


@pytest.mark.parametrize("store", [Store, Looped])
def test_a_stop_drains_and_says_exactly_what_was_done(tmp_path: Path, store: type[Store]) -> None:
    stop = Stop()

    def before(path: str, call: int) -> None:
        if call == 50:
            stop.request()

    run = Run(store(before))
    tally = run(write_plan(tmp_path, creates(5000)), stop=stop)
    assert tally.stopped
    assert 50 <= tally.create < 5000
    assert {row.target for row in run.rows} == set(run.in_place())
    assert len(run.rows) == tally.create == run.advanced


def test_what_hangs_is_given_up_after_the_grace(tmp_path: Path) -> None:
    stop, free = Stop(), threading.Event()

    def before(path: str, call: int) -> None:
        if call == 20:
            stop.request()
            free.wait(timeout=60)

    run = Run(Store(before))
    try:
        tally = run(write_plan(tmp_path, creates(2000)), stop=stop, grace=0.05)
        recorded = len(run.rows)
    finally:
        free.set()
    assert tally.stopped
    assert recorded == tally.create
    assert not free.wait(0) or recorded < 2000


def test_an_error_that_is_none_of_ours_is_raised(tmp_path: Path) -> None:
    def before(path: str, call: int) -> None:
        if call == 30:
            raise ZeroDivisionError("a bug")

    run = Run(Store(before))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(write_plan(tmp_path, creates(2000)))
    assert {row.target for row in run.rows} <= set(run.in_place())


def test_a_damaged_plan_is_raised_too(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, creates(100))
    (plan / "shard=001/data_0.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(pa.ArrowInvalid):
        Run(Store())(plan)


def test_what_somebody_else_wrote_is_looked_at_again_once_and_named(tmp_path: Path) -> None:
    store = Store()
    asyncio.run(MemoryAdapter.put(store, "doc-000001.json", b"theirs"))
    run = Run(store)
    tally = run(write_plan(tmp_path, creates(10)))
    assert (tally.create, tally.conflict, tally.foreign) == (10, 0, 1)
    (replaced,) = tally.replaced
    assert replaced.target == "doc-000001.json"
    assert run.in_place()["doc-000001.json"] == b'{"n":1}'


def test_who_keeps_writing_is_not_overwritten(tmp_path: Path) -> None:
    store = Store()

    def before(path: str, call: int) -> None:
        if path == "doc-000001.json":
            store._fs.store.pop(store._base + path, None)
            MemoryAdapter.put_blocking(store, path, f"theirs {call}".encode())

    store.before = before
    run = Run(store)
    tally = run(write_plan(tmp_path, creates(10)))
    assert (tally.create, tally.conflict, tally.foreign) == (9, 1, 0)
    assert "somebody else" in tally.failures[0].message
    assert run.in_place()["doc-000001.json"].startswith(b"theirs")


def test_deletes_come_after_the_writes_and_spare_what_was_changed(tmp_path: Path) -> None:
    store = Store()
    tokens = {
        name: asyncio.run(MemoryAdapter.put(store, name, b"old")).token for name in ("gone.json", "kept.json")
    }
    asyncio.run(MemoryAdapter.put(store, "kept.json", b"changed by somebody else"))
    rows = creates(20)
    rows += [(name, "delete", None, token) for name, token in tokens.items()]
    run = Run(store)
    tally = run(write_plan(tmp_path, rows))
    assert (tally.create, tally.delete, tally.not_deleted) == (20, 1, 1)
    assert [row.action for row in run.rows[-2:]] == [Action.DELETE, Action.DELETE]
    assert run.rows[-1].outcome is Outcome.CONFLICT or run.rows[-2].outcome is Outcome.CONFLICT
    assert "kept.json" in run.in_place()
    assert "gone.json" not in run.in_place()


def test_an_update_needs_the_version_that_was_seen(tmp_path: Path) -> None:
    store = Store()
    token = asyncio.run(MemoryAdapter.put(store, "a.json", b"old")).token
    seen: list[Precondition] = []
    plain = store.put_blocking

    def put_blocking(path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        seen.append(only_if)
        return plain(path, data, only_if=only_if)

    store.put_blocking = put_blocking  # type: ignore[method-assign]
    plan = write_plan(tmp_path, [("a.json", "update", "{}", token)], shards=1)
    assert Run(store)(plan).update == 1
    assert seen == [token]


def test_a_narrow_pace_ends_threads_and_loses_nothing(tmp_path: Path) -> None:
    """Refusals shrink the window to one while hundreds of steps are still to be written."""

    def before(path: str, call: int) -> None:
        if 40 <= call < 100:
            raise Throttled("slow down")

    run = Run(Store(before), retry_for=3600.0)
    tally = run(write_plan(tmp_path, creates(600)))
    assert (tally.create, tally.failed) == (600, 0)
    assert len({row.target for row in run.rows}) == 600


def test_nothing_to_do(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [("a.json", "keep", None, None)], shards=1)
    run = Run(Store())
    tally = run(plan)
    assert (tally.create, run.rows, run.store.calls) == (0, [], 0)


@pytest.mark.parametrize("kind", [Store, Looped])
def test_who_lost_the_lease_replaces_nothing_of_the_next_one(tmp_path: Path, kind: type[Store]) -> None:
    """A put was under way when the lease was lost, and the next run has written that document already."""
    store, stop = kind(), Stop()

    def before(path: str, call: int) -> None:
        if call == 5:
            stop.abandon(LeaseLost("another run has it"))
            MemoryAdapter.put_blocking(store, path, b"theirs")

    store.before = before
    run = Run(store)
    tally = run(write_plan(tmp_path, creates(200)), stop=stop)
    assert tally.stopped
    assert (tally.foreign, tally.replaced) == (0, [])
    assert list(run.in_place().values()).count(b"theirs") == 1
    assert store.calls < 200
