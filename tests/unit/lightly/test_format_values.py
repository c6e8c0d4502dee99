"""Values under a type: what passes, what it becomes, and what is refused."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from metaferry.lightly.values import SHAPES, Misfit, Scalar, Shape, ValueType, cast

INTEGERS = [kind for kind in ValueType if SHAPES[kind] is Shape.INTEGER]
STRINGS = [kind for kind in ValueType if SHAPES[kind] is Shape.STRING]


def same(left: Scalar, right: Scalar) -> bool:
    """Equal, of one type, and of one sign where they are zeros."""
    return type(left) is type(right) and repr(left) == repr(right)


@pytest.mark.parametrize("value_type", ValueType)
def test_a_missing_value_is_missing_under_every_type(value_type: ValueType) -> None:
    assert cast(None, value_type) is None


@pytest.mark.parametrize("value_type", INTEGERS)
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, 3),
        (3.0, 3),
        (-0.0, 0),
        (2**53, 2**53),
        (-(2**53), -(2**53)),
        (Decimal("3.00"), 3),
        ("3", 3),
        ("+3", 3),
        ("-3", -3),
        ("3.0", 3),
        ("3.", 3),
        ("007", 7),
        ("0" * 60 + "1", 1),
        ("-0", 0),
    ],
)
def test_whole_numbers(value: object, wanted: int, value_type: ValueType) -> None:
    assert same(cast(value, value_type), wanted)


@pytest.mark.parametrize("value_type", INTEGERS)
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, "type"),
        (3.5, "type"),
        (Decimal("3.5"), "type"),
        (Decimal("9007199254740991.5"), "type"),  # as a float it would be whole
        ("3.5", "type"),
        ("1e3", "type"),
        (" 3", "type"),
        ("3 ", "type"),
        ("1_000", "type"),
        ("0x10", "type"),
        ("٣", "type"),
        ("", "type"),
        ("-", "type"),
        (".0", "type"),
        ("true", "type"),
        ("n/a", "type"),
        (date(2026, 1, 2), "type"),
        ([1], "type"),
        ({}, "type"),
        (b"1", "type"),
        (2**53 + 1, "range"),
        (1_700_000_000_123_456_789, "range"),  # nanoseconds since 1970
        (1e300, "range"),
        ("9007199254740993", "range"),
        ("9" * 5000, "range"),
        ("-9007199254740993.0", "range"),
        (Decimal("9007199254740993.0"), "range"),
        (math.nan, "not_finite"),
        (math.inf, "not_finite"),
        (-math.inf, "not_finite"),
    ],
)
def test_what_is_no_whole_number(value: object, code: str, value_type: ValueType) -> None:
    with pytest.raises(Misfit) as caught:
        cast(value, value_type)
    assert caught.value.code == code
    assert caught.value.expected == "a whole number within ±2^53"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, 3.0),
        (2**53 + 1, float(2**53)),
        (0.1, 0.1),
        (Decimal("0.10"), 0.1),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("+1", 1.0),
        ("-0", -0.0),
        ("1e3", 1000.0),
        ("1E-05", 1e-5),
        ("1e-400", 0.0),
    ],
)
def test_numbers(value: object, wanted: float) -> None:
    assert same(cast(value, ValueType.NUMERIC_FLOAT), wanted)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (False, "type"),
        ("nan", "type"),
        ("inf", "type"),
        ("1_0", "type"),
        ("0x10", "type"),
        ("٣", "type"),
        (".", "type"),
        ("1e", "type"),
        ("--1", "type"),
        (" 1", "type"),
        ("1\n", "type"),
        ("1,5", "type"),
        ("1e400", "range"),
        ("-1e400", "range"),
        (10**400, "range"),
        (math.nan, "not_finite"),
        (Decimal("NaN"), "not_finite"),
        (math.inf, "not_finite"),
    ],
)
def test_what_is_no_number(value: object, code: str) -> None:
    with pytest.raises(Misfit) as caught:
        cast(value, ValueType.NUMERIC_FLOAT)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("value", "wanted"), [(True, True), (False, False), ("true", True), ("FALSE", False), ("True", True)]
)
def test_booleans(value: object, wanted: bool) -> None:
    assert cast(value, ValueType.CATEGORICAL_BOOLEAN) is wanted


@pytest.mark.parametrize("value", [0, 1, 1.0, "0", "1", "yes", "t", "", " true", "falſe"])
def test_what_is_no_boolean(value: object) -> None:
    with pytest.raises(Misfit, match="type"):
        cast(value, ValueType.CATEGORICAL_BOOLEAN)


@pytest.mark.parametrize("value_type", STRINGS)
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", ""),
        ("undefined", "undefined"),
        (" a ", " a "),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5, 60), "2026-01-02T03:04:05.00006"),
        (time(3, 4), "03:04:00"),
    ],
)
def test_text(value: object, wanted: str, value_type: ValueType) -> None:
    assert cast(value, value_type) == wanted


@pytest.mark.parametrize("value_type", STRINGS)
@pytest.mark.parametrize("value", [0, 1.5, True, Decimal("1.5"), ["a"], {"a": 1}, b"a"])
def test_what_is_no_text(value: object, value_type: ValueType) -> None:
    with pytest.raises(Misfit, match="type"):
        cast(value, value_type)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02",
        "2026-01-02T03:04",
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05.123456789Z",
        "2024-02-29T00:00:00+02:30",
        "2026-01-02T03:04:05+02",
    ],
)
def test_dates_and_times_stay_as_they_are_written(text: str) -> None:
    assert cast(text, ValueType.CATEGORICAL_DATETIME) == text


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-29",
        "0000-01-01",
        "2026-13-01",
        "2026-1-2",
        "02.01.2026",
        "20260102",
        "2026-01-02T24:00",
        "2026-01-02T03:04:60",
        "2026-01-02 ",
        "2026-01-02\n",
        "03:04:05",
        "yesterday",
        1_700_000_000,
        time(3, 4),
    ],
)
def test_what_is_no_date(value: object) -> None:
    with pytest.raises(Misfit, match="type"):
        cast(value, ValueType.CATEGORICAL_DATETIME)
