"""Samples as the join takes them: an instant in nanoseconds, the video that is named, clean values.

What has no time is rejected by name here, and so is a latitude that there is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.readers.time_join import Joined, Unit, nanoseconds
from metaferry.job.sources import Source
from metaferry.tables.expressions import Expression, parse_expression, parser
from metaferry.tables.mapping import Mapping, build_records
from metaferry.tables.model import KeyColumn, Staged, folded
from metaferry.tables.records.frames import INTEGERS
from metaferry.tables.staging import Findings, quote_text
from metaferry.tables.telemetry.instants import (
    Clock,
    has_zone,
    is_number,
    kind_of,
    known_zone,
    unit_of,
    within,
)
from metaferry.tables.telemetry.join import JoinedColumn
from metaferry.tables.telemetry.parsed import DEFAULT_TIMES, SampleMapping

if TYPE_CHECKING:
    import duckdb

#: What stands for the key paths of values that are no values.
_TIMES: Final = ("the time of a sample", "the local time of a sample", "the elapsed time of a sample")
_START: Final = "the start of a video"
_LATITUDES: Final = frozenset({"lat", "latitude"})
_LONGITUDES: Final = frozenset({"lon", "lng", "long", "longitude"})


@dataclass(frozen=True, slots=True)
class SampleTable:
    """Samples in the engine: the table `name(file, row, given, t, start_at, v0, v1 …)`, `t` and `start_at`
    in nanoseconds; `keys` are the values, by the key path of each. `rejected` rows are in `rejects`."""

    name: str
    values: tuple[JoinedColumn, ...]
    keys: tuple[tuple[str, ...], ...]
    rejected: int


def make_samples(
    con: duckdb.DuckDBPyConnection,
    staged: Staged,
    mapping: SampleMapping,
    source: Source,
    *,
    table: str,
    label: str,
    is_query: bool,
) -> SampleTable:
    """The table of samples. Raises JobError for expressions, units and zones that do not fit them."""
    assert source.start is not None  # the job has checked it
    relative = source.start.from_ in ("zero", "first_sample")
    for zone, place in ((source.time.zone, "time.zone"), (source.start.zone, "start.zone")):
        _check_zone(con, zone, f"{mapping.place}.{place}")
    findings = Findings(con, label)
    times = _times(staged, mapping, only_elapsed=source.start.from_ == "zero")
    entries: list[tuple[tuple[str, ...], Expression]] = [((name,), expression) for name, expression in times]
    if mapping.start is not None:
        entries.append(((_START,), mapping.start))
    entries += [(path, expression) for path, expression, _ in mapping.values]
    records = build_records(
        con,
        staged,
        Mapping(
            where=mapping.where,
            file_name=mapping.video or _constant("''", f"{mapping.place}.video"),
            frame=None,
            values=tuple(entries),
            place=mapping.place,
        ),
        table=f"{table}_read",
        source=label,
        findings=findings,
    )
    by_path = {key.path: key for key in records.keys}
    has_rows = staged.read > staged.malformed
    reader = _Times(con, f"{table}_read", mapping, findings, source.time.unit, source.time.zone, relative)
    columns = [by_path[(name,)] for name, _ in times if (name,) in by_path]
    instants = [reader.sql(column, at) for at, column in enumerate(columns)] if has_rows else []
    start = "NULL::BIGINT"
    if mapping.start is not None and has_rows:
        starts = _Times(con, f"{table}_read", mapping, findings, source.start.unit, source.start.zone, False)
        start = within(starts.sql(by_path[(_START,)], 0, place="start.column"))
    values, keys, listed = list[JoinedColumn](), list[tuple[str, ...]](), list[str]()
    for key in records.keys:
        joined = next((one for path, _, one in mapping.values if key.path[: len(path)] == path), None)
        if joined is None or key.path[0] in (*_TIMES, _START):
            continue
        expression = next(one for path, one, _ in mapping.values if key.path[: len(path)] == path)
        column = _column(key, joined, expression, len(values), has_rows=has_rows)
        listed.append(f"{column.sample_sql(key.column)} AS {column.column}")
        values.append(column)
        keys.append(key.path)
    t = f"coalesce({', '.join(map(within, instants))})" if instants else "NULL::BIGINT"
    shown = f"coalesce({', '.join(f'{column.column}::VARCHAR' for column in columns)})" if columns else "NULL"
    con.execute(
        f"CREATE TABLE {table} AS SELECT *, CASE WHEN t IS NULL THEN shown_time END AS shown, "
        f"t IS NULL AND has_no_zone AS naive FROM (SELECT file, \"row\", nullif(file_name, '') AS given, "
        f"{t} AS t, {start} AS start_at, {shown}::VARCHAR AS shown_time, "
        f"{_naive(columns, reader.zone)} AS has_no_zone, {', '.join(listed)} FROM {table}_read)"
    ).fetchall()
    for name in ("shown_time", "has_no_zone"):
        con.execute(f"ALTER TABLE {table} DROP COLUMN {name}").fetchall()
    found = _Rejects(con, table, label, staged, is_query=is_query)
    found.without_time()
    swapped = _swapped(values, keys)
    if swapped is not None:
        found.no_latitude(swapped)
    con.execute(
        f"DROP VIEW IF EXISTS {table}_read" if records.is_view else f"DROP TABLE {table}_read"
    ).fetchall()
    findings.flush()
    return SampleTable(table, tuple(values), tuple(keys), found.count)


def _times(staged: Staged, mapping: SampleMapping, *, only_elapsed: bool) -> list[tuple[str, Expression]]:
    """The expressions that may have the time of a sample, the first that has one counting."""
    if mapping.time is not None:
        return [(_TIMES[0], mapping.time)]
    known = {folded(column.name): column.name for column in staged.columns}
    names = [name for name in DEFAULT_TIMES if name in known]
    if "local_time" in known and "elapsed_ns" in known:  # a telemetry format
        names = ["elapsed_ns"] if only_elapsed else names
    return [
        (_TIMES[at], mapping.plain(known.get(name, name), "time"))
        for at, name in enumerate(names or DEFAULT_TIMES[:1])
    ]


def _constant(text: str, place: str) -> Expression:
    with parser() as con:
        return parse_expression(text, place, con)


def _check_zone(con: duckdb.DuckDBPyConnection, zone: str | None, place: str) -> None:
    if zone is None:
        return
    is_known, near = known_zone(con, zone)
    if not is_known:
        raise JobError(
            f"there is no time zone {zone!r}",
            place=place,
            advice=f"did you mean {near}?"
            if near
            else "write UTC, Europe/Berlin, or an offset such as +02:00",
        )


class _Times:
    """The instants of columns, by unit and zone."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        table: str,
        mapping: SampleMapping,
        findings: Findings,
        unit: Unit | None,
        zone: str | None,
        relative: bool,
    ) -> None:
        self._con = con
        self._table = table
        self._mapping = mapping
        self._findings = findings
        self._unit = unit
        #: A clock that is set back to zero needs none.
        self.zone = zone if zone is not None or not relative else "UTC"

    def sql(self, column: KeyColumn, at: int, *, place: str = "time") -> str:
        """SQL of a column as nanoseconds. `at`: its position among those that may have the time."""
        name = column.path[0]
        if name == _TIMES[2]:
            return f"{column.column}::BIGINT"
        kind = kind_of(column.type)
        where = f"{self._mapping.place}.{place}"
        if kind is None:
            raise JobError(
                f"{name} cannot be {column.type}",
                place=where,
                advice="give a timestamp, ISO 8601 text, or a number with its unit",
            )
        unit = self._unit
        if kind == "number" and unit is None:
            unit = self._unit_of_numbers(column, name, where)
        if kind == "clock" and self.zone is None and at == 0:
            raise JobError(
                f"{name} says no zone (it is {column.type})",
                place=where,
                advice=f"say which clock: {place.partition('.')[0]}: {{…, zone: UTC}}, or Europe/Berlin …",
            )
        return Clock(column.type, unit, self.zone).sql(column.column)

    def _unit_of_numbers(self, column: KeyColumn, name: str, place: str) -> Unit:
        """The unit that the magnitude of all numbers tells."""
        ((least, most),) = self._con.execute(
            f"SELECT min({column.column})::DOUBLE, max({column.column})::DOUBLE FROM {self._table}"
        ).fetchall()
        if least is None:
            return "s"
        unit = unit_of(least, most)
        if unit is None:
            raise JobError(
                f"{name} is a number from {least:.15g} to {most:.15g}, which may be in several units",
                place=place,
                advice=f"state it: {place.rpartition('.')[2]}: {{…, unit: s}}, or ms, us, ns",
            )
        self._findings.add(
            Code.TELEMETRY_UNIT,
            "info",
            f"{name} has no unit, and is read in {unit}: in no other are numbers from {least:.15g} to "
            f"{most:.15g} times between 1990 and 2100",
            advice=f"write unit: {unit}, so that it stays so",
        )
        return unit


