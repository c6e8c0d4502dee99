"""Tables as people have them, through the command: the documents in full, and what a person reads."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e import kept_messages
from e2e.world import Ran, World
from metaferry.demo import make_dataset

#: Beside this file: the message of each case.
MESSAGES = "real_tables.txt"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    dataset = make_dataset(tmp_path_factory.mktemp("demo"))
    return (dataset.media / dataset.images[0]).read_bytes()


@pytest.fixture
def world(tmp_path: Path, picture: bytes) -> World:
    """Two images and a job with one source; the tables are the tests'."""
    world = World(tmp_path)
    for name in ("a.png", "b.png"):
        world.put(f"data/{name}", picture)
    world.job = {"input": "data", "sources": [{}]}
    return world


def parquet(columns: list[tuple[str, Any]]) -> bytes:
    """A Parquet file of these columns; names may stand twice."""
    sink = io.BytesIO()
    table = pa.Table.from_arrays([pa.array(values) for _, values in columns], names=[n for n, _ in columns])
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow(columns: list[tuple[str, Any]], new: Any = pa.ipc.new_file) -> bytes:
    sink = io.BytesIO()
    table = pa.table({name: pa.array(values) for name, values in columns})
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def documents(world: World) -> dict[str, Any]:
    """The metadata of every document, by its media's name without an extension."""
    folder = world.data / ".lightly/metadata"
    found = {path.stem: json.loads(path.read_bytes()) for path in folder.glob("?.json")}
    assert all(document["type"] == "image" for document in found.values())
    return {name: document["metadata"] for name, document in found.items()}


@dataclass(frozen=True)
class Case:
    """Files below tables/, the source over them, and what must come out."""

    files: dict[str, str | bytes]
    documents: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    says: tuple[str, ...] = ()  # on stdout, or on stderr where the code is 2
    rows: tuple[tuple[str, int], ...] = ()  # code and row of each reject

    def run(self, world: World, *arguments: str) -> Ran:
        for name, content in self.files.items():
            world.put(f"tables/{name}", content)
        table = self.source.get("table", next(iter(self.files)))
        world.job["sources"] = [{**self.source, "table": f"tables/{table}"}]
        world.write_job()
        return world.run("sync", "job.yaml", *arguments)

    def check(self, world: World) -> None:
        ran = self.run(world)
        said = ran.err if self.code == 2 else ran.out
        assert ran.code == self.code, ran.out + ran.err
        assert [word for word in self.says if word not in said] == [], said
        if self.code != 2:
            kept = (world.run_folders()[-1] / "rejects.parquet").exists()
            rejects = [(row["code"], row["row"]) for row in world.rejects()] if kept else []
            assert sorted(rejects) == sorted(self.rows)
        assert documents(world) == self.documents
        kept_messages.check(MESSAGES, ran, world.root)


def cases(**named: Case) -> Callable[..., Any]:
    return pytest.mark.parametrize("case", list(named.values()), ids=list(named))


TWO: list[tuple[str, Any]] = [("file_name", ["a.png", "b.png"]), ("x", [1, 2])]
BOTH = {"a": {"x": 1}, "b": {"x": 2}}


HALVES = [np.float16(0.1), np.float16(2.5)]
NESTED = pa.struct([("h", pa.list_(pa.list_(pa.float16()))), ("n", pa.int64())])
LATE = pa.list_(pa.struct([("t", pa.timestamp("s"))]))
OBJECTS = pa.map_(pa.struct([("a", pa.int64())]), pa.int64())
PAIRS = pa.map_(pa.string(), pa.int64())

CSV = b"file_name,x\na.png,1\nb.png,2\n"


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


# -- columns that nobody uses


