"""From columns to key paths, file names and frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.errors import JobError
from metaferry.planning.sql.rules import storable
from metaferry.tables.records.leaves import leaves, unfit
from unit.tables.table_loading import Result, load


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def loaded(text: str, **more: Any) -> Result:
        (tmp_path / "t.csv").write_text(text)
        return load(tmp_path / "t.csv", **more)

    return loaded


@pytest.fixture
def jsonl(tmp_path: Path) -> Any:
    def loaded(*lines: Any, **more: Any) -> Result:
        (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
        return load(tmp_path / "t.jsonl", **more)

    return loaded


def test_all_other_columns_are_taken(csv: Any) -> None:
    result = csv("id,folder,f,scene,n\n7,x,3,city,1\n", file_name="folder || '/' || id || '.mp4'", frame="f")
    assert result.types == {"scene": "VARCHAR", "n": "BIGINT"}
    (row,) = result.rows
    assert (row["file_name"], row["frame"], row["frame_index"], row["frame_bad"]) == ("x/7.mp4", "3", 3, None)
    assert result.loaded.has_frame


def test_the_same_column_may_be_used_twice(csv: Any) -> None:
    result = csv("file_name,n\na,1\n", metadata={"name": "file_name", "a.b": "n", "a.c": "n"})
    assert result.rows[0] | {"name": "a", "a.b": 1, "a.c": 1} == result.rows[0]


def test_no_metadata_at_all(csv: Any) -> None:
    result = csv("file_name,n\na,1\n", metadata={})
    assert (result.loaded.keys, len(result.rows)) == ((), 1)


def test_without_a_frame_its_columns_are_null(csv: Any) -> None:
    (row,) = csv("file_name\na\n").rows
    assert (row["frame"], row["frame_index"], row["frame_bad"]) == (None, None, None)
    assert not csv("file_name\na\n").loaded.has_frame


def test_a_file_name_is_text_as_it_stands(csv: Any, jsonl: Any) -> None:
    assert csv("file_name\n ./a b.png\n").values("file_name") == [" ./a b.png"]
    assert csv("n\n12\n", file_name="n").values("file_name") == ["12"]
    with pytest.raises(JobError, match=r"sources\[0\]\.file_name: a file name cannot be BIGINT\[\]"):
        jsonl({"file_name": [1]})
    with pytest.raises(JobError, match="a file name cannot be STRUCT"):
        jsonl({"file_name": {"a": 1}})


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        ([0, 5, None], [0, 5, None]),
        ([-1], [-1]),
        ([3.0, 4.5, None], [3, "4.5", None]),
        ([True, False], ["true", "false"]),
        (["7", "08", "9.0", "x", "", "1e3", " 1"], [7, 8, 9, "x", "", "1e3", " 1"]),
        ([2**53, 2**53 - 1], [str(2**53), 2**53 - 1]),
        ([2**63 - 1], [str(2**63 - 1)]),
        ([2**100], [str(2**100)]),
        ([1e300], ["1e+300"]),
        ([[1]], ["[1]"]),
        ([None], [None]),
    ],
)
@pytest.mark.parametrize("base", [0, 1])
def test_frames_are_whole_numbers(jsonl: Any, values: list[Any], frames: list[Any], base: int) -> None:
    """Where `frames` has text, the frame is bad and that is its text."""
    lines = [{"file_name": "v.mp4", "f": value} for value in values]
    result = jsonl(*lines, frame={"value": "f", "base": base}, metadata={})
    assert result.values("frame_index") == [
        frame - base if isinstance(frame, int) else None for frame in frames
    ]
    assert result.values("frame_bad") == [frame if isinstance(frame, str) else None for frame in frames]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int16(), pa.uint32(), pa.uint64(), pa.float32()])
def test_frames_of_any_number_type(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"file_name": ["v"] * 2, "f": pa.array([1, None]).cast(kind)})
    pq.write_table(table, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet", frame="f").values("frame_index") == [1, None]
    decimal = pa.table({"file_name": ["v"] * 2, "f": pa.array([1, 2]).cast(pa.decimal128(25, 2))})
    pq.write_table(decimal, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet", frame="f / 1").values("frame_index") == [1, 2]


def test_frames_that_are_not_finite_are_bad(tmp_path: Path) -> None:
    table = pa.table({"file_name": ["v"] * 3, "f": [float("nan"), float("inf"), 2.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    result = load(tmp_path / "t.parquet", frame="f")
    assert result.values("frame_index") == [None, None, 2]
    assert result.values("frame_bad") == ["nan", "inf", None]


@pytest.mark.parametrize("name", ["a.b", "a[0]", "x]"])
def test_a_column_whose_name_reads_as_a_path_has_to_be_mapped(csv: Any, name: str) -> None:
    with pytest.raises(JobError, match=r"would be read as a path") as caught:
        csv(f"file_name,{name}\na,1\n")
    assert caught.value.place == "sources[0].metadata"
    assert f'"{name}"' in caught.value.advice
    assert csv(f"file_name,{name}\na,1\n", metadata={"k": f'"{name}"'}).values("k") == [1]


def test_a_field_whose_name_reads_as_a_path_has_to_be_mapped(jsonl: Any) -> None:
    with pytest.raises(JobError, match=r"a field of w is called 'a\.b'"):
        jsonl({"file_name": "a", "w": {"a.b": 1}})
    result = jsonl({"file_name": "a", "w": {"a.b": 1}}, metadata={"x": "w['a.b']"})
    assert result.values("x") == [1]


def test_reserved_keys_are_refused(csv: Any) -> None:
    with pytest.raises(JobError, match="keys that begin with lightly are reserved: lightly_id"):
        csv("file_name,lightly_id\na,1\n")
    assert csv("file_name,lightly_id\na,1\n", metadata={"id": "lightly_id"}).values("id") == [1]


def test_an_object_beside_other_keys(jsonl: Any) -> None:
    line = {"file_name": "a", "w": {"t": 1, "u": {"v": 2}}, "n": 3}
    assert jsonl(line, metadata={"x": "w", "y.t": "w.t", "y.u": "n"}).types == {
        "x.t": "BIGINT",
        "x.u.v": "BIGINT",
        "y.t": "BIGINT",
        "y.u": "BIGINT",
    }


def test_what_no_document_holds_is_named(csv: Any) -> None:
    text = "file_name,t\na,2026-01-02\n"
    for expression, kind in [
        ("INTERVAL 1 DAY", "INTERVAL"),
        ("encode(t)", "BLOB"),
        ("to_json(t)", "JSON"),
        ("row(t, 1)", "TUPLE"),
        ("map([1], [2])", "MAP"),
        ("union_value(a := 1)", "UNION"),
        ("[encode(t)]", "BLOB"),
        ("{'k': encode(t)}", "BLOB"),
    ]:
        with pytest.raises(JobError, match=rf"x is {kind}.*, which a document cannot hold"):
            csv(text, metadata={"x": expression})


TYPES = [
    "BOOLEAN", "TINYINT", "UHUGEINT", "BIGNUM", "FLOAT", "DOUBLE", "DECIMAL(38,10)", "VARCHAR", "UUID",
    "DATE", "TIME", "TIME_NS", "TIME WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "TIMESTAMP WITH TIME ZONE", "ENUM('a', 'b')", "INTEGER[]", "INTEGER[3]", "VARCHAR[][]", "BLOB", "BIT",
    "INTERVAL", "JSON", "JSON[]", "BLOB[2]", "STRUCT(a INTEGER, b VARCHAR[])", "STRUCT(a STRUCT(b BLOB))",
    "MAP(VARCHAR, INTEGER)", "MAP(INTEGER, VARCHAR)", "MAP(VARCHAR, BLOB)", "UNION(a INTEGER, b VARCHAR)",
    "VARIANT", "MAP(ENUM('a'), JSON)", '"NULL"', '"NULL"[]',
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_the_planner_agrees_on_what_documents_hold(kind: str) -> None:
    assert (unfit(kind) == "") == storable(kind)


def test_leaves_of_types() -> None:
    assert list(leaves("INTEGER[]")) == [((), "INTEGER[]")]
    assert list(leaves('STRUCT(a INTEGER, "b c" STRUCT(d VARCHAR[]), "E" STRUCT(f DATE))')) == [
        (("a",), "INTEGER"),
        (("b c", "d"), "VARCHAR[]"),
        (("E", "f"), "DATE"),
    ]
