"""Tables of hard cells: every cell and every line number survives, in every format alike."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaferry.errors import JobError
from metaferry.tables.csv import cell_table
from metaferry.tables.csv import rows as delimited
from metaferry.tables.csv.cell_table import CellTable
from metaferry.tables.json import lines as objects
from unit.tables.table_loading import Result, load

#: What CSV has a meaning for, what numbers and truth values look like, and any other text.
HARD = st.one_of(
    st.text(alphabet="ab\",;\t\r\n '\\é🚗\ufeff", max_size=8),
    st.sampled_from(
        ["", "007", "1", "-0", "1.5", "true", "1e400", "NULL", "null", "nan", "#x", "\\N", "0x1"]
    ),
    st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=6),
)
ROWS = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(HARD, min_size=width, max_size=width), max_size=12)
)


def written(rows: list[list[str]], **config: Any) -> tuple[str, list[int]]:
    """The rows as CSV, and the line where each starts, counted over the text itself."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, **config)
    starts = []
    for row in rows:
        starts.append(1 + lines_in(text.getvalue()))
        writer.writerow(row)
    return text.getvalue(), starts


def lines_in(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def load_text(text: str, name: str, **more: Any) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(text.encode())
        return load(path, **more)


def as_text(column: str) -> str:
    return f"CAST({column} AS VARCHAR)"


@settings(max_examples=50, deadline=None)
@given(
    rows=ROWS,
    # With LF alone the writer would leave a CR without quotes, which ends a line.
    style=st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n")]),
    block=st.sampled_from([7, 64, 1 << 22]),
)
@example(rows=[["\ufeff", ""]], style=(csv.QUOTE_MINIMAL, "\r\n"), block=7)
def test_cells_and_lines_of_a_csv_survive(rows: list[list[str]], style: Any, block: int) -> None:
    width = len(rows[0]) if rows else 1
    header = [f"c{n}" for n in range(width)]
    text, starts = written([header, *rows], quoting=style[0], lineterminator=style[1])
    before = delimited.ByteStream.pieces
    try:
        delimited.ByteStream.pieces = in_pieces(before, block)  # type: ignore[method-assign]
        result = load_text(text, "t.csv", file_name="c0", metadata={name: name for name in header[1:]})
    finally:
        delimited.ByteStream.pieces = before  # type: ignore[method-assign]
    assert result.rejects == []
    assert result.values("row") == starts[1:]
    assert result.values("file_name") == [
        None if row[0] == "" else typed(row[0], [r[0] for r in rows]) for row in rows
    ]
    for n, name in enumerate(header[1:], 1):
        column = [row[n] for row in rows]
        if result.types[name] == "VARCHAR":
            assert result.values(name) == [cell or None for cell in column]
        else:
            assert [same(value, cell) for value, cell in zip(result.values(name), column, strict=True)] == (
                [True] * len(column)
            )


def in_pieces(original: Any, size: int) -> Any:
    """Pieces of about `size` bytes, cut after line ends as the real ones are."""

    def pieces(self: Any, *, carriage_returns: bool) -> Any:
        for piece in original(self, carriage_returns=carriage_returns):
            start = 0
            while start < len(piece):
                cut = piece.find(b"\n", start + size) + 1 or len(piece)
                yield piece[start:cut]
                start = cut

    return pieces


def typed(cell: str, column: list[str]) -> str:
    """What a file name of a typed column is as text."""
    if all(c == "" or c.lower() in ("true", "false") for c in column):
        return cell.lower()
    if all(c in ("", "1") for c in column):
        return cell
    if all(c in ("", "1", "1.5", "-0") for c in column):
        return str(float(cell))
    return cell


def same(value: Any, cell: str) -> bool:
    """Whether a typed value is what its cell says."""
    if cell == "":
        return value is None
    if isinstance(value, bool):
        return cell.lower() == str(value).lower()
    return isinstance(value, int | float) and float(cell) == value


@settings(max_examples=50, deadline=None)
@given(
    text=st.lists(
        st.one_of(
            st.text(alphabet='ab",\r\n \\', max_size=6),
            st.sampled_from(
                ["x,y\n", '"x","y"\n', '"x""z",y\r\n', "x,y\r", "é,y\n", "\n", '"x\ny",z\n', ",\n"]
            ),
        ),
        max_size=12,
    ).map("".join),
    delimiter=st.sampled_from([",", ";", " ", "\t", "§"]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "quote": st.sampled_from(["'", ""]),
            "escape": st.just("\\"),
            "comment": st.just("x"),
            "trim": st.just(True),
            "skip": st.just({"after": 1}),
        },
    ),
)
def test_the_fast_reader_and_the_careful_one_agree(
    text: str, delimiter: str, options: dict[str, Any]
) -> None:
    """Also on what is malformed: rows, lines and rejects are the same."""
    options = {**options, "delimiter": delimiter}
    content = f"file_name{delimiter}b\n" + text.replace(",", delimiter)
    content = content.replace('"', options.get("quote") or '"')
    fast = outcome(content, options)
    parted = delimited.Reader._parted
    try:
        delimited.Reader._parted = lambda self, piece, convert: None  # type: ignore[method-assign]
        careful = outcome(content, options)
    finally:
        delimited.Reader._parted = parted  # type: ignore[method-assign]
    assert fast == careful


