"""The readers of `delta:` and `iceberg:`: the rows of one version of a table, as one relation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pyarrow as pa

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
from metaferry.tables.readers.lake.delta import DeltaRows
from metaferry.tables.readers.lake.iceberg import IcebergRows
from metaferry.tables.readers.lake.options import for_object_store
from metaferry.tables.readers.sql.columns import SqlColumn, column_of, example_of, values_of
from metaferry.tables.readers.sql.pull import Pull
from metaferry.tables.staging import BATCH_ROWS, check_width, numbers_from, taken_unasked, used_columns

ROWS: Final = "rows"


class _LakeReader(WithoutFiles):
    """What the two have in common: see `contract.Reader`."""

    relations: tuple[str, ...] = (ROWS,)
    frame_base: Literal[0, 1] = 0

    def open(self, given: Given) -> LakeOpened:
        """Finds the version that is read."""
        again = Again(given.retry_for, given.still_wanted)
        return again.call(
            lambda: with_new_secrets(given, lambda newest: LakeOpened(newest, self.rows(newest)))
        )

    def rows(self, given: Given) -> DeltaRows | IcebergRows:
        """The table of a job, not open yet."""
        raise NotImplementedError


class DeltaReader(_LakeReader):
    """A Delta table."""

    key = "delta"
    name = "delta"
    title = "a Delta table"

    def rows(self, given: Given) -> DeltaRows:
        value = given.value
        location = value.location
        options = for_object_store(location.scheme, given.options_of(location), given.place)
        return DeltaRows(
            delta_url(location.url), value.shown, options, given.place, version=value.version, time=value.time
        )


class IcebergReader(_LakeReader):
    """An Iceberg table."""

    key = "iceberg"
    name = "iceberg"
    title = "an Iceberg table"

    def rows(self, given: Given) -> IcebergRows:
        value = given.value
        location = value.location
        chosen: dict[str, Any] = {"snapshot": value.snapshot, "time": value.time, "ref": value.ref}
        if location is None:
            return IcebergRows(
                value.shown,
                given.place,
                catalog=value.catalog,
                name=value.name,
                properties=value.properties,
                **chosen,
            )
        options = given.options_of(location)
        return IcebergRows(
            value.shown,
            given.place,
            location=location.url,
            options=options,
            retry_for=given.retry_for,
            **chosen,
        )


def delta_url(url: str) -> str:
    """A URL as Delta's library knows its scheme: containers of Azure stand alone in `az://`."""
    scheme, mark, rest = url.partition("://")
    if scheme == "gcs":
        return f"gs{mark}{rest}"
    if scheme in ("abfs", "abfss") and "@" not in rest.partition("/")[0]:
        return f"az{mark}{rest}"
    return url


class LakeOpened:
    """One version of a table."""

    def __init__(self, given: Given, rows: DeltaRows | IcebergRows) -> None:
        self._given = given
        self._rows = rows
        try:
            schema = _opened(rows, given)
        except BaseException:
            rows.close()
            raise
        self._names: list[str] = schema.names
        self._columns = [column_of(field) for field in schema]
        self._file = TableFile(given.value.shown, 0, rows.version, 0)

    @property
    def relations(self) -> Sequence[ReaderRelation]:
        columns = tuple(
            ReaderColumn(each.name, each.type, f"the table's {each.called}")
            for each in self._columns
            if taken_unasked(each.name)
        )
        return (ReaderRelation(ROWS, f"a row of {self.version}", columns, "row"),)

    @property
    def files(self) -> Sequence[TableFile]:
        return (self._file,)

    @property
    def version(self) -> str:
        """What is read, for the report; also when it is closed."""
        return self._file.token

    def needs(self) -> Wanted:
        return {ROWS: None}

    def records(self, facts: Facts) -> str:
        return ""

    def example(self, table: str) -> str:
        return example_of(self._columns, table)

    def read(self, wanted: Wanted, reject: Reject) -> Iterator[Rows]:
        """The rows, by numbers from 1 that mean nothing beyond the run: files are read at once."""
        try:
            if ROWS not in wanted:
                return
            shown, place = self._file.url, self._given.place
            taken = used_columns(self._names, wanted[ROWS], shown, place)
            check_width(len(taken), shown, place)
            columns = [self._columns[at] for at in taken.values()]
            for column in columns:
                self._refuse(column)
            row = 1
            named = [column.name for column in columns]
            reading = _Reading(lambda: None, lambda: self._rows.batches(named), self._rows.cancel)
            with Pull(reading, self._given.still_wanted) as pull:
                pull.schema()
                for whole in pull.batches():
                    for start in range(0, whole.num_rows, BATCH_ROWS):
                        self._given.still_wanted()
                        batch = whole.slice(start, BATCH_ROWS)
                        yield Rows(ROWS, numbers_from(row, batch.num_rows), _converted(batch, columns))
                        row += batch.num_rows
            self._file = replace(self._file, rows=row - 1)
        finally:
            self.close()

    def close(self) -> None:
        """Forgets the table."""
        self._rows.close()

    def _refuse(self, column: SqlColumn) -> None:
        if column.refused:
            raise self._given.fault(
                f"{self._file.url}: the column {column.name} is {column.called}, which cannot be loaded",
                advice="map the columns that are wanted in metadata:, and leave this one out",
            )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a library reads, for `Pull`: it waits where no signal reaches, so it does that in a thread."""

    open: Callable[[], Any]
    batches: Callable[[], Iterator[pa.RecordBatch]]
    cancel: Callable[[], bool]

    def close(self) -> None:
        """The table is closed by who opened it."""


def _opened(rows: DeltaRows | IcebergRows, given: Given) -> pa.Schema:
    with Pull(_Reading(rows.open, lambda: iter(()), rows.cancel), given.still_wanted) as pull:
        schema = pull.schema()
        for _ in pull.batches():
            pass
        return schema


def _converted(batch: pa.RecordBatch, columns: Sequence[SqlColumn]) -> pa.RecordBatch:
    """The columns as the engine takes them."""
    if not columns:
        return batch
    arrays = [values_of(column, batch.column(at))[0] for at, column in enumerate(columns)]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])