@cases(
    index_of_pandas=Case({"t.csv": ",file_name,x\n0,a.png,1\n1,b.png,2\n"}, BOTH),
    trailing_delimiter=Case({"t.csv": "file_name,x\na.png,1,\nb.png,2,\n"}, BOTH),
    trailing_delimiter_everywhere=Case({"t.csv": "file_name;x;\na.png;1;\nb.png;2;\n"}, BOTH),
    twice_and_not_used=Case(
        {"t.csv": "file_name,x,y,y\na.png,1,5,6\nb.png,2,5,6\n"}, BOTH, {"metadata": {"x": "x"}}
    ),
    twice_and_used=Case(
        {"t.csv": "file_name,x,y,y\na.png,1,5,6\n"},
        code=2,
        says=("t.csv: columns 3 and 4 are both called y", "name the columns that are wanted in metadata:"),
    ),
    twice_in_parquet=Case(
        {"t.parquet": parquet([*TWO, ("y", [0, 0]), ("y", [0, 0])])},
        BOTH,
        {"metadata": {"x": "x"}},
    ),
    index_in_parquet=Case(
        {"t.parquet": parquet([*TWO, ("__index_level_0__", [7, 9])])},
        BOTH,
    ),
    half_floats=Case(
        {
            "t.parquet": parquet(
                [("file_name", ["a.png", "b.png"]), ("x", pa.array([0.1, 2.5]).cast(pa.float16()))]
            )
        },
        {"a": {"x": 0.1}, "b": {"x": 2.5}},
    ),
    bad_bytes_and_not_used=Case(
        {"t.csv": b"file_name,x,note\na.png,1,caf\xe9\nb.png,2,ok\n"}, BOTH, {"metadata": {"x": "x"}}
    ),
    bad_bytes_and_used=Case(
        {"t.csv": b"file_name,x,note\na.png,1,caf\xe9\nb.png,2,ok\n"},
        code=5,
        says=("note is not UTF-8: it holds the byte 0xe9, which is é", "t.csv:2: "),
        rows=(("source.malformed", 2),),
    ),
)
def test_columns_that_nobody_uses_break_nothing(world: World, case: Case) -> None:
    case.check(world)


# -- types that other programs write


