"""`run_shards` on an executor that does what the test says, and on real processes."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from metaferry.engines import dask_cluster as cluster
from metaferry.engines import pool as engine
from metaferry.engines.cancellation import cancel, cancellation_scope
from metaferry.engines.choose import check_engine, open_workers
from metaferry.engines.pool import ProcessPool, WorkerLost
from metaferry.engines.shards import Ran, Workers, run_shards
from metaferry.errors import Denied, LeaseLost, MetaferryError, Unavailable, UsageError
from metaferry.progress import Stop
from unit.engines.tasks import Order, work


class Hands(Executor):
    """Takes tasks; each ends when the test says so, and how."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.open: dict[int, Future[Any]] = {}
        self.task: list[int] = []
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._changed:
            self.open[args[0]] = future
            self.task.append(args[0])
            self.most = max(self.most, len(self.open))
            self._changed.notify_all()
        return future

    def wait_for(self, shard: int, attempt: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.task.count(shard) >= attempt, 20)

    def end(self, shard: int, result: Any = None, attempt: int = 1) -> weakref.ref[Future[Any]]:
        """Waits until the shard is there for that attempt, and ends it with an answer or an error."""
        self.wait_for(shard, attempt)
        with self._changed:
            future = self.open.pop(shard)
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result or {"shard": shard})
        return weakref.ref(future)


class Running:
    """`run_shards` in a thread, so that the test can be its executor."""

    def __init__(
        self, hands: Hands, shards: int, *, window: int = 2, grace: float = 20.0, **more: Any
    ) -> None:
        self.stop, self.rings, self.cancelled = Stop(), 0, threading.Event()
        self.answers: list[tuple[int, Mapping[str, Any]]] = []
        self.ended: Ran | BaseException | None = None
        workers = Workers(hands, parallelism=window, window=window, cancel=self._cancel, **more)

        def run() -> None:
            try:
                self.ended = run_shards(
                    workers,
                    work,  # type: ignore[arg-type]
                    {n: n for n in range(shards)},
                    stop=self.stop,
                    grace=grace,
                    done=lambda shard, answer: self.answers.append((shard, answer)),
                )
            except BaseException as error:
                self.ended = error

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def _cancel(self) -> None:
        self.rings += 1
        self.cancelled.set()

    def result(self) -> Ran:
        self.thread.join(20)
        assert isinstance(self.ended, Ran), self.ended
        return self.ended

    def error(self) -> BaseException:
        self.thread.join(20)
        assert isinstance(self.ended, BaseException)
        return self.ended


def test_a_window_slides_and_answers_are_let_go() -> None:
    hands = Hands()
    running = Running(hands, 7, window=3)
    gone = [hands.end(shard) for shard in (0, 2, 1, 4, 3)]
    hands.wait_for(6)
    hands.wait_for(5)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5, "a future that is done is kept by nobody"
    gone += [hands.end(shard) for shard in (5, 6)]
    assert running.result() == Ran(runs=7)
    assert sorted(shard for shard, _ in running.answers) == list(range(7))
    assert (hands.most, running.rings) == (3, 0)


def test_only_what_was_lost_is_run_again() -> None:
    hands = Hands()
    running = Running(hands, 4)
    hands.end(0, WorkerLost("was killed by signal 9"))
    for shard in (1, 2, 3):
        hands.end(shard)
    hands.end(0, attempt=2)
    assert running.result() == Ran(runs=5)
    assert hands.task == [0, 1, 2, 3, 0]


def test_an_executor_that_lets_go_of_a_task_is_no_answer() -> None:
    hands = Hands()
    running = Running(hands, 1)
    hands.wait_for(0)
    future = hands.open.pop(0)
    future.cancel()
    future.set_running_or_notify_cancel()
    hands.end(0, attempt=2)
    assert running.result() == Ran(runs=2)


def test_poison_is_given_up_and_named_and_the_others_go_on() -> None:
    hands = Hands()
    running = Running(hands, 3)
    hands.end(0, RuntimeError("canary-secret-0815"))
    hands.end(1, Unavailable("the store is away"))
    hands.end(2)
    hands.end(1, attempt=2)
    for attempt in (2, 3):
        hands.end(0, RuntimeError("canary-secret-0815"), attempt=attempt)
    ran = running.result()
    assert (ran.given_up, ran.left, ran.runs) == ({0: "RuntimeError"}, [], 6)


