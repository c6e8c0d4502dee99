"""What JSON cannot hold is left out and named as it is in the document: from Parquet and JSON alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2e.world import World

NAN = float("nan")
ROWS: list[dict[str, Any]] = [
    {"file_name": "a.png", "speed": NAN, "track": [1.5, NAN], "place": {"lat": float("inf"), "lon": 2.5}},
    {"file_name": "b.png", "speed": 2.5, "track": [1.5], "place": {"lat": 1.5, "lon": 2.5}},
]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_it_is_left_out_and_the_finding_says_what_the_document_has(tmp_path: Path, kind: str) -> None:
    world = World(tmp_path)
    for name in ("a.png", "b.png"):
        world.put(f"data/{name}", b"image")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    else:
        world.put("t.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    world.job = {"input": "data", "sources": [{"table": f"t.{kind}"}]}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, ran.report["findings"]["value.not_finite"]) == (0, 3)
    document = json.loads((world.data / ".lightly/metadata/a.json").read_text())
    assert document["metadata"] == {"place": {"lon": 2.5}, "track": [1.5, None]}
    said = sorted(
        one["message"] for one in ran.report["finding_examples"] if one["code"] == "value.not_finite"
    )
    assert [message.partition(": ")[2] for message in said] == [
        "the key is left out",
        "the key is left out",
        "the list has null there",
    ]
    assert [one["row"] for one in ran.report["finding_examples"] if one["code"] == "value.not_finite"] == [
        1
    ] * 3
