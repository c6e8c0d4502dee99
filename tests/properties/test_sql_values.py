"""Values in SQL are values in Python: casts, JSON text and whole bodies, over the types of the engine."""

from __future__ import annotations

import math
import struct
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaferry.lightly.document import ESCAPES, document, json_string
from metaferry.lightly.names import Kind
from metaferry.lightly.schema import Observed
from metaferry.lightly.values import Misfit, ValueType, cast
from metaferry.planning.sql import rules as sql
from properties.engine import evaluate, evaluate_table, floats, nearly, unicode_text


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    near = st.integers(-limit, limit) | st.integers(-(2**54), 2**54).map(
        lambda number: max(-limit, min(limit, number * 10**scale))
    )
    # By its digits: arithmetic would round to the context's 28.
    return near.map(lambda number: Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale)))


#: Type in the engine, in Arrow, values. Where Arrow has no such type, text is cast.
TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "TINYINT": (pa.int8(), st.integers(-(2**7), 2**7 - 1)),
    "SMALLINT": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "INTEGER": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "BIGINT": (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(2**53 - 3, 2**53 + 3)),
    "UTINYINT": (pa.uint8(), st.integers(0, 2**8 - 1)),
    "USMALLINT": (pa.uint16(), st.integers(0, 2**16 - 1)),
    "UINTEGER": (pa.uint32(), st.integers(0, 2**32 - 1)),
    "UBIGINT": (pa.uint64(), st.integers(0, 2**64 - 1) | st.integers(2**53 - 3, 2**53 + 3)),
    "HUGEINT": (pa.string(), st.integers(-(2**127) + 1, 2**127 - 1) | st.integers(-(2**54), 2**54)),
    "UHUGEINT": (pa.string(), st.integers(0, 2**128 - 1) | st.integers(0, 2**54)),
    "DOUBLE": (pa.float64(), floats),
    "DECIMAL(4,0)": (pa.decimal128(4, 0), decimals(4, 0)),
    "DECIMAL(18,2)": (pa.decimal128(18, 2), decimals(18, 2)),
    "DECIMAL(38,10)": (pa.decimal128(38, 10), decimals(38, 10)),
    "DECIMAL(2,2)": (pa.decimal128(2, 2), decimals(2, 2)),
    "BOOLEAN": (pa.bool_(), st.booleans()),
    "VARCHAR": (pa.string(), nearly),
    "ENUM('1', 'true', '2026-01-02', 'a\"b', '')": (
        pa.string(),
        st.sampled_from(["1", "true", "2026-01-02", 'a"b', ""]),
    ),
    "UUID": (pa.string(), st.uuids()),
    "DATE": (pa.date32(), st.dates()),
    "TIME": (pa.time64("us"), st.times()),
    "TIMESTAMP": (pa.timestamp("us"), st.datetimes()),
    "TIMESTAMP_S": (pa.timestamp("s"), st.datetimes().map(lambda value: value.replace(microsecond=0))),
    "TIMESTAMP_MS": (
        pa.timestamp("ms"),
        st.datetimes().map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000)),
    ),
    "TIMESTAMP_NS": (pa.timestamp("ns"), st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))),
    "TIMESTAMP WITH TIME ZONE": (
        pa.timestamp("us", tz="UTC"),
        st.datetimes(
            datetime(2, 1, 1),
            datetime(9998, 1, 1),
            timezones=st.timezones() | st.just(None).filter(lambda zone: zone is not None),
        ),
    ),
}

batches = {name: st.lists(st.none() | values, min_size=1, max_size=25) for name, (_, values) in TYPES.items()}


def given_to_engine(name: str, batch: list[Any]) -> tuple[list[Any], pa.DataType, str]:
    arrow, _ = TYPES[name]
    if arrow == pa.string():
        texts = [value if value is None else str(value) for value in batch]
        return texts, arrow, "" if name == "VARCHAR" else name
    return batch, arrow, ""


