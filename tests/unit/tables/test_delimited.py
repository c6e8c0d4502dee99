"""CSV and TSV: lines, malformed rows, types over every row."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from unit.tables.table_loading import Result, load


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    def loaded(content: bytes | str, name: str = "t.csv", **more: Any) -> Result:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return load(tmp_path / name, **more)

    return loaded


def column(csv: Any, *cells: str, expression: str | None = None) -> Result:
    lines = "\n".join(f"{n}.png,{cell}" for n, cell in enumerate(cells))
    mapping = {"metadata": {"x": expression}} if expression else {}
    result: Result = csv(f"file_name,x\n{lines}\n", **mapping)
    return result


@pytest.mark.parametrize(
    ("cells", "type", "values"),
    [
        (["1", "-20", "0", ""], "BIGINT", [1, -20, 0, None]),
        (["9223372036854775807"], "BIGINT", [2**63 - 1]),
        (["1", "2.5", ""], "DOUBLE", [1.0, 2.5, None]),
        (["1e3", ".5", "5.", "-0.0"], "DOUBLE", [1000.0, 0.5, 5.0, -0.0]),
        (["true", "FALSE", "True", ""], "BOOLEAN", [True, False, True, None]),
        # what a number would change stays text
        (["007", "8"], "VARCHAR", ["007", "8"]),
        (["007", "8.5"], "VARCHAR", ["007", "8.5"]),
        (["+7"], "VARCHAR", ["+7"]),
        (["9223372036854775808"], "VARCHAR", ["9223372036854775808"]),
        (["1234567890123456", "1.5"], "VARCHAR", ["1234567890123456", "1.5"]),
        (["1e400"], "VARCHAR", ["1e400"]),
        (["nan", "1"], "BIGINT", [None, 1]),
        (["inf"], "VARCHAR", ["inf"]),
        ([" 1"], "VARCHAR", [" 1"]),
        (["0x10"], "VARCHAR", ["0x10"]),
        (["1_000"], "VARCHAR", ["1_000"]),
        (["t", "f"], "VARCHAR", ["t", "f"]),
        (["true", "1"], "VARCHAR", ["true", "1"]),
        (["2026-01-02"], "VARCHAR", ["2026-01-02"]),
        (["", ""], "VARCHAR", [None, None]),
    ],
)
def test_types_are_exact(csv: Any, cells: list[str], type: str, values: list[Any]) -> None:
    result = column(csv, *cells)
    assert result.types == {"x": type}
    assert result.values("x") == values
    assert [str(value) for value in result.values("x")] == [str(value) for value in values]  # -0.0


def test_the_last_of_many_rows_decides(csv: Any) -> None:
    cells = ["7"] * 200_000
    assert column(csv, *cells).types == {"x": "BIGINT"}
    assert column(csv, *cells, "n/a").types == {"x": "VARCHAR"}
    assert column(csv, *cells, "0.5").types == {"x": "DOUBLE"}


def test_rows_are_the_lines_where_they_start(csv: Any) -> None:
    result = csv('\n\r\nfile_name,x\r\na,"1\n2\r\n3"\r\n\r\nb,2\rc,"\r"\nd,4')
    assert result.values("row") == [4, 8, 9, 11]
    assert result.values("x") == ["1\n2\r\n3", "2", "\r", "4"]


def test_a_header_may_go_over_several_lines(csv: Any) -> None:
    result = csv('file_name,"x\ny"\na,1\n')
    assert result.types == {"x\ny": "BIGINT"}
    assert result.values("row") == [3]


def test_a_byte_order_mark_is_no_part_of_a_name(csv: Any) -> None:
    assert csv(b"\xef\xbb\xbffile_name,x\na,1\n").values("file_name") == ["a"]
    assert csv(b'\xef\xbb\xbf"file_name",x\na,1\n').values("file_name") == ["a"]


@pytest.mark.parametrize("quoting", ["b,2", '"b",2'])
def test_a_ragged_row_is_named_and_the_rest_read(csv: Any, quoting: str) -> None:
    result = csv(f"file_name,x\na,1\nshort\nlong,1,2\n{quoting}\n")
    assert result.values("file_name") == ["a", "b"]
    assert result.values("row") == [2, 5]
    assert result.rejects == [
        (3, "the row has 1 cell, and the header has 2"),
        (4, "the row has 3 cells, and the header has 2"),
    ]
    assert (result.loaded.read, result.loaded.malformed) == (4, 2)
    assert result.con.execute("SELECT DISTINCT code, file, value FROM rejects ORDER BY value").fetchall() == [
        ("source.malformed", result.loaded.files[0].url, "long,1,2"),
        ("source.malformed", result.loaded.files[0].url, "short"),
    ]


def test_what_is_not_utf8_or_holds_a_nul_is_named(csv: Any) -> None:
    result = csv(b"file_name,x\na,caf\xe9\nb,ok\nc,n\0l\n\xc3\xa9,fine\n")
    assert result.values("file_name") == ["b", "é"]
    assert result.rejects == [
        (2, "x is not UTF-8: it holds the byte 0xe9, which is é under encoding: cp1252"),
        (4, "x holds a NUL character"),
    ]


def test_a_quote_that_is_never_closed_names_the_line_where_its_row_starts(csv: Any) -> None:
    result = csv('file_name,x\na,1\nb,"2\nc,3\nd,4\n')
    assert result.values("file_name") == ["a"]
    assert result.rejects == [(3, "a quote is opened and never closed: lines 3 to 5 were not read")]


def test_text_after_a_closing_quote_is_named_and_the_rest_read(csv: Any) -> None:
    result = csv('file_name,x\na,"1"2\nb,"3\nc,"4"\nd,5\n')
    assert result.rejects == [
        (2, "there is text after a closing quote: the line was not read"),
        (3, "there is text after a closing quote: lines 3 to 4 were not read"),
    ]
    assert result.values("file_name") == ["d"]
    assert result.loaded.read == 3


def test_a_cell_that_grows_without_end_stops_the_file(csv: Any) -> None:
    result = csv('file_name,x\na,1\nb,"2\n' + "c,3\n" * 400_000)
    assert result.values("file_name") == ["a"]
    ((row, message),) = result.rejects
    assert row == 3
    assert "nothing was read from line 3 on" in message


def test_a_large_cell_is_a_cell(csv: Any) -> None:
    assert csv(f'file_name,x\na,"{"y" * 900_000}"\n').values("x") == ["y" * 900_000]


@pytest.mark.slow
def test_pieces_of_all_kinds_in_one_file(csv: Any) -> None:
    """Rows on both sides of every border between pieces, in pieces that only one reader can take."""
    lines, wanted = [], []
    for n in range(300_000):
        if n % 50_000 == 7:
            lines.append(f'"{n}\n{"y" * 100}",q')
            wanted.append(f"{n}\n{'y' * 100}")
        else:
            lines.append(f"{n}-{'z' * (n % 40)},q")
            wanted.append(f"{n}-{'z' * (n % 40)}")
    result = csv("file_name,x\n" + "\n".join(lines))
    assert result.values("file_name") == wanted
    starts, line = [], 2
    for cell in wanted:
        starts.append(line)
        line += 1 + cell.count("\n")
    assert result.values("row") == starts


def test_a_row_may_go_over_a_border_between_pieces(csv: Any) -> None:
    cell = "a line\n" * 100_000
    body = "".join(f'{n},"{cell}"\n' for n in range(20))
    result = csv(f"file_name,x\n{body}")
    assert result.values("x") == [cell] * 20
    assert result.values("row") == [2 + 100_001 * n for n in range(20)]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_delimiter_is_taken_from_the_header_and_said(
    csv: Any, mark: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="metaferry"):
        result = csv(f"file_name{mark}x\na{mark}1,5\n")
    assert result.values("x") == ["1,5"]
    assert repr(mark) in caplog.text


def test_a_tsv_is_parted_by_tabs_alone(csv: Any) -> None:
    result = csv("file_name\tx,y\na\t1,2\n", "t.tsv")
    assert result.values("x,y") == ["1,2"]


def test_a_table_of_one_column(csv: Any) -> None:
    assert csv("file_name\na\n\nb\n").values("row") == [2, 4]


def test_a_table_without_rows(csv: Any) -> None:
    for content in ("file_name,x,f\n", "file_name,x,f"):
        result = csv(content, frame="f")
        assert (result.rows, result.loaded.read) == ([], 0)
        assert result.types == {"x": "VARCHAR"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b,a", "columns 1 and 3 are both called a"),
        ("a,b,A", "columns 1 and 3 are called a and A, which differ in letter case only"),
        ('a,"b', "header line cannot be read"),
        ("a,__metaferry_row", "cannot be called"),
    ],
)
def test_headers_that_are_none(csv: Any, header: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as caught:
        csv(header)
    assert caught.value.place == "sources[0].table"


@pytest.mark.parametrize("quoted", ["b,2", '"b",2'])
def test_columns_that_nobody_uses_break_nothing(csv: Any, quoted: str) -> None:
    """Twice the same name, names that differ in case, and ours: nobody asks for them."""
    header = "file_name,x,y,Y,y,__metaferry_row,"
    result = csv(f"{header}\na,1,,2,3,4,\n{quoted},5,6,7,8,\n", metadata={"x": "x"})
    assert (result.values("file_name"), result.values("x")) == (["a", "b"], [1, 2])
    assert (result.rejects, result.loaded.read) == ([], 2)


def test_an_index_without_a_name_is_left_out(csv: Any) -> None:
    result = csv(",file_name,x,__index_level_0__,\n0,a,1,7,\n1,b,2,8,\n")
    assert result.types == {"x": "BIGINT"}
    assert result.values("file_name") == ["a", "b"]
    mapped = csv("file_name,__index_level_0__\na,7\n", metadata={"n": "__index_level_0__"})
    assert mapped.values("n") == [7]


@pytest.mark.parametrize(
    ("content", "rejects"),
    [
        ("file_name,x\na,1,\nb,2,\n", []),
        ("file_name,x,\na,1\nb,2\n", []),
        ("file_name,x,\na,1,\nb,2,\n", []),
        # most rows tell which it is; the others are named
        ("file_name,x\na,1,\nc,3\nb,2,\n", [(3, "the row has 2 cells, and the header has 3")]),
        ("file_name,x\na,1\nc,3,\nb,2\n", [(3, "the row has 3 cells, and the header has 2")]),
        ("file_name,x\na,1\nc,3,4\nd,3,4\ne,5,6\nb,2\n", [(n, None) for n in (3, 4, 5)]),
    ],
)
def test_a_trailing_delimiter_is_no_cell(csv: Any, content: str, rejects: list[Any]) -> None:
    result = csv(content)
    assert (result.values("file_name"), result.values("x")) == (["a", "b"], [1, 2])
    assert [row for row, _ in result.rejects] == [row for row, _ in rejects]
    for (_, said), (_, wanted) in zip(result.rejects, rejects, strict=True):
        assert wanted in (None, said)


@pytest.mark.parametrize("ending", ["", '"q",1,x\n'])
def test_cells_that_nobody_uses_may_be_anything(csv: Any, ending: str) -> None:
    """In a piece that Arrow parts and in one that Python parts alike."""
    content = b"file_name,x,note\na,1,caf\xe9\nb,2,n\0l\n" + ending.encode()
    result = csv(content, metadata={"x": "x"})
    assert result.values("file_name") == (["a", "b", "q"] if ending else ["a", "b"])
    assert result.rejects == []


def test_a_long_cell_that_nobody_uses_is_told_alike_by_both_readers(csv: Any) -> None:
    row = f"b,{'y' * (2 << 20)}\n"
    for more in ("", '"c",1\n'):
        result = csv(f"file_name,x\na,1\n{row}{more}", metadata={})
        assert result.values("file_name") == ["a"]
        assert "a cell has more than" in result.rejects[0][1]


MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
MARKS |= {"utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff"}


@pytest.mark.parametrize("encoding", list(MARKS))
def test_a_byte_order_mark_tells_the_encoding(csv: Any, encoding: str) -> None:
    content = 'file_name,größe\na,1\n"b\n🚗",2\nc,3,4\n'.encode(encoding)
    for more in ({}, {"encoding": "cp1252"}):  # a mark is no text of any encoding
        result = csv(MARKS[encoding] + content, **more)
        assert (result.values("file_name"), result.values("größe")) == (["a", "b\n🚗"], [1, 2])
        assert (result.values("row"), [row for row, _ in result.rejects]) == ([2, 3], [5])


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "shift_jis", "latin-1"])
def test_an_encoding_that_is_named(csv: Any, encoding: str) -> None:
    word = "表示" if encoding == "shift_jis" else "Größe"
    result = csv(f"file_name,x\na,{word}\nb,2\n".encode(encoding), encoding=encoding)
    assert result.values("x") == [word, "2"]


def test_blocks_may_end_within_a_character(csv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaferry.tables.files.blocks.BLOCK", 7)
    rows = "".join(f"{n},é🚗\n" for n in range(200))
    result = csv(f"file_name,x\n{rows}".encode("utf-16"))
    assert result.values("x") == ["é🚗"] * 200


def test_a_byte_that_an_encoding_does_not_have_is_named(csv: Any) -> None:
    result = csv(b"file_name,x\na,\x81\nb,\xe9\n", encoding="cp1252")
    assert result.values("x") == ["é"]
    assert result.rejects == [(2, "x is not cp1252: it holds the byte 0x81")]
    half = "file_name,x\na,1\n".encode("utf-16-le") + b"\0\xd8,\0" + "\nb,2\n".encode("utf-16-le")
    result = csv(half, encoding="utf-16-le", metadata={})
    assert result.values("file_name") == ["a", "b"]
    assert [row for row, _ in result.rejects] == [3]
    with pytest.raises(JobError, match="is not utf-16-le: truncated data"):
        csv("file_name,x\na,1\n".encode("utf-16-le")[:-1], encoding="utf-16-le")


def test_a_header_in_another_encoding_says_what_to_write(csv: Any) -> None:
    for content in ("file_name,größe\na,1\n".encode("cp1252"), "file_name,x\na,1\n".encode("utf-16-le")):
        with pytest.raises(JobError, match="header line is not UTF-8 text") as caught:
            csv(content)
        assert "encoding: cp1252" in caught.value.advice


@pytest.mark.parametrize(
    ("content", "delimiter", "x"),
    [
        ("file_name;x\na;1,5\n", ";", "1,5"),
        ('file_name;x\n"a,b,c";1\n"d,e";1\n', ";", 1),
        ('file_name,x\n"a;b;c;d",1\n"e;f;g;h",1\n', ",", 1),
        ("file_name|x\na,b|1\nc|1\n", "|", 1),
        # the header holds a comma too; over the rows it is not consistent
        ("file_name;x;seen, when\na;1;2\nb;1;3\n", ";", 1),
        # both are consistent: the one with more cells
        ("file_name;x;a|b\na;1;2|3\nb;1;4|5\n", ";", 1),
        # one ragged row does not make a delimiter of what stands in a name
        ("file_name,x,y,a|b\n" + "a,1,2,3|4\n" * 20 + "b,1\n", ",", 1),
        ("# a; b; c\nfile_name,x\n# d; e; f\na,1\n", ",", 1),
        ("file_name\tx\na\t1\n", "\t", 1),
    ],
)
def test_the_delimiter_is_what_is_consistent_outside_quotes(
    csv: Any, content: str, delimiter: str, x: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="metaferry"):
        result = csv(content, metadata={"x": "x"}, comment="#")
    assert repr(delimiter) in caplog.text
    assert result.values("x")[0] == x


@pytest.mark.parametrize("quoted", ["b", '"b"'])
def test_lines_before_and_after_the_header_and_comments_are_no_rows(csv: Any, quoted: str) -> None:
    content = f"Export 5\r\n\r\nby x, y\r\n\n#c\nfile_name,x\nname,km/h\na,1\n# b,2\n{quoted},3\n\n#\nc,4"
    result = csv(content, skip={"before": 3, "after": 1}, comment="#")
    assert (result.values("file_name"), result.values("x")) == (["a", "b", "c"], [1, 3, 4])
    assert result.values("row") == [8, 10, 13]
    assert (result.loaded.read, result.rejects) == (3, [])


def test_a_comment_within_quotes_is_text(csv: Any) -> None:
    assert csv('file_name,x\na,"1\n#2"\n#b,2\n', comment="#").values("x") == ["1\n#2"]


@pytest.mark.parametrize("block", [3, 1 << 22])
def test_skipped_lines_may_go_over_blocks(csv: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaferry.tables.files.blocks.BLOCK", block)
    result = csv("one\rtwo\r\nthree\n\nfile_name,x\n\na,1\n", skip={"before": 4, "after": 1})
    assert (result.values("file_name"), result.values("row")) == (["a"], [7])


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("file_name,x\na,1\n", 5),
        ("file_name,x", 1),
    ],
)
def test_more_lines_are_skipped_than_there_are(csv: Any, content: str, header: int) -> None:
    with pytest.raises(JobError, match="is empty"):
        csv(content, skip={"before": header})


def test_a_table_without_a_header(csv: Any) -> None:
    result = csv("a,1\nb,2\nc\n", header=False, columns=["file_name", "x"])
    assert (result.values("x"), result.values("row")) == ([1, 2], [1, 2])
    assert result.rejects == [(3, "the row has 1 cell, and `columns` names 2")]
    with pytest.raises(JobError, match="has rows of 2 cells, and `columns` names 3") as caught:
        csv("a,1\nb,2\n", header=False, columns=["file_name", "x", "y"])
    assert "the delimiter is taken to be comma" in caught.value.advice


def test_quotes_escapes_and_blanks(csv: Any) -> None:
    assert csv("file_name,x\na,'1,5'\n", quote="'").values("x") == ["1,5"]
    assert csv('file_name,x\na,"1\nb,2"\n', quote="").values("x") == ['"1', '2"']
    escaped = csv('file_name,x\na,"say \\"hi\\", you"\nb,c\\,d\nc,e\n', escape="\\")
    assert escaped.values("x") == ['say "hi", you', "c,d", "e"]
    blanks = csv('file_name , x\na  ,  1\n b,\t2\u00a0\nc,\nd, "3"\n', trim=True)
    assert (blanks.values("file_name"), blanks.values("x")) == (["a", "b", "c", "d"], [1, 2, None, 3])


def test_blanks_around_cells_are_taken_off_by_both_readers_alike(csv: Any) -> None:
    cells = ["\ta b", "a b \u00a0", " \u2003 ", "\u00a0", " 7", "a\u0301 "]
    plain = "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))
    quoted = plain.replace("0,", '"0 ""x""",', 1)  # which Arrow is not given
    expected = ["a b", "a b", "\u2003", None, "7", "a\u0301"]
    for lines in (plain, quoted):
        assert csv(f"file_name,x\n{lines}", trim=True).values("x") == expected


