"""`metaferry check` as users run it: on trees that others wrote, and on each kind of store after a sync."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import metaferry
from e2e.stores import WRITES, Store
from e2e.world import Ran, World
from metaferry.job.model import Job

#: As the page of the format shows them: a comma is missing in one, and trails in the other.
PAGE_SCHEMA = """[
  {
    "name": "Scene",
    "path": "scene",
    "defaultValue": "undefined",
    "valueDataType": "CATEGORICAL_STRING"
  },
  {
    "name": "Temperature",
    "path": "weather.temperature",
    "defaultValue": 0,
    "valueDataType": "NUMERIC_FLOAT"
  }
]
"""
PAGE_DOCUMENT = """{
  "type": "image",
  "metadata": {
    "scene": "city street",
    "weather": {
      "description": "sunny"
      "temperature": "23.2",
    }
  }
}
"""
PAGE = (Path(__file__).parents[2] / "docs/check.md").read_text(encoding="utf-8")
TRAILING = "a trailing comma: JSON allows none before }"
BELOW = "data/.lightly/metadata"


def lines(ran: Ran) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[str, Any]]:
    """The findings of `--format json` by code and name, and the result, its last line."""
    *found, result = map(json.loads, ran.out.splitlines())
    assert {each["type"] for each in found} <= {"finding"}
    assert result["type"] == "result"
    by_place = {(each["code"], each["target"].removeprefix(".lightly/metadata/")): each for each in found}
    assert len(by_place) == len(found)
    return by_place, result


def files(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def foreign(tmp_path: Path) -> World:
    """A tree that others wrote, by hand and by programs of theirs."""
    world = World(tmp_path)
    for name in ("good.jpg", "page.png", "sub/other.JPEG", "none.webp", "plain.gif", "extra.png"):
        world.put(f"data/{name}", b"image")
    world.put(f"{BELOW}/schema.json", PAGE_SCHEMA)
    world.put(f"{BELOW}/page.json", PAGE_DOCUMENT)
    world.put(
        f"{BELOW}/good.json", '{\r\n\t"metadata": {"scene": "r\\u00f6d"},\r\n\t"type": "image"\r\n}\r\n'
    )
    world.put(f"{BELOW}/sub/other.json", '{"file_name": "other.JPEG", "type": "image", "metadata": {}}')
    world.put(f"{BELOW}/plain.json", '{"metadata": {"weather": {"temperature": null}}}')
    world.put(f"{BELOW}/extra.json", '{"version": 3, "metadata": {"scene": "x", "by": ["us"]}}')
    world.put(f"{BELOW}/left.json", '{"metadata": {"scene": "x"}}')
    return world


def test_each_fault_of_a_tree_of_others_is_a_line_and_a_row(foreign: World) -> None:
    before = files(foreign.data)
    ran = foreign.run("check", "data", "--format", "json", "-o", "found.parquet")
    found, result = lines(ran)
    places = {key: (each["line"], each["column"], each["media"]) for key, each in found.items()}
    assert places == {
        ("document.invalid", "page.json"): (6, 29, "page.png"),
        ("document.invalid", "sub/other.json"): (0, 0, "sub/other.JPEG"),
        ("document.orphan", "left.json"): (0, 0, ""),
        ("document.missing", "none.json"): (0, 0, "none.webp"),
        ("document.default", "plain.json"): (0, 0, "plain.gif"),
    }
    assert found["document.invalid", "page.json"]["message"].startswith("a comma is missing here, before")
    assert '"other.JPEG"' in found["document.invalid", "sub/other.json"]["message"]
    assert (ran.code, result["exit_code"], result["documents"]["read"]) == (4, 4, 6)
    rows = pq.read_table(foreign.root / "found.parquet").to_pylist()
    assert rows == [{name: each[name] for name in rows[0]} for each in found.values()]
    assert files(foreign.data) == before  # no state folder, no lease, no cache


def test_each_fault_of_the_schema_of_the_page_is_named_and_documents_are_still_read(foreign: World) -> None:
    wrong = PAGE_SCHEMA.replace('"weather.temperature",', '"weather.temperature"')
    foreign.put(f"{BELOW}/schema.json", wrong.replace('"NUMERIC_FLOAT"', '"NUMERICAL_FLOAT",'))
    mended = PAGE_DOCUMENT.replace('"sunny"', '"sunny",')
    foreign.put(f"{BELOW}/page.json", mended)
    ran = foreign.run("check", "data", "--format", "json")
    messages = [json.loads(line) for line in ran.out.splitlines()]
    schema = [(each["line"], each["message"]) for each in messages if each.get("code") == "schema.invalid"]
    assert [line for line, _ in schema] == [10, 12, 12]
    assert "a comma is missing" in schema[0][1]
    assert any("trailing comma" in message for _, message in schema)
    assert any("NUMERICAL_FLOAT" in message for _, message in schema)
    (page,) = [each for each in messages if each.get("target", "").endswith("/page.json")]
    assert (page["code"], page["line"], page["message"]) == ("document.invalid", 7, TRAILING)


def test_what_people_see(foreign: World) -> None:
    foreign.put(f"{BELOW}/\x1b[31mred.json", "{")
    ran = foreign.run("check", "data")
    assert ran.code == 4
    assert "\x1b" not in ran.out
    said = ran.out.splitlines()
    assert said[:3] == [
        str(foreign.data),
        "          media  values  defaults only  no document  invalid  not read",
        "  images      6       2              1            1        2         0",
    ]
    assert "7 documents: 7 read" in said
    assert "document.invalid: 3" in said
    page = "  .lightly/metadata/page.json:6:29: a comma is missing here, before "
    assert any(line.startswith(page) for line in said)
    assert said[-1] == "3 things are invalid"


def test_a_value_that_does_not_fit_its_entry_and_one_that_does(foreign: World) -> None:
    text = PAGE_DOCUMENT.replace('"sunny"', '"sunny",').replace('"23.2",', '"23.2"')
    foreign.put(f"{BELOW}/page.json", text)
    found, _ = lines(foreign.run("check", "data", "--format", "json"))
    assert found["document.invalid", "page.json"]["message"].startswith(
        'weather.temperature is "23.2", and by its entry it is NUMERIC_FLOAT'
    )
    foreign.put(f"{BELOW}/page.json", text.replace('"23.2"', "23.2"))
    found, _ = lines(foreign.run("check", "data", "--format", "json"))
    assert ("document.invalid", "page.json") not in found


def test_a_name_that_is_none_is_said_before_anything_is_read(foreign: World) -> None:
    for arguments, part in (
        (("check", "nowhere"), "there is no"),
        (("check", "data", "--sample", "some"), "is no sample"),
        (("check", "data", "-o", "found.csv"), "as Parquet"),
        (("check", "job.yaml"), "job.yaml"),
    ):
        ran = foreign.run(*arguments)
        assert ran.code in (1, 2), (arguments, ran)
        assert part in ran.err, (arguments, ran.err)
        assert ran.out == ""


@pytest.mark.slow
def test_the_example_of_the_page(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.run("demo").code == 0
    ((command, output),) = re.findall(r"```console\n\$ metaferry (check .*?)\n(.*?)```", PAGE, re.DOTALL)
    before = files(tmp_path)
    ran = world.run(*command.split())
    assert (ran.code, ran.out) == (0, output.replace("/home/you", str(tmp_path)))
    assert files(tmp_path) == before


# -- on stores


@pytest.mark.servers
def test_after_a_sync_nothing_is_read_and_nothing_is_ever_written(store: Store, tmp_path: Path) -> None:
    names = [f"{folder}/{n}.png" for folder in "ab" for n in range(4)]
    store.put_all(dict.fromkeys(names, b"image"))
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({"f": name, "scene": "x"}) + "\n" for name in names))
    scheme = store.url.partition(":")[0]
    world = World(tmp_path)
    world.job = {
        "input": store.url,
        "sources": [{"table": str(table), "file_name": "f"}],
        "storage": {scheme: store.options},
        "retry_for": 20,
    }
    world.write_job()
    sets = [
        part
        for name, value in store.options.items()
        for part in ("--set", f"storage.{scheme}.{name}={json.dumps(value)}")
    ]
    assert metaferry.sync(Job.from_mapping(world.job)).exit_code == 0

    def check(*arguments: str) -> tuple[int, dict[str, Any], list[str]]:
        """Exit code, result, and the names of the documents that were asked for."""
        store.proxy.clear()
        ran = world.run("check", *arguments, "--format", "json")
        wrote = [each for each in store.proxy.requests if each.method in WRITES]
        assert [each for each in wrote if "metadata" in each.key or "lease" in each.key] == []
        asked = {each.key.partition("?")[0].rpartition(".lightly/metadata/")[2] for each in store.reads()}
        return ran.code, lines(ran)[1], sorted(asked - {"schema.json"})

    def json_names(*media: str) -> list[str]:
        return [name.replace(".png", ".json") for name in media]

    code, result, asked = check("job.yaml")
    assert (code, result["documents"]["proved"], asked) == (0, 8, [])
    code, result, asked = check(store.url, *sets)
    assert (code, result["documents"]["proved"], asked) == (0, 8, [])

    store.put(".lightly/metadata/a/1.json", b'{"metadata": {"scene": 1}}')
    code, result, asked = check("job.yaml")
    assert (code, result["drift"]["update"], asked) == (4, 1, json_names("a/1.png"))
    assert result["findings"] == {"document.invalid": 1, "document.outdated": 1}
    code, result, asked = check(store.url, *sets)
    assert (code, result["drift"], asked) == (4, None, json_names("a/1.png"))

    # Entries that were edited since: what a run wrote may not fit them any more.
    schema = json.loads(store.documents()[".lightly/metadata/schema.json"])
    schema[0] |= {"valueDataType": "NUMERIC_INT", "defaultValue": 0}
    store.put(".lightly/metadata/schema.json", json.dumps(schema).encode())
    code, result, asked = check(store.url, *sets)
    assert (code, result["findings"], asked) == (4, {"document.invalid": 7}, json_names(*names))
    code, result, asked = check(store.url, *sets, "--sample", "2", "--seed", "7")
    assert result["documents"]["sampled"] == 2
    assert [name[0] for name in asked] == ["a"] * 3 + ["b"] * 3  # three a folder, the two among them
    assert result["sample"].startswith(f"{result['documents']['sampled_invalid']} of 2 read ")
