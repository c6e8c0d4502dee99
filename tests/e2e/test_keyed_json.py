"""JSON keyed by the names of media: recognised, and the command of the advice makes a table of it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e2e.world import World

DRY, WET = {"weather": "dry", "n": 1}, {"weather": "wet", "n": 2}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        made.put(f"data/sub/{name}", b"image")
    return made


def documents(world: World) -> dict[str, Any]:
    folder = world.data / ".lightly/metadata/sub"
    return {path.stem: json.loads(path.read_bytes())["metadata"] for path in folder.glob("*.json")}


@pytest.mark.parametrize(
    "columns",
    [
        {"file_name": {"0": "sub/a.jpg", "1": "sub/b.jpg"}, "n": {"0": 1, "1": 2}},
        {"file_name": ["sub/a.jpg", "sub/b.jpg"], "n": [1, 2]},
        {"columns": ["file_name", "n"], "index": [0, 1], "data": [["sub/a.jpg", 1], ["sub/b.jpg", 2]]},
    ],
    ids=["columns", "list", "split"],
)
def test_columns_as_pandas_writes_them_become_rows_by_the_command(world: World, columns: Any) -> None:
    world.put("t.json", json.dumps(columns))
    world.job = {"input": "data", "sources": [{"table": "t.json"}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "t.json has a list for each column, where rows are expected" in ran.err, ran.err
    made, command = re.findall(r"name that file \((.+?)\): (python3 -c .*)", ran.err)[0]
    subprocess.run(command, shell=True, check=True, cwd=world.root)
    world.job["sources"] = [{"table": made}]
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world) == {"a": {"n": 1}, "b": {"n": 2}}


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("t.json", json.dumps({"sub/a.jpg": DRY, "sub/b.jpg": WET}), ""),
        ("my labels.json", json.dumps({"sub/a.jpg": DRY, "sub/b.jpg": WET}, indent=2), ""),
        ("t.json", json.dumps({"sub/a.jpg": [DRY], "sub/b.jpg": [WET]}), ""),
        (
            "t.json",
            json.dumps({"version": "1", "of": 2, "images": {"sub/a.jpg": DRY, "sub/b.jpg": WET}}),
            " at $.images",
        ),
        ("t.jsonl", json.dumps({"sub/a.jpg": DRY, "sub/b.jpg": WET}) + "\n", ""),
        ("t.jsonl", json.dumps({"sub/a.jpg": DRY}) + "\n" + json.dumps({"sub/b.jpg": WET}) + "\n", ""),
        (
            "t.json",
            json.dumps({"sub/a.jpg": DRY, "sub/b.jpg": WET, **{f"{n}.jpg": DRY for n in range(3000)}}),
            "",
        ),
    ],
    ids=["object", "pretty", "lists", "nested", "line", "lines", "many"],
)
def test_the_command_makes_a_table_of_it(world: World, name: str, text: str, where: str) -> None:
    world.put(name, text)
    world.job = {"input": "data", "sources": [{"table": name}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    said = f'{name} has an object with the names of media as its keys{where}, such as "sub/a.jpg"'
    assert said in ran.err, ran.err
    made, command = re.findall(r"name that file \((.+?)\): (python3 -c .*)", ran.err)[0]
    subprocess.run(command, shell=True, cwd=world.root, check=True, timeout=60)
    world.source["table"] = made
    world.job["policy"] = {"unmatched": "report"}
    world.write_job()
    ran = world.run("sync", "job.yaml")
    assert ran.code in (0, 3), ran.err
    assert documents(world) == {"a": DRY, "b": WET}


def test_plain_values_get_a_key(world: World) -> None:
    world.put("t.json", json.dumps({"sub/a.jpg": "dry", "sub/b.jpg": "wet"}))
    world.job = {"input": "data", "sources": [{"table": "t.json"}]}
    world.write_job()
    command = re.findall(r"python3 -c .*", world.run("plan", "job.yaml").err)[0]
    subprocess.run(command, shell=True, cwd=world.root, check=True, timeout=60)
    world.source["table"] = "t.jsonl"
    world.write_job()
    assert world.run("sync", "job.yaml").code == 0
    assert documents(world) == {"a": {"value": "dry"}, "b": {"value": "wet"}}


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("t.jsonl", {"file_name": "sub/a.jpg", "x": {"c.jpg": {"y": 1}}}),
        ("t.json", {"info": {"name": "c.jpg"}, "images": [{"file_name": "sub/a.jpg"}]}),
        ("t.json", [{"c.jpg": 1}]),
        ("t.json", {"names": ["c.jpg"], "x": 1}),
    ],
)
def test_another_fault_of_json_is_told_as_it_is(world: World, name: str, record: Any) -> None:
    world.put(name, json.dumps(record) + "\n")
    world.job = {"input": "data", "sources": [{"table": name, "metadata": {"x": "no_such_column"}}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert (ran.code, "no_such_column" in ran.err) == (2, True), ran.err


def test_a_table_of_a_query_is_recognised_where_it_cannot_be_read(world: World) -> None:
    world.put("t.json", json.dumps({f"{n}.jpg": [DRY] for n in range(3)}))
    world.job = {"input": "data", "tables": {"t": "t.json"}, "sources": [{"query": "SELECT * FROM t"}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert (ran.code, "names of media as its keys" in ran.err, "tables.t" in ran.err) == (2, True, True), (
        ran.err
    )
