"""Masks what libraries log while a run goes on, whoever's handler it comes to.

A program that calls this library, or Airflow, has handlers and levels of its own, which stay as they
are. So records of foreign loggers lose their secrets when they are made, before any handler sees them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

from metaferry.masking import mask_foreign, remember_environment

_lock = threading.Lock()
_runs = 0
_before: Any = logging.LogRecord


@contextlib.contextmanager
def masked_logs() -> Iterator[None]:
    """Masks the records of foreign loggers in the whole process, until the last of such blocks ends."""
    global _runs, _before
    remember_environment(os.environ)
    with _lock:
        if _runs == 0:
            _before = logging.getLogRecordFactory()
            logging.setLogRecordFactory(_masked_record)
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            # Where somebody has set another meanwhile, it stays; ours passes on what it is given.
            if _runs == 0 and logging.getLogRecordFactory() is _masked_record:
                logging.setLogRecordFactory(_before)


def is_foreign(name: str) -> bool:
    """Whether a logger is none of this package."""
    return name.partition(".")[0] != "metaferry"


def _masked_record(*given: Any, **more: Any) -> logging.LogRecord:
    record: logging.LogRecord = _before(*given, **more)
    if _runs and is_foreign(record.name):
        record.msg = mask_foreign(_text(record))
        record.args = None
        if record.exc_info and record.exc_info[1] is not None:
            error = _stand_in(record.exc_info[1], set())
            record.exc_info = (type(error), error, error.__traceback__)
    return record


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
