"""Recordings of sensors, from files to documents: the jobs of docs/sources/telemetry.md, and findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.sources.pages import jobs_of, synced
from e2e.world import World
from unit.tables.readers.telemetry.mcap_files import MAY, fix, write_ros2
from unit.tables.readers.telemetry.test_rosbag import write_bag2

GPX, NMEA, MCAP, ROSBAG = jobs_of("telemetry.md")
POINT = '<trkpt lat="48.1" lon="11.5"><ele>{ele}</ele><time>2026-05-01T12:00:0{second}Z</time></trkpt>\n'


def gpx(*points: str) -> str:
    return f"<gpx><trk><trkseg>\n{''.join(points)}</trkseg></trk></gpx>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name in ("monday", "tuesday"):
        made.put(f"data/{name}.mp4", b"video")
    return made


def test_the_job_of_the_page(world: World) -> None:
    world.put("drives/monday.gpx", gpx(*(POINT.format(ele=500 + at, second=at) for at in range(3))))
    world.put("drives/tuesday.gpx", gpx(POINT.format(ele=7, second=0)))
    assert synced(world, GPX) == {
        "monday": {"track": {"samples": 3, "highest": 502.0}},
        "tuesday": {"track": {"samples": 1, "highest": 7.0}},
    }


def test_the_job_of_the_page_about_nmea(world: World) -> None:
    world.put(
        "logs/monday.nmea",
        "$GPGGA,120000,4830.0,N,01130.0,E,4,12,0.5,419.1,M,,M,,\n"
        "$GPRMC,120000,A,4830.0,N,01130.0,E,20.0,90.0,010526\n"
        "$GPGGA,120001,4830.0,N,01130.0,E,4,9,0.5,419.1,M,,M,,\n",
    )
    assert synced(world, NMEA) == {"monday": {"gps": {"satellites": 9, "fastest_kmh": 37.0}}}


def test_the_job_of_the_page_about_mcap(world: World) -> None:
    (world.root / "rides").mkdir()
    written = [("/gps/fix", MAY + at, fix(MAY + at, latitude=48.0 + at)) for at in range(3)]
    write_ros2(world.root / "rides/monday.mcap", [*written, ("/other", MAY, fix(MAY, latitude=80.0))])
    assert synced(world, MCAP) == {"monday": {"gps": {"fixes": 3, "northernmost": 50.0}}}


def test_the_job_of_the_page_about_ros_bags(world: World) -> None:
    write_bag2(world.root / "monday")
    assert synced(world, ROSBAG) == {"monday": {"gps": {"fixes": 3, "highest": 500.25}}}


def test_what_is_noticed_of_a_file_is_a_finding(world: World) -> None:
    whole = gpx(*(POINT.format(ele=1, second=at) for at in range(2)))
    world.put("drives/monday.gpx", whole[: whole.rindex("<ele>")])
    world.job = GPX
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    assert ran.report["findings"]["source.cut"] == 1


def test_a_point_that_is_none_stops_the_run_with_its_line(world: World) -> None:
    world.put("drives/monday.gpx", gpx(POINT.format(ele=1, second=1), POINT.format(ele="x", second=2)))
    world.job = GPX
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 5
    assert "monday.gpx:3: ele is 'x', and no number" in ran.out


def test_a_recording_is_known_by_its_url_alone(world: World) -> None:
    world.put("drives/monday.gpx", gpx(POINT.format(ele=1, second=1)))
    for more in ([], ["--reader", "gpx"]):
        ran = world.run("tables", "drives/monday.gpx", "--format", "json", *more)
        assert ran.code == 0, ran.err
        (table,) = json.loads(ran.out)["tables"]
        assert (table["reader"], table["relations"][0]["name"]) == ("gpx", "telemetry.samples")
        assert [one["type"] for one in table["relations"][0]["columns"]][:3] == [
            "TIMESTAMPTZ_NS",
            "TIMESTAMP_NS",
            "BIGINT",
        ]
