"""What the tables of a job hold, for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from rich.text import Text

from metaferry.cli.show.text import columns, count, heading, safe

if TYPE_CHECKING:
    from metaferry.view.tables.model import DescribedRelation, DescribedTable, DescribedTables

Line: TypeAlias = str | Text

#: Columns of a relation that are shown.
_COLUMNS: Final = 60
#: Characters of a type.
_TYPE: Final = 40


def described_lines(found: DescribedTables) -> Iterator[Line]:
    """What `metaferry tables` prints."""
    for number, table in enumerate(found.tables):
        if number:
            yield ""
        yield from _table(table)


def _table(table: DescribedTable) -> Iterator[Line]:
    called = f"{table.key}: " if table.key else ""
    yield heading(f"{called}{safe(table.url)}")
    yield f"{table.reader} ({table.title})" if table.reader else f"a table: {table.title or 'no file'}"
    for relation in table.relations:
        yield ""
        yield from _relation(relation)
    for reject in table.rejects:
        yield f"  ! {safe(reject)}"
    yield from (f"  {safe(note)}" for note in table.notes)
    yield ""
    yield Text("A query to start from", "bold")
    yield from (f"  {safe(line)}" for line in table.query.splitlines())
    if table.frame_base:
        base = table.frame_base
        yield f"  frames are counted from {base}: write frame: {{value: frame, base: {base}}} beside it"


def _relation(relation: DescribedRelation) -> Iterator[Line]:
    seen = count(relation.rows, "row") + ("" if relation.whole else " and more")
    bad = f", {relation.malformed:,} cannot be read" if relation.malformed else ""
    meaning = f": {relation.meaning}" if relation.meaning else ""
    yield Text.assemble((safe(relation.name), "bold"), f"{meaning} ({seen}{bad})")
    shown = relation.columns[:_COLUMNS]
    rows = []
    for at, column in enumerate(shown):
        kind = column.type.lower()
        values = [row[at] for row in relation.first]
        rows.append(
            [
                safe(column.name),
                kind if len(kind) <= _TYPE else f"{kind[: _TYPE - 1]}…",
                column.meaning,
                " | ".join("–" if value is None else safe(value) for value in values),
            ]
        )
    yield from columns(rows, indent=2)
    if len(relation.columns) > len(shown):
        yield f"  … and {len(relation.columns) - len(shown):,} more"
