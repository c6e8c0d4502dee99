"""A long statement ends when the run is to end."""

from __future__ import annotations

import duckdb
import pytest

from metaferry.errors import Interrupted
from metaferry.tables.query.interruptible import run_interruptible

#: Hours of work.
LONG = "CREATE TABLE t AS SELECT sum(sqrt(a.range * b.range)) AS s FROM range(10000000) a, range(10000000) b"


def test_it_is_interrupted_and_the_connection_serves_on() -> None:
    con = duckdb.connect()
    looks = []

    def still_wanted() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise Interrupted(2)

    with pytest.raises(Interrupted):
        run_interruptible(con, LONG, still_wanted)
    assert con.execute("SELECT 1").fetchall() == [(1,)]


def test_what_fails_in_the_engine_is_raised_here() -> None:
    with pytest.raises(duckdb.ConversionException):
        run_interruptible(duckdb.connect(), "SELECT 'a'::INTEGER", lambda: None)


def test_nobody_has_to_ask_for_a_short_statement() -> None:
    con = duckdb.connect()
    run_interruptible(con, "CREATE TABLE t AS SELECT 1 AS a", lambda: None)
    assert con.execute("SELECT a FROM t").fetchall() == [(1,)]
