"""Text for a terminal, a pipe or a log: numbers, columns, and names made safe to print.

File names and row values are untrusted. They are only put into a rich `Text` (never parsed as
markup), and characters that would move the cursor, hide text or break a line are shown as escapes.
Nothing here prints.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.text import Text

#: Categories shown as escapes: controls, format characters (bidi overrides, zero width), surrogates,
#: private and unassigned code points, line and paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def safe(text: str) -> str:
    """The text on one line, with every character that is not plainly visible as a `\\x1b` escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _ESCAPED else c for c in text)


def count(number: int, one: str, many: str = "") -> str:
    """`1 row`, `1,200 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(octets: int) -> str:
    """`912 B`, `1.4 MB` (powers of ten)."""
    value, unit = float(octets), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def share(part: float) -> str:
    """`99.9%` of a part from 0 to 1; rounded down, so that 100% is all of it."""
    return f"{math.floor(part * 1000 + 1e-9) / 10:.1f}%"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def columns(rows: Sequence[Sequence[str]], *, right: Iterable[int] = (), indent: int = 2) -> list[str]:
    """Rows as lines with aligned columns; those in `right` to the right. No line is cut or wrapped."""
    aligned = set(right)
    widths = [max(cell_len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    lines = []
    for row in rows:
        cells = []
        for at, cell in enumerate(row):
            gap = " " * (widths[at] - cell_len(cell))
            cells.append(gap + cell if at in aligned else cell + gap)
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines


def heading(text: str) -> Text:
    return Text(text, style="bold")


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
