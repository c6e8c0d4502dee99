"""Which backups are too old, and when to look for them. Pure.

A backup goes by its own age, whatever became of the other files of its run (`state/retention.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from metaferry.runs.state.retention import run_time

#: Characters of a run's id that are its day.
_DAY = 8


def is_due(run_id: str, earlier: Iterable[str], *, wrote: bool) -> bool:
    """Whether the run that ends looks for old backups, which costs a listing: where it has written, and
    where no run before it is of the same day."""
    return wrote or all(other[:_DAY] != run_id[:_DAY] for other in earlier)


def too_old(run_ids: Iterable[str], *, this: str, keep: timedelta, now: datetime) -> Iterator[str]:
    """The runs whose backups are deleted when the run `this` ends, of which it never is one itself."""
    for run_id in run_ids:
        if run_id != this and now - run_time(run_id) > keep:
            yield run_id