@cases(
    identifiers_and_small_booleans=Case(
        {
            "t.arrow": arrow(
                [
                    ("file_name", ["a.png", "b.png"]),
                    ("u", pa.array([b"\0" * 16, b"\xff" * 16], pa.uuid())),
                    ("on", pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1], pa.int8()))),
                ]
            )
        },
        {
            "a": {"u": "00000000-0000-0000-0000-000000000000", "on": False},
            "b": {"u": "ffffffff-ffff-ffff-ffff-ffffffffffff", "on": True},
        },
    ),
    time_too_late=Case(
        {"t.parquet": parquet([*TWO, ("at", pa.array([0, 10**13], pa.timestamp("s")))])},
        code=2,
        says=("the column at (timestamp[ms]) cannot be used, for row 2", "mend that row"),
    ),
    time_too_late_within_lists=Case(
        {"t.parquet": parquet([*TWO, ("at", pa.array([[{"t": 0}], [{"t": 10**13}]], LATE))])},
        code=2,
        says=("the column at (", "cannot be used, for row 2"),
    ),
    time_after_midnight=Case(
        {"t.arrow": arrow([*TWO, ("at", pa.array([0, 2**62], pa.time64("ns")))])},
        code=2,
        says=("the column at is damaged in row 2: time64[ns] 4611686018427387904 is not within",),
    ),
    map_with_a_key_twice=Case(
        {"t.parquet": parquet([*TWO, ("m", pa.array([[("k", 1)], [("k", 1), ("k", 2)]], PAIRS))])},
        code=2,
        says=("the column m (map<", "cannot be used, for row 2: a key stands twice in one map"),
    ),
    map_with_objects_as_keys=Case(
        {"t.arrow": arrow([*TWO, ("m", pa.array([[({"a": 1}, 1)], None], OBJECTS))])},
        code=2,
        says=("the column m (map<", "cannot be used, for row 1: the keys of a map cannot be compared"),
    ),
    map_with_a_key_twice_that_nobody_uses=Case(
        {"t.parquet": parquet([*TWO, ("m", pa.array([[("k", 1)], [("k", 1), ("k", 2)]], PAIRS))])},
        BOTH,
        {"metadata": {"x": "x"}},
    ),
    half_floats_within=Case(
        {
            "t.arrow": arrow(
                [
                    ("file_name", ["a.png", "b.png"]),
                    ("v", pa.array([None, HALVES], pa.list_(pa.float16()))),
                    ("w", pa.array([HALVES, None], pa.list_(pa.float16(), 2))),
                    ("s", pa.array([{"h": [HALVES[:1]], "n": 1}, None], NESTED)),
                ]
            )
        },
        {"a": {"w": [0.1, 2.5], "s": {"h": [[0.1]], "n": 1}}, "b": {"v": [0.1, 2.5]}},
    ),
    spans_of_time=Case(
        {"t.parquet": parquet([*TWO, ("d", pa.array([1500, 2], pa.duration("ms")))])},
        code=2,
        says=("d is INTERVAL, which a document cannot hold", 'epoch("d") for its seconds'),
    ),
    spans_of_time_as_advised=Case(
        {"t.parquet": parquet([*TWO, ("d", pa.array([1500, 2], pa.duration("ms")))])},
        {"a": {"d": 1.5}, "b": {"d": 0.002}},
        {"metadata": {"d": 'epoch("d")'}},
    ),
    names_as_bytes=Case(
        {"t.parquet": parquet([("file_name", [b"a.png", b"b.png"]), ("x", [1, 2])])},
        code=2,
        says=("a file name cannot be BLOB", "write decode(file_name)"),
    ),
    names_as_bytes_as_advised=Case(
        {"t.parquet": parquet([("file_name", [b"a.png", b"b.png"]), ("x", [1, 2])])},
        BOTH,
        {"file_name": "decode(file_name)"},
    ),
    union=Case(
        {
            "t.arrow": arrow(
                [
                    *TWO,
                    (
                        "v",
                        pa.UnionArray.from_dense(
                            pa.array([0, 1], pa.int8()),
                            pa.array([0, 0], pa.int32()),
                            [pa.array(["p"]), pa.array([1])],
                        ),
                    ),
                ]
            )
        },
        code=2,
        says=("t.arrow: the column v is dense_union<", "leave this one out"),
    ),
)
def test_types_that_other_programs_write(world: World, case: Case) -> None:
    case.check(world)


# -- content decides


