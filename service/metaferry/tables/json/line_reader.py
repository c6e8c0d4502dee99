"""A file of JSON lines as stretches and records, as `records.Cutter` has those of other JSON."""

from __future__ import annotations

from typing import Final

from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.json.records import Record, Stretch
from metaferry.tables.staging import numbers_from


class Lines:
    """The lines of a file, as `Cutter` has the records of another."""

    called: Final = "the line"

    def __init__(self, stream: ByteStream) -> None:
        self._pieces = stream.pieces(carriage_returns=False)
        self._piece = b""
        self._at = 0
        self._line = 1  # of `_at`

    def stretch(self) -> Stretch | None:
        """The rest of a piece, if each of its lines may be an object."""
        if not self._more():
            return None
        text = self._piece[self._at :]
        count = text.count(b"\n") + (not text.endswith(b"\n"))
        # Between two objects there is no comma, so each such place in JSON is between two lines.
        if not text.startswith(b"{"):
            return None
        parted = text.count(b"}\n{") + (text.count(b"}\r\n{") if b"\r" in text else 0)
        if parted != count - 1:
            return None
        return Stretch(text, numbers_from(self._line, count), len(text))

    def passed(self, stretch: Stretch) -> None:
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
            self._piece, self._at = next(self._pieces, b""), 0
        return bool(self._piece)


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
