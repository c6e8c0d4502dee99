"""A run that was killed, rolled back; and a rollback that is killed, or met by others, and run again."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faults.site import STATE, MemoryDisk, Ran, Site, furnished
from metaferry.apply import outage
from metaferry.errors import LeaseHeld, MetaferryError, Outage, UsageError
from metaferry.lightly.document import document
from metaferry.lightly.names import DOCUMENTS, SCHEMA, Kind, document_path
from metaferry.planning.formats import RunReport
from metaferry.progress import Stop
from metaferry.runs.backup import pieces
from metaferry.runs.lease.record import this_process
from metaferry.runs.rollback.report import RollbackReport
from metaferry.runs.rollback.run import rollback
from metaferry.runs.run import plan
from metaferry.runs.sharded.run import sync_plan
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Adapter
from metaferry.storage.testing.rules import (
    CORRUPTED,
    DENIED,
    LOST_REPLY,
    PUTS,
    READS,
    UNAVAILABLE,
    Kill,
    Meddle,
    Rule,
)

FOREIGN = b'{"file_name": "a.png", "type": "image", "metadata": {"scene": "theirs"}}'
A = document_path("a.png")
NEW = document_path("b/c.png")
GONE = document_path("gone.png")


def a_site(*, synced: bool = True) -> Site:
    """A site whose next run creates, updates and deletes; `synced`: our own runs wrote what is there."""
    site = furnished(MemoryDisk(), rejects=False)
    site.settings = {"concurrency": 1, "backup": {"keep": "30d"}}
    if synced:
        site.sync()
        site.rows["a.png"] = {"scene": "changed", "n": 7}
        site.rows["norows.png"] = {"scene": "new", "n": 8}
        del site.rows["b/c.png"]
        site.frame_rows[("clip.mp4", 5)] = {"speed": 3.5}
        site.write_tables()
        site.put_document(SCHEMA, with_an_entry_more(site.documents()[SCHEMA]))
        data = site.documents()[SCHEMA].replace(b'"n"', b'"m"')
        site.put_document(SCHEMA, data)  # an entry less, which the next run adds
    return site


def with_an_entry_more(data: bytes) -> bytes:
    entry = b'[{"name":"More","path":"more","defaultValue":0,"valueDataType":"NUMERIC_INT"},'
    return entry + data.lstrip()[1:]


def rolled(site: Site, run_id: str, *rules: Rule, apply: bool = True, **more: Any) -> tuple[Ran, Any]:
    """A rollback in this weather: how it ended, and its report (None where there is none)."""
    found: list[RollbackReport] = []

    def run(job: Any, deps: Any) -> RunReport:
        found.append(rollback(job, run_id, apply=apply, deps=deps, **more))
        return RunReport(run_id, "", "", exit_code=found[0].exit_code)

    ran = site.sync(rules, run=run)
    return ran, found[0] if found else None


def run_id_of(ran: Ran) -> str:
    assert ran.report is not None, ran.error
    return ran.report.run_id


def backups(site: Site) -> dict[str, bytes]:
    start = f"{STATE}backup/"
    return {key.removeprefix(start): data for key, data in site.objects().items() if key.startswith(start)}


def newest_backup(site: Site) -> str | None:
    """The newest run with something to roll back."""
    return max((key.partition("/")[0] for key in backups(site) if key.endswith(".json")), default=None)


@pytest.mark.parametrize("synced", [True, False], ids=["our documents", "documents of others"])
def test_a_run_is_taken_back_byte_by_byte(synced: bool) -> None:
    site = a_site(synced=synced)
    before = site.documents()
    ran = site.sync()
    assert ran.report is not None
    counts = ran.report.documents
    assert (counts.create > 0, counts.update > 0, counts.delete > 0) == (True, True, True)
    assert ran.report.schema.written
    assert ran.report.backup.documents == counts.update + counts.delete
    left = site.documents()

    planned, report = rolled(site, run_id_of(ran), apply=False)
    assert planned.writes == []
    assert not any(call.operation in ("put", "delete") for call in planned.faults.calls)
    assert (report.documents.restore, report.documents.recreate, report.documents.remove) == (
        counts.update,
        counts.delete,
        counts.create,
    )
    assert report.schema == "restore"
    assert site.documents() == left

    done, report = rolled(site, run_id_of(ran))
    assert (done.code, report.findings) == (0, {})
    assert site.documents() == before
    paths = [call.path for call in done.writes]
    assert paths[-1] == SCHEMA, "schema.json comes last"
    kinds = [call.operation for call in done.writes[:-1]]
    assert kinds == sorted(kinds, reverse=True), "old versions are back before anything is deleted"

    twice, report = rolled(site, run_id_of(ran))
    assert report.is_nothing
    assert [call.path for call in twice.faults.calls if call.operation in ("put", "delete")] == [
        f"{STATE}lease.json"
    ] * 2

    # The same again, and nobody is told that others changed anything.
    again = site.sync()
    assert again.report is not None
    assert again.report.documents == counts
    assert "document.modified_externally" not in again.report.findings
    assert again.report.findings.get("document.existing") == ran.report.findings.get("document.existing")
    assert site.documents() == left


def test_nothing_is_kept_where_nothing_changes() -> None:
    with_backup, without = a_site(), a_site()
    without.settings = {"concurrency": 1}
    for site in (with_backup, without):
        site.sync()
    files = backups(with_backup)
    assert len(files) > 0
    kept, plain = with_backup.sync(), without.sync()
    assert kept.writes == plain.writes == []
    assert [(c.operation, c.path[:20]) for c in kept.faults.calls] == [
        (c.operation, c.path[:20]) for c in plain.faults.calls
    ]
    assert backups(with_backup) == files


def test_the_plan_has_the_requests_of_the_backup() -> None:
    site = a_site()
    planned = plan(site.job).backup
    ran = site.sync()
    assert ran.report is not None
    assert planned == ran.report.backup
    assert (planned.documents, planned.puts) == (ran.report.documents.update + ran.report.documents.delete, 2)


def test_everything_is_kept_before_the_first_overwrite() -> None:
    site = a_site()
    ran = site.sync()
    order = [call.path for call in ran.faults.calls if call.operation in ("put", "delete")]
    committed = next(n for n, path in enumerate(order) if path.endswith("/all.json"))
    piece = next(n for n, path in enumerate(order) if path.endswith("/all.0000.parquet"))
    first = next(n for n, path in enumerate(order) if path.startswith(DOCUMENTS))
    assert piece < committed < first


def test_pieces_are_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 300)
    site = a_site()
    before = site.documents()
    ran = site.sync()
    assert sum(key.endswith(".parquet") and key.startswith(run_id_of(ran)) for key in backups(site)) > 2
    _, report = rolled(site, run_id_of(ran))
    assert report.exit_code == 0
    assert site.documents() == before


@pytest.mark.slow
def test_a_run_that_was_killed_at_any_write_is_taken_back() -> None:
    site = a_site()
    start, before = site.disk.objects(), site.documents()
    earlier = newest_backup(site)
    ran = site.sync()
    left = site.documents()
    calls = [call for call in ran.faults.calls if call.operation in ("put", "delete")]
    covered = 0
    for call in calls:
        site.reset(start)
        killed = site.sync([Rule(fault=Kill("after"), number=call.number)])
        assert killed.killed
        run_id = newest_backup(site)
        if run_id == earlier:
            assert site.documents() == before, "nothing is overwritten before it is kept"
            continue
        assert run_id is not None
        covered += 1
        done, report = rolled(site, run_id)
        assert (done.code, report.documents.conflict) == (0, 0)
        assert site.documents() == before
        again = site.sync()
        assert again.report is not None
        assert "document.modified_externally" not in again.report.findings
        assert site.documents() == left
    assert covered > len(calls) / 2


@pytest.mark.slow
@pytest.mark.parametrize("synced", [True, False], ids=["our documents", "documents of others"])
def test_a_rollback_that_was_killed_at_any_call_is_run_again(synced: bool) -> None:
    site = a_site(synced=synced)
    before = site.documents()
    ran = site.sync()
    start = site.disk.objects()
    whole, _ = rolled(site, run_id_of(ran))
    for call in whole.faults.calls:
        if call.operation not in ("put", "delete"):
            continue
        site.reset(start)
        killed, _ = rolled(site, run_id_of(ran), Rule(fault=Kill("after"), number=call.number))
        assert killed.killed
        done, _ = rolled(site, run_id_of(ran))
        assert done.code == 0
        assert site.documents() == before
        again = site.sync()
        assert again.report is not None
        assert again.report.documents == ran.report.documents if ran.report else False
        assert "document.modified_externally" not in again.report.findings
        assert again.report.findings.get("document.existing") == (
            ran.report.findings.get("document.existing") if ran.report else None
        )


def test_lost_answers_are_no_conflicts() -> None:
    site = a_site()
    before = site.documents()
    lost = Rule(fault=LOST_REPLY, operations=frozenset({"put", "delete"}), chance=0.3)
    ran = site.sync([lost])
    done, _ = rolled(site, run_id_of(ran), lost)
    assert done.code == 0
    assert site.documents() == before


def test_what_others_wrote_since_is_named_and_left() -> None:
    site = a_site()
    before = site.documents()
    ran = site.sync()
    site.put_document(A, FOREIGN)
    site.put_document(NEW, FOREIGN)
    created = document_path("norows.png")
    site.put_document(created, FOREIGN)
    _, planned = rolled(site, run_id_of(ran), apply=False)
    assert (planned.exit_code, planned.documents.conflict) == (3, 3)
    done, report = rolled(site, run_id_of(ran))
    assert done.code == 3
    assert {finding.target for finding in report.finding_examples} == {A, NEW, created}
    assert report.findings == {"document.conflict": 3}
    after = site.documents()
    theirs = {A: FOREIGN, NEW: FOREIGN, created: FOREIGN}
    assert after == before | theirs


def test_what_others_write_meanwhile_is_left_too() -> None:
    site = a_site()
    ran = site.sync()

    async def write(adapter: Adapter) -> None:
        await adapter.put(A, FOREIGN)

    meddle = Rule(fault=Meddle(write), operations=PUTS, path=A, times=1)
    done, report = rolled(site, run_id_of(ran), meddle)
    assert done.code == 3
    assert site.documents()[A] == FOREIGN
    assert report.findings == {"document.conflict": 1}


def test_a_document_that_changes_after_it_was_kept_is_not_replaced() -> None:
    site = a_site()

    async def write(adapter: Adapter) -> None:
        await adapter.put(A, FOREIGN)

    before_it_is_kept = Rule(fault=Meddle(write), operations=READS, path=A, times=1)
    after_it_was_kept = Rule(fault=Meddle(write), operations=PUTS, path=A, times=1)
    start = site.disk.objects()
    for rule in (before_it_is_kept, after_it_was_kept):
        site.reset(start)
        ran = site.sync([rule])
        assert ran.report is not None
        assert (ran.code, ran.report.documents.conflict) == (3, 1)
        assert site.documents()[A] == FOREIGN
        assert not ran.report.schema.written
    assert site.sync().code == 0, "the next run has listed and kept it"


@pytest.mark.parametrize("fault", [DENIED, CORRUPTED], ids=["denied", "corrupted"])
def test_a_document_that_cannot_be_kept_is_not_replaced(fault: Any) -> None:
    site = a_site()
    site.settings |= {"retry_for": 1}
    before = site.documents()[A]
    ran = site.sync([Rule(fault=fault, operations=READS, path=A)])
    assert ran.report is not None
    assert (ran.code, ran.report.documents.failed) == (3, 1)
    assert site.documents()[A] == before
    (finding,) = [f for f in ran.report.finding_examples if f.code == "document.failed"]
    assert "its old version cannot be kept" in finding.message


def test_a_store_that_gives_no_document_ends_the_run_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each of a million documents would be retried for minutes."""
    monkeypatch.setattr(outage, "IN_A_ROW", 2)
    site = a_site()
    site.settings |= {"retry_for": 1}
    before = site.documents()
    away = Rule(fault=UNAVAILABLE, operations=READS, path=r"metadata/.*(?<!schema)\.json")
    ran = site.sync([away])
    assert isinstance(ran.error, Outage)
    assert site.documents() == before
    synced = site.sync()
    left = site.documents()
    rolled_back, _ = rolled(site, run_id_of(synced), away)
    assert isinstance(rolled_back.error, Outage)
    assert site.documents() == left


