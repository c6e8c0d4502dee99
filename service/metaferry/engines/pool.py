"""An executor of processes on this machine, each a fresh interpreter; one that dies is replaced.

Not the standard library's pool, which is broken for good when one of its processes dies, and whose
processes run the caller's main module again, which starts a second run in a script that has no guard
against it. A worker whose pipe closes takes no more calls, drains and ends, so none outlives the run.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, TypeVar

from metaferry.engines.channel import ALIVE, CALL, CANCEL, END, Answer, LogLine
from metaferry.errors import MetaferryError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that a worker gets to end beyond what its calls have to drain.
_END_TIMEOUT: Final = 5.0
#: Seconds between two looks at whether the pool has ended, while a call sends nothing.
_POLL: Final = 1.0


class WorkerLost(MetaferryError):
    """A worker ended during a call; `how` says by which signal, or with which code."""

    def __init__(self, how: str) -> None:
        super().__init__(f"its worker {how}", advice="where memory is short, set `workers: 1`")
        self.how = how


class _Worker(NamedTuple):
    pipe: Connection
    process: subprocess.Popen[bytes]


class ProcessPool(Executor):
    """`workers` processes. A call whose process ends raises WorkerLost; the next one has a new process.

    `scope` is the cancellation scope of the calls; `grace` the seconds that they have to drain. What a
    call sends (`this_channel().send`) is given to `receive`, from the thread of its process. With
    `heartbeat` a worker gets a sign of life every so many seconds, from that thread too: a call can
    then see that this process is suspended.
    """

    def __init__(
        self,
        workers: int,
        *,
        scope: str,
        grace: float,
        receive: Callable[[Any], None] = lambda message: None,
        heartbeat: float | None = None,
    ) -> None:
        self._scope = scope
        self._grace = grace
        self._receive = receive
        self._heartbeat = heartbeat
        self._calls: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._pipes: dict[int, Connection] = {}
        self._lock = threading.Lock()  # of the pipes: two threads may write into one
        self._cancelled = False
        self._ends_at = float("inf")
        self._serving = workers
        self._threads = [
            threading.Thread(target=self._serve, args=(n,), name=f"metaferry-worker-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        # Pickled here, so that what cannot be is the caller's error and no worker's.
        self._calls.put((future, pickle.dumps((fn, args, kwargs))))
        return future

    def cancel(self) -> None:
        """Asks the calls to drain: those that run, and those that have not begun."""
        with self._lock:
            self._cancelled = True
            self._send_all(CANCEL)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes: calls that run are asked to drain, those that have not begun are cancelled."""
        self._ends_at = time.monotonic() + self._grace + _END_TIMEOUT
        for _ in self._threads:
            self._calls.put(None)
        with self._lock:
            self._send_all(END)
        if wait:
            for thread in self._threads:
                thread.join()

    def _send_all(self, message: bytes) -> None:
        for pipe in self._pipes.values():
            with contextlib.suppress(OSError):  # that process has ended by itself
                pipe.send_bytes(message)

    def _serve(self, number: int) -> None:
        """The thread of one process: sends it calls, one at a time, and receives what they answer."""
        worker: _Worker | None = None
        while (item := self._calls.get()) is not None:
            future, call = item
            if self._ends_at < float("inf") or future.cancelled():
                future.cancel()
                continue
            if worker is None:
                try:
                    worker = _Worker(*start_worker(self._scope))
                except OSError as error:
                    if self._leave_to_others(item, error):
                        return
                    future.set_exception(not_started(error))
                    continue
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answer = self._call(number, worker.pipe, call)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller waits for the answer
                code = self._end(number, worker)
                worker = None
                future.set_exception(_lost(code) if isinstance(error, EOFError | OSError) else error)
            else:
                if answer.error is None:
                    future.set_result(answer.value)
                else:
                    future.set_exception(answer.error)
                del answer
            del future, call, item  # a result is its owner's alone
        if worker is not None:
            self._end(number, worker)

    def _call(self, number: int, pipe: Connection, call: bytes) -> Answer:
        """Raises EOFError or OSError where the process has ended, or did not end in time."""
        with self._lock:
            self._pipes[number] = pipe
            if self._cancelled:
                pipe.send_bytes(CANCEL)
            pipe.send_bytes(CALL + call)
        while True:
            if self._heartbeat is not None:
                with self._lock:
                    pipe.send_bytes(ALIVE)
            if not pipe.poll(self._heartbeat or _POLL):
                if time.monotonic() >= self._ends_at:
                    raise TimeoutError("the call did not drain in time")
                continue
            message = pipe.recv()
            if isinstance(message, Answer):
                return message
            if isinstance(message, LogLine):
                message.log()
            else:
                self._receive(message)

    def _leave_to_others(self, item: tuple[Future[Any], bytes], error: OSError) -> bool:
        """Gives the call back where another process may run it; that one is missing fails no call."""
        with self._lock:
            if self._serving == 1:
                return False
            self._serving -= 1
            left = self._serving
        log.warning("%s; %d of them go on", not_started(error).message, left)
        self._calls.put(item)
        return True

    def _end(self, number: int, worker: _Worker) -> int:
        """Closes the pipe, waits for the process, kills it where it takes too long; its exit code."""
        with self._lock:
            self._pipes.pop(number, None)
            worker.pipe.close()
        left = min(self._grace + _END_TIMEOUT, self._ends_at - time.monotonic())
        try:
            worker.process.wait(max(0.0, left))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        return int(worker.process.returncode)


def start_worker(*arguments: str) -> tuple[Connection, subprocess.Popen[bytes]]:
    """A process of `metaferry.engines.worker` with these arguments, and our end of its pipe.

    Raises OSError where the system starts no more.
    """
    here, there = multiprocessing.Pipe()
    with there, contextlib.ExitStack() as undone:
        undone.callback(here.close)
        process = subprocess.Popen(
            (sys.executable, "-P", "-m", "metaferry.engines.worker", str(there.fileno()), *arguments),
            pass_fds=(there.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        undone.pop_all()
    return here, process


def not_started(error: OSError) -> MetaferryError:
    """The error for a process that the system does not start."""
    return MetaferryError(
        f"a worker process could not be started ({os.strerror(error.errno) if error.errno else error})",
        advice="see what this machine allows of processes, open files and memory, or set `workers: 1`",
    )


def _lost(code: int) -> WorkerLost:
    return WorkerLost(f"was killed by signal {-code}" if code < 0 else f"ended with code {code}")
