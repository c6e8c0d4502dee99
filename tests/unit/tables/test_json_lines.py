"""JSON lines: what is a record, structure over all lines, values as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.json.line_reader import is_one_a_line
from unit.tables.table_loading import Result, load


@pytest.fixture
def jsonl(tmp_path: Path) -> Any:
    def loaded(*lines: Any, **more: Any) -> Result:
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (tmp_path / "t.jsonl").write_bytes(b"\n".join(raw))
        return load(tmp_path / "t.jsonl", **more)

    return loaded


def column(jsonl: Any, *values: Any) -> Result:
    result: Result = jsonl(*({"file_name": f"{n}.png", "x": value} for n, value in enumerate(values)))
    return result


@pytest.mark.parametrize(
    ("given", "type", "values"),
    [
        ([1, None, -5], "BIGINT", [1, None, -5]),
        ([2**53 + 1, -(2**63)], "BIGINT", [2**53 + 1, -(2**63)]),
        ([2**63, 1], "HUGEINT", [2**63, 1]),
        ([2**127 - 1, -(2**127) + 1], "HUGEINT", [2**127 - 1, -(2**127) + 1]),
        ([10**40, 1], "VARCHAR", [str(10**40), "1"]),
        ([1, 2.5], "DOUBLE", [1.0, 2.5]),
        ([0.1, 1e-7, 1e300, -0.0], "DOUBLE", [0.1, 1e-7, 1e300, -0.0]),
        ([2**53 + 1, 0.5], "VARCHAR", [str(2**53 + 1), "0.5"]),
        ([True, None, False], "BOOLEAN", [True, None, False]),
        (["a", "", None], "VARCHAR", ["a", "", None]),
        (["2026-01-02", "2026-01-03T10:00:00Z"], "VARCHAR", ["2026-01-02", "2026-01-03T10:00:00Z"]),
        (["007", "1.50"], "VARCHAR", ["007", "1.50"]),
        (["é\u0000\n\"\\", "🚗"], "VARCHAR", ["é\u0000\n\"\\", "🚗"]),
        # several kinds: text, as JSON writes it
        ([True, 1, "x"], "VARCHAR", ["true", "1", "x"]),
        ([{"a": 1}, 2], "VARCHAR", ['{"a":1}', "2"]),
        ([[1], "q"], "VARCHAR", ["[1]", "q"]),
        ([[1, 2], []], "BIGINT[]", [[1, 2], []]),
        ([[1, 2.5]], "DOUBLE[]", [[1.0, 2.5]]),
        ([[1, "a"], [None]], "VARCHAR[]", [["1", "a"], [None]]),
        (
            [[{"a": 1}, {"b": "x"}]],
            "STRUCT(a BIGINT, b VARCHAR)[]",
            [[{"a": 1, "b": None}, {"a": None, "b": "x"}]],
        ),
        ([None, None], "VARCHAR", [None, None]),
        ([{}, None], "VARCHAR", [None, None]),
    ],
)  # fmt: skip
def test_values_stay_what_they_are(jsonl: Any, given: list[Any], type: str, values: list[Any]) -> None:
    result = column(jsonl, *given)
    assert result.types == {"x": type}
    assert [repr(value) for value in result.values("x")] == [repr(value) for value in values]


def test_an_infinite_number_is_left_to_the_planner(jsonl: Any) -> None:
    assert jsonl(b'{"file_name": "a", "x": 1e400}').values("x") == [float("inf")]


def test_objects_part_into_key_paths(jsonl: Any) -> None:
    result = jsonl(
        {"file_name": "a", "weather": {"temperature": 1, "sky": {"cover": "clear"}}},
        {"file_name": "b", "weather": {"temperature": 2.5, "empty": {}}},
        {"file_name": "c", "weather": None},
    )
    assert result.types == {"weather.temperature": "DOUBLE", "weather.sky.cover": "VARCHAR"}
    assert result.values("weather.temperature") == [1.0, 2.5, None]
    assert result.values("weather.sky.cover") == ["clear", None, None]


def test_fields_are_used_in_expressions(jsonl: Any) -> None:
    result = jsonl(
        {"image": {"path": "a"}, "w": {"t": 50}},
        file_name="image.path",
        metadata={"weather.c": "(w.t - 32) * 5 / 9", "all": "w"},
    )
    assert result.rows[0]["file_name"] == "a"
    assert result.types == {"weather.c": "DOUBLE", "all.t": "BIGINT"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"file_name": "x", "v": -NaN}', "not valid JSON"),
        (b'{"v": NaN, "v": 1}', "the key v stands twice"),
        (b'{"v": 1', "not valid JSON"),
        (b'{"v": 1,}', "not valid JSON"),
        (b'{"v": 01}', "not valid JSON"),
        (b"{'v': 1}", "not valid JSON"),
        (b'{"v": "a\tb"}', "not valid JSON: Invalid control character at column"),
        (b'{"v": 1} {"v": 2}', "more after its value at column 10"),
        (b"nothing", "a value is expected at column 1"),
        (b"5", "is no JSON object"),
        (b'"text"', "is no JSON object"),
        (b'{"v": 1, "w": {"b": 1, "b": 2}}', "the key b stands twice"),
        (b'{"v": "caf\xe9"}', "is not UTF-8: byte 0xe9 at column 11"),
        (b'{"v": "\\ud83d x"}', "half a surrogate pair"),
        (b'{"v": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"v": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32 levels"),
        (b'{"v": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 32 levels"),
    ],
)
def test_a_line_that_is_no_record_is_named_and_the_rest_read(jsonl: Any, line: bytes, message: str) -> None:
    result = jsonl({"file_name": "a", "v": 1}, b"", line, b'\t{"file_name": "b", "v": 2}\r')
    assert result.values("file_name") == ["a", "b"]
    assert result.types == {"v": "BIGINT"}  # the bad line has left no trace
    assert result.values("row") == [1, 4]
    ((row, said),) = result.rejects
    assert row == 3
    assert message in said
    assert (result.loaded.read, result.loaded.malformed) == (3, 1)


def test_a_surrogate_pair_is_a_character(jsonl: Any) -> None:
    assert jsonl(b'{"file_name": "\\ud83d\\ude97"}').values("file_name") == ["🚗"]


def test_keys_that_differ_in_case_are_named_with_the_line(jsonl: Any) -> None:
    with pytest.raises(JobError, match=r"t\.jsonl, line 2: the keys Scene and scene differ in letter case"):
        jsonl({"file_name": "a", "Scene": 1}, {"file_name": "b", "scene": 1})
    with pytest.raises(JobError, match=r"the keys T and t differ in letter case only \(in w\)"):
        jsonl({"file_name": "a", "w": {"T": 1, "t": 2}})


def test_keys_that_are_not_used_may_be_anything(jsonl: Any) -> None:
    result = jsonl({"file_name": "a", "Scene": 1, "scene": 2, "": 3, "x": 4}, metadata={"x": "x"})
    assert result.values("x") == [4]


def test_a_key_twice_is_a_fault_where_it_is_used(jsonl: Any) -> None:
    lines = (
        b'{"file_name": "a", "x": 1, "y": 1, "y": "z"}',
        b'{"file_name": "b", "x": 2, "w": {"b": 1, "b": 2}}',
        b'{"file_name": "c", "x": 3, "x": 4}',
    )
    result = jsonl(*lines, metadata={"x": "x"})
    assert (result.values("file_name"), result.values("x")) == (["a", "b"], [1, 2])
    assert result.rejects == [(3, "the key x stands twice in one object")]
    assert [row for row, _ in jsonl(*lines).rejects] == [1, 2, 3]


@pytest.mark.slow
def test_keys_that_are_data_are_refused(jsonl: Any) -> None:
    with pytest.raises(JobError, match="more than 4,096 different keys"):
        jsonl({"file_name": "a", "by_id": {f"k{n}": n for n in range(5000)}})
    many = [{"file_name": "a", "x": 1, f"k{n}": n} for n in range(5000)]
    assert len(jsonl(*many, metadata={"x": "x"}).rows) == 5000


def test_an_empty_key_is_left_out_and_refused_where_it_is_used(jsonl: Any) -> None:
    assert jsonl({"file_name": "a", "": 1, "x": 2, "__index_level_0__": 3}).types == {"x": "BIGINT"}
    with pytest.raises(JobError, match="a key without a usable name"):
        jsonl({"file_name": "a", "x": {"": 1}})


def test_a_file_without_lines(jsonl: Any) -> None:
    for content in (b"", b"\n\n", b'{"bad"'):
        result = jsonl(content, frame="f", metadata={"a.b": "x.y + 1"})
        assert result.rows == []
        assert result.types == {"a.b": "VARCHAR"}
        assert jsonl(content).types == {}


def test_objects_without_keys_are_rows_without_a_name(jsonl: Any) -> None:
    with pytest.raises(JobError, match="has no column file_name"):
        jsonl({})
    assert jsonl({}, {"file_name": "a"}).values("file_name") == [None, "a"]


def test_why_a_column_is_text_is_said_with_the_lines(jsonl: Any) -> None:
    with pytest.raises(JobError) as caught:
        jsonl({"file_name": "a", "t": 1}, {"file_name": "b", "t": "warm"}, metadata={"t": "t * 2"})
    assert "the column t is text, since line 1 holds a number, line 2 holds text" in caught.value.message
    assert "try_cast(t AS DOUBLE)" in caught.value.advice


def test_lines_keep_their_numbers_over_pieces(jsonl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaferry.tables.files.blocks.BLOCK", 64)
    lines = [{"file_name": "n" * (n % 90), "x": n} for n in range(500)]
    result = jsonl(*lines)
    assert result.values("row") == list(range(1, 501))
    assert result.values("x") == list(range(500))
    assert len(result.values("file_name")[89]) == 89


@pytest.mark.parametrize(
    ("lines", "one_a_line"),
    [
        (['{"a": 1}', '{"a": 2}', '{"a": 3}'], True),
        (['{"a": 1}', '{"b": 2}', "{}"], True),  # another first key, or none
        (['{"a\\"b": 1}', '{"a\\"b": 2}'], True),
        (["{}", "{}"], True),
        (['{"a": 1}', '{"a": 2} {"a": 3}', '{"a":', "4}"], False),
        (['{"a": 1} {"a": 2}', '{"a":', "3}"], False),
        (['{"a": 1}', "", '{"a": 2}'], False),
        (['{"a": 1}', ' {"a": 2}'], False),
        (['["a"]', '{"a": 2}'], False),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_read_at_once_where_each_is_an_object(lines: list[str], end: str, one_a_line: bool) -> None:
    assert is_one_a_line(end.join(lines).encode(), len(lines)) is one_a_line


def test_two_objects_in_a_line_are_named_however_many_lines_are_right(jsonl: Any) -> None:
    right = [{"file_name": f"{n}.png", "x": n} for n in range(5_000)]
    # As many objects as lines, so a count of both shows nothing.
    wrong = [b'{"file_name": "p", "x": 1} {"file_name": "q", "x": 2}', b'{"file_name": "r",', b'"x": 3}']
    result = jsonl(*right, *wrong, *right)
    assert (result.loaded.read, result.loaded.malformed) == (10_003, 3)
    assert sorted(result.values("x")) == sorted(2 * [*range(5_000)])


@pytest.mark.parametrize("zero", ["-0", "-0.0", "0", "-0e0"])
def test_a_zero_among_many_numbers_is_what_it_is_alone(jsonl: Any, zero: str) -> None:
    lines = [b'{"file_name": "f%d", "x": %b}' % (n, b"-0.5") for n in range(2_000)]
    lines[1_500] = b'{"file_name": "the zero", "x": %b}' % zero.encode()
    among = jsonl(*lines)
    number = among.values("file_name").index("the zero")
    alone = jsonl(b'{"file_name": "f", "x": %b}' % zero.encode(), b'{"file_name": "g", "x": -0.5}')
    assert str(among.values("x")[number]) == str(alone.values("x")[0])


def test_nan_and_infinity_are_null_and_named(jsonl: Any) -> None:
    result = jsonl(
        {"file_name": "a", "n": 1, "s": "x", "b": True, "l": [1.5], "o": {"x": 1}},
        b'{"file_name": "b", "n": NaN, "s": NaN, "b": NaN, "l": [-Infinity, 2], "o": {"x": Infinity}}',
        b'{"file_name": "NaN", "n": 2, "s": "a \\"NaN\\" b", "l": NaN, "o": NaN}',
    )
    # They change no type: a whole number stays one, and text gets no cell that says NaN.
    assert result.types == {"n": "BIGINT", "s": "VARCHAR", "b": "BOOLEAN", "l": "DOUBLE[]", "o.x": "BIGINT"}
    assert result.values("n") == [1, None, 2]
    assert result.values("s") == ["x", None, 'a "NaN" b']
    assert result.values("l") == [[1.5], [None, 2.0], None]
    assert result.values("o.x") == [1, None, None]
    assert result.values("file_name") == ["a", "b", "NaN"]
    assert result.rejects == []
    assert {code for code, _, _ in result.findings} == {"value.not_finite"}
    assert [(row, message) for _, row, message in result.findings] == [
        (2, "b is NaN, which JSON cannot hold: the key is left out"),
        (2, "l[0] is -Infinity, which JSON cannot hold: the list has null there"),
        (2, "n is NaN, which JSON cannot hold: the key is left out"),
        (2, "o.x is Infinity, which JSON cannot hold: the key is left out"),
        (2, "s is NaN, which JSON cannot hold: the key is left out"),
        (3, "l is NaN, which JSON cannot hold: the key is left out"),
        (3, "o is NaN, which JSON cannot hold: the key is left out"),
    ]


def test_nan_in_a_key_that_is_not_used_is_not_named(jsonl: Any) -> None:
    result = jsonl(b'{"file_name": "a", "v": NaN, "w": 1}', metadata={"w": "w"})
    assert (result.values("w"), result.findings) == ([1], [])
