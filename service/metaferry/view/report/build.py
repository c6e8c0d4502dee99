"""From a table of documents in the planning engine to the page: the steps, in order.

The table has the columns `target`, `kind` (image, video, frame), `media`, `frame`, `state` and one a schema
entry. Nothing of it is held in memory but counts and the sample; the page has about the same size for any
number of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from metaferry.lightly.schema import Entry
from metaferry.planning.database import Database
from metaferry.planning.sql.rules import quote_ident
from metaferry.progress import Progress, Silent
from metaferry.version import __version__
from metaferry.view.report.bins import NumberBins
from metaferry.view.report.counts import (
    count_codes,
    count_pairs,
    encode,
    fine_places,
    paired,
    sampled_codes,
)
from metaferry.view.report.facts import SEED, About
from metaferry.view.report.page import pack, page_html
from metaferry.view.report.profile import Dimension, Field, Kind, fields_of, folder_field, profile
from metaferry.view.report.sample import SAMPLE, draw_sample, sample_size
from metaferry.view.report.videos import along, videos_with_frames

#: What a document's `state` can be, in the order in which it is drawn.
STATES: Final = ("document", "default", "missing", "orphan", "misnamed", "unread", "invalid")
_KINDS: Final = ("image", "video", "frame")
#: Documents of a scatter plot, at most; and the characters of a label that are kept.
_POINTS: Final = 4_000
_LABEL: Final = 120


@dataclass(frozen=True, slots=True)
class BuiltPage:
    """The HTML text, how many documents it is about, and how many of them are its sample."""

    html: str
    documents: int
    sampled: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What a page shows of values: `head` and `parts` as of `page.pack`. Some MB at most."""

    head: dict[str, Any]
    parts: dict[str, bytes]


def build_page(
    database: Database,
    table: str,
    columns: Sequence[tuple[Entry, str]],
    about: About,
    *,
    progress: Progress | None = None,
) -> BuiltPage:
    """The page of a table; `columns` are schema entries and the columns with their values."""
    counted = count_values(database, table, columns, progress=progress)
    counted.head["thumbnails"] = _thumbnails(database, about, counted.head["sampled"])
    return page_of(counted, about)


def page_of(counted: Counted, about: About) -> BuiltPage:
    """The page of what was counted. It says by which version, which may be an earlier one."""
    head = {**counted.head, "about": _about(about)}
    parts = counted.parts | {f"picture{i}": each.data for i, each in enumerate(about.thumbnails)}
    html = page_html(about.title, pack(head, parts), pictures=bool(about.thumbnails))
    return BuiltPage(html, head["documents"], head["sampled"])


def count_values(
    database: Database,
    table: str,
    columns: Sequence[tuple[Entry, str]],
    *,
    progress: Progress | None = None,
) -> Counted:
    """Counts the values of a table. Makes the tables `report_…` of the engine."""
    progress = progress or Silent()
    progress.phase("Looking at values", len(columns))
    documents: int = database.value(f"SELECT count(*) FROM {quote_ident(table)}")
    size = sample_size(documents, len(columns) + 3)
    draw_sample(database, table, SEED, size, documents)
    fields = [
        Field("kind", "type", Kind.CATEGORY, order=_KINDS),
        Field("state", "state", Kind.CATEGORY, order=STATES),
        folder_field(database),
        *fields_of(columns),
    ]
    dimensions = []
    for field in fields:
        dimensions.append(profile(database, table, field, sampled=size < documents))
        progress.advance(1)
    progress.phase("Counting values", None)
    encode(database, table, dimensions)
    counts = count_codes(database, dimensions)
    among = paired(dimensions)
    pairs = count_pairs(database, dimensions, among, progress)
    videos = videos_with_frames(database, table)
    shown = [i for i, each in enumerate(dimensions) if each.field.entry is not None and each.bins.codes > 1]
    head = {
        "seed": SEED,
        "version": __version__,
        "documents": documents,
        "sampled": size,
        "points": min(size, _POINTS),
        "dimensions": [_dimension(each, found) for each, found in zip(dimensions, counts, strict=True)],
        "paired": among,
        "videos": [asdict(each) for each in videos],
        "along": shown,
        "thumbnails": [],
    }
    parts = {
        "pairs": pairs,
        "sample": sampled_codes(database, dimensions),
        "fine": fine_places(database, dimensions, _POINTS),
        "along": along(database, table, videos, [dimensions[i] for i in shown]),
    }
    return Counted(head, parts)


def _dimension(dimension: Dimension, counts: list[int]) -> dict[str, Any]:
    field, figures, bins = dimension.field, dimension.figures, dimension.bins
    entry = field.entry
    found: dict[str, Any] = {
        "name": field.name,
        "kind": field.kind if dimension.is_number else Kind.CATEGORY,
        "path": entry.path if entry else "",
        "type": str(entry.type) if entry else "",
        "default": entry.default if entry else None,
        "codes": bins.codes,
        "missing": bins.missing,
        "counts": counts,
        "present": figures.present,
        "distinct": figures.distinct,
        "exact": figures.distinct_exact,
        "defaults": figures.defaults,
    }
    if isinstance(bins, NumberBins):
        found |= {
            "integer": field.integer,
            "low": bins.low,
            "step": bins.step,
            "bins": bins.count,
            "below": bins.below,
            "above": bins.above,
            "min": figures.low,
            "max": figures.high,
            "quantiles": figures.quantiles,
        }
    else:
        found |= {"labels": [label[:_LABEL] for label in bins.values], "other": bins.other}
    return found


def _thumbnails(database: Database, about: About, size: int) -> list[dict[str, Any]]:
    """The pictures, each with the number of its document in the sample (-1: it is not there)."""
    media = [each.media for each in about.thumbnails]
    rows = database.rows(
        f"SELECT media, min(place) - 1 FROM {SAMPLE} WHERE kind <> 'frame' AND place <= {size} "
        "AND media IN (SELECT unnest(?)) GROUP BY media",
        [media],
    )
    places = dict(rows)
    return [
        {"media": each.media, "mime": each.mime, "place": places.get(each.media, -1)}
        for each in about.thumbnails
    ]


def _about(about: About) -> dict[str, Any]:
    return {
        "title": about.title,
        "made": about.made,
        "basis": about.basis,
        "input": about.input,
        "lightly": about.lightly,
        "run": about.run_id,
        "job": about.job,
        "findings": [
            {
                "code": group.code,
                "severity": group.severity,
                "count": group.count,
                "examples": [asdict(example) for example in group.examples],
            }
            for group in about.findings
        ],
        "panels": [asdict(panel) for panel in about.panels],
        "not_pictured": about.not_pictured,
    }
