"""Column types that give every value of a key back, found over all documents."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from metaferry.view.export.shapes import MOST_KEYS, Shape, converter


def shape_of(*values: Any) -> Shape:
    shape = Shape()
    for value in values:
        shape.add(value)
    return shape


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None], pa.string()),
        (["a", None], pa.string()),
        ([True, None], pa.bool_()),
        ([1, -(2**63)], pa.int64()),
        ([2**63], pa.decimal128(38, 0)),
        ([10**38], None),
        ([0.5, 1], pa.float64()),
        ([0.5, 2**53 + 1], None),
        ([True, 1], None),
        (["a", 1], None),
        ([[1], []], pa.list_(pa.int64())),
        ([[]], pa.list_(pa.string())),
        ([[1, "a"]], None),
        ([[{"a": 1}, {"b": None}]], pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())]))),
        ([[{}]], pa.list_(pa.map_(pa.string(), pa.string()))),
        ([{"a.b": 1}], pa.map_(pa.string(), pa.int64())),
        ([{"A": 1, "a": 2}], pa.map_(pa.string(), pa.int64())),
        ([{"a.b": 1, "c": "x"}], None),
        ([{"": {"x": 1}}], pa.map_(pa.string(), pa.struct([("x", pa.int64())]))),
    ],
)
def test_the_type_holds_all_values_or_there_is_none(values: list[Any], kind: pa.DataType | None) -> None:
    assert shape_of(*values).type() == kind


@pytest.mark.parametrize(
    "values",
    [
        [1, None, -5],
        [2**70, None],
        [[0.5, 1.5], None, []],
        [[{"a": 1}, {"a": None}], [{"a": 3}]],
        [{"x.y": [1, 2]}, {"z": None}, None],
        [[{"m": {"": 0.5}}]],
    ],
)
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    kind = shape_of(*values).type()
    assert kind is not None
    convert = converter(kind) or (lambda value: value)
    back = pa.array([convert(value) for value in values], kind).to_pylist(maps_as_pydicts="strict")
    assert back == values


def test_an_object_with_ever_new_keys_becomes_a_map_and_stays_bounded() -> None:
    shape = Shape()
    for n in range(3 * MOST_KEYS):
        shape.add({f"id{n}": n})
    assert shape.type() == pa.map_(pa.string(), pa.int64())
    assert not shape.fields


def test_only_integers_among_floats_are_written_otherwise() -> None:
    assert shape_of([1, 0.5]).rewrites
    assert shape_of({"a": [{"b": 1}, {"b": 0.5}]}).rewrites
    assert not shape_of({"a": 1, "b": 0.5}).rewrites