@cases(
    gzip=Case({"t.csv": gzip.compress(CSV)}, BOTH),
    zstd=Case({"t.csv": pa.compress(CSV, codec="zstd", asbytes=True)}, BOTH),
    zip_with_one_file=Case({"t.csv": zipped(labels=CSV)}, BOTH),
    zip_by_name=Case({"t.csv.zip": zipped(labels=CSV)}, BOTH),
    zip_with_two_files=Case(
        {"t.csv": zipped(labels=CSV, other=CSV)},
        code=2,
        says=("t.csv is a zip archive of 2 files: labels, other", "pack each table by itself"),
    ),
    unpacked_on_its_way=Case({"t.csv.gz": CSV}, BOTH),
    parquet=Case({"t.csv": parquet(TWO)}, BOTH),
    arrow=Case({"t.csv": arrow(TWO)}, BOTH),
    arrow_stream=Case({"t.arrow": arrow(TWO, pa.ipc.new_stream)}, BOTH),
    arrow_cut_short=Case(
        {"t.feather": arrow(TWO)[:-10]},
        code=2,
        says=("t.feather is no whole Arrow file: it has no footer", "upload it again"),
    ),
    excel=Case(
        {"t.csv": zipped(**{"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"})},
        code=2,
        says=(
            "sources[0].table: ",
            "t.csv is an Excel workbook",
            "save the sheet that is wanted as CSV or Parquet",
        ),
    ),
    old_excel=Case(
        {"t.csv": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)},
        code=2,
        says=("t.csv is an Excel workbook",),
    ),
    html=Case(
        {"t.csv": "\n<!DOCTYPE html>\n<html><body>Please sign in</body></html>"},
        code=2,
        says=("t.csv is a web page (HTML)", "download the table again"),
    ),
    lfs_pointer=Case(
        {"t.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"},
        code=2,
        says=("t.csv is a pointer of Git LFS, not the file itself", "git lfs pull"),
    ),
    lfs_pointer_for_parquet=Case(
        {"t.parquet": "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"},
        code=2,
        says=("t.parquet is a pointer of Git LFS", "git lfs pull"),
    ),
    utf16_with_a_mark=Case({"t.csv": CSV.decode().encode("utf-16")}, BOTH),
    utf16_when_named=Case({"t.csv": CSV.decode().encode("utf-16-le")}, BOTH, {"encoding": "utf-16-le"}),
    utf16_without_a_mark=Case(
        {"t.csv": CSV.decode().encode("utf-16-le")},
        code=2,
        says=("t.csv: the header line is not UTF-8 text", "encoding: utf-16-le"),
    ),
    windows=Case(
        {"t.csv": "file_name,größe\na.png,für\n".encode("cp1252")},
        {"a": {"größe": "für"}},
        {"encoding": "cp1252"},
    ),
    windows_unnamed=Case(
        {"t.csv": b"file_name,x\na.png,f\xfcr\n"},
        code=5,
        says=("t.csv:2: x is not UTF-8: it holds the byte 0xfc, which is ü under encoding: cp1252",),
        rows=(("source.malformed", 2),),
    ),
    workbook_by_name=Case(
        {"t.xlsx": zipped(**{"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"})},
        code=2,
        says=("t.xlsx is an Excel workbook", "save the sheet that is wanted as CSV or Parquet"),
    ),
    bzip2_by_name=Case(
        {"t.csv.bz2": bz2.compress(CSV)},
        code=2,
        says=("t.csv.bz2 is packed with bzip2", "unpack it, or pack it with gzip, zstd or zip"),
    ),
    tar=Case(
        {"t.csv": b"t.csv".ljust(257, b"\0") + b"ustar\x0000".ljust(767, b"\0")},
        code=2,
        says=("t.csv is a tar archive", "unpack it"),
    ),
    empty_arrow=Case(
        {"t.arrow": b""}, code=2, says=("t.arrow is no Arrow file: it is empty", "write the table again")
    ),
    json_lines_by_another_name=Case(
        {"t.csv": '{"file_name": "a.png"}\n'}, code=2, says=("begins as JSON does", "format: jsonl")
    ),
    json_by_another_name=Case(
        {"t.csv": '[\n  {"file_name": "a.png"}\n]\n'}, code=2, says=("begins as JSON does", "format: json")
    ),
    unknown_encoding=Case(
        {"t.csv": CSV},
        source={"encoding": "windows"},
        code=2,
        says=("sources[0].encoding: 'windows' is no encoding that is known", "cp1252"),
    ),
)
def test_content_decides(world: World, case: Case) -> None:
    case.check(world)


# -- CSV as programs and people write it


LINES = (
    "Export of 3 May\nby hand\n\nfile_name;speed;note\nname;km/h;\n# b later\na.png; 1.234,5 ;x\nb.png;7;\n"
)


