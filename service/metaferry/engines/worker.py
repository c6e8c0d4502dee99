"""The process of one worker: `python -m metaferry.engines.worker FD`, started by `processes.py`.

Reads its order from the pipe at FD, applies the documents of its shards, and says what became of
them. It stops when it is told to or when the pipe closes, and leaves signals to the run itself: a
terminal sends Ctrl-C to everybody.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Final

from metaferry.apply.apply import WRITES, apply_plan
from metaferry.apply.outcome import Applied, Tally
from metaferry.engines.processes import LastWord, Order
from metaferry.progress import Stop
from metaferry.storage.contract import Requests
from metaferry.storage.open import open_storage
from metaferry.storage.portal import Portal
from metaferry.storage.rates import RateHistory

#: Outcomes that are sent at once.
_BATCH: Final = 256


class _Voice:
    """Sends outcomes in batches. Its methods are called from one thread at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._waiting: list[Applied] = []

    def record(self, outcomes: Sequence[Applied]) -> None:
        self._waiting.extend(outcomes)
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        outcomes, self._waiting = self._waiting, []
        if outcomes:
            self._pipe.send(outcomes)


def work(pipe: Connection) -> None:
    """Does what the first message says; the last message is a `LastWord`."""
    order: Order = pipe.recv()
    stop = Stop()
    threading.Thread(target=_listen, args=(pipe, stop), daemon=True).start()
    voice = _Voice(pipe)
    last = LastWord(Requests(), RateHistory(1.0, (), ()), None)
    try:
        with Portal() as portal:
            storage = open_storage(order.opening.url, order.opening.options, **order.opening.settings)
            try:
                portal.run(
                    apply_plan(
                        order.plan,
                        storage,
                        concurrency=order.concurrency,
                        record=voice.record,
                        tally=Tally(),
                        stop=stop,
                        grace=order.grace,
                        phases=(WRITES,),
                        shards=order.shards,
                    )
                )
            finally:
                portal.run(storage.close())
                last = LastWord(storage.requests, storage.rates, None)
    except BaseException as error:  # noqa: BLE001 - the run raises it
        last = LastWord(last.requests, last.rates, error)
    with contextlib.suppress(OSError):  # nobody listens any more: the run has ended
        voice.flush()
        pipe.send(last)


def _listen(pipe: Connection, stop: Stop) -> None:
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    stop.request()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # Warnings and errors go to the stderr that the run has; what a run says at length it says itself.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    work(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