def test_what_is_in_place_as_it_is_to_be_written_is_not_kept() -> None:
    """Nothing proves it to the planner, but its bytes do: a store without versions would else show what an
    earlier attempt wrote as the old version."""
    site = a_site()
    site.sync()
    site.lose_state()
    same = document("a.png", Kind.IMAGE, {"scene": "changed", "n": 7})
    assert site.documents()[A] == same
    site.put_document(f"{STATE}runs/20200101T000000Z-1/damaged.parquet", damaged(A))
    ran = site.sync()
    assert ran.report is not None
    assert (ran.report.documents.update, ran.report.backup.documents) == (1, 0)
    assert backups(site) == {}


def damaged(target: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"target": [target]}), file)
    return file.getvalue()


def test_the_newest_run_goes_first() -> None:
    """Two runs: the first cannot be taken back over the second, but after it."""
    site = a_site()
    before = site.documents()
    first = site.sync()
    between = site.documents()
    site.rows["a.png"] = {"scene": "again", "n": 9}
    site.write_tables()
    second = site.sync()
    _, report = rolled(site, run_id_of(first), apply=False)
    assert (report.documents.conflict, report.later_runs) == (1, (run_id_of(second),))
    assert rolled(site, run_id_of(second))[0].code == 0
    assert site.documents() == between
    assert rolled(site, run_id_of(first))[0].code == 0
    assert site.documents() == before


