"""The reader of `sql:`: the rows of one query, as one relation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.findings import Code
from metaferry.tables.model import TableFile
from metaferry.tables.readers.again import Again, with_new_secrets
from metaferry.tables.readers.contract import (
    Facts,
    Given,
    ReaderColumn,
    ReaderRelation,
    Reject,
    Rows,
    Wanted,
    WithoutFiles,
)
from metaferry.tables.readers.sql.adbc import AdbcRows
from metaferry.tables.readers.sql.columns import SqlColumn, column_of, example_of, values_of
from metaferry.tables.readers.sql.mysql import MysqlRows, typed
from metaferry.tables.readers.sql.pull import Pull
from metaferry.tables.readers.sql.target import target_of
from metaferry.tables.staging import check_width, numbers_from, taken_unasked, used_columns

ROWS = "rows"


class SqlReader(WithoutFiles):
    """A query to a database: see `contract.Reader`."""

    key = "sql"
    name = "sql"
    title = "a query to a database"
    relations: tuple[str, ...] = (ROWS,)
    frame_base: Literal[0, 1] = 0

    def open(self, given: Given) -> SqlOpened:
        """Runs the query, again where the connection breaks before its first row."""
        again = Again(given.retry_for, given.still_wanted)
        return again.call(lambda: with_new_secrets(given, SqlOpened))


class SqlOpened:
    """A query that has begun."""

    def __init__(self, given: Given) -> None:
        value = given.value
        target = target_of(value.uri, value.driver or "", value.db_kwargs, given.place)
        self._given = given
        self._target = target
        self._mysql = MysqlRows(target, value.query, given.place) if target.kind == "mysql" else None
        self._pull = Pull(self._mysql or AdbcRows(target, value.query, given.place), given.still_wanted)
        try:
            schema = self._pull.schema()
        except BaseException:
            self._pull.close()
            raise
        self._names: list[str] = schema.names
        if self._mysql is not None:
            self._columns = [
                SqlColumn(each.name, each.type, each.called, each.is_decimal, each.called == "geometry")
                for each in self._mysql.columns
            ]
        else:
            self._columns = [column_of(field) for field in schema]

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        columns = tuple(
            ReaderColumn(each.name, each.type, f"the database's {each.called}", decimal=each.decimal)
            for each in self._columns
            if taken_unasked(each.name)
        )
        # Of SQLite, in which cells have types, nobody knows those of columns without rows.
        return (ReaderRelation(ROWS, "a row of the query", columns, "row", self._target.kind != "sqlite"),)

    @property
    def files(self) -> Sequence[TableFile]:
        return (TableFile(self._target.shown, 0, "", 0),)

    def needs(self) -> Wanted:
        return {ROWS: None}

    def records(self, facts: Facts) -> str:
        return ""

    def example(self, table: str) -> str:
        return example_of(self._columns, table)

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The rows in the order in which the database gives them, by their numbers from 1."""
        try:
            if ROWS not in wanted:
                return
            shown, place = self._target.shown, self._given.place
            taken = used_columns(self._names, wanted[ROWS], shown, f"{place}.query")
            check_width(len(taken), shown, f"{place}.query")
            for at in taken.values():
                self._refuse(self._columns[at])
            row = 1
            for batch in self._pull.batches():
                yield from self._rows(batch, taken, row, reject)
                row += batch.num_rows
        finally:
            self.close()

    def close(self) -> None:
        """Ends the query."""
        self._pull.close()

    def _rows(
        self, batch: pa.RecordBatch, taken: Mapping[str, int], row: int, reject: Reject
    ) -> Iterator[Rows]:
        columns, bad = [], set[int]()
        for at in taken.values():
            column = self._columns[at]
            values, wrong = self._values(at, column, batch.column(at))
            for position, text in sorted(wrong.items()):
                if position not in bad:
                    bad.add(position)
                    self._reject(column, row + position, text, reject)
            columns.append(values)
        places = numbers_from(row, batch.num_rows)
        fields = [
            (self._columns[at].name, values.type) for at, values in zip(taken.values(), columns, strict=True)
        ]
        kept = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields)) if columns else batch.select([])
        if bad:
            good = pa.array([at for at in range(batch.num_rows) if at not in bad], pa.int64())
            kept, places = kept.take(good), pc.take(places, good)
        if kept.num_rows or not bad:
            yield Rows(ROWS, places, kept)

    def _values(self, at: int, column: SqlColumn, given: pa.Array) -> tuple[pa.Array, dict[int, str]]:
        if self._mysql is None:
            return values_of(column, given)
        values, bad = typed(self._mysql.columns[at], given)
        return values, {position: str(given[position]) for position in bad}

    def _reject(self, column: SqlColumn, row: int, text: str, reject: Reject) -> None:
        expected = "a date that a calendar has" if not pa.types.is_decimal(column.type) else "a finite number"
        reject(
            ROWS,
            row,
            f"{column.name} is {text}, which is no {column.called} that a document can hold",
            column=column.name,
            value=text,
            expected=expected,
            code=Code.VALUE_RANGE,
        )

    def _refuse(self, column: SqlColumn) -> None:
        if not column.refused:
            return
        instead = (
            f"{column.name}{column.instead}"
            if column.instead
            else f"ST_AsText({column.name}), or another text"
        )
        raise self._given.fault(
            f"{self._target.shown}: the column {column.name} is {column.called}, which cannot be loaded",
            advice=f"cast it in the query: {instead}; or leave it out",
        )
