"""Bytes that must never change: not with the engine's version, and not by a change of ours.

Each line of golden/values.jsonl is a type of the engine, a value as text, and its JSON text inside
a document (null: its key is left out). A document whose bytes change is uploaded again, and so are
a hundred million others.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from metaferry.lightly.document import document, md5_hex
from metaferry.lightly.names import Kind
from metaferry.planning.sql import rules as sql

LINES = (Path(__file__).parent / "golden" / "values.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
CASES: list[tuple[str, str, str | None]] = [tuple(json.loads(line)) for line in LINES]


@pytest.mark.parametrize(("duckdb_type", "literal", "text"), CASES)
def test_the_engine_writes_these_bytes(duckdb_type: str, literal: str, text: str | None) -> None:
    with duckdb.connect() as con:
        query = f"SELECT {sql.json_value('x', duckdb_type)} FROM (SELECT ?::VARCHAR::{duckdb_type} AS x)"
        assert con.execute(query, [literal]).fetchall() == [(text,)]


@pytest.mark.parametrize("text", sorted({text for _, _, text in CASES if text is not None}))
def test_the_reference_writes_these_bytes(text: str) -> None:
    body = document("a.png", Kind.IMAGE, {"k": json.loads(text)})
    assert body.decode() == '{"file_name":"a.png","type":"image","metadata":{"k":' + text + "}}"


def test_a_whole_document() -> None:
    wanted = (
        '{"file_name":"sub/clip-099-mp4.png","type":"frame","metadata":'
        '{"a":{"b":{"c":false},"é":-0.0},"scene":"city \\"street\\""}}'
    )
    metadata = {"scene": 'city "street"', "a": {"é": -0.0, "b": {"c": False}, "gone": {"x": None}}}
    assert document("sub/clip-099-mp4.png", Kind.FRAME, metadata) == wanted.encode()
    texts = {
        ("scene",): sql.json_value("scene", "VARCHAR"),
        ("a", "é"): sql.json_value("e", "DOUBLE"),
        ("a", "b", "c"): sql.json_value("c", "BOOLEAN"),
        ("a", "gone", "x"): sql.json_value("x", "BIGINT"),
    }
    body = sql.body(sql.frame_file_name("video", "i", "d"), "'frame'", texts)
    columns = (
        "SELECT 'sub/clip.mp4' AS video, 99 AS i, 3 AS d, 'city \"street\"' AS scene, "
        "'-0.0'::DOUBLE AS e, false AS c, NULL::BIGINT AS x"
    )
    query = f"SELECT body, md5(body), strlen(body) FROM (SELECT {body} AS body FROM ({columns}))"
    with duckdb.connect() as con:
        row = con.execute(query).fetchall()
    assert row == [(wanted, md5_hex(wanted.encode()), len(wanted.encode()))]
    assert md5_hex(wanted.encode()) == "e3b04e43663a6e46511bd914b9e4846b"
