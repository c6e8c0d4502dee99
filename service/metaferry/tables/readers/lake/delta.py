"""A version of a Delta table as a stream of Arrow batches, through Delta's own library.

DataFusion reads the rows, since deletion vectors and column mapping, which Databricks turns on by itself, are
beyond what the library's Arrow dataset supports.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from metaferry.errors import JobError, MetaferryError
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.lake.failures import lake_error
from metaferry.tables.staging import quote_ident


class DeltaRows:
    """One version of a table. `open` first; `close` at the end.

    `url` is as the library takes it, `shown` for people; `options` are those of object_store.
    """

    def __init__(
        self,
        url: str,
        shown: str,
        options: Mapping[str, str],
        place: str,
        *,
        version: int | None = None,
        time: datetime | None = None,
    ) -> None:
        self._url = url
        self._shown = shown
        self._options = options
        self._place = place
        self._version = version
        self._time = time
        self._table: Any = None
        self._engine: Any = None

    @property
    def version(self) -> str:
        """The version that is read, for the report."""
        return f"version {self._table.version()}"

    def open(self) -> pa.Schema:
        """Reads the log; the columns of the table."""
        try:
            from deltalake import DeltaTable, QueryBuilder
        except ImportError:
            raise missing_extra("lake", f"{self._shown} is a Delta table", self._place) from None
        with self._errors():
            self._table = DeltaTable(self._url, version=self._version, storage_options=dict(self._options))
            if self._time is not None:
                self._go_to(self._time)
            self._engine = QueryBuilder().register("delta", self._table)
            reader = self._rows("SELECT * FROM delta LIMIT 0")
            schema: pa.Schema = reader.schema
            reader.close()
        return schema

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, of these columns, in the order in which they are read."""
        listed = ", ".join(map(quote_ident, columns)) or "1"
        with self._errors():
            reader = self._rows(f"SELECT {listed} FROM delta")
            for batch in reader:
                yield batch.select([]) if not columns and batch.num_columns else batch

    def close(self) -> None:
        """Forgets the table."""
        self._table = self._engine = None

    def cancel(self) -> bool:
        """False: nothing ends what the library has begun; its requests have timeouts of their own."""
        return False

    def _rows(self, query: str) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_stream(self._engine.execute(query))

    def _go_to(self, time: datetime) -> None:
        """The version that was the newest at a time. The library takes the first for any time before it."""
        self._table.load_as_version(time)
        made = self._table.history(1)
        since = made[0].get("timestamp") if made else None
        if since is not None and since > time.timestamp() * 1000:
            raise JobError(
                f"{self._shown} has no version that is as old as {time.isoformat()}",
                place=f"{self._place}.time",
                advice="name a later time, or a version; old ones go with the log's retention",
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MetaferryError:
            raise
        except Exception as error:  # noqa: BLE001 - the library's errors have no common root
            raise lake_error(error, self._shown, self._place, "Delta") from None
