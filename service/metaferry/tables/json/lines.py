"""JSON lines into a staging table: the text of each line, and the structure of all of them.

Every line is parsed here for what it is worth (a line that is no object is a reject) and kept as
text; the engine takes the values out of it when the structure over all lines is known. Text stays
text: nothing is taken for a date. A key whose values are of several kinds is text, as JSON writes
them. NaN and Infinity are read as null and named. Blank lines are no rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.json.constants import MARKS, left_out, without_constants
from metaferry.tables.json.records import ANY, Cutter, layout_of, lists_of
from metaferry.tables.json.shapes import (
    Malformed,
    ObjectShape,
    Structure,
    check_depth,
    check_text,
    shape_of_line,
)
from metaferry.tables.model import FILE, OURS, ROW, Column, Reading, Staged, TableFile, folded
from metaferry.tables.staging import (
    Findings,
    Rejects,
    StagingTable,
    check_width,
    quote_ident,
    quote_text,
    taken_unasked,
    used_columns,
)

if TYPE_CHECKING:
    import duckdb

_LINE: Final = "__metaferry_line"
#: Shapes remembered, so that a line like one before it costs a look-up.
_REMEMBERED: Final = 4096
#: Sixteen digits in a row, once every digit is written as 0: an expression would take far longer.
_LONG_INTEGER: Final = b"0" * 16
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def stage_json_lines(
    con: duckdb.DuckDBPyConnection,
    streams: Iterable[ByteStream],
    *,
    table: str,
    used: frozenset[str] | None,
    rejects: Rejects,
    findings: Findings,
    place: str,
    progress: Callable[[int], None],
    records: str = "",
    one_line_is_object: bool = False,
) -> Staged:
    """The top-level keys of `used` (names as `folded` gives them; None: all) as columns.

    Nested objects are STRUCT columns, lists LIST columns. Raises JobError for keys that differ in
    letter case only, and for a file in which the records are not found. `records` is the path of their
    list (`$.annotations`), "" where it is to be found.
    """
    staging = StagingTable(con, table, pa.schema([(_LINE, pa.string())]), progress)
    structure = Structure(place)
    names: dict[str, None] = {}
    done = []
    reading = Reading()
    for index, stream in enumerate(streams):
        file = stream.file
        lines = _Lines(file.url, stream, structure, names, used, rejects, findings, place)
        rows = lines.stage(staging, index, records, one_line_is_object=one_line_is_object)
        if not index:
            reading = Reading(format=lines.format, encoding=stream.encoding, packed=stream.packed)
        done.append(TableFile(file.url, stream.size, stream.token, rows))
    staging.flush()
    members = {key: member for key, member in structure.members.items() if not folded(key).startswith(OURS)}
    used_columns(list(members), used, done[0].url, place)
    columns, values = [], []
    template = {key: member.template() for key, member in members.items() if member.plain_type()}
    for key in members:
        if key in template:
            values.append(f"struct_extract(v, {quote_text(key)}) AS {quote_ident(key)}")
        else:  # no line holds a value
            values.append(f"NULL::VARCHAR AS {quote_ident(key)}")
    listed = ", ".join([FILE, ROW, *values])
    parsed = f"from_json({_LINE}, {quote_text(json.dumps(template))})" if template else "NULL"

    def relation(where: str) -> str:
        return (
            f"SELECT {listed} FROM (SELECT {FILE}, {ROW}, {parsed} AS v FROM {quote_ident(table)}{where}) x"
        )

    described = con.execute(f"DESCRIBE {relation('')}").fetchall()
    columns = [Column(row[0], row[1]) for row in described if not row[0].startswith(OURS)]
    return Staged(
        table=table,
        columns=tuple(columns),
        names=tuple(names),
        files=tuple(done),
        malformed=rejects.count,
        relation=relation,
        why_text=lambda name: next(
            (member.why_text() for key, member in members.items() if folded(key) == folded(name)), ""
        ),
        reading=reading,
    )


class _Lines:
    """The lines of one file."""

    def __init__(
        self,
        url: str,
        stream: ByteStream,
        structure: Structure,
        names: dict[str, None],
        used: frozenset[str] | None,
        rejects: Rejects,
        findings: Findings,
        place: str,
    ) -> None:
        self._url = url
        self._stream = stream
        self._structure = structure
        self._names = names
        self._used = used
        self._rejects = rejects
        self._findings = findings
        self._place = place
        self._seen: set[ObjectShape] = set()
        self.format = "jsonl"

    def stage(self, staging: StagingTable, index: int, records: str, *, one_line_is_object: bool) -> int:
        """Stages the good records, names the others; answers how many there were."""
        numbers: list[int] = []
        texts: list[str] = []
        rows = 0
        seen = self._seen
        cutter = self._cutter(records, one_line_is_object=one_line_is_object)
        called = "the record" if cutter else "the line"
        self.format = "json" if cutter else "jsonl"
        for piece, numbered in cutter.batches() if cutter else self._lines():
            constants = any(mark in piece for mark in MARKS)
            long_integers = _LONG_INTEGER in piece.translate(_DIGITS)
            for line, raw in numbered:
                text = raw if isinstance(raw, str) else raw.decode(errors="replace")
                if not text.strip(" \t\r"):
                    continue
                rows += 1
                try:
                    if isinstance(raw, bytes) and (bad := _bad_byte(raw)):
                        raise Malformed(f"the line is not UTF-8: {bad}")
                    found: list[tuple[tuple[str | int, ...], str]] = []
                    if constants:
                        text, found = without_constants(text)
                    shape = shape_of_line(text, long_integers=long_integers)
                    if "\\u" in text and _SURROGATE.search(text):
                        check_text(text)
                    if shape not in seen:
                        self._learn(shape, line)
                except Malformed as error:
                    message = str(error).replace("the line", called)
                    self._rejects.add(self._url, line, message, value=text, expected="one JSON object")
                    continue
                if found:
                    self._name_constants(found, line)
                numbers.append(line)
                texts.append(text)
            staging.append(index, pa.array(numbers, pa.int64()), [pa.array(texts, pa.string())])
            numbers, texts = [], []
        return rows

    def _name_constants(self, found: list[tuple[tuple[str | int, ...], str]], line: int) -> None:
        for steps, constant in found:
            if self._used is None or folded(str(steps[0])) in self._used:
                self._findings.add(
                    Code.VALUE_NOT_FINITE,
                    "warning",
                    left_out(steps, constant),
                    advice="replace it in the table, where another value is meant",
                    file=self._url,
                    row=line,
                )

    def _learn(self, shape: ObjectShape, line: int) -> None:
        check_depth(shape)  # first: a line that turns out malformed must leave no trace
        used = self._used
        kept = ObjectShape(
            member
            for member in shape
            if (taken_unasked(member[0]) if used is None else folded(member[0]) in used)
        )
        for key, _ in shape:
            if len(self._names) < _REMEMBERED:
                self._names.setdefault(key)
        try:
            self._structure.add(kept, line)
        except JobError as error:
            reason = error.message.removeprefix(f"{self._place}: ")
            raise JobError(f"{self._url}, {reason}", place=self._place, advice=error.advice) from None
        check_width(len(self._structure.members), self._url, self._place)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen.add(shape)

    def _split(self, piece: bytes) -> list[str] | list[str | bytes]:
        """The lines of a piece; those that are not UTF-8 as bytes."""
        ended = piece.endswith(b"\n")
        try:
            lines = piece.decode().split("\n")
        except UnicodeDecodeError:
            mixed = [_decoded(raw) for raw in piece.split(b"\n")]
            return mixed[:-1] if ended else mixed
        return lines[:-1] if ended else lines

    def _lines(self) -> Iterator[tuple[bytes, list[tuple[int, str | bytes]]]]:
        """The lines of each piece with their numbers."""
        line = 0
        for piece in self._stream.pieces(carriage_returns=False):
            split = self._split(piece)
            yield piece, list(enumerate(split, line + 1))
            line += len(split)

    def _cutter(self, records: str, *, one_line_is_object: bool) -> Cutter | None:
        """What cuts the records out of a text that is no JSON lines; None where it is."""
        head, whole = self._stream.ahead()
        path: tuple[str, ...] | None = tuple(records.split(".")[1:])
        if not records:
            layout = layout_of(head, whole=whole, one_line_is_object=one_line_is_object)
            if layout == "lines":
                return None
            if layout == "objects":
                path = None
            elif layout == "object":
                path = self._list_in(head, whole=whole)
        return Cutter(self._stream.text(), path, self._url, self._place)

    def _list_in(self, head: bytes, *, whole: bool) -> tuple[str, ...] | None:
        """The one list of objects in an object; None for an object that is a record itself."""
        if not whole:
            return ANY
        lists = lists_of(head)
        if lists is None:
            return None  # broken: it is named as a record
        if len(lists) > 1:
            raise JobError(
                f"{self._url} holds several lists: {', '.join(lists[:5])}",
                place=self._place,
                advice=f"say which of them has the records: records: $.{lists[0]}",
            )
        return (lists[0],) if lists else None


def _decoded(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _bad_byte(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
    return ""
