"""Recordings of sensors, from files to documents: the jobs of docs/sources/telemetry.md, and findings."""

from __future__ import annotations

import importlib
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from e2e.sources.pages import PAGES, documents, jobs_of, synced
from e2e.world import World
from metaferry.job.readers.telemetry import Telemetry
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers.telemetry.mcap_files import MAY, fix, write_ros2
from unit.tables.readers.telemetry.test_rosbag import write_bag2

DJI_SAMPLES = (
    Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[4] / "shared/samples")) / "dji-srt"
)
needs_dji = pytest.mark.skipif(not DJI_SAMPLES.is_dir(), reason=f"there are no sample files in {DJI_SAMPLES}")
GPX, NMEA, MCAP, ROSBAG, DJI = jobs_of("telemetry.md")
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


def test_what_is_noticed_of_a_file_is_shown_with_it(world: World) -> None:
    whole = gpx(*(POINT.format(ele=1, second=at) for at in range(2)))
    world.put("drives/monday.gpx", whole[: whole.rindex("<ele>")])
    ran = world.run("tables", "drives/monday.gpx", "--format", "json")
    (table,) = json.loads(ran.out)["tables"]
    (note,) = table["notes"]
    assert "drives/monday.gpx: " in note
    assert note.endswith("the samples before that are used")
    assert "the samples before that are used" in world.run("tables", "drives/monday.gpx").out


# -- a reader of another package


@pytest.fixture
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the page, as pip installs one: its module, and what it says of itself."""
    folder = tmp_path_factory.mktemp("site")
    text = (PAGES / "telemetry.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (project,) = re.findall(r"```\n(\[project.*?)```", text, re.DOTALL)
    (folder / "dji_srt.py").write_text(code, encoding="utf-8")
    about = folder / "dji_srt-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dji-srt\nVersion: 1\n")
    points = tomllib.loads(project)["project"]["entry-points"]["metaferry.readers"]
    lines = "".join(f"{name} = {where}\n" for name, where in points.items())
    (about / "entry_points.txt").write_text(f"[metaferry.readers]\n{lines}")
    return folder


def test_the_reader_of_the_page_is_found_by_its_entry_point(world: World, package: Path) -> None:
    cue = "1\n00:00:0{at},000 --> 00:00:0{at},900\nHOME(1.5,2.5) 2017.08.05 14:11:51\n"
    cue += "GPS(149.0251,-20.{at},16)\n\n"
    world.put("flights/friday.SRT", "".join(cue.format(at=at) for at in (2, 3)))
    world.put("data/friday.MP4", b"video")
    world.job = DJI
    world.write_job()
    ran = world.run_process("sync", "job.yaml", environment={"PYTHONPATH": str(package)})
    assert ran.code == 0, ran.err
    assert documents(world) == {"friday": {"flight": {"south": -20.3, "north": -20.2}}}


@needs_dji
def test_the_reader_of_the_page_reads_real_files(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(package))
    made = importlib.import_module("dji_srt").DjiSrtReader()
    counts = {}
    for path in sorted(DJI_SAMPLES.iterdir()):
        order = "lat,lon" if path.name == "matrice_300.srt" else "lon,lat"
        rows = check_reader(made, Telemetry(url=str(path), settings={"order": order}))["samples"]
        counts[path.name] = (rows.num_rows, rows.num_rows - rows.column("lat").null_count)
        check_damaged(made, path, tmp_path, tries=10)
    assert counts == {
        "air2s.srt": (17, 17),
        "matrice_300.srt": (381, 381),
        "mavic_2_style.SRT": (468, 468),
        "mavic_air.SRT": (2, 0),
        "mavic_pro.SRT": (468, 468),
        "p4_rtk.SRT": (55, 55),
    }
