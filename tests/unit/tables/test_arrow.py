"""Arrow IPC files and streams: what they hold comes out, in batches, and what is none is named."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metaferry.errors import JobError
from unit.tables.table_loading import load

TABLE = pa.table(
    {
        "file_name": ["a", "b", "c"],
        "x": pa.array([0.1, None, 2.5]).cast(pa.float16()),
        "scene": pa.array(["day", "night", "day"]).dictionary_encode(),
        "at": pa.array([1_700_000_000, None, 0], pa.timestamp("s", "Europe/Berlin")),
        "large": pa.array(["x", None, "y"], pa.large_string()),
        "deep": [{"y": [1]}, {"y": []}, None],
    }
)


def ipc(table: Any = TABLE, kind: str = "file", **options: Any) -> bytes:
    sink = io.BytesIO()
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=2):
            writer.write_batch(batch)
    return sink.getvalue()


def zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t", content)
    return sink.getvalue()


@pytest.mark.parametrize("block", [7, 1 << 22])
@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_files_and_streams_are_read(
    tmp_path: Path, kind: str, compression: str | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("blocks", "proof", "archives"):
        monkeypatch.setattr(f"metaferry.tables.files.{module}.BLOCK", block)
    path = tmp_path / "t.feather"
    path.write_bytes(ipc(kind=kind, compression=compression))
    result = load(path)
    assert result.values("row") == [1, 2, 3]
    assert result.values("x") == [0.1, None, 2.5]
    assert result.values("scene") == ["day", "night", "day"]
    assert result.values("at") == ["2023-11-14 22:13:20+00", None, "1970-01-01 00:00:00+00"]
    assert result.values("large") == ["x", None, "y"]
    assert result.values("deep.y") == [[1], [], None]
    assert result.loaded.reading.format == "arrow"
    assert result.loaded.files[0].rows == 3


@pytest.mark.parametrize(
    ("name", "pack"),
    [("t.csv", bytes), ("t.arrow.gz", gzip.compress), ("t.ipc.zip", zipped), ("t.arrows", bytes)],
)
def test_content_and_archives_are_found(tmp_path: Path, name: str, pack: Any) -> None:
    for kind in ("file", "stream"):
        (tmp_path / name).write_bytes(pack(ipc(kind=kind)))
        assert load(tmp_path / name, metadata={"s": "scene"}).values("s") == ["day", "night", "day"]


def test_columns_are_united_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.arrow").write_bytes(ipc(pa.table({"file_name": ["a"], "x": pa.array([1], pa.int16())})))
    more = {"z": ["late"], "x": pa.array([2], pa.int64()), "file_name": ["b"]}
    (tmp_path / "2.arrow").write_bytes(ipc(pa.table(more), "stream"))
    result = load(tmp_path / "*.arrow")
    assert [(row["file_name"], row["x"], row["z"]) for row in result.rows] == [
        ("a", 1, None),
        ("b", 2, "late"),
    ]


def test_columns_that_nobody_uses_may_be_anything(tmp_path: Path) -> None:
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([1]), pa.array([2]), pa.array([None], pa.month_day_nano_interval())],
        names=["file_name", "y", "y", "odd"],
    )
    (tmp_path / "t.arrow").write_bytes(ipc(table))
    assert load(tmp_path / "t.arrow", metadata={"n": "'x'"}).values("n") == ["x"]
    with pytest.raises(JobError, match="columns 2 and 3 are both called y"):
        load(tmp_path / "t.arrow", metadata={"n": "y"})


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    for kind in ("file", "stream"):
        (tmp_path / "t.arrow").write_bytes(ipc(TABLE.slice(0, 0), kind))
        result = load(tmp_path / "t.arrow")
        assert (result.loaded.read, result.types["scene"]) == (0, "VARCHAR")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ipc()[:-4], "is no whole Arrow file: it has no footer"),
        (ipc()[:-60], "is no whole Arrow file"),
        (ipc()[: len(ipc()) // 2], "is no whole Arrow file"),
        (ipc(kind="stream")[:-200], "is no whole Arrow file"),
        (b"FEA1" + bytes(100), "is a Feather file of the first version"),
        (b"file_name,x\na,1\n", "is of no known format, and no Arrow file"),
        (b"PAR1" + bytes(100), "no whole|cannot be read as Parquet"),
        (b"", "is no Arrow file: it is empty"),
    ],
)
def test_what_is_no_arrow_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.arrow").write_bytes(content)
    with pytest.raises(JobError, match=message):
        load(tmp_path / "t.arrow")


def test_text_that_is_none_is_named_with_its_row(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xe9b")],
    )
    (tmp_path / "t.arrow").write_bytes(ipc(pa.table({"file_name": ["a", "b"], "x": bad})))
    with pytest.raises(JobError, match="the column x is damaged in row 2"):
        load(tmp_path / "t.arrow")


def test_an_arrow_file_under_the_name_of_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(ipc())
    with pytest.raises(JobError, match="is an Arrow file, not Parquet") as caught:
        load(tmp_path / "t.parquet")
    assert caught.value.advice == "name its format: format: arrow"
    assert load(tmp_path / "t.parquet", format="arrow").loaded.read == 3
