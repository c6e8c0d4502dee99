"""What drivers give as columns that the engine takes: decimals, infinities, and types that are refused by
name."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from metaferry.tables.readers.sql.columns import column_of, values_of

INFINITE_DAY, MINUS_INFINITE_DAY = -(2**31) + 10_956, -(2**31) + 10_957
SECONDS = 946_684_800_000_000


def field(kind: pa.DataType, called: str, typmod: int | None = None) -> pa.Field:
    metadata = {"POSTGRESQL:type": called}
    if typmod is not None:
        metadata["POSTGRESQL:typmod"] = str(typmod)
    return pa.field("x", kind, metadata=metadata)


def numeric() -> pa.DataType:
    return pa.opaque(pa.string(), "numeric", "PostgreSQL")


@pytest.mark.parametrize(
    ("precision", "scale", "expected"),
    [
        (10, 2, pa.decimal128(10, 2)),
        (38, 38, pa.decimal128(38, 38)),
        (18, 0, pa.decimal128(18, 0)),
        (39, 2, pa.string()),  # more digits than the engine has
        (5, -2, pa.string()),  # rounded to hundreds
        (3, 5, pa.string()),  # 0.00123
    ],
)
def test_a_numeric_with_a_precision_has_that_type(precision: int, scale: int, expected: pa.DataType) -> None:
    modifier = (precision << 16 | scale & 0x7FF) + 4
    column = column_of(field(numeric(), "numeric", modifier))
    assert column.type == expected
    assert column.decimal is (expected == pa.string())


def test_a_numeric_without_one_is_text_whose_digits_are_counted_over_all_rows() -> None:
    column = column_of(field(numeric(), "numeric", -1))
    assert (column.type, column.decimal) == (pa.string(), True)


def test_decimals_are_exact_and_a_nan_is_named() -> None:
    column = column_of(field(numeric(), "numeric", (20 << 16 | 3) + 4))
    texts = pa.array(["12345678901234567.891", "nan", None, "-0.001"])
    values, bad = values_of(column, pa.ExtensionArray.from_storage(numeric(), texts))
    assert values.to_pylist() == [Decimal("12345678901234567.891"), None, None, Decimal("-0.001")]
    assert bad == {1: "nan"}


def test_infinite_dates_which_a_driver_gives_as_days_before_christ_are_named() -> None:
    days = pa.array([0, INFINITE_DAY, MINUS_INFINITE_DAY, None, -2_440_588], pa.int32()).view(pa.date32())
    values, bad = values_of(column_of(field(pa.date32(), "date")), days)
    assert values.view(pa.int32()).to_pylist() == [0, None, None, None, -2_440_588]
    assert bad == {1: "infinity", 2: "-infinity"}
    kind = pa.timestamp("us", "UTC")
    moments = pa.array([0, -(2**63) + SECONDS - 1, -(2**63) + SECONDS], pa.int64()).view(kind)
    values, bad = values_of(column_of(field(kind, "timestamptz")), moments)
    assert values.to_pylist() == [datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), None, None]
    assert bad == {1: "infinity", 2: "-infinity"}


@pytest.mark.parametrize(
    ("kind", "called", "instead"),
    [
        (pa.opaque(pa.binary(), "inet", "PostgreSQL"), "inet", "::text"),
        (pa.list_(numeric()), "_numeric", "::text"),
        (pa.struct([("a", pa.opaque(pa.binary(), "xml", "PostgreSQL"))]), "pair", "::text"),
        (pa.int64(), "money", "::numeric"),  # whole cents
        (pa.int32(), "oid", "::bigint"),  # signed
    ],
)
def test_a_type_that_cannot_be_loaded_is_refused_with_what_to_write_instead(
    kind: pa.DataType, called: str, instead: str
) -> None:
    column = column_of(field(kind, called))
    assert (column.refused, column.called, column.instead) == (True, called, instead)


def test_types_that_differ_in_form_alone_become_those_of_the_engine() -> None:
    assert column_of(pa.field("x", pa.large_string())).type == pa.string()
    assert column_of(pa.field("x", pa.string_view())).type == pa.string()
    assert column_of(pa.field("x", pa.dictionary(pa.int8(), pa.string()))).type == pa.string()
    assert column_of(pa.field("x", pa.timestamp("ms", "Europe/Berlin"))).type == pa.timestamp("ms", "UTC")
    assert column_of(pa.field("x", pa.json_())).type == pa.string()
    assert column_of(pa.field("x", pa.uuid())).type == pa.uuid()
    assert column_of(pa.field("x", pa.large_list(pa.large_string()))).type == pa.list_(pa.string())
    view = column_of(pa.field("x", pa.string_view()))
    assert values_of(view, pa.array(["a", None], pa.string_view()))[0] == pa.array(["a", None])
