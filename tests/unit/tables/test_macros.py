"""The macros about paths: the same in expressions and in the engine, for all separators and for null."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.planning.database import open_database
from metaferry.tables.expressions import parse_expression, sealed
from metaferry.tables.macros import MACROS
from unit.tables.table_loading import load

#: path: basename, dirname, stem, parts 1, -1, -2
PATHS: dict[str | None, tuple[Any, ...]] = {
    "a/b/c.jpg": ("c.jpg", "a/b", "c", "a", "c.jpg", "b"),
    "c.jpg": ("c.jpg", "", "c", "c.jpg", "c.jpg", None),
    "/c.jpg": ("c.jpg", "", "c", "c.jpg", "c.jpg", None),
    r"C:\data\x y.b.jpg": ("x y.b.jpg", r"C:\data", "x y.b", "C:", "x y.b.jpg", "data"),
    r"a\b/c.jpg": ("c.jpg", r"a\b", "c", "a", "c.jpg", "b"),
    r"\\server\share\a.png": ("a.png", r"\\server\share", "a", "server", "a.png", "share"),
    "s3://bucket/k/x.tar.gz": ("x.tar.gz", "s3://bucket/k", "x.tar", "s3:", "x.tar.gz", "k"),
    "a//b/": ("b", "a", "b", "a", "b", "a"),
    "x/.hidden": (".hidden", "x", ".hidden", "x", ".hidden", "x"),
    "a.": ("a.", "", "a", "a.", "a.", None),
    "a\nb/c\nd.jpg": ("c\nd.jpg", "a\nb", "c\nd", "a\nb", "c\nd.jpg", "a\nb"),
    "ü/日本.webp": ("日本.webp", "ü", "日本", "ü", "日本.webp", "ü"),
    "": ("", "", "", None, None, None),
    "/": ("", "", "", None, None, None),
    None: (None, None, None, None, None, None),
}
EXPRESSIONS = (
    "basename(p)",
    "dirname(p)",
    "stem(p)",
    "path_part(p, 1)",
    "path_part(p, -1)",
    "path_part(p, -2)",
)


def test_what_the_macros_give(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({"file_name": "a.png", "p": path}) + "\n" for path in PATHS))
    metadata = {f"k{at}": text for at, text in enumerate(EXPRESSIONS)}
    rows = load(table, metadata=metadata).rows
    assert [tuple(row[key] for key in metadata) for row in rows] == list(PATHS.values())


def test_a_part_that_is_not_there_is_null(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file_name,n\na/b.png,0\na/b.png,3\na/b.png,-3\na/b.png,\na/b.png,2\n")
    assert load(table, metadata={"k": "path_part(file_name, n)"}).values("k") == [
        None,
        None,
        None,
        None,
        "b.png",
    ]


def test_the_planning_engine_knows_them_too() -> None:
    with open_database(memory_limit="128MB", scratch=None) as database:
        assert database.row("SELECT basename('a/b.png'), stem(NULL), path_part('a/b', 1)") == (
            "b.png",
            None,
            "a",
        )


@pytest.mark.parametrize("name", sorted(MACROS))
def test_they_are_expressions_of_one_row(name: str) -> None:
    con = sealed()
    try:
        arguments = "x, 1" if name == "path_part" else "x"
        expression = parse_expression(f"{name.upper()}({arguments}) || '.png'", "file_name", con)
        assert expression.columns == {"x"}
    finally:
        con.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("basename()", "Macro basename"),
        ("path_part(p)", "Macro path_part"),
        ("basenme(p)", "did you mean basename"),
        ("stem(q)", "has no column q"),
    ],
)
def test_a_wrong_call_is_named(tmp_path: Path, text: str, says: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file_name,p\na.png,1\n")
    with pytest.raises(JobError, match=r"^sources\[0\]\.metadata\.k: ") as caught:
        load(table, metadata={"k": text})
    assert says in f"{caught.value} {caught.value.advice}"
