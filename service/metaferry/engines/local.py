"""An executor of processes on this machine, each a fresh interpreter; one that dies is replaced.

Not the standard library's pool, which is broken for good when one of its processes dies, and whose
processes run the caller's main module again. A worker whose pipe closes takes nothing more, drains
and ends, so none outlives the run; it leaves signals to the run itself: a terminal sends Ctrl-C to
everybody.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from metaferry.engines.cancellation import cancel
from metaferry.engines.processes import LogLine, WorkerChannel, end_worker, not_started, start_worker
from metaferry.engines.shards import WorkerLost
from metaferry.errors import MetaferryError

T = TypeVar("T")

log = logging.getLogger(__name__)

#: What a worker is told: a task in pickled form, to ring the bell, to end.
_DO: Final = b"do "
_CANCEL: Final = b"ring"
_END: Final = b"end"

_MODULE: Final = "metaferry.engines.local"
#: Seconds that a worker gets to end, once its pipe is closed, beyond what its tasks were given.
_RESULT_TIMEOUT: Final = 5.0


class LocalWorkers(Executor):
    """So many processes. A task whose process ends gets a `WorkerLost`; the next has a new process.

    `scope` is what the tasks of this run listen for. `grace` is how many seconds they have to drain.
    """

    def __init__(self, workers: int, *, scope: str, grace: float) -> None:
        self._scope = scope
        self._grace = grace
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._pipes: dict[int, Connection] = {}
        self._lock = threading.Lock()  # of the pipes: two threads may write into one
        self._over = False
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
        self._tasks.put((future, pickle.dumps((fn, args, kwargs))))
        return future

    def cancel(self) -> None:
        """Rings the bell in every process."""
        self._tell(_CANCEL)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes: what is under way is asked to stop, what is not begun is cancelled."""
        self._over = True
        for _ in self._threads:
            self._tasks.put(None)
        self._tell(_END)
        if wait:
            for thread in self._threads:
                thread.join()

    def _tell(self, word: bytes) -> None:
        with self._lock:
            for pipe in self._pipes.values():
                with contextlib.suppress(OSError):  # it has ended by itself
                    pipe.send_bytes(word)

    def _serve(self, number: int) -> None:
        """The thread of one process: hands it tasks and hears what became of them."""
        process: subprocess.Popen[bytes] | None = None
        pipe: Connection | None = None
        while (task := self._tasks.get()) is not None:
            future, call = task
            if self._over or future.cancelled():
                future.cancel()
                continue
            if pipe is None:
                try:
                    pipe, process = start_worker(_MODULE, self._scope)
                except OSError as error:
                    if self._leave_to_others(task, error):
                        return
                    future.set_exception(not_started(error))
                    continue
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with self._lock:
                    self._pipes[number] = pipe
                    pipe.send_bytes(_DO + call)
                while isinstance(heard := pipe.recv(), LogLine):
                    heard.say()
                good, received = heard
            except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for the answer
                assert process is not None
                code = self._forget(number, pipe, process)
                future.set_exception(_lost(code) if isinstance(error, EOFError | OSError) else error)
                pipe = process = None
            else:
                if good:
                    future.set_result(received)
                else:
                    future.set_exception(received)
            del future, call, task  # a result is its owner's alone
        if process is not None:
            self._forget(number, pipe, process)

    def _leave_to_others(self, task: tuple[Future[Any], bytes], error: OSError) -> bool:
        """Gives the task back where another process may do it: that one is fewer is no shard's fault."""
        with self._lock:
            if self._serving == 1:
                return False
            self._serving -= 1
            left = self._serving
        log.warning("%s; %d of them go on", not_started(error).message, left)
        self._tasks.put(task)
        return True

    def _forget(self, number: int, pipe: Connection | None, process: subprocess.Popen[bytes]) -> int:
        with self._lock:
            self._pipes.pop(number, None)
            if pipe is not None:
                pipe.close()
        end_worker(process, self._grace + _RESULT_TIMEOUT)
        return int(process.returncode)


def _lost(code: int) -> WorkerLost:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return WorkerLost(f"its worker {how}", advice="where memory is short, set `workers: 1`")


# -- in the process itself


def work(pipe: Connection, scope: str) -> None:
    """Does one task after the other until it hears the end, while a thread listens."""
    tasks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    channel = WorkerChannel(pipe)
    logging.getLogger().addHandler(channel)
    threading.Thread(target=_listen, args=(pipe, scope, tasks), daemon=True).start()
    while (call := tasks.get()) is not None:
        try:
            fn, args, kwargs = pickle.loads(call)
            answer = pickle.dumps((True, fn(*args, **kwargs)))
        except BaseException as error:  # noqa: BLE001 - the run decides what it means
            answer = _failure(error)
        with contextlib.suppress(OSError):  # nobody listens any more: the run has ended
            channel.send_bytes(answer)


def _listen(pipe: Connection, scope: str, tasks: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while (message := pipe.recv_bytes()) != _END:
            if message == _CANCEL:
                cancel(scope)
            else:
                tasks.put(message[len(_DO) :])
    cancel(scope)
    tasks.put(None)


def _failure(error: BaseException) -> bytes:
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)  # some errors can be pickled but not unpickled
    except Exception:  # noqa: BLE001 - then in words
        answer = pickle.dumps((False, MetaferryError(f"{type(error).__name__} in a worker")))
    return answer


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    work(Connection(int(sys.argv[1])), sys.argv[2])


if __name__ == "__main__":
    main()
