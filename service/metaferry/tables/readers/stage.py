"""The relations of a reader as tables of the planning engine, filled in one pass.

What follows knows staged rows only, as of every other table: columns, rows with their places, rejects. A
column of JSON objects becomes a STRUCT here, of the types that hold every value over all rows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from metaferry.errors import JobError, StorageError
from metaferry.findings import Code
from metaferry.tables.columns import engine_errors
from metaferry.tables.files.folders import with_folders
from metaferry.tables.json.shapes import Malformed, ObjectShape, Structure, check_shape, shape_of_line
from metaferry.tables.model import FILE, ROW, Column, Reading, ShownColumn, Staged
from metaferry.tables.readers.again import Again
from metaferry.tables.readers.contract import (
    Given,
    Note,
    Opened,
    Reader,
    ReaderColumn,
    ReaderRelation,
    Wanted,
)
from metaferry.tables.readers.decimals import fit_decimals
from metaferry.tables.staging import (
    Findings,
    Rejects,
    StagingTable,
    own_names,
    plain_rows,
    quote_ident,
    rows_of,
)

if TYPE_CHECKING:
    import duckdb

#: Shapes of JSON objects remembered, so that one like those before it costs a look-up.
_REMEMBERED: Final = 4_096


@contextlib.contextmanager
def staged_relations(
    con: duckdb.DuckDBPyConnection,
    reader: Reader,
    opened: Opened,
    given: Given,
    *,
    wanted: Wanted,
    table: str,
    label: str,
    progress: Callable[[int], None],
    keep: bool = False,
) -> Iterator[dict[str, Staged]]:
    """The wanted relations by name, as the engine's tables `{table}_{number}`, for one block.

    With `keep` the tables outlive a block that raises nothing. `label` is what findings and rejects call the
    source: `{label}.{relation}`, or `label` alone where there is one relation. Raises JobError for a source
    that is broken as a whole.
    """
    single = len(reader.relations) == 1
    again = Again(0.0 if given.files else given.retry_for, given.still_wanted)
    while True:
        known = {relation.name: relation for relation in opened.relations}
        tables = {
            name: RelationTable(
                con,
                known[name],
                wanted[name],
                f"{table}_{number}",
                label if single else f"{label}.{name}",
                given,
                progress,
            )
            for number, name in enumerate(reader.relations)
            if name in wanted
        }
        try:
            _fill(tables, opened, wanted)
            break
        except StorageError as error:
            for each in tables.values():
                each.discard()
            if not again.after(error):
                raise
            opened = reader.open(given)
        except BaseException:
            for each in tables.values():
                each.drop()
            raise
    try:
        for each in tables.values():
            each.tell_repeats(again.count)
        for each in list(tables.values())[:1]:
            each.tell(getattr(opened, "notes", ()))
        yield {name: each.staged(opened, reader.name) for name, each in tables.items()}
    except BaseException:
        for each in tables.values():
            each.drop()
        raise
    if not keep:
        for each in tables.values():
            each.drop()


def _fill(tables: Mapping[str, RelationTable], opened: Opened, wanted: Wanted) -> None:
    """All rows of an open source, which is closed then."""

    def reject(
        relation: str,
        place: int,
        message: str,
        *,
        file: int = 0,
        column: str = "",
        value: str = "",
        expected: str = "",
        code: Code = Code.SOURCE_MALFORMED,
    ) -> None:
        if relation in tables:
            tables[relation].reject(
                place, message, file=file, column=column, value=value, expected=expected, code=code
            )

    with contextlib.ExitStack() as stack:
        if hasattr(opened, "close"):
            stack.callback(opened.close)
        for each in tables.values():
            stack.enter_context(each.staging)
        for rows in opened.read(wanted, reject):
            tables[rows.relation].append(rows.file, rows.places, rows.batch)
            tables[rows.relation].tell(rows.notes)
        for each in tables.values():
            each.staging.flush()


class RelationTable:
    """One relation of a reader on its way into the engine."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        relation: ReaderRelation,
        wanted: frozenset[str] | None,
        table: str,
        label: str,
        given: Given,
        progress: Callable[[int], None],
    ) -> None:
        self._con = con
        self._relation = relation
        self._given = given
        self._wanted = wanted
        self._table = table
        self._label = label
        self._rejects = Rejects(con, label)
        self._findings = Findings(con, label)
        self._columns = relation.taken(wanted)
        self._json = {c.name: JsonColumn(c, given.place) for c in self._columns if c.json}
        self._rows: dict[int, int] = {}
        own = own_names(len(self._columns))
        self._names = dict(zip((c.name for c in self._columns), own, strict=True))
        schema = pa.schema([(name, c.type) for name, c in zip(own, self._columns, strict=True)])
        with engine_errors(con, schema, label, given.place):
            self.staging = StagingTable(con, table, schema, progress)

    def append(self, file: int, places: pa.Array, batch: pa.RecordBatch) -> None:
        """Rows of a file. Those whose JSON is none are rejected."""
        bad: set[int] = set()
        for name, column in self._json.items():
            for at, why in column.look_at(batch.column(name), places):
                if at not in bad:
                    bad.add(at)
                    value = batch.column(name)[at].as_py()
                    self.reject(places[at].as_py(), why, file=file, column=name, value=value)
        if bad:
            kept = pa.array([at for at in range(len(places)) if at not in bad], pa.int64())
            places, batch = places.take(kept), batch.take(kept)
        self._rows[file] = self._rows.get(file, 0) + len(places)
        self.staging.append(file, places, [batch.column(column.name) for column in self._columns])

    def reject(
        self,
        place: int,
        message: str,
        *,
        file: int = 0,
        column: str = "",
        value: str = "",
        expected: str = "",
        code: Code = Code.SOURCE_MALFORMED,
    ) -> None:
        """One row that is none."""
        self._rows[file] = self._rows.get(file, 0) + 1
        self._reject(place, message, file=file, column=column, value=value, expected=expected, code=code)

    def _reject(
        self, place: int, message: str, *, file: int, column: str, value: str, expected: str, code: Code
    ) -> None:
        url = self._given.files[file].url if self._given.files else self._given.value.shown
        self._rejects.add(url, place, message, column=column, value=value, expected=expected, code=code)

    def tell_repeats(self, count: int) -> None:
        """A finding where the source was asked again."""
        if count:
            times = "once" if count == 1 else f"{count} times"
            message = f"the connection broke {times}, and all of it was asked again"
            self._findings.add(Code.SOURCE_ASKED_AGAIN, "info", message)

    def tell(self, notes: Sequence[Note]) -> None:
        """Findings about files, and about rows that are used."""
        for note in notes:
            self._findings.add(
                note.code,
                note.severity,
                note.message,
                advice=note.advice,
                file=self._given.files[note.file].url if self._given.files else self._given.value.shown,
                row=note.place,
                media=note.media,
            )

    def staged(self, opened: Opened, format: str) -> Staged:
        """What was staged, with the columns that paths give."""
        for column in self._columns:
            if column.decimal:
                fit_decimals(self._con, self._table, self._names[column.name], column.name, self._reject)
        self._rejects.flush()
        self._findings.flush()
        types = {
            row[0]: row[1] for row in self._con.execute(f"DESCRIBE {quote_ident(self._table)}").fetchall()
        }
        columns = []
        for column in self._columns:
            json_column = self._json.get(column.name)
            kind = (
                types[self._names[column.name]] if json_column is None else json_column.engine_type(self._con)
            )
            columns.append(Column(column.name, kind))
        relation = rows_of(self._table, self._names)
        if self._json:
            relation = _with_structs(relation, self._columns, self._json)
        first = opened.files[0] if opened.files else None
        staged = Staged(
            table=self._table,
            columns=tuple(columns),
            names=tuple(column.name for column in self._relation.columns),
            files=tuple(replace(file, rows=self._rows.get(at, 0)) for at, file in enumerate(opened.files)),
            malformed=self._rejects.count,
            relation=relation,
            why_text=lambda name: self._json[name].structure.why_text() if name in self._json else "",
            plain="" if self._json else plain_rows(self._table, self._names),
            reading=Reading(
                name=self._label,
                format=format if first is not None else "",
                version=getattr(opened, "version", ""),
            ),
            others=tuple(
                ShownColumn(column.name, "JSON" if column.json else str(column.type), (), used=False)
                for column in self._relation.columns
                if column not in self._columns
            ),
            is_typed=self._relation.is_typed,
        )
        objects = [file.object for file in self._given.files]
        if not objects:
            return staged
        return with_folders(
            self._con, staged, objects, self._wanted, table=self._folders, place=self._given.place
        )

    @property
    def _folders(self) -> str:
        return f"folders_{self._table}"

    def discard(self) -> None:
        """Takes it out of the engine, with what was said of its rows: they are read again."""
        self.drop()
        self._rejects.discard()
        self._findings.discard()

    def drop(self) -> None:
        """Takes it out of the engine."""
        for table in (self._table, self._folders):
            self._con.execute(f"DROP TABLE IF EXISTS {quote_ident(table)}").fetchall()