@cases(
    semicolons=Case(
        {"t.csv": "file_name;x;note\na.png;1;b, c\nb.png;2;d, e\n"},
        {"a": {"x": 1, "note": "b, c"}, "b": {"x": 2, "note": "d, e"}},
    ),
    header_with_a_comma=Case(
        {"t.csv": "file_name;x;seen, when\na.png;1;\nb.png;2;\n"}, BOTH, {"metadata": {"x": "x"}}
    ),
    bars_in_quotes=Case({"t.csv": 'file_name,x\n"a.png",1\n"b.png",2\n'}, BOTH),
    blanks=Case({"t.csv": "file_name x\na.png 1\nb.png 2\n"}, BOTH, {"delimiter": " "}),
    excel_of_germany=Case(
        {"t.csv": LINES.encode("cp1252")},
        {"a": {"speed": 1234.5, "note": "x"}, "b": {"speed": 7.0}},
        {
            "encoding": "cp1252",
            "skip": {"before": 3, "after": 1},
            "comment": "#",
            "decimal": ",",
            "thousands": ".",
            "trim": True,
        },
    ),
    without_a_header=Case(
        {"t.csv": "a.png,1\nb.png,2\n"}, BOTH, {"header": False, "columns": ["file_name", "x"]}
    ),
    without_a_header_and_too_few_names=Case(
        {"t.csv": "a.png,1,7\nb.png,2,7\n"},
        source={"header": False, "columns": ["file_name", "x"], "metadata": {"x": "x"}, "delimiter": ","},
        code=5,
        says=("t.csv:1: the row has 3 cells, and `columns` names 2",),
        rows=(("source.malformed", 1), ("source.malformed", 2)),
    ),
    quotes_and_escapes=Case(
        {"t.csv": "file_name,x\na.png,'say \\'hi\\', you'\nb.png,'1,2'\n"},
        {"a": {"x": "say 'hi', you"}, "b": {"x": "1,2"}},
        {"quote": "'", "escape": "\\"},
    ),
    inches=Case(
        {"t.csv": 'file_name,x\na.png,5"\nb.png,6"\n'}, {"a": {"x": '5"'}, "b": {"x": '6"'}}, {"quote": ""}
    ),
    ragged_after_a_preamble=Case(
        {"t.csv": "made by x\nfile_name,x\na.png,1\nb.png\n"},
        source={"skip": {"before": 1}},
        code=5,
        says=("t.csv:4: the row has 1 cell, and the header has 2",),
        rows=(("source.malformed", 4),),
    ),
    mark_of_excel=Case(
        {"t.csv": "sep=;\r\nfile_name;x\r\na.png;1\r\n"},
        code=2,
        says=("has no column file_name", "write skip: {before: 1}"),
    ),
    comments_unnamed=Case(
        {"t.csv": "# made by x\nfile_name,x\na.png,1\n"},
        code=2,
        says=("has no column file_name", 'write comment: "#"'),
    ),
    title_above=Case(
        {"t.csv": "Labels of May\nfile_name,x\na.png,1\n"},
        code=2,
        says=('the columns are "Labels of May", _path; where that is a line before', "skip: {before: 1}"),
    ),
    blanks_unnamed=Case(
        {"t.csv": "file_name x\na.png 1\n"},
        code=2,
        says=("has no column file_name", 'name what parts cells: delimiter: " "'),
    ),
    names_of_rows_by_r=Case(
        {"t.csv": '"file_name","x"\n"1","a.png",1\n"2","b.png",2\n'},
        code=5,
        says=("the row has 3 cells, and the header has 2", "skip: {before: 1}, header: false, and columns: "),
        rows=(("source.malformed", 2), ("source.malformed", 3)),
    ),
    names_of_rows_by_r_as_advised=Case(
        {"t.csv": '"file_name","x"\n"1","a.png",1\n"2","b.png",2\n'},
        BOTH,
        {
            "skip": {"before": 1},
            "header": False,
            "columns": ["row", "file_name", "x"],
            "metadata": {"x": "x"},
        },
    ),
    quotes_in_the_header=Case(
        {"t.csv": 'file_name,"x"y\na.png,1\n'},
        code=2,
        says=("the header line cannot be read", 'write quote: ""'),
    ),
    option_of_another_format=Case(
        {"t.parquet": parquet(TWO)},
        source={"decimal": ","},
        code=2,
        says=("t.parquet is parquet: `decimal` is for CSV and TSV",),
    ),
    faulty_options=Case(
        {"t.csv": CSV},
        source={"delimiter": "::", "skip": {"befor": 1}},
        code=2,
        says=("sources[0].delimiter: should be one character", 'did you mean "before"?'),
    ),
)
def test_csv_as_it_is_written(world: World, case: Case) -> None:
    case.check(world)


