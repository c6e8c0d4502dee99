"""Which of the times of a message is its sample's. Pure.

A message may have its own (`header.stamp` of ROS, `timestamp` of Foxglove), and a recorder notes when it was
published and when it was logged. A clock that shows less than 1980 counts from its start, as simulations do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from metaferry.tables.readers.annotations.text import Bad
from metaferry.tables.readers.telemetry.times import GPS_BEGAN, SECOND

_SECONDS: Final = ("sec", "secs", "seconds")
_NANOSECONDS: Final = ("nanosec", "nsec", "nsecs", "nanos", "nanoseconds")
_LAST: Final = 2**63


class Chosen(NamedTuple):
    """Nanoseconds since 1970, or those since a clock began, and which clock it is."""

    time: int | None
    elapsed: int | None
    clock: str


def own_time(message: Mapping[str, Any]) -> int | None:
    """The time of the message's own, in nanoseconds; None for one that has none, or that was not set."""
    header = message.get("header")
    in_header = [header.get("stamp")] if isinstance(header, Mapping) else []
    for own in (*in_header, message.get("stamp"), message.get("timestamp")):
        if isinstance(own, Mapping):
            seconds, nanoseconds = _part(own, _SECONDS), _part(own, _NANOSECONDS)
            if seconds is not None and nanoseconds is not None:
                return seconds * SECOND + nanoseconds or None
    return None


def _part(time: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((time[name] for name in names if name in time), None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def choose(clock: str | None, own: int | None, log: int, publish: int) -> Chosen:
    """The time of a sample by the clock that the job names; by default its own, where that is as much of a
    date as the log's. Raises Bad for a time that no column holds."""
    if clock is None:
        is_own = own is not None and (own >= GPS_BEGAN or log < GPS_BEGAN)
        clock = "header" if is_own else "log"
    if clock == "header" and own is None:
        raise Bad("it has no time of its own (header.stamp)", "time")
    ns = {"header": own or 0, "log": log, "publish": publish}[clock]
    if not -_LAST <= ns < _LAST:
        raise Bad(f"the time is {ns} ns, and times are known up to 2262", "time", str(ns))
    return Chosen(ns, None, clock) if ns >= GPS_BEGAN else Chosen(None, ns, clock)
