"""The state of the loop: set by the loop, read by the HTTP server. Nothing here opens a port.

*Live* is about the loop: a run is under way, or the next one is not overdue. *Ready* is about its work:
the last run that ended was good. So a long first run is live and not ready, and a job that always fails
stays live: a restart would not fix it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from metaferry.runs.metrics.exposition import counters, gauges
from metaferry.runs.metrics.figures import EXIT_CODES, GOOD, Ended, Metric, Samples, Totals, samples

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    from metaferry.cli.serve.child import Finished

#: Seconds by which a start may be overdue before the loop counts as dead.
_OVERDUE: Final = 60.0
_SUCCESS: Final = "metaferry_last_success_timestamp_seconds"
_RECORDS: Final = "metaferry_last_run_records"


@dataclass(frozen=True, slots=True)
class LastRun:
    """A run that ended, as in /healthz. Times as ISO 8601; `run_id` is "" if it never had one."""

    run_id: str
    started: str
    finished: str
    exit_code: int


class Status:
    """Thread-safe. `now` is the wall clock, for what is shown; `clock` is monotonic, in seconds.

    `label` and `version` go into every metric.
    """

    def __init__(
        self, label: str, version: str, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._label = label
        self._version = version
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._running = False
        self._began = 0.0  # Unix seconds, of the run under way
        self._next: datetime | None = None
        self._due = 0.0  # the same on `clock`
        self._last: LastRun | None = None
        self._good: tuple[LastRun, float] | None = None  # and when, on `clock`
        self._missed = 0
        self._codes = dict.fromkeys(EXIT_CODES, 0)  # all from the start, as rate() needs
        self._found: Samples = {"metaferry_build_info": {(version,): 1}}
        self._totals = Totals()

    # -- called by the loop

    def recalls(self, last: Mapping[str, Any], good: Mapping[str, Any] | None) -> None:
        """Takes over the newest reports of earlier runs, as `run.json` has them."""
        found = samples(last, _ended(last), version=self._version)
        if good is not None:
            found[_SUCCESS] = {(): _ended(good).at}
        with self._lock:
            self._found = found
            self._last = _last_run(last)
            if good is not None:
                age = max(0.0, self._now().timestamp() - _ended(good).at)
                self._good = (_last_run(good), self._clock() - age)

    def waits(self, until: datetime, seconds: float, missed: int) -> None:
        """The next run starts at `until`, in `seconds`; `missed` starts were skipped before it."""
        with self._lock:
            self._next = until
            self._due = self._clock() + seconds
            self._missed += missed

    def begins(self) -> None:
        with self._lock:
            self._running = True
            self._began = self._now().timestamp()
            self._next = None

    def ended(self, finished: Finished) -> None:
        """A run is over."""
        now, report = self._now(), finished.report
        at = Ended(now.timestamp(), finished.seconds)
        found = samples(report, at, version=self._version)
        last = LastRun(
            str(report["run_id"]),
            finished.started.isoformat(timespec="seconds"),
            now.isoformat(timespec="seconds"),
            finished.exit_code,
        )
        with self._lock:
            self._running = False
            self._last = last
            if last.exit_code in GOOD:
                self._good = (last, self._clock())
            elif _SUCCESS in self._found:
                found[_SUCCESS] = self._found[_SUCCESS]
            # A job file that cannot be read names no sources; those known before have read nothing.
            for labels in self._found.get(_RECORDS, {}):
                found[_RECORDS].setdefault(labels, 0)
            self._codes[last.exit_code] = self._codes.get(last.exit_code, 0) + 1
            self._found = found
            self._totals.add(found)

    # -- called by the HTTP server

    def health(self) -> tuple[bool, bool, dict[str, Any]]:
        """Live, ready, and the JSON that /healthz answers."""
        with self._lock:
            now = self._clock()
            live = self._running or self._next is None or now <= self._due + _OVERDUE
            ready = live and self._last is not None and self._last.exit_code in GOOD
            good, since = self._good if self._good is not None else (None, None)
            age = round(now - since, 1) if since is not None else None
            return (
                live,
                ready,
                {
                    "live": live,
                    "ready": ready,
                    "job": self._label,
                    "running": self._running,
                    "runs": sum(self._codes.values()),
                    "missed_starts": self._missed,
                    "next_run": self._next.isoformat(timespec="seconds") if self._next is not None else None,
                    "last_run": asdict(self._last) if self._last is not None else None,
                    "last_good_run": asdict(good) if good is not None else None,
                    "last_good_age_seconds": age,
                },
            )

    def families(self) -> list[Family]:
        """All metrics with their current values."""
        with self._lock:
            own = list(counters(self._own(), label=self._label))
            return [*gauges(self._found, label=self._label), *self._now_families(), *own]

    def _own(self) -> Iterator[tuple[Metric, dict[tuple[str, ...], float]]]:
        yield (
            Metric("metaferry_runs_total", "Runs that ended.", ("exit_code",)),
            {(str(code),): number for code, number in self._codes.items()},
        )
        yield (
            Metric(
                "metaferry_missed_starts_total", "Starts that were skipped since a run was still under way."
            ),
            {(): self._missed},
        )
        yield from self._totals

    def _now_families(self) -> Iterator[Family]:
        from prometheus_client.core import GaugeMetricFamily

        from metaferry.runs.metrics.figures import JOB_LABEL

        active = GaugeMetricFamily("metaferry_run_active", "1 while a run is under way.", labels=(JOB_LABEL,))
        active.add_metric((self._label,), float(self._running))
        yield active
        if self._running:
            began = GaugeMetricFamily(
                "metaferry_run_started_timestamp_seconds",
                "When the run under way started.",
                labels=(JOB_LABEL,),
            )
            began.add_metric((self._label,), self._began)
            yield began
        if self._next is not None:
            due = GaugeMetricFamily(
                "metaferry_next_run_timestamp_seconds", "When the next run is due.", labels=(JOB_LABEL,)
            )
            due.add_metric((self._label,), self._next.timestamp())
            yield due


def _ended(report: Mapping[str, Any]) -> Ended:
    started, finished = (datetime.fromisoformat(str(report[name])) for name in ("started", "finished"))
    return Ended(finished.timestamp(), max(0.0, (finished - started).total_seconds()))


def _last_run(report: Mapping[str, Any]) -> LastRun:
    return LastRun(
        str(report["run_id"]), str(report["started"]), str(report["finished"]), int(report["exit_code"])
    )
