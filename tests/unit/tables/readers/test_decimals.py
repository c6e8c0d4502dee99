"""Decimals of unknown length: the type that holds most of them, nothing rounded, and the others named."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.findings import Code
from metaferry.tables.model import FILE, ROW
from metaferry.tables.readers.decimals import DIGITS, best_scale, fit_decimals


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def fitted(con: duckdb.DuckDBPyConnection, texts: list[str | None]) -> tuple[str, list[Any], dict[int, str]]:
    """The type, the values in the order of rows, and the rejected rows with their values."""
    con.execute(f"CREATE OR REPLACE TABLE t ({FILE} INTEGER, {ROW} BIGINT, v VARCHAR)")
    if texts:
        rows = [(row, text) for row, text in enumerate(texts, 1)]
        con.executemany("INSERT INTO t VALUES (0, ?, ?)", rows)
    rejected = {}

    def reject(place: int, message: str, *, value: str, column: str, code: Code, **more: Any) -> None:
        assert (column, code) == ("exact", Code.VALUE_RANGE)
        rejected[place] = value

    fit_decimals(con, "t", "v", "exact", reject)
    ((kind,),) = con.execute("SELECT DISTINCT typeof(v) FROM t").fetchall() or [("",)]
    values = [row[0] for row in con.execute(f"SELECT v FROM t ORDER BY {ROW}").fetchall()]
    return kind, values, rejected


@pytest.mark.parametrize(
    ("texts", "kind", "bad"),
    [
        (["1.50", "-0.25", None], "DECIMAL(38,2)", {}),
        (["7", "1000000000000000000000"], "DECIMAL(38,0)", {}),
        (["0.5", "NaN", "inf", "-Infinity", "1e5", "", "-", "."], "DECIMAL(38,1)", {2, 3, 4, 5, 6, 7, 8}),
        (["0.1", "9" * 38, "0.2"], "DECIMAL(38,1)", {2}),
        (["9" * 38, "8" * 38, "0.2"], "DECIMAL(38,0)", {3}),
        (["0." + "0" * 37 + "1", "1", "2"], "DECIMAL(38,0)", {1}),
        (["1." + "3" * 60], "DECIMAL(38,0)", {1}),
        (["00012.3400", "12.34"], "DECIMAL(38,2)", {}),
    ],
)
def test_the_scale_is_the_one_with_which_most_rows_fit(
    con: duckdb.DuckDBPyConnection, texts: list[str | None], kind: str, bad: set[int]
) -> None:
    found, values, rejected = fitted(con, texts)
    assert set(rejected) == set(bad)
    assert {row: texts[row - 1] for row in bad} == rejected
    assert found in (kind, "")
    kept = [text for row, text in enumerate(texts, 1) if row not in bad]
    assert values == [None if text is None else Decimal(text) for text in kept]


def test_columns_without_any_value_have_a_type_too(con: duckdb.DuckDBPyConnection) -> None:
    assert fitted(con, [None, None])[:2] == ("DECIMAL(38,0)", [None, None])


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=None).map(lambda d: f"{d:f}")))
def test_what_is_kept_is_the_same_number_and_everything_else_is_rejected(texts: list[str]) -> None:
    with duckdb.connect() as connection:
        _, values, rejected = fitted(connection, list(texts))
    kept = [Decimal(text) for row, text in enumerate(texts, 1) if row not in rejected]
    assert values == kept
    assert len(values) + len(rejected) == len(texts)


def test_of_two_scales_that_hold_as_many_rows_the_smaller_one_is_taken() -> None:
    assert best_scale({(DIGITS, 0): 1, (0, DIGITS): 1}) == 0
    assert best_scale({(3, 2): 5, (20, 18): 1}) == 18
    assert best_scale({(3, 2): 5, (30, 18): 1}) == 2
    assert best_scale({}) == 0