def test_what_the_executor_tried_itself_is_not_tried_again() -> None:
    class Killed(Exception):
        pass

    hands = Hands()
    running = Running(hands, 1, final=(Killed,))
    hands.end(0, Killed())
    assert running.result() == Ran(given_up={0: "Killed"}, runs=1)


@pytest.mark.parametrize("error", [Denied("no right"), LeaseLost("gone"), UsageError("no such plan")])
def test_what_meets_all_ends_it_once_the_others_have_drained(error: MetaferryError) -> None:
    hands = Hands()
    running = Running(hands, 9)
    hands.wait_for(1)
    hands.end(0, error)
    assert running.cancelled.wait(20)
    hands.end(1)
    assert running.error() is error
    assert (running.rings, [shard for shard, _ in running.answers]) == (1, [1])
    assert len(hands.task) == 2


def test_a_stop_begins_nothing_more_and_hears_what_is_under_way() -> None:
    hands = Hands()
    running = Running(hands, 9)
    hands.end(0)
    hands.wait_for(2)
    running.stop.request()
    assert running.cancelled.wait(20)
    hands.end(1)
    hands.end(2)
    ran = running.result()
    assert sorted(shard for shard, _ in running.answers) == [0, 1, 2]
    assert (ran.left[0], running.rings) == (3, 1)


def test_what_does_not_end_within_its_grace_is_left() -> None:
    hands = Hands()
    running = Running(hands, 2, grace=0.0)
    hands.wait_for(1)
    running.stop.request()
    assert sorted(running.result().left) == [0, 1]
    assert running.answers == []


# -- on real processes


@pytest.fixture
def local() -> Iterator[ProcessPool]:
    workers = ProcessPool(2, scope="test", grace=5.0)
    yield workers
    workers.shutdown()


def run_local(
    local: ProcessPool, folder: Path, what: dict[int, str], **more: Any
) -> tuple[Ran, dict[int, Any]]:
    answers: dict[int, Any] = {}
    tasks = {shard: Order(shard, folder, "test", each) for shard, each in what.items()}
    ran = run_shards(
        Workers(local, parallelism=2, window=2, cancel=local.cancel),
        work,
        tasks,
        stop=more.get("stop", Stop()),
        grace=20.0,
        done=answers.__setitem__,
    )
    return ran, answers


def attempts(folder: Path) -> dict[int, int]:
    found = [int(path.name.partition("-")[0]) for path in folder.iterdir()]
    return {shard: found.count(shard) for shard in sorted(set(found))}


def test_a_process_that_dies_is_replaced(local: ProcessPool, tmp_path: Path) -> None:
    what = dict.fromkeys(range(6), "answer") | {1: "die once", 4: "die"}
    ran, answers = run_local(local, tmp_path, what)
    assert ran.given_up == {4: "its worker was killed by signal 9"}
    assert attempts(tmp_path) == {0: 1, 1: 2, 2: 1, 3: 1, 4: 3, 5: 1}
    assert set(answers) == {0, 1, 2, 3, 5}
    assert os.getpid() not in {answer["pid"] for answer in answers.values()}


