"""Which files of past runs a run deletes at its end. Pure.

A schedule of every 15 minutes does 96 runs a day, and most of them change nothing. So runs that wrote are
counted apart from those that found nothing to do, or a day without changes would push out what is needed
to see, or to take back, what was written before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

#: Runs that changed nothing: the newest so many are kept.
UNCHANGED: Final = 20
#: The report of a run that wrote stays for so long, when its other files are gone.
REPORTS_STAY: Final = timedelta(days=30)
#: A plan that nobody has applied stays for so long; one that was applied goes with its run.
PLANS_STAY: Final = timedelta(days=30)

_REPORT: Final = "run.json"
_PLAN: Final = "plan/"
_TIME: Final = "%Y%m%dT%H%M%SZ"


def expired(
    files: Iterable[tuple[str, str]],
    wrote: Iterable[str],
    *,
    this: str,
    this_wrote: bool,
    keep: int,
    now: datetime,
) -> Iterator[tuple[str, str]]:
    """The files to delete, of those given, each as the id of its run and its name below that run's folder.

    wrote: ids of the past runs that began to write. this: the run that is ending, which is counted and of
    which nothing is deleted. keep: how many runs that wrote are kept whole, at least 1.
    """
    found = list(files)
    earlier = sorted({run_id for run_id, name in found if not name.startswith(_PLAN)} - {this})
    planned = {run_id for run_id, _ in found} - {this, *earlier}
    writers = set(wrote)
    whole = {this}
    whole |= _newest([run_id for run_id in earlier if run_id in writers], keep - this_wrote)
    whole |= _newest([run_id for run_id in earlier if run_id not in writers], UNCHANGED - (not this_wrote))
    for run_id, name in found:
        if run_id in whole:
            continue
        if run_id in planned and now - run_time(run_id) < PLANS_STAY:
            continue
        if name == _REPORT and run_id in writers and now - run_time(run_id) < REPORTS_STAY:
            continue
        yield run_id, name


def _newest(run_ids: list[str], number: int) -> set[str]:
    """The last so many; ids sort by time."""
    return set(run_ids[max(0, len(run_ids) - number) :])


def run_time(run_id: str) -> datetime:
    """The time in a run's id; for a name of another form a time that is always long ago."""
    try:
        return datetime.strptime(run_id.partition("-")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
