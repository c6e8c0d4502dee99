"""`check` over trees of a datasource: every fault is named, and nothing that is right."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import metaferry
from metaferry.api_view import open_check
from metaferry.errors import UsageError
from metaferry.findings import Code
from metaferry.job.model import Job
from metaferry.media.frames.counting import count_frames
from metaferry.runs.in_place import read_in_place
from metaferry.view.check import reading
from metaferry.view.tree import frames
from unit.media import synthetic

SCHEMA = [
    {"name": "Scene", "path": "scene", "defaultValue": "undefined", "valueDataType": "CATEGORICAL_STRING"},
    {"name": "Cars", "path": "objects.cars", "defaultValue": 0, "valueDataType": "NUMERIC_INT"},
]


class Tree:
    """A datasource in a local folder: media and documents by name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def media(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(synthetic.video(12) if name.endswith(".mp4") else b"image")

    def put(self, name: str, text: str) -> None:
        path = self.root / ".lightly/metadata" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def document(self, name: str, *, text: str = "", **metadata: Any) -> None:
        self.put(name, text or json.dumps({"metadata": metadata}))

    def schema(self, entries: Any = SCHEMA) -> None:
        self.put("schema.json", entries if isinstance(entries, str) else json.dumps(entries))

    def found(self, **arguments: Any) -> dict[tuple[str, str], tuple[int, int, str]]:
        """Line, column and message by code and key, or media where that has no document."""
        with open_check(self.root, **arguments) as checked:
            return {
                (each.code, each.target.removeprefix(".lightly/metadata/")): (
                    each.line,
                    each.column,
                    each.message,
                )
                for each in checked.findings()
            }


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "data")


def test_a_tree_of_another_writer_is_right(tree: Tree) -> None:
    tree.media("a.png", "b.jpg", "sub/c.mp4")
    tree.schema()
    tree.put("a.json", '{\n    "metadata": {\n        "scene": "city",\n        "extra": [1]\n    }\n}\n')
    tree.put("b.json", '{"metadata":{"objects":{"cars":2}},"type":"image","file_name":"b.jpg"}')
    tree.document("sub/c.json", scene="road")
    tree.document("sub/c-07-mp4.json", objects={"cars": 1})
    report = metaferry.check(tree.root)
    assert (report.findings, report.exit_code, report.documents.read) == ({}, 0, 4)
    assert {kind: each.values for kind, each in report.coverage.items()} == {"image": 2, "video": 1}


def test_every_fault_of_a_foreign_tree_is_named(tree: Tree) -> None:
    tree.media(*(f"{name}.png" for name in "abcdefgh"), "v.mp4")
    tree.schema()
    tree.put("a.json", '{"metadata": {"scene": "city",}}')
    tree.put("b.json", '{\n  "metadata": {\n    "scene": "city"\n    "objects": {}\n  }\n}')
    tree.put("c.json", '{"file_name": "a.png", "metadata": {"scene": "city"}}')
    tree.put("d.json", '{"type": "video", "metadata": {"scene": "city"}}')
    tree.document("e.json", objects={"cars": "three"})
    tree.document("f.json", scene="city")
    tree.document("g.json", other=1)
    tree.document("v-7-mp4.json", scene="city")
    tree.document("v-12-mp4.json", scene="city")
    tree.document("z.json", scene="city")
    tree.put("y.json", '{"metadata": {"scene": NaN}}')
    found = tree.found()
    expected = {
        (Code.DOCUMENT_INVALID, "a.json"): (1, 30, "trailing comma"),
        (Code.DOCUMENT_INVALID, "b.json"): (3, 20, "a comma is missing"),
        (Code.DOCUMENT_INVALID, "c.json"): (0, 0, 'file_name is "a.png", and by its name this is "c.png"'),
        (Code.DOCUMENT_INVALID, "d.json"): (0, 0, 'type is "video", and by its name this is "image"'),
        (Code.DOCUMENT_INVALID, "e.json"): (0, 0, 'objects.cars is "three"'),
        (Code.DOCUMENT_INVALID, "y.json"): (1, 24, "NaN"),
        (Code.DOCUMENT_MISNAMED, "v-7-mp4.json"): (0, 0, "has 1 digit, and of a video of 12 frames it has 2"),
        (Code.DOCUMENT_ORPHAN, "v-12-mp4.json"): (0, 0, "the video has 12 frames"),
        (Code.DOCUMENT_ORPHAN, "y.json"): (0, 0, "no media"),
        (Code.DOCUMENT_ORPHAN, "z.json"): (0, 0, "no media"),
        (Code.DOCUMENT_DEFAULT, "g.json"): (0, 0, "only defaults"),
        (Code.DOCUMENT_MISSING, "h.json"): (0, 0, "default of every entry"),
    }
    assert found.keys() == expected.keys()
    for key, (line, column, part) in expected.items():
        assert found[key][:2] == (line, column), (key, found[key])
        assert part in found[key][2], (key, found[key])
    assert metaferry.check(tree.root).exit_code == 4


