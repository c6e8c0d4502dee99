"""`metaferry init --from …`: the job that it writes runs as it stands."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from e2e.sources.every_reader import OF_FILES, OF_LAKES, Sources, expected, media
from e2e.sources.pages import documents
from e2e.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for path in media():
        made.put(f"work/data/{path}", b"image")
    (tmp_path / "given").mkdir()
    return made


def synced(world: World) -> World:
    ran = world.run("sync", "work/job.yaml")
    assert ran.code == 0, ran.err + (world.root / "work/job.yaml").read_text()
    return World(world.root / "work")


@pytest.mark.parametrize("name", [*OF_FILES, *OF_LAKES])
def test_the_job_of_a_source_runs_as_it_stands(world: World, name: str) -> None:
    folder = world.root / "given"
    sources = Sources(str(folder), lambda path, data: world.put(f"given/{path}", data), folder)
    sources.write([name])
    source = sources.of(name)
    url = str(source.get("annotations", source.get(name))).removeprefix(f"{world.root}/")
    ran = world.run("init", "work", "--from", url)
    assert (ran.code, ran.out) == (0, ""), ran.err
    text = (world.root / "work/job.yaml").read_text()
    assert f"../{url}" in text
    if "match" in source:
        text = text.replace("# match: basename", "match: basename")
        world.put("work/job.yaml", text)
    assert documents(synced(world)) == expected([name])


def test_the_column_with_the_paths_of_a_table_is_found(world: World) -> None:
    world.put("given/my labels.csv", "Image,scene\nfirst/coco-1.png,city\n")
    assert world.run("init", "work", "--from", "given/my labels.csv").code == 0
    assert documents(synced(world)) == {"first/coco-1": {"scene": "city"}}


def test_the_query_of_a_reader_runs_once_it_is_no_comment(world: World) -> None:
    folder = world.root / "given"
    Sources(str(folder), lambda path, data: world.put(f"given/{path}", data), folder).write(["coco"])
    assert world.run("init", "work", "--from", "given/coco.json").code == 0
    path = world.root / "work/job.yaml"
    before, _, rest = path.read_text().partition("sources:\n")
    _, _, rest = rest.partition("# tables:\n")
    block, _, after = rest.partition("\n\n")
    shown = "\n".join(line.removeprefix("# ").removeprefix("#") for line in block.splitlines())
    path.write_text(f"{before}tables:\n{shown}\n\n{after}")
    assert documents(synced(world))["first/coco-1"] == {"objects": 2, "cars": 2}


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ("nowhere.json", 2, "nowhere.json"),
        ("given", 2, "given"),
        ("drive.gpx", 2, "- {telemetry: ../drive.gpx, video: …"),
        ("labels.db", 2, "sql: {uri: sqlite:///FILE, query: …}"),
        ("s3://key:canary-secret-0815@bucket/labels.csv", 2, "has credentials in it"),
    ],
)
def test_what_is_no_source_leaves_no_job(world: World, given: str, code: int, message: str) -> None:
    world.put("drive.gpx", '<gpx><trk><trkseg><trkpt lat="1" lon="2"/></trkseg></trk></gpx>')
    with contextlib.closing(sqlite3.connect(world.root / "labels.db")) as con:
        con.execute("CREATE TABLE labels (file_name TEXT)")
    ran = world.run("init", "work", "--from", given)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert "canary" not in ran.err
    assert not (world.root / "work/job.yaml").exists()
