"""What a page says beside the values of documents: plain values that its callers fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metaferry.findings import Finding
from metaferry.masking import mask

#: Of the hash by which documents are sampled.
SEED: Final = "metaferry"


@dataclass(frozen=True, slots=True)
class Panel:
    """A table with a heading: what drifted, what a run costs, what a selection could take.

    Numbers are shown with separators and to the right. `note` is one sentence below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """One finding: its place (a document, a media file, or a row of a table), and what to do."""

    where: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """The findings of one code, and a few of them."""

    code: str
    severity: str
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class About:
    """What the page is about, and how it came to be. URLs are without credentials.

    made: when, in ISO 8601. basis: where the values are from, as a sentence.
    """

    title: str
    made: str
    basis: str
    input: str = ""
    lightly: str = ""
    run_id: str = ""
    job: str = ""
    findings: tuple[FindingGroup, ...] = ()
    panels: tuple[Panel, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    #: Media of which a thumbnail was wanted and could not be made.
    not_pictured: int = 0


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a media file."""

    media: str
    mime: str
    data: bytes


def group_findings(counts: dict[str, int], examples: Sequence[Finding]) -> tuple[FindingGroup, ...]:
    """Findings by code, errors first, then by their number."""
    groups = []
    for code, count in counts.items():
        mine = [each for each in examples if str(each.code) == code][:10]
        severity = str(mine[0].severity) if mine else "warning"
        shown = tuple(Example(_place(each), mask(each.message), mask(each.advice)) for each in mine)
        groups.append(FindingGroup(code, severity, count, shown))
    rank = {"error": 0, "warning": 1}
    return tuple(sorted(groups, key=lambda each: (rank.get(each.severity, 2), -each.count, each.code)))


def _place(finding: Finding) -> str:
    table = finding.file or finding.source
    row = f"{table}:{finding.row}" if table and finding.row is not None else ""
    return row or finding.target or finding.media or table
