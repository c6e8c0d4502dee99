"""How a delimited text is written: what the job says of it, and what its first rows tell. Pure functions.

A delimiter is found outside quotes, by what is consistent over the rows: of several that are, the one
that makes the most cells.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

#: Rows that are looked at, for the delimiter and for whether lines end in one.
ROWS_LOOKED_AT: Final = 100
#: What may part cells where nobody says so; the first of equals wins.
_DELIMITERS: Final = ",;\t|"
#: Share of the rows that have as many cells as the header, for a delimiter to be consistent.
_CONSISTENT: Final = 0.9
#: What stands around the text of a cell for the eye alone.
BLANKS: Final = " \t\u00a0"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the job says of a text table. "" is for what it does not say, or (`quote`) for no quotes.

    `columns` are the names where the file has no header. `before` and `after` are lines that are passed
    over before and after the header.
    """

    delimiter: str = ""
    quote: str = '"'
    escape: str = ""
    comment: str = ""
    decimal: str = "."
    thousands: str = ""
    before: int = 0
    after: int = 0
    columns: tuple[str, ...] | None = None
    trim: bool = False

    def reader(self, lines: Iterator[str] | io.StringIO, delimiter: str, *, strict: bool = True) -> Any:
        """Python's reader of such rows: the one that decides what a row is."""
        return csv.reader(
            lines,
            delimiter=delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            skipinitialspace=self.trim,
            strict=strict,
        )

    def first_rows(self, text: str, delimiter: str) -> Iterator[list[str]]:
        """The first rows of a text, without blank lines and comments, up to one that cannot be read."""
        lines = (line for line in io.StringIO(text, newline="") if not self.is_comment(line))
        with contextlib.suppress(csv.Error):  # its line is named when it is read
            rows = self.reader(lines, delimiter, strict=False)
            yield from (row for row in itertools.islice(rows, ROWS_LOOKED_AT) if row)

    def is_comment(self, line: str) -> bool:
        return bool(self.comment) and line.startswith(self.comment)

    def find_delimiter(self, text: str) -> str:
        """What parts the cells of a text that begins with its header; a comma where nothing does."""
        found: list[tuple[bool, int, float, str]] = []
        for mark in _DELIMITERS:
            rows = list(self.first_rows(text, mark))
            if not rows or len(rows[0]) < 2:
                continue
            share = sum(_as_wide(row, rows[0]) for row in rows) / len(rows)
            cells = len(rows[0]) - (not rows[0][-1])
            found.append((share >= _CONSISTENT, cells if share >= _CONSISTENT else 0, share, mark))
        return max(found, key=lambda item: item[:3])[3] if found else ","

    def trailing(self, header: list[str], rest: str, delimiter: str) -> list[str]:
        """The header as wide as the rows, where one of the two ends in a delimiter and the other does not.

        Decided by most of the first rows; those that differ are ragged.
        """
        widths = [(len(row), not row[-1]) for row in self.first_rows(rest, delimiter)]
        width = len(header)
        alike = sum(cells == width for cells, _ in widths)
        if sum(cells == width + 1 and blank for cells, blank in widths) > alike:
            return [*header, ""]
        if width > 1 and not header[-1] and sum(cells == width - 1 for cells, _ in widths) > alike:
            return header[:-1]
        return header


def _as_wide(row: list[str], header: list[str]) -> bool:
    """Whether a row has as many cells as the header, but for a delimiter that ends one of the two lines."""
    more = len(row) - len(header)
    return more == 0 or (more == 1 and not row[-1]) or (more == -1 and not header[-1])


#: How messages and listings write a delimiter.
WORDS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}


def in_words(delimiter: str) -> str:
    """`comma`, `tab`; any other as it is, in quotes."""
    return WORDS.get(delimiter, repr(delimiter))
