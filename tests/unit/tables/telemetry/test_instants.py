"""Times of samples as nanoseconds: units, zones, text, and what is no time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pytest

from metaferry.job.readers.time_join import Unit
from metaferry.tables.telemetry.instants import Clock, kind_of, known_zone, unit_of

#: 2026-11-28T12:00:00.123456789Z.
NOON = 1_795_867_200_123_456_789


@pytest.fixture(scope="module")
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'").fetchall()
    return con


def instant(
    con: duckdb.DuckDBPyConnection, literal: str, unit: Unit | None = None, zone: str | None = None
) -> Any:
    con.execute(f"CREATE OR REPLACE TEMP TABLE x AS SELECT {literal} AS x").fetchall()
    ((_, type_, *_),) = con.execute("DESCRIBE x").fetchall()
    ((found,),) = con.execute(f"SELECT {Clock(type_, unit, zone).sql('x')} FROM x").fetchall()
    return found


@pytest.mark.parametrize(
    ("literal", "unit", "nanoseconds"),
    [
        ("1795867200", "s", NOON // 10**9 * 10**9),
        ("1795867200123::BIGINT", "ms", NOON // 10**6 * 10**6),
        ("1795867200123456::UBIGINT", "us", NOON // 10**3 * 10**3),
        ("1795867200123456789", "ns", NOON),
        ("1795867200.123456789::DECIMAL(19,9)", "s", NOON),
        ("1795867200123.456789::DECIMAL(28,6)", "ms", NOON),
        ("'1795867200.123456789'", "s", NOON),
        ("-1.5::DOUBLE", "s", -1_500_000_000),
        ("0.1::DOUBLE", "s", 100_000_000),
        ("'NaN'::DOUBLE", "s", None),
        ("1e300::DOUBLE", "s", None),
        ("170141183460469231731687303715884105727::HUGEINT", "s", None),
        ("'1e99'", "s", None),
        ("'soon'", "s", None),
        ("NULL::BIGINT", "s", None),
    ],
)
def test_numbers_are_exact_in_their_unit(
    con: duckdb.DuckDBPyConnection, literal: str, unit: Unit, nanoseconds: int | None
) -> None:
    assert instant(con, literal, unit) == nanoseconds


@pytest.mark.parametrize(
    "literal",
    [
        "'2026-11-28T12:00:00.123456789Z'",
        "'2026-11-28 13:00:00.123456789+01:00'",
        "'2026-11-28T17:45:00.123456789+05:45'",
        "'2026-11-28T11:00:00.123456789-01'",
        "'2026-11-28T06:30:00.123456789 -0530'",
        "'2026-11-28T12:00:00.123456789Z'::TIMESTAMPTZ_NS",
    ],
)
def test_what_says_its_zone_is_an_instant_whatever_the_zone_of_the_job(
    con: duckdb.DuckDBPyConnection, literal: str
) -> None:
    assert instant(con, literal) == instant(con, literal, zone="America/New_York") == NOON


@pytest.mark.parametrize("form", ["'{}'", "'{}'::TIMESTAMP_NS"])
@pytest.mark.parametrize(
    ("clock", "zone"),
    [
        ("2026-11-28T12:00:00.123456789", "UTC"),
        ("2026-11-28T13:00:00.123456789", "Europe/Berlin"),
        ("2026-11-28T17:45:00.123456789", "Asia/Kathmandu"),
        ("2026-11-28T17:45:00.123456789", "+05:45"),
        ("2026-11-28T06:30:00.123456789", "-05:30"),
    ],
)
def test_a_clock_without_a_zone_needs_one(
    con: duckdb.DuckDBPyConnection, form: str, clock: str, zone: str
) -> None:
    assert instant(con, form.format(clock), zone=zone) == NOON
    assert instant(con, form.format(clock)) is None


def test_an_hour_that_a_clock_shows_twice_is_the_second(con: duckdb.DuckDBPyConnection) -> None:
    second = instant(con, "'2026-10-25T02:30:00+01:00'")
    assert instant(con, "'2026-10-25T02:30:00'", zone="Europe/Berlin") == second
    leapt = instant(con, "'2026-03-29T01:30:00Z'")
    assert instant(con, "'2026-03-29T02:30:00'", zone="Europe/Berlin") == leapt


@pytest.mark.parametrize("literal", ["'yesterday'", "''", "NULL::VARCHAR", "'2026-02-30T00:00:00Z'"])
def test_what_is_no_time_is_none(con: duckdb.DuckDBPyConnection, literal: str) -> None:
    assert instant(con, literal, zone="UTC") is None


@pytest.mark.parametrize(
    ("least", "most", "unit"),
    [
        (1.7e9, 1.8e9, "s"),
        (1.7e12, 1.8e12, "ms"),
        (1.7e15, 1.8e15, "us"),
        (1.7e18, 1.8e18, "ns"),
        (0, 500, None),
        (0, 1.7e9, None),
        (1.7e9, 1.7e12, None),
    ],
)
def test_a_unit_is_told_by_the_magnitude_of_all_times_or_not_at_all(
    least: float, most: float, unit: Unit | None
) -> None:
    assert unit_of(least, most) == unit


def test_types_that_hold_no_times(con: duckdb.DuckDBPyConnection) -> None:
    assert [kind_of(one) for one in ("DATE", "TIME", "BOOLEAN", "INTERVAL")] == [None] * 4
    assert kind_of("DECIMAL(18,3)") == kind_of("UBIGINT") == "number"
    assert Decimal(NOON) == NOON  # digits that no double has


def test_zones_are_those_of_the_engine_with_advice_for_others(con: duckdb.DuckDBPyConnection) -> None:
    assert known_zone(con, "Europe/Berlin") == known_zone(con, "+02:00") == (True, "")
    assert known_zone(con, "Europe/Berlni") == (
        False,
        "Europe/Berlin or Europe/Dublin or Europe/Riga",
    )
