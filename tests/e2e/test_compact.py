"""`compact: true`: fewer documents that show the same; the plan says how many, and no value is lost."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from e2e.test_stale import refusing
from e2e.world import Ran, World
from metaferry.errors import Corrupt
from metaferry.job.model import Job
from metaferry.planning import build
from metaferry.planning.formats import PlanReport
from metaferry.planning.price import estimate
from metaferry.runs import run
from metaferry.runs.deps import RuntimeDeps
from unit.media import synthetic

FRAMES = 12
INT = {"name": "speed", "path": "speed", "defaultValue": 0, "valueDataType": "NUMERIC_INT"}


@cache
def video() -> bytes:
    return synthetic.video(FRAMES)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two videos of twelve frames, and three images."""
    made = World(tmp_path)
    for name in ("v.mp4", "w.mp4"):
        made.put(f"data/{name}", video())
    for name in ("a.png", "b.png", "c.png"):
        made.put(f"data/{name}", b"image")
    made.job = {
        "input": "data",
        "sources": [{"table": "t.jsonl", "frame": "frame"}],
        "schema": [INT],
        "compact": True,
        "policy": {"delete": "orphans", "max_delete": "100%"},
    }
    return made


def table(world: World, **speeds: Any) -> None:
    """Of each media a speed, or the speeds of its frames."""
    rows: list[dict[str, Any]] = []
    for stem, given in speeds.items():
        if isinstance(given, list):
            rows += [{"file_name": f"{stem}.mp4", "frame": n, "speed": each} for n, each in enumerate(given)]
        else:
            rows.append({"file_name": f"{stem}.png", "frame": None, "speed": given})
    world.put("t.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def sync(world: World, *arguments: str, code: int = 0) -> Ran:
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json", *arguments)
    assert ran.code == code, ran.err + ran.out
    return ran


def documents(world: World) -> dict[str, Any]:
    folder = world.data / ".lightly/metadata"
    return {
        path.stem: json.loads(path.read_bytes())["metadata"].get("speed")
        for path in folder.rglob("*.json")
        if path.name != "schema.json"
    }


def test_frames_that_say_the_same_are_one_document_of_their_video(world: World) -> None:
    table(world, v=[7] * FRAMES, w=[7] * (FRAMES - 1) + [8], a=3, b=0, c=None)
    report = sync(world).report
    assert documents(world) == {
        "v": 7,
        **{f"w-{n:02}-mp4": 7 for n in range(FRAMES - 1)},
        "w-11-mp4": 8,
        "a": 3,
    }
    assert (world.data / ".lightly/metadata/v.json").read_bytes() == (
        b'{"file_name":"v.mp4","type":"video","metadata":{"speed":7}}'
    )
    counts = report["compact"]
    assert (counts["videos"], counts["folded"], counts["left_out"]) == (1, FRAMES, 2)
    assert report["sources"][0]["used"] == 2 * FRAMES + 3
    assert report["media"]["with_metadata"] == 5  # records count, not documents
    assert sync(world).report["documents"]["create"] == 0


def test_a_plan_without_it_says_how_many_puts_it_would_save(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (build, estimate):
        monkeypatch.setattr(module, "PAGE", 1)  # from the first document on
    table(world, v=[7] * FRAMES, w=[7] * (FRAMES - 1) + [8], a=3, b=0, c=None)

    def plan(*, compact: bool) -> PlanReport:
        world.job["compact"] = compact
        world.write_job()
        return run.plan(Job.load(world.root / "job.yaml"))

    def saved(report: PlanReport) -> list[int]:
        return [each.requests.put for each in report.price.savings if "compact" in each.what]

    without, under = plan(compact=False), plan(compact=True)
    assert saved(without) == [without.documents.create - under.documents.create] == [FRAMES - 1 + 2]
    assert saved(under) == []
    world.job["compact"] = False
    sync(world)
    assert saved(plan(compact=False)) == []  # what is in place costs nothing any more


def test_frames_in_place_are_no_puts_that_it_would_save(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (build, estimate):
        monkeypatch.setattr(module, "PAGE", 1)
    world.job["compact"] = False
    table(world, v=[7] * 5)
    sync(world)
    table(world, v=[7] * FRAMES)
    world.write_job()
    report = run.plan(Job.load(world.root / "job.yaml"))
    (saving,) = [each for each in report.price.savings if "compact" in each.what]
    assert (report.documents.create, saving.requests.put) == (FRAMES - 5, FRAMES - 5 - 1)


def test_frames_that_come_apart_again_get_documents_of_their_own(world: World) -> None:
    table(world, v=[7] * FRAMES)
    sync(world)
    assert documents(world) == {"v": 7}
    table(world, v=[7] * 11 + [9])
    sync(world)
    assert documents(world) == {f"v-{n:02}-mp4": 7 for n in range(11)} | {"v-11-mp4": 9}


def test_documents_of_frames_go_when_that_of_the_video_is_there(world: World) -> None:
    world.job["compact"] = False
    table(world, v=[7] * FRAMES)
    sync(world)
    world.job["compact"] = True
    world.job["policy"]["max_delete"] = 0  # nothing is lost, so they do not count
    report = sync(world).report
    assert documents(world) == {"v": 7}
    assert report["findings"] == {"document.stale": FRAMES}


def test_documents_of_frames_stay_where_that_of_the_video_cannot_be_written(world: World) -> None:
    world.job["compact"] = False
    table(world, v=[7] * FRAMES)
    sync(world)
    before = documents(world)
    refused = RuntimeDeps(wrap=refusing(".lightly/metadata/v.json", Corrupt))
    job = Job.from_mapping(world.job | {"compact": True, "retry_for": 0}, base=world.root)
    assert run.sync(job, deps=refused).exit_code == 3
    assert documents(world) == before


def test_nothing_is_folded_that_would_leave_both_kinds(world: World) -> None:
    world.job["policy"] = {"delete": "never"}
    world.job["compact"] = False
    table(world, v=[7] * FRAMES)
    sync(world)
    world.job["compact"] = True
    table(world, v=[7] * FRAMES, w=[7] * FRAMES)
    sync(world)
    assert documents(world) == {f"v-{n:02}-mp4": 7 for n in range(FRAMES)} | {"w": 7}
    world.put(
        "t.jsonl",
        "".join(
            json.dumps({"file_name": "w.mp4", "frame": n, "speed": 5}) + "\n" for n in [*range(FRAMES), None]
        ),
    )
    report = sync(world).report
    assert report["compact"]["videos"] == 0
    assert documents(world)["w-00-mp4"] == 5


def test_a_frame_that_is_missing_or_rejected_is_no_frame_that_says_the_same(world: World) -> None:
    table(world, v=[7] * (FRAMES - 1), w=[7] * (FRAMES - 1) + ["fast"])
    world.job["policy"]["max_rejects"] = 1
    report = sync(world, code=3).report
    assert report["compact"]["videos"] == 0
    assert len(documents(world)) == 2 * (FRAMES - 1)


def test_a_video_whose_document_is_another_media_s_is_not_folded(world: World) -> None:
    world.put("data/v.png", b"image")
    table(world, v=[7] * FRAMES)
    report = sync(world).report
    assert report["compact"]["videos"] == 0
    assert len(documents(world)) == FRAMES


def test_what_says_defaults_only_is_kept_where_it_is(world: World) -> None:
    table(world, a=3, b=0)
    sync(world)
    table(world, a=0, b=0)
    sync(world)
    assert documents(world) == {"a": 0}


def test_an_edited_default_is_told_with_what_it_needs(world: World) -> None:
    table(world, a=3, b=0, c=0, v=[0] * FRAMES)
    sync(world)
    assert documents(world) == {"a": 3}
    world.job["schema"] = [{**INT, "defaultValue": 3}]
    world.write_job()
    planned = world.run("plan", "job.yaml")
    assert "3 documents that said the old default are needed now" in " ".join(planned.out.split())
    report = sync(world).report
    assert report["findings"]["schema.default_changed"] == 1
    assert documents(world) == {"a": 3, "b": 0, "c": 0, "v": 0}
    assert "schema.default_changed" not in sync(world).report["findings"]


def test_the_plan_says_what_it_saves(world: World) -> None:
    table(world, v=[7] * FRAMES, a=0)
    world.write_job()
    said = " ".join(world.run("plan", "job.yaml").out.split())
    assert (
        "Compact 12 documents of frames are said by 1 document of videos; "
        "1 document left out that would say defaults only: 12 objects fewer"
    ) in said


def test_a_kept_plan_is_finished_the_same(world: World) -> None:
    table(world, v=[7] * FRAMES, w=[1] * 11 + [2], a=3, b=0)
    world.job["compact"] = False
    sync(world)
    world.job["compact"] = True
    world.write_job()
    assert world.run("plan", "job.yaml", "-o", "plan", "--shards", "2").code == 0
    assert world.run("sync", "job.yaml", "--plan", "plan").code == 0
    assert documents(world) == {
        "v": 7,
        **{f"w-{n:02}-mp4": 1 for n in range(11)},
        "w-11-mp4": 2,
        "a": 3,
        "b": 0,
    }
    assert json.loads((world.data / ".metaferry/defaults.json").read_bytes())["defaults"] == {"speed": 0}


def test_coverage_counts_records(world: World) -> None:
    table(world, a=0, b=0, c=0, v=[0] * FRAMES, w=[0] * FRAMES)
    world.job["policy"]["min_coverage"] = "100%"
    assert sync(world).report["media"]["coverage"] == 1.0
    assert documents(world) == {}