def test_text_that_is_not_plain_utf_8_is_named(tree: Tree) -> None:
    """Parsers that guess the encoding take it, and those of consumers need not."""
    tree.media("bom.png", "wide.png", "half.png")
    tree.schema()
    text = '{"metadata": {"scene": "x"}}'
    below = tree.root / ".lightly/metadata"
    (below / "bom.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (below / "wide.json").write_bytes(text.encode("utf-16"))
    (below / "half.json").write_bytes(text.encode().replace(b"x", b"\xed\xa0\x80"))
    assert tree.found() == {
        (Code.DOCUMENT_INVALID, "bom.json"): (1, 1, "a byte order mark; JSON text begins without one"),
        (Code.DOCUMENT_INVALID, "wide.json"): (1, 1, "byte 0xff here is not UTF-8"),
        (Code.DOCUMENT_INVALID, "half.json"): (1, 25, "byte 0xed here is not UTF-8"),
    }


def test_a_file_name_and_a_type_that_no_document_has_are_named(tree: Tree) -> None:
    tree.media("a.png")
    tree.schema()
    tree.put("a.json", '{"file_name": 7, "metadata": {}}')
    tree.put("gone.json", '{"file_name": "gone.png", "type": "picture", "metadata": {}}')
    found = tree.found()
    assert found[Code.DOCUMENT_INVALID, "a.json"][2] == "file_name is 7, and it should be text"
    assert found[Code.DOCUMENT_INVALID, "gone.json"][2] == (
        'type is "picture", and it should be image, video or frame'
    )


def test_a_document_of_several_media_may_name_any_of_them(tree: Tree) -> None:
    tree.media("a.jpg", "a.png", "b.png", "b.mp4", "c.jpg", "c.png", "d.png", "d.mp4")
    tree.schema()
    tree.put("a.json", '{"file_name": "a.png", "type": "image", "metadata": {"scene": "x"}}')
    tree.put("b.json", '{"type": "video", "metadata": {"scene": "x"}}')
    tree.put("c.json", '{"file_name": "d.png", "metadata": {"scene": "x"}}')
    tree.put("d.json", '{"file_name": "d.png", "type": "video", "metadata": {"scene": "x"}}')
    assert tree.found() == {
        (Code.DOCUMENT_INVALID, "c.json"): (
            0, 0, 'file_name is "d.png", and by its name this is "c.jpg" or "c.png"',
        ),
        (Code.DOCUMENT_INVALID, "d.json"): (0, 0, 'type is "video", and by its name this is "image"'),
    }  # fmt: skip
    coverage = metaferry.check(tree.root).coverage
    assert (coverage["image"].values, coverage["image"].invalid, coverage["image"].missing) == (3, 3, 0)
    assert (coverage["video"].values, coverage["video"].invalid, coverage["video"].missing) == (1, 1, 0)


def test_what_is_too_large_for_a_document_is_not_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.media("a.png", "b.png")
    tree.schema()
    tree.document("a.json", scene="x" * 200)
    tree.document("b.json", scene="x")
    asked: list[str] = []

    def read(storage: Any, portal: Any, rows: Any, progress: Any) -> Any:
        for target, data in read_in_place(storage, portal, rows, progress):
            asked.append(target)
            yield target, data

    monkeypatch.setattr(reading, "LARGEST", 150)
    monkeypatch.setattr(reading, "read_in_place", read)
    line, column, message = tree.found()[Code.DOCUMENT_INVALID, "a.json"]
    assert (line, column) == (0, 0)
    assert message.startswith("too large to be a document: 2")
    assert asked == [".lightly/metadata/b.json"]


def test_media_without_documents_alone_are_no_fault(tree: Tree) -> None:
    tree.media("a.png", "b.png")
    tree.schema()
    tree.document("a.json")
    report = metaferry.check(tree.root)
    assert report.exit_code == 0
    assert report.findings == {Code.DOCUMENT_DEFAULT: 1, Code.DOCUMENT_MISSING: 1}
    assert asdict(report.coverage["image"]) == {
        "values": 0, "default": 1, "missing": 1, "unknown": 0, "invalid": 0,
    }  # fmt: skip


def test_faults_of_the_schema_are_named_with_their_place(tree: Tree) -> None:
    tree.media("a.png")
    tree.document("a.json", scene="x")
    assert tree.found()[Code.SCHEMA_INVALID, "schema.json"][2].startswith("there is no schema.json")
    tree.schema(json.dumps(SCHEMA, indent=1).replace('"NUMERIC_INT"', '"NUMERIC"'))
    line, column, message = tree.found()[Code.SCHEMA_INVALID, "schema.json"]
    assert (line, "NUMERIC" in message) == (12, True)
    assert column


def test_frames_show_the_values_of_their_video(tree: Tree) -> None:
    tree.media("v.mp4", "w.mp4")
    tree.schema()
    tree.document("v.json", scene="city")
    tree.document("v-03-mp4.json", other=1)
    tree.document("w-03-mp4.json", other=1)
    report = metaferry.check(tree.root)
    assert (report.coverage["video"].values, report.coverage["video"].default) == (1, 1)


def test_a_sample_reads_some_and_looks_into_each_folder(tree: Tree) -> None:
    tree.media(*(f"big/{n}.png" for n in range(200)), "small/x.png")
    tree.schema()
    for n in range(200):
        tree.document(f"big/{n}.json", scene="city")
    tree.put("small/x.json", "{")
    report = metaferry.check(tree.root, sample="20")
    count = report.documents
    assert (count.total, count.sampled, count.invalid) == (201, 20, 1)
    assert 20 < count.read <= 20 + 3
    assert count.unread == 201 - count.read
    assert report.sample.startswith("0 of 20 read are invalid: with 95 % confidence at most ")
    assert report.sample == metaferry.check(tree.root, sample="20").sample
    again = metaferry.check(tree.root, sample="20", seed=5)
    assert again.documents.sampled == 20
    parts = [metaferry.check(tree.root, sample=f"{n}/2").documents.sampled for n in (1, 2)]
    assert sum(parts) == 201


def test_findings_as_parquet(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png")
    tree.schema()
    tree.put("a.json", "[]")
    out = tmp_path / "f.parquet"
    report = metaferry.check(tree.root, out=out)
    assert report.out == str(out)
    (row,) = pq.read_table(out).to_pylist()
    assert (row["code"], row["target"], row["line"]) == ("document.invalid", ".lightly/metadata/a.json", 1)
    with pytest.raises(UsageError, match="as Parquet"):
        metaferry.check(tree.root, out=tmp_path / "f.csv")


def test_where_nothing_is_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no media, no documents"):
        metaferry.check(tmp_path)


def job_of(tree: Tree, tmp_path: Path, *rows: dict[str, Any], **more: Any) -> Job:
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Job.model_validate(
        {"input": str(tree.root), "sources": [{"table": str(table), "file_name": "f"}], **more}
    )


def test_a_job_shows_what_a_sync_would_change(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png", "b.png", "c.png")
    job = job_of(tree, tmp_path, {"f": "a.png", "scene": "x"}, {"f": "b.png", "scene": "y"})
    before = metaferry.check(job)
    assert before.drift is not None
    assert (before.exit_code, before.drift.create, before.drift.schema) == (4, 2, True)
    assert not (tree.root / ".lightly").exists()
    metaferry.sync(job)
    after = metaferry.check(job)
    assert (after.exit_code, after.documents.proved, after.documents.read) == (0, 2, 0)
    assert after.findings == {Code.DOCUMENT_MISSING: 1}
    tree.document("b.json", scene="mine")
    changed = metaferry.check(job)
    assert changed.drift is not None
    assert (changed.exit_code, changed.drift.update, changed.documents.read) == (4, 1, 1)
    assert changed.findings[Code.DOCUMENT_OUTDATED] == 1


def test_a_broken_schema_is_named_and_documents_are_still_read(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png")
    job = job_of(tree, tmp_path, {"f": "a.png", "scene": "x"})
    metaferry.sync(job)
    tree.schema("[{]")
    tree.put("a.json", "{")
    report = metaferry.check(job)
    assert report.drift is None
    assert {Code.SCHEMA_INVALID, Code.DOCUMENT_INVALID} <= report.findings.keys()
    assert any("tables were not compared" in note for note in report.notes)


def test_an_entry_that_was_edited_makes_proved_documents_invalid(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png")
    job = job_of(tree, tmp_path, {"f": "a.png", "scene": "x"}, policy={"max_rejects": 5})
    metaferry.sync(job)
    path = tree.root / ".lightly/metadata/schema.json"
    path.write_text(path.read_text().replace("CATEGORICAL_STRING", "NUMERIC_INT").replace('"undefined"', "0"))
    report = metaferry.check(job)
    assert (report.findings[Code.DOCUMENT_INVALID], report.exit_code) == (1, 4)


def test_a_url_takes_what_the_ledger_proves_as_read(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png", "b.png")
    metaferry.sync(job_of(tree, tmp_path, {"f": "a.png", "scene": "x"}, {"f": "b.png", "scene": "y"}))
    report = metaferry.check(tree.root)
    assert (report.documents.proved, report.documents.read, report.exit_code) == (2, 0, 0)
    path = tree.root / ".lightly/metadata/schema.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))  # the same entries
    assert metaferry.check(tree.root).documents.proved == 2
    tree.document("a.json", scene=3)  # by somebody else
    report = metaferry.check(tree.root)
    assert (report.documents.proved, report.documents.read, report.invalid) == (1, 1, 1)
    path.write_text(path.read_text().replace("CATEGORICAL_STRING", "NUMERIC_INT").replace('"undefined"', "0"))
    report = metaferry.check(tree.root)
    assert (report.documents.proved, report.documents.read, report.invalid) == (0, 2, 1)


def test_a_ledger_of_an_earlier_version_is_read(tree: Tree, tmp_path: Path) -> None:
    tree.media("a.png")
    metaferry.sync(job_of(tree, tmp_path, {"f": "a.png", "scene": "x"}))
    (piece,) = (tree.root / ".metaferry/ledger").iterdir()
    table = pq.read_table(piece)
    pq.write_table(table.drop_columns(["entries"]), piece)
    report = metaferry.check(tree.root)
    assert (report.documents.proved, report.documents.read, report.exit_code) == (0, 1, 0)


def test_videos_that_a_run_counted_are_not_counted_again(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.media("v.mp4")
    rows = [{"f": "v.mp4", "i": n, "scene": "x"} for n in range(12)]
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"table": str(table), "file_name": "f", "frame": "i"}
    metaferry.sync(Job.model_validate({"input": str(tree.root), "sources": [source]}))
    tree.document("v-3-mp4.json", scene="x")
    kept = (tree.root / ".metaferry/frames.parquet").read_bytes()
    counted: list[str] = []

    def count(storage: Any, portal: Any, videos: Any, **more: Any) -> Any:
        for one in count_frames(storage, portal, videos, **more):
            if not one.cached:
                counted.append(one.path)
            yield one

    monkeypatch.setattr(frames, "count_frames", count)
    assert (Code.DOCUMENT_MISNAMED, "v-3-mp4.json") in tree.found()
    assert counted == []
    (tree.root / "v.mp4").write_bytes(synthetic.video(100))  # another version: its digits are other ones
    found = tree.found()
    assert counted == ["v.mp4"]
    assert {"v-3-mp4.json", "v-03-mp4.json"} <= {name for _, name in found}
    # Without a job nothing is written, the cache neither.
    assert (tree.root / ".metaferry/frames.parquet").read_bytes() == kept


def test_the_drift_of_a_video_that_was_encoded_anew_is_that_of_a_plan(tree: Tree, tmp_path: Path) -> None:
    tree.media("v.mp4", "still.mp4")
    rows = [{"f": name, "i": n, "scene": "x"} for name in ("v.mp4", "still.mp4") for n in range(10)]
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"table": str(table), "file_name": "f", "frame": "i"}
    job = Job.model_validate({"input": str(tree.root), "sources": [source]})
    metaferry.sync(job)
    assert metaferry.check(job).findings == {}
    (tree.root / "v.mp4").write_bytes(synthetic.video(100))
    planned = metaferry.plan(job).documents
    report = metaferry.check(job)
    assert report.drift is not None
    assert (report.drift.create, report.drift.update, report.drift.delete) == (
        planned.create, planned.update, planned.delete,
    ) == (10, 0, 10)  # fmt: skip
    assert report.findings == {
        Code.DOCUMENT_MISNAMED: 10, Code.DOCUMENT_OUTDATED: 20, Code.DOCUMENT_MISSING: 1,
    }  # fmt: skip
    metaferry.sync(job)
    after = metaferry.check(job)
    assert (after.exit_code, after.findings, after.documents.read) == (0, {}, 0)
