"""A call of the library inside an Airflow task: cancelled by a signal, drained in time, report as a dict.

Airflow 3 sends SIGTERM, which calls `on_kill` in the main thread, and SIGKILL five seconds later;
Airflow 2 raises an error out of the signal handler, wherever the main thread is. So the work runs
in its own thread, and the main thread only waits, drains and returns the outcome.
Nothing here imports Airflow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar

from metaferry.progress import Stop

if TYPE_CHECKING:
    from metaferry.job.model import Job
    from metaferry.planning.formats import Report

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds that requests under way get after a signal, and after which the wait is given up. Airflow 3
#: kills five seconds after its SIGTERM.
GRACE: Final = 3.5
_TIMEOUT: Final = 4.5


class Task:
    """One call, which observes `stop`: `run` in the main thread, `cancel` from any thread at any time."""

    def __init__(self) -> None:
        self.stop = Stop()
        self._done = threading.Event()

    def run(self, work: Callable[[Stop], T]) -> T:
        """What `work` returns or raises. An error that interrupts the wait is raised after a drain."""
        outcome: Future[T] = Future()
        # A daemon thread: it must not keep the process, which is killed anyway.
        serving = threading.Thread(
            target=self._serve, args=(work, outcome), name="metaferry-task", daemon=True
        )
        serving.start()
        try:
            self._done.wait()
        except BaseException:
            self.cancel()
            if not self._done.wait(_TIMEOUT):
                log.warning("requests under way did not end within %.1f s and are given up", _TIMEOUT)
            raise
        return outcome.result()

    def cancel(self) -> None:
        """Starts nothing new from here on; what is under way ends within `GRACE`."""
        self.stop.request(signal.SIGTERM)

    def _serve(self, work: Callable[[Stop], T], outcome: Future[T]) -> None:
        try:
            outcome.set_result(work(self.stop))
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            outcome.set_exception(error)
        finally:
            self._done.set()


@contextlib.contextmanager
def given_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment for one block: what a kept plan is restored from, also in processes that
    the block starts. Each task of Airflow is a process of its own."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def in_a_task(job: Job) -> Job:
    """The same job, with its `grace` limited to what Airflow gives a task that it ends."""
    return job.model_copy(update={"grace": min(job.grace, GRACE)})


def summary(report: Report) -> dict[str, Any]:
    """The report without examples and rates: small, plain values for XCom, and nothing secret."""
    shown = report.to_dict()
    for name in ("examples", "finding_examples", "rate"):
        del shown[name]
    return shown


def counts(report: Report) -> dict[str, Any]:
    """The `extra` of an asset event: the counts of the run."""
    documents = report.to_dict()["documents"]
    return {
        "run_id": report.run_id,
        "report": report.report_url,
        "documents": documents,
        "media": report.to_dict()["media"],
        "rejected": report.rejected,
    }
