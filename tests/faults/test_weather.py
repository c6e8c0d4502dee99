"""The whole `sync` under each fault and under mixtures of them: what it may and may not do then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from faults.invariants import check, converges, is_done, look
from faults.mixture import FOR_EVER, mixture
from faults.site import Disk, MemoryDisk, Ran, Site, furnished
from metaferry.errors import Denied, Expired, MetaferryError, StorageError, Unavailable, Unsupported
from metaferry.lightly.document import document
from metaferry.lightly.names import DOCUMENTS, SCHEMA, Kind, document_path
from metaferry.storage.errors import Failure
from metaferry.storage.protocol import Adapter
from metaferry.storage.testing.rules import (
    CORRUPTED,
    DELETES,
    DENIED,
    EXPIRED,
    LISTS,
    LOST_REPLY,
    NO_SPACE,
    PUTS,
    READS,
    RESET,
    TRUNCATED,
    UNAVAILABLE,
    Delay,
    Flip,
    Meddle,
    Refusal,
    Rule,
    storm,
)

pytestmark = pytest.mark.slow

HELD = Refusal(Failure(403, "objectUnderActiveHold"))

DOCUMENT = r"^\.lightly/metadata/.*[^a]\.json$"  # not schema.json


@dataclass(frozen=True)
class Story:
    """A fault of the kind that a run lives through without anybody noticing."""

    name: str
    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        return self.name


PASSING = [
    Story("storm", storm(20.0)),
    Story("storm-with-retry-after", storm(10.0, retry_after=5.0)),
    Story("resets", (Rule(fault=RESET, chance=0.3),)),
    Story("lost-replies", (Rule(fault=LOST_REPLY, chance=0.3),)),
    Story("first-reply-of-each-put-lost", (Rule(fault=LOST_REPLY, operations=PUTS, chance=0.5),)),
    Story("slow", (Rule(fault=Delay(9.0)),)),
    Story("truncated", (Rule(fault=TRUNCATED, operations=READS | PUTS, chance=0.4),)),
    Story("corrupted-and-seen", (Rule(fault=CORRUPTED, operations=READS | PUTS, chance=0.4),)),
    Story("expired-once", (Rule(fault=EXPIRED, after=9),)),
    Story("a-page-fails-once", (Rule(fault=UNAVAILABLE, operations=LISTS, times=1),)),
    Story("listings-fail-often", (Rule(fault=RESET, operations=LISTS, chance=0.5),)),
    Story("damaged-state", (Rule(fault=Flip(), operations=READS | PUTS, path=r"^\.metaferry/[^l]"),)),
]


def spoiled(ran: Ran) -> int:
    return sum(call.fault is not None for call in ran.faults.calls)


@pytest.mark.slow
@pytest.mark.parametrize("story", PASSING, ids=str)
def test_what_passes(disk: Disk, story: Story) -> None:
    site = furnished(disk)
    before = look(site)
    ran = site.sync(story.rules, seed=11)
    assert spoiled(ran) >= 1
    check(site, before, ran)
    is_done(site, before, ran)
    assert ran.report is not None
    refusals = sum(isinstance(call.fault, Refusal) for call in ran.faults.calls)
    assert ran.report.requests.retries <= refusals
    converges(site)


#: Denied for everybody: nobody knows the key any more.
UNKNOWN = Refusal(Failure(403, "InvalidAccessKeyId"))


@dataclass(frozen=True)
class Ending:
    """A fault that ends the run with this error."""

    name: str
    rule: Rule
    kind: type[MetaferryError]

    def __str__(self) -> str:
        return self.name


ENDINGS = [
    Ending("denied-from-call-6", Rule(fault=DENIED, after=6), Denied),
    Ending("denied-to-write", Rule(fault=DENIED, operations=PUTS), Denied),
    Ending("unknown-in-the-middle", Rule(fault=UNKNOWN, path=DOCUMENT, operations=PUTS, after=4), Denied),
    Ending("denied-to-delete", Rule(fault=DENIED, path=DOCUMENT, operations=DELETES), Denied),
    Ending("expired-for-ever", Rule(fault=FOR_EVER, path=DOCUMENT, operations=PUTS, after=4), Expired),
    Ending("a-page-fails-for-ever", Rule(fault=UNAVAILABLE, operations=LISTS), Unavailable),
    Ending("no-schema", Rule(fault=UNAVAILABLE, operations=READS, path="schema.json"), Unavailable),
    Ending("no-tables", Rule(fault=RESET, operations=READS, path=r"\.csv$"), Unavailable),
    Ending("no-room-for-the-state", Rule(fault=NO_SPACE, operations=PUTS, path=r"started"), Unsupported),
]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_what_ends_a_run(disk: Disk, ending: Ending) -> None:
    site = furnished(disk)
    before = look(site)
    ran = site.sync([ending.rule], seed=12)
    assert isinstance(ran.error, ending.kind), (ran.error, ran.report)
    assert ran.error.advice
    check(site, before, ran)
    assert SCHEMA not in [call.path for call in ran.writes]
    converges(site)


def test_unknown_credentials_in_the_middle_stop_at_once() -> None:
    site = furnished(MemoryDisk())
    ran = site.sync([Rule(fault=UNKNOWN, path=DOCUMENT, operations=PUTS, after=4)])
    assert isinstance(ran.error, Denied)
    refused = [call for call in ran.writes if call.fault is UNKNOWN]
    # Those that were under way with the first one may meet the same answer; nothing is retried.
    assert 1 <= len(refused) <= site.job.concurrency
    assert len({call.path for call in refused}) == len(refused)
    assert [call for call in ran.writes if call.operation == "delete"] == []


def test_expired_in_the_middle_is_renewed_once() -> None:
    site = furnished(MemoryDisk())
    before = look(site)
    ran = site.sync([Rule(fault=EXPIRED, path=DOCUMENT, operations=PUTS, after=4)])
    is_done(site, before, ran)
    assert ran.faults.renewals == 1


@pytest.mark.parametrize(
    "fault",
    [NO_SPACE, UNAVAILABLE, CORRUPTED],
    ids=["full", "unavailable", "corrupt"],
)
def test_documents_that_fail_alone(disk: Disk, fault: Refusal) -> None:
    """The others are written, `schema.json` waits, and the next run does exactly what is missing."""
    site = furnished(disk, rejects=False)
    before = look(site)
    failing = {document_path("a.png"), document_path("b/d e.png")}
    ran = site.sync([Rule(fault=fault, operations=PUTS, path=r"/(a|d e)\.json$")])
    check(site, before, ran)
    assert ran.report is not None, ran.error
    assert (ran.code, ran.report.documents.failed, ran.report.schema.written) == (3, 2, False)
    assert ran.report.findings["document.failed"] == 2
    named = {
        example.target for example in ran.report.finding_examples if str(example.code) == "document.failed"
    }
    assert named == failing
    assert site.documents()[SCHEMA] == before.documents[SCHEMA]
    wanted, after = site.expected(dict(before.documents)), site.documents()
    assert {target for target, data in wanted.items() if after.get(target) != data} == failing
    middle = look(site)
    again = site.sync()
    is_done(site, middle, again)
    assert {call.path for call in again.writes} == failing | {SCHEMA}


@pytest.mark.parametrize("fault", [DENIED, HELD], ids=["denied", "held"])
def test_documents_that_may_not_be_touched_do_not_keep_the_schema_back(disk: Disk, fault: Refusal) -> None:
    """Nobody can say when they will be written, and what stands in their place fits the entries."""
    site = furnished(disk, rejects=False)
    before = look(site)
    refused = {document_path("a.png"), document_path("b/d e.png")}
    ran = site.sync([Rule(fault=fault, operations=PUTS, path=r"/(a|d e)\.json$")])
    check(site, before, ran)
    assert ran.report is not None, ran.error
    assert (ran.code, ran.report.documents.failed, ran.report.schema.written) == (3, 2, True)
    assert ran.report.findings["document.failed"] == 2
    middle = look(site)
    again = site.sync()
    is_done(site, middle, again)
    assert {call.path for call in again.writes} == refused


def test_a_document_that_cannot_be_deleted() -> None:
    site = furnished(MemoryDisk(), rejects=False)
    before = look(site)
    ran = site.sync([Rule(fault=UNAVAILABLE, operations=DELETES, path="gone")])
    check(site, before, ran)
    assert ran.report is not None
    assert (ran.code, ran.report.schema.written, ran.report.documents.delete) == (3, False, 2)
    middle = look(site)
    again = site.sync()
    is_done(site, middle, again)
    assert [call.path for call in again.writes] == [document_path("gone.png"), SCHEMA]


# -- somebody else


def writes(target: str, data: bytes) -> Any:
    async def act(adapter: Adapter) -> None:
        await adapter.put(target, data)

    return act


THEIRS = b'{"by":"somebody else"}'


@pytest.mark.parametrize("name", ["a.png", "b/c.png", "same.png", "gone.png"])
def test_somebody_writes_a_document_after_it_was_listed(disk: Disk, name: str) -> None:
    """What is wanted is planned again on what they wrote; what was to be deleted is theirs now."""
    site = furnished(disk, rejects=False)
    before = look(site)
    target = document_path(name)
    # The first put is the one that marks the run as begun: the listing is over, and no document is written.
    meddle = Rule(fault=Meddle(writes(target, THEIRS)), operations=PUTS, path="started.json", times=1)
    ran = site.sync([meddle])
    check(site, before, ran, theirs={target: THEIRS})
    assert ran.report is not None, ran.error
    after = site.documents()
    # On the local disk the document that was to stay is written again too: nothing proves it.
    kept = name == "same.png" and isinstance(disk, MemoryDisk)
    if name == "gone.png":
        assert (ran.code, after[target], ran.report.schema.written) == (3, THEIRS, False)
        assert ran.report.findings["document.failed"] + ran.report.findings.get("document.conflict", 0) >= 1
    elif kept:  # not looked at again: as if they had written just after the run
        assert (ran.code, after[target]) == (0, THEIRS)
    else:
        assert (ran.code, after[target]) == (0, site.wanted()[target])
        assert ran.report.findings["document.modified_externally"] >= 1
    converges(site)


def test_somebody_writes_the_same_document_again_and_again() -> None:
    """Planned again once, and no more: then it is a conflict, and theirs stays."""
    site = furnished(MemoryDisk(), rejects=False)
    before = look(site)
    target = document_path("b/c.png")
    versions = iter(range(100))
    theirs: dict[str, bytes] = {}

    async def act(adapter: Adapter) -> None:
        theirs[target] = b'{"version":%d}' % next(versions)
        await adapter.put(target, theirs[target])

    ran = site.sync([Rule(fault=Meddle(act), operations=PUTS, path="/c.json$")])
    check(site, before, ran, theirs=theirs)
    assert ran.report is not None
    assert (ran.code, ran.report.documents.conflict, ran.report.schema.written) == (3, 1, False)
    assert ran.report.findings["document.conflict"] == 1
    assert site.documents()[target] == theirs[target]
    converges(site)


def test_somebody_deletes_a_document_after_it_was_listed(disk: Disk) -> None:
    site = furnished(disk, rejects=False)
    before = look(site)
    target = document_path("a.png")

    async def act(adapter: Adapter) -> None:
        await adapter.delete(target)

    ran = site.sync([Rule(fault=Meddle(act), operations=READS, path="schema.json", times=1)])
    check(site, before, ran, theirs={target: None})
    is_done(site, before, ran)
    converges(site)


def test_somebody_writes_the_schema(disk: Disk) -> None:
    site = furnished(disk, rejects=False)
    before = look(site)
    theirs = b'[{"name":"Mine","path":"mine","defaultValue":0,"valueDataType":"NUMERIC_INT"}]'
    ran = site.sync([Rule(fault=Meddle(writes(SCHEMA, theirs)), operations=PUTS, path=DOCUMENT, times=1)])
    check(site, before, ran, theirs={SCHEMA: theirs})
    assert ran.report is not None, ran.error
    assert (ran.code, ran.report.schema.written, site.documents()[SCHEMA]) == (3, False, theirs)
    converges(site)
    assert b'"mine"' in site.documents()[SCHEMA]


def test_a_table_is_replaced_while_it_is_read(disk: Disk) -> None:
    """Either version may be what is read, whole; never a mix, and nothing half is written."""
    site = furnished(disk, rejects=False)
    old = site.wanted()
    site.rows["a.png"] = {"scene": "new", "n": 77}
    site.rows["b/c.png"] = {"scene": "new", "n": 78}
    new = site.wanted()
    lines = ["file_name,scene,n", *(f"{k},{v['scene'] or ''},{v['n'] or ''}" for k, v in site.rows.items())]
    data = ("\n".join(lines) + "\n").encode()

    async def act(adapter: Adapter) -> None:
        await adapter.put("rows.csv", data)

    ran = site.sync([Rule(fault=Meddle(act, "after"), operations=READS, path="rows.csv", times=1)])
    seen = site.documents()
    if ran.report is not None:
        assert {key: seen[key] for key in old} in (old, new)
    else:
        assert isinstance(ran.error, StorageError)
        assert ran.writes == []
    converges(site)


# -- videos that nobody can count


@pytest.mark.slow
def test_no_frame_document_without_a_proof() -> None:
    site = furnished(MemoryDisk(), broken=True)
    before = look(site)
    ran = site.sync(storm(5.0))
    check(site, before, ran)
    is_done(site, before, ran)
    assert not [target for target in site.documents() if "bad" in target]
    converges(site)


# -- mixtures


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_mixtures(disk: Disk, seed: int) -> None:
    site: Site = furnished(disk, rejects=seed % 2 == 0)
    before = look(site)
    ran = site.sync(mixture(seed), seed=seed)
    check(site, before, ran)
    converges(site)


def test_the_oracle_would_notice() -> None:
    """The checks themselves: a lost document, a strange one, and one outside are each found."""
    site = furnished(MemoryDisk())
    before = look(site)
    ran = site.sync()
    check(site, before, ran)
    good = site.disk.objects()
    target = document_path("same.png")
    spoils: list[Callable[[], None]] = [
        lambda: site.disk.delete(f"data/{target}"),
        lambda: site.put_document(target, document("same.png", Kind.IMAGE, {"n": 4})[:-1]),
        lambda: site.put_document(DOCUMENTS + "clip-09-mp4.json", b"{}"),
        lambda: site.disk.put("data/elsewhere.txt", b"1"),
        lambda: site.put_document(document_path("a.png"), before.documents[document_path("a.png")]),
    ]
    for spoil in spoils:
        spoil()
        with pytest.raises(AssertionError):
            check(site, before, ran)
        site.reset(good)
    check(site, before, ran)
