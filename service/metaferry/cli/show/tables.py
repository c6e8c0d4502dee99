"""How the sources of a plan were read, for people: what was found out and not said. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from rich.text import Text

from metaferry.cli.show.text import columns, heading, safe

if TYPE_CHECKING:
    from metaferry.tables.model import Reading, ShownColumn

#: Columns shown of one source.
_COLUMNS: Final = 40
_DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}


def table_lines(tables: Sequence[Reading]) -> Iterator[str | Text]:
    """A heading, and for each source its format, and its columns with types and values."""
    if not any(table.format for table in tables):
        return
    yield heading("Tables")
    for table in tables:
        parts = [table.format.upper() or "no file"]
        if table.delimiter:
            name = _DELIMITERS.get(table.delimiter)
            parts.append(f"delimiter {name}" if name else f"delimiter {safe(repr(table.delimiter))}")
        if table.encoding:
            parts.append(table.encoding.upper() if table.encoding.startswith("utf") else table.encoding)
        if table.version:
            parts.append(safe(table.version))
        if table.packed:
            parts.append(f"in {table.packed}")
        shown = table.columns[:_COLUMNS]
        marked = not all(column.used for column in table.columns)
        what = "; those with a * are used" if marked else ""
        yield f"  {safe(table.name)}: {', '.join(parts)}{what}"
        yield from columns(
            [
                [_marked(column, marked=marked), column.type.lower(), ", ".join(map(safe, column.values))]
                for column in shown
            ],
            indent=4,
        )
        if len(table.columns) > len(shown):
            yield f"    … and {len(table.columns) - len(shown):,} more"
    yield ""


def _marked(column: ShownColumn, *, marked: bool) -> str:
    name = safe(column.name) or '""'
    return f"{'*' if column.used else ' '} {name}" if marked else name
