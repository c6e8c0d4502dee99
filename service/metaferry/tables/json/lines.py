"""JSON objects into a staging table: as typed columns where they hold nothing new, else as their text.

Every object whose structure is new, or that is not plain, is parsed here for what it is worth (a line that
is no object is a reject) and kept as text; the engine takes the values out of it when the structure over all
of them is known. Text stays text: nothing is taken for a date. A key whose values are of several kinds is
text, as JSON writes them. NaN and Infinity are read as null and named. Blank lines are no rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.tables.files.blocks import ByteStream
from metaferry.tables.json.constants import MARKS, left_out, without_constants
from metaferry.tables.json.line_reader import Lines
from metaferry.tables.json.records import ANY, Cutter, Record, Stretch, layout_of, lists_of
from metaferry.tables.json.round_trip import RoundTrip
from metaferry.tables.json.samples import others_of
from metaferry.tables.json.shapes import (
    Malformed,
    ObjectShape,
    Structure,
    check_shape,
    check_text,
    shape_of_line,
)
from metaferry.tables.json.staged import TEXT, TypedColumns
from metaferry.tables.json.typed import Part, Schema, parsed, schema_of
from metaferry.tables.model import FILE, OURS, ROW, Column, Reading, Staged, TableFile, folded
from metaferry.tables.samples import ROWS
from metaferry.tables.staging import (
    MAX_COLUMNS,
    Findings,
    Rejects,
    StagingTable,
    check_width,
    quote_ident,
    taken_unasked,
    used_columns,
)

if TYPE_CHECKING:
    import duckdb

#: Shapes remembered, so that a line like one before it costs a look-up.
_REMEMBERED: Final = 4096
#: Sixteen digits in a row, once every digit is written as 0: an expression would take far longer.
_LONG_INTEGER: Final = b"0" * 16
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
#: Objects looked at one by one before the next stretch is tried; twice as many after each that fails.
_FEW: Final = 256
_MANY: Final = 1 << 16


def stage_json_lines(
    con: duckdb.DuckDBPyConnection,
    streams: Callable[[], Iterable[ByteStream]],
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
    list (`$.annotations`), "" where it is to be found. `streams` gives the files from their start.
    """
    for typed in (True, False):
        done = []
        reading = Reading()
        try:
            with StagingTable(con, table, pa.schema([(TEXT, pa.string())]), progress) as staging:
                objects = _Objects(staging, used, rejects, findings, place, typed=typed)
                for index, stream in enumerate(streams()):
                    rows = objects.stage(stream, index, records, one_line_is_object=one_line_is_object)
                    if not index:
                        reading = Reading(
                            format=objects.format, encoding=stream.encoding, packed=stream.packed
                        )
                    done.append(TableFile(stream.file.url, stream.size, stream.token, rows))
                staging.flush()
        except _TextAfterAll:  # what was typed is text as JSON writes it: read again, all of it as text
            con.execute(f"DROP TABLE {quote_ident(table)}").fetchall()
            rejects.discard()
            findings.discard()
            continue
        break
    members = {
        key: member for key, member in objects.structure.members.items() if not folded(key).startswith(OURS)
    }
    used_columns(list(members), used, done[0].url, place)
    relation = objects.typed.relation(members)
    described = con.execute(f"DESCRIBE {relation('')}").fetchall()
    columns = [Column(row[0], row[1]) for row in described if row[0] not in (FILE, ROW)]
    return Staged(
        table=table,
        columns=tuple(columns),
        names=tuple(objects.names),
        files=tuple(done),
        malformed=rejects.count,
        relation=relation,
        why_text=lambda name, *below: next(
            (member.why_text(*below) for key, member in members.items() if folded(key) == folded(name)), ""
        ),
        plain=objects.typed.plain(members),
        reading=reading,
        others=others_of(objects.first, used, place),
    )


class _TextAfterAll(Exception):
    """A key of which typed values are staged holds several kinds."""


