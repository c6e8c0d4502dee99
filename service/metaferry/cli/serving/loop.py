"""The loop: waits for the next time, does a run, tells of it, and so on until somebody asks it to stop.

One run at a time by construction: the loop is one thread and waits for the end of each. A run that
fails is told of like any other. Time, waiting and randomness are given to it.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Final

from metaferry.cli.serving.child import Finished
from metaferry.cli.serving.schedule import Schedule
from metaferry.cli.serving.status import Status
from metaferry.progress import Stop

#: Seconds after which a wait looks at the clock again: clocks are set, and machines are suspended.
_LOOK: Final = 60.0


class Alarm:
    """Waits that a signal ends. A pipe, since no lock may be taken in a signal handler."""

    def __init__(self, stop: Stop) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        stop.listen(self._ring)

    def _ring(self) -> None:
        os.write(self._write, b"!")

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or when somebody has asked to stop."""
        select.select([self._read], [], [], seconds)


def serve(
    schedule: Schedule,
    run: Callable[[], Finished],
    *,
    jitter: Callable[[float], float],
    status: Status,
    tell: Callable[[Finished], None],
    stop: Stop,
    wait: Callable[[float], None],
    now: Callable[[], datetime],
    random: Random,
) -> None:
    """Returns when `stop` is set and the run under way has ended.

    jitter: the most seconds that a run begins after its time, given the seconds to the next one.
    """
    due = schedule.first(now())
    begin = due if due <= now() else _later(due, schedule, jitter, random)
    missed = 0
    while True:
        status.waits(begin, missed)
        while not stop.requested and (left := (begin - now()).total_seconds()) > 0:
            wait(min(left, _LOOK))
        if stop.requested:
            return
        status.begins()
        finished = run()
        status.ended(finished)
        tell(finished)
        due, missed = schedule.following(due, now())
        begin = _later(due, schedule, jitter, random)


def _later(due: datetime, schedule: Schedule, jitter: Callable[[float], float], random: Random) -> datetime:
    return due + timedelta(seconds=random.uniform(0.0, jitter(schedule.period(due))))
