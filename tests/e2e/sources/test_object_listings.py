"""Facts of objects of an inventory, and after a listing or a run that was cut off."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.sources.pages import documents
from e2e.sources.test_object_facts import Fleet
from e2e.world import ENVIRONMENT
from metaferry.runs.state import listing_checkpoint
from metaferry.storage.listing import parallel
from servers.process import wait_until
from servers.s3 import FastS3
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers


@pytest.fixture
def fleet(fast_s3_server: FastS3, tmp_path: Path) -> Iterator[Fleet]:
    yield Fleet(tmp_path, "s3", fast_s3_server)
    fast_s3_server.reset()


# -- an inventory


def report(fleet: Fleet, rows: list[list[str]]) -> Path:
    """An S3 inventory in CSV: key, size, time, ETag and storage class of each object."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([fleet.bucket, *row] for row in rows)
    content = gzip.compress(text.getvalue().encode())
    fleet.put("report/data/1.csv.gz", content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    manifest = {
        "sourceBucket": fleet.bucket,
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "creationTimestamp": "1795309200000",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass",
        "files": [{"key": "report/data/1.csv.gz", "size": len(content), "MD5checksum": md5}],
    }
    return fleet.put("report/2026-11-22T01-00Z/manifest.json", json.dumps(manifest))


MD5 = hashlib.md5(b"media", usedforsecurity=False).hexdigest()


def test_an_inventory_gives_what_it_has_and_requests_the_rest(fleet: Fleet) -> None:
    manifest = report(
        fleet,
        [
            ["data/cam%3D07/day%3D2026-05-01/a.jpg", "5", "2026-05-01T12:00:00.000Z", MD5, "GLACIER_IR"],
            ["data/gone.jpg", "7", "", "", ""],
        ],
    )
    wanted = {
        "size": "size",
        "modified": "modified",
        "etag": "etag",
        "class": "storage_class",
        "type": "content_type",
        "site": "metadata.site",
    }
    listed = {"size": 5, "modified": "2026-05-01T12:00:00Z", "etag": MD5, "class": "GLACIER_IR"}
    media = {"media": {"inventory": {"url": str(manifest)}}}
    fleet.wants({}, {name: column for name, column in wanted.items() if name != "site"}, **media)
    fleet.sync()
    assert documents(fleet) == {"cam=07/day=2026-05-01/a": listed, "gone": {"size": 7}}
    assert fleet.asked() == {}

    fleet.wants({"headers": True}, wanted, **media)
    fleet.sync()
    assert documents(fleet) == {
        "cam=07/day=2026-05-01/a": {**listed, "type": "image/jpeg", "site": "Bern"},
        "gone": {"size": 7},
    }
    assert len(fleet.server.log("HEAD")) == 2
    fleet.server.clear()
    fleet.sync()
    ((_, _, path, status, _),) = fleet.server.log("HEAD")  # what is gone has no version to be kept under
    assert (path.endswith("gone.jpg"), status) == (True, 404)


# -- what was cut off


def refuse_the_second_half(fleet: Fleet) -> None:
    """Of pages of ten of `data/000.jpg` to `data/099.jpg`, those after the sixth may not be listed."""
    tokens = [base64.urlsafe_b64encode(f"data/{n:03d}.jpg".encode()).decode() for n in range(59, 100, 10)]
    refused = "|".join(map(re.escape, tokens))
    fleet.server.add(
        Fault("status", "GET", key="start-after", status=400, code="InvalidArgument", times=1_000)
    )
    fleet.server.add(Fault("status", "GET", key=f"continuation-token=({refused})", status=403, times=1_000))


def test_a_listing_that_goes_on_has_the_facts_of_the_pages_before(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_checkpoint, "EVERY", 20)
    monkeypatch.setattr(parallel, "_FIRST", 1)
    fleet.server.empty(fleet.bucket)
    fleet.server.seed(fleet.bucket, [f"data/{n:03d}.jpg" for n in range(100)])
    for n in range(100):
        fleet.server.describe(fleet.bucket, f"data/{n:03d}.jpg", {"x-amz-storage-class": f"C{n}"})
    fleet.server.set(page_size=10)
    fleet.wants({}, {"class": "storage_class", "etag": "etag", "modified": "modified"}, concurrency=1)
    refuse_the_second_half(fleet)
    assert fleet.run("sync", "job.yaml").code == 1
    kept = list(fleet.data.rglob("listing/*.parquet"))
    assert kept != []
    fleet.server.clear()
    ran = fleet.sync()
    assert ran.report["listing"]["resumed"] > 0
    found = documents(fleet)
    assert {path: found[path]["class"] for path in found} == {f"{n:03d}": f"C{n}" for n in range(100)}
    assert {each["etag"] for each in found.values()} == {MD5}
    assert all(each["modified"] for each in found.values())


def test_pages_without_facts_are_none_of_a_listing_with_them(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_checkpoint, "EVERY", 20)
    monkeypatch.setattr(parallel, "_FIRST", 1)
    fleet.server.seed(fleet.bucket, [f"data/{n:03d}.jpg" for n in range(100)])
    fleet.server.set(page_size=10)
    fleet.put("labels.csv", "file_name,x\n000.jpg,1\n")
    fleet.wants({})
    plain = {**fleet.job, "sources": [{"table": "labels.csv"}], "concurrency": 1}
    fleet.job, asked = plain, fleet.job
    fleet.write_job()
    refuse_the_second_half(fleet)
    assert fleet.run("sync", "job.yaml").code == 1
    assert list(fleet.data.rglob("listing/*.parquet")) != []
    fleet.server.clear()
    fleet.job = asked
    fleet.write_job()
    assert fleet.sync().report["listing"]["resumed"] == 0
    assert documents(fleet)["000"]["storage_class"] == "STANDARD"


def test_a_run_that_was_killed_leaves_what_it_was_told(fleet: Fleet) -> None:
    fleet.server.empty(fleet.bucket)
    fleet.server.seed(fleet.bucket, [f"data/{n:03d}.jpg" for n in range(1_000)])
    fleet.server.describe(fleet.bucket, "data/000.jpg", {"x-amz-meta-site": "Bern"})
    # The second batch is never answered; by then the answers of the first were kept.
    fleet.server.add(Fault("wait", "HEAD", key=r"/[5-9]\d\d\.jpg", seconds=600, times=10_000))
    fleet.wants({"headers": True}, {"site": "metadata.site"})
    code = (
        "import sys; from metaferry.media.facts import cache; cache.PIECE_ROWS = 100; "
        "from metaferry.runs.listings import media; media._BATCH = 500; "
        "sys.argv = ['metaferry', 'sync', 'job.yaml']; from metaferry.cli.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=fleet.root,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: any(fleet.data.rglob("facts/headers/*.parquet")), process, seconds=150)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    fleet.server.clear()
    ran = fleet.sync()
    assert ran.report["documents"]["create"] == 1_000
    assert fleet.asked()["HeadObject"] == 500
    assert documents(fleet)["000"] == {"site": "Bern"}
