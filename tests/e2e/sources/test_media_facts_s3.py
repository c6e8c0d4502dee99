"""The headers of media in a bucket: what reaches the server, what it costs, and a run that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.world import ENVIRONMENT
from metaferry.job.model import Job
from metaferry.planning.price.model import Requests
from servers.process import wait_until
from servers.s3 import FastS3
from servers.s3_rules import Fault
from unit.media import synthetic
from unit.media.facts.images.making import block, exif_segment, jpeg, segment, text_entry

pytestmark = pytest.mark.servers

COUNT = 30


def image(make: str) -> bytes:
    return jpeg(exif_segment(block({0x010F: text_entry(make)})))


@dataclass
class Fleet:
    """Images in a bucket, and a video."""

    server: FastS3
    bucket: str

    def put(self, name: str, data: bytes) -> None:
        self.server.put(self.bucket, f"data/{name}", data)

    def mapping(self, **changes: Any) -> dict[str, Any]:
        return {
            "input": {"url": f"s3://{self.bucket}/data/", "options": self.server.options},
            "sources": [{"media_facts": {}}],
            "prices": {"put": 5.0, "list": 5.0, "get": 0.4, "delete": 0},
            "lease_for": 3600,
            "retry_for": 60,
            **changes,
        }

    def job(self, **changes: Any) -> Job:
        return Job.from_mapping(self.mapping(**changes))

    def read(self) -> Counter[str]:
        """How often the server was asked for bytes of each of the media since it forgot all."""
        found: Counter[str] = Counter()
        for _, method, path, _, _ in self.server.log():
            name = path.partition("?")[0].removeprefix(f"/{self.bucket}/data/")
            if method == "GET" and re.search(r"\.(jpg|mp4)$", name):
                found[name] += 1
        return found

    def asked(self) -> Requests:
        """All that reached the server since it forgot all."""
        kinds: list[str] = []
        for _, method, path, _, _ in self.server.log():
            if not path.startswith("/_control"):
                kinds.append(
                    "list" if "list-type=2" in path else "get" if method == "HEAD" else method.lower()
                )
        return Requests(**{kind: kinds.count(kind) for kind in ("list", "get", "put", "delete")})

    def documents(self) -> dict[str, Any]:
        prefix = "data/.lightly/metadata/"
        found = self.server.objects(self.bucket, prefix)
        return {
            key.removeprefix(prefix).removesuffix(".json"): json.loads(data)["metadata"]
            for key, data in found.items()
            if not key.endswith("schema.json")
        }

    def kept(self) -> list[str]:
        return sorted(self.server.objects(self.bucket, "data/.metaferry/facts/"))


@pytest.fixture
def fleet(fast_s3_server: FastS3) -> Iterator[Fleet]:
    fleet = Fleet(fast_s3_server, fast_s3_server.new_bucket())
    for n in range(COUNT):
        fleet.put(f"{n:02d}.jpg", image(f"maker {n}"))
    fleet.put("clip.mp4", synthetic.video(10))
    fast_s3_server.clear()
    yield fleet
    fast_s3_server.reset()


def test_each_image_is_asked_for_once_and_a_sync_after_a_plan_for_none(fleet: Fleet) -> None:
    planned = metaferry.plan(fleet.job())
    first = fleet.read()
    assert {name for name in first if name != "clip.mp4"} == {f"{n:02d}.jpg" for n in range(COUNT)}
    assert set(first.values()) == {1}
    fleet.server.clear()
    report = metaferry.sync(fleet.job())
    assert (report.exit_code, report.documents.create) == (0, COUNT + 1)
    assert fleet.read() == Counter()
    assert planned.price.requests == report.price.requests == fleet.asked()
    assert fleet.documents()["07"] == {
        "format": "jpeg",
        "width": 40,
        "height": 30,
        "camera": {"make": "maker 7"},
    }


def test_a_sync_without_a_plan_reads_and_pays_for_each(fleet: Fleet) -> None:
    report = metaferry.sync(fleet.job())
    assert (report.exit_code, report.documents.create) == (0, COUNT + 1)
    assert sum(fleet.read().values()) == COUNT + 1
    assert report.price.requests == fleet.asked()
    fleet.server.clear()
    assert metaferry.sync(fleet.job()).changes == 0
    assert fleet.read() == Counter()


def test_only_what_is_new_or_replaced_is_read(fleet: Fleet) -> None:
    metaferry.sync(fleet.job())
    fleet.put("05.jpg", image("another"))
    fleet.put("new.jpg", image("new"))
    fleet.server.clear()
    report = metaferry.sync(fleet.job())
    assert (report.documents.create, report.documents.update) == (1, 1)
    assert fleet.read() == Counter({"05.jpg": 1, "new.jpg": 1})
    assert fleet.documents()["05"]["camera"] == {"make": "another"}


def test_a_prefix_reads_no_other_image(fleet: Fleet) -> None:
    report = metaferry.sync(fleet.job(), prefix="1")
    assert report.documents.create == 10
    assert set(fleet.read()) == {f"{n}.jpg" for n in range(10, 20)}


def test_segments_before_the_size_take_a_few_more_reads(fleet: Fleet) -> None:
    fleet.put("long.jpg", jpeg(*[segment(0xE2, bytes(65_000))] * 4))
    metaferry.plan(fleet.job())
    assert 1 < fleet.read()["long.jpg"] <= 9
    metaferry.sync(fleet.job())
    assert fleet.documents()["long"] == {"format": "jpeg", "width": 40, "height": 30}


def test_a_store_that_stumbles_is_asked_again(fleet: Fleet) -> None:
    for action in ("status", "drop", "truncate"):
        fleet.server.add(Fault(action, "GET", r"data/.*\.jpg", times=5, status=503))
    report = metaferry.sync(fleet.job())
    assert (report.exit_code, report.documents.create) == (0, COUNT + 1)
    assert fleet.documents()["07"]["camera"] == {"make": "maker 7"}


def test_an_image_that_is_replaced_while_it_is_read_is_of_one_version(fleet: Fleet) -> None:
    older = jpeg(*[segment(0xE2, bytes(65_000))] * 3, exif_segment(block({0x010F: text_entry("older")})))
    newer = jpeg(exif_segment(block({0x010F: text_entry("newer")})), width=7)
    fleet.put("07.jpg", older)
    metaferry.plan(fleet.job(media={"include": ["00.jpg"]}))
    fleet.put("07.jpg", newer)
    metaferry.sync(fleet.job())
    assert fleet.documents()["07"] == {
        "format": "jpeg",
        "width": 7,
        "height": 30,
        "camera": {"make": "newer"},
    }


def test_facts_that_were_lost_are_read_again(fleet: Fleet) -> None:
    first = metaferry.sync(fleet.job())
    assert len(fleet.kept()) == 2
    fleet.server.empty(fleet.bucket, "data/.metaferry/")
    before = fleet.documents()
    fleet.server.clear()
    report = metaferry.sync(fleet.job(policy={"existing": "replace"}))
    assert sum(fleet.read().values()) == COUNT + 1
    assert report.documents.create == 0
    assert fleet.documents() == before
    assert report.documents.keep + report.documents.update == first.documents.create


#: `metaferry` with batches and pieces of a few files, as a run of millions has of thousands.
SMALL_PIECES = """
import sys
from metaferry.cli.main import main
from metaferry.media.facts import cache
from metaferry.runs.listings import media
cache.PIECE_ROWS = media._BATCH = 4
sys.exit(main())
"""


def test_a_run_that_is_killed_keeps_what_it_read(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(fleet.mapping()))  # JSON is YAML
    fleet.server.add(Fault("wait", "GET", r"data/2\d\.jpg", times=1_000, seconds=3_600))
    process = subprocess.Popen(
        [sys.executable, "-c", SMALL_PIECES, "sync", "job.yaml"],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: len(fleet.kept()) >= 3, process, pause=0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = len(fleet.kept())
    fleet.server.clear()  # the rule as well
    metaferry.unlock(fleet.job())
    report = metaferry.sync(fleet.job())
    assert (report.exit_code, report.documents.create) == (0, COUNT + 1)
    read = fleet.read()
    assert sum(read.values()) <= COUNT + 1 - 4 * kept
    assert set(read.values()) == {1}
    assert fleet.documents()["07"]["camera"] == {"make": "maker 7"}
    assert fleet.documents()["27"]["camera"] == {"make": "maker 27"}
    fleet.server.clear()
    assert metaferry.sync(fleet.job()).changes == 0
    assert fleet.read() == Counter()


def test_a_stop_ends_the_reads_and_nothing_is_written(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(fleet.mapping()))
    rule = fleet.server.add(Fault("wait", "GET", r"data/2\d\.jpg", times=1_000, seconds=3_600))
    process = subprocess.Popen(
        [sys.executable, "-m", "metaferry", "sync", "job.yaml"],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: fleet.server.used(rule) > 0, process, pause=0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 143
    finally:
        process.kill()
        process.wait()
    assert fleet.documents() == {}
    fleet.server.clear()
    assert metaferry.sync(fleet.job()).documents.create == COUNT + 1
