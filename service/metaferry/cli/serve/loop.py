"""The loop: waits for the next start, does a run, reports it, until a stop is requested.

One run at a time by construction: the loop is one thread and waits for the end of each run. A failed run
is reported like any other. Clocks, waiting and randomness are injected.

Every minute the wall clock is compared with a monotonic one. If it was set meanwhile, `--every` keeps its
period and `--cron` follows the new time.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Final

from metaferry.cli.serve.child import Finished
from metaferry.cli.serve.schedule import Schedule
from metaferry.cli.serve.status import Status
from metaferry.progress import Stop

log = logging.getLogger(__name__)

#: Seconds after which a wait reads the clock again: it may be set, and machines are suspended.
_LOOK: Final = 60.0
#: Smaller differences (seconds) between the clocks are corrections by a time server.
_DRIFT: Final = 1.0


class Alarm:
    """A wait that a signal ends. Uses a pipe, since a signal handler may not take a lock."""

    def __init__(self, stop: Stop) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        stop.listen(self._wake)

    def _wake(self) -> None:
        os.write(self._write, b"!")

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or once a stop is requested."""
        select.select([self._read], [], [], seconds)


class _Watch:
    """Detects that the wall clock was set between two calls."""

    def __init__(self, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self._now = now
        self._clock = clock
        self._wall, self._steady = now(), clock()

    def set_by(self) -> float:
        """Seconds by which it was set, positive for forward; 0.0 if it was not."""
        wall, steady = self._now(), self._clock()
        by = (wall - self._wall).total_seconds() - (steady - self._steady)
        self._wall, self._steady = wall, steady
        return by if abs(by) >= _DRIFT else 0.0


def serve(
    schedule: Schedule,
    run: Callable[[float], Finished],
    *,
    jitter: Callable[[float], float],
    status: Status,
    tell: Callable[[Finished], None],
    stop: Stop,
    wait: Callable[[float], None],
    now: Callable[[], datetime],
    clock: Callable[[], float],
    random: Random,
) -> None:
    """Returns when `stop` is set and the run under way has ended.

    run: one run, given the seconds to the next start. jitter: the most seconds of delay of a run, given the
    same.
    now: the wall clock. clock: a monotonic one, which counts while the machine is suspended.
    """
    watch = _Watch(now, clock)

    def follow(due: datetime) -> datetime:
        by = watch.set_by()
        if not by:
            return due
        log.warning("the clock was set %s by %.0f s", "forward" if by > 0 else "back", abs(by))
        return schedule.moved(due, now(), by)

    due = schedule.first(now())
    late = 0.0 if due <= now() else _late(due, schedule, jitter, random)
    missed = 0
    while True:
        while True:
            due = follow(due)
            begin = due + timedelta(seconds=late)
            left = (begin - now()).total_seconds()
            status.waits(begin, left, missed)
            missed = 0
            if stop.requested or left <= 0:
                break
            wait(min(left, _LOOK))
        if stop.requested:
            return
        status.begins()
        finished = run(schedule.period(due))
        status.ended(finished)
        tell(finished)
        due, missed = schedule.following(follow(due), now())
        late = _late(due, schedule, jitter, random)


def _late(due: datetime, schedule: Schedule, jitter: Callable[[float], float], random: Random) -> float:
    return random.uniform(0.0, jitter(schedule.period(due)))