def no_process(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    """Lets the system start so many more processes, and none after them."""
    start, count = engine.start_worker, itertools.count()
    lock = threading.Lock()

    def limited(*arguments: str) -> Any:
        with lock:
            if next(count) >= started:
                raise BlockingIOError(errno.EAGAIN, "no more processes")
        return start(*arguments)

    monkeypatch.setattr(engine, "start_worker", limited)


def test_where_no_process_can_be_started_the_run_ends(
    local: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_process(monkeypatch, 0)
    ran, answers = run_local(local, tmp_path, dict.fromkeys(range(4), "answer"))
    assert set(ran.given_up) == set(range(4))
    assert "could not be started (Resource temporarily unavailable)" in ran.given_up[0]
    assert answers == {}


def test_one_process_does_what_another_was_not_started_for(
    local: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_process(monkeypatch, 1)
    ran, answers = run_local(local, tmp_path, dict.fromkeys(range(6), "answer"))
    assert (ran.given_up, set(answers)) == ({}, set(range(6)))
    assert "could not be started" in caplog.text


def test_an_answer_that_cannot_be_read_here_is_told(
    local: ProcessPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything that ends the wait for an answer ends the shard, and not the thread that waits."""

    def unreadable(connection: object) -> Any:
        raise ModuleNotFoundError("no such module here")

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "recv", unreadable)
        ran, _ = run_local(local, tmp_path, {0: "answer"})
    assert ran.given_up == {0: "ModuleNotFoundError"}
    ran, answers = run_local(local, tmp_path, {1: "answer"})
    assert (ran.given_up, set(answers)) == ({}, {1})


def test_errors_and_answers_that_cannot_travel_are_told(local: ProcessPool, tmp_path: Path) -> None:
    ran, _ = run_local(local, tmp_path, {0: "raise", 1: "unpicklable", 2: "answer"})
    assert ran.given_up[0] == "RuntimeError"
    assert set(ran.given_up) == {0, 1}
    with pytest.raises(Denied) as caught:
        run_local(local, tmp_path, {3: "denied"})
    assert (caught.value.url, caught.value.path) == ("s3://b", "x")


def test_what_a_process_logs_is_logged_here(
    local: ProcessPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ran, answers = run_local(local, tmp_path, {0: "log", 1: "log", 2: "answer"})
    assert (ran.given_up, set(answers)) == ({}, {0, 1, 2})
    said = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert sorted(said) == [("metaferry.task", "WARNING", f"of shard {n}") for n in (0, 1)]


def test_a_cancellation_reaches_the_processes(local: ProcessPool, tmp_path: Path) -> None:
    stop = Stop()

    def watch() -> None:
        while len(attempts(tmp_path)) < 2:
            ended.wait(0.01)
        stop.request()

    ended = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    ran, answers = run_local(local, tmp_path, {0: "wait", 1: "wait", 2: "wait"}, stop=stop)
    watching.join()
    assert {answer["heard"] for answer in answers.values()} == {True}
    assert (set(answers), ran.left) == ({0, 1}, [2])


def test_what_cannot_be_sent_is_the_callers_error(local: ProcessPool) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError)):  # the latter since Python 3.14
        local.submit(lambda: None)


def test_a_shutdown_leaves_no_process(tmp_path: Path) -> None:
    workers = ProcessPool(2, scope="b", grace=5.0)
    pid = workers.submit(work, Order(0, tmp_path)).result(30)["pid"]
    waiting = workers.submit(work, Order(1, tmp_path, "b", "wait"))
    workers.shutdown()
    assert waiting.cancelled() or waiting.result()["heard"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# -- cancellation and names


def test_a_cancellation_holds_before_and_after_and_for_its_scope_only() -> None:
    with (
        cancellation_scope("mine") as one,
        cancellation_scope("mine") as two,
        cancellation_scope("other") as other,
    ):
        assert not one.requested
        cancel("mine")
        assert (one.requested, two.requested, other.requested) == (True, True, False)
    with cancellation_scope("mine") as late:
        assert late.requested


@pytest.mark.parametrize("name", ["ray", "dask=here", "dask=", "local=2", ""])
def test_what_is_no_engine(name: str) -> None:
    with pytest.raises(UsageError, match="should be local, dask or dask=ADDRESS"):
        check_engine(name)


def test_without_dask_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cluster.sys.modules, "distributed", None)
    with (
        pytest.raises(UsageError, match="which is not installed") as caught,
        open_workers("dask", scope="b", workers=1, grace=1.0),
    ):
        raise AssertionError
    assert 'pip install "metaferry[dask]"' in caught.value.advice


@pytest.mark.slow
@pytest.mark.parametrize("does", ["import os; os._exit(3)", "import time; time.sleep(300)"])
def test_a_worker_of_dask_that_cannot_start_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """Whether it ends at once, or hangs: Dask itself would wait for ever for the second."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    script = tmp_path / "preload.py"
    script.write_text(does)
    monkeypatch.setattr(cluster, "START", 5.0)
    with (
        dask.config.set({"distributed.worker.preload": [str(script)]}),
        pytest.raises(MetaferryError, match="worker processes cannot be started here"),
        open_workers("dask", scope="b", workers=1, grace=1.0),
    ):
        raise AssertionError