# -- many files as one table


def zoned(zone: str, second: int) -> Any:
    return pa.array([1_700_000_000 + second], pa.timestamp("s", zone))


@cases(
    one_more_column=Case(
        {"1.csv": "file_name,x\na.png,1\n", "2.csv": "z,file_name\nlate,b.png\n"},
        {"a": {"x": 1}, "b": {"z": "late"}},
        {"table": "*.csv"},
    ),
    one_more_column_in_parquet=Case(
        {
            "1.parquet": parquet([("file_name", ["a.png"]), ("x", [1])]),
            "2.parquet": parquet([("z", [0.5]), ("file_name", ["b.png"])]),
        },
        {"a": {"x": 1}, "b": {"z": 0.5}},
        {"table": "*.parquet"},
    ),
    hive_folders=Case(
        {
            "day=07/camera=front/t.csv": "file_name,x\na.png,1\n",
            "day=07/camera=rear%20left/t.csv": "file_name,x\nb.png,2\n",
        },
        {"a": {"day": "07", "camera": "front", "x": 1}, "b": {"day": "07", "camera": "rear left", "x": 2}},
        {"table": "**/*.csv"},
    ),
    path_when_mapped=Case(
        {"d/a.csv": "x\n1\n", "d/b.csv": "x\n2\n"},
        {"a": {"x": 1, "of": "a.csv"}, "b": {"x": 2, "of": "b.csv"}},
        {
            "table": "d/*.csv",
            "file_name": "replace(_path, '.csv', '.png')",
            "metadata": {"x": "x", "of": "_path"},
        },
    ),
    folder_and_column=Case(
        {"x=1/t.csv": CSV},
        source={"table": "*/t.csv"},
        code=2,
        says=("t.csv: x is a column of the file, and x= a folder of it", "name the columns that are wanted"),
    ),
    parts_of_spark=Case(
        {
            "p/part-0.csv": CSV,
            "p/part-1.csv": "",
            "p/_SUCCESS": "",
            "p/.part-0.csv.crc": b"crc\0",
        },
        BOTH,
        {"table": "p/*"},
        says=("source.passed_over", "3 files hold no table and are passed over: "),
    ),
    zones=Case(
        {
            "1.parquet": parquet([("file_name", ["a.png"]), ("at", zoned("Europe/Berlin", 0))]),
            "2.parquet": parquet([("file_name", ["b.png"]), ("at", zoned("UTC", 1))]),
        },
        {"a": {"at": "2023-11-14T22:13:20Z"}, "b": {"at": "2023-11-14T22:13:21Z"}},
        {"table": "*.parquet"},
    ),
    folder_of_spark=Case(
        {"p.parquet/d=1/part-0.snappy.parquet": parquet(TWO), "p.parquet/_SUCCESS": ""},
        source={"table": "p.parquet"},
        code=2,
        says=("tables/p.parquet", "it is a folder; write a glob such as ", "p.parquet/**/*.snappy.parquet"),
    ),
    types_that_cannot_agree=Case(
        {
            "1.parquet": parquet([("file_name", ["a.png"]), ("x", [1])]),
            "2.parquet": parquet([("file_name", ["b.png"]), ("x", ["one"])]),
        },
        source={"table": "*.parquet"},
        code=2,
        says=(
            "the column x is string in ",
            "2.parquet and int64 in files before it",
            "make them two sources",
        ),
    ),
)
def test_many_files_are_one_table(world: World, case: Case) -> None:
    case.check(world)


