"""CSV and TSV into a staging table, cell by cell as text, with the line of every row.

What is a row is decided by Python's `csv` in its strict mode: the line numbers are exact, and a bad
row is named instead of being repaired. A line ends with LF, CR LF or CR. Cells that are empty are null; blank
lines are no rows. A row that is ragged, not UTF-8, holds a NUL, or has a quote that is never closed
is a reject, and the rest of the file is read as far as that is safe. What types the columns have is
found out afterwards, over all rows (`column_types`).
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.csv as pacsv

from metaferry.errors import JobError
from metaferry.tables.csv.column_types import find_types
from metaferry.tables.files.blocks import LONGEST_LINE, UTF8_BOM, ByteStream
from metaferry.tables.model import FILE, ROW, Staged, TableFile, folded
from metaferry.tables.staging import (
    PYTHON_ROWS,
    Rejects,
    StagingTable,
    check_width,
    quote_ident,
    used_columns,
)

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

#: Characters of one cell. A quote that is never closed is noticed when its cell has grown past it.
LARGEST_CELL: Final = 1 << 20
#: Rows that tell whether lines end in a delimiter.
_ROWS_LOOKED_AT: Final = 100


def stage_delimited(
    con: duckdb.DuckDBPyConnection,
    streams: Iterable[ByteStream],
    *,
    table: str,
    format: Literal["csv", "tsv"],
    used: frozenset[str] | None,
    rejects: Rejects,
    place: str,
    progress: Callable[[int], None],
) -> Staged:
    """The columns of `used` (names as `folded` gives them; None: all) of all files, as text.

    Raises JobError for a file without a usable header, or whose columns are not those of the first.
    """
    if csv.field_size_limit() < LARGEST_CELL:
        # One number for the process: it is only ever raised, so no other reader is refused anything.
        csv.field_size_limit(LARGEST_CELL)
    header: list[str] = []
    columns: list[str] = []
    staging: StagingTable | None = None
    done: list[TableFile] = []
    for index, stream in enumerate(streams):
        file = stream.file
        reader = _Reader(file.url, stream, "\t" if format == "tsv" else "", rejects, place)
        here = used_columns(reader.header, used, file.url, place)
        if staging is None:
            header = reader.header
            columns = list(here)
            check_width(len(columns), file.url, place)
            schema = pa.schema([(name, pa.string()) for name in columns])
            staging = StagingTable(con, table, schema, progress, empty_is_null=True)
        picks = _picks(here, columns, file.url, done[0].url if done else file.url, place)
        for lines, cells in reader.batches(picks):
            staging.append(index, lines, cells)
        done.append(TableFile(file.url, stream.size, stream.token, reader.rows))
    if staging is not None:
        staging.flush()
    typed = find_types(con, table, columns)
    casts = ", ".join(f"{column.cast} AS {quote_ident(column.name)}" for column in typed)
    return Staged(
        table=table,
        columns=tuple(column.plain for column in typed),
        names=tuple(header),
        files=tuple(done),
        malformed=rejects.count,
        relation=lambda where: (
            f"SELECT {FILE}, {ROW}{', ' if casts else ''}{casts} FROM {quote_ident(table)}{where}"
        ),
        why_text=lambda name: next(
            (column.why_text() for column in typed if folded(column.name) == folded(name)), ""
        ),
    )


class _Reader:
    """The rows of one file as columns of text. The header is read at once; `rows` counts all rows.

    A piece of the file without anything special is parted by pyarrow, which is many times as fast;
    all others go through `csv`, which decides what is a row. The two agree on every piece that the
    first is given (a property test).
    """

    def __init__(self, url: str, stream: ByteStream, delimiter: str, rejects: Rejects, place: str) -> None:
        self.rows = 0
        self._url = url
        self._rejects = rejects
        self._stream = stream
        self._pieces = stream.pieces(carriage_returns=True)
        self._line = 0  # lines behind the last whole row
        self._dirty = False  # a piece held what no cell may hold
        self._stopped = False
        header, self._delimiter, self._rest = self._read_header(delimiter, place)
        self.header = header
        alone = re.escape(self._delimiter).encode()
        #: Cells in quotes that begin and end as they should, within one line.
        self._quoted = re.compile(rb'(?<![^\n%b])"[^"\r\n]*(?:""[^"\r\n]*)*"(?=[\r\n%b]|\Z)' % (alone, alone))
        #: Names for Arrow alone: those of the header may stand twice, or be none.
        self._places = [str(place) for place in range(len(header))]
        self._format = (
            pacsv.ReadOptions(column_names=self._places, use_threads=False, block_size=2 * LONGEST_LINE),
            pacsv.ParseOptions(delimiter=self._delimiter),
        )

    def _read_header(self, delimiter: str, place: str) -> tuple[list[str], str, bytes]:
        """The header's cells, the delimiter, and what is left of the piece that the header ends in."""
        piece, first = b"", b""
        while not first and (piece := next(self._pieces, b"")):
            first = piece.lstrip(b"\r\n")
            self._line += _line_ends(piece[: len(piece) - len(first)])
        found = delimiter or _delimiter(re.split(rb"[\r\n]", first, maxsplit=1)[0], self._url)
        text = io.StringIO(self._decode(first), newline="")

        def lines() -> Iterator[str]:
            nonlocal text
            while line := text.readline():
                yield line
                if text.tell() == len(text.getvalue()):  # a quoted name goes on in the next piece
                    text = io.StringIO(self._decode(next(self._pieces, b"")), newline="")

        reader = csv.reader(lines(), delimiter=found, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise JobError(f"{self._url}: the header line cannot be read: {error}", place=place) from None
        if not header:
            advice = "its first line has to name the columns"
            raise JobError(f"{self._url} is empty", place=place, advice=advice)
        if self._dirty and any(map(_fault, header)):
            raise JobError(
                f"{self._url}: the header line is not {self._encoding} text",
                place=place,
                advice="name the encoding that the table was saved with, for instance encoding: cp1252 "
                "(Windows) or encoding: utf-16-le",
            )
        self._line += reader.line_num
        rest = text.read()
        return _trailing(header, rest, found), found, rest.encode(errors="surrogateescape")

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
            count = table.num_rows
            lines = pa.array(range(self._line + 1, self._line + 1 + count), pa.int64())
            self._line += count
            self.rows += count
            yield lines, [table.column(name).combine_chunks() for name in wanted]

    def _parted(self, piece: bytes, convert: pacsv.ConvertOptions) -> pa.Table | None:
        """The columns of a piece in which each line is a row; None where that is not certain."""
        if _has_long_line(piece) or b"\0" in piece or piece.count(b"\r") != piece.count(b"\r\n"):
            return None
        if piece.startswith((b"\n", b"\r\n")) or b"\n\n" in piece or b"\n\r\n" in piece:
            return None  # blank lines, which are no rows but count as lines
        if piece.startswith(UTF8_BOM):
            return None  # in the middle of a file it is part of a cell; Arrow would drop it
        if b'"' in piece and b'"' in self._quoted.sub(b"", piece):
            return None
        try:
            table = pacsv.read_csv(io.BytesIO(piece), *self._format, convert)
        except pa.ArrowInvalid:  # ragged, or not UTF-8: `csv` finds out in which line
            return None
        return table if table.num_rows == _line_ends(piece) + (not piece.endswith(b"\n")) else None

    def _read(self, piece: bytes, picks: Sequence[int]) -> Iterator[tuple[pa.Array, list[pa.Array]]]:
        """The rows of a piece, and of as many pieces after it as its last row goes on."""
        before = self._line
        width = len(self.header)
        reader = csv.reader(self._lines_from(piece, before), delimiter=self._delimiter, strict=True)
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
                given += 1
                yield line
            # Here the reader wants more: for a new row, or for the one that it is in.
            if given == self._line:
                return
            piece = next(self._pieces, b"")
            if not piece:
                return

    def _reject_row(self, line: int, row: list[str], width: int, picks: Sequence[int]) -> None:
        self.rows += 1
        text = self._delimiter.join(row)
        if len(row) != width:
            message = f"the row has {len(row)} cells, and the header has {width}"
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


def _delimiter(header: bytes, url: str) -> str:
    if b"," in header:
        return ","
    best = max(";\t|", key=lambda mark: header.count(mark.encode()))
    if best.encode() not in header:
        return ","  # a table of one column
    log.debug("%s: cells are separated by %r, as in the header line", url, best)
    return best


def _has_long_line(piece: bytes) -> bool:
    """Whether a line may hold a cell that is too large, of whichever column."""
    at = 0
    while len(piece) - at > LARGEST_CELL:
        at = piece.rfind(b"\n", at, at + LARGEST_CELL) + 1
        if not at:
            return True
    return False


def _first_rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The first rows of a text, up to one that cannot be read."""
    with contextlib.suppress(csv.Error):  # its line is named when it is read
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        yield from (row for row in itertools.islice(reader, _ROWS_LOOKED_AT) if row)


def _trailing(header: list[str], rest: str, delimiter: str) -> list[str]:
    """The header as wide as the rows, where one of the two ends in a delimiter and the other does not.

    Decided by most of the first rows; those that differ are ragged.
    """
    widths = [(len(row), not row[-1]) for row in _first_rows(rest, delimiter)]
    width = len(header)
    alike = sum(cells == width for cells, _ in widths)
    if sum(cells == width + 1 and blank for cells, blank in widths) > alike:
        return [*header, ""]
    if width > 1 and not header[-1] and sum(cells == width - 1 for cells, _ in widths) > alike:
        return header[:-1]
    return header


def _picks(here: Mapping[str, int], columns: Sequence[str], url: str, first: str, place: str) -> list[int]:
    """Where each column stands in this file. Raises JobError when files disagree on what is used."""
    at = {folded(name): position for name, position in here.items()}
    lacking = [name for name in columns if folded(name) not in at]
    more = set(at) - {folded(name) for name in columns}
    if lacking or more:
        column = lacking[0] if lacking else next(name for name in here if folded(name) in more)
        there, by = (first, url) if lacking else (url, first)
        raise JobError(
            f"{by} has no column {column}, and {there} has one",
            place=place,
            advice="files of one source must have the same columns: make them two sources, or map the "
            "columns that all of them have in metadata:",
        )
    return [at[folded(name)] for name in columns]
