"""The headers of videos as a source, in a bucket: the documents by hand, and what their reading costs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents
from e2e.world import World
from metaferry.lightly.names import DOCUMENTS
from servers.s3 import FastS3
from unit.media import synthetic
from unit.media.facts.images.making import block, exif_segment, jpeg, text_entry
from unit.media.facts.video_files import keys, matroska, number, patched, turned, with_boxes
from unit.media.frames.test_frame_index import padded

pytestmark = pytest.mark.servers

#: From a phone that was held upright, with its index behind 2 MiB of pictures.
PHONE = padded(
    with_boxes(
        turned(
            patched(
                synthetic.video(30, codec="libx264", options={"bf": "3"}), b"mvhd", 4, b"\xd5\x00\x00\x00"
            ),
            90,
        ),
        keys(
            {
                "com.apple.quicktime.location.ISO6709": "-33.8600+151.2100+058.000/",
                "com.apple.quicktime.creationdate": "2026-05-01T10:00:00+1000",
            }
        ),
    )
)
FILES = {
    "cam/a.jpg": jpeg(exif_segment(block({0x010F: text_entry("Acme")}))),
    "phone.mov": PHONE,
    "dash/uneven.mp4": synthetic.video(5, pts=[0, 40, 80, 280, 320]),
    "dash/old.avi": synthetic.video(12, format="avi"),
    "web/clip.webm": matroska([b"picture"], codec="V_VP9", size=(640, 480), video=number(0x54B0, 854)),
    "raw.mpg": synthetic.video(8, format="mpeg", codec="mpeg1video"),
    "other.hevc": synthetic.video(8, format="hevc", codec="libx265", size=64),
}

EXPECTED: dict[str, Any] = {
    "cam/a": {"width": 40, "height": 30, "format": "jpeg", "camera": {"make": "Acme"}},
    "phone": {
        "width": 32,
        "height": 32,
        "rotation": 90,
        "format": "mp4",
        "codec": "h264",
        "fps": 25.0,
        "duration": 1.2,
        "taken": "2026-05-01T10:00:00",
        "taken_utc": "2026-05-01T00:00:00Z",
        "gps": {"lat": -33.86, "lon": 151.21, "altitude": 58.0},
    },
    "dash/old": {
        "width": 32,
        "height": 32,
        "rotation": 0,
        "format": "avi",
        "codec": "mpeg4",
        "fps": 25.0,
        "duration": 0.48,
    },
    "dash/uneven": {
        "width": 32,
        "height": 32,
        "rotation": 0,
        "format": "mp4",
        "codec": "mpeg4",
        "fps": pytest.approx(5 / 0.36),
        "duration": 0.36,
    },
    "web/clip": {"width": 640, "height": 480, "rotation": 0, "format": "matroska", "codec": "vp9"},
    "raw": {"format": "mpeg"},
    "other": {"format": "hevc"},
}


@pytest.fixture
def bucket(fast_s3_server: FastS3) -> str:
    name = fast_s3_server.new_bucket()
    for path, data in FILES.items():
        fast_s3_server.put(name, f"data/{path}", data)
    return name


def written(server: FastS3, bucket: str) -> dict[str, Any]:
    folder = f"data/{DOCUMENTS}"
    return {
        key.removeprefix(folder).removesuffix(".json"): json.loads(data)["metadata"]
        for key, data in server.objects(bucket, folder).items()
        if not key.endswith("schema.json")
    }


def test_documents_of_videos_in_a_bucket(tmp_path: Path, bucket: str, fast_s3_server: FastS3) -> None:
    server = fast_s3_server
    world = World(tmp_path)
    world.put("events.csv", "video,index,event\nphone.mov,7,turn\ndash/old.avi,0,start\nphone.mov,29,stop\n")
    world.job = {
        "input": f"s3://{bucket}/data/",
        "storage": {"s3": server.options},
        "sources": [
            {"media_facts": {}},
            {"table": "events.csv", "file_name": "video", "frame": "index", "metadata": {"event": "event"}},
        ],
    }
    world.write_job()
    server.clear()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.out + ran.err
    # A frame has what is said of its video, and what is said of itself.
    frames = {
        "phone-07-mov": EXPECTED["phone"] | {"event": "turn"},
        "phone-29-mov": EXPECTED["phone"] | {"event": "stop"},
        "dash/old-00-avi": EXPECTED["dash/old"] | {"event": "start"},
    }
    assert written(server, bucket) == EXPECTED | frames
    # The head of each file, and the index of one that has it at the end; counting reads nothing again.
    assert read_of(server, bucket) == {path: 2 if path == "phone.mov" else 1 for path in FILES}
    assert ran.report["frames"] == {"counted": 0, "cached": 2, "unproved": 0}
    server.clear()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert (ran.code, ran.report["documents"]["keep"]) == (0, len(EXPECTED | frames))
    assert read_of(server, bucket) == {}


def test_broken_videos_are_named_and_cut_ones_keep_what_their_headers_say(tmp_path: Path) -> None:
    world = World(tmp_path)
    whole = synthetic.video(300, size=64, noise=True, movflags="faststart")
    world.put("data/cut.mp4", whole[: len(whole) // 2])
    world.put("data/no_index.mp4", PHONE[: len(PHONE) // 2])
    world.put("data/page.mp4", "<html>not found</html>")
    world.put("data/sound.mp4", synthetic.audio_only())
    world.put("data/whole.mp4", whole)
    world.job = {"input": "data", "sources": [{"media_facts": {}, "max_rejects": 3}]}
    world.write_job()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 3, ran.out + ran.err
    assert ran.report["findings"]["media.damaged"] == 1
    found = documents(world)
    assert sorted(found) == ["cut", "whole"]
    known = {"width": 64, "height": 64, "rotation": 0, "format": "mp4", "codec": "mpeg4"}
    assert found["cut"] == known
    assert found["whole"] == known | {"fps": 25.0, "duration": 12.0}
    assert {row["value"]: row["message"].partition(": ")[2] for row in world.rejects()} == {
        "no_index.mp4": "a box at byte 40 does not fit its place: the file is cut or damaged",
        "page.mp4": "no container whose headers are known: MP4, MOV, AVI, Matroska or WebM",
        "sound.mp4": "no video track",
    }


def read_of(server: FastS3, bucket: str) -> dict[str, int]:
    """How often each file was read."""
    keys = [key.removeprefix(f"/{bucket}/data/") for _, _, key, *_ in server.log("GET", f"^/{bucket}/data/")]
    return dict(Counter(key for key in keys if key in FILES))


def test_a_start_by_the_container_reads_no_video_twice(
    tmp_path: Path, bucket: str, fast_s3_server: FastS3
) -> None:
    """The creation time, 2017-03-28T11:56:48Z, comes with the times of frames; three samples from there."""
    server = fast_s3_server
    world = World(tmp_path)
    began = 0xD5000000 - 2_082_844_800
    world.put("can.csv", "t,speed\n" + "".join(f"{began + second},{second}\n" for second in range(3)))
    world.job = {
        "input": f"s3://{bucket}/data/",
        "storage": {"s3": server.options},
        "sources": [
            {
                "telemetry": {"table": "can.csv"},
                "video": "'phone.mov'",
                "time": {"column": "t", "unit": "s"},
                "start": {"from": "container", "means": "start"},
                "metadata": {"speed": {"linear": "speed"}},
            }
        ],
    }
    world.write_job()
    server.clear()
    ran = world.run("sync", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.out + ran.err
    found = written(server, bucket)
    assert found == {f"phone-{frame:02}-mov": {"speed": pytest.approx(frame / 25)} for frame in range(30)}
    assert read_of(server, bucket) == {"phone.mov": 2}
