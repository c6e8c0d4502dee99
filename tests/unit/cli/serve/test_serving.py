"""The schedule, the loop and its account, on a clock that is turned by hand."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from metaferry.cli.serve.child import Finished
from metaferry.cli.serve.command import summary
from metaferry.cli.serve.loop import Alarm, serve
from metaferry.cli.serve.schedule import Cron, Every, Schedule, duration_of, jitter_of, schedule
from metaferry.cli.serve.status import Status
from metaferry.errors import UsageError
from metaferry.planning.formats import DocumentCounts, RunReport, SourceCounts
from metaferry.progress import Stop
from metaferry.runs.metrics.exposition import registry

START = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


# -- schedules


def test_durations() -> None:
    assert [duration_of("--every", text) for text in ("90s", "15m", "1h30m", "2d", "0")] == [
        90,
        900,
        5400,
        172_800,
        0,
    ]
    for wrong in ("", "15", "m", "15 m", "-1m", "1.5h", "30m1h", "1w"):
        with pytest.raises(UsageError, match="--every should be a time such as"):
            duration_of("--every", wrong)


def test_every_keeps_its_grid_and_skips_what_a_long_run_missed() -> None:
    every = Every(60)
    assert every.first(START) == START
    assert every.following(START, START + timedelta(seconds=5)) == (START + timedelta(seconds=60), 0)
    # A run of 200 s: the starts at 60, 120 and 180 s went by.
    assert every.following(START, START + timedelta(seconds=200)) == (START + timedelta(seconds=240), 3)
    # One that ends exactly when the next is due.
    assert every.following(START, START + timedelta(seconds=60)) == (START + timedelta(seconds=120), 1)


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    back = START - timedelta(hours=5)
    assert Every(60).following(START, back) == (back + timedelta(seconds=60), 0)
    assert Cron("*/15 * * * *").following(START, back) == (back + timedelta(minutes=15), 0)
    # A little, as a time server does: nothing runs twice for that.
    little = START - timedelta(seconds=1)
    assert Every(60).following(START, little) == (START + timedelta(seconds=60), 0)
    assert Cron("*/15 * * * *").following(START, little) == (START + timedelta(minutes=15), 0)


def test_cron_counts_the_times_that_went_by() -> None:
    cron = Cron("*/15 * * * *")
    assert cron.first(START + timedelta(seconds=1)) == START + timedelta(minutes=15)
    assert cron.following(START, START + timedelta(minutes=1)) == (START + timedelta(minutes=15), 0)
    assert cron.following(START, START + timedelta(minutes=50)) == (START + timedelta(minutes=60), 3)
    assert cron.period(START) == 900


def test_cron_means_the_clocks_of_its_zone() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert cron.first(at("2026-07-01T00:00:00+02:00")) == at("2026-07-01T02:30:00+02:00")
    assert cron.first(at("2026-12-01T00:00:00+01:00")) == at("2026-12-01T02:30:00+01:00")
    # The night when half past two does not exist, and the one when it comes twice: one run each.
    spring = [at("2026-03-28T12:00:00+01:00")]
    autumn = [at("2026-10-24T12:00:00+02:00")]
    for _ in range(2):
        spring.append(cron.following(spring[-1], spring[-1])[0])
        autumn.append(cron.following(autumn[-1], autumn[-1])[0])
    assert spring[1].date().isoformat() == "2026-03-29"
    assert spring[2] == at("2026-03-30T02:30:00+02:00")
    assert autumn[1] == at("2026-10-25T02:30:00+02:00")
    assert autumn[2] == at("2026-10-26T02:30:00+01:00")


@pytest.mark.parametrize(
    ("every", "cron", "timezone", "words"),
    [
        (None, None, None, "exactly one of --every and --cron"),
        ("5m", "* * * * *", None, "exactly one of --every and --cron"),
        ("5m", None, "Europe/Berlin", "--timezone is for --cron"),
        ("0s", None, None, "at least 1s"),
        (None, "* * *", None, "five fields"),
        (None, "61 * * * *", None, "not a cron expression"),
        (None, "0 0 30 2 *", None, "not a cron expression"),
        (None, "* * * * *", "Europe/Berlinn", "not a time zone"),
        (None, "* * * * *", "../../etc/passwd", "not a time zone"),
    ],
)
def test_what_is_no_schedule(every: str | None, cron: str | None, timezone: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        schedule(every, cron, timezone)


def test_jitter_is_small_unless_asked_for() -> None:
    assert jitter_of(None, 900) == 30
    assert jitter_of(None, 60) == 6
    assert jitter_of("10m", 900) == 600
    assert jitter_of("10m", 60) == 60, "the next time comes before"
    assert jitter_of("0", 60) == 0


# -- the loop


class World:
    """A clock that waiting and running turn; `runs` is when each began."""

    def __init__(self, *seconds: float, code: int = 0) -> None:
        self.time = START
        self.steady = 1000.0
        self.stop = Stop()
        self.runs: list[float] = []
        self.waits: list[float] = []
        self.periods: list[float] = []
        self.told: list[int] = []
        self.takes = list(seconds)
        self.codes = [code] * len(seconds)
        self.status = Status("fleet", "1", self.now, lambda: self.steady)
        self.during: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.passes(seconds)

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.steady += seconds

    def run(self, period: float) -> Finished:
        self.periods.append(period)
        began, seconds, code = self.time, self.takes.pop(0), self.codes.pop(0)
        self.runs.append((began - START).total_seconds())
        self.during()
        self.passes(seconds)
        if not self.takes:
            self.stop.request(signal.SIGTERM)
        report = RunReport("r", "d", began.isoformat(), exit_code=code, sources=[SourceCounts("a", 1, 1)])
        return Finished(began, seconds, report.to_dict())

    def serve(self, times: Schedule, jitter: float = 0.0) -> None:
        serve(
            times,
            self.run,
            jitter=lambda period: min(jitter, period),
            status=self.status,
            tell=lambda finished: self.told.append(finished.exit_code),
            stop=self.stop,
            wait=self.wait,
            now=self.now,
            clock=lambda: self.steady,
            random=Random(7),
        )


def test_runs_follow_the_grid_one_at_a_time() -> None:
    world = World(5, 5, 130, 5, 5)
    world.serve(Every(60))
    assert world.runs == [0, 60, 120, 300, 360]
    assert set(world.periods) == {60}  # what a run should take at most
    assert world.status.health()[2]["missed_starts"] == 2
    assert max(world.waits) <= 60


def test_cron_waits_for_its_first_time() -> None:
    world = World(5, 5)
    world.time = START + timedelta(minutes=1)
    world.serve(Cron("*/15 * * * *"))
    assert world.runs == [900, 1800]
    assert max(world.waits) == 60, "the clock is looked at again: it may have been set"


class Clockwork(World):
    """A world whose wall clock is set while the loop waits, once it has waited so often."""

    def __init__(self, *seconds: float, after: int, by: float) -> None:
        super().__init__(*seconds)
        self.after, self.by = after, by
        self.began: list[float] = []

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        if len(self.waits) == self.after:
            self.time += timedelta(seconds=self.by)
        assert health(self)[0], "a clock that was set makes nothing overdue"
        assert len(self.waits) < 10_000

    def run(self, period: float) -> Finished:
        self.began.append(self.steady - 1000)
        return super().run(period)


YEAR = 365 * 86_400.0


@pytest.mark.parametrize("by", [-YEAR, -3600.0, -2.0, 2.0, 3600.0, YEAR])
def test_every_goes_on_whatever_the_clock_is_set_to(by: float) -> None:
    world = Clockwork(5, 5, 5, after=3, by=by)
    world.serve(Every(600))
    assert world.began == [0, 600, 1200]
    assert world.status.health()[2]["missed_starts"] == 0


def test_every_goes_on_when_the_clock_is_set_during_a_run() -> None:
    world = World(5, 5, 5)
    began: list[float] = []

    def during() -> None:
        began.append(world.steady - 1000)
        if len(began) == 2:
            world.time -= timedelta(seconds=YEAR)

    world.during = during
    world.serve(Every(600))
    assert began == [0, 600, 1200]


def test_cron_follows_a_clock_that_is_set_back() -> None:
    """It waited for the clock to catch up, a year long, with health 200."""
    world = Clockwork(5, 5, 5, after=3, by=-YEAR)
    world.time += timedelta(seconds=1)
    world.serve(Cron("*/15 * * * *"))
    assert world.began[0] == 899
    assert world.began[1] - world.began[0] == 900
    # An hour back, less than its period: the night's run still comes once, at its time.
    daily = Clockwork(5, 5, after=3, by=-3600)
    daily.serve(Cron("0 8 * * *"))
    assert daily.began == [2 * 3600, 26 * 3600]


def test_cron_follows_a_clock_that_is_set_forward() -> None:
    """Over its time: it runs at once, once, and thousands of times that never were are not missed."""
    world = Clockwork(5, 5, after=3, by=YEAR)
    world.serve(Cron("30 2 * * *"))
    assert world.began[0] == 180
    assert world.status.health()[2]["missed_starts"] == 0


def test_what_earlier_runs_reported_is_known_after_a_restart() -> None:
    world = World()
    good = RunReport("g", "d", "2026-11-23T06:00:00+00:00", finished="2026-11-23T06:00:30+00:00")
    last = RunReport("l", "d", "2026-11-23T06:30:00+00:00", finished="2026-11-23T06:30:05+00:00", exit_code=5)
    world.status.recalls(good.to_dict(), good.to_dict())
    assert health(world) == (True, True)
    assert world.status.health()[2]["last_good_age_seconds"] == 3570
    world.time -= timedelta(days=30)  # an age is no matter of the wall clock any more
    world.steady += 30
    assert world.status.health()[2]["last_good_age_seconds"] == 3600
    world.status.recalls(last.to_dict(), good.to_dict())
    account = world.status.health()[2]
    assert health(world) == (True, False)
    assert (account["last_run"]["run_id"], account["last_good_run"]["run_id"]) == ("l", "g")
    assert account["runs"] == 0, "those of this process"
    values = world.status._found
    assert values["metaferry_last_success_timestamp_seconds"] == {(): at("2026-11-23T06:00:30Z").timestamp()}
    assert values["metaferry_last_run_exit_code"] == {(): 5}
    assert values["metaferry_last_run_duration_seconds"] == {(): 5}
    world.status.recalls(last.to_dict(), None)
    assert "metaferry_last_success_timestamp_seconds" not in world.status._found


def test_a_failed_run_does_not_end_the_loop() -> None:
    world = World(1, 1, 1)
    world.codes = [1, 139, 0]
    world.serve(Every(10))
    assert world.told == [1, 139, 0]


def test_jitter_begins_later_and_never_shifts_the_grid() -> None:
    world = World(*[1.0] * 40)
    world.serve(Every(100), jitter=50)
    late = [began - 100 * n for n, began in enumerate(world.runs)]
    assert late[0] == 0, "the first at once"
    assert all(0 <= each <= 50 for each in late)
    assert len(set(late)) > 30
    assert world.status.health()[2]["missed_starts"] == 0


def test_a_stop_between_runs_begins_no_more() -> None:
    world = World(1, 1)

    def wait(seconds: float) -> None:
        world.stop.request(signal.SIGTERM)

    world.wait = wait  # type: ignore[method-assign]
    world.serve(Every(60))
    assert world.runs == [0]


def test_an_alarm_ends_its_wait_when_somebody_asks() -> None:
    stop = Stop()
    alarm = Alarm(stop)
    stop.request()
    alarm.wait(600)  # or the test's time-out
    alarm.wait(600)


# -- its account


def health(world: World) -> tuple[bool, bool]:
    live, ready, account = world.status.health()
    assert (account["live"], account["ready"]) == (live, ready)
    return live, ready


def test_live_and_ready() -> None:
    world = World(30, 30, 30, 30)
    world.codes = [1, 3, 0, 5]
    seen: list[Any] = []

    def during() -> None:
        seen.append((health(world), world.status.health()[2]["running"]))

    world.during = during
    assert health(world) == (True, False), "no run has ended"
    world.serve(Every(60))
    # Not ready during the first run and after the one that failed; ready while the next one goes on.
    assert seen == [((True, False), True), ((True, False), True), ((True, True), True), ((True, True), True)]
    account = world.status.health()[2]
    assert health(world) == (True, False)
    assert account["last_run"]["exit_code"] == 5
    assert account["last_good_run"]["exit_code"] == 0
    assert account["last_good_age_seconds"] == 60
    assert account["runs"] == 4


def test_a_loop_whose_next_start_is_overdue_is_not_live() -> None:
    world = World()
    world.status.waits(START + timedelta(seconds=10), 10, 0)
    world.passes(70)
    assert health(world)[0]
    world.passes(1)
    assert not health(world)[0]
    world.status.begins()
    world.passes(2 * 86_400)
    assert health(world)[0], "a run may take as long as it takes"


def test_metrics_accumulate_and_the_last_success_stays() -> None:
    world = World(1, 1, 1)
    world.codes = [0, 1, 1]
    world.serve(Every(60))
    text = generate_latest(registry(world.status.families)).decode()
    read = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert read["metaferry_runs_total", "1", "fleet"] == 2
    assert read["metaferry_records_total", "a", "fleet", "used"] == 3
    assert read["metaferry_last_run_records", "a", "fleet", "used"] == 1
    assert read["metaferry_last_success_timestamp_seconds", "fleet"] == START.timestamp() + 1
    assert read["metaferry_last_run_timestamp_seconds", "fleet"] == START.timestamp() + 121
    assert read["metaferry_run_active", "fleet"] == 0
    assert read["metaferry_runs_total", "11", "fleet"] == 0, "a rate needs a beginning"


def test_the_age_of_a_run_shows_while_it_goes_on() -> None:
    world = World(30)
    shown: list[dict[str, float]] = []

    def note() -> None:
        families = world.status.families()
        shown.append({sample.name: sample.value for family in families for sample in family.samples})

    world.during = note
    world.serve(Every(60))
    note()
    assert shown[0]["metaferry_run_started_timestamp_seconds"] == START.timestamp()
    assert "metaferry_run_started_timestamp_seconds" not in shown[1]


# -- the line of a run


def test_the_line_of_a_run() -> None:
    report = RunReport("20261123T070000Z-x", "d", "", documents=DocumentCounts(4, 1, 1231, 0, failed=2))
    report.sources = [SourceCounts("a", 5, 2, 3)]
    report.exit_code = 3
    assert summary(Finished(START, 12.3, report.to_dict())) == (
        "2026-11-23T07:00:00Z  done, but not everything (exit code 3) in 12 s: 4 created, 1 updated, "
        "0 deleted, 1,231 kept, 2 failed, 3 rows rejected  [20261123T070000Z-x]"
    )
    report = RunReport("", "", "", exit_code=2)
    assert summary(Finished(START, 0.2, report.to_dict(), "2 faults in the job\na: b\n\x1b[31mc: d")) == (
        "2026-11-23T07:00:00Z  failed (exit code 2) in 0.2 s: 0 created, 0 updated, 0 deleted, 0 kept; "
        "2 faults in the job a: b \\x1b[31mc: d"
    )
