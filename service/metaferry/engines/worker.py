"""The process of one worker: `python -m metaferry.engines.worker FD SCOPE`, started by `pool.py`.

Runs one call after the other that comes through the pipe at FD. When the pool cancels, or the pipe
closes, it cancels the tasks of SCOPE; it ends when the pool says so. Signals are left to the process of
the pool: a terminal sends Ctrl-C to all of them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import pickle
import queue
import signal
import sys
import threading
from multiprocessing.connection import Connection

from metaferry.engines.cancellation import cancel
from metaferry.engines.channel import ALIVE, CALL, CANCEL, END, Answer, WorkerChannel, open_channel
from metaferry.errors import MetaferryError


def work(pipe: Connection, scope: str) -> None:
    """Runs calls until the pool ends, while a thread reads the pipe."""
    calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    channel = open_channel(pipe)
    logging.getLogger().addHandler(channel)
    threading.Thread(target=_listen, args=(channel, scope, calls), daemon=True).start()
    while (call := calls.get()) is not None:
        try:
            fn, args, kwargs = pickle.loads(call)
            answer = pickle.dumps(Answer(fn(*args, **kwargs)))
        except BaseException as error:  # noqa: BLE001 - whoever submitted the call raises it
            answer = _failure(error)
        with contextlib.suppress(OSError):  # the pool is gone: the run has ended
            channel.send_bytes(answer)


def _listen(channel: WorkerChannel, scope: str, calls: queue.SimpleQueue[bytes | None]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while (message := channel.receive()) != END:
            if message == CANCEL:
                cancel(scope)
            elif message != ALIVE:
                calls.put(message[len(CALL) :])
    cancel(scope)
    calls.put(None)


def _failure(error: BaseException) -> bytes:
    try:
        answer = pickle.dumps(Answer(error=error))
        pickle.loads(answer)  # some errors can be pickled and not unpickled
    except Exception:  # noqa: BLE001 - then its type alone
        answer = pickle.dumps(Answer(error=MetaferryError(f"{type(error).__name__} in a worker")))
    return answer


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(50_000, 20, 100)  # as the command line does
    work(Connection(int(sys.argv[1])), sys.argv[2])


if __name__ == "__main__":
    main()