class _Objects:
    """The objects of all files, and the structure that they have so far."""

    def __init__(
        self,
        staging: StagingTable,
        used: frozenset[str] | None,
        rejects: Rejects,
        findings: Findings,
        place: str,
        *,
        typed: bool,
    ) -> None:
        self.structure = Structure(place)
        self.names: dict[str, None] = {}
        self.format = "jsonl"
        self.typed = TypedColumns(staging)
        self._others: Structure | None = Structure(place)  # keys that are not used
        self._staging = staging
        self._used = used
        self._rejects = rejects
        self._findings = findings
        self._place = place
        self._seen: set[ObjectShape] = set()
        self._as_types = typed
        self.first: list[str] = []  # objects of the first rows
        self._schema: Schema | None = None
        self._schema_is_old = True
        self._trip = RoundTrip()
        self._begun: list[Stretch] = []
        self._rows = 0

    def stage(self, stream: ByteStream, index: int, records: str, *, one_line_is_object: bool) -> int:
        """Stages the good objects of a file, names the others; answers how many there were."""
        url = stream.file.url
        path = self._path(stream, records, one_line_is_object=one_line_is_object)
        self.format = "jsonl" if path == _LINES else "json"
        self._rows = 0
        if path == _LINES:
            self._stage(Lines(stream.pieces(carriage_returns=False)), index, url, begins=True)
        else:
            self._stage(Cutter(stream.text(), path, url, self._place), index, url)
        return self._rows

    def _stage(self, reader: Lines | Cutter, index: int, url: str, *, begins: bool = False) -> None:
        """Stages all of a reader; `begins`: stretches are written while the next one is read."""
        few = _FEW
        while True:
            schema = self._known()
            if schema and begins and isinstance(reader, Lines) and self._begin(reader, index, url, schema):
                continue
            stretch = reader.stretch() if schema else None
            if schema and stretch and (count := self._take(reader, stretch, index, schema)):
                self._rows += count
                few = _FEW
                continue
            taken = reader.take(few if self._as_types else _MANY)
            if not taken:
                return
            self._rows += self._look_at(taken, index, url, reader.called)
            few = min(2 * few, _MANY)

    def _begin(self, reader: Lines, index: int, url: str, schema: Schema) -> bool:
        """Has the next lines inserted, once those before are there; False where they are to be looked at.

        True as well where those before were not inserted: what is known may be more since.
        """
        stretches = reader.ahead(_INSERT_BYTES) if self._trip.is_worth_a_try() else []
        insert = self._trip.insert(stretches, schema) if stretches else None
        if not self._end(index, url):
            return True
        if insert is None or not self.typed.begin(index, insert):
            return False
        self._begun = stretches
        reader.passed(*stretches)
        return True

    def _end(self, index: int, url: str) -> bool:
        """Waits for the lines whose insert was begun; False where they are not in, and were read again."""
        stretches, self._begun = self._begun, []
        if not stretches:
            return True
        well = self._staging.is_inserted()
        self._trip.ended(well=well)
        if well:
            self._rows += sum(len(stretch.rows) for stretch in stretches)
        else:
            texts = iter([stretch.text for stretch in stretches])
            self._stage(Lines(texts, stretches[0].rows[0].as_py()), index, url)
        return well

    def _known(self) -> Schema | None:
        if self._schema_is_old and self._as_types:
            self._schema_is_old = False
            self._schema = schema_of(self.structure, self._others, self._used) if self._seen else None
        return self._schema

    def _take(self, reader: Lines | Cutter, stretch: Stretch, index: int, schema: Schema) -> int:
        """Stages a stretch as typed columns, if it holds nothing new and nothing odd; answers its rows."""
        parts = parsed(stretch.text, len(stretch.rows), schema, one_a_line=stretch.one_a_line)
        if parts is None and reader.looks_deeper():
            deeper = reader.stretch()
            if deeper is not None and len(deeper.rows) != len(stretch.rows):
                stretch = deeper
                parts = parsed(stretch.text, len(stretch.rows), schema, one_a_line=stretch.one_a_line)
            if parts is None:
                reader.looks_plainly()
        if parts is None or not self.typed.append(index, stretch.rows, parts):
            return 0
        reader.passed(stretch)
        return len(stretch.rows)

    def _look_at(self, records: list[Record], index: int, url: str, called: str) -> int:
        """Stages records after a look at each, as text."""
        numbers: list[int] = []
        texts: list[str] = []
        rows = 0
        seen = self._seen
        whole = b"".join(raw.encode() if isinstance(raw, str) else raw for _, _, raw, _ in records)
        constants = any(mark in whole for mark in MARKS)
        long_integers = _LONG_INTEGER in whole.translate(_DIGITS)
        for line, number, raw, row in records:
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
                    self._learn(shape, line, url)
            except Malformed as error:
                name = called.format(number=f"{number:,}")
                message = str(error).replace("the line", name)
                if row != line:
                    message += f", in line {line:,}"
                self._rejects.add(url, row, message, value=text, expected="one JSON object")
                continue
            if found:
                self._name_constants(found, row, url)
            numbers.append(row)
            texts.append(text)
            if len(self.first) < ROWS:
                self.first.append(text)
        if not self.typed.stay_exact(self.structure):
            raise _TextAfterAll
        lines = pa.array(numbers, pa.int64())
        parts = self._typed(texts)
        if parts is None or not self.typed.append(index, lines, parts):
            self.typed.append_texts(index, lines, pa.array(texts, pa.string()))
        return rows

    def _typed(self, texts: list[str]) -> list[Part] | None:
        """A few objects that were looked at as typed columns, if their structure is all there was to see.

        So the first rows, which tell it, need no column of text of their own.
        """
        schema = self._known() if 0 < len(texts) <= _FEW else None
        if schema is None or len(schema.options.explicit_schema) > MAX_COLUMNS:
            return None
        one_a_line = not any("\n" in text for text in texts)
        return parsed("\n".join(texts).encode(), len(texts), schema, one_a_line=one_a_line)

    def _name_constants(self, found: list[tuple[tuple[str | int, ...], str]], row: int, url: str) -> None:
        for steps, constant in found:
            if self._used is None or folded(str(steps[0])) in self._used:
                self._findings.add(
                    Code.VALUE_NOT_FINITE,
                    "warning",
                    left_out(steps, constant),
                    advice="replace it in the table, where another value is meant",
                    file=url,
                    row=row,
                )

    def _learn(self, shape: ObjectShape, line: int, url: str) -> None:
        used = self._used
        kept = ObjectShape(
            member
            for member in shape
            if (taken_unasked(member[0]) if used is None else folded(member[0]) in used)
        )
        check_shape(kept)  # first: a line that turns out malformed must leave no trace
        for key, _ in shape:
            if len(self.names) < _REMEMBERED:
                self.names.setdefault(key)
        try:
            self.structure.add(kept, line)
        except JobError as error:
            reason = error.message.removeprefix(f"{self._place}: ")
            raise JobError(f"{url}, {reason}", place=self._place, advice=error.advice) from None
        check_width(len(self.structure.members), url, self._place)
        self._learn_others(shape, kept, line)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen.add(shape)
        self._schema_is_old = True

    def _learn_others(self, shape: ObjectShape, kept: ObjectShape, line: int) -> None:
        """Keys that are not used may be anything; then they are not told apart any more."""
        if self._others is None or len(kept) == len(shape):
            return
        others = ObjectShape(member for member in shape if member not in kept)
        try:
            check_shape(others)
            self._others.add(others, line)
        except (Malformed, JobError):
            self._others = None

    def _path(self, stream: ByteStream, records: str, *, one_line_is_object: bool) -> tuple[str, ...] | None:
        """The keys that lead to the records of a file (see `Cutter`), or `_LINES`."""
        head, whole = stream.ahead()
        if records:
            return tuple(records.split(".")[1:])
        layout = layout_of(head, whole=whole, one_line_is_object=one_line_is_object)
        if layout == "object":
            return self._list_in(head, stream.file.url, whole=whole)
        return {"lines": _LINES, "objects": None, "array": ()}[layout]

    def _list_in(self, head: bytes, url: str, *, whole: bool) -> tuple[str, ...] | None:
        """The one list of objects in an object; None for an object that is a record itself."""
        if not whole:
            return ANY
        lists = lists_of(head)
        if lists is None:
            return None  # broken: it is named as a record
        if len(lists) > 1:
            raise JobError(
                f"{url} holds several lists: {', '.join(lists[:5])}",
                place=self._place,
                advice="say which of them has the records: "
                + " or ".join(f"records: $.{name}" for name in lists[:3]),
            )
        return (lists[0],) if lists else None


#: Bytes of lines that are inserted at once: less of them cost more for each.
_INSERT_BYTES: Final = 24 << 20
#: In the place of a path: one object a line.
_LINES: Final = ("\n",)


def _bad_byte(raw: bytes) -> str:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
    return ""