def test_old_versions_stay_away_that_do_not_fit_a_newer_schema() -> None:
    site = a_site()
    number = document("a.png", Kind.IMAGE, {"scene": "city", "n": 1, "size": 3})
    site.put_document(A, number)
    ran = site.sync()
    entry = b'[{"name":"Size","path":"size","defaultValue":"","valueDataType":"CATEGORICAL_STRING"},'
    site.put_document(SCHEMA, entry + site.documents()[SCHEMA].lstrip()[1:])
    done, report = rolled(site, run_id_of(ran))
    assert done.code == 3
    assert report.schema == "conflict"
    assert site.documents()[A] != number
    assert any("does not fit schema.json" in f.message for f in report.finding_examples if f.target == A)


def test_older_types_do_not_return_over_documents_that_do_not_fit_them() -> None:
    site = furnished(MemoryDisk(), rejects=False)
    site.rows = {"a.png": {"scene": "city", "n": 1}, "same.png": {"scene": "x", "n": 2}}
    site.frame_rows = {}
    table = {"table": f"{site.disk.root}tables/rows.csv", "name": "rows"}
    site.settings = {
        "concurrency": 1,
        "backup": "30d",
        "sources": [table],
        "schema": {"infer": {"widen": True}},
    }
    site.write_tables()
    site.sync()
    site.rows["a.png"]["n"] = 1.5
    site.write_tables()
    before = site.documents()
    widened = site.sync()
    assert widened.report is not None
    assert [edit.path for edit in widened.report.schema.changed] == ["n"]
    # A later run writes a fraction elsewhere.
    site.rows["same.png"]["n"] = 2.5
    site.write_tables()
    later = site.sync()
    done, report = rolled(site, run_id_of(widened))
    assert (done.code, report.schema) == (3, "held back")
    assert "schema.misfit" in report.findings
    assert rolled(site, run_id_of(later))[0].code == 0
    assert rolled(site, run_id_of(widened))[0].code == 0
    assert site.documents() == before
    again = site.sync()
    assert again.report is not None
    assert [edit.path for edit in again.report.schema.changed] == ["n"], "and n is widened again"


