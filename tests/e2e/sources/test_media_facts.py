"""The headers of the media as a source: the jobs of its page, real images, broken ones, and the next run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import World
from unit.media import synthetic
from unit.media.facts.images.making import (
    block,
    exif_segment,
    jpeg,
    png,
    rationals,
    text_entry,
)

ALONE, QUERY = jobs_of("media-facts.md")

PLACED = jpeg(
    exif_segment(
        block(
            {0x010F: text_entry("Acme"), 0x0112: (3, 1, b"\0\6")},
            {0x9003: text_entry("2026:05:01 10:00:00"), 0x9011: text_entry("+02:00")},
            {
                1: text_entry("S"),
                2: rationals((33, 1), (51, 1), (36, 1)),
                3: text_entry("E"),
                4: rationals((151, 1), (12, 1), (36, 1)),
            },
        )
    )
)
FILES = {
    "a/placed.jpg": PLACED,
    "a/plain.png": png(pixels=70_000),
    "b/clip.mp4": synthetic.video(10),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name, data in FILES.items():
        made.put(f"data/{name}", data)
    return made


def test_each_file_says_what_is_in_its_headers(world: World) -> None:
    found = synced(world, ALONE)
    assert found["a/placed"] == {
        "width": 40,
        "height": 30,
        "orientation": 6,
        "format": "jpeg",
        "taken": "2026-05-01T10:00:00",
        "taken_utc": "2026-05-01T08:00:00Z",
        "camera": {"make": "Acme"},
        "gps": {"lat": -33.86, "lon": 151.21},
    }
    clip = found["b/clip"]
    assert (clip["format"], clip["codec"], clip["width"], clip["fps"]) == ("mp4", "mpeg4", 32, 25.0)
    assert not {"camera", "gps", "taken"} & clip.keys()  # what a file does not tell is not in its document
    assert found["a/plain"] == {"width": 40, "height": 30, "format": "png"}


def test_a_query_chooses_among_the_facts(world: World) -> None:
    assert synced(world, QUERY) == {
        "a/placed": {
            "width": 40,
            "height": 30,
            "camera": {"make": "Acme"},
            "gps": {"lat": -33.86, "lon": 151.21},
        }
    }


def test_sizes_as_they_are_shown_and_one_kind_alone(world: World) -> None:
    job = {"input": "data", "sources": [{"media_facts": {"as_shown": True, "kinds": ["image"]}}]}
    found = synced(world, job)
    assert sorted(found) == ["a/placed", "a/plain"]
    assert [found["a/placed"][key] for key in ("width", "height")] == [30, 40]
    assert "orientation" not in found["a/placed"]


def test_metadata_computes_from_the_facts(world: World) -> None:
    job = {
        "input": "data",
        "sources": [
            {
                "media_facts": {},
                "where": "\"camera.make\" = 'Acme'",
                "metadata": {"mp": "width * height / 1e6"},
            }
        ],
    }
    assert synced(world, job) == {"a/placed": {"mp": 0.0012}}


def test_a_prefix_reads_no_other_file(world: World) -> None:
    world.put("data/b/broken.jpg", b"no image")
    assert sorted(synced(world, ALONE, "--prefix", "a/")) == ["a/placed", "a/plain"]


def test_broken_files_are_named_and_the_others_go_on(world: World) -> None:
    world.put("data/a/broken.jpg", b"no image")
    world.put("data/a/empty.jpg", b"")
    world.put("data/a/cut.jpg", jpeg(exif_segment(block({0x010F: text_entry("Acme")})[:30])))
    world.job = ALONE
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5, ran.err
    assert documents(world) == {}
    world.job = {"input": "data", "sources": [ALONE["sources"][0] | {"max_rejects": 2}]}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    assert sorted(documents(world)) == ["a/cut", "a/placed", "a/plain", "b/clip"]
    assert sorted((row["code"], row["value"], row["message"]) for row in world.rejects()) == [
        (
            "media.unreadable",
            "a/broken.jpg",
            "a/broken.jpg: it is no image of a format that is known here",
        ),
        ("media.unreadable", "a/empty.jpg", "a/empty.jpg: it is empty"),
    ]
    assert ran.report["findings"]["media.damaged"] == 1
    (finding,) = [one for one in _findings(world) if one["code"] == "media.damaged"]
    assert finding["media"] == "a/cut.jpg"
    assert finding["message"].startswith("a/cut.jpg: Exif: the block ends before ")


def test_the_document_of_a_file_that_broke_stays(world: World) -> None:
    job = {
        "input": "data",
        "sources": [ALONE["sources"][0] | {"max_rejects": 1}],
        "policy": {"delete": "orphans", "max_delete": 10},
    }
    long = f"{'a' * 120}/{'b' * 120}"  # of which a reject shows a part
    world.put(f"data/{long}.jpg", PLACED)
    before = synced(world, job)
    for name in ("a/placed", long):
        world.put(f"data/{name}.jpg", b"no image")
    (world.data / "a/plain.png").unlink()
    world.job["sources"][0]["max_rejects"] = 2
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    del before["a/plain"]  # an orphan like any other
    assert documents(world) == before


def test_a_query_over_files_of_which_some_broke_deletes_nothing(world: World) -> None:
    facts = {"media_facts": {}, "max_rejects": 1}
    job = QUERY | {"tables": {"facts": facts}, "policy": {"delete": "orphans", "max_delete": 10}}
    before = synced(world, job)
    world.put("data/a/placed.jpg", b"no image")
    world.put("data/z.jpg", PLACED)  # so that the query has a row
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.err
    assert documents(world) == before | {"z": before["a/placed"]}


def test_the_next_run_reads_no_file_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.job = ALONE
    world.write_job()
    first = world.run("plan", "job.yaml", "--format", "json")
    assert first.code == 0, first.err
    assert sorted(path.parent.name for path in (world.data / ".metaferry/facts").rglob("*.parquet")) == [
        "image",
        "video",
    ]
    gets = [world.run("plan", "job.yaml", "--format", "json").report["requests"]["get"] for _ in range(2)]
    assert gets[0] == gets[1] < first.report["requests"]["get"]
    for path in (world.data / ".metaferry/facts").rglob("*.parquet"):
        path.write_bytes(b"damaged")
    damaged = world.run("plan", "job.yaml", "--format", "json")
    assert damaged.report["documents"] == first.report["documents"]
    assert "its facts are read again" in damaged.err


def test_tables_shows_the_first_rows_and_keeps_nothing(world: World) -> None:
    world.job = QUERY
    world.write_job()
    ran = world.run("tables", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    (table,) = json.loads(ran.out)["tables"]
    assert [(one["name"], one["rows"]) for one in table["relations"]] == [
        ("facts.images", 2),
        ("facts.videos", 1),
    ]
    assert all(column["meaning"] for one in table["relations"] for column in one["columns"])
    assert not (world.data / ".metaferry").exists()


def test_schema_infer_doctor_and_check_know_such_a_source(world: World) -> None:
    synced(world, QUERY)
    inferred = world.run("schema", "infer", "job.yaml", "--format", "json")
    assert inferred.code == 0, inferred.err
    assert [entry["path"] for entry in json.loads(inferred.out)["entries"]] == [
        "camera.make",
        "gps.lat",
        "gps.lon",
        "height",
        "width",
    ]
    assert world.run("doctor", "job.yaml").code == 0
    assert world.run("check", "job.yaml").code in (0, 3)


def test_a_kind_that_is_none_is_one_fault(world: World) -> None:
    world.job = {"input": "data", "sources": [{"media_facts": {"kinds": ["sound"]}}]}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "media_facts.kinds" in ran.err


def _findings(world: World) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(world.run_folders()[-1] / "findings.parquet").to_pylist()
    return rows
