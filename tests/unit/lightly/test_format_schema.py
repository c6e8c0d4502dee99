"""schema.json: read, checked with places, inferred, merged and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaferry.errors import SchemaError
from metaferry.lightly.nested import unfit_places
from metaferry.lightly.schema import (
    Entry,
    Observed,
    ValueType,
    check_entries,
    column_is_ambiguous,
    combine,
    default_for,
    expected,
    infer,
    merge,
    overlapping,
    parse_schema,
    schema_bytes,
    schema_faults,
    split_path,
)
from unit.lightly.consumer import configuration_entry

GOOD = """[
  {"name": "Weather", "path": "weather.description", "defaultValue": "unknown",
   "valueDataType": "CATEGORICAL_STRING"},
  {"name": "Temperature", "path": "weather.temperature", "defaultValue": 0, "valueDataType": "NUMERIC_FLOAT"},
  {"name": "First", "path": "list[0].id", "defaultValue": null, "valueDataType": "CATEGORICAL_INT"}
]"""

#: With the two faults of the examples on the format's own page: a comma missing, a comma too many.
PRINTED = """[
  {
    "name": "Weather description",
    "path": "weather.description"
    "defaultValue": "unknown",
    "valueDataType": "CATEGORICAL_STRING"
  },
  {
    "name": "Vehicle id",
    "path": "vehicle_id",
    "defaultValue": 0,
    "valueDataType": "CATEGORICAL_INT",
  }
]
"""


def entry(**changes: object) -> str:
    """A list of one entry, right but for the changes; `...` takes a key out."""
    right: dict[str, object] = {
        "name": "Weather",
        "path": "weather",
        "defaultValue": 0,
        "valueDataType": "NUMERIC_INT",
    }
    return json.dumps([{k: v for k, v in (right | changes).items() if v is not ...}])


def only(text: str | bytes) -> str:
    (fault,) = schema_faults(text)
    return fault.message


def entries(*texts: str) -> tuple[Entry, ...]:
    """`path name type` each."""
    return tuple(Entry(name, path, None, ValueType(kind)) for path, name, kind in map(str.split, texts))


def test_given_entries_are_put_to_those_in_place_by_path() -> None:
    existing = entries("a A NUMERIC_INT", "b B NUMERIC_INT", "l[0] L NUMERIC_INT")
    given = entries("c C NUMERIC_INT", "b Bee NUMERIC_FLOAT", "l[00] L NUMERIC_INT")
    made = combine(existing, given, exact=False)
    assert [entry.path for entry in made.entries] == ["a", "b", "l[00]", "c"]
    assert made.added == ("c",)
    assert made.changed == ((existing[1], given[1]), (existing[2], given[2]))
    assert (made.removed, made.clash) == ((), "")
    exact = combine(existing, given, exact=True)
    assert (exact.entries, exact.removed, exact.clash) == (given, (existing[0],), "")


def test_given_entries_twice_are_as_once() -> None:
    existing, given = entries("a A NUMERIC_INT"), entries("b B NUMERIC_INT", "a X NUMERIC_FLOAT")
    once = combine(existing, given, exact=False).entries
    twice = combine(once, given, exact=False)
    assert (twice.entries, twice.added, twice.changed) == (once, (), ())


def test_a_given_entry_that_cannot_stand_beside_one_that_stays() -> None:
    existing = entries("a A NUMERIC_INT")
    assert combine(existing, entries("b A NUMERIC_INT"), exact=False).clash
    assert combine(existing, entries("a.b B NUMERIC_INT"), exact=False).clash
    assert not combine(existing, entries("b A NUMERIC_INT"), exact=True).clash
    assert not combine(existing, entries("a B NUMERIC_INT", "b A NUMERIC_INT"), exact=False).clash


@pytest.mark.parametrize(
    ("metadata", "path", "kind", "fits"),
    [
        ({"n": 1}, "n", "NUMERIC_INT", True),
        ({"n": "1"}, "n", "NUMERIC_INT", False),
        ({"n": True}, "n", "NUMERIC_INT", False),
        ({"n": 1}, "n", "NUMERIC_FLOAT", True),
        ({"n": 0.5}, "n", "NUMERIC_INT", False),
        ({"n": float("nan")}, "n", "NUMERIC_FLOAT", False),
        ({"n": None}, "n", "NUMERIC_INT", True),
        ({}, "n", "NUMERIC_INT", True),
        (None, "n", "NUMERIC_INT", True),
        ({"d": "2026-02-30"}, "d", "CATEGORICAL_DATETIME", False),
        ({"d": "2026-02-28"}, "d", "CATEGORICAL_DATETIME", True),
        ({"l": [1, "x"]}, "l[1]", "NUMERIC_INT", False),
        ({"l": [1]}, "l[1]", "NUMERIC_INT", True),
        ({"l": {"0": 1}}, "l[0]", "NUMERIC_INT", False),
        ({"w": 3}, "w.t", "NUMERIC_INT", False),
        ({"w": {"t": 3}}, "w", "NUMERIC_INT", False),
        ([], "w", "NUMERIC_INT", False),
    ],
)
def test_what_a_document_in_place_says_of_a_type(metadata: Any, path: str, kind: str, fits: bool) -> None:
    steps = split_path(path)
    assert (unfit_places(metadata, {steps: ValueType(kind)}) == {}) is fits


def test_a_schema_is_read() -> None:
    assert parse_schema(GOOD, "schema.json") == (
        Entry("Weather", "weather.description", "unknown", ValueType.CATEGORICAL_STRING),
        Entry("Temperature", "weather.temperature", 0, ValueType.NUMERIC_FLOAT),
        Entry("First", "list[0].id", None, ValueType.CATEGORICAL_INT),
    )
    assert schema_faults(GOOD) == []
    assert parse_schema("[]", "schema.json") == ()


def test_the_schema_of_the_format_page_is_told_what_is_wrong_and_where() -> None:
    assert [str(fault) for fault in schema_faults(PRINTED)] == [
        '4:34: a comma is missing here, before "\\"defaultValue\\": \\"unk"',
        "12:39: a trailing comma: JSON allows none before }",
    ]
    with pytest.raises(
        SchemaError, match=r"^s3://b/schema\.json:4:34: a comma is missing .*\(and 1 more fault\)$"
    ):
        parse_schema(PRINTED, "s3://b/schema.json")


def test_one_fault_is_not_said_to_be_several() -> None:
    with pytest.raises(SchemaError) as caught:
        parse_schema("[{]", "schema.json")
    assert "more" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "1:1: the file is empty"),
        (" \n ", "2:2: the file is empty"),
        ("{}", "1:1: a list of entries is expected, not an object"),
        ("[1]", "1:2: entry 1: an object is expected, not 1"),
        ("[", "1:2: the text ends, but ] is missing"),
        ("[\n{\n", "3:1: the text ends, but } is missing"),
        ("[] []", '1:4: text after the end of the JSON value: "[]"'),
        ("[{'name': 1}]", "1:3: a key in double quotes is expected, not \"'name': 1}]\""),
        ("[{\"name\": 'x'}]", "1:11: JSON strings stand in double quotes, not single ones"),
        ("[\n  // why\n]", "2:3: JSON has no comments"),
        ('[{"defaultValue": NaN}]', "1:19: NaN is not JSON; leave the value out or give a number"),
        ('[{"defaultValue": None}]', "1:19: None is not JSON; write null"),
        ('[{"defaultValue": True}]', "1:19: True is not JSON; write true"),
        ('[{"defaultValue": 01}]', "1:19: 01 is not a JSON number"),
        ('[{"defaultValue": .5}]', "1:19: .5 is not a JSON number"),
        ('[{"defaultValue"; 1}]', '1:17: a colon is expected after the key "defaultValue", not "; 1}]"'),
        ('["a', "1:2: a string begins here and is never closed"),
        ('["a\tb"]', "1:4: a control character inside a string; write it as an escape"),
        ('["\\x"]', "1:3: a backslash that begins no JSON escape; write \\\\ for the character itself"),
        ("\ufeff[]", "1:1: a byte order mark; JSON text begins without one"),
        (b'[\n "\xff"]', "2:3: byte 0xff here is not UTF-8"),
        ("[" * 200, "1:66: nested more than 64 levels deep"),
        ("[" + "1" * 5000 + "]", "1:2: an integer of 5000 digits"),
        ("[1,,2]", "1:4: , is not expected here"),
        ("[1}", "1:3: } is not expected here"),
    ],
)
def test_what_is_no_json_or_no_list(text: str | bytes, fault: str) -> None:
    assert [str(found) for found in schema_faults(text)] == [fault]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ...}, 'entry 1: the key "name" is missing'),
        ({"path": ...}, 'entry 1 ("Weather"): the key "path" is missing'),
        ({"defaultValue": ...}, 'entry 1 ("Weather"): the key "defaultValue" is missing'),
        ({"valueDataType": ...}, 'entry 1 ("Weather"): the key "valueDataType" is missing'),
        ({"colour": 1}, 'entry 1 ("Weather"): unknown key "colour"'),
        ({"name": ""}, 'entry 1: "name" is a string of at least one character, not the string ""'),
        ({"name": 7}, 'entry 1: "name" is a string of at least one character, not 7'),
        ({"path": None}, 'entry 1 ("Weather"): "path" is a string of at least one character, not null'),
        (
            {"path": "a..b"},
            'entry 1 ("Weather"): "a..b" is not a path like weather.temperature or myArray[0].field',
        ),
        ({"path": "lightly.x"}, 'entry 1 ("Weather"): keys that begin with "lightly" are reserved'),
        ({"path": "lightlyFoo"}, 'entry 1 ("Weather"): keys that begin with "lightly" are reserved'),
        (
            {"valueDataType": "NUMERICAL_INT"},
            'entry 1 ("Weather"): "NUMERICAL_INT" is no valueDataType; did you mean NUMERIC_INT?',
        ),
        (
            {"valueDataType": "categorical-boolean"},
            '"categorical-boolean" is no valueDataType; did you mean CATEGORICAL_BOOLEAN?',
        ),
        ({"valueDataType": 3}, 'entry 1 ("Weather"): 3 is no valueDataType; known are '),
        (
            {"defaultValue": "0"},
            'the default of NUMERIC_INT is a whole number within ±2^53, not the string "0"',
        ),
        ({"defaultValue": True}, "not true"),
        ({"defaultValue": 0.5}, "not 0.5"),
        ({"defaultValue": 2**53 + 1}, "not 9007199254740993"),
        ({"defaultValue": []}, "not a list"),
        ({"defaultValue": True, "valueDataType": "NUMERIC_FLOAT"}, "is a number, not true"),
        ({"defaultValue": 0, "valueDataType": "CATEGORICAL_BOOLEAN"}, "is true or false, not 0"),
        ({"defaultValue": 0, "valueDataType": "OTHER_STRING"}, "is a string, not 0"),
        ({"defaultValue": 0, "valueDataType": "CATEGORICAL_DATETIME"}, "is a string, not 0"),
        ({"defaultValue": "0", "valueDataType": "CATEGORICAL_TIMESTAMP"}, 'not the string "0"'),
    ],
)
def test_what_is_wrong_with_an_entry(changes: dict[str, object], message: str) -> None:
    assert message in only(entry(**changes))


def test_a_misspelt_key_is_told_the_right_one() -> None:
    text = '[{"name": "a", "path": "a", "default_value": 0, "valueDataType": "NUMERIC_INT"}]'
    assert [str(fault) for fault in schema_faults(text)] == [
        '1:2: entry 1 ("a"): the key "defaultValue" is missing',
        '1:29: entry 1 ("a"): unknown key "default_value"; did you mean defaultValue?',
    ]


def test_a_key_that_stands_twice() -> None:
    text = '[{"name": "a", "path": "a", "defaultValue": 0, "valueDataType": "NUMERIC_INT",\n "path": "b"}]'
    assert [str(fault) for fault in schema_faults(text)] == [
        '2:2: the key "path" stands twice in this object'
    ]


def test_names_and_paths_stand_once() -> None:
    one = {"name": "a", "path": "a", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
    assert 'the name "a" is that of entry 1 too' in only(json.dumps([one, one | {"path": "b"}]))
    assert 'the path "a" is that of entry 1 too' in only(json.dumps([one, one | {"name": "b"}]))


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a.b"), ("a.b", "a"), ("a", "a[0]"), ("a.b[1].c", "a.b")]
)
def test_a_path_inside_another(first: str, second: str) -> None:
    entries = [
        {"name": path, "path": path, "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
        for path in (first, second)
    ]
    assert "cannot both hold a value" in only(json.dumps(entries))


def test_paths_that_only_look_alike() -> None:
    entries = [
        {"name": path, "path": path, "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
        for path in ("a", "ab", "b.a", "b.ab", "A")
    ]
    assert schema_faults(json.dumps(entries)) == []


def test_entries_of_a_job_file_are_checked_alike() -> None:
    good = {"name": "a", "path": "a", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}
    assert check_entries([good], "schema") == (Entry("a", "a", 0, ValueType.NUMERIC_INT),)
    with pytest.raises(SchemaError, match=r'^schema: entry 2 \("a"\): the name "a" is that of entry 1 too'):
        check_entries([good, good], "schema")
    with pytest.raises(SchemaError, match="is a number, not NaN"):
        check_entries([good | {"defaultValue": float("nan"), "valueDataType": "NUMERIC_FLOAT"}], "schema")


def test_a_schema_is_written_for_people_and_read_back() -> None:
    entries = parse_schema(GOOD, "schema.json")
    text = schema_bytes([*entries, Entry("é", "é", 'a"b', ValueType.OTHER_STRING)])
    assert text.startswith(b'[\n  {\n    "name": "Weather",\n')
    assert text.endswith(b"\n]\n")
    assert "é".encode() in text
    assert parse_schema(text, "x")[:3] == entries
    assert schema_bytes([]) == b"[]\n"


@pytest.mark.parametrize("value_type", ValueType)
def test_the_consumer_takes_what_is_written(value_type: ValueType, monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = configuration_entry(monkeypatch)
    written = schema_bytes([Entry("a", "a.b[0].c", default_for(value_type), value_type)])
    (read,) = json.loads(written)
    assert consumer.from_dict(read).to_dict(by_alias=True) == read
    assert schema_faults(written) == []


def test_the_consumer_refuses_what_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = configuration_entry(monkeypatch)
    for changes in (
        {"name": ""},
        {"path": ""},
        {"name": 7},
        {"valueDataType": "NUMERICAL_INT"},
        {"colour": 1},
    ):
        text = entry(**changes)
        assert schema_faults(text)
        with pytest.raises(ValueError, match=r"."):
            consumer.from_dict(json.loads(text)[0])
    # What its model lets pass, and a run would trip over later.
    unchecked = entry(defaultValue="zero")
    assert schema_faults(unchecked)
    assert consumer.from_dict(json.loads(unchecked)[0]).default_value == "zero"


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("weather", ("weather",)),
        ("weather.temperature", ("weather", "temperature")),
        ("myArray[0].field", ("myArray", "[0]", "field")),
        ("a[0][12]", ("a", "[0]", "[12]")),
        ("with space.é", ("with space", "é")),
    ],
)
def test_paths_are_split(path: str, steps: tuple[str, ...]) -> None:
    assert split_path(path) == steps


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[", "a]", "a[x]", "[0]", "a[0]b", "a[-1]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        split_path(path)


def test_column_names_that_would_mean_something_else() -> None:
    assert [name for name in ("a", "a.b", "a[0]", "a]", "a b") if column_is_ambiguous(name)] == [
        "a.b",
        "a[0]",
        "a]",
    ]


def test_key_paths_that_cannot_both_hold_a_value() -> None:
    assert overlapping([("a", "b"), ("a",), ("ab",), ("a", "b", "c")]) == [
        (("a",), ("a", "b")),
        (("a",), ("a", "b", "c")),
        (("a", "b"), ("a", "b", "c")),
    ]


@pytest.mark.parametrize(
    ("kinds", "inferred"),
    [
        ([Observed.INTEGER], ValueType.NUMERIC_INT),
        ([Observed.FLOAT], ValueType.NUMERIC_FLOAT),
        ([Observed.INTEGER, Observed.FLOAT, Observed.INTEGER], ValueType.NUMERIC_FLOAT),
        ([Observed.BOOLEAN, Observed.BOOLEAN], ValueType.CATEGORICAL_BOOLEAN),
        ([Observed.STRING], ValueType.CATEGORICAL_STRING),
        ([Observed.STRING, Observed.INTEGER], None),
        ([Observed.BOOLEAN, Observed.INTEGER], None),
        ([Observed.OTHER], None),
        ([], None),
    ],
)
def test_inference(kinds: list[Observed], inferred: ValueType | None) -> None:
    assert infer(kinds) is inferred


def test_defaults_and_expectations() -> None:
    assert default_for(ValueType.NUMERIC_INT) == 0
    assert repr(default_for(ValueType.NUMERIC_FLOAT)) == "0.0"
    assert default_for(ValueType.CATEGORICAL_BOOLEAN) is False
    assert default_for(ValueType.CATEGORICAL_STRING) == "undefined"
    assert expected(ValueType.CATEGORICAL_BOOLEAN) == "true or false"


def test_entries_in_place_stay_and_new_ones_follow_sorted() -> None:
    hand_made = Entry("Temperature in °C", "weather.temp", -1, ValueType.NUMERIC_INT)
    merged = merge(
        [hand_made],
        {
            "weather.temp": ValueType.NUMERIC_FLOAT,  # types never flip
            "b": ValueType.CATEGORICAL_STRING,
            "a": ValueType.NUMERIC_FLOAT,
        },
    )
    assert merged.entries == (
        hand_made,
        Entry("a", "a", 0.0, ValueType.NUMERIC_FLOAT),
        Entry("b", "b", "undefined", ValueType.CATEGORICAL_STRING),
    )
    assert merged.added == ("a", "b")
    assert not merged.unchanged
    assert merge(merged.entries, {"a": ValueType.CATEGORICAL_INT}).unchanged


def test_a_name_that_is_taken() -> None:
    taken = [
        Entry("scene", "old", 0, ValueType.NUMERIC_INT),
        Entry("scene (2)", "older", 0, ValueType.NUMERIC_INT),
    ]
    merged = merge(taken, {"scene": ValueType.CATEGORICAL_STRING})
    assert merged.entries[-1] == Entry("scene (3)", "scene", "undefined", ValueType.CATEGORICAL_STRING)


def test_paths_that_no_entry_can_have_are_left_out_and_named() -> None:
    in_place = [Entry("t", "weather.temp", 0, ValueType.NUMERIC_INT)]
    observed = dict.fromkeys(
        ["weather", "weather.temp.c", "lightlyId", "a..b", "weather.wind"], ValueType.NUMERIC_INT
    )
    merged = merge(in_place, observed)
    assert merged.added == ("weather.wind",)
    assert merged.left_out == ("a..b", "lightlyId", "weather", "weather.temp.c")
    assert schema_faults(schema_bytes(merged.entries)) == []
