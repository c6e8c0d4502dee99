"""Delimited text as rows, cell by cell as text, with the line of every row.

What is a row is decided by Python's `csv` in its strict mode: the line numbers are exact, and a bad
row is named instead of being repaired. A line ends with LF, CR LF or CR. Blank lines and comments are
no rows. A row that is ragged, has a quote that is never closed, or holds in a cell that is used a NUL
or what is no text is a reject, and the rest of the file is read as far as that is safe.
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.csv as pacsv

from metaferry.errors import JobError
from metaferry.tables.csv.dialect import BLANKS, Dialect, in_words
from metaferry.tables.files.blocks import UTF8_BOM, ByteStream
from metaferry.tables.staging import PYTHON_ROWS, Rejects, arrow_pool, numbers_from

log = logging.getLogger(__name__)

#: Characters of one cell. A quote that is never closed is noticed when its cell has grown past it.
LARGEST_CELL: Final = 1 << 20
#: Bytes that a thread of Arrow's parts at once: more than a line has that it is given.
_BLOCK: Final = 2 * LARGEST_CELL
#: A list or an object, and no header.
_JSON: Final = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*:|\[\s*[\[{]')
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class EmptyTable(JobError):
    """A file without a header."""


class Reader:
    """The rows of one file as columns of text. The header is read at once; `rows` counts all rows.

    A piece of the file without anything special is parted by pyarrow, which is many times as fast;
    all others go through `csv`, which decides what is a row. The two agree on every piece that the
    first is given (a property test).
    """

    def __init__(self, stream: ByteStream, dialect: Dialect, rejects: Rejects, place: str) -> None:
        self.rows = 0
        self._url = stream.file.url
        self._rejects = rejects
        self._stream = stream
        self._dialect = dialect
        self._pieces = stream.pieces(carriage_returns=True)
        self._line = 0  # lines behind the last whole row
        self._dirty = False  # a piece held what no cell may hold
        self._stopped = False
        self.header, self.delimiter, self._rest = self._read_header(place)
        #: Names for Arrow alone: those of the header may stand twice, or be none.
        self._places = [str(place) for place in range(len(self.header))]
        quote, alone = dialect.quote.encode(), re.escape(self.delimiter.encode())
        #: Cells in quotes that begin and end as they should, within one line.
        self._quoted = re.compile(
            rb"(?<![^\n%(d)b])%(q)b[^%(q)b\r\n]*(?:%(q)b%(q)b[^%(q)b\r\n]*)*%(q)b(?=[\r\n%(d)b]|\Z)"
            % {b"d": alone, b"q": re.escape(quote)}
        )
        #: What Arrow would read in another way, or not at all: pieces with it are read with care.
        self._careful = [mark.encode() for mark in (dialect.escape,) if mark]
        self._comment = (
            re.compile(rb"(?m)^" + re.escape(dialect.comment.encode())) if dialect.comment else None
        )
        self._format = (
            (
                pacsv.ReadOptions(column_names=self._places, block_size=_BLOCK),
                pacsv.ParseOptions(delimiter=self.delimiter, quote_char=dialect.quote or False),
            )
            if len(alone.removeprefix(b"\\")) == 1 and len(quote) <= 1
            else None
        )

    def first_rows(self) -> list[list[str]]:
        """The first rows, which are still to be read, as far as they are as wide as the header."""
        text = self._rest.decode(errors="replace")
        rows = self._dialect.first_rows(text, self.delimiter)
        strip = BLANKS if self._dialect.trim else ""
        return [[cell.strip(strip) for cell in row] for row in rows if len(row) == len(self.header)]

    def _read_header(self, place: str) -> tuple[list[str], str, bytes]:
        """The columns' names, the delimiter, and what is left of the piece that the header ends in."""
        dialect = self._dialect
        first = self._without_lines(b"", dialect.before, place)
        while True:  # blank lines, and comments
            text = first.lstrip(b"\r\n")
            self._line += _line_ends(first[: len(first) - len(text)])
            comment = bool(self._dialect.comment) and text.startswith(dialect.comment.encode())
            first = self._without_lines(text, 1, place) if comment else text
            if not comment and first:
                break
            if not first:
                first = next(self._pieces, b"")
                if not first:
                    break
        sample = self._decode(first)
        found = dialect.delimiter or dialect.find_delimiter(sample)
        if dialect.columns is not None:
            self._check_columns(dialect.columns, sample, found, place)
            rest, names = first, list(dialect.columns)
        else:
            names, rest = self._names(sample, found, place)
        if dialect.after:
            rest = self._without_lines(rest, dialect.after, place)
        names = dialect.trailing(names, rest.decode(errors="surrogateescape"), found)
        if dialect.trim:
            names = [name.strip(BLANKS) for name in names]
        return names, found, rest

    def _names(self, first: str, delimiter: str, place: str) -> tuple[list[str], bytes]:
        """The cells of the header, and what is left of its piece."""
        text = io.StringIO(first, newline="")
        if _JSON.match(first):
            raise JobError(
                f"{self._url} begins as JSON does",
                place=place,
                advice="name its format: format: jsonl (one object in each line), or format: json",
            )

        def lines() -> Iterator[str]:
            nonlocal text
            while line := text.readline():
                yield line
                if text.tell() == len(text.getvalue()):  # a quoted name goes on in the next piece
                    text = io.StringIO(self._decode(next(self._pieces, b"")), newline="")

        reader = self._dialect.reader(lines(), delimiter)
        try:
            header: list[str] = next(reader, [])
        except csv.Error as error:
            what = f"{self._url}: the header line cannot be read: {error}"
            advice = 'mend its quotes, or write quote: "" where they are part of the names'
            raise JobError(what, place=place, advice=advice) from None
        if not header:
            advice = "its first line has to name the columns"
            raise EmptyTable(f"{self._url} is empty", place=place, advice=advice)
        if self._dirty and any(map(_fault, header)):
            raise JobError(
                f"{self._url}: the header line is not {self._encoding} text",
                place=place,
                advice="name the encoding that the table was saved with, for instance encoding: cp1252 "
                "(Windows) or encoding: utf-16-le",
            )
        self._line += reader.line_num
        return header, text.read().encode(errors="surrogateescape")

    def _check_columns(self, columns: Sequence[str], sample: str, delimiter: str, place: str) -> None:
        """Raises JobError where none of the first rows has as many cells as there are names."""
        widths = [len(row) for row in self._dialect.first_rows(sample, delimiter)]
        if widths and not {len(columns), len(columns) + 1} & set(widths):
            raise JobError(
                f"{self._url} has rows of {widths[0]} cells, and `columns` names {len(columns)}",
                place=place,
                advice=f"name all of them; the delimiter is taken to be {in_words(delimiter)}",
            )

    def _without_lines(self, piece: bytes, count: int, place: str) -> bytes:
        """What is left of a piece, or of those after it, behind so many lines."""
        while count:
            end = _LINE_END.search(piece)
            if end is None or (end.end() == len(piece) and end[0] == b"\r"):
                more = next(self._pieces, b"")
                if not more:
                    self._line += count if piece else 0
                    return b""
                piece += more
                continue
            piece = piece[end.end() :]
            self._line += 1
            count -= 1
        return piece

    @property
    def _encoding(self) -> str:
        return self._stream.encoding.upper() if self._stream.encoding == "utf-8" else self._stream.encoding

    def _decode(self, piece: bytes) -> str:
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            text = piece.decode(errors="surrogateescape")
            self._dirty = True
        self._dirty = self._dirty or "\0" in text
        return text

    def batches(self, picks: Sequence[int]) -> Iterator[tuple[pa.Array, list[pa.Array]]]:
        """Lines where rows start, and the picked columns as text ("" where a cell is empty)."""
        wanted = [self._places[pick] for pick in picks]
        convert = pacsv.ConvertOptions(
            column_types=dict.fromkeys(self._places, pa.string()),
            strings_can_be_null=False,
            include_columns=wanted or self._places[:1],
        )
        for piece in itertools.chain([self._rest] if self._rest else [], self._pieces):
            if self._stopped:
                return
            table = self._parted(piece, convert)
            if table is None:
                yield from self._read(piece, picks)
                continue
            for batch in table.to_batches():  # as they were parted: nothing is copied
                count = batch.num_rows
                lines = numbers_from(self._line + 1, count)
                self._line += count
                self.rows += count
                yield lines, [batch.column(name) for name in wanted]

    def _parted(self, piece: bytes, convert: pacsv.ConvertOptions) -> pa.Table | None:
        """The columns of a piece in which each line is a row; None where that is not certain."""
        if self._format is None or any(mark in piece for mark in self._careful):
            return None
        if self._comment and self._comment.search(piece):
            return None
        if _has_long_line(piece) or b"\0" in piece:
            return None
        if b"\r" in piece and piece.count(b"\r") != piece.count(b"\r\n"):
            return None
        if piece.startswith(UTF8_BOM):
            return None  # in the middle of a file it is part of a cell; Arrow would drop it
        quote = self._dialect.quote.encode()
        if quote and quote in piece and quote in self._quoted.sub(b"", piece):
            return None
        try:
            table = pacsv.read_csv(pa.BufferReader(piece), *self._format, convert, arrow_pool())
        except pa.ArrowInvalid:  # ragged, or not UTF-8: `csv` finds out in which line
            return None
        # Fewer where lines are blank, which are no rows and count as lines. Each CR is before an LF here.
        return table if table.num_rows == piece.count(b"\n") + (not piece.endswith(b"\n")) else None

    def _read(self, piece: bytes, picks: Sequence[int]) -> Iterator[tuple[pa.Array, list[pa.Array]]]:
        """The rows of a piece, and of as many pieces after it as its last row goes on."""
        before = self._line
        width = len(self.header)
        reader = self._dialect.reader(self._lines_from(piece, before), self.delimiter)
        starts: list[int] = []
        rows: list[list[str]] = []
        more = True
        while more:
            more = False
            try:
                for row in itertools.islice(reader, PYTHON_ROWS):
                    more = True
                    if len(row) == width and not (self._dirty and any(_fault(row[pick]) for pick in picks)):
                        starts.append(self._line + 1)
                        rows.append(row)
                    elif row:
                        self._reject_row(self._line + 1, row, width, picks)
                    self._line = before + reader.line_num
            except csv.Error as error:
                start, self._line = self._line + 1, before + reader.line_num
                more = self._reject_lines(start, self._line, str(error))
                self._stopped = not more
            if len(rows) >= PYTHON_ROWS or (not more and rows):
                self.rows += len(rows)
                cells = list(zip(*rows, strict=True))
                yield pa.array(starts, pa.int64()), [pa.array(cells[pick], pa.string()) for pick in picks]
                starts, rows = [], []

    def _lines_from(self, piece: bytes, before: int) -> Iterator[str]:
        """The lines of a piece, and of those after it while the row that has begun is not whole."""
        given = before
        while True:
            # newline="": LF, CR LF and CR end lines, and are kept.
            for line in io.StringIO(self._decode(piece), newline=""):
                # Where a row begins, and not within one that is in quotes.
                comment = given == self._line and self._dialect.is_comment(line)
                given += 1
                yield "\n" if comment else line
            # Here the reader wants more: for a new row, or for the one that it is in.
            if given == self._line:
                return
            piece = next(self._pieces, b"")
            if not piece:
                return

    def _reject_row(self, line: int, row: list[str], width: int, picks: Sequence[int]) -> None:
        self.rows += 1
        text = self.delimiter.join(row)
        if len(row) != width:
            cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            given = "`columns` names" if self._dialect.columns is not None else "the header has"
            message = f"the row has {cells}, and {given} {width}"
            self._rejects.add(self._url, line, message, value=text, expected=f"{width} cells")
            return
        encoding = self._encoding
        column, fault = next(
            (self.header[pick], fault) for pick in picks if (fault := _fault(row[pick], encoding))
        )
        self._rejects.add(
            self._url, line, f"{column} {fault}", column=column, value=text, expected=f"{encoding} text"
        )

    def _reject_lines(self, start: int, end: int, error: str) -> bool:
        """Names what the reader could not read; answers whether it is safe to go on after it."""
        self.rows += 1
        goes_on = "field larger than" not in error
        # Which of the lines were rows nobody can tell: all of them are named, and none is used.
        where = f"lines {start} to {end} were not read" if end > start else "the line was not read"
        if "unexpected end of data" in error:
            message = f"a quote is opened and never closed: {where}"
        elif "field larger than" in error:
            message = (
                f"a cell has more than {LARGEST_CELL:,} characters, or its quote is never closed: "
                f"nothing was read from line {start} on"
            )
        elif "expected after" in error:
            message = f"there is text after a closing quote: {where}"
        else:
            message = f"{error}: {where}"
        self._rejects.add(self._url, start, message, expected='quotes in pairs, a quote in a cell as ""')
        return goes_on


def _fault(cell: str, encoding: str = "UTF-8") -> str:
    """What is wrong with a cell that no engine takes; "" for nearly all."""
    if "\0" in cell:
        return "holds a NUL character"
    if cell.isascii():
        return ""
    byte = next((ord(c) - 0xDC00 for c in cell if 0xDC80 <= ord(c) <= 0xDCFF), None)
    if byte is None:
        return ""
    windows = bytes([byte]).decode("cp1252", "ignore") if encoding == "UTF-8" else ""
    advice = f", which is {windows} under encoding: cp1252" if windows else ""
    return f"is not {encoding}: it holds the byte 0x{byte:02x}{advice}"


def _line_ends(piece: bytes) -> int:
    return piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n")


def _has_long_line(piece: bytes) -> bool:
    """Whether a line may hold a cell that is too large, of whichever column."""
    at = 0
    while len(piece) - at > LARGEST_CELL:
        at = piece.rfind(b"\n", at, at + LARGEST_CELL) + 1
        if not at:
            return True
    return False