def outcome(content: str, options: dict[str, Any]) -> Any:
    result = load_text(content, "t.csv", metadata={"b": as_text("b")}, **options)
    rows = [(row["row"], row["file_name"], row["b"]) for row in result.rows]
    return rows, result.rejects, result.loaded.read, result.loaded.malformed


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=6),
    st.sampled_from(["2026-01-02", "2026-01-02T00:00:00Z", "007", "1.50", "true", "null", '{"a":1}']),
)
KINDS = st.sampled_from(["any", "bool", "int", "float", "text", "list", "object"])


def values_of(kind: str) -> st.SearchStrategy[Any]:
    some = {
        "any": SCALARS,
        "bool": st.booleans(),
        "int": st.integers(-(2**100), 2**100),
        "float": st.floats(allow_nan=False, allow_infinity=False),
        "text": st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=6),
        "list": st.lists(st.integers(-5, 5), max_size=3),
        "object": st.fixed_dictionaries({}, optional={"p": st.integers(), "q r": st.text(max_size=3)}),
    }[kind]
    return st.one_of(st.none(), some)


#: Cells that are written as the engine writes a value, and others that mean the same, or nothing.
CELLS = st.sampled_from(
    [
        *("0", "7", "-7", "007", "+7", "-0", " 7", "7 ", "9223372036854775807", "9223372036854775808"),
        *(
            "1.5",
            "1,5",
            "-0.0",
            "0.1",
            "1.50",
            "12.0",
            ".5",
            "5.",
            "1e20",
            "1e+20",
            "1.5e-07",
            "1E5",
            "1e400",
        ),
        *(
            "1234567890123456.0",
            "123456789012345678",
            "1.234",
            "1,234",
            "inf",
            "-inf",
            "nan",
            "NaN",
            "NA",
            "-",
        ),
        *("true", "false", "True", "FALSE", "t", "yes", "2024-01-02", "x", "", "", "null", "0x10", "1_000"),
    ]
)
TABLES = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.one_of(
            st.lists(CELLS, min_size=width, max_size=width),
            st.sampled_from(["7", "1.5", "1,5", "true", ""]).map(lambda cell: [cell] * width),
        ),
        min_size=1,
        max_size=9,
    )
)
OPTIONS = st.sampled_from(
    [
        {},
        {"decimal": ","},
        {"decimal": ",", "thousands": "."},
        {"thousands": ","},
        {"nulls": []},
        {"nulls": ["7", "x"]},
        {"trim": True},
        {"metadata": {"a": "c0", "b": "nullif(c0, 'NA')"}},
    ]
)


