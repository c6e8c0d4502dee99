"""Samples joined to frames by time, from files to documents: values by hand, starts, what a plan shows."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from e2e.sources.pages import documents, jobs_of, synced
from e2e.world import Ran, World
from metaferry import Job
from metaferry.job.serialize import keep_job, restore_job

VIDEOS = Path(os.environ.get("METAFERRY_VIDEOS", Path(__file__).parents[4] / "shared/videos"))
#: 2026-05-01T12:00:00Z in nanoseconds.
NOON = 1_777_636_800_000_000_000
#: Frames of 59.94 fps that a camera kept, in 1001/60000 seconds: it dropped some.
KEPT = (0, 1, 2, 5, 6, 7, 8, 15, 16, 20)


def clip(kept: Sequence[int] = KEPT, *, created: str = "") -> bytes:
    """A video whose frames are shown at these multiples of 1001/60000 seconds."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4", options={"video_track_timescale": "60000"}) as container:
        if created:
            container.metadata["creation_time"] = created
        stream: Any = container.add_stream("mpeg4", rate=Fraction(60_000, 1_001))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 60_000)
        for number in kept:
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts = number * 1_001
            frame.time_base = Fraction(1, 60_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def track(start: int = NOON, count: int = 8, video: str = "a.mp4") -> str:
    """Samples at 18 Hz: the milliseconds since the first, a heading that passes north, a gear."""
    times = [at * 10**9 // 18 for at in range(count)]
    rows = [
        f"{start + time},{time / 1e6},{(350 + 5 * at) % 360},{'PRND'[at // 2]},{video}"
        for at, time in enumerate(times)
    ]
    return "\n".join(["t,ms,heading,gear,video", *rows, ""])


SOURCE: dict[str, Any] = {
    "telemetry": {"table": "can.csv"},
    "video": "video",
    "time": {"column": "t", "unit": "ns"},
    "start": {"from": "column", "column": "TIMESTAMP '2026-05-01 12:00:00'", "zone": "UTC"},
    "metadata": {"ms": {"linear": "ms"}, "heading": {"angular": "heading"}, "gear": {"nearest": "gear"}},
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.put("data/a.mp4", clip())
    made.put("can.csv", track())
    made.job = {"input": "data", "sources": [dict(SOURCE)]}
    return made


def planned(world: World, *arguments: str, code: int = 0) -> Ran:
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json", *arguments)
    assert ran.code == code, ran.err + ran.out
    return ran


def test_samples_at_18_hertz_on_frames_at_59_94_of_a_variable_rate(world: World) -> None:
    # The milliseconds of a frame are its own time; 18 Hz is a sample every 55.555 ms, of 5 degrees.
    wanted = {
        0: (0.0, 350.0, "P"),
        1: (16.683333, 351.5015, "P"),
        2: (33.366667, 353.003, "P"),
        3: (83.416667, 357.5075, "R"),  # nearest: 111.111 is 27.69 away, 55.556 is 27.86
        4: (100.1, 359.009, "R"),
        5: (116.783333, 0.5105, "R"),
        6: (133.466667, 2.012, "R"),
        7: (250.25, 12.5225, "N"),  # 222.222 is 28.03 away, 277.778 is 27.53
        8: (266.933333, 14.024, "N"),
        9: (333.666667, 20.03, "D"),
    }
    found = synced(world, world.job)
    assert found.keys() == {f"a-{frame:02}-mp4" for frame in wanted}
    for frame, (ms, heading, gear) in wanted.items():
        values = found[f"a-{frame:02}-mp4"]
        assert values == {
            "ms": pytest.approx(ms, abs=1e-6),
            "heading": pytest.approx(heading, abs=1e-4),
            "gear": gear,
        }, frame


def test_nothing_is_said_outside_of_the_track_and_in_gaps(world: World) -> None:
    rows = track(NOON + 30_000_000).splitlines()
    world.put("can.csv", "\n".join([*rows[:2], *rows[4:6], ""]))  # at 30, 196.667 and 252.222 ms
    world.source["max_gap"] = "100ms"
    found = synced(world, world.job)
    # From 30 to 196.667 ms nothing is interpolated; a gear may be 100 ms away.
    assert {name: sorted(values) for name, values in found.items()} == {
        **{f"a-{frame:02}-mp4": ["gear"] for frame in (2, 3, 4, 5, 6)},
        "a-07-mp4": ["gear", "heading", "ms"],
    }
    ran = planned(world)
    assert ran.report["findings"]["telemetry.gaps"] == 1
    assert "9 of 10 frames lack a value; 1 gap is longer than max_gap, the longest 0.167 s" in ran.out
    (source,) = ran.report["joined"]
    assert (source["videos"], source["frames"], source["filled"], source["gaps"]) == (1, 10, 6, 1)


def variable(path: Path) -> tuple[str, list[Fraction]] | None:
    """When the frames of a video of a variable rate are shown, by FFmpeg; None for another video."""
    try:
        with av.open(str(path)) as container:
            packets = list(container.demux(container.streams.video[0]))
    except (av.FFmpegError, IndexError):
        return None
    shown = sorted(packet.pts * packet.time_base for packet in packets if packet.pts is not None)
    steps = [after - before for before, after in pairwise(shown)]
    if not 20 <= len(shown) <= 100 or max(steps) < 1.5 * min(steps) or not min(steps) or shown[0]:
        return None
    return path.name, shown


@pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"there are no sample videos in {VIDEOS}")
def test_a_real_video_of_a_variable_rate(world: World) -> None:
    found = next(filter(None, map(variable, sorted(VIDEOS.glob("*.mp4")))), None)
    assert found is not None, "no sample video has a variable rate"
    name, shown = found
    world.put(f"data/{name}", (VIDEOS / name).read_bytes())
    seconds = int(shown[-1]) + 2
    rows = [f"{NOON + at * 10**9},{at},{name}" for at in range(seconds)]
    world.put("can.csv", "\n".join(["t,second,video", *rows, ""]))
    world.source["metadata"] = {"second": {"linear": "second"}}
    made = synced(world, world.job)
    values = [document["second"] for _, document in sorted(made.items())]
    assert values == pytest.approx([float(time) for time in shown], abs=1e-6)


def test_a_wrong_zone_is_seen_before_anything_is_written(world: World) -> None:
    world.source["start"] = {**world.source["start"], "zone": "Europe/Berlin"}
    ran = planned(world, code=5)
    assert ran.report["findings"]["telemetry.unfilled"] == 1
    assert "they are about 2 h later, as where a zone is wrong" in ran.out
    ((video,),) = (source["shown"] for source in ran.report["joined"])
    assert video | {"problem": ""} == {
        "source": str(world.root / "can.csv"),
        "video": "a.mp4",
        "start_from": "column, Europe/Berlin",
        "start": "2026-05-01T10:00:00.000Z",
        "first_sample": "2026-05-01T12:00:00.000Z",
        "last_sample": "2026-05-01T12:00:00.388Z",
        "samples": 8,
        "duration": 0.334,
        "overlap": 0.0,
        "gaps": 0,
        "longest_gap": None,
        "frames": 10,
        "filled": 0,
        "problem": "",
    }
    for_people = world.run("plan", "job.yaml")
    assert "Samples joined by time" in for_people.out
    assert "column, Europe/Berlin" in for_people.out
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 5
    assert not documents(world)


def test_rows_are_frames_with_values_and_what_has_none_is_named(world: World) -> None:
    world.put("data/b.mp4", clip())
    world.put("data/c.png", b"image")
    more = [f"{NOON},1,1,P,{name}" for name in ("c.png", "none.mp4", "../x.mp4", "", "b.mp4")]
    world.put("can.csv", track() + "\n".join([*more, "soon,1,1,P,a.mp4", f"{NOON + 1},2,2,R,b.mp4"]) + "\n")
    world.source["time"] = {"column": "try_cast(t AS BIGINT)", "unit": "ns"}
    world.job["policy"] = {"max_rejects": 10}
    world.source["max_rejects"] = 1
    ran = planned(world, code=3)
    (source,) = ran.report["sources"]
    assert source | {"name": ""} == {
        "name": "",
        "read": 15,
        "used": 11,  # ten frames of a, one of b
        "rejected": 3,
        "unmatched": 1,
        "excluded": 0,
        "filtered": 0,
        "repeated": 0,
        "used_share": pytest.approx(11 / 15),
    }
    (samples,) = ran.report["relations"]
    assert (samples["name"], samples["read"], samples["rejected"]) == (f"{source['name']}.samples", 15, 1)
    found = {one["code"]: one for one in ran.report["finding_examples"]}
    assert found["record.frame_invalid"]["message"] == '"c.png" is an image: it has no frames'
    assert found["record.unmatched"]["message"] == 'no media file is called "none.mp4"'
    assert {"name.hostile", "record.unnamed"} <= found.keys()
    assert found["telemetry.bad_time"]["message"] == "the sample has no time"
    assert found["telemetry.bad_time"]["row"] == 15


@pytest.mark.parametrize(
    ("start", "begins"),
    [
        ({"from": "container", "means": "start"}, "2026-05-01T11:59:59.000Z"),
        # The last of ten frames is shown at 333.667 ms, for 66.733 ms as the one before it.
        ({"from": "container", "means": "end"}, "2026-05-01T11:59:58.599Z"),
        ({"from": "container", "means": "start", "zone": "+02:00"}, "2026-05-01T09:59:59.000Z"),
        ({"from": "first_sample"}, "2026-05-01T12:00:00.000Z"),
        ({"from": "first_sample", "offset": "-2.5s"}, "2026-05-01T11:59:57.500Z"),
        (
            {"from": "file_name", "pattern": "%Y%m%d_%H%M%S", "zone": "Asia/Kathmandu"},
            "2026-05-01T12:00:00.000Z",
        ),
        ({"from": "column", "column": "1777636800000", "unit": "ms"}, "2026-05-01T12:00:00.000Z"),
        ({"from": "column", "column": "1777636800.0", "offset": "1h"}, "2026-05-01T13:00:00.000Z"),
        ({"from": "table", "table": "starts", "column": "begins"}, "2026-05-01T11:30:00.000Z"),
        (
            {"from": "table", "table": "starts", "column": "begins", "video": "'./' || clip"},
            "2026-05-01T11:30:00.000Z",
        ),
    ],
)
def test_a_start_is_taken_from_where_the_job_says(world: World, start: dict[str, Any], begins: str) -> None:
    name = "VID_20260501_174500.mp4"
    world.put(f"data/{name}", clip(created="2026-05-01T11:59:59Z"))
    world.put("can.csv", track(video=name))
    world.put("starts.csv", f"video,clip,begins\n{name},{name},2026-05-01T11:30:00Z\nother.mp4,x,\n")
    world.job["tables"] = {"starts": "starts.csv"}
    world.source["start"] = start
    world.job["policy"] = {"max_rejects": 1}
    world.write_job()
    ran = world.run("plan", "job.yaml", "--format", "json")
    ((video,),) = (source["shown"] for source in ran.report["joined"])
    assert video["start"] == begins
    assert video["frames"] == 10


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ({"from": "container", "means": "start"}, "its container has no creation time"),
        ({"from": "file_name", "pattern": "%Y%m%d", "zone": "UTC"}, None),
        (
            {"from": "file_name", "pattern": "NO%Y%m%d%H%M", "zone": "UTC"},
            '"a.mp4" has no NO%Y%m%d%H%M in it',
        ),
        ({"from": "column", "column": "t", "unit": "ns"}, "the samples give 8 different starts"),
        ({"from": "table", "table": "starts", "column": "begins"}, "nothing says when it begins"),
    ],
)
def test_a_video_whose_start_is_not_known_is_rejected_by_name(
    world: World, start: dict[str, Any], why: str | None
) -> None:
    world.put("starts.csv", "video,begins\nb.mp4,2026-05-01T11:30:00Z\n")
    world.job["tables"] = {"starts": "starts.csv"}
    world.source["start"] = start
    if why is None:
        world.write_job()
        ran = world.run("plan", "job.yaml")
        assert ran.code == 2
        assert "gives no time" in ran.err
        return
    ran = planned(world, code=5)
    (found,) = (one for one in ran.report["finding_examples"] if one["code"] == "telemetry.no_start")
    assert found["message"].startswith('"a.mp4": when it begins is not known: ')
    assert why in found["message"]