def _column(
    key: KeyColumn, joined: Joined, expression: Expression, number: int, *, has_rows: bool
) -> JoinedColumn:
    kind = key.type
    is_number = kind in INTEGERS | {"FLOAT", "DOUBLE", '"NULL"'} or kind.startswith("DECIMAL")
    if joined.how in ("linear", "angular") and has_rows and not is_number:
        advice = f"write try_cast({expression.text} AS DOUBLE), or take it from a sample: nearest, previous"
        raise expression.fault(f"{joined.how} is for numbers, and this is {kind}", advice=advice)
    kind = "VARCHAR" if kind == '"NULL"' else kind
    gap = nanoseconds(joined.max_gap or "1s")
    return JoinedColumn(f"v{number}", kind, joined.how, gap)


def _swapped(values: Sequence[JoinedColumn], keys: Sequence[tuple[str, ...]]) -> JoinedColumn | None:
    """The column of the latitude, where there is one of the longitude beside it."""
    names = {path[-1].lower(): (path[:-1], column) for path, column in zip(keys, values, strict=True)}
    for name in _LATITUDES & names.keys():
        above, column = names[name]
        if column.is_number and any(names[other][0] == above for other in _LONGITUDES & names.keys()):
            return column
    return None


class _Rejects:
    """Takes samples out of the table, and names them."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, table: str, label: str, staged: Staged, *, is_query: bool
    ) -> None:
        self.count = 0
        self._con = con
        self._table = table
        self._label = label
        self._is_query = is_query
        self._files = staged.files

    def without_time(self) -> None:
        self._add(
            "t IS NULL",
            "shown",
            code=f"CASE WHEN naive THEN '{Code.TELEMETRY_NO_ZONE}' ELSE '{Code.TELEMETRY_BAD_TIME}' END",
            column="time",
            expected="a time with its zone",
            message="CASE WHEN naive THEN 'the time ' || left(shown, 200) || ' says no zone' "
            "WHEN shown IS NULL THEN 'the sample has no time' "
            "ELSE '\"' || left(shown, 200) || '\" is no time' END",
        )

    def no_latitude(self, column: JoinedColumn) -> None:
        self._add(
            f"abs({column.column}) > 90",
            f"{column.column}::VARCHAR",
            code=quote_text(Code.TELEMETRY_SWAPPED),
            column="lat",
            expected="-90 to 90",
            message=f"'there is no latitude ' || {column.column}::VARCHAR",
        )

    def _add(
        self, condition: str, shown: str, *, code: str, column: str, expected: str, message: str
    ) -> None:
        where = f" WHERE {condition}"
        ((count,),) = self._con.execute(f"SELECT count(*) FROM {self._table}{where}").fetchall()
        if not count:
            return
        urls = ", ".join(f"({at}, {quote_text(file.url)})" for at, file in enumerate(self._files))
        row = "NULL" if self._is_query else 'x."row"'
        self._con.execute(
            f"INSERT INTO rejects SELECT {quote_text(self._label)}, coalesce(f.url, ''), {row}, {code}, "
            f"'{column}', left({shown}, 200), '{expected}', {message} FROM {self._table} x "
            f"LEFT JOIN (VALUES {urls or '(-1, NULL)'}) f(file, url) ON f.file = x.file{where}"
        ).fetchall()
        self._con.execute(f"DELETE FROM {self._table}{where}").fetchall()
        self.count += int(count)


def _naive(columns: Sequence[KeyColumn], zone: str | None) -> str:
    """SQL of whether a time is one of a clock, whose zone nobody said."""
    found = ["false"]
    for column in columns if zone is None else ():
        kind, value = kind_of(column.type), column.column
        if kind == "clock":
            found.append(f"{value} IS NOT NULL")
        if kind == "text":
            found.append(
                f"(TRY_CAST({value} AS TIMESTAMP) IS NOT NULL AND NOT {has_zone(value)} "
                f"AND NOT {is_number(value)})"
            )
    return f"coalesce({' OR '.join(found)}, false)"
