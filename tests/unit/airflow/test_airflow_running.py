"""A call inside a task: what it returns and raises, and how it ends when the task is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from metaferry.airflow import running
from metaferry.airflow.running import Task, given_variables
from metaferry.progress import Stop


def test_it_returns_what_the_work_returns() -> None:
    assert Task().run(lambda stop: 7) == 7


def test_it_raises_what_the_work_raises() -> None:
    def work(stop: Stop) -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        Task().run(work)


def test_cancelled_from_elsewhere_it_drains_and_returns() -> None:
    begun = threading.Event()

    def work(stop: Stop) -> int | None:
        ended = threading.Event()
        stop.listen(ended.set)
        begun.set()
        assert ended.wait(30)
        return stop.signal

    task = Task()
    killer = threading.Thread(target=lambda: (begun.wait(30), task.cancel()))
    killer.start()
    assert task.run(work) == 15
    killer.join()


class _Interrupting(threading.Event):
    """Airflow 2 raises out of its signal handler, wherever the main thread is: here, in the first wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if len(self.waits) == 1:
            raise KeyboardInterrupt
        return super().wait(timeout)


def test_an_error_out_of_the_wait_drains_first(monkeypatch: pytest.MonkeyPatch) -> None:
    drained = threading.Event()

    def work(stop: Stop) -> None:
        ended = threading.Event()
        stop.listen(ended.set)
        assert ended.wait(30)
        drained.set()

    task = Task()
    monkeypatch.setattr(task, "_done", interrupting := _Interrupting())
    with pytest.raises(KeyboardInterrupt):
        task.run(work)
    assert drained.is_set()
    assert interrupting.waits == [None, running._TIMEOUT]


def test_what_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = threading.Event()
    task = Task()
    monkeypatch.setattr(task, "_done", _Interrupting())
    monkeypatch.setattr(running, "_TIMEOUT", 0.01)
    with pytest.raises(KeyboardInterrupt):
        task.run(lambda stop: free.wait(30))
    assert "given up" in caplog.text
    free.set()


def test_without_airflow_one_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['airflow'] = None; from metaferry.airflow import MetaferrySyncOperator"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "metaferry[airflow]"' in done.stderr.splitlines()[-1]


def test_variables_of_a_call_are_those_of_before_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_PG", "before")
    monkeypatch.delenv("FLEET_MYSQL", raising=False)
    with given_variables({"FLEET_PG": "a", "FLEET_MYSQL": "b"}):
        assert (os.environ["FLEET_PG"], os.environ["FLEET_MYSQL"]) == ("a", "b")
    assert os.environ["FLEET_PG"] == "before"
    assert "FLEET_MYSQL" not in os.environ