# -- JSON that is no JSON lines

PAIR = [{"file_name": "a.png", "x": 1}, {"file_name": "b.png", "x": 2}]


@cases(
    array=Case({"t.json": json.dumps(PAIR)}, BOTH),
    array_under_jsonl=Case({"t.jsonl": json.dumps(PAIR, indent=2)}, BOTH),
    object_with_a_list=Case({"t.json": json.dumps({"info": {"by": "x"}, "rows": PAIR}, indent=2)}, BOTH),
    named_list=Case(
        {"t.json": json.dumps({"images": [{"id": 1}], "annotations": PAIR})},
        BOTH,
        {"records": "$.annotations"},
    ),
    several_lists=Case(
        {"t.json": json.dumps({"images": [{"id": 1}], "annotations": PAIR})},
        code=2,
        says=("t.json holds several lists: images, annotations", "records: $.images"),
    ),
    pretty_objects=Case({"t.json": "\n".join(json.dumps(row, indent=4) for row in PAIR)}, BOTH),
    lines=Case({"t.json": "\n".join(map(json.dumps, PAIR))}, BOTH),
    packed=Case({"t.json.gz": gzip.compress(json.dumps(PAIR).encode())}, BOTH),
    a_record_that_is_none=Case(
        {"t.json": '[{"file_name": "a.png", "x": 1},\n{"file_name": "b.png" "x": 2}]'},
        code=5,
        says=("t.json:2: element 2 of the list is not valid JSON: Expecting ',' delimiter",),
        rows=(("source.malformed", 2),),
    ),
    cut_short=Case(
        {"t.json": '[{"file_name": "a.png", "x": 1},\n{"file_na'},
        code=2,
        says=("t.json is not valid JSON: a value has no end (line 2)",),
    ),
    numbers_and_text=Case(
        {"t.jsonl": '{"file_name": "a.png", "x": 1}\n{"file_name": "b.png", "x": "unknown"}\n'},
        {"a": {"x": "1"}, "b": {"x": "unknown"}},
        says=("x becomes text", "line 1 holds a number, line 2 holds text", 'x: try_cast("x" AS DOUBLE)'),
    ),
    numbers_and_text_as_advised=Case(
        {"t.jsonl": '{"file_name": "a.png", "x": 1}\n{"file_name": "b.png", "x": "unknown"}\n'},
        {"a": {"x": 1.0}, "b": {}},
        {"metadata": {"x": 'try_cast("x" AS DOUBLE)'}},
    ),
    numbers_and_text_within=Case(
        {"t.json": '[{"file_name": "a.png", "x": {"y": "-"}}, {"file_name": "b.png", "x": {"y": 2.5}}]'},
        {"a": {"x": {"y": "-"}}, "b": {"x": {"y": "2.5"}}},
        says=("x.y becomes text", "holds a number", 'x.y: try_cast("x"."y" AS DOUBLE)'),
    ),
    numbers_and_text_within_as_advised=Case(
        {"t.json": '[{"file_name": "a.png", "x": {"y": "-"}}, {"file_name": "b.png", "x": {"y": 2.5}}]'},
        {"a": {}, "b": {"x": {"y": 2.5}}},
        {"metadata": {"x.y": 'try_cast("x"."y" AS DOUBLE)'}},
    ),
    no_list_there=Case(
        {"t.json": json.dumps({"rows": PAIR})},
        source={"records": "$.row"},
        code=2,
        says=("t.json has no list of records at $.row", "did you mean records: $.rows?"),
    ),
    faulty_path=Case(
        {"t.json": "[]"},
        source={"records": "annotations"},
        code=2,
        says=("sources[0].records: 'annotations' is no path to a list; write $.annotations",),
    ),
)
def test_json_that_is_no_json_lines(world: World, case: Case) -> None:
    case.check(world)


