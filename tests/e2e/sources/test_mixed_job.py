"""One job of everything: images, videos and frames; COCO, PostgreSQL, headers of media, and telemetry.

The tree that it makes is written by hand: what each source says of each image, video and frame. The video is
one of 59.94 frames a second with a pause in it, its samples come 18 times a second.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from e2e.sources.pages import documents, synced
from e2e.world import World
from servers.postgres import Postgres

pytestmark = pytest.mark.servers

#: A frame is shown every 1001/60000 s, but for a pause of half a second.
SHOWN = [*range(60), *range(90, 180)]
TIMES = [Fraction(1001 * slot, 60_000) for slot in SHOWN]

#: Samples, by their number: 18 a second, from 1/4 s after the video began; some are lost.
FIRST = Fraction(1, 4)
SAMPLES = [*range(25), *range(50, 52)]
BEGAN_NS = 1_777_629_600_000_000_000  # 2026-05-01T10:00:00Z

COCO = {
    "images": [
        {"id": 1, "file_name": "cam/a.jpg", "width": 64, "height": 48},
        {"id": 2, "file_name": "cam/b.jpg", "width": 64, "height": 48},
    ],
    "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "tram"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]},
    ],
}

TRIPS = """
    CREATE TABLE trips (path text, site text, grade numeric);
    INSERT INTO trips VALUES ('cam/a.jpg', 'north', 0.5), ('cam/b.jpg', 'south', 2),
        ('drives/monday.mp4', 'north', 1.25), ('drives/tuesday.avi', NULL, 3)
