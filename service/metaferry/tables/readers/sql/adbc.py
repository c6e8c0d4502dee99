"""A query through a driver of ADBC, as a stream of Arrow batches.

PostgreSQL, SQLite, and whatever else has a driver that is installed (Snowflake, BigQuery, Flight SQL …). The
drivers are an extra and are imported when a job asks for one.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from metaferry.errors import JobError, MetaferryError
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.sql.failures import translated
from metaferry.tables.readers.sql.sqlite import typed_query
from metaferry.tables.readers.sql.target import Target

log = logging.getLogger(__name__)

#: What a transaction of PostgreSQL is told before the query. Not the session: behind a pooler, another client
#: would find it changed.
_POSTGRESQL: Final = (
    "SET TRANSACTION READ ONLY",
    "SET LOCAL TIME ZONE 'UTC'",  # what a query makes text of does not depend on the server's zone
    "SET LOCAL client_encoding TO 'UTF8'",
)
_READ_ONLY: Final = "adbc.connection.readonly"


class AdbcRows:
    """The result of a query. `open` before `batches`; `close` at the end, whatever happened.

    `cancel` may be called from another thread and ends what is under way.
    """

    def __init__(self, target: Target, query: str, place: str) -> None:
        self._target = target
        self._query = query.strip().rstrip(";").rstrip()
        self._place = place
        self._stack = contextlib.ExitStack()
        self._cursor: Any = None
        self._reader: Any = None
        self._empty: frozenset[int] = frozenset()

    def open(self) -> pa.Schema:
        """Connects and runs the query; the columns of its result. Raises JobError, Denied, Unavailable."""
        with self._errors():
            connection = self._stack.enter_context(self._connect())
            cursor = self._stack.enter_context(connection.cursor())
            self._cursor = cursor
            if self._target.kind == "postgresql":
                for statement in _POSTGRESQL:
                    cursor.execute(statement)
            elif self._target.kind == "adbc":
                self._ask_for_read_only(connection)
            self._execute(cursor)
            return self._without_mark(self._reader.schema)

    def _execute(self, cursor: Any) -> None:
        query = self._query
        if self._target.kind == "sqlite":
            query, self._empty = typed_query(cursor, query)
        # COPY would end in a comment of its last line.
        cursor.execute(f"{query}\n")
        # The reader of the cursor tells SQLSTATEs of what fails in the middle; the one that is public does
        # not.
        own = getattr(getattr(cursor, "_results", None), "reader", None)
        self._reader = own if hasattr(own, "read_next_batch") else cursor.fetch_record_batch()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in the order in which the database gives them."""
        marked = self._target.kind == "sqlite"
        with self._errors():
            while True:
                try:
                    batch = self._reader.read_next_batch()
                except StopIteration:
                    return
                if marked:
                    batch = batch.filter(pc.equal(batch.column(batch.num_columns - 1), 1))
                    columns = [
                        pa.nulls(batch.num_rows) if at in self._empty else batch.column(at)
                        for at in range(batch.num_columns - 1)
                    ]
                    batch = pa.RecordBatch.from_arrays(columns, schema=self._without_mark(batch.schema))
                yield batch

    def _without_mark(self, schema: pa.Schema) -> pa.Schema:
        """The columns of the query. Those of SQLite without any value have no type."""
        if self._target.kind != "sqlite":
            return schema
        fields = [
            pa.field(schema.names[at], pa.null() if at in self._empty else schema.types[at])
            for at in range(len(schema) - 1)
        ]
        return pa.schema(fields)

    def cancel(self) -> bool:
        """Ends a statement that is under way. False where the driver cannot, as that of SQLite."""
        from adbc_driver_manager import NotSupportedError

        cursor = self._cursor
        if cursor is not None:
            try:
                cursor.adbc_cancel()
            except NotSupportedError:
                return False
            except Exception:  # noqa: BLE001 - it has ended, or the driver has
                return True
        return True

    def close(self) -> None:
        """Rolls back and disconnects. What was found out is not lost by a connection that cannot be ended."""
        with contextlib.suppress(Exception):
            self._stack.close()

    def _connect(self) -> Any:
        target = self._target
        try:
            from adbc_driver_manager import dbapi
        except ImportError:
            raise missing_extra("sql", f"{target.shown} is read through ADBC", self._place) from None
        driver, entrypoint = _library(target, self._place)
        options: dict[str, str] = {"uri": target.uri} if target.uri else {}
        return dbapi.connect(driver=driver, entrypoint=entrypoint, db_kwargs={**options, **target.options})

    def _ask_for_read_only(self, connection: Any) -> None:
        import adbc_driver_manager

        try:
            connection.adbc_connection.set_options(**{_READ_ONLY: "true"})
        except adbc_driver_manager.Error:
            log.info(
                "%s: its driver knows no sessions that only read; use an account that may only read",
                self._target.shown,
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MetaferryError:
            raise
        except Exception as error:
            if _is_of_the_driver(error):
                raise translated(error, self._target, self._place) from None
            raise


def _is_of_the_driver(error: Exception) -> bool:
    """Whether a driver raised it. Some raise plain OSErrors in the middle of a result."""
    import adbc_driver_manager

    return isinstance(error, adbc_driver_manager.Error | OSError | pa.ArrowException)


def _library(target: Target, place: str) -> tuple[str, str | None]:
    """Where the library of a driver is, and how it is entered. Raises JobError for one that is not there."""
    name = target.driver
    if not name.isidentifier():
        return name, None
    try:
        module: Any = importlib.import_module(name)
    except ImportError:
        if not name.startswith("adbc_driver_"):
            return name, None  # the manager knows libraries by other names
        if name in ("adbc_driver_postgresql", "adbc_driver_sqlite"):
            raise missing_extra("sql", f"{target.shown} is read through {name}", place) from None
        raise JobError(
            f"{target.shown} is read by the driver {name}, which is not installed",
            place=place,
            advice=f"pip install 'metaferry[sql]' {name.replace('_', '-')}",
        ) from None
    path: Mapping[str, Any] = vars(module)
    if "_driver_path" not in path:
        raise JobError(f"{name} is no driver of ADBC", place=f"{place}.driver")
    return str(module._driver_path()), None
