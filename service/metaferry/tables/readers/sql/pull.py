"""Rows of a database, fetched in a thread of their own: the one that asks for them can be told to stop.

Drivers wait in C, where no signal reaches; and while a batch is written into the engine, the next one
arrives.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa

T = TypeVar("T")

#: Batches that are fetched ahead.
_AHEAD: Final = 2
#: Seconds between two looks at whether the rows are still wanted.
_LOOK: Final = 0.2
#: Seconds that a driver has to end what is under way, before its thread is left behind; and how often it is
#: told to, at intervals of so many seconds.
_END_TIMEOUT: Final = 5.0
_CANCELS: Final = 20
_CANCEL_EVERY: Final = 0.5


class Rows(Protocol):
    """The result of a query: opened, read, closed from one thread, and cancelled from another."""

    def open(self) -> pa.Schema: ...

    def batches(self) -> Iterator[pa.RecordBatch]: ...

    def cancel(self) -> bool:
        """Tells what is under way to end; False where it cannot be told."""
        ...

    def close(self) -> None: ...


class Pull:
    """The result of a query. A context manager: at its end the connection is closed, whatever happened.

    `still_wanted` is called while there is nothing but to wait; what it raises ends the query.
    """

    def __init__(self, rows: Rows, still_wanted: Callable[[], None]) -> None:
        self._rows = rows
        self._still_wanted = still_wanted
        self._queue: queue.Queue[Any] = queue.Queue(_AHEAD)
        self._end = threading.Event()
        self._done = False
        # A driver that hangs in a network that is gone must not keep the process.
        self._thread = threading.Thread(target=self._run, name="metaferry-sql", daemon=True)
        self._thread.start()

    def schema(self) -> pa.Schema:
        """The columns of the result, as soon as the query has begun; to be called first, once."""
        return self._next()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        while (batch := self._next()) is not None:
            yield batch
        self._done = True

    def close(self) -> None:
        """Ends the query, if it has not ended, and the thread."""
        self._end.set()
        answers: list[bool] = []
        for _ in range(0 if self._done else _CANCELS):
            # A driver may hang in this too. One before the statement began is lost, so it is repeated.
            canceller = threading.Thread(
                target=lambda: answers.append(self._rows.cancel()), name="metaferry-sql-cancel", daemon=True
            )
            canceller.start()
            self._thread.join(_CANCEL_EVERY)
            if not self._thread.is_alive() or False in answers:
                break
            canceller.join(_CANCEL_EVERY)
        self._thread.join(_END_TIMEOUT)

    def __enter__(self) -> Pull:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _next(self) -> Any:
        while True:
            try:
                found = self._queue.get(timeout=_LOOK)
            except queue.Empty:
                self._still_wanted()
                continue
            if isinstance(found, _Failed):
                self._done = True
                raise found.error
            return found

    def _run(self) -> None:
        try:
            try:
                self._put(self._rows.open())
                for batch in self._rows.batches():
                    self._put(batch)
                self._put(None)
            finally:
                self._rows.close()
        except _Ended:
            return
        except BaseException as error:  # noqa: BLE001 - raised by who asks for rows
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        try:
            self._put(_Failed(error))
        except _Ended:
            return

    def _put(self, found: Any) -> None:
        while not self._end.is_set():
            try:
                self._queue.put(found, timeout=_LOOK)
            except queue.Full:
                continue
            return
        raise _Ended


class _Failed:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Ended(Exception):
    """Nobody wants more rows."""