"""


def photo(*, taken: str = "") -> bytes:
    exif = Image.Exif()
    if taken:
        exif[0x0110] = "P1"
        details = exif.get_ifd(0x8769)
        details[0x9003] = taken
        details[0x9011] = "+02:00"
        exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (11.0, 15.0, 0.0)})
    sink = io.BytesIO()
    Image.new("RGB", (64, 48)).save(sink, "JPEG", exif=exif)
    return sink.getvalue()


def video(shown: Iterable[int], *, format: str, created: str = "") -> bytes:
    """Frames at these multiples of 1001/60000 s."""
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=format) as container:
            if created:
                container.metadata["creation_time"] = created
            stream: Any = container.add_stream(
                "mjpeg" if format == "avi" else "mpeg4", rate=Fraction(60_000, 1001)
            )
            stream.width, stream.height = 64, 32
            stream.pix_fmt = "yuvj420p" if format == "avi" else "yuv420p"
            if format != "avi":
                stream.codec_context.time_base = Fraction(1, 60_000)
            for slot in shown:
                frame = av.VideoFrame(64, 32, stream.pix_fmt)
                for plane in frame.planes:
                    plane.update(bytes([slot % 256]) * plane.buffer_size)
                frame.pts = slot if format == "avi" else slot * 1001
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return Path(file.name).read_bytes()


def samples() -> str:
    """A speed that grows by 1 m/s with each sample, a heading that turns by 20 degrees, and a gear."""
    rows = ["t_ns,speed_mps,heading,gear"]
    for number in SAMPLES:
        at = BEGAN_NS + round((FIRST + Fraction(number, 18)) * 1_000_000_000)
        rows.append(f"{at},{10 + number},{(340 + 20 * number) % 360},{number // 5}")
    return "\n".join(rows)


@pytest.fixture
def world(tmp_path: Path, postgres_server: Postgres) -> World:
    made = World(tmp_path)
    made.put("data/cam/a.jpg", photo(taken="2026:05:01 12:00:00"))
    made.put("data/cam/b.jpg", photo())
    made.put("data/drives/monday.mp4", video(SHOWN, format="mp4", created="2026-05-01T10:00:00Z"))
    made.put("data/drives/tuesday.avi", video(range(12), format="avi"))
    made.put("coco.json", json.dumps(COCO))
    made.put("samples.csv", samples())
    made.put("events.csv", "video,index,event\ndrives/monday.mp4,0,start\ndrives/monday.mp4,149,stop\n")
    uri = postgres_server.new_database(*filter(str.strip, TRIPS.split(";")))
    made.job = {
        "input": "data",
        "sources": [
            {"annotations": "coco.json"},
            {
                "sql": {
                    "uri": uri,
                    "query": "SELECT path AS file_name, site, grade FROM trips ORDER BY path",
                },
                "metadata": {"trip.site": "site", "trip.grade": "grade"},
            },
            {"media_facts": {}},
            {
                "table": "events.csv",
                "file_name": "video",
                "frame": "index",
                "metadata": {"event": "event"},
            },
            {
                "telemetry": {"table": "samples.csv"},
                "video": "'drives/monday.mp4'",
                "time": {"column": "t_ns", "unit": "ns"},
                "start": {"from": "container", "means": "start"},
                "metadata": {
                    "speed": {"linear": "speed_mps * 3.6"},
                    "heading": {"angular": "heading"},
                    "gear": {"nearest": "gear"},
                },
                "max_gap": "1s",
            },
        ],
    }
    made.write_job()
    return made


#: What the headers of the video say, and PostgreSQL of its trip: a frame has it, too.
MONDAY: dict[str, Any] = {
    "format": "mp4",
    "codec": "mpeg4",
    "width": 64,
    "height": 32,
    "rotation": 0,
    "fps": pytest.approx(150 / 3.003),
    "duration": 3.003,
    "trip": {"site": "north", "grade": 1.25},
}
EXPECTED: dict[str, Any] = {
    "cam/a": {
        "objects": 3,
        "categories": {"car": 2, "tram": 1},
        "trip": {"site": "north", "grade": 0.5},
        "format": "jpeg",
        "width": 64,
        "height": 48,
        "taken": "2026-05-01T12:00:00",
        "taken_utc": "2026-05-01T10:00:00Z",
        "camera": {"model": "P1"},
        "gps": {"lat": 48.5, "lon": -11.25},
    },
    "cam/b": {
        "objects": 0,
        "categories": {"car": 0, "tram": 0},
        "trip": {"site": "south", "grade": 2.0},
        "format": "jpeg",
        "width": 64,
        "height": 48,
    },
    "drives/monday": MONDAY,
    "drives/tuesday": {
        "trip": {"grade": 3.0},
        "format": "avi",
        "codec": "mjpeg",
        "width": 64,
        "height": 32,
        "rotation": 0,
        "fps": pytest.approx(60_000 / 1001),
        "duration": pytest.approx(12 * 1001 / 60_000),
    },
}

#: Some frames by hand: at time 0, before the first sample; at 0.25025 s, just behind it; at 0.5005 s,
#: which is 4.509 samples later; at 1.5015 s, behind the pause, at 22.527; at 1.6016 s, in the gap of 1.44 s
#: behind sample 24, whose gear is near enough; the last one, whose nearest sample comes after the video.
BY_HAND: dict[int, dict[str, Any]] = {
    0: {"event": "start"},
    15: {"speed": 36.0162, "heading": 340.09, "gear": 0},
    30: {"speed": 52.2324, "heading": 70.18, "gear": 1},
    60: {"speed": 117.0972, "heading": 70.54, "gear": 4},
    66: {"gear": 4},
    149: {"gear": 10, "event": "stop"},
}


def joined(at: Fraction) -> dict[str, Any]:
    """What the samples say of a frame that is shown at `at`: on the line between the two around it, and the
    gear of the nearest one; nothing outside of them, and nothing over more than a second."""
    number = (at - FIRST) * 18
    if not 0 <= number <= SAMPLES[-1]:
        return {}
    values: dict[str, Any] = {}
    if number <= 24:
        values["speed"] = pytest.approx(float(10 + number) * 3.6, rel=1e-6)
        values["heading"] = pytest.approx(float((340 + 20 * number) % 360), rel=1e-6)
    nearest = min(SAMPLES, key=lambda sample: (abs(sample - number), sample))
    if abs(nearest - number) <= 18:
        values["gear"] = nearest // 5
    return values


def frames() -> dict[str, Any]:
    """The documents of the frames of which anything is said."""
    events = {0: {"event": "start"}, 149: {"event": "stop"}}
    said = {index: joined(at) | events.get(index, {}) for index, at in enumerate(TIMES)}
    return {f"drives/monday-{index:03}-mp4": MONDAY | values for index, values in said.items() if values}


def test_the_frames_that_were_computed_by_hand_are_those_of_the_rule() -> None:
    found = frames()
    assert len(found) == 1 + 135  # the first frame for its event, and those behind the first sample
    for index, values in BY_HAND.items():
        expected = {
            key: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            for key, value in values.items()
        }
        document = found[f"drives/monday-{index:03}-mp4"]
        assert {key: _number(value) for key, value in document.items() if key not in MONDAY} == expected


def _number(value: Any) -> Any:
    return getattr(value, "expected", value)


def test_images_videos_and_frames_of_five_kinds_of_sources(world: World) -> None:
    assert synced(world, world.job) == EXPECTED | frames()


def test_its_shards_make_the_same_tree(world: World) -> None:
    ran = world.run("plan", "job.yaml", "--out", "plan")
    assert ran.code == 0, ran.err
    for shard in range(3):
        ran = world.run(
            "sync", "job.yaml", "--plan", "plan", "--shard-index", str(shard), "--num-shards", "3"
        )
        assert ran.code == 0, ran.err
    ran = world.run("finish", "plan")
    assert ran.code == 0, ran.err
    assert documents(world) == EXPECTED | frames()
