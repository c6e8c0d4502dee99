"""What an export wrote, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from metaferry.cli.show.text import count, safe

if TYPE_CHECKING:
    from metaferry.view.export.export import ExportReport

#: Invalid and misnamed documents that are shown; `--format json` has more.
_SHOWN: Final = 20
#: What the states are called, in the order in which they are shown.
_STATES: Final = {
    "document": "with values",
    "default": "with a document that shows defaults only",
    "missing": "without a document",
    "orphan": "of documents without media",
    "misnamed": "of misnamed documents",
}


def export_lines(found: ExportReport) -> Iterator[str]:
    """The invalid and misnamed documents, the notes, and what was written."""
    for each in found.named[:_SHOWN]:
        place = "".join(f":{number}" for number in (each.line, each.column) if number)
        yield safe(f"{each.target}{place}: {each.message}")
    more = found.invalid + found.misnamed - _SHOWN
    if more > 0:
        yield f"… and {count(more, 'more document')}"
    for note in found.notes:
        yield f"note: {safe(note)}"
    if found.invalid:
        yield f"{count(found.invalid, 'invalid document is', 'invalid documents are')} not in the table"
    if found.misnamed and not found.as_written:
        yield f"{count(found.misnamed, 'misnamed document is', 'misnamed documents are')} not in the table"
    held = ", ".join(
        f"{found.states[state]:,} {what}" for state, what in _STATES.items() if found.held.get(state)
    )
    yield f"{safe(found.out)}: {count(found.rows, 'row')}{f', {held}' if held else ''}"
    if found.job:
        yield f"{safe(found.job)}: the job that reads it back"
