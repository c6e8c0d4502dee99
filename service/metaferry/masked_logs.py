"""Masks what libraries log during a run, whichever handler shows it.

A program that calls this library, or Airflow, has handlers and levels of its own, which stay as they
are. So the records of other loggers lose their secrets when they are created, before any handler sees
them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from metaferry.masking import mask_foreign, remember_environment


class RecordEdit:
    """Applies `edit` to every log record of this process while at least one block of `active()` is open.

    `edit` changes the record in place, in the thread that logs.
    """

    def __init__(self, edit: Callable[[logging.LogRecord], None]) -> None:
        self._edit = edit
        self._lock = threading.Lock()
        self._blocks = 0
        self._factory: Any = None
        self._previous: Any = None

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        with self._lock:
            if self._blocks == 0:
                self._install()
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                # A factory that was installed on top of this one stays; this one then edits nothing.
                if self._blocks == 0 and logging.getLogRecordFactory() is self._factory:
                    logging.setLogRecordFactory(self._previous)

    def _install(self) -> None:
        # A new function each time: one that is still below another factory must not call that factory.
        previous = logging.getLogRecordFactory()

        def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record: logging.LogRecord = previous(*args, **kwargs)
            if self._blocks and self._factory is factory:
                self._edit(record)
            return record

        self._factory, self._previous = factory, previous
        logging.setLogRecordFactory(factory)


@contextlib.contextmanager
def masked_logs() -> Iterator[None]:
    """Masks the records of other loggers in the whole process, until the last of these blocks ends."""
    remember_environment(os.environ)
    with _MASKING.active():
        yield


def is_foreign(name: str | None) -> bool:
    """Whether a logger belongs to another package.

    A copy of a record that `logging.makeLogRecord` is about to fill has no name (None) yet: it belongs to
    nobody, and what fills it was edited when it was created.
    """
    return name is not None and name.partition(".")[0] != "metaferry"


def _mask_record(record: logging.LogRecord) -> None:
    if is_foreign(record.name):
        record.msg = mask_foreign(_text(record))
        record.args = None
        if record.exc_info and record.exc_info[1] is not None:
            error = _stand_in(record.exc_info[1], set())
            record.exc_info = (type(error), error, error.__traceback__)


_MASKING: Final = RecordEdit(_mask_record)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit, or a repr that fails
        return str(record.msg)


def _stand_in(error: BaseException, seen: set[int]) -> BaseException:
    """An exception of the same name and traceback whose text is masked, and what led to it likewise."""
    seen.add(id(error))
    named = type(type(error).__name__, (Exception,), {"__module__": type(error).__module__})
    made: BaseException = named(mask_foreign(str(error)))
    made.__traceback__ = error.__traceback__
    cause, context = error.__cause__, error.__context__
    if cause is not None and id(cause) not in seen:
        made.__cause__ = _stand_in(cause, seen)
    elif context is not None and id(context) not in seen and not error.__suppress_context__:
        made.__context__ = _stand_in(context, seen)
    return made