def test_the_video_beside_a_recording_is_meant_where_the_job_names_none(world: World) -> None:
    points = "".join(
        f'<trkpt lat="48" lon="11"><ele>{at}</ele><time>2026-05-01T12:00:0{at}Z</time></trkpt>'
        for at in (0, 1)
    )
    world.put("data/day/b.gpx", f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")
    world.put("data/day/b.mp4", clip())
    world.put("data/day/b.png", b"image")
    source = {
        "telemetry": "data/day/*.gpx",
        "start": "first_sample",
        "metadata": {"ele": {"linear": "ele"}, "lat": {"linear": "lat"}, "lon": {"angular": "lon"}},
    }
    found = synced(world, {"input": "data", "sources": [source]})
    assert found["day/b-04-mp4"] == {"ele": pytest.approx(0.1001), "lat": 48, "lon": 11}
    world.put("data/day/b.mov", clip())
    ran = planned(world, code=5)
    (found,) = (one for one in ran.report["finding_examples"] if one["code"] == "record.ambiguous")
    assert "day/b.mov, day/b.mp4" in found["message"]


def test_the_job_of_the_page(world: World) -> None:
    (job,) = jobs_of("time-join.md")
    points = "".join(
        f'<trkpt lat="48" lon="{lon}"><speed>{at}</speed><course>{350 + at}</course><fix>{fix}</fix>'
        f"<time>2026-05-01T12:00:0{at}Z</time></trkpt>"
        for at, lon, fix in ((0, 179.5, "2d"), (1, -179.5, "3d"))
    )
    world.put("drives/monday.gpx", f'<gpx version="1.0"><trk><trkseg>{points}</trkseg></trk></gpx>')
    world.put("data/monday.mp4", clip((0, 15, 30, 45, 60), created="2026-05-01T12:00:00Z"))
    # The video begins half a second before the track.
    assert synced(world, job) == {
        "monday-2-mp4": {
            "speed": pytest.approx(0.0018),
            "heading": pytest.approx(350.0005),
            "lat": 48,
            "lon": pytest.approx(179.5005),
            "fix": "2d",
        },
        "monday-3-mp4": {
            "speed": pytest.approx(0.9027),
            "heading": pytest.approx(350.25075),
            "lat": 48,
            "lon": pytest.approx(179.75075),
            "fix": "2d",
        },
        "monday-4-mp4": {
            "speed": pytest.approx(1.8036),
            "heading": pytest.approx(350.501),
            "lat": 48,
            "lon": pytest.approx(-179.999),
            "fix": "3d",
        },
    }


def test_a_query_gives_samples_too(world: World) -> None:
    world.job["tables"] = {"can": "can.csv", "gears": "gears.csv"}
    world.put("gears.csv", "gear,number\nP,0\nR,1\nN,2\nD,3\n")
    query = "SELECT c.t, c.ms, g.number, c.video AS clip FROM can c JOIN gears g ON g.gear = c.gear"
    world.source.update(
        telemetry={"query": query},
        video="clip",
        metadata={"ms": {"linear": "ms"}, "gear": {"previous": "number"}},
    )
    found = synced(world, world.job)
    assert found["a-05-mp4"] == {"ms": pytest.approx(116.783333), "gear": 1}
    world.source["telemetry"] = {"query": "SELECT tt FROM can"}
    ran = planned(world, code=2)
    assert "tt" in ran.err


def test_a_prefix_an_exclusion_shards_and_a_kept_plan(world: World) -> None:
    world.put("data/x/b.mp4", clip())
    world.put("can.csv", track() + "".join(track(video="x/b.mp4").splitlines(keepends=True)[1:]))
    ran = planned(world, "--prefix", "x/")
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["excluded"]) == (11, 10, 1)
    world.job["media"] = {"exclude": ["x/**"]}
    ran = planned(world, "--limit", "3")
    (source,) = ran.report["sources"]
    assert (source["read"], source["used"], source["excluded"]) == (11, 10, 1)
    del world.job["media"]
    planned(world, "--out", "plan", "--shards", "3")
    kept = pq.read_table(world.root / "plan/joined_videos.parquet").to_pylist()
    assert [row["video"] for row in kept] == ["a.mp4", "x/b.mp4"]
    assert world.run("sync", "job.yaml", "--plan", "plan").code == 0
    (folder,) = world.run_folders()[-1:]
    assert pq.read_table(folder / "joined_videos.parquet").num_rows == 2
    assert len(documents(world)) == 20