@settings(max_examples=80, deadline=None)
@given(rows=TABLES, options=OPTIONS, looked_at=st.integers(1, 9))
def test_cells_that_are_stored_as_values_mean_what_their_text_does(
    rows: list[list[str]], options: dict[str, Any], looked_at: int
) -> None:
    """Whatever the first rows made of a column: types, values, null words, and what keeps it from a type."""
    header = ["file_name", *(f"c{at}" for at in range(len(rows[0])))]
    text = "\n".join(";".join(row) for row in [header, *(["a.png", *row] for row in rows)]) + "\n"
    options = {"delimiter": ";", **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_table, "_LOOKED_AT", looked_at)
        patch.setattr(cell_table, "_MOST", 0.5)
        found = as_loaded(text, "t.csv", options)
        patch.setattr(CellTable, "_kinds_of", lambda self, given: {})
        assert found == as_loaded(text, "t.csv", options)


LINES = st.lists(KINDS, min_size=1, max_size=3).flatmap(
    lambda kinds: st.lists(
        st.fixed_dictionaries(
            {"file_name": st.just("a.png")},
            optional={f"k{n}": values_of(kind) for n, kind in enumerate(kinds)},
        ),
        min_size=1,
        max_size=8,
    )
)


@settings(max_examples=50, deadline=None)
@given(lines=LINES, ascii=st.booleans(), gaps=st.booleans())
def test_values_of_json_lines_survive(lines: list[dict[str, Any]], ascii: bool, gaps: bool) -> None:
    parts = []
    for line in lines:
        parts.append(json.dumps(line, ensure_ascii=ascii))
        if gaps:
            parts.append("")
    text = "\n".join(parts)
    result = load_text(text, "t.jsonl")
    assert result.rejects == []
    step = 2 if gaps else 1
    assert result.values("row") == list(range(1, step * len(lines) + 1, step))
    rows = result.rows
    for line, row in zip(lines, rows, strict=True):
        for key, value in line.items():
            if key == "file_name":
                assert row[key] == value
            elif isinstance(value, dict) and key not in result.types:
                for name, inner in value.items():
                    assert kept(row[f"{key}.{name}"], inner), (key, name)
            else:
                assert kept(row.get(key), value), (key, row, value)


def kept(found: Any, value: Any) -> bool:
    """Whether a value is as it stood: equal and of its type, or its JSON text in a column of text."""
    if value is None or value == {}:
        return found is None
    if isinstance(found, str) and not isinstance(value, str):
        return json.loads(found) == value  # the key holds several kinds, or integers beyond any type
    if isinstance(value, bool) or isinstance(found, bool):
        return found is value
    if isinstance(value, int) and isinstance(found, float):
        return abs(value) <= 2**53 and found == value
    return type(found) is type(value) and found == value


COLUMNS = st.fixed_dictionaries(
    {
        "text": st.lists(st.text(alphabet="ab é,\"'\n", min_size=1, max_size=6).map(lambda t: "x" + t)),
        "whole": st.lists(st.integers(-(2**63), 2**63 - 1)),
        "number": st.lists(st.floats(allow_nan=False, allow_infinity=False)),
        "truth": st.lists(st.booleans()),
    }
)