@pytest.mark.parametrize(
    ("cells", "options", "type", "values"),
    [
        (["1,5", "2", "-,5"], {"decimal": ","}, "DOUBLE", [1.5, 2.0, -0.5]),
        (["1.5", "2,5"], {"decimal": ","}, "VARCHAR", ["1.5", "2,5"]),
        ([*["1,5"] * 20, "1.5"], {"decimal": ","}, "VARCHAR", [*["1,5"] * 20, "1.5"]),
        ([*["1,5"] * 20, "2,50", ",5"], {"decimal": ","}, "DOUBLE", [*[1.5] * 20, 2.5, 0.5]),
        (["1.234", "12", "1.234.567"], {"decimal": ",", "thousands": "."}, "BIGINT", [1234, 12, 1234567]),
        (["1.234,5", "0,25"], {"decimal": ",", "thousands": "."}, "DOUBLE", [1234.5, 0.25]),
        (["1,234", "12,34"], {"thousands": ","}, "VARCHAR", ["1,234", "12,34"]),
        (["1 234", "5"], {"thousands": " "}, "BIGINT", [1234, 5]),
        (["1'234.5"], {"thousands": "'"}, "DOUBLE", [1234.5]),
        (["007", "1.234"], {"decimal": ",", "thousands": "."}, "VARCHAR", ["007", "1.234"]),
        (["true", ""], {"decimal": ","}, "BOOLEAN", [True, None]),
    ],
)
def test_numbers_as_they_are_written_elsewhere(
    csv: Any, cells: list[str], options: dict[str, Any], type: str, values: list[Any]
) -> None:
    lines = "".join(f"{n};{cell}\n" for n, cell in enumerate(cells))
    result = csv(f"file_name;x\n{lines}", **options)
    assert (result.types, result.values("x")) == ({"x": type}, values)


