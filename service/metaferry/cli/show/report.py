"""What a page of a report is about, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from metaferry.cli.show.text import count, safe

if TYPE_CHECKING:
    from metaferry.view.report.report import ReportPage

#: What the states are called, in the order in which they are shown.
_STATES: Final = {
    "document": "with values",
    "default": "with defaults only",
    "missing": "without a document",
    "orphan": "without media",
    "misnamed": "misnamed",
    "invalid": "invalid",
}


def page_lines(made: ReportPage) -> Iterator[str]:
    """The notes, what the page shows, and where it is."""
    for note in made.notes:
        yield f"note: {safe(note)}"
    states = ", ".join(
        f"{made.states[key]:,} {name}" for key, name in _STATES.items() if made.states.get(key)
    )
    yield f"{safe(made.url)}: {count(made.documents, 'document')} and media{f': {states}' if states else ''}"
    if made.thumbnails:
        yield f"{count(made.thumbnails, 'thumbnail')} on it: whoever gets the page sees them"
    yield f"{safe(made.out)}: {made.bytes / 1e6:.1f} MB; open it in a browser"
