"""Writes documents by blocking puts, from as many threads as the concurrency limit allows.

A put of a few hundred bytes costs half as much here as on an event loop. A thread makes one
attempt and never retries: a document whose attempt failed, or would have to wait, is handed over to the
event loop, where the storage retries. Threads are added and end with the concurrency limit.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from metaferry.apply.refusals import OutcomeSink
from metaferry.apply.shards import Step, weighed
from metaferry.apply.step import done, to_put
from metaferry.errors import StorageError
from metaferry.storage.protocol import Storage

#: Steps that a thread takes at once, at most; and the seconds that they should take together. Few
#: enough that all threads end together.
CHUNK: Final = 64
_CHUNK_SECONDS: Final = 0.2
#: The same for so many seconds after threads were added: the concurrency controller needs their effect
#: soon. Not shorter: the cost of a chunk beside its requests would then dominate.
_INITIAL_CHUNK_SECONDS: Final = 0.1
_INITIAL: Final = 0.5
#: Bytes of bodies that a thread takes at once, where one body alone is not more.
_HEAVIEST: Final = 1 << 20
#: The reader waits while so many chunks, or bytes of them, are ready: with one more batch, and what the
#: threads have taken, that is all that is in memory.
_READY: Final = 64
_READY_BYTES: Final = 16 << 20


class PutThreadPool:
    """`start`, and `finished` is called from one of the threads when the last of them has ended.

    `hand_over` blocks until the event loop has room. `ended` returns whether no further step is to be
    taken. An exception that is no outcome is kept in `crash`.
    """

    def __init__(
        self,
        source: Iterator[list[Step]],
        storage: Storage,
        recorder: OutcomeSink,
        *,
        ended: Callable[[], bool],
        hand_over: Callable[[Step, StorageError | None], None],
        finished: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._storage = storage
        self._recorder = recorder
        self._ended = ended
        self._hand_over = hand_over
        self._finished = finished
        self._clock = clock
        self._chunks: deque[list[Step]] = deque()
        self._moved = threading.Condition()  # chunks were added, or many taken, or none will follow
        self._waits_for_room = False
        self._complete = False  # the plan has been read to its end
        self._lock = threading.Lock()
        self._running = 0
        self._last_added = float("-inf")
        self._over = False
        self.crash: BaseException | None = None

    def start(self) -> None:
        # Daemons: an attempt that hangs beyond the grace of an interrupt must not hold the process.
        self._add_thread()  # before there is anything to read: an early end has to be noticed by a thread
        threading.Thread(target=self._read, name="metaferry-plan", daemon=True).start()

    def _read(self) -> None:
        try:
            for batch in self._source:
                with self._moved:
                    self._waits_for_room = True
                    self._moved.wait_for(lambda: self._has_room() or self._stopping())
                    self._waits_for_room = False
                if self._stopping():
                    return
                self._chunks.extend(weighed(batch, CHUNK, _HEAVIEST))
                with self._moved:
                    self._moved.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller that waits
            self.crash = error
        finally:
            with self._moved:
                self._complete = True
                self._moved.notify_all()

    def _next(self, most: int) -> list[Step] | None:
        """The next steps; None when there are none any more. Without a lock while there are many."""
        while not self._stopping():
            try:
                chunk = self._chunks.popleft()
            except IndexError:
                with self._moved:
                    self._moved.wait_for(lambda: self._chunks or self._complete)
                    if not self._chunks:
                        return None
                continue
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            if self._waits_for_room and self._has_room():
                self._wake_reader()
            return chunk
        return None

    def _has_room(self) -> bool:
        """Whether the reader may add a batch. Chunks of small bodies are not looked into one by one."""
        if len(self._chunks) >= _READY:
            return False
        return sum(len(step.body) for chunk in tuple(self._chunks) for step in chunk) < _READY_BYTES

    def _wake_reader(self) -> None:
        with self._moved:
            self._moved.notify_all()

    def _add_thread(self) -> None:
        """Starts a thread, if the concurrency limit allows one more.

        Each thread that takes steps does so, new ones too: one that started a hundred would wait for
        each of them to be scheduled among all that run.
        """
        with self._lock:
            if self._over or (self._complete and not self._chunks):
                return  # those that run are enough for what is left
            if self._running >= self._storage.concurrency_limit:
                return
            self._running += 1
            self._last_added = self._clock()
        threading.Thread(target=self._work, name="metaferry-put", daemon=True).start()

    def _work(self) -> None:
        try:
            most = 1
            self._add_thread()
            while (chunk := self._next(most)) is not None:
                began = self._clock()
                self._write(chunk)
                now = self._clock()
                seconds = _CHUNK_SECONDS if now - self._last_added > _INITIAL else _INITIAL_CHUNK_SECONDS
                most = max(1, min(CHUNK, int(seconds * len(chunk) / max(now - began, 1e-6))))
                if self._running < self._storage.concurrency_limit:
                    self._add_thread()
                elif self._is_surplus():
                    return
        except BaseException as error:  # noqa: BLE001 - as above
            self.crash = error
        self._wake_reader()  # it may wait for room, and no thread may be left to make some
        with self._lock:
            self._running -= 1
            last = self._running == 0
            self._over = self._over or last
        if last:
            self._finished()

    def _is_surplus(self) -> bool:
        """Whether there are more threads than the concurrency limit; then this one no longer counts."""
        with self._lock:
            if self._running <= max(1, self._storage.concurrency_limit):
                return False
            self._running -= 1
            return True

    def _write(self, chunk: list[Step]) -> None:
        puts = to_put(chunk, self._storage.capabilities)
        # Checked before each: a process that was suspended meanwhile may have lost its lease.
        attempted = self._storage.put_blocking(puts, ended=self._stopping)
        self._recorder.add(
            [
                done(step, token)
                for step, token in zip(chunk, attempted, strict=True)
                if isinstance(token, str)
            ]
        )
        for step, error in zip(chunk, attempted, strict=True):
            # Once it is stopping, left for the next run, as on the event loop.
            if not isinstance(error, str) and not self._stopping():
                self._hand_over(step, error)

    def _stopping(self) -> bool:
        return self.crash is not None or self._ended()