def test_options_of_text_are_no_options_of_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"file_name": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(JobError, match="is parquet: `delimiter` is for CSV and TSV"):
        load(tmp_path / "t.parquet", delimiter=";")


def test_columns_may_stand_in_any_order_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("file_name,x,y\na,1,2\n")
    (tmp_path / "2.csv").write_text("Y,file_name,x\n4,b,3\n")
    result = load(tmp_path / "*.csv")
    assert [(row["file_name"], row["x"], row["y"]) for row in result.rows] == [("a", 1, 2), ("b", 3, 4)]


def test_types_are_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("file_name,x\na,1\n")
    (tmp_path / "2.csv").write_text("file_name,x\nb,02\n")
    assert load(tmp_path / "*.csv").values("x") == ["1", "02"]


def test_columns_are_united_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("file_name,x\na,1\n")
    (tmp_path / "2.csv").write_text("file_name\nb\n")
    (tmp_path / "3.csv").write_text("Z,file_name,X\n0.5,c,3\n")
    (tmp_path / "4.csv").write_text("file_name;z\nd;2\nragged\n")
    result = load(tmp_path / "*.csv")
    assert result.values("file_name") == ["a", "b", "c", "d"]
    assert (result.values("x"), result.values("Z")) == ([1, None, 3, None], [None, None, 0.5, 2.0])
    assert [file.rows for file in result.loaded.files] == [1, 1, 1, 2]
    assert [row for row, _ in result.rejects] == [3]


