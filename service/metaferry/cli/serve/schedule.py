"""When runs start: at a fixed period, or by a cron expression in a time zone. Reads no clock.

Due times form a grid that runs do not shift: times that pass during a long run are counted as missed and
not made up for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from metaferry.errors import UsageError

_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
#: The default of `--jitter` in seconds, and the most of it as a share of the period.
_JITTER: Final = 30.0
_SHARE: Final = 0.1
#: A cron expression without a due time after this never has one.
_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Schedule(Protocol):
    """Due times, in UTC."""

    def first(self, now: datetime) -> datetime:
        """When the first run starts; without jitter if that is `now`."""

    def following(self, due: datetime, now: datetime) -> tuple[datetime, int]:
        """The first due time after both `due` and `now`, and how many after `due` were missed."""

    def moved(self, due: datetime, now: datetime, by: float) -> datetime:
        """The due time after the clock was set by `by` seconds to `now`."""

    def period(self, due: datetime) -> float:
        """Seconds from one due time to the next."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every `seconds`, the first at once."""

    seconds: float

    def first(self, now: datetime) -> datetime:
        return now

    def following(self, due: datetime, now: datetime) -> tuple[datetime, int]:
        step = timedelta(seconds=self.seconds)
        if due - now > step:  # the clock was set back: do not wait until it catches up
            return now + step, 0
        missed = max(0, int((now - due) / step))
        return due + step * (missed + 1), missed

    def moved(self, due: datetime, now: datetime, by: float) -> datetime:
        return due + timedelta(seconds=by)  # as many seconds from now as before

    def period(self, due: datetime) -> float:
        return self.seconds


class Cron:
    """The times of a cron expression of five fields, in a time zone.

    Raises UsageError for an invalid expression or zone.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        from zoneinfo import ZoneInfo

        try:
            self._zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
        except (KeyError, ValueError, OSError):
            raise UsageError(
                f"--timezone: {timezone!r} is not a time zone", advice="write one such as Europe/Berlin"
            ) from None
        self._expression = expression
        if len(expression.split()) != 5:
            raise _bad_cron(expression, "it should have five fields")
        if next(self._after(_FROM), None) is None:
            raise _bad_cron(expression, "its time never comes")

    def first(self, now: datetime) -> datetime:
        return next(self._after(now))

    def following(self, due: datetime, now: datetime) -> tuple[datetime, int]:
        if (due - now).total_seconds() > self.period(due):  # the clock was set back, as above
            return self.first(now), 0
        missed = -1
        at = due
        for at in self._after(due):
            missed += 1
            if at > now:
                break
        return at, missed

    def moved(self, due: datetime, now: datetime, by: float) -> datetime:
        if due <= now:
            return now  # set forward past it: run once, now, with nothing missed
        if (due - now).total_seconds() > self.period(due):
            return self.first(now)  # do not wait until the clock catches up
        return due  # set back a little: no run is repeated

    def period(self, due: datetime) -> float:
        return (next(self._after(due)) - due).total_seconds()

    def _after(self, instant: datetime) -> Iterator[datetime]:
        """Due times after an instant, in order."""
        from cronsim import CronSim, CronSimError

        try:
            times = CronSim(self._expression, instant.astimezone(self._zone))
        except CronSimError as error:
            raise _bad_cron(self._expression, str(error).lower()) from None
        return (time.astimezone(UTC) for time in times)


def schedule(every: str | None, cron: str | None, timezone: str | None) -> Schedule:
    """The schedule of the flags. UsageError if they give none, or two."""
    if (every is None) == (cron is None):
        raise UsageError(
            "exactly one of --every and --cron is needed", advice='give --every 15m, or --cron "*/15 * * * *"'
        )
    if cron is not None:
        return Cron(cron, timezone or "UTC")
    if timezone is not None:
        raise UsageError("--timezone is for --cron: --every has no time of day")
    assert every is not None
    seconds = duration_of("--every", every)
    if seconds <= 0:
        raise UsageError(f"--every should be at least 1s, is {every}")
    return Every(seconds)


def duration_of(flag: str, text: str) -> float:
    """Seconds out of `90s`, `15m`, `1h30m`, `2d`, or of `0`; UsageError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if text.strip() == "0":
        return 0.0
    if match is None or not any(match.groups()):
        raise UsageError(f"{flag} should be a time such as 90s, 15m, 1h30m or 2d, is {text!r}")
    numbers = zip(match.groups(), _UNITS.values(), strict=True)
    return float(sum(int(number or 0) * unit for number, unit in numbers))


def jitter_of(given: str | None, period: float) -> float:
    """The most seconds of delay of a run, never more than the period."""
    wanted = min(_JITTER, period * _SHARE) if given is None else duration_of("--jitter", given)
    return min(wanted, period)


def _bad_cron(expression: str, why: str) -> UsageError:
    return UsageError(
        f"--cron: {expression!r} is not a cron expression: {why}",
        advice='write minute, hour, day, month and day of the week: "*/15 * * * *"',
    )
