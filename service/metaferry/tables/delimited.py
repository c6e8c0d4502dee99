"""CSV and TSV into a staging table, cell by cell as text, with the line of every row.

The reader is Python's `csv` in its strict mode: the line numbers are exact, and a bad row is named
instead of being repaired. A line ends with LF, CR LF or CR. Cells that are empty are null; blank
lines are no rows. A row that is ragged, not UTF-8, holds a NUL, or has a quote that is never closed
is a reject, and the rest of the file is read as far as that is safe. What types the columns have is
found out afterwards, over all rows (`column_types.py`).
"""

from __future__ import annotations

import csv
import io
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.storage.portal import Portal
from metaferry.tables.blocks import ByteStream
from metaferry.tables.column_types import find_types
from metaferry.tables.files import TableObject
from metaferry.tables.model import FILE, ROW, Staged, TableFile, folded
from metaferry.tables.staging import BATCH_ROWS, Rejects, StagingTable, check_names, quote_ident

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

#: Characters of one cell. A quote that is never closed is noticed when its cell has grown past it.
LARGEST_CELL: Final = 1 << 20


def stage_delimited(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[TableObject],
    *,
    table: str,
    format: Literal["csv", "tsv"],
    used: frozenset[str] | None,
    rejects: Rejects,
    portal: Portal,
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
    for index, file in enumerate(files):
        stream = ByteStream(file, portal, place)
        reader = _Reader(file.url, stream, "\t" if format == "tsv" else "", rejects, place)
        if staging is None:
            header = reader.header
            columns = [name for name in header if used is None or folded(name) in used]
            schema = pa.schema([(name, pa.string()) for name in columns])
            staging = StagingTable(con, table, schema, progress, empty_is_null=True)
        picks = _picks(reader.header, columns, used, file.url, files[0].url, place)
        for lines, rows in reader.batches():
            cells = list(zip(*rows, strict=True))
            arrays = [pa.array(cells[pick], pa.string()) for pick in picks]
            staging.append(index, pa.array(lines, pa.int64()), arrays)
        done.append(TableFile(file.url, stream.size, stream.token, reader.rows))
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


@dataclass(slots=True)
class _Texts:
    """The text of a file, line by line. `dirty` from the first piece on that holds what no cell may."""

    stream: ByteStream
    dirty: bool = False

    def lines(self) -> Iterator[str]:
        return itertools.chain.from_iterable(map(self._lines_of, self.stream.pieces(carriage_returns=True)))

    def _lines_of(self, piece: bytes) -> io.StringIO:
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            text = piece.decode(errors="surrogateescape")
            self.dirty = True
        if "\0" in text:
            self.dirty = True
        return io.StringIO(text, newline="")  # newline="": LF, CR LF and CR end lines, and are kept


class _Reader:
    """The rows of one file, in batches. The header is read at once; `rows` counts malformed ones too."""

    def __init__(self, url: str, stream: ByteStream, delimiter: str, rejects: Rejects, place: str) -> None:
        self.rows = 0
        self._url = url
        self._rejects = rejects
        self._texts = _Texts(stream)
        lines = self._texts.lines()
        first = next(lines, "")
        skipped = 0
        while first and not first.strip("\r\n"):
            first = next(lines, "")
            skipped += 1
        self._delimiter = delimiter or _delimiter(first, url)
        # A header with a line break in a quoted name goes on in the following lines.
        reader = csv.reader(itertools.chain([first], lines), delimiter=self._delimiter, strict=True)
        try:
            self.header = next(reader, [])
        except csv.Error as error:
            raise JobError(f"{url}: the header line cannot be read: {error}", place=place) from None
        if not self.header:
            raise JobError(f"{url} is empty", place=place, advice="its first line has to name the columns")
        if self._texts.dirty and any(map(_fault, self.header)):
            raise JobError(f"{url}: the header line is not UTF-8 text", place=place)
        check_names(self.header, url, place)
        self._lines = lines
        self._line = skipped + reader.line_num  # lines behind us

    def batches(self) -> Iterator[tuple[list[int], list[list[str]]]]:
        """Lines where rows start, and their cells, as many as the header has."""
        before = self._line
        width = len(self.header)
        reader = csv.reader(self._lines, delimiter=self._delimiter, strict=True)
        texts = self._texts
        line = before
        starts: list[int] = []
        rows: list[list[str]] = []
        more = True
        while more:
            more = False
            try:
                for row in itertools.islice(reader, BATCH_ROWS):
                    more = True
                    if len(row) == width and not (texts.dirty and any(map(_fault, row))):
                        starts.append(line + 1)
                        rows.append(row)
                    elif row:
                        self._reject_row(line + 1, row, width)
                    line = before + reader.line_num
            except csv.Error as error:
                start, line = line + 1, before + reader.line_num
                more = self._reject_lines(start, line, str(error))
            if len(rows) >= BATCH_ROWS // 2 or (not more and rows):
                self.rows += len(rows)
                yield starts, rows
                starts, rows = [], []

    def _reject_row(self, line: int, row: list[str], width: int) -> None:
        self.rows += 1
        text = self._delimiter.join(row)
        if len(row) != width:
            message = f"the row has {len(row)} cells, and the header has {width}"
            self._rejects.add(self._url, line, message, value=text, expected=f"{width} cells")
            return
        column, fault = next(
            (name, fault) for name, cell in zip(self.header, row, strict=True) if (fault := _fault(cell))
        )
        self._rejects.add(
            self._url, line, f"{column} {fault}", column=column, value=text, expected="UTF-8 text"
        )

    def _reject_lines(self, start: int, end: int, error: str) -> bool:
        """Names what the reader could not read; answers whether it is safe to go on after it."""
        self.rows += 1
        goes_on = True
        # Which of the lines were rows nobody can tell: all of them are named, and none is used.
        where = f"lines {start} to {end} were not read" if end > start else "the line was not read"
        if "unexpected end of data" in error:
            message = f"a quote is opened and never closed: {where}"
        elif "field larger than" in error:
            message = (
                f"a cell has more than {LARGEST_CELL:,} characters, or its quote is never closed: "
                f"nothing was read from line {start} on"
            )
            goes_on = False
        elif "expected after" in error:
            message = f"there is text after a closing quote: {where}"
        else:
            message = f"{error}: {where}"
        self._rejects.add(self._url, start, message, expected='quotes in pairs, a quote in a cell as ""')
        return goes_on


def _fault(cell: str) -> str:
    """What is wrong with a cell that no engine takes; "" for nearly all."""
    if "\0" in cell:
        return "holds a NUL character"
    if cell.isascii():
        return ""
    byte = next((ord(c) - 0xDC00 for c in cell if 0xDC80 <= ord(c) <= 0xDCFF), None)
    return "" if byte is None else f"is not UTF-8: it holds the byte 0x{byte:02x}"


def _delimiter(header: str, url: str) -> str:
    if "," in header:
        return ","
    best = max(";\t|", key=header.count)
    if not header.count(best):
        return ","  # a table of one column
    log.info("%s: cells are separated by %r, as in the header line", url, best)
    return best


def _picks(
    header: Sequence[str],
    columns: Sequence[str],
    used: frozenset[str] | None,
    url: str,
    first: str,
    place: str,
) -> list[int]:
    """Where each column stands in this file. Raises JobError when files disagree on what is used."""
    at = {folded(name): position for position, name in enumerate(header)}
    lacking = [name for name in columns if folded(name) not in at]
    more = set(at) - {folded(name) for name in columns}
    if used is not None:
        more &= used
    if lacking or more:
        column = lacking[0] if lacking else next(name for name in header if folded(name) in more)
        there, here = (first, url) if lacking else (url, first)
        raise JobError(
            f"{here} has no column {column}, and {there} has one",
            place=place,
            advice="files of one source must have the same columns: make them two sources, or map the "
            "columns that all of them have in metadata:",
        )
    return [at[folded(name)] for name in columns]