def exactly(value: object) -> tuple[type, str]:
    """For comparing: 1, 1.0 and True are three values, so are 0.0 and -0.0."""
    return type(value), repr(value)


@pytest.mark.parametrize("name", TYPES)
@given(st.data())
def test_casts(name: str, data: st.DataObject) -> None:
    batch = data.draw(batches[name])
    casts = [sql.cast_value("x", name, value_type) for value_type in ValueType]
    expressions = [text for made in casts for text in (made.value_sql, made.misfit_sql)]
    rows = evaluate_table(expressions, {"x": given_to_engine(name, batch)})
    for value, row in zip(batch, rows, strict=True):
        for number, value_type in enumerate(ValueType):
            found = row[2 * number], row[2 * number + 1]
            try:
                wanted: tuple[Any, Any] = cast(value, value_type), None
            except Misfit as misfit:
                wanted = None, misfit.code
            assert list(map(exactly, found)) == list(map(exactly, wanted)), (value, value_type)


@pytest.mark.parametrize("name", TYPES)
@given(st.data())
def test_bodies_of_one_value(name: str, data: st.DataObject) -> None:
    batch = data.draw(batches[name])
    body = sql.body("'a.png'", "'image'", {("k",): sql.json_value("x", name)})
    rows = evaluate_table([body, sql.not_finite("x", name)], {"x": given_to_engine(name, batch)})
    for value, (found, misfit) in zip(batch, rows, strict=True):
        assert found.encode() == document("a.png", Kind.IMAGE, {"k": value})
        infinite = isinstance(value, float) and not math.isfinite(value)
        assert misfit == ("not_finite" if infinite else None)


@pytest.mark.parametrize("name", TYPES)
def test_what_a_type_is_observed_as_is_what_its_values_are(name: str) -> None:
    by_type = {
        int: Observed.INTEGER,
        float: Observed.FLOAT,
        bool: Observed.BOOLEAN,
        str: Observed.STRING,
    }
    arrow, _ = TYPES[name]
    kind = sql.observed(name)
    if "DECIMAL" in name:
        assert kind is (Observed.INTEGER if name.endswith(",0)") else Observed.FLOAT)
    elif pa.types.is_integer(arrow) or "HUGEINT" in name:
        assert kind is by_type[int]
    elif pa.types.is_floating(arrow):
        assert kind is by_type[float]
    else:
        assert kind is by_type[bool if name == "BOOLEAN" else str]


@given(st.lists(st.floats(width=32), min_size=1, max_size=25))
def test_single_precision_is_written_as_its_own_digits(batch: list[float]) -> None:
    json = sql.json_value("x", "FLOAT")
    number = sql.cast_value("x", "FLOAT", ValueType.NUMERIC_FLOAT)
    whole = sql.cast_value("x", "FLOAT", ValueType.NUMERIC_INT)
    rows = evaluate(
        [json, number.value_sql, number.misfit_sql, whole.value_sql, whole.misfit_sql], batch, pa.float32()
    )
    for value, (text, as_float, misfit, as_int, int_misfit) in zip(batch, rows, strict=True):
        try:
            wanted: tuple[Any, Any] = cast(value, ValueType.NUMERIC_INT), None  # its exact value
        except Misfit as error:
            wanted = None, error.code
        assert (as_int, int_misfit) == wanted
        if not math.isfinite(value):
            assert (text, as_float, misfit) == (None, None, "not_finite")
            continue
        assert misfit is None
        assert text == repr(as_float)
        assert struct.pack("f", float(text)) == struct.pack("f", value)
        assert len(text.partition("e")[0].replace(".", "").strip("-0")) <= 9