@settings(max_examples=25, deadline=None)
@given(columns=COLUMNS, nulls=st.lists(st.integers(0, 40), max_size=5), size=st.integers(1, 30))
def test_the_formats_agree(columns: dict[str, list[Any]], nulls: list[int], size: int) -> None:
    def cell(name: str, n: int) -> Any:
        values = columns[name]
        return None if not values or n in nulls else values[n % len(values)]

    names = list(columns)
    rows = [{name: cell(name, n) for name in names} | {"file_name": f"{n}.png"} for n in range(size)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
        arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()}
        pq.write_table(
            pa.table({**arrays, "file_name": [row["file_name"] for row in rows]}), root / "t.parquet"
        )
        (root / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with (root / "t.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*names, "file_name"])
            writer.writeheader()
            writer.writerows(rows)
        found = [load(root / f"t.{kind}") for kind in ("parquet", "jsonl", "csv")]
    wanted = [[row[name] for name in names] for row in rows]
    for result in found:
        got = [[row[name] for name in names] for row in result.rows]
        assert [list(map(repr, row)) for row in got] == [list(map(repr, row)) for row in wanted]
        for name, kind in (
            ("text", "VARCHAR"),
            ("whole", "BIGINT"),
            ("number", "DOUBLE"),
            ("truth", "BOOLEAN"),
        ):
            if any(row[name] is not None for row in rows):
                assert result.types[name] == kind


ODD = st.sampled_from(
    [
        '{"k0": NaN}',
        '{"k0": [1.5, -Infinity]}',
        '{"k0": 1, "k0": 2}',
        '{"z": 1, "z": "x", "k0": 7}',
        '{"k0": -0}',
        '{"k0": 1.5, "k1": -0}',
        '{"k0": 1e400}',
        '{"k0": 12345678901234567890}',
        '{"k0": 9007199254740993}',
        '{"k0": [{}, {"a": 1}]}',
        '{"k0": {"a": {}, "b": [null]}}',
        '{"k0": {"a": 1}, "k1": [[], [{"b": "},{"}]]}',
        '{"k0": [], "k1": [{"a": 1},{"a": 2.5},{"c": "},\\n {"}]}',
        '{"K0": 1}',
        '{"\\u006b0": 3}',
        '{"k0": "\\ud83d"}',
        '{"k0": "\\ud83d\\ude97 \\u0000"}',
        '{"k0" : 1 ,"k1":[ true , null ]}',
        '{"k0": 1,}',
        '{"k0": 01}',
        '{"k0": "NaN, -0,"}',
        '{"":1,"z":{"Z":1,"z":2}}',
        "{}",
        "[1]",
        "7",
        '"a"',
    ]
)
WRITTEN = st.lists(
    st.one_of(LINES.map(lambda lines: json.dumps(lines[0])), ODD), min_size=2, max_size=12
).map(lambda lines: [json.dumps({"file_name": "a.png"}), *lines])
LAYOUTS = {
    "t.jsonl": ("", "\n", ""),
    "t.ndjson": ("", "\r\n", "\r\n"),
    "array.json": ("[", ", ", "]"),
    "tight.json": ("[", ",", "]"),
    "pretty.json": ("[\n  ", ",\n  ", "\n]"),
    "object.json": ('{"info": {"a": [1]}, "rows": [', ", ", '], "z": 1}'),
}


@settings(max_examples=60, deadline=None)
@given(
    lines=WRITTEN,
    layout=st.sampled_from(list(LAYOUTS)),
    metadata=st.sampled_from([None, {"k": "k0"}, {"k": "k0", "l": "k1"}]),
)
@example(['{"file_name": "a"}', '{"k0": [1.50, 2]}', '{"k0": [1.50]}', '{"k0": "x"}'], "t.jsonl", None)
def test_stretches_of_objects_are_read_as_objects_one_by_one_are(
    lines: list[str], layout: str, metadata: dict[str, str] | None
) -> None:
    """Also where they are malformed, or become text by what comes later."""
    begin, parting, end = LAYOUTS[layout]
    text = begin + parting.join(lines) + end
    more: dict[str, Any] = {"records": "$.rows"} if layout == "object.json" else {}
    if metadata is not None:
        more["metadata"] = metadata
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_FEW", 1)
        patch.setattr(objects, "_MANY", 2)
        fast = as_loaded(text, layout, more)
        patch.setattr(objects, "schema_of", lambda *given: None)
        assert fast == as_loaded(text, layout, more)


def as_loaded(text: str, name: str, more: dict[str, Any]) -> Any:
    try:
        result = load_text(text, name, **more)
    except JobError as error:
        return error.message.rpartition("/")[2], error.advice
    rows = sorted(repr(list(row.items())) for row in result.rows)
    return rows, result.types, sorted(result.rejects), result.findings, result.loaded.read
