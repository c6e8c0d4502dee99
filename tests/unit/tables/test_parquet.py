"""Parquet: columns that are used, types between files, values as they stand."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.errors import JobError
from unit.tables.table_loading import left_in, load, sealed


def write(path: Path, columns: dict[str, Any], **more: Any) -> Path:
    pq.write_table(pa.table(columns), path, **more)
    return path


def test_types_pass_unchanged(tmp_path: Path) -> None:
    columns = {
        "file_name": pa.array(["a", "b"], pa.large_string()),
        "scene": pa.array(["city", None]).dictionary_encode(),
        "n": pa.array([2**62, None], pa.int64()),
        "u": pa.array([2**64 - 1, None], pa.uint64()),
        "f": pa.array([0.1, None], pa.float32()),
        "d": pa.array([decimal.Decimal("1.50"), None]),
        "day": pa.array([dt.date(2026, 1, 2), None]),
        "at": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("us")),
        "z": pa.array([dt.datetime(2026, 1, 2, 3, 4, 5), None], pa.timestamp("us", "Europe/Berlin")),
        "b": pa.array([True, None]),
        "l": pa.array([[1, 2], None]),
        "w": pa.array([{"t": 1.5, "in": {"x": "y"}}, None]),
        "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    }
    result = load(write(tmp_path / "t.parquet", columns))
    assert result.types == {
        "scene": "VARCHAR",
        "n": "BIGINT",
        "u": "UBIGINT",
        "f": "FLOAT",
        "d": "DECIMAL(3,2)",
        "day": "DATE",
        "at": "TIMESTAMP",
        "z": "TIMESTAMP WITH TIME ZONE",
        "b": "BOOLEAN",
        "l": "BIGINT[]",
        "w.t": "DOUBLE",
        "w.in.x": "VARCHAR",
        "m": "MAP(VARCHAR, BIGINT)",
    }
    first, second = result.rows
    assert (first["row"], second["row"]) == (1, 2)
    assert first["n"] == 2**62
    assert first["u"] == 2**64 - 1
    assert first["d"] == decimal.Decimal("1.50")
    assert first["w.in.x"] == "y"
    assert first["z"] == "2026-01-02 03:04:05+00"
    assert first["l"] == [1, 2]
    assert {second[key] for key in result.types} == {None}


def test_rows_are_numbered_within_their_file(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(300_000)]
    write(tmp_path / "1.parquet", {"file_name": names}, row_group_size=70_000)
    write(tmp_path / "2.pq", {"file_name": ["x"]})
    result = load(tmp_path / "*.p*q*")
    assert result.loaded.read == 300_001
    assert result.con.execute(
        "SELECT count(*) FROM source_0 WHERE file_name = (\"row\" - 1) || '.png' AND file = 0"
    ).fetchall() == [(300_000,)]
    assert [file.rows for file in result.loaded.files] == [300_000, 1]


def test_only_used_columns_are_read(tmp_path: Path) -> None:
    columns = {"file_name": ["a"], "x": [1], "thumb": [b"\x00"], "x.y": [2], "s": [{"x": 3}]}
    path = write(tmp_path / "t.parquet", columns)
    assert load(path, metadata={"x": "x", "y": '"x.y"', "s": "s.x"}).types == {
        "x": "BIGINT",
        "y": "BIGINT",
        "s": "BIGINT",
    }


def test_a_constant_needs_no_column(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"file_name": ["a", "b"]})
    result = load(path, file_name="'one.png'", metadata={"x": "1"})
    assert result.values("file_name") == ["one.png", "one.png"]
    assert result.values("row") == [1, 2]


@pytest.mark.parametrize(
    ("first", "second", "type", "values"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40], pa.int64()), "BIGINT", [1, 2**40]),
        (pa.array([1], pa.uint8()), pa.array([-1], pa.int16()), "SMALLINT", [1, -1]),
        (pa.array([1], pa.int64()), pa.array([2.5], pa.float64()), "DOUBLE", [1.0, 2.5]),
        (pa.array([0.1], pa.float32()), pa.array([0.1], pa.float64()), "DOUBLE", [0.1, 0.1]),
        (pa.array([None], pa.null()), pa.array(["x"]), "VARCHAR", [None, "x"]),
        (pa.array(["x"]).dictionary_encode(), pa.array(["y"], pa.large_string()), "VARCHAR", ["x", "y"]),
    ],
)
def test_types_of_files_become_their_common_type(
    tmp_path: Path, first: pa.Array, second: pa.Array, type: str, values: list[Any]
) -> None:
    for names in (("1", "2"), ("2", "1")):
        for name, column in zip(names, (first, second), strict=True):
            write(tmp_path / f"{name}.parquet", {"file_name": ["a"], "x": column})
        result = load(tmp_path / "*.parquet")
        assert result.types == {"x": type}
        assert result.values("x") == (values if names[0] == "1" else values[::-1])


def test_files_that_cannot_agree_are_named(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"file_name": ["a"], "x": [1]})
    write(tmp_path / "2.parquet", {"file_name": ["a"], "x": ["one"]})
    with pytest.raises(JobError, match=r"the column x is string in .*2\.parquet and int64 in files before"):
        load(tmp_path / "*.parquet")
    write(tmp_path / "2.parquet", {"file_name": ["a"]})
    assert load(tmp_path / "*.parquet").values("x") == [1, None]
    assert load(tmp_path / "*.parquet", metadata={}).loaded.read == 2


def test_an_integer_that_no_double_holds_is_not_rounded(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", {"file_name": ["a"], "x": [2**53 + 1]})
    write(tmp_path / "2.parquet", {"file_name": ["a"], "x": [0.5]})
    with pytest.raises(JobError, match=r"1\.parquet: the column x is int64 and does not fit double"):
        load(tmp_path / "*.parquet")


def test_a_column_that_no_document_holds_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"file_name": ["a"], "thumb": [b"\x00"], "x": [1]})
    with pytest.raises(
        JobError, match=r"metadata\.thumb: thumb is BLOB, which a document cannot hold"
    ) as caught:
        load(path)
    assert "leave this one out" in caught.value.advice
    with pytest.raises(JobError, match="raw is BLOB"):
        load(path, metadata={"raw": "thumb"})
    assert load(path, metadata={"x": "x"}).values("x") == [1]


def test_a_type_that_the_engine_does_not_know_is_named(tmp_path: Path) -> None:
    wide = pa.array([decimal.Decimal(1)], pa.decimal256(60, 0))
    path = write(tmp_path / "t.parquet", {"file_name": ["a"], "wide": wide})
    with pytest.raises(JobError, match="the column wide is decimal256"):
        load(path)


def test_columns_that_sql_cannot_tell_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"file_name": ["a"], "X": [1], "x": [2], "y": [3]})
    with pytest.raises(JobError, match="called X and x, which differ in letter case only"):
        load(path)
    assert load(path, metadata={"y": "y"}).values("y") == [3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no Parquet file: it is empty"),
        (b"no parquet", "is text, not Parquet"),
        (b"\x00\x01", "cannot be read as Parquet"),
        (b"PAR1" + b"\x00" * 100 + b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(JobError, match=rf"t\.parquet {message}"):
        load(tmp_path / "t.parquet")


def test_a_damaged_page_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    names = [f"{n}" for n in range(10_000)]
    path = write(tmp_path / "t.parquet", {"file_name": names}, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[8_000] ^= 1
    path.write_bytes(data)
    con = sealed()
    with pytest.raises(JobError, match="cannot be read as Parquet"):
        load(path, con=con)
    assert left_in(con) == {"rejects", "findings"}


def test_text_that_is_not_utf8_is_named_with_its_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9"] * 100_000, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    path = write(tmp_path / "t.parquet", {"file_name": text}, use_dictionary=False)
    with pytest.raises(JobError, match=r"t\.parquet: the column file_name is damaged in row 2: .*UTF8"):
        load(path)
    nested = pa.StructArray.from_arrays([text], names=["x"])
    path = write(tmp_path / "t.parquet", {"file_name": ["a"] * len(raw), "s": nested}, use_dictionary=False)
    with pytest.raises(JobError, match="the column s is damaged in row 2"):
        load(path)


def test_an_archive_around_it_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", {"file_name": ["a"]}).rename(tmp_path / "t.parquet.gz")
    with pytest.raises(JobError, match="compressed inside"):
        load(tmp_path / "t.parquet.gz")


def test_a_table_without_rows_keeps_its_types(tmp_path: Path) -> None:
    empty = pa.schema([("file_name", pa.string()), ("n", pa.int32())]).empty_table()
    pq.write_table(empty, tmp_path / "t.parquet")
    result = load(tmp_path / "t.parquet", frame="n", metadata={"n": "n + 1"})
    assert (result.rows, result.loaded.read, result.types) == ([], 0, {"n": "INTEGER"})


def test_half_floats_are_numbers_by_their_fewest_digits(tmp_path: Path) -> None:
    given = [0.1, 2.5, None, 65504.0, 1e-7, -0.3333, 6e-8, 0.0]
    halves = pa.array(given, pa.float64()).cast(pa.float16())
    lists = pa.array([[0.5]] * len(given), pa.list_(pa.float64())).cast(pa.list_(pa.float16()))
    names = pa.array([f"{n}.png" for n in range(len(given))])
    pq.write_table(pa.table({"file_name": names, "x": halves, "xs": lists}), tmp_path / "t.parquet")
    result = load(tmp_path / "t.parquet")
    assert result.types["x"] == "DOUBLE"
    assert result.values("x") == [0.1, 2.5, None, 65500.0, 1e-7, -0.3333, 6e-8, 0.0]
    assert result.values("xs") == [[0.5]] * len(given)


def test_columns_that_nobody_uses_break_nothing(tmp_path: Path) -> None:
    """A name that stands twice, one in another case, none at all, a type that nobody can load."""
    view = pa.array(["a"]).cast(pa.string_view())
    names = ["file_name", "x", "y", "y", "Y", "", "odd"]
    table = pa.Table.from_arrays([["a"], [1], [2], [3], [4], [5], view], names=names)
    pq.write_table(table, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet", metadata={"x": "x"}).values("x") == [1]
    with pytest.raises(JobError, match="columns 3 and 4 are both called y"):
        load(tmp_path / "t.parquet")


def test_the_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    table = pa.table({"file_name": ["a"], "x": [1], "": [2], "__index_level_0__": [7]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").types == {"x": "BIGINT"}
    assert load(tmp_path / "t.parquet", metadata={"n": "__index_level_0__"}).values("n") == [7]


def test_columns_are_united_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a"], "x": pa.array([1], pa.int32())}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"y": ["q"], "FILE_NAME": ["b"], "X": [2**40]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"other": [1, 2]}), tmp_path / "3.parquet")
    result = load(tmp_path / "*.parquet", metadata={"x": "x", "y": "y"})
    assert result.values("file_name") == ["a", "b", None, None]
    assert (result.values("x"), result.values("y")) == ([1, 2**40, None, None], [None, "q", None, None])
    assert [file.rows for file in result.loaded.files] == [1, 1, 2]


def test_instants_of_different_zones_are_one_column(tmp_path: Path) -> None:
    for n, zone in enumerate(["Europe/Berlin", "UTC", "+05:30"]):
        at = pa.array([1_700_000_000_000_000 + n], pa.timestamp("us", zone))
        pq.write_table(pa.table({"file_name": [f"{n}"], "at": at}), tmp_path / f"{n}.parquet")
    result = load(tmp_path / "*.parquet")
    assert result.types == {"at": "TIMESTAMP WITH TIME ZONE"}
    assert result.values("at") == [
        f"2023-11-14 22:13:20.00000{n}+00".replace(".000000", "") for n in range(3)
    ]