def test_a_plan_tells_how_each_table_is_read(world: World) -> None:
    world.put(
        "tables/t.csv", gzip.compress("file_name;x;größe\na.png;1;klein\nb.png;2,5;\n".encode("utf-16"))
    )
    world.put("tables/t.parquet", parquet(TWO))
    world.job["sources"] = [
        {"table": "tables/t.csv", "name": "labels", "decimal": ","},
        {"table": "tables/t.parquet", "name": "more", "metadata": {"y": "x"}},
    ]
    world.write_job()
    ran = world.run("plan", "job.yaml")
    shown = ran.out[ran.out.index("Tables\n") : ran.out.index("Documents\n")]
    assert shown == (
        "Tables\n"
        "  labels: CSV, delimiter semicolon, UTF-16-LE, in gzip\n"
        "    file_name  varchar  a.png, b.png\n"
        "    x          double   1.0, 2.5\n"
        "    größe      varchar  klein\n"
        "  more: PARQUET\n"
        "    file_name  varchar  a.png, b.png\n"
        "    x          bigint   1, 2\n\n"
    )
    tables = world.run("plan", "job.yaml", "--format", "json").report["tables"]
    assert tables[0] == {
        "name": "labels",
        "format": "csv",
        "delimiter": ";",
        "encoding": "utf-16-le",
        "packed": "gzip",
        "version": "",  # which the tables of a lake have
        "columns": [
            {"name": "file_name", "type": "VARCHAR", "values": ["a.png", "b.png"], "used": True},
            {"name": "x", "type": "DOUBLE", "values": ["1.0", "2.5"], "used": True},
            {"name": "größe", "type": "VARCHAR", "values": ["klein"], "used": True},
        ],
    }


WIDE: dict[str, Any] = {
    "id": [7, 8],
    "x": [1, 2],
    "y": [0.5, None],
    "seen": [True, False],
    "word": ["p", "q"],
}


@pytest.mark.parametrize("format", ["csv", "json", "parquet", "arrow"])
def test_a_plan_marks_the_columns_that_are_used(world: World, format: str) -> None:
    columns = [("file_name", ["a.png", "b.png"]), *WIDE.items()]
    given = dict(columns)
    rows = [{name: values[n] for name, values in given.items()} for n in range(2)]
    content = {
        "csv": "".join(",".join(map(cell, row)) + "\n" for row in (given, *(r.values() for r in rows))),
        "json": json.dumps(rows),
        "parquet": parquet(columns),
        "arrow": arrow(columns),
    }[format]
    world.put(f"tables/camera=front/t.{format}", content)
    world.job["sources"] = [
        {"table": f"tables/*/t.{format}", "name": "labels", "metadata": {"x": "x"}},
    ]
    world.write_job()
    ran = world.run("plan", "job.yaml")
    shown = ran.out[ran.out.index("Tables\n") : ran.out.index("Documents\n")].splitlines()
    assert shown[1].endswith("; those with a * are used"), ran.out
    assert [line.split() for line in shown[2:-1]] == [
        ["*", "file_name", "varchar", "a.png,", "b.png"],
        ["*", "x", "bigint", "1,", "2"],
        ["id", "bigint", "7,", "8"],
        ["y", "double", "0.5"],
        ["seen", "boolean", "true,", "false"],
        ["word", "varchar", "p,", "q"],
        ["camera", "varchar", "front"],
    ]
    tables = world.run("plan", "job.yaml", "--format", "json").report["tables"]
    assert [column["used"] for column in tables[0]["columns"]] == [True, True, *[False] * 5]


def cell(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_no_message_is_kept_of_a_case_that_is_gone() -> None:
    """And no case is without one, which its own test tells."""
    names = {
        f"{name}[{case}]"
        for name, test in globals().items()
        for mark in getattr(test, "pytestmark", ())
        if mark.args[0] == "case"
        for case in mark.kwargs["ids"]
    }
    assert len(names) >= 60
    assert kept_messages.read(MESSAGES).keys() == names
