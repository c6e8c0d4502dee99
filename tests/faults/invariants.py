"""The invariants of docs/design.md, checked after any run over a `Site`, whatever became of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faults.site import STATE, Ran, Site
from metaferry.lightly.names import DOCUMENTS, SCHEMA
from metaferry.lightly.schema import parse_schema
from metaferry.storage.testing.rules import Fault, Refusal


@dataclass(frozen=True)
class Before:
    """What was there when a run began."""

    documents: Mapping[str, bytes]
    fallback_reason: Mapping[str, bytes]


def look(site: Site) -> Before:
    return Before(site.documents(), site.fallback_reason())


def check(
    site: Site,
    before: Before,
    ran: Ran,
    *,
    theirs: Mapping[str, bytes | None] | None = None,
) -> None:
    """1, 3, 4, 5 and 6 (2 is `converges`; 7 is part of 1: such a document is not expected).

    `theirs` is what somebody else wrote during the run (None: deleted), by target.
    """
    theirs = theirs or {}
    after = site.documents()
    expected = site.expected(dict(before.documents))
    # 1: complete, and as planned or as it was; what is gone was to go.
    for target, data in after.items():
        if target != SCHEMA:
            allowed = (before.documents.get(target), expected.get(target), theirs.get(target))
            assert data in allowed, f"{target} is {data!r}"
    for target in before.documents.keys() - after.keys():
        assert target not in expected or target in theirs, f"{target} is lost"
    _schema_is_last(before, after, ran, expected, theirs)
    _touched_nothing_else(site, before, ran)
    if ran.report is not None:
        _adds_up(site, before, ran)


def is_done(site: Site, before: Before, ran: Ran) -> None:
    """Nothing is left to do: the tree is what it has to be, and the exit code says only what it must."""
    assert ran.report is not None, ran.error
    assert ran.report.stopped == ""
    assert not ran.report.documents.failed
    assert not ran.report.documents.conflict
    assert ran.code == (3 if site.rejected else 0)
    assert without_schema(site.documents()) == site.expected(dict(before.documents))
    described = {entry.path for entry in parse_schema(site.documents()[SCHEMA], SCHEMA)}
    assert {"scene", "n"} <= described


def converges(site: Site, clean: Mapping[str, bytes] | None = None) -> Ran:
    """2: the next run leaves what a clean run leaves, and the one after it writes nothing."""
    before = look(site)
    second = site.sync()
    check(site, before, second)
    is_done(site, before, second)
    if clean is not None:
        assert site.documents() == clean
    third = site.sync()
    assert third.report is not None, third.error
    assert third.writes == []
    assert (third.report.changes, third.report.schema.written, third.code) == (0, False, second.code)
    return second


def without_schema(documents: Mapping[str, bytes]) -> dict[str, bytes]:
    return {target: data for target, data in documents.items() if target != SCHEMA}


def _schema_is_last(
    before: Before,
    after: Mapping[str, bytes],
    ran: Ran,
    expected: Mapping[str, bytes],
    theirs: Mapping[str, bytes | None],
) -> None:
    """5: when it has changed, all documents are in place that can be; and no write of one comes after it.

    Those that nobody may write (403) do not keep it back: what stands in their place fits the entries.
    """
    refused = {call.path for call in ran.faults.calls if call.operation == "put" and _forbids(call.fault)}
    assert SCHEMA in after or SCHEMA not in before.documents
    if after.get(SCHEMA) != before.documents.get(SCHEMA) and SCHEMA not in theirs:
        left = theirs.keys() | refused
        kept = {target: data for target, data in expected.items() if target not in left}
        assert {target: after.get(target) for target in kept} == kept
    paths = [call.path for call in ran.writes]
    if SCHEMA in paths:
        assert set(paths[paths.index(SCHEMA) :]) == {SCHEMA}
    if ran.report is not None and ran.report.schema.written:
        documents = ran.report.documents
        assert documents.failed <= len(refused)
        assert documents.conflict == 0


def _forbids(fault: Fault | None) -> bool:
    return isinstance(fault, Refusal) and fault.failure.status == 403


def _touched_nothing_else(site: Site, before: Before, ran: Ran) -> None:
    """6: neither by what was asked of the stores, nor by what is there."""
    assert site.fallback_reason() == before.fallback_reason
    for call in ran.faults.calls:
        if call.operation in ("put", "delete"):
            assert call.url.rstrip("/").endswith("/data"), call
            assert call.path.startswith((DOCUMENTS, STATE)), call


def _adds_up(site: Site, before: Before, ran: Ran) -> None:
    """3 and 4."""
    report = ran.report
    assert report is not None
    counts = report.documents
    assert (
        counts.create + counts.update + counts.keep + counts.failed + counts.conflict + counts.deferred
    ) == len(site.wanted())
    unwanted = without_schema(before.documents).keys() - site.wanted().keys()
    assert counts.delete + counts.skip == len(unwanted)
    assert [source.read for source in report.sources] == [len(site.rows), len(site.frame_rows)]
    for source in report.sources:
        left_out = source.unmatched + source.excluded + source.filtered + source.repeated
        assert source.read == source.used + source.rejected + left_out
    assert sum(source.rejected for source in report.sources) == site.rejected
    assert sum(source.unmatched for source in report.sources) == site.unmatched
    good = not (counts.failed or counts.conflict or counts.deferred or report.stopped or site.rejected)
    assert report.exit_code != 0 or good
    if counts.failed or counts.conflict:
        assert report.exit_code == 3
