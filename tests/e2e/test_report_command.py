"""`metaferry report`: any tree as one page, with the drift of a job."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import metaferry
from e2e.world import World
from metaferry.errors import UsageError
from metaferry.runs.deps import RuntimeDeps
from metaferry.view.report.report import report_file
from unit.media import synthetic

pytestmark = pytest.mark.slow

ENTRIES = [
    {"name": "Scene", "path": "scene", "defaultValue": "undefined", "valueDataType": "CATEGORICAL_STRING"},
    {"name": "T", "path": "weather.temperature", "defaultValue": 0.5, "valueDataType": "NUMERIC_FLOAT"},
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A tree that others wrote, with a fault and an orphan."""
    found = World(tmp_path)
    for name in ("a.png", "sub/b.png", "none.png", "bad.png", "v.mp4"):
        found.put(f"data/{name}", b"")
    found.put("data/.lightly/metadata/schema.json", json.dumps(ENTRIES))
    for name, text in {
        "a.json": '{"metadata": {"scene": "city"}}',
        "sub/b.json": '{"type": "image", "metadata": {"weather": {"temperature": 7}}}',
        "bad.json": '{"metadata": {"scene": "city",}}',
        "v.json": '{"file_name": "v.mp4", "type": "video", "metadata": {"scene": "tunnel"}}',
        "v-0-mp4.json": '{"metadata": {}}',
        "gone.json": '{"metadata": {"scene": "road"}}',
    }.items():
        found.put(f"data/.lightly/metadata/{name}", text)
    return found


def head_of(path: Path) -> dict[str, Any]:
    payload = re.search(r'id="payload">([^<]*)<', path.read_text(encoding="utf-8"))
    assert payload is not None
    raw = gzip.decompress(base64.b64decode(payload[1]))
    (size,) = struct.unpack("<I", raw[:4])
    head = json.loads(raw[4 : 4 + size])
    assert isinstance(head, dict)
    return head


def counts(head: dict[str, Any], name: str) -> dict[str, int]:
    (dimension,) = [each for each in head["dimensions"] if each["name"] == name]
    labels = [*dimension["labels"], *(["(none)"] if dimension["missing"] else [])]
    return dict(zip(labels, dimension["counts"], strict=True))


def test_a_page_of_a_tree_that_others_wrote(world: World) -> None:
    ran = world.run("report", "data", "-o", "page.html")
    assert ran.code == 0, ran.err
    head = head_of(world.root / "page.html")
    assert counts(head, "state") == {"document": 4, "missing": 1, "orphan": 1, "invalid": 1}
    # The frame shows its video's value; the invalid document shows none.
    assert counts(head, "Scene") == {"tunnel": 2, "city": 1, "road": 1, "undefined": 2, "(none)": 1}
    (fault,) = head["about"]["findings"]
    assert (fault["code"], fault["severity"], fault["count"]) == ("document.invalid", "error", 1)
    assert fault["examples"][0]["where"].startswith(".lightly/metadata/bad.json:1:")
    assert head["about"]["panels"] == []
    assert ran.out.splitlines()[-1] == f"{world.root}/page.html: 0.1 MB; open it in a browser"
    assert not (world.root / "data/.metaferry").exists()


