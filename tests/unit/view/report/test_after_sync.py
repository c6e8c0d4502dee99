"""`report: {html: true}`: a sync leaves a page about itself, made of its plan; the rest is as without."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from report_tables import Payload

import metaferry
from metaferry import Job
from metaferry.errors import StorageError
from metaferry.progress import Silent, Stop
from metaferry.runs.state.folder import State
from metaferry.view.report import after_sync

ROWS = """file_name,scene,speed,tags
images/a.png,city,10.5,x
images/b.png,highway,120,
"""
ENTRIES = [
    {"name": "Scene", "path": "scene", "defaultValue": "undefined", "valueDataType": "CATEGORICAL_STRING"},
    {"name": "speed", "path": "speed", "defaultValue": 0.0, "valueDataType": "NUMERIC_FLOAT"},
    {"name": "wet", "path": "road.wet~/[0]", "defaultValue": False, "valueDataType": "CATEGORICAL_BOOLEAN"},
]


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    for name in ("a", "b", "c", "d"):
        path = tmp_path / f"data/images/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not looked into")
    (tmp_path / "labels.csv").write_text(ROWS)
    return {
        "input": str(tmp_path / "data"),
        "sources": [
            {
                "name": "labels",
                "table": str(tmp_path / "labels.csv"),
                "metadata": {"scene": "scene", "speed": "speed", "road": "{'wet~/': [speed > 50]}"},
            }
        ],
        "schema": ENTRIES[:2],
        "report": {"html": True},
    }


def page_of(report: metaferry.RunReport) -> Payload:
    assert report.page_url.endswith(f"/runs/{report.run_id}/report.html")
    return Payload(Path(report.page_url).read_text(encoding="utf-8"))


def test_a_sync_leaves_a_page_of_what_it_wrote(job: dict[str, Any]) -> None:
    report = metaferry.sync(Job.from_mapping(job))
    page = page_of(report)
    assert page.head["documents"] == 4
    state = page.dimensions["state"]
    assert dict(zip(state["labels"], state["counts"], strict=True)) == {"document": 2, "missing": 2}
    scene = page.dimensions["Scene"]
    assert dict(zip(scene["labels"], scene["counts"], strict=True)) == {
        "city": 1,
        "highway": 1,
        "undefined": 2,
    }
    assert (page.dimensions["speed"]["min"], page.dimensions["speed"]["max"]) == (0.0, 120.0)
    assert page.head["about"]["run"] == report.run_id
    (did,) = [each for each in page.head["about"]["panels"] if each["title"] == "What this sync did"]
    assert did["rows"][0] == ["created", 2, "new"]
    # run.json came before the page, which it therefore does not name.
    assert json.loads(Path(report.report_url).read_text())["page_url"] == ""


def test_the_page_costs_one_put_and_no_read(job: dict[str, Any], tmp_path: Path) -> None:
    with_page = metaferry.sync(Job.from_mapping(job))
    (tmp_path / "other").mkdir()
    plain = metaferry.sync(
        Job.from_mapping({**job, "report": {"html": False}, "lightly": str(tmp_path / "other")})
    )
    assert plain.page_url == ""
    assert not list((tmp_path / "other").rglob("report.html"))
    # What was counted before the page; the page itself comes after all else.
    assert with_page.requests.get == plain.requests.get
    assert with_page.requests.put == plain.requests.put
    assert with_page.documents == plain.documents


def test_a_second_run_shows_what_is_kept_and_orphans_without_values(
    job: dict[str, Any], tmp_path: Path
) -> None:
    metaferry.sync(Job.from_mapping(job))
    (tmp_path / "data/images/b.png").unlink()
    (tmp_path / "labels.csv").write_text(ROWS.replace("images/b.png,highway,120,\n", ""))
    page = page_of(metaferry.sync(Job.from_mapping(job)))
    state = page.dimensions["state"]
    assert dict(zip(state["labels"], state["counts"], strict=True)) == {
        "document": 1,
        "missing": 2,
        "orphan": 1,
    }
    assert page.dimensions["Scene"]["missing"]
    assert page.dimensions["Scene"]["counts"][-1] == 1


def test_a_run_that_was_stopped_before_its_first_write_has_a_page_that_says_so(job: dict[str, Any]) -> None:
    job["policy"] = {"min_coverage": "90%"}
    report = metaferry.sync(Job.from_mapping(job))
    assert report.exit_code == 5
    assert report.stopped in page_of(report).head["about"]["basis"]


def test_a_run_that_is_asked_to_stop_makes_no_page(job: dict[str, Any]) -> None:
    stop = Stop()

    class Stopping(Silent):
        def phase(self, name: str, total: int | None) -> None:
            if name.startswith("Writing"):
                stop.request()

    report = metaferry.sync(Job.from_mapping(job), stop=stop, progress=Stopping())
    assert (report.exit_code, report.page_url) == (130, "")


def test_a_page_that_cannot_be_written_is_a_warning(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = State.write

    def write(self: State, key: str, data: bytes) -> None:
        if key.endswith("report.html"):
            raise StorageError("no more room", path=key)
        written(self, key, data)

    monkeypatch.setattr(State, "write", write)
    with caplog.at_level(logging.WARNING):
        report = metaferry.sync(Job.from_mapping(job))
    assert (report.exit_code, report.page_url, report.documents.create) == (0, "", 2)
    assert "report.html of this run could not be made" in caplog.text


def test_a_plan_that_was_kept_leaves_its_page_when_it_has_been_applied(
    job: dict[str, Any], tmp_path: Path
) -> None:
    made = Job.from_mapping(job)
    metaferry.sync(made)
    (tmp_path / "labels.csv").write_text(ROWS + "images/c.png,city,3,\n")
    planned = metaferry.plan(made, keep=True)
    done = metaferry.sync(made, plan=planned.report_url)
    page = page_of(done)
    assert page.head["about"]["run"] == planned.run_id
    # Also of documents that are kept, whose bodies are not in the rows of a plan.
    scene = page.dimensions["Scene"]
    assert dict(zip(scene["labels"], scene["counts"], strict=True)) == {
        "city": 2,
        "highway": 1,
        "undefined": 1,
    }
    (did,) = [each for each in page.head["about"]["panels"] if each["title"] == "What this sync did"]
    assert [row[:2] for row in did["rows"]] == [["created", 1], ["updated", 0], ["kept", 2]]
    # Applied again, it says where the page is, and leaves it as it was.
    before = Path(done.page_url).read_bytes()
    assert metaferry.sync(made, plan=planned.report_url).page_url == done.page_url
    assert Path(done.page_url).read_bytes() == before


def test_a_plan_in_shares_leaves_its_page_at_the_end(job: dict[str, Any], tmp_path: Path) -> None:
    made, folder = Job.from_mapping(job), tmp_path / "plan"
    metaferry.plan(made, out=folder, shards=2)
    assert (folder / "page.gz").stat().st_size < 1_000_000
    for index in range(2):
        share = metaferry.sync(made, plan=folder, shard_index=index, num_shards=2)
        assert share.page_url == ""
    page = page_of(metaferry.finish(folder))
    assert page.head["documents"] == 4
    (did,) = [each for each in page.head["about"]["panels"] if each["title"] == "What this sync did"]
    assert did["rows"][0][:2] == ["created", 2]


def test_a_plan_that_lacks_its_page_is_applied_with_a_warning(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, folder = Job.from_mapping(job), tmp_path / "plan"
    metaferry.plan(made, out=folder)
    (folder / "page.gz").write_bytes(b"something else")
    with caplog.at_level(logging.WARNING):
        done = metaferry.sync(made, plan=folder)
    assert (done.exit_code, done.page_url, done.documents.create) == (0, "", 2)
    assert "report.html of this run could not be made" in caplog.text
    assert "is not the file that plan.json describes" in caplog.text


def test_a_plan_of_a_job_without_a_page_keeps_none(job: dict[str, Any], tmp_path: Path) -> None:
    plain = Job.from_mapping({**job, "report": {"html": False}})
    metaferry.plan(plain, out=tmp_path / "plan")
    assert not (tmp_path / "plan/page.gz").exists()
    assert metaferry.sync(plain, plan=tmp_path / "plan").page_url == ""


def test_values_below_lists_and_odd_keys_are_found(job: dict[str, Any]) -> None:
    job["schema"] = ENTRIES
    wet = page_of(metaferry.sync(Job.from_mapping(job))).dimensions["wet"]
    assert dict(zip(wet["labels"], wet["counts"], strict=True)) == {"true": 1, "false": 3}


def test_a_copy_of_the_page_is_for_who_serves_it(job: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "copy.html"
    report = after_sync.sync(Job.from_mapping(job), copy=str(copy))
    assert copy.read_bytes() == Path(report.page_url).read_bytes()
    assert sorted(tmp_path.glob("copy*")) == [copy]
