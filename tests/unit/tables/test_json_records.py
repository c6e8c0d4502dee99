"""JSON that is no JSON lines: an array, a list within an object, objects over many lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.json import shapes
from unit.tables.table_loading import Result, load

RECORDS = [
    {"file_name": "a {[", "x": 1, "tags": ['q"}', "]"], "deep": {"y": [{"z": "é🚗"}]}},
    {"file_name": "b", "x": None},
    {"file_name": "c", "x": 3, "tags": []},
]


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def loaded(content: bytes | str, name: str = "t.json", **more: Any) -> Result:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return load(tmp_path / name, **more)

    return loaded


SHAPES = {
    "array": (json.dumps(RECORDS), {}),
    "array, pretty": (json.dumps(RECORDS, indent=2), {}),
    "array, ASCII": (json.dumps(RECORDS, ensure_ascii=False, indent="\t"), {}),
    "object": (json.dumps({"info": {"n": [1]}, "x": [1, 2], "rows": RECORDS, "more": "]"}), {}),
    "object, pretty": (json.dumps({"info": None, "rows": RECORDS}, indent=1), {}),
    "named": (json.dumps({"images": [{"id": 1}], "rows": RECORDS, "z": []}), {"records": "$.rows"}),
    "deep": (json.dumps({"rows": 1, "a": {"rows": [], "b": {"rows": RECORDS}}}), {"records": "$.a.b.rows"}),
    "objects, pretty": ("\n".join(json.dumps(record, indent=2) for record in RECORDS), {}),
    "lines": ("\n".join(map(json.dumps, RECORDS)), {}),
}


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t.json.gz"])
@pytest.mark.parametrize("block", [3, 1 << 22])
def test_every_shape_gives_the_same_rows(
    table: Any, shape: str, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("blocks", "proof", "archives"):
        monkeypatch.setattr(f"metaferry.tables.files.{module}.BLOCK", block)
    text, more = SHAPES[shape]
    content = text.encode()
    if name == "t.jsonl" and shape == "object":
        more = {"records": "$.rows"}  # one line alone is a row under that name
    result = table(gzip.compress(content) if name.endswith("gz") else content, name, **more)
    assert result.values("file_name") == ["a {[", "b", "c"]
    assert result.values("x") == [1, None, 3]
    assert result.values("tags") == [['q"}', "]"], None, []]
    assert result.values("deep.y") == [[{"z": "é🚗"}], None, None]
    assert (result.loaded.read, result.rejects) == (3, [])


def test_rows_are_the_lines_where_they_begin(table: Any) -> None:
    rows = '{"file_name": "a",\n   "x": 1},\n\n  {"file_name": "b"}, {"x": 3}'
    text = f'\n{{\n "info": {{}},\n "rows": [\n  {rows}\n ]}}\n'
    assert table(text).values("row") == [5, 8, 8]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("7", "element 2 of the list is no JSON object"),
        ('"text"', "element 2 of the list is no JSON object"),
        ("[1, [2]]", "element 2 of the list is no JSON object"),
        ('{"a" 1}', "element 2 of the list is not valid JSON"),
        ('{"a": 1, "a": 2}', "the key a stands twice in one object"),
        ("{'a': 1}", "element 2 of the list is not valid JSON"),
    ],
)
def test_a_record_that_is_none_is_named_and_the_rest_read(table: Any, record: str, message: str) -> None:
    result = table(f'[{{"file_name": "a"}},\n{record},\n{{"file_name": "b"}}]')
    assert result.values("file_name") == ["a", "b"]
    ((row, said),) = result.rejects
    assert (row, message in said) == (2, True), said
    assert result.loaded.read == 3


def test_bytes_that_are_no_text_are_named(table: Any) -> None:
    result = table(b'[{"file_name": "a"},\n{"file_name": "\xe9"}]')
    assert [(row, "is not UTF-8" in said) for row, said in result.rejects] == [(2, True)]


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        ('[{"file_name": "a"},\n{"file_', {}, "a value has no end"),
        ('[{"file_name": "a"}', {}, "the list of records has no end"),
        ('[{"file_name": "a"}] x', {}, "there is more after the list of records"),
        ('{"rows": [{"file_name": "a"}]', {"records": "$.rows"}, "around the list of records has no end"),
        ('{"rows": {}}', {"records": "$.rows"}, r"has no list of records at \$\.rows"),
        ('{"rows": 1}', {"records": "$.other"}, r"has no list of records at \$\.other"),
        ('{"images": [{"id": 1}],\n"rows": [{"id": 2}]}', {}, "holds several lists: images, rows"),
    ],
)
def test_a_text_without_a_list_of_records_is_named(
    table: Any, content: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        table(content, **more)


def test_several_lists_in_a_large_object_are_named(table: Any) -> None:
    rows = [{"file_name": f"{n}", "x": "y" * 50} for n in range(80_000)]
    assert table(json.dumps({"info": 1, "rows": rows, "n": [1]})).loaded.read == 80_000
    with pytest.raises(JobError, match="holds several lists"):
        table(json.dumps({"rows": rows, "more": [{"id": 1}]}))


def test_an_object_without_a_list_is_a_record(table: Any) -> None:
    assert table(json.dumps({"file_name": "a", "x": 1, "n": [1]}, indent=2)).values("x") == [1]


@pytest.mark.parametrize("path", ["annotations", "$.a[0]", "$..a", "$."])
def test_paths_that_are_none(table: Any, path: str) -> None:
    with pytest.raises(ValueError, match="is no path to a list"):
        table("[]", records=path)


def test_an_empty_array_is_a_table_without_rows(table: Any) -> None:
    assert table("[]").loaded.read == 0


def test_a_first_line_that_is_longer_than_a_block_is_a_line(table: Any) -> None:
    rows = [{"file_name": "a", "x": "y" * (5 << 20), "l": [{"z": 1}]}, {"file_name": "b"}]
    result = table("\n".join(map(json.dumps, rows)), "t.jsonl", metadata={})
    assert (result.values("file_name"), result.values("row")) == (["a", "b"], [1, 2])


def test_elements_that_begin_in_one_line_are_named_by_their_number(table: Any) -> None:
    rows = [json.dumps({"file_name": f"{n}", "x": n}) for n in range(1_000)]
    rows[700] = '{"file_name": "b" "x": 1}'
    result = table("[" + ",".join(rows) + "]")
    assert result.values("row") == [n for n in range(1, 1_001) if n != 701]
    ((row, said),) = result.rejects
    assert (row, said) == (
        701,
        "element 701 of the list is not valid JSON: Expecting ',' delimiter at column 19, in line 1",
    )


def test_a_fault_within_an_element_over_many_lines_has_its_line(table: Any) -> None:
    rows = [json.dumps({"file_name": f"{n}", "x": n}, indent=2) for n in range(3)]
    rows[1] = rows[1].replace('"x": 1', '"x": one')
    assert table("[\n" + ",\n".join(rows) + "\n]").rejects == [
        (6, "element 2 of the list is not valid JSON: a value is expected at line 3 of it, column 8")
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_records_with_lists_of_objects_are_told_apart_from_these(table: Any, indent: int | None) -> None:
    rows = [
        {"file_name": f"{n}", "labels": [{"name": "},{" if n == 900 else "car", "box": [n, 0.5]}] * (n % 4)}
        for n in range(2_000)
    ]
    result = table(json.dumps(rows, indent=indent))
    assert result.loaded.read == 2_000
    assert {row["file_name"]: row["labels"] for row in result.rows} == {
        row["file_name"]: row["labels"] for row in rows
    }


@pytest.mark.parametrize("layout", ["lines", "array"])
def test_plain_objects_are_read_without_a_look_at_each(
    table: Any, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def shape_of_line(text: str, **more: Any) -> Any:
        looked.append(text)
        return shapes.shape_of_line(text, **more)

    monkeypatch.setattr("metaferry.tables.json.lines.shape_of_line", shape_of_line)
    rows = [{"file_name": f"{n}", "x": n / 7, "y": {"z": [n]}, "w": None} for n in range(5_000)]
    rows[4_000] |= {"x": 1, "late": True}
    text = "\n".join(map(json.dumps, rows)) if layout == "lines" else json.dumps(rows)
    result = table(text)
    assert (result.loaded.read, result.types["late"]) == (5_000, "BOOLEAN")
    assert result.values("x")[3_999:4_002] == [3_999 / 7, 1.0, 4_001 / 7]
    plain = table("\n".join(map(json.dumps, rows[:3_000])))
    assert plain.values("y.z") == [[n] for n in range(3_000)]
    looked.clear()
    table(json.dumps([rows[0]] * 3_000))
    assert len(looked) < 300


def test_a_key_of_numbers_that_holds_text_later_is_text_as_it_was_written(table: Any) -> None:
    rows = ['{"file_name": "a", "x": [1.5, 2]}'] * 2_000 + ['{"file_name": "b", "x": "q"}', '{"x": NaN}']
    result = table("\n".join(rows))
    assert result.types == {"x": "VARCHAR"}
    assert result.values("x") == ["[1.5,2]"] * 2_000 + ["q", None]
    assert [(code, row) for code, row, _ in result.findings] == [("value.not_finite", 2_002)]
    assert result.loaded.read == 2_002


def test_keys_near_a_path_that_is_not_there_are_named(table: Any) -> None:
    content = '{"data": {"rows": [{"file_name": "a"}], "n": 1}}'
    for path, advice in (
        ("$.data.row", "did you mean records: $.data.rows?"),
        ("$.annotations", "$ has the keys data"),
        ("$.data.x", "$.data has the keys rows, n"),
    ):
        with pytest.raises(JobError, match="has no list of records at") as caught:
            table(content, records=path)
        assert caught.value.advice == advice


@pytest.mark.parametrize(
    ("parting", "record", "lines"),
    [
        (",\n", '{"file_name": "%s"}', 1),
        (",\n\n ", '{"file_name": "%s"}', 2),
        ("\n,\n\n", '{"file_name": "%s"}', 3),
        (",\n", '{"file_name": "%s",\n "x": 1}', 2),  # lines within the records too
        (",\n", '{"file_name": "%s", "b": [{"n": 1},\n{"n": 2}]}', 2),  # parted as the records are
    ],
)
def test_many_records_have_the_lines_where_they_begin(
    table: Any, parting: str, record: str, lines: int
) -> None:
    result = table("[\n" + parting.join(record % n for n in range(3_000)) + "\n]\n")
    found = dict(zip(result.values("file_name"), result.values("row"), strict=True))
    assert found == {str(n): 2 + n * lines for n in range(3_000)}


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv"])
@pytest.mark.parametrize("block", [64, 1 << 12])
def test_rows_stay_in_their_order_when_several_threads_read_them(
    table: Any, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a row is longer than what a thread reads at once."""
    monkeypatch.setattr("metaferry.tables.json.typed._BLOCK", block)
    monkeypatch.setattr("metaferry.tables.csv.rows._BLOCK", block)
    rows = [{"file_name": f"{n}", "x": n, "y": "z" * (100 if n % 1_000 == 7 else 3)} for n in range(4_000)]
    text = {
        "t.jsonl": "\n".join(map(json.dumps, rows)),
        "t.json": json.dumps(rows),
        "t.csv": "file_name,x,y\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows),
    }[name]
    result = table(text, name)
    first = 2 if name == "t.csv" else 1
    assert result.values("row") == list(range(first, 4_000 + first))
    assert [{key: row[key] for key in rows[0]} for row in result.rows] == rows
