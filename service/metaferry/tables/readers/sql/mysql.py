"""A query to MySQL or MariaDB as a stream of Arrow batches: rows as the server sends them, through PyMySQL.

The texts of a batch become columns at once, not value by value. PyMySQL is an extra.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from metaferry.errors import JobError
from metaferry.tables.readers.extras import missing_extra
from metaferry.tables.readers.sql.failures import translated
from metaferry.tables.readers.sql.target import Target, mysql_arguments

#: Rows of a batch.
_ROWS: Final = 16_384
#: What the session is told. TIMESTAMPs are instants, which the server sends in the zone of the session; and
#: it should wait while rows are written into the engine.
_SESSION: Final = (
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION net_write_timeout = 3600",
    "START TRANSACTION READ ONLY",
)
#: The character set that stands for bytes: https://mariadb.com/kb/en/result-set-packets/
_BINARY: Final = 63
_UNSIGNED: Final = 32
_MAX_DIGITS: Final = 38


class MysqlColumn(NamedTuple):
    """A column of a result: its type, what of it arrives (text or bytes), and what the server calls its type.

    `is_decimal`: a DECIMAL that may have more digits than any type of the engine, as text.
    """

    name: str
    type: pa.DataType
    arrives: pa.DataType
    called: str
    is_decimal: bool


class MysqlRows:
    """The result of a query; as `adbc.AdbcRows`."""

    def __init__(self, target: Target, query: str, place: str) -> None:
        self._target = target
        self._query = query.strip().rstrip(";").rstrip()
        self._place = place
        self._arguments = mysql_arguments(target, place)
        self._connection: Any = None
        self._cursor: Any = None
        self._thread = 0
        self.columns: list[MysqlColumn] = []

    def open(self) -> pa.Schema:
        """Connects and runs the query; the columns of its result."""
        try:
            import pymysql
        except ImportError:
            raise missing_extra(
                "mysql", f"{self._target.shown} is read through PyMySQL", self._place
            ) from None
        with self._errors():
            self._connection = self._connect(pymysql)
            self._thread = int(self._connection.thread_id())
            with self._connection.cursor() as cursor:
                for statement in _SESSION:
                    cursor.execute(statement)
            self._cursor = self._connection.cursor()
            self._cursor.execute(self._query)
            result = self._cursor._result  # the description of DB-API has no flags and no character set
            if not getattr(result, "fields", None):
                raise JobError(
                    f"{self._target.shown}: the query has no result",
                    place=f"{self._place}.query",
                    advice="ask with one SELECT",
                )
            self.columns = [_column(one) for one in result.fields]
        return pa.schema([(each.name, each.type) for each in self.columns])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they arrive: `typed` makes values of them, or tells what is none."""
        arriving = pa.schema([(each.name, each.arrives) for each in self.columns])
        with self._errors():
            while rows := self._cursor.fetchmany(_ROWS):
                columns = zip(zip(*rows, strict=True), arriving.types, strict=True)
                arrays = [pa.array(values, kind) for values, kind in columns]
                yield pa.RecordBatch.from_arrays(arrays, schema=arriving)

    def cancel(self) -> bool:
        """Has the server end the query."""
        if not self._thread:
            return True
        with contextlib.suppress(Exception):
            import pymysql

            other = self._connect(pymysql)
            try:
                with other.cursor() as cursor:
                    cursor.execute(f"KILL QUERY {self._thread}")
            finally:
                other.close()
        return True

    def close(self) -> None:
        """Disconnects. Cursor and result would read the rest of the rows first, also when they are
        deleted."""
        if self._cursor is not None:
            if self._cursor._result is not None:
                self._cursor._result.unbuffered_active = False
            self._cursor.connection = None
        if self._connection is not None:
            self._connection._force_close()

    def _connect(self, pymysql: Any) -> Any:
        from pymysql.cursors import SSCursor

        arguments: dict[str, Any] = {"connect_timeout": 30, **self._arguments}
        # No converters: values are the texts that the server sends.
        return pymysql.connect(charset="utf8mb4", cursorclass=SSCursor, conv={}, autocommit=True, **arguments)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        import pymysql

        try:
            yield
        except (pymysql.err.Error, OSError, UnicodeError) as error:
            raise translated(error, self._target, self._place) from None


def typed(column: MysqlColumn, texts: pa.Array) -> tuple[pa.Array, list[int]]:
    """The values of a column, and the positions of those that are none of its type, which are null."""
    if column.called == "bit":
        numbers = [None if each is None else int.from_bytes(each, "big") for each in texts.to_pylist()]
        return pa.array(numbers, column.type), []
    if texts.type == column.type:
        return texts, []
    if pa.types.is_null(column.type):
        return pa.nulls(len(texts)), []
    try:
        return _cast(texts, column.type), []
    except pa.ArrowInvalid:
        bad = [at for at in range(len(texts)) if not _fits(texts[at : at + 1], column.type)]
        wrong = set(bad)
        kept = [None if at in wrong else text for at, text in enumerate(texts.to_pylist())]
        return _cast(pa.array(kept, texts.type), column.type), bad


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Texts as values. Instants are in the zone of the session, which is UTC."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return texts.cast(pa.timestamp(kind.unit)).cast(kind)
    return texts.cast(kind)


def _fits(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        _cast(texts, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _column(field: Any) -> MysqlColumn:
    """A column by what the server says of it: type, length in bytes, digits, flags, character set."""
    from pymysql.constants import FIELD_TYPE

    unsigned = bool(field.flags & _UNSIGNED)
    code = field.type_code
    called = next((key for key, value in vars(FIELD_TYPE).items() if value == code), str(code)).lower()
    integers = {
        FIELD_TYPE.TINY: (pa.int8(), pa.uint8()),
        FIELD_TYPE.SHORT: (pa.int16(), pa.uint16()),
        FIELD_TYPE.INT24: (pa.int32(), pa.uint32()),
        FIELD_TYPE.LONG: (pa.int32(), pa.uint32()),
        FIELD_TYPE.LONGLONG: (pa.int64(), pa.uint64()),
        FIELD_TYPE.YEAR: (pa.int16(), pa.int16()),
    }
    others = {
        # As doubles, which hold the digits that the server prints.
        FIELD_TYPE.FLOAT: pa.float64(),
        FIELD_TYPE.DOUBLE: pa.float64(),
        FIELD_TYPE.DATE: pa.date32(),
        FIELD_TYPE.NEWDATE: pa.date32(),
        FIELD_TYPE.DATETIME: pa.timestamp("us"),
        FIELD_TYPE.TIMESTAMP: pa.timestamp("us", "UTC"),
        FIELD_TYPE.NULL: pa.null(),
        FIELD_TYPE.JSON: pa.string(),
        FIELD_TYPE.TIME: pa.string(),  # from -838:59:59 to 838:59:59: no time of a day
    }
    if code in integers:
        return MysqlColumn(field.name, integers[code][unsigned], pa.string(), called, False)
    if code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        digits = max(field.length - (not unsigned) - bool(field.scale), 1)
        long = digits > _MAX_DIGITS
        kind = pa.string() if long else pa.decimal128(digits, field.scale)
        return MysqlColumn(field.name, kind, pa.string(), called, long)
    if code in others:
        return MysqlColumn(field.name, others[code], pa.string(), called, False)
    if code == FIELD_TYPE.BIT:
        return MysqlColumn(field.name, pa.uint64(), pa.binary(), called, False)
    is_bytes = code == FIELD_TYPE.GEOMETRY or field.charsetnr == _BINARY
    kind = pa.binary() if is_bytes else pa.string()
    return MysqlColumn(field.name, kind, kind, called, False)