def test_a_store_without_conditions_is_best_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities = MemoryAdapter.capabilities
    assert isinstance(capabilities, property)
    read: Callable[[Any], Any] = capabilities.fget  # type: ignore[assignment]
    monkeypatch.setattr(
        MemoryAdapter,
        "capabilities",
        property(lambda self: replace(read(self), conditional=False, replaces=False)),
    )
    site = a_site()
    before = site.documents()
    ran = site.sync()
    done, report = rolled(site, run_id_of(ran))
    assert (done.code, report.best_effort) == (0, True)
    assert site.documents() == before


def test_the_lease_of_another_run_is_respected() -> None:
    site = a_site()
    ran = site.sync()
    site.settings |= {"lease_wait": 0}
    left = site.documents()
    here = this_process("another", "20261101T000000Z-1", acquired="2026-11-01T00:00:00", lease_for=60)
    elsewhere = replace(here, host="elsewhere", machine="another", pid=1)
    site.disk.put(f"data/{STATE}lease.json", elsewhere.to_json())
    planned, _ = rolled(site, run_id_of(ran), apply=False)
    assert planned.code == 0, "a plan writes nothing, so it needs no lease"
    refused, _ = rolled(site, run_id_of(ran))
    assert isinstance(refused.error, LeaseHeld)
    assert site.documents() == left