def test_what_looks_at_a_job_knows_samples(world: World) -> None:
    world.write_job()
    ran = world.run("schema", "infer", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    entries = {entry["path"]: entry["valueDataType"] for entry in json.loads(ran.out)["entries"]}
    assert entries == {"ms": "NUMERIC_FLOAT", "heading": "NUMERIC_FLOAT", "gear": "CATEGORICAL_STRING"}
    ran = world.run("tables", "job.yaml")
    assert ran.code == 0, ran.err
    assert "heading" in ran.out
    ran = world.run("doctor", "job.yaml")
    assert "bug in metaferry" not in ran.err + ran.out


def test_doctor_names_wrong_expressions_of_each_part(world: World) -> None:
    wrong = {
        "video": "replace(video",
        "start": {"from": "column", "column": "1 +", "zone": "UTC"},
        "metadata": {"ms": {"linear": "sum(ms)"}},
    }
    world.job["sources"] = [SOURCE, {**SOURCE, "name": "wrong", **wrong}]
    world.write_job()
    ran = world.run("doctor", "job.yaml", "--format", "json")
    first, second = (one for one in json.loads(ran.out)["checks"] if one["name"] == "table")
    assert first["status"] == "ok", first
    assert second["status"] == "fail", second
    for key in ("sources[1].video", "sources[1].start.column", "sources[1].metadata.ms"):
        assert key in json.dumps(second), second


def test_the_digest_has_what_decides_and_a_kept_job_no_secret(tmp_path: Path) -> None:
    def job(**change: Any) -> Job:
        return Job.from_mapping({"input": "/in", "sources": [{**SOURCE, **change}]}, base=tmp_path)

    plain = job().digest()
    changes: list[dict[str, Any]] = [
        {"max_gap": "2s"},
        {"time": {"column": "t", "unit": "us"}},
        {"start": {"from": "first_sample"}},
        {"video": "upper(video)"},
        {"telemetry": {"table": "other.csv"}},
        {"telemetry": {"query": "SELECT 1"}},
        {"delimiter": ";"},
        {"metadata": {**SOURCE["metadata"], "gear": {"previous": "gear"}}},
    ]
    assert len({plain, *(job(**change).digest() for change in changes)}) == len(changes) + 1
    mapping, _ = keep_job(job())
    assert mapping is not None
    assert restore_job(mapping) == job()
    secret = {"table": {"url": "s3://b/can.csv", "options": {"secret": "hunter2"}}}
    mapping, why = keep_job(job(telemetry=secret))
    assert mapping is None
    assert why == "sources.0.telemetry.table.options.secret"
    assert "hunter2" not in repr(job(telemetry=secret))


def test_samples_that_count_with_the_video_need_no_clock(world: World) -> None:
    rows = [f"{at / 10},{at}" for at in range(5)]
    world.put("can.csv", "\n".join(["second,value", *rows, ""]))
    world.source.update(
        video="'a.mp4'",
        time={"column": "second", "unit": "s"},
        start="zero",
        metadata={"value": {"linear": "value"}},
    )
    found = synced(world, world.job)
    assert found["a-04-mp4"] == {"value": pytest.approx(1.001)}
    ((video,),) = (source["shown"] for source in planned(world).report["joined"])
    assert (video["start"], video["first_sample"], video["last_sample"]) == ("0.0 s", "0.0 s", "0.4 s")
    world.source["time"] = {"column": "second"}
    world.write_job()
    ran = world.run("plan", "job.yaml")
    assert ran.code == 2
    assert "is a number from 0 to 0.4, which may be in several units" in ran.err
    assert "unit: s" in ran.err


def test_shards_of_several_machines_are_finished(world: World) -> None:
    planned(world, "--out", "plan", "--shards", "2")
    for index in ("0", "1"):
        ran = world.run("sync", "job.yaml", "--plan", "plan", "--shard-index", index, "--num-shards", "2")
        assert ran.code == 0, ran.err
    ran = world.run("finish", "plan")
    assert ran.code == 0, ran.err
    assert len(documents(world)) == 10
    (folder,) = world.run_folders()[-1:]
    assert [row["filled"] for row in pq.read_table(folder / "joined_videos.parquet").to_pylist()] == [10]
    (source,) = json.loads((folder / "run.json").read_text())["joined"]
    assert source["filled"] == 10


def test_times_that_are_centuries_away_are_none(world: World) -> None:
    least = -(2**63) + 1
    world.put("can.csv", track() + f"{least},0,0,P,a.mp4\n{2**63 - 1},0,0,P,a.mp4\n")
    world.source["max_rejects"] = 2
    world.job["policy"] = {"max_rejects": 2}
    ran = planned(world, code=3)
    assert ran.report["findings"]["telemetry.bad_time"] == 2
    assert ran.report["documents"]["create"] == 10
    for start in (
        {"from": "column", "column": f"{2**63 - 1}", "unit": "ns"},
        {"from": "file_name", "pattern": "a%s", "zone": "UTC"},
    ):
        world.put("data/a999999999999.mp4", clip())
        world.put("can.csv", track(video="a999999999999.mp4"))
        world.source["start"] = start
        ran = planned(world, code=3)
        assert ran.report["findings"]["telemetry.no_start"] == 1


def test_names_that_are_all_off_alike_have_the_video_to_write(world: World) -> None:
    world.put("can.csv", track(video="/mnt/fleet/a.mp4"))
    ran = planned(world, code=5)
    (found,) = (one for one in ran.report["finding_examples"] if one["code"] == "source.unused")
    line = found["advice"].partition(" makes ")[0]
    assert line.startswith("video: ")
    world.source["video"] = line.removeprefix("video: ").strip('"')
    assert planned(world).report["documents"]["create"] == 10