nested = st.fixed_dictionaries(
    {
        "b": st.none() | floats,
        "a": st.none() | unicode_text,
        "é\"'": st.none() | st.lists(st.none() | floats, max_size=3),
        "s": st.none()
        | st.fixed_dictionaries(
            {
                "t": st.none() | st.lists(st.none() | st.fixed_dictionaries({"u": st.none() | floats})),
                "m": st.none() | st.dictionaries(unicode_text, st.none() | floats | st.none(), max_size=3),
            }
        ),
    }
)
NESTED = pa.struct(
    [
        ("b", pa.float64()),
        ("a", pa.string()),
        ("é\"'", pa.list_(pa.float64())),
        (
            "s",
            pa.struct(
                [
                    ("t", pa.list_(pa.struct([("u", pa.float64())]))),
                    ("m", pa.map_(pa.string(), pa.float64())),
                ]
            ),
        ),
    ]
)
NESTED_SQL = (
    'STRUCT(b DOUBLE, a VARCHAR, "é""\'" DOUBLE[], s STRUCT(t STRUCT(u DOUBLE)[], m MAP(VARCHAR, DOUBLE)))'
)


def _has_not_finite(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_not_finite, value.values()))
    if isinstance(value, list):
        return any(map(_has_not_finite, value))
    return isinstance(value, float) and not math.isfinite(value)


def _for_arrow(value: Any) -> Any:
    """Arrow takes a map as its pairs."""
    if value is None or value["s"] is None or value["s"]["m"] is None:
        return value
    return value | {"s": value["s"] | {"m": list(value["s"]["m"].items())}}


@given(st.lists(st.none() | nested, min_size=1, max_size=10))
def test_nested_values(batch: list[Any]) -> None:
    body = sql.body("'a.png'", "'image'", {("k",): sql.json_value("x", NESTED_SQL)})
    rows = evaluate([body, sql.not_finite("x", NESTED_SQL)], list(map(_for_arrow, batch)), NESTED)
    for value, (found, misfit) in zip(batch, rows, strict=True):
        assert found.encode() == document("a.png", Kind.IMAGE, {"k": value})
        assert misfit == ("not_finite" if _has_not_finite(value) else None)


@given(st.lists(st.none() | nested, max_size=4))
def test_lists_of_objects_keep_their_positions(batch: list[Any]) -> None:
    body = sql.body("'a.png'", "'image'", {("k",): sql.json_value("x", NESTED_SQL + "[]")})
    ((found,),) = evaluate([body], [list(map(_for_arrow, batch))], pa.list_(NESTED))
    assert found.encode() == document("a.png", Kind.IMAGE, {"k": batch})


PATHS = [("b",), ("a", "z"), ("a", "é"), ("a", "b", "c"), ('q"\\\n\0',), ("😀",), ("\uffff",)]


@given(
    file_name=unicode_text,
    kind=st.sampled_from(Kind),
    paths=st.lists(st.sampled_from(PATHS), unique=True),
    values=st.lists(st.none() | floats | unicode_text, min_size=len(PATHS), max_size=len(PATHS)),
)
def test_whole_bodies(file_name: str, kind: Kind, paths: list[tuple[str, ...]], values: list[Any]) -> None:
    metadata: dict[str, Any] = {}
    columns: dict[str, tuple[list[Any], pa.DataType, str]] = {
        "n": ([file_name], pa.string(), ""),
        "t": ([str(kind)], pa.string(), ""),
    }
    texts = {}
    for number, (path, value) in enumerate(zip(paths, values, strict=False)):
        branch = metadata
        for step in path[:-1]:
            branch = branch.setdefault(step, {})
        branch[path[-1]] = value
        column = f"v{number}"
        text = isinstance(value, str)
        columns[column] = ([value], pa.string() if text else pa.float64(), "")
        texts[path] = sql.json_value(column, "VARCHAR" if text else "DOUBLE")
    ((found,),) = evaluate_table([sql.body("n", "t", texts)], columns)
    assert found.encode() == document(file_name, kind, metadata)


