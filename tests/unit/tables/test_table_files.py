"""Which files a source is, in what format, and what is said when there are none."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaferry.errors import JobError, TableMissing
from metaferry.tables.files.find import Address, split_url
from unit.tables.table_loading import load

CSV = b"file_name,scene\na.png,city\nb.png,road\n"


def write(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_one_file(tmp_path: Path) -> None:
    write(tmp_path, t_csv=CSV)
    result = load(tmp_path / "t.csv")
    assert result.values("scene") == ["city", "road"]
    (file,) = result.loaded.files
    assert (file.url, file.size, file.rows) == (str(tmp_path / "t.csv"), len(CSV), 2)
    assert file.token
    assert result.progress == 2


def test_a_glob_takes_its_matches_in_listing_order(tmp_path: Path) -> None:
    write(tmp_path, b__t2_csv=CSV, a__t1_csv=CSV, t0_csv=CSV, a__t1_tsv=b"", other_txt=b"")
    result = load(tmp_path / "**/*.csv")
    assert [file.url for file in result.loaded.files] == [
        str(tmp_path / name) for name in ("a/t1.csv", "b/t2.csv", "t0.csv")
    ]
    assert result.values("file") == [0, 0, 1, 1, 2, 2]
    assert result.values("row") == [2, 3] * 3
    assert result.loaded.read == 6


def test_a_glob_matches_case_sensitively_and_within_a_segment(tmp_path: Path) -> None:
    write(tmp_path, t1_csv=CSV, T2_csv=CSV, deep__t3_csv=CSV)
    assert len(load(tmp_path / "t*.csv").loaded.files) == 1
    assert len(load(tmp_path / "[tT]?.csv").loaded.files) == 2


def test_a_file_whose_name_holds_brackets_is_meant_too(tmp_path: Path) -> None:
    (tmp_path / "day[1].csv").write_bytes(CSV)
    assert load(tmp_path / "day[1].csv").loaded.read == 2


def test_memory_urls() -> None:
    import fsspec

    fsspec.filesystem("memory").pipe({"/tables-test/x/t.csv": CSV, "/tables-test/y.csv": CSV})
    assert load("memory://tables-test/x/t.csv").loaded.read == 2
    assert load("memory://tables-test/**/*.csv").loaded.read == 4


def test_a_missing_file_is_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, labels_csv=CSV)
    with pytest.raises(JobError, match=r"sources\[0\]\.table: there is no file .*label\.csv") as caught:
        load(tmp_path / "label.csv")
    assert caught.value.advice == "did you mean labels.csv?"
    with pytest.raises(JobError, match="nowhere: there is no such folder") as caught:
        load(tmp_path / "nowhere/label.parquet")
    assert caught.value.exit_code == 2


def test_a_glob_in_a_folder_that_is_not_there_may_match_later(tmp_path: Path) -> None:
    with pytest.raises(
        TableMissing, match=r"sources\[0\]\.table: .*nowhere: there is no such folder"
    ) as caught:
        load(tmp_path / "nowhere/*.parquet")
    assert caught.value.exit_code == 1


def test_a_glob_without_a_match_is_named_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, labels_csv=CSV)
    with pytest.raises(TableMissing, match=r"no file matches .*label.\*\.csv") as caught:
        load(tmp_path / "label-*.csv")
    assert caught.value.exit_code == 1
    assert "labels.csv" in caught.value.advice


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="names a folder") as caught:
        load(f"{tmp_path}/")
    assert f"{tmp_path}/*.parquet" in caught.value.advice


@pytest.mark.parametrize("name", ["t.txt", "t", "t.gz", "t.csv.r01"])
def test_a_format_that_the_name_does_not_tell(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CSV)
    with pytest.raises(JobError, match="format of the table cannot be told") as caught:
        load(tmp_path / name)
    assert "format: csv" in caught.value.advice


def test_the_job_may_tell_the_format(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(CSV.replace(b",", b"\t"))
    assert load(tmp_path / "t.txt", format="tsv").values("scene") == ["city", "road"]


def test_a_glob_over_several_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path, t_csv=CSV, t_tsv=CSV)
    with pytest.raises(JobError, match="several formats"):
        load(tmp_path / "t.*")


@pytest.mark.parametrize(("codec", "extension"), [("gzip", "gz"), ("zstd", "zst"), ("zstd", "ZSTD")])
def test_archives_are_read_through(tmp_path: Path, codec: str, extension: str) -> None:
    packed = pa.compress(CSV, codec=codec, asbytes=True)
    path = tmp_path / f"t.CSV.{extension}"
    path.write_bytes(packed)
    result = load(path)
    assert result.values("scene") == ["city", "road"]
    assert result.loaded.files[0].size == len(packed)


def test_an_archive_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(CSV) + gzip.compress(b"c.png,tunnel\n"))
    assert load(tmp_path / "t.csv.gz").values("scene") == ["city", "road", "tunnel"]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "other", "empty"])
def test_a_damaged_archive_is_one_error(tmp_path: Path, codec: str, damage: str) -> None:
    rows = b"file_name,scene\n" + b"".join(b"%d.png,city\n" % n for n in range(50_000))
    packed = pa.compress(rows, codec=codec, asbytes=True)
    broken = {"cut": packed[:-20], "garbage": packed + b"garbage", "other": b"\0\1" + packed, "empty": b""}[
        damage
    ]
    path = tmp_path / f"t.csv.{'gz' if codec == 'gzip' else 'zst'}"
    path.write_bytes(broken)
    with pytest.raises(JobError, match=rf"t\.csv\.\w+ is no (whole )?{codec} file"):
        load(path)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.csv.zip"])
def test_text_that_was_unpacked_on_its_way_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CSV)
    assert load(tmp_path / name).values("scene") == ["city", "road"]


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("--", "/"), content)
    return packed.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.zip", "t.csv.gz"])
def test_a_zip_archive_with_one_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(zipped(t=CSV, **{"__MACOSX--._t": b"x", ".DS_Store": b"x"}))
    result = load(tmp_path / name)
    assert result.values("scene") == ["city", "road"]
    assert result.values("row") == [2, 3]


def test_a_large_zip_archive_passes_in_blocks(tmp_path: Path) -> None:
    rows = b"file_name,scene\n" + b"".join(b"%d.png,%d\n" % (n, n * n) for n in range(500_000))
    (tmp_path / "t.csv").write_bytes(zipped(t=rows))
    assert load(tmp_path / "t.csv").loaded.read == 500_000


def test_a_zip_archive_that_is_no_table_is_named(tmp_path: Path) -> None:
    whole = zipped(t=CSV * 100)
    for content, words in [
        (zipped(a=CSV, b=CSV), "is a zip archive of 2 files: a, b"),
        (zipped(), "is no whole zip file: it is empty or cut short"),
        (whole[:-30], "is no whole zip file"),
        (whole.replace(whole[45:55], b"\0" * 10), "is no whole zip file"),
        (zipped(t=gzip.compress(CSV)), "is packed twice"),
        (zipped(**{"xl--workbook.xml": b"<x/>"}), "is an Excel workbook"),
    ]:
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(JobError, match=words):
            load(tmp_path / "t.csv")


def test_a_parquet_file_under_another_name_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file_name": ["a"], "x": [1]}), tmp_path / "t.csv")
    assert load(tmp_path / "t.csv").values("x") == [1]


def test_a_parquet_file_among_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(CSV)
    pq.write_table(pa.table({"file_name": ["a"], "scene": ["x"]}), tmp_path / "2.csv")
    with pytest.raises(JobError, match=r"2\.csv is Parquet, and the files before it are text"):
        load(tmp_path / "*.csv")


@pytest.mark.parametrize("packed", [False, True])
def test_text_under_the_name_of_parquet_is_named(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "t.parquet").write_bytes(gzip.compress(CSV) if packed else CSV)
    with pytest.raises(JobError, match="text, not Parquet") as caught:
        load(tmp_path / "t.parquet")
    assert "format: csv" in caught.value.advice


def test_a_table_without_lines_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaferry.tables.files.blocks.LONGEST_LINE", 1 << 20)
    (tmp_path / "t.csv").write_bytes(b"x" * (9 << 20))
    with pytest.raises(JobError, match="line of more than 1 MiB"):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("url", "root", "rest", "glob"),
    [
        ("s3://b/x/t.csv", "s3://b/x", "t.csv", False),
        ("s3://b/t.csv", "s3://b", "t.csv", False),
        ("s3://b/x/*/t-*.csv", "s3://b/x", "*/t-*.csv", True),
        ("s3://b/**/*.parquet", "s3://b", "**/*.parquet", True),
        ("/data/t.csv", "/data", "t.csv", False),
        ("/t.csv", "/", "t.csv", False),
        ("t.csv", ".", "t.csv", False),
        ("a/b/?.csv", "a/b", "?.csv", True),
        ("*.csv", ".", "*.csv", True),
        ("file:///data/t.csv", "file:///data", "t.csv", False),
        ("memory://t.csv", "memory://", "t.csv", False),
        ("https://h/x/t.csv?sig=1*", "https://h/x", "t.csv?sig=1*", False),
    ],
)
def test_where_the_datasource_ends(url: str, root: str, rest: str, glob: bool) -> None:
    assert split_url(url, url, "sources[0].table") == Address(root, rest, glob)


@pytest.mark.parametrize("url", ["s3://b", "s3://b*/t.csv", "s3://b/x/", "memory://"])
def test_urls_that_name_no_table(url: str) -> None:
    with pytest.raises(JobError):
        split_url(url, url, "sources[0].table")


def hive(folder: Path) -> None:
    for camera, name, x in [
        ("front", "a", 1),
        ("rear%20left", "b", 2),
        ("__HIVE_DEFAULT_PARTITION__", "c", 3),
    ]:
        path = folder / f"day=07/camera={camera}/t.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file_name,x\n{name},{x}\n")


def test_hive_folders_are_columns_of_text(tmp_path: Path) -> None:
    hive(tmp_path)
    rows = load(tmp_path / "**/*.csv").rows
    found = sorted((row["file_name"], row["x"], row["day"], row["camera"]) for row in rows)
    assert found == [("a", 1, "07", "front"), ("b", 2, "07", "rear left"), ("c", 3, "07", None)]
    # what the fixed part of the glob says is no column
    assert "day" not in load(tmp_path / "day=07/*/*.csv").types


def test_hive_folders_and_paths_in_expressions(tmp_path: Path) -> None:
    hive(tmp_path)
    result = load(
        tmp_path / "day=07/**/*.csv",
        file_name="coalesce(camera, 'none') || '/' || file_name",
        metadata={"path": "_path", "x": "x"},
    )
    found = sorted((row["file_name"], row["path"]) for row in result.rows)
    assert found == [
        ("front/a", "camera=front/t.csv"),
        ("none/c", "camera=__HIVE_DEFAULT_PARTITION__/t.csv"),
        ("rear left/b", "camera=rear%20left/t.csv"),
    ]
    with pytest.raises(JobError, match=r"it fails for row 2 of .*front/t"):
        load(tmp_path / "day=07/**/*.csv", metadata={"n": "camera::INTEGER"})


def test_a_folder_and_a_column_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "X=1").mkdir()
    (tmp_path / "X=1/t.csv").write_text("file_name,x\na,2\n")
    with pytest.raises(JobError, match="x is a column of the file, and X= a folder of it"):
        load(tmp_path / "*/t.csv")
    assert load(tmp_path / "*/t.csv", metadata={}).rows


def test_paths_for_every_format(tmp_path: Path) -> None:
    for n in range(2):
        folder = tmp_path / f"n={n}"
        folder.mkdir()
        pq.write_table(pa.table({"file_name": [f"{n}p"]}), folder / "t.parquet")
        (folder / "t.jsonl").write_text(f'{{"file_name": "{n}j"}}\n')
    for extension in ("parquet", "jsonl"):
        result = load(tmp_path / f"*/t.{extension}", metadata={"n": "n", "p": "_path", "one": "1"})
        assert result.values("n") == ["0", "1"]
        assert result.values("p") == [f"n=0/t.{extension}", f"n=1/t.{extension}"]
    own = tmp_path / "own.csv"
    own.write_text("file_name,_path\na,mine\n")
    assert load(own, metadata={"p": "_path"}).values("p") == ["mine"]


@pytest.mark.parametrize(
    "name",
    ["_SUCCESS", "_metadata", "_common_metadata", ".t.csv.crc", "_committed_17", "_started_17", ".DS_Store"],
)
def test_marks_of_other_programs_are_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/t.csv").write_bytes(CSV)
    (tmp_path / "d" / name).write_bytes(b"not a table")
    result = load(tmp_path / "**/*")
    assert result.values("scene") == ["city", "road"]
    ((message,),) = result.con.execute("SELECT message FROM findings").fetchall()
    assert message == f"1 file holds no table and is passed over: {tmp_path}/d/{name}"
