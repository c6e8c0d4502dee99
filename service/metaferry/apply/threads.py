"""The thread lane: writes documents by blocking puts, as many threads as the pace allows.

A put of a few hundred bytes costs half as much here as on an event loop. A thread makes one
attempt, never waits and never retries: what has no turn now, and whatever an attempt met, is handed
to the loop lane, which settles it. Threads come and go with the width of the pace.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final

from metaferry.apply.outcome import Applied, Book
from metaferry.apply.shards import Step
from metaferry.apply.step import done, precondition
from metaferry.errors import StorageError
from metaferry.storage.contract import Storage

#: Steps that a thread takes at once: few enough that all threads end together.
CHUNK: Final = 8
#: Chunks read ahead of the threads; with the batch being cut up, all that is in memory.
_AHEAD: Final = 64


class ThreadLane:
    """`start`, and `finished` is called from one of the threads when the last of them has ended.

    `hand_over` blocks until the loop lane has room. `ended` says that no further step is to be
    taken. An exception that is no outcome is kept in `crash`.
    """

    def __init__(
        self,
        source: Iterator[list[Step]],
        storage: Storage,
        book: Book,
        *,
        ended: Callable[[], bool],
        hand_over: Callable[[Step, StorageError | None], None],
        finished: Callable[[], None],
    ) -> None:
        self._source = source
        self._storage = storage
        self._book = book
        self._ended = ended
        self._hand_over = hand_over
        self._finished = finished
        self._chunks: queue.Queue[list[Step] | None] = queue.Queue(maxsize=_AHEAD)
        self._lock = threading.Lock()
        self._running = 0
        self._complete = False  # the last chunk has been taken
        self.crash: BaseException | None = None

    def start(self) -> None:
        # Daemons: an attempt that hangs beyond the grace of an interrupt must not hold the process.
        threading.Thread(target=self._read, name="metaferry-plan", daemon=True).start()
        self._widen()

    def _read(self) -> None:
        try:
            for batch in self._source:
                for start in range(0, len(batch), CHUNK):
                    if self._stopping():
                        return
                    self._chunks.put(batch[start : start + CHUNK])
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the lane
            self.crash = error
        finally:
            self._chunks.put(None)

    def _widen(self) -> None:
        """Starts as many threads as the pace has room for."""
        with self._lock:
            if self._complete:
                return
            missing = self._storage.window - self._running
            self._running += max(0, missing)
        for _ in range(missing):
            threading.Thread(target=self._work, name="metaferry-put", daemon=True).start()

    def _work(self) -> None:
        try:
            while (chunk := self._chunks.get()) is not None:
                self._write(chunk)
                if self._running < self._storage.window:
                    self._widen()
                elif self._one_too_many():
                    return
            self._complete = True
            self._chunks.put(None)  # for the next thread
        except BaseException as error:  # noqa: BLE001 - as above
            self.crash = error
            self._drain()
        with self._lock:
            self._running -= 1
            last = self._running == 0
        if last:
            self._finished()

    def _one_too_many(self) -> bool:
        """Whether the pace has become narrower than the threads are many; then this one is off the list."""
        with self._lock:
            if self._running <= max(1, self._storage.window):
                return False
            self._running -= 1
            return True

    def _write(self, chunk: list[Step]) -> None:
        outcomes: list[Applied] = []
        try:
            for step in chunk:
                if self._stopping():
                    return  # what is left of the plan is left for the next run
                try:
                    stamp = self._storage.put_now(
                        step.target, step.body, only_if=precondition(step, self._storage)
                    )
                except StorageError as error:
                    self._hand_over(step, error)
                    continue
                if stamp is None:
                    self._hand_over(step, None)
                else:
                    outcomes.append(done(step, stamp.token))
        finally:
            self._book.add(outcomes)

    def _stopping(self) -> bool:
        return self.crash is not None or self._ended()

    def _drain(self) -> None:
        """Lets the reader go, which may wait for room."""
        while self._chunks.get() is not None:
            pass
        self._chunks.put(None)
