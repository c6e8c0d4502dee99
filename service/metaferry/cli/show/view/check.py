"""What a check found, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.text import columns, count, heading, safe
from metaferry.findings import Code

if TYPE_CHECKING:
    from metaferry.view.check.found import CheckFinding, CheckReport

#: Findings of a code that are shown.
_SHOWN: Final = 5
#: In this order: what is wrong, what a sync would change, what is not there.
_ORDER: Final = (
    Code.SCHEMA_INVALID,
    Code.DOCUMENT_INVALID,
    Code.DOCUMENT_MISNAMED,
    Code.SCHEMA_CHANGED,
    Code.DOCUMENT_OUTDATED,
    Code.DOCUMENT_ORPHAN,
    Code.DOCUMENT_MISSING,
    Code.DOCUMENT_DEFAULT,
)


def check_lines(report: CheckReport) -> Iterator[str | Text]:
    """Coverage, documents, the first findings of each code, what a sync would change, and the verdict."""
    yield heading(safe(report.url))
    if report.coverage:
        rows = [["", "media", "values", "defaults only", "no document", "invalid", "not read"]]
        for kind, each in report.coverage.items():
            numbers = (each.media, each.values, each.default, each.missing, each.invalid, each.unknown)
            rows.append([f"{kind}s", *(f"{number:,}" for number in numbers)])
        yield from columns(rows, right=range(1, 7))
    yield ""
    documents = report.documents
    said = [
        f"{number:,} {what}"
        for number, what in (
            (documents.read, "read"),
            (documents.proved, "not read: known to be as a run wrote them"),
            (documents.unread, "not read"),
        )
        if number
    ]
    yield f"{count(documents.total, 'document')}{': ' + ', '.join(said) if said else ''}"
    if report.sample:
        yield f"{report.sample}"
    for note in report.notes:
        yield f"note: {safe(note)}"
    yield from _findings(report)
    yield ""
    yield _verdict(report)


def _findings(report: CheckReport) -> Iterator[str | Text]:
    by_code = {code: list(each) for code, each in groupby(report.examples, lambda finding: finding.code)}
    for code in sorted(by_code, key=lambda code: _ORDER.index(Code(code))):
        total = report.findings[code]
        yield ""
        yield heading(f"{code}: {total:,}")
        for finding in by_code[code][:_SHOWN]:
            yield f"  {_place(finding)}: {safe(finding.message)}"
        if total > _SHOWN:
            yield f"  … and {total - _SHOWN:,} more"
        if by_code[code][0].advice:
            yield f"  → {safe(by_code[code][0].advice)}"


def _place(finding: CheckFinding) -> str:
    name = finding.media if finding.code in (Code.DOCUMENT_MISSING, Code.DOCUMENT_DEFAULT) else finding.target
    return safe(name) + "".join(f":{number}" for number in (finding.line, finding.column) if number)


def _verdict(report: CheckReport) -> Text:
    said = []
    if report.invalid:
        said.append(f"{count(report.invalid, 'thing is', 'things are')} invalid")
    drift = report.drift
    if drift is not None:
        changes = [
            f"{word} {number:,}"
            for word, number in (
                ("create", drift.create),
                ("replace", drift.update),
                ("delete", drift.delete),
            )
            if number
        ]
        if drift.schema:
            changes.append("write schema.json")
        if changes:
            said.append(f"a sync would {', '.join(changes)}")
        if drift.stopped:
            said.append(f"it would stop: {drift.stopped}")
        if drift.rejected:
            said.append(f"{count(drift.rejected, 'row is', 'rows are')} rejected")
    if report.exit_code:
        return Text(safe("; ".join(said)), style="bold")
    good = "all that was read is valid" if report.documents.unread else "all documents are valid"
    if drift is not None:
        good += ", and a sync would change nothing"
    return Text(safe("; ".join([good, *said])), style="bold")
