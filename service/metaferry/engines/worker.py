"""The process of one worker: `python -m metaferry.engines.worker FD`, started by `processes.py`.

Reads its order from the pipe at FD, applies the documents of its shards, and says what became of
them. It stops when it is told to or when the pipe closes, and leaves signals to the run itself: a
terminal sends Ctrl-C to everybody.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Final

from metaferry.apply.apply import WRITES, apply_plan
from metaferry.apply.outcome import Applied, Tally
from metaferry.engines.processes import GO_ON, ShardTask, WorkerChannel, WorkerResult
from metaferry.errors import MetaferryError
from metaferry.progress import Stop
from metaferry.storage.counts import RequestCounts
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.rates import RateHistory

#: Outcomes that are sent at once.
_BATCH: Final = 256


class _OutcomeChannel(WorkerChannel):
    """Sends outcomes in batches, too. `record` and `flush_outcomes` are called from one thread at a time."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(pipe)
        self._waiting: list[Applied] = []

    def record(self, outcomes: Sequence[Applied]) -> None:
        self._waiting.extend(outcomes)
        if len(self._waiting) >= _BATCH:
            self.flush_outcomes()

    def flush_outcomes(self) -> None:
        outcomes, self._waiting = self._waiting, []
        if outcomes:
            self.send(outcomes)


def work(pipe: Connection) -> None:
    """Does what the first message says; the last message is a `WorkerResult`."""
    try:
        task: ShardTask = pipe.recv()
    except (EOFError, OSError):
        return  # the run ended before it had anything to be done
    stop = Stop()
    heartbeat = Heartbeat(task.silence)
    stop.guard(heartbeat.check)
    threading.Thread(target=heartbeat.listen, args=(pipe, stop), daemon=True).start()
    channel = _OutcomeChannel(pipe)
    logging.getLogger().addHandler(channel)
    last, tally = WorkerResult(RequestCounts(), RateHistory(), None), Tally()
    try:
        with Portal() as portal:
            storage = open_storage(task.opening.url, task.opening.options, **task.opening.settings)
            try:
                portal.run(
                    apply_plan(
                        task.plan,
                        storage,
                        concurrency=task.concurrency,
                        record=channel.record,
                        tally=tally,
                        stop=stop,
                        grace=task.grace,
                        phases=(WRITES,),
                        shards=task.shards,
                    )
                )
            finally:
                portal.run(storage.close())
                last = WorkerResult(storage.requests, storage.rates, stop.abandoned, tally.outage)
    except BaseException as error:  # noqa: BLE001 - the run raises it
        last = WorkerResult(last.requests, last.rates, error)
    with contextlib.suppress(OSError):  # nobody listens any more: the run has ended
        channel.flush_outcomes()
        channel.send(last)


class Heartbeat:
    """Hears what the run says; and when it has said nothing for `silence` seconds."""

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._heard = time.monotonic()

    def listen(self, pipe: Connection, stop: Stop) -> None:
        with contextlib.suppress(EOFError, OSError):
            while pipe.recv() == GO_ON:
                self._heard = time.monotonic()
        stop.request()

    def check(self) -> MetaferryError | None:
        """Why the work is given up: a run that is suspended keeps no lease, and others may have it by now."""
        silent = time.monotonic() - self._heard
        if silent < self._silence:
            return None
        return MetaferryError(
            f"a worker process heard nothing of its run for {silent:.0f} s and stopped",
            advice="run it again: it goes on where this one stopped",
        )


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(50_000, 20, 100)  # as the command line does
    work(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