def test_files_without_a_header_are_passed_over_where_a_glob_matches_them(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("\n")
    (tmp_path / "2.csv").write_text("file_name,x\na,1\n")
    (tmp_path / "3.csv").write_text("")
    (tmp_path / "_SUCCESS").write_text("")
    result = load(tmp_path / "*", format="csv")
    assert (result.values("x"), result.values("file")) == ([1], [1])
    ((code, message),) = result.con.execute("SELECT code, message FROM findings").fetchall()
    assert code == "source.passed_over"
    assert message.startswith("3 files hold no table and are passed over: ")
    with pytest.raises(JobError, match="is empty"):
        load(tmp_path / "1.csv")
    (tmp_path / "2.csv").unlink()
    assert load(tmp_path / "*.csv").loaded.read == 0


def test_files_may_disagree_on_what_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("file_name,x\na,1\n")
    (tmp_path / "2.csv").write_text("file_name,z,x\nb,1,2\n")
    assert load(tmp_path / "*.csv", metadata={"x": "x"}).values("x") == [1, 2]


def test_the_limit_of_the_process_is_raised_and_never_lowered(csv: Any) -> None:
    import csv as reader

    before = reader.field_size_limit(5 << 20)
    try:
        csv("file_name\na\n")
        assert reader.field_size_limit() == 5 << 20
        reader.field_size_limit(1000)
        csv("file_name\na\n")
        assert reader.field_size_limit() == 1 << 20
    finally:
        reader.field_size_limit(before)


def test_nothing_is_left_behind(csv: Any) -> None:
    threads = threading.active_count()
    result = csv("file_name,x\na,1\n")
    tables = {name for (name,) in result.con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert tables == {"staged_0", "rejects", "findings"}  # source_0 is a view of it
    assert threading.active_count() == threads
