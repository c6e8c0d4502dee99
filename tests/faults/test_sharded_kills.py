"""A kept plan, applied by a process that ends at any of its storage calls; then it is applied again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from faults.invariants import check, is_done, look
from faults.site import STATE, MemoryDisk, Site, furnished
from metaferry.lightly.names import SCHEMA
from metaferry.runs.run import plan
from metaferry.runs.sharded.run import Share, finish, sync_plan
from metaferry.storage.testing.rules import LOST_REPLY, Kill, Rule


def a_site() -> tuple[Site, str]:
    """A site with a plan of three shards; it lies in the state folder, where every run may write."""
    site = furnished(MemoryDisk())
    site.settings = {"concurrency": 1}
    folder = f"{site.disk.root}data/{STATE}plan"
    plan(site.job, out=folder, shards=3)
    return site, folder


@pytest.mark.slow
def test_killed_at_many_calls_and_applied_again() -> None:
    site, folder = a_site()
    start, before = site.disk.objects(), look(site)
    apply = partial(sync_plan, plan=folder)
    ran = site.sync(run=apply)
    check(site, before, ran)
    is_done(site, before, ran)
    clean, calls = site.documents(), ran.faults.calls
    assert site.sync().writes == []
    deletes = [call.number for call in ran.writes if call.operation == "delete"]
    puts = [call.number for call in ran.writes if call.operation == "put" and call.path != SCHEMA]
    assert deletes
    assert max(puts) < min(deletes), "they wait for all writes"
    for number in {*range(2, len(calls), 7), *deletes, len(calls) - 1}:
        site.reset(start)
        killed = site.sync([Rule(fault=Kill("after"), number=number)], run=apply)
        assert killed.killed
        check(site, before, killed)
        again = site.sync(run=apply)
        check(site, before, again)
        is_done(site, before, again)
        assert site.documents() == clean
        assert again.report is not None
        assert again.report.findings.get("document.modified_externally") == ran.report.findings.get(
            "document.modified_externally"
        )
        third = site.sync()
        assert third.writes == []
        assert third.code == again.code


def test_lost_answers_are_no_conflicts() -> None:
    """A third of the puts and deletes are done, and the answer lost: documents, markers, lease, report."""
    site, folder = a_site()
    before = look(site)
    rule = Rule(fault=LOST_REPLY, operations=frozenset({"put", "delete"}), chance=0.3)
    ran = site.sync([rule], run=partial(sync_plan, plan=folder))
    check(site, before, ran)
    is_done(site, before, ran)
    assert site.sync().writes == []


def test_shares_count_what_was_done_and_finish_adds_it_up() -> None:
    site, folder = a_site()
    before = look(site)
    whole = furnished(MemoryDisk()).sync().report
    with pytest.raises(Exception, match="in the memory of one process"):
        sync_plan(site.job, folder, share=Share(0, 2))
    # In one process memory is shared by all: two whole runs take turns, and the second has nothing to do.
    first = site.sync(run=partial(sync_plan, plan=folder))
    second = site.sync(run=partial(sync_plan, plan=folder))
    third = site.sync(run=lambda job, deps: finish(folder, job=job, deps=deps))
    check(site, before, first)
    assert (second.writes, third.writes) == ([], [])
    assert first.report is not None
    assert whole is not None
    assert second.report is not None
    assert third.report is not None
    # How tables were read is for whoever called; run.json, which the second reads, has none of it.
    reports = [replace(each, tables=[]) for each in (first.report, second.report, third.report)]
    assert reports[0] == reports[1] == reports[2]
    assert first.report.documents == whole.documents
    assert first.report.sources == whole.sources