def test_a_stop_leaves_the_rest_for_the_next_time() -> None:
    site = a_site()
    before = site.documents()
    ran = site.sync()
    stop = Stop()

    async def ask(adapter: Adapter) -> None:
        stop.request(15)

    rule = Rule(fault=Meddle(ask, "after"), operations=PUTS, path=DOCUMENTS, times=1)
    done, report = rolled(site, run_id_of(ran), rule, stop=stop)
    assert done.code == 143
    assert report.documents.deferred
    assert report.schema == "held back"
    assert rolled(site, run_id_of(ran))[0].code == 0
    assert site.documents() == before


def test_why_a_run_cannot_be_rolled_back() -> None:
    site = a_site()
    changed = site.sync()
    unchanged = site.sync()
    site.settings = {"concurrency": 1}
    site.rows["a.png"] = {"scene": "again", "n": 9}
    site.write_tables()
    without = site.sync()

    def error(run_id: str) -> MetaferryError:
        ran, _ = rolled(site, run_id)
        assert isinstance(ran.error, UsageError)
        assert run_id_of(changed) in ran.error.advice
        assert ran.writes == []
        return ran.error

    assert "there is no run '../x'" in error("../x").message
    assert "changed nothing" in error(run_id_of(unchanged)).message
    assert "its job had no `backup`" in error(run_id_of(without)).message


def test_a_backup_that_is_not_whole_changes_nothing() -> None:
    site = a_site()
    ran = site.sync()
    left = site.documents()
    piece = f"{STATE}backup/{run_id_of(ran)}/all.0000.parquet"
    data = site.objects()[piece]
    for damage in (None, data[:-1] + b"x"):
        if damage is None:
            site.disk.delete(f"data/{piece}")
        else:
            site.disk.put(f"data/{piece}", damage)
        failed, _ = rolled(site, run_id_of(ran))
        assert failed.error is not None
        assert "is not whole" in failed.error.message
        assert site.documents() == left


def test_backups_go_by_their_own_age() -> None:
    site = a_site()
    site.settings |= {"backup": "1h", "keep_runs": 1}
    old = run_id_of(site.sync())
    for number in range(3):
        site.rows["a.png"] = {"scene": "again", "n": number}
        site.write_tables()
        site.sync()
    assert any(key.startswith(old) for key in backups(site)), "keep_runs has no say in it"
    site.time.seconds += 3600
    site.rows["a.png"] = {"scene": "again", "n": 10}
    site.write_tables()
    last = run_id_of(site.sync())
    assert {key.partition("/")[0] for key in backups(site)} == {last}
    site.time.seconds += 7200
    assert site.sync().writes == []
    assert backups(site), "a run without changes does not look, but once a day"
    site.time.seconds += 86400
    site.sync()
    assert not backups(site)


# -- plans in shards


def a_plan(site: Site) -> Callable[..., RunReport]:
    folder = f"{site.disk.root}plan"
    plan(site.job, out=folder, shards=3)
    return partial(sync_plan, plan=folder)


def test_a_plan_in_shards_is_taken_back() -> None:
    site = a_site()
    before = site.documents()
    ran = site.sync(run=a_plan(site))
    assert ran.report is not None
    assert ran.report.documents.delete
    done, report = rolled(site, run_id_of(ran))
    assert (done.code, report.schema) == (0, "restore")
    assert site.documents() == before


@pytest.mark.slow
def test_a_plan_in_shards_that_was_killed_is_taken_back() -> None:
    """And applied again first: what its first attempt kept is what is brought back."""
    site = a_site()
    apply = a_plan(site)
    start, before = site.disk.objects(), site.documents()
    earlier = newest_backup(site)
    whole = site.sync(run=apply)
    left = site.documents()
    calls = [call.number for call in whole.writes]
    covered = 0
    for number in calls[::3]:
        for goes_on in (False, True):
            site.reset(start)
            assert site.sync([Rule(fault=Kill("after"), number=number)], run=apply).killed
            if goes_on:
                assert site.sync(run=apply).code == 0
                assert site.documents() == left
            run_id = newest_backup(site)
            assert run_id is not None
            assert run_id != earlier
            covered += 1
            assert rolled(site, run_id)[0].code == 0
            assert site.documents() == before
            # A plan that was taken back is applied as a whole again, or not completed.
            site.sync(run=apply)
            assert site.documents()[SCHEMA] == before[SCHEMA] or site.documents() == left
    assert covered
