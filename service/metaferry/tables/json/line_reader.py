"""A file of JSON lines as stretches and records, as `records.Cutter` has those of other JSON."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from metaferry.tables.json.records import Record, Stretch
from metaferry.tables.staging import numbers_from

#: What an object begins with, and as much of its first key as is short.
_BEGUN: Final = re.compile(rb'\{("[^"\\\n]{0,40})?')


class Lines:
    """The lines of a file, as `Cutter` has the records of another."""

    called: Final = "the line"

    def __init__(self, pieces: Iterator[bytes], line: int = 1) -> None:
        """`pieces` are cut at line ends; `line` is the number of the first line."""
        self._pieces = pieces
        self._ahead: deque[bytes] = deque()  # pieces that were looked at
        self._piece = b""
        self._at = 0
        self._line = line  # of `_at`

    def ahead(self, least: int) -> list[Stretch]:
        """The next lines, `least` bytes of them where there are as many, whatever they hold."""
        if not self._more():
            return []
        stretches = [self._rest()]
        length = stretches[0].length
        while length < least and (piece := next(self._pieces, b"")):
            self._ahead.append(piece)
            stretches.append(_stretch_of(piece, self._line + sum(len(each.rows) for each in stretches)))
            length += len(piece)
        return stretches

    def stretch(self) -> Stretch | None:
        """The rest of a piece, if each of its lines may be an object."""
        if not self._more():
            return None
        stretch = self._rest()
        return stretch if is_one_a_line(stretch.text, len(stretch.rows)) else None

    def _rest(self) -> Stretch:
        return _stretch_of(self._piece[self._at :], self._line)

    def passed(self, *stretches: Stretch) -> None:
        for stretch in stretches:
            self._more()
            self._at += stretch.length
            self._line += len(stretch.rows)

    def looks_deeper(self) -> bool:
        return False

    def looks_plainly(self) -> None:
        pass

    def take(self, most: int) -> list[Record]:
        """The next lines; those that are not UTF-8 as bytes. None at the end."""
        if not self._more():
            return []
        end = self._at
        for _ in range(most):
            end = self._piece.find(b"\n", end) + 1
            if not end:
                end = len(self._piece)
                break
        lines = _split(self._piece[self._at : end])
        taken = [Record(line, line, raw, line) for line, raw in enumerate(lines, self._line)]
        self._at = end
        self._line += len(lines)
        return taken

    def _more(self) -> bool:
        if self._at >= len(self._piece):
            self._piece, self._at = self._ahead.popleft() if self._ahead else next(self._pieces, b""), 0
        return bool(self._piece)


def _stretch_of(text: bytes, line: int) -> Stretch:
    count = text.count(b"\n") + (not text.endswith(b"\n"))
    return Stretch(text, numbers_from(line, count), len(text))


def is_one_a_line(text: bytes, lines: int) -> bool:
    """Whether each line may be one object, and none of them goes on in the next line.

    Between two objects there is no comma, so each place in JSON that is looked for is between two lines.
    """
    begun = _BEGUN.match(text)
    if begun is None:
        return False
    # Mostly all lines begin with the same key, and a longer text is found in half the time.
    if text.count(b"}\n" + begun[0]) == lines - 1:
        return True
    parted = text.count(b"}\n{") + (text.count(b"}\r\n{") if b"\r" in text else 0)
    return parted == lines - 1


def _split(piece: bytes) -> list[str | bytes]:
    """The lines of a piece; those that are not UTF-8 as bytes."""
    lines: list[str | bytes]
    try:
        lines = list(piece.decode().split("\n"))
    except UnicodeDecodeError:
        lines = [_decoded(raw) for raw in piece.split(b"\n")]
    return lines[:-1] if piece.endswith(b"\n") else lines


def _decoded(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
