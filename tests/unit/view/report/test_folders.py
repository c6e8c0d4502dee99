"""The folder of a document: the first segments above its file, whatever its name."""

from __future__ import annotations

import duckdb
import pytest

from metaferry.view.report.profile import _folder_sql

PATHS = [
    *("a.png", "a/b.png", "a/b/c/d/e/f.png", "/a.png", "//x", "//", "a//b", "a/", "/", ""),
    *("é/ü/x", "😀/b/c", "e\u0301/x", "a\nb/c", "a/\n/c", "a\\b/c.png"),
]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_folder_of_a_path(depth: int) -> None:
    with duckdb.connect() as con:
        for path in PATHS:
            folder = "/".join(path.split("/")[:-1][:depth])
            sql = f"SELECT {_folder_sql(depth)} FROM (SELECT ? AS media, 'other/x' AS target)"
            assert con.execute(sql, [path]).fetchall() == [(folder or ".",)], path


def test_a_document_without_media_has_its_own_folder() -> None:
    with duckdb.connect() as con:
        sql = f"SELECT {_folder_sql(2)} FROM (SELECT NULL::VARCHAR AS media, 'a/b/c.json' AS target)"
        assert con.execute(sql).fetchall() == [("a/b",)]
