"""What a run keeps to whatever happens: the pace, the budget of requests, the lease, the sample."""

from __future__ import annotations

import asyncio

import pytest

from faults.invariants import check, converges, is_done, look
from faults.site import Disk, MemoryDisk, Ran, Site, furnished
from metaferry.errors import LeaseLost, exit_code
from metaferry.lightly.names import SCHEMA, document_path
from metaferry.storage.protocol import Adapter
from metaferry.storage.testing.faulty import Call
from metaferry.storage.testing.rules import EVERY, LOST_REPLY, PUTS, RESET, Flip, Meddle, Refusal, Rule, storm

DOCUMENT = r"^\.lightly/metadata/.*[^a]\.json$"  # not schema.json


def many(documents: int) -> Site:
    """A site with as many images, all of them with a row."""
    site = Site(MemoryDisk(), settings={"concurrency": 16})
    for n in range(documents):
        site.put_media(f"{n:03}.png")
        site.rows[f"{n:03}.png"] = {"scene": "x", "n": n}
    site.put_media("clip.mp4", 9)
    site.frame_rows["clip.mp4", 0] = {"speed": 1.0}
    site.write_tables()
    return site


def to_data(ran: Ran) -> list[Call]:
    """The calls of the datasource, whose pace is one."""
    return [call for call in ran.faults.calls if call.url.rstrip("/").endswith("/data")]


# -- pace


@pytest.mark.parametrize("seconds", [5.0, 120.0])
def test_a_storm_costs_three_times_the_requests_at_most(seconds: float) -> None:
    site = many(100)
    start = site.disk.objects()
    ideal = len(to_data(site.sync()))
    assert ideal > 100
    site.reset(start)
    before = look(site)
    ran = site.sync(storm(seconds), seed=5)
    check(site, before, ran)
    is_done(site, before, ran)
    calls = to_data(ran)
    assert calls[-1].age > seconds
    assert ideal < len(calls) <= 3 * ideal
    assert ran.report is not None
    requests = ran.report.requests
    # The report counts until it is written, and the lease is given back after that.
    calls = ran.faults.calls
    reports = [call for call in calls if call.operation == "put" and call.path.endswith("/run.json")]
    releases = [call for call in calls if call.operation == "delete" and "lease" in call.path]
    after = reports[:-1] + releases[:-1]
    refused = sum(isinstance(call.fault, Refusal) for call in calls)
    assert requests.throttled == refused - len(after)
    made = requests.list + requests.get + requests.put + requests.delete
    assert made == len(calls) - len(after)


def test_nobody_asks_before_the_time_that_the_store_named() -> None:
    site = many(60)
    before = look(site)
    ran = site.sync(storm(20.0, share=0.05, retry_after=7.0), seed=6)
    is_done(site, before, ran)
    calls = to_data(ran)
    refused = [call.age for call in calls if call.fault is not None]
    assert len(refused) >= 3
    for age in refused:
        assert not [call for call in calls if age < call.age < age + 7.0]


@pytest.mark.parametrize("rules", [(), (Rule(fault=RESET, chance=0.3),)], ids=["calm", "resets"])
def test_the_rate_is_never_passed(rules: tuple[Rule, ...]) -> None:
    site = many(60)
    # One at a time: a clock that every sleeper turns tells nothing of those that sleep side by side.
    site.settings |= {"max_rate": 10, "concurrency": 1}
    before = look(site)
    ran = site.sync(rules, seed=7)
    is_done(site, before, ran)
    ages = [call.age for call in to_data(ran)]
    assert len(ages) > 70
    assert ages == sorted(ages)
    for first, eleventh in zip(ages, ages[10:], strict=False):
        assert eleventh - first >= 1.0 - 1e-6


def test_lost_replies_cost_one_look_each() -> None:
    """However many answers are lost, no document is written twice and none counts as somebody else's."""
    site = many(40)
    before = look(site)
    ran = site.sync([Rule(fault=LOST_REPLY, operations=PUTS, path=DOCUMENT, chance=0.5)], seed=8)
    is_done(site, before, ran)
    assert ran.report is not None
    assert "document.modified_externally" not in ran.report.findings
    assert ran.report.documents.create == 41
    assert any(call.fault is LOST_REPLY for call in ran.writes)


# -- what was kept is not what was sent


def test_a_sample_finds_what_the_store_spoiled(disk: Disk) -> None:
    site = furnished(disk, rejects=False)
    site.settings["verify"] = "all"
    before = look(site)
    flip = Rule(fault=Flip(), operations=PUTS, path=r"/(a|d e)\.json$", times=2)
    ran = site.sync([flip])
    is_done(site, before, ran)
    assert ran.report is not None
    assert (ran.report.verified.rewritten, ran.report.verified.wrong) == (2, 0)
    assert ran.report.findings["document.corrupt"] == 2
    converges(site)


def test_what_stays_spoiled_fails_and_is_written_by_the_next_run(disk: Disk) -> None:
    site = furnished(disk, rejects=False)
    site.settings["verify"] = "all"
    before = look(site)
    ran = site.sync([Rule(fault=Flip(), operations=PUTS, path=r"/a\.json$")])
    assert ran.report is not None, ran.error
    assert (ran.code, ran.report.verified.wrong, ran.report.documents.failed) == (3, 1, 1)
    assert ran.report.schema.written is False
    assert site.documents()[SCHEMA] == before.documents[SCHEMA]
    middle = look(site)
    again = site.sync()
    is_done(site, middle, again)
    assert {call.path for call in again.writes} == {document_path("a.png"), SCHEMA}


# -- the lease


class LeaseTime:
    """The clock of the lease; `beside` is a sleep of a process that does not get to renew it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> float:
        return self.seconds

    async def beside(self, seconds: float) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("nth", [1, 4, 8])
def test_a_run_that_lost_its_lease_writes_nothing_more(nth: int) -> None:
    """As when the machine sleeps in the middle of a put, for longer than the lease lasts."""
    site = furnished(MemoryDisk())
    site.settings = {"concurrency": 1, "lease_for": 60}
    time = LeaseTime()

    async def suspend(adapter: Adapter) -> None:
        time.seconds += 61.0

    before = look(site)
    rule = Rule(fault=Meddle(suspend), operations=PUTS, path=DOCUMENT, after=nth - 1, times=1)
    ran = site.sync([rule], lease_clock=time.clock, lease_sleep=time.beside)
    assert isinstance(ran.error, LeaseLost)
    assert exit_code(ran.error) == 11
    check(site, before, ran)
    [struck] = [call for call in ran.faults.calls if call.fault is not None]
    later = [call for call in ran.faults.calls if call.number > struck.number]
    assert [call for call in later if call.operation in EVERY - {"list", "read"}] == []
    converges(site)