class JsonColumn:
    """A column of JSON objects: what each key of them holds, over all rows."""

    def __init__(self, column: ReaderColumn, place: str) -> None:
        self.name = column.name
        self.structure = Structure(place, column.name)
        self._place = place
        self._seen: set[ObjectShape] = set()

    def look_at(self, texts: pa.Array, places: pa.Array) -> Iterator[tuple[int, str]]:
        """Takes in the texts; answers the positions of those that are none, and why."""
        for at, text in enumerate(texts.to_pylist()):
            if text is None:
                continue
            try:
                shape = shape_of_line(text)
                if shape in self._seen:
                    continue
                check_shape(shape)
            except Malformed as error:
                yield at, str(error).replace("the line", self.name)
                continue
            try:
                self.structure.add(shape, places[at].as_py())
            except JobError as error:
                reason = error.message.removeprefix(f"{self._place}: ")
                raise JobError(f"{self.name}, {reason}", place=self._place, advice=error.advice) from None
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen.add(shape)

    def value(self, column: str) -> str:
        """SQL of the text as what the structure says."""
        template = self.structure.template() if self.structure.plain_type() == "STRUCT" else None
        if template is None:
            return "NULL"
        text = json.dumps(template).replace("'", "''")
        return f"from_json({column}, '{text}')"

    def engine_type(self, con: duckdb.DuckDBPyConnection) -> str:
        """The engine's type of its values."""
        described = con.execute(f"DESCRIBE SELECT {self.value('x')} AS v FROM (SELECT ''::VARCHAR AS x)")
        ((_, kind, *_),) = described.fetchall()
        return str(kind)


def _with_structs(
    relation: Callable[[str], str], columns: Sequence[ReaderColumn], json_columns: Mapping[str, JsonColumn]
) -> Callable[[str], str]:
    """`Staged.relation` with structs in the place of JSON text."""
    listed = [FILE, ROW]
    for column in columns:
        name = quote_ident(column.name)
        known = json_columns.get(column.name)
        listed.append(name if known is None else f"{known.value(name)} AS {name}")
    return lambda where: f"SELECT {', '.join(listed)} FROM ({relation(where)}) j"
