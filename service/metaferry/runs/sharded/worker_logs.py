"""The log of a worker on another machine, whose handlers and format are not ours.

A Dask worker writes what is logged in it to its own stderr. So records are changed when they are created,
while a shard is written there: those of metaferry begin with the id of their run, and all of them lose the
secrets of the job (`masked_logs` does that for other loggers).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from metaferry.masked_logs import RecordEdit, is_foreign, masked_logs
from metaferry.masking import mask
from metaferry.runid import current, during


@contextlib.contextmanager
def log_of_run(run_id: str) -> Iterator[None]:
    """Until the block ends, what is logged in this process names that run and holds no secret.

    While shards of several runs are written in parallel, no run is named.
    """
    with masked_logs(), _NAMING.active(), during(run_id):
        yield


def _name_run(record: logging.LogRecord) -> None:
    """Adds the run and masks secrets in a record of metaferry; `masked_logs` handles the others."""
    if is_foreign(record.name):
        return
    text = mask(record.getMessage())
    run_id = current()
    record.msg, record.args = f"run {run_id}: {text}" if run_id else text, None
    if record.exc_info and record.exc_info[0] is not None:
        # The text of an exception, and of those that led to it, may quote anything.
        record.msg += f" ({record.exc_info[0].__name__})"
        record.exc_info = None


_NAMING: Final = RecordEdit(_name_run)
