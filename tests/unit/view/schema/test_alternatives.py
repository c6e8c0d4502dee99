"""What else an entry could be: named only where it would be right."""

from __future__ import annotations

from typing import Any

import pytest

from metaferry.lightly.schema import Observed, ValueType
from metaferry.lightly.values import Misfit, cast
from metaferry.view.schema.alternatives import FEW, MANY, alternatives
from metaferry.view.schema.profile import Profile, Value

T = ValueType


def column(values: list[Any], observed: Observed, expression: str = "x") -> Profile:
    """The figures of a column with these values, by the rules of the format."""

    def misfits(value_type: ValueType) -> int:
        found = 0
        for value in values:
            try:
                cast(value, value_type)
            except Misfit:
                found += 1
        return found

    kinds = (
        T.NUMERIC_INT,
        T.NUMERIC_FLOAT,
        T.CATEGORICAL_BOOLEAN,
        T.CATEGORICAL_STRING,
        T.CATEGORICAL_DATETIME,
    )
    examples = tuple(Value(value, values.count(value)) for value in sorted(set(values))[:3])
    return Profile(
        source="t.csv",
        name=expression,
        expression=expression,
        mapped=True,
        type="",
        observed=observed,
        rows=len(values),
        nulls=0,
        distinct=len(set(values)),
        minimum=min(values),
        maximum=max(values),
        examples=examples,
        not_finite=0,
        unfit={kind: misfits(kind) for kind in kinds},
    )


def types(value_type: ValueType, *columns: Profile) -> list[ValueType]:
    return [each.type for each in alternatives("x", value_type, columns)]


@pytest.mark.parametrize(
    ("values", "observed", "value_type", "wanted"),
    [
        (
            [0, 1, 1],
            Observed.INTEGER,
            T.NUMERIC_INT,
            [T.CATEGORICAL_BOOLEAN, T.CATEGORICAL_INT, T.NUMERIC_FLOAT],
        ),
        ([0, 2], Observed.INTEGER, T.NUMERIC_INT, [T.CATEGORICAL_INT, T.NUMERIC_FLOAT]),
        ([*range(FEW + 1)], Observed.INTEGER, T.NUMERIC_INT, [T.NUMERIC_FLOAT]),
        ([2, 5], Observed.INTEGER, T.CATEGORICAL_INT, [T.NUMERIC_INT, T.NUMERIC_FLOAT]),
        (
            [*range(1_700_000_000, 1_700_000_000 + FEW + 1)],
            Observed.INTEGER,
            T.NUMERIC_INT,
            [T.CATEGORICAL_TIMESTAMP, T.NUMERIC_FLOAT],
        ),
        ([1, 2**53 + 2], Observed.INTEGER, T.NUMERIC_INT, [T.OTHER_STRING]),
        ([1.0, 3.0], Observed.FLOAT, T.NUMERIC_FLOAT, [T.NUMERIC_INT]),
        ([1.0, 3.5], Observed.FLOAT, T.NUMERIC_FLOAT, []),
        ([True, False], Observed.BOOLEAN, T.CATEGORICAL_BOOLEAN, []),
        (["day", "night", "day"], Observed.STRING, T.CATEGORICAL_STRING, []),
        (["1", "2"], Observed.STRING, T.CATEGORICAL_STRING, [T.NUMERIC_INT]),
        (["1", "2.5"], Observed.STRING, T.CATEGORICAL_STRING, [T.NUMERIC_FLOAT]),
        (["True", "false"], Observed.STRING, T.CATEGORICAL_STRING, [T.CATEGORICAL_BOOLEAN]),
        (["yes", "no", "no"], Observed.STRING, T.CATEGORICAL_STRING, [T.CATEGORICAL_BOOLEAN]),
        (["yes", "no", "maybe"], Observed.STRING, T.CATEGORICAL_STRING, []),
        (["2026-05-14", "2026-05-15"], Observed.STRING, T.CATEGORICAL_STRING, [T.CATEGORICAL_DATETIME]),
        (["2026-05-14", "later"], Observed.STRING, T.CATEGORICAL_STRING, []),
        ([f"id{n}" for n in range(MANY + 1)], Observed.STRING, T.CATEGORICAL_STRING, [T.OTHER_STRING]),
        ([f"id{n}" for n in range(30)], Observed.STRING, T.CATEGORICAL_STRING, [T.OTHER_STRING]),
        (["a", "b"], Observed.STRING, T.OTHER_STRING, [T.CATEGORICAL_STRING]),
    ],
)
def test_a_type_is_named_where_every_value_fits_it(
    values: list[Any], observed: Observed, value_type: ValueType, wanted: list[ValueType]
) -> None:
    assert types(value_type, column(values, observed)) == wanted


def test_an_expression_is_named_with_what_needs_one() -> None:
    (boolean, *_) = alternatives("a.b", T.NUMERIC_INT, [column([0, 1], Observed.INTEGER, "flag + 0")])
    assert boolean.write == "a.b: (flag + 0)::BOOLEAN"
    (words,) = alternatives("x", T.CATEGORICAL_STRING, [column(["N", "Y"], Observed.STRING)])
    assert words.write == "x: x = 'Y'"


def test_nothing_is_named_that_could_not_be_written_once() -> None:
    """Two sources need two expressions, and a part of a value has none of its own."""
    two = [column([0, 1], Observed.INTEGER), column([1, 0], Observed.INTEGER)]
    assert T.CATEGORICAL_BOOLEAN not in types(T.NUMERIC_INT, *two)
    assert T.CATEGORICAL_BOOLEAN not in types(T.NUMERIC_INT, column([0, 1], Observed.INTEGER, ""))


def test_sources_that_hold_whole_numbers_and_fractions_are_judged_together() -> None:
    whole, parts = column([1, 2], Observed.INTEGER), column([1.5], Observed.FLOAT)
    assert types(T.NUMERIC_FLOAT, whole, parts) == []
    assert types(T.NUMERIC_FLOAT, whole, column([2.0], Observed.FLOAT)) == [T.NUMERIC_INT]