@given(st.lists(unicode_text | st.text("".join(ESCAPES)), min_size=1, max_size=20))
def test_strings(batch: list[str]) -> None:
    rows = evaluate([sql.escape_json("x")], batch, pa.string())
    assert [text for (text,) in rows] == [json_string(text) for text in batch]


def test_every_character_is_written_as_the_reference_writes_it() -> None:
    characters = [chr(code) for code in [*range(0xD800), *range(0xE000, 0x10000), *range(0x1F600, 0x1F650)]]
    rows = evaluate([sql.escape_json("x")], characters, pa.string())
    assert [text for (text,) in rows] == [json_string(character) for character in characters]


def test_two_paths_that_cannot_both_hold_a_value_make_no_body() -> None:
    with pytest.raises(ValueError, match="cannot both hold a value"):
        sql.body("n", "t", {("a",): "x", ("a", "b"): "x"})


@pytest.mark.parametrize(
    "name",
    ["BLOB", "BIT", "INTERVAL", "JSON", "BLOB[]", "STRUCT(a BLOB)", "MAP(INTEGER, VARCHAR)", "VARIANT",
     "UNION(a INTEGER, b VARCHAR)", "TUPLE(INTEGER, VARCHAR)"],
)  # fmt: skip
def test_types_that_no_document_can_hold(name: str) -> None:
    assert not sql.storable(name)
    with pytest.raises(ValueError, match="no place in a document"):
        sql.json_value("x", name)
    assert sql.observed(name) is Observed.OTHER
    assert sql.storable("INTEGER[]")


@pytest.mark.parametrize("value_type", ValueType)
@pytest.mark.parametrize(
    ("name", "value"), [("INTEGER[]", [1]), ("BLOB", b"1"), ("STRUCT(a INTEGER)", {"a": 1})]
)
def test_types_that_fit_no_entry(name: str, value: object, value_type: ValueType) -> None:
    arrow = pa.array([value]).type
    made = sql.cast_value("x", name, value_type)
    assert evaluate([made.value_sql, made.misfit_sql], [value, None], arrow) == [(None, "type"), (None, None)]
    with pytest.raises(Misfit, match="type"):
        cast(value, value_type)


@pytest.mark.parametrize("value_type", ValueType)
def test_a_column_of_nulls(value_type: ValueType) -> None:
    made = sql.cast_value("x", '"NULL"', value_type)
    json = sql.json_value("x", '"NULL"')
    assert evaluate([made.value_sql, made.misfit_sql, json], [None], pa.null()) == [(None, None, None)]


@pytest.mark.parametrize(
    ("name", "literal"),
    [
        ("DATE", "infinity"),
        ("DATE", "0044-03-15 (BC)"),
        ("DATE", "10000-01-01"),
        ("TIMESTAMP", "-infinity"),
        ("TIMESTAMP", "10000-01-01 00:00:00"),
        ("TIMESTAMP_NS", "infinity"),
        ("TIMESTAMP WITH TIME ZONE", "infinity"),
        ("TIMESTAMP WITH TIME ZONE", "0044-03-15 (BC) 00:00:00+00"),
    ],
)
def test_dates_outside_the_calendar_have_no_text(name: str, literal: str) -> None:
    made = sql.cast_value("x", name, ValueType.CATEGORICAL_STRING)
    rows = evaluate(
        [sql.json_value("x", name), sql.not_finite("x", name), made.value_sql, made.misfit_sql],
        [literal, None],
        pa.string(),
        name,
    )
    assert rows == [(None, "not_finite", None, "not_finite"), (None, None, None, None)]


def test_dates_and_times_of_the_reference() -> None:
    # The reference's own side of the comparisons above, by hand.
    assert document("a.png", Kind.IMAGE, {"d": date(1, 1, 1), "t": time(0, 0, 0, 10)}).endswith(
        b'"metadata":{"d":"0001-01-01","t":"00:00:00.00001"}}'
    )
