"""Values inside lists and objects under entries that point into them: SQL says what the reference says."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaferry.lightly.document import document
from metaferry.lightly.key_paths import one_starts_the_other
from metaferry.lightly.names import Kind
from metaferry.lightly.nested import Steps, cast_within
from metaferry.lightly.values import Misfit, ValueType
from metaferry.planning.sql import rules as sql
from properties.engine import evaluate, evaluate_table, floats, nearly
from properties.test_sql_values import TYPES, batches, given_to_engine

#: A record with lists of lists, objects in lists, lists in objects, and maps.
VALUES = st.fixed_dictionaries(
    {
        "n": st.none() | floats,
        "tags": st.none() | st.lists(st.none() | nearly, max_size=4),
        "grid": st.none() | st.lists(st.none() | st.lists(st.none() | floats, max_size=3), max_size=3),
        "boxes": st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "label": st.none() | nearly,
                    "at": st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=2),
                    "on": st.none() | st.booleans(),
                }
            ),
            max_size=3,
        ),
        "more": st.none()
        | st.dictionaries(st.sampled_from(["a", "b", "x y", "0"]), st.none() | floats, max_size=3),
    }
)
ARROW = pa.struct(
    [
        ("n", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("grid", pa.list_(pa.list_(pa.float64()))),
        (
            "boxes",
            pa.list_(pa.struct([("label", pa.string()), ("at", pa.list_(pa.int64())), ("on", pa.bool_())])),
        ),
        ("more", pa.map_(pa.string(), pa.float64())),
    ]
)
SQL = (
    "STRUCT(n DOUBLE, tags VARCHAR[], grid DOUBLE[][], "
    'boxes STRUCT(label VARCHAR, "at" BIGINT[], "on" BOOLEAN)[], more MAP(VARCHAR, DOUBLE))'
)
STEPS = st.sampled_from(
    [
        "n",
        "tags",
        "grid",
        "boxes",
        "label",
        "at",
        "on",
        "more",
        "a",
        "x y",
        "gone",
        "[0]",
        "[1]",
        "[2]",
        "[99]",
    ]
)
#: Paths that lead somewhere, and paths that lead nowhere or through what is no list or no object.
PATHS: st.SearchStrategy[Steps] = st.one_of(
    st.sampled_from(
        [
            ("tags", "[0]"),
            ("tags", "[1]"),
            ("grid", "[0]", "[1]"),
            ("grid", "[1]"),
            ("boxes", "[0]", "label"),
            ("boxes", "[1]", "at", "[0]"),
            ("boxes", "[0]", "on"),
            ("boxes", "[0]"),
            ("more", "a"),
            ("more", "x y"),
            ("n",),
            ("tags", "[9999999999999999999999]"),
        ]
    ),
    st.lists(STEPS, min_size=1, max_size=4).map(tuple),
)


def apart(paths: list[Steps]) -> bool:
    return not any(one_starts_the_other(one, other) for at, one in enumerate(paths) for other in paths[:at])


def for_arrow(value: Any) -> Any:
    """Arrow takes a map as its pairs."""
    if value is None or value["more"] is None:
        return value
    return value | {"more": list(value["more"].items())}


def reference(value: object, types: dict[Steps, ValueType]) -> tuple[bytes, dict[Steps, Misfit]]:
    changed, misfits = cast_within(value, types)
    return document("a.png", Kind.IMAGE, {"k": changed}), misfits


@settings(deadline=None)
@given(
    batch=st.lists(st.none() | VALUES, min_size=1, max_size=6),
    paths=st.lists(PATHS, max_size=4, unique=True).filter(apart),
    data=st.data(),
)
def test_places_inside_a_value_are_cast_and_checked_alike(
    batch: list[Any], paths: list[Steps], data: st.DataObject
) -> None:
    types = {path: data.draw(st.sampled_from(ValueType)) for path in paths}
    json, places = sql.cast_within("x", SQL, types)
    assert list(places) == paths
    body = sql.body("'a.png'", "'image'", {("k",): json})
    rows = evaluate(
        [body, *(place.misfit_sql for place in places.values())], list(map(for_arrow, batch)), ARROW
    )
    for value, (found, *codes) in zip(batch, rows, strict=True):
        wanted, misfits = reference(value, types)
        assert found.encode() == wanted
        assert dict(zip(paths, codes, strict=True)) == {
            path: misfits[path].code if path in misfits else None for path in paths
        }
        for path, misfit in misfits.items():
            assert places[path].expected == misfit.expected


@pytest.mark.parametrize("name", TYPES)
@settings(deadline=None)
@given(data=st.data())
def test_every_type_inside_a_list(name: str, data: st.DataObject) -> None:
    batch = data.draw(batches[name])
    types = {
        ("[0]",): data.draw(st.sampled_from(ValueType)),
        (f"[{len(batch)}]",): ValueType.NUMERIC_INT,  # one behind the last: missing, which fits
    }
    # One row: the column becomes a list in the engine, so that types which Arrow has not are lists too.
    values, arrow, cast = given_to_engine(name, batch)
    item = f"x::{cast}" if cast else "x"
    listed = f"(SELECT list({item} ORDER BY nth) FROM given)"
    json, places = sql.cast_within("l", f"{name}[]", types)
    body = sql.body("'a.png'", "'image'", {("k",): json})
    texts = ", ".join([body, *(place.misfit_sql for place in places.values())])
    rows = evaluate_table([f"(SELECT [{texts}] FROM (SELECT {listed} AS l))"], {"x": (values, arrow, "")})
    found, *codes = rows[0][0]
    wanted, misfits = reference(batch, types)
    assert found.encode() == wanted
    assert codes == [misfits[at].code if at in misfits else None for at in types]


@settings(deadline=None)
@given(st.lists(st.none() | floats, min_size=3, max_size=3))
def test_a_list_of_fixed_length(value: list[Any]) -> None:
    types = {("[1]",): ValueType.NUMERIC_INT, ("[3]",): ValueType.NUMERIC_INT}
    json, places = sql.cast_within("x", "DOUBLE[3]", types)
    body = sql.body("'a.png'", "'image'", {("k",): json})
    texts = [body, *(place.misfit_sql for place in places.values())]
    ((found, *codes),) = evaluate(texts, [value], pa.list_(pa.float64(), 3))
    wanted, misfits = reference(value, types)
    assert found.encode() == wanted
    assert codes == [misfits[at].code if at in misfits else None for at in types]
