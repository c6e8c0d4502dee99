"""The log of a worker elsewhere, which has handlers of its own and knows neither runs nor secrets.

A Dask worker writes what is logged in it to its own stderr, by a logging that is not ours. So records are
changed when they are made, while a shard is written there: ours begin with the run that they belong to, and
all of them lose the secrets that the process knows from the job (`maskedlogs.py` does so for libraries).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from metaferry.masked_logs import is_foreign, masked_logs
from metaferry.masking import mask
from metaferry.runid import current, during

_lock = threading.Lock()
_runs = 0
_before: Any = logging.LogRecord


@contextlib.contextmanager
def log_of_run(run_id: str) -> Iterator[None]:
    """What is logged in this process is of that run and holds no secret, until the block ends.

    Where shards of several runs are written at once, no run is named.
    """
    with masked_logs(), _ours(), during(run_id):
        yield


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    global _runs, _before
    with _lock:
        if _runs == 0:
            _before = logging.getLogRecordFactory()
            logging.setLogRecordFactory(_record)
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            # Where somebody has set another meanwhile, it stays; ours passes on what it is given.
            if _runs == 0 and logging.getLogRecordFactory() is _record:
                logging.setLogRecordFactory(_before)


def _record(*given: Any, **more: Any) -> logging.LogRecord:
    """A record of ours with its run, and without secrets; those of others are masked by `masked_logs`."""
    record: logging.LogRecord = _before(*given, **more)
    if _runs == 0 or is_foreign(record.name):
        return record
    text = mask(record.getMessage())
    run_id = current()
    record.msg, record.args = f"run {run_id}: {text}" if run_id else text, None
    if record.exc_info and record.exc_info[0] is not None:
        # The text of an exception, and of those that led to it, may quote anything.
        record.msg += f" ({record.exc_info[0].__name__})"
        record.exc_info = None
    return record