def test_a_job_shows_what_a_sync_would_do(world: World) -> None:
    world.put("tables/labels.csv", "file_name,scene\na.png,city\nnone.png,road\nlost.png,x\n")
    world.job = {
        "input": "data",
        "sources": [{"name": "labels", "table": "tables/labels.csv"}],
        "policy": {"existing": "replace"},
    }
    world.write_job()
    before = {path: path.read_bytes() for path in (world.root / "data").rglob("*.json")}
    ran = world.run("report", "job.yaml", "-o", "page.html", "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.report["documents"] == 7
    assert ran.report["invalid"] == 1
    about = head_of(world.root / "page.html")["about"]
    (panel,) = about["panels"]
    assert panel["title"] == "Drift"
    assert panel["rows"][:2] == [
        ["create", 1, "new"],
        ["update", 1, "changed, or not known to be the same"],
    ]
    assert "record.unmatched" in {group["code"] for group in about["findings"]}
    assert {path: path.read_bytes() for path in (world.root / "data").rglob("*.json")} == before
    without = world.run("report", "job.yaml", "-o", "other.html", "--no-drift")
    assert without.code == 0
    assert head_of(world.root / "other.html")["about"]["panels"] == []


def test_a_job_is_listed_once_and_what_its_plan_proves_is_not_read(world: World) -> None:
    world.put("tables/labels.csv", "file_name,scene\na.png,city\nnone.png,road\nsub/b.png,sea\n")
    mapping = {
        "input": str(world.data),
        "sources": [{"name": "labels", "table": str(world.root / "tables/labels.csv")}],
        "policy": {"existing": "replace"},
    }
    job = metaferry.Job.from_mapping(mapping, base=world.root)
    (world.data / ".lightly/metadata/bad.json").unlink()
    metaferry.sync(job)
    (world.data / ".lightly/metadata/a.json").write_text('{"metadata": {"scene": "elsewhere"}}')
    calls: list[tuple[str, str]] = []

    class Counting:
        def __init__(self, adapter: Any) -> None:
            self._adapter = adapter

        def __getattr__(self, name: str) -> Any:
            return getattr(self._adapter, name)

        async def list_page(self, prefix: str, **how: Any) -> Any:
            calls.append(("list", prefix))
            return await self._adapter.list_page(prefix, **how)

        async def read(self, path: str, *where: Any, **how: Any) -> Any:
            calls.append(("read", path))
            return await self._adapter.read(path, *where, **how)

    report_file(job, world.root / "page.html", deps=RuntimeDeps(wrap=Counting))  # type: ignore[arg-type]
    lists = [prefix for what, prefix in calls if what == "list"]
    assert len(lists) == len(set(lists)), lists
    read = {path for what, path in calls if what == "read" and "/metadata/" in path}
    assert {path.removeprefix(".lightly/metadata/") for path in read} == {
        "schema.json", "a.json", "v.json", "v-0-mp4.json", "gone.json",
    }  # fmt: skip
    head = head_of(world.root / "page.html")
    # Documents that were not read show what they hold.
    scenes = counts(head, "Scene")
    assert (scenes["elsewhere"], scenes["road"], scenes["sea"]) == (1, 2, 1)
    panel = next(each for each in head["about"]["panels"] if each["title"] == "Drift")
    assert {row[0]: row[1] for row in panel["rows"]}["update"] == 1


def test_thumbnails_are_shown_where_they_are_asked_for(world: World) -> None:
    (world.data / "v.mp4").write_bytes(synthetic.video(3))
    for name in ("a.png", "sub/b.png"):
        Image.effect_noise((640, 480), 80).convert("RGB").save(world.data / name)
    (world.data / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    ran = world.run("report", "data", "-o", "page.html", "--thumbnails", "10")
    assert ran.code == 0, ran.err
    head, text = head_of(world.root / "page.html"), (world.root / "page.html").read_text(encoding="utf-8")
    shown = {each["media"]: each["mime"] for each in head["thumbnails"]}
    assert shown == dict.fromkeys(("a.png", "sub/b.png", "v.mp4"), "image/jpeg")
    assert head["about"]["not_pictured"] == 2  # and none.png, which is empty
    assert "img-src data:" in text
    assert "of 2 of 5 media no picture could be made" in ran.out
    assert "bad.png: unreadable" in ran.out
    assert "none.png: empty" in ran.out
    assert "3 thumbnails on it: whoever gets the page sees them" in ran.out
    # Off by default, and then the page may show no picture at all.
    assert world.run("report", "data", "-o", "other.html").code == 0
    assert head_of(world.root / "other.html")["thumbnails"] == []
    assert "img-src" not in (world.root / "other.html").read_text(encoding="utf-8")
    ran = world.run("report", "data", "-o", "other.html", "--thumbnails", "501")
    assert (ran.code, "thumbnails should be 0 to 500, is 501" in ran.err) == (2, True)


def test_a_selection_config_is_judged_on_the_page(world: World) -> None:
    config = {
        "n_samples": 2,
        "strategies": [
            {
                "input": {"type": "METADATA", "key": "scen"},
                "strategy": {"type": "BALANCE", "target": {"city": 0.5}},
            },
            {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
        ],
    }
    world.put("selection.json", json.dumps(config))
    ran = world.run("report", "data", "-o", "page.html", "--selection", "selection.json")
    assert ran.code == 0, ran.err
    (panel,) = head_of(world.root / "page.html")["about"]["panels"]
    assert (panel["title"], panel["columns"]) == ("Selection", ["strategy", "verdict", "why"])
    assert [row[:2] for row in panel["rows"]] == [
        ["BALANCE of METADATA scen", "not feasible"],
        ["DIVERSITY of EMBEDDINGS", "not judged"],
    ]
    assert "no schema entry with the path 'scen'; did you mean scene?" in panel["rows"][0][2]
    assert "2 are asked for. On the whole: not feasible." in panel["note"]
    # A config that is none is told before anything is read.
    world.put("selection.json", "{}")
    ran = world.run("report", "nowhere", "-o", "other.html", "--selection", "selection.json")
    assert (ran.code, "strategies is missing" in ran.err) == (2, True)


def test_a_plan_that_fails_is_a_note(world: World) -> None:
    world.job = {"input": "data", "sources": [{"name": "labels", "table": "tables/labels.csv"}]}
    world.write_job()
    ran = world.run("report", "job.yaml", "-o", "page.html")
    assert ran.code == 0, ran.err
    assert "no plan could be made" in ran.out
    assert "no plan could be made" in head_of(world.root / "page.html")["about"]["basis"]


def test_what_is_no_page_is_refused_before_anything_is_read(world: World) -> None:
    for name, words in (("page.pdf", "a report is one HTML file"), ("none/page.html", "there is no folder")):
        ran = world.run("report", "data", "-o", name)
        assert ran.code == 2
        assert words in ran.err
    with pytest.raises(UsageError):
        metaferry.report(world.root / "data", "s3://page.html")


def test_the_library_writes_to_any_url(world: World) -> None:
    made = metaferry.report(world.root / "data", "memory://reports/page.html", drift=False)
    assert (made.out, made.documents, made.sampled) == ("memory://reports/page.html", 7, 7)
    assert made.bytes > 50_000
