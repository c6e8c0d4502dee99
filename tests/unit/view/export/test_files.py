"""The table as Parquet, CSV and JSON lines, read back by other programs' readers."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tree_rows import database_with, of_media

from metaferry.errors import UsageError
from metaferry.view.export import rows
from metaferry.view.export.files import (
    FileFormat,
    format_of,
    head_of,
    write_lines,
    write_parquet,
)
from metaferry.view.export.values import load_as_written

HOSTILE: dict[str, Any] = {
    "text": 'a "b", c\nd\re\\ü\x00\x1f',
    "empty": "",
    "float": 1e16,
    "small": 1e-07,
    "whole": 3.0,
    "int": -(2**63),
    "large": 2**64,
    "ok": False,
    "list": [0.1, None, 2.0],
    "objects": [{"a": 1, "b": "x"}, {"a": None}],
    'key, with "quotes"': "k",
}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.parquet", FileFormat("parquet")),
        ("s3://b/X.PQ", FileFormat("parquet")),
        ("x.csv", FileFormat("csv")),
        ("x.csv.gz", FileFormat("csv", "gzip")),
        ("a.b/x.jsonl.zst", FileFormat("jsonl", "zstd")),
        ("x.ndjson", FileFormat("jsonl")),
        ("https://host/x.csv?sig=a.parquet", FileFormat("csv")),
    ],
)
def test_the_name_says_the_format(name: str, found: FileFormat) -> None:
    assert format_of(name) == found


@pytest.mark.parametrize(
    "name", ["x", "x.txt", ".parquet", "csv", "x.parquet.gz", "x.gz", "x.json", "a.csv/x"]
)
def test_a_name_that_says_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="does not say"):
        format_of(name)


def text_file(path: Path, given: FileFormat) -> None:
    with database_with([]) as database:
        values = load_as_written(database, [of_media("a.png", HOSTILE), of_media("b.png", {})])
        head = head_of(given.format, rows.text_columns(database, values))
        written = write_lines(
            path, head, rows.lines(database, values, given.format, as_written=True), given.compression
        )
    assert written == 2


def test_csv_tells_empty_text_from_a_missing_value(tmp_path: Path) -> None:
    text_file(tmp_path / "x.csv", FileFormat("csv"))
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert first["text"] == HOSTILE["text"]
    assert (first["float"], first["small"], first["whole"]) == ("1e+16", "1e-07", "3.0")
    assert (first["int"], first["large"], first["ok"]) == (str(-(2**63)), str(2**64), "false")
    assert json.loads(first["list"]) == HOSTILE["list"]
    assert json.loads(first["objects"]) == [{"a": 1, "b": "x"}, {}]
    assert first['key, with "quotes"'] == "k"
    assert second["empty"] == ""
    lines = (tmp_path / "x.csv").read_bytes().split(b"\n")
    assert b',"",' in b"".join(lines[1:-2])  # the empty text of the first row
    assert b'""' not in lines[-2]  # the missing one of the second


def test_json_lines_have_every_key_and_numbers_as_documents_have_them(tmp_path: Path) -> None:
    text_file(tmp_path / "x.jsonl.gz", FileFormat("jsonl", "gzip"))
    lines = gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).decode().split("\n")
    first, second = map(json.loads, lines[:2])
    assert lines[2:] == [""]
    assert {key: first[key] for key in HOSTILE if key != "objects"} == {
        key: value for key, value in HOSTILE.items() if key != "objects"
    }
    assert '"whole":3.0' in lines[0]
    assert all(second[key] is None for key in HOSTILE)
    assert (second["target"], second["frame"]) == (".lightly/metadata/b.json", None)


def test_parquet_has_typed_columns_and_what_belongs_to_them(tmp_path: Path) -> None:
    with database_with([]) as database:
        documents = [of_media(f"{n:06d}.png", HOSTILE | {"n": n}) for n in range(3)]
        values = load_as_written(database, documents)
        written = write_parquet(
            tmp_path / "x.parquet",
            rows.schema_of(values),
            rows.batches(database, values, as_written=True),
            {"schema.json": b"[]"},
        )
    table = pq.read_table(tmp_path / "x.parquet")
    assert written == table.num_rows == 3
    assert table.schema.metadata[b"schema.json"] == b"[]"
    assert table.schema.field("large").type == pa.decimal128(38, 0)
    assert table.column("text")[0].as_py() == HOSTILE["text"]
    assert table.column("n").to_pylist() == [0, 1, 2]


def test_a_table_without_rows_is_a_file_too(tmp_path: Path) -> None:
    with database_with([]) as database:
        values = load_as_written(database, [])
        batches = rows.batches(database, values, as_written=True)
        assert write_parquet(tmp_path / "x.parquet", rows.schema_of(values), batches, {}) == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 0
