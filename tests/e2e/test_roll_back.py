"""Going back after a bad table, in the two ways of docs/operations.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import job_mapping
from metaferry.demo import make_dataset
from metaferry.job.model import Job
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.ministack import S3Server

pytestmark = pytest.mark.servers

IMAGES = {"include": ["images/**"]}


class Bucket:
    """A bucket with versions, twelve images in it, and a job over the demonstration's tables."""

    def __init__(self, server: S3Server, folder: Path, portal: Portal) -> None:
        import botocore.config
        import botocore.session

        self.server, self.name = server, server.new_bucket()
        self.client = botocore.session.get_session().create_client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=server.key,
            aws_secret_access_key=server.secret,
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
        )
        self.client.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        self.dataset = make_dataset(folder)
        url = f"s3://{self.name}/2026"
        mapping = job_mapping(self.dataset, url, server.options)
        # The images alone are listed: the tables of videos and frames match nothing.
        policy = {"delete": "orphans", "max_delete": "100%", "allow_empty": True}
        self.job = Job.from_mapping({**mapping, "media": IMAGES, "policy": policy})
        storage = open_storage(url, server.options)
        for path in (self.dataset.media / "images").rglob("*.png"):
            key = path.relative_to(self.dataset.media).as_posix()
            portal.run(storage.put(key, path.read_bytes()))
        portal.run(storage.close())

    def documents(self) -> dict[str, bytes]:
        """Everything that a reader of the bucket sees."""
        found = {}
        for entry in self._pages("list_objects_v2", "Contents"):
            with self.client.get_object(Bucket=self.name, Key=entry["Key"])["Body"] as body:
                found[entry["Key"]] = bytes(body.read())
        return found

    def versions(self) -> list[dict[str, Any]]:
        """Versions and delete markers, which are versions too."""
        return [
            *self._pages("list_object_versions", "Versions"),
            *self._pages("list_object_versions", "DeleteMarkers"),
        ]

    def _pages(self, operation: str, field: str) -> list[dict[str, Any]]:
        pages = self.client.get_paginator(operation).paginate(
            Bucket=self.name, Prefix="2026/.lightly/metadata/"
        )
        return [entry for page in pages for entry in page.get(field, ())]


#: The two commands of `aws s3api` that the page has, by the same libraries: botocore and JMESPath.
AWS = """#!{python}
import argparse, json, os, sys
import botocore.session, jmespath
words = argparse.ArgumentParser(allow_abbrev=False)
words.add_argument("service", choices=["s3api"])
words.add_argument("command", choices=["list-object-versions", "delete-object"])
for name in ("bucket", "prefix", "query", "key", "version-id"):
    words.add_argument("--" + name)
words.add_argument("--output", choices=["text"])
given = words.parse_args()
client = botocore.session.get_session().create_client(
    "s3", endpoint_url=os.environ["ENDPOINT"], config=botocore.config.Config(proxies={{}})
)
if given.command == "delete-object":
    client.delete_object(Bucket=given.bucket, Key=given.key, VersionId=given.version_id)
    sys.exit()
pages = client.get_paginator("list_object_versions").paginate(
    Bucket=given.bucket, Prefix=given.prefix, PaginationConfig={{"PageSize": 5}}
)
for page in pages:
    plain = json.loads(json.dumps(page, default=lambda moment: moment.isoformat()))
    found = jmespath.search(given.query, plain)
    for row in [["None"]] if found is None else found:
        print("\\t".join(row))
"""


def run_the_page(bucket: Bucket, started: str, folder: Path) -> None:
    """The commands of docs/operations.md as they stand, but for the bucket and the time."""
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^  ```sh\n(  since=.*?)^  ```", page, re.MULTILINE | re.DOTALL)
    block, times = re.subn(r"(?<=since=)[\dT:-]+", started, block)
    block = block.replace("fleet-lightly", bucket.name)
    assert times == 1
    tools = folder / "tools"
    tools.mkdir()
    (tools / "aws").write_text(AWS.format(python=sys.executable))
    (tools / "aws").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "ENDPOINT": bucket.client.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": bucket.server.key,
        "AWS_SECRET_ACCESS_KEY": bucket.server.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = subprocess.run(["sh", "-c", block], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[-2000:]) == (0, "")


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path, portal: Portal) -> Any:
    made = Bucket(s3_server, tmp_path / "demo", portal)
    yield made
    made.client.close()


def spoil(table: Path) -> None:
    """What a table looks like on a bad day: values changed, and half of its rows gone."""
    lines = table.read_text().replace("city street", "CITY STREET").splitlines(keepends=True)
    table.write_text("".join(lines[:7]))


def test_the_tables_of_yesterday(bucket: Bucket) -> None:
    table = bucket.dataset.images_table
    yesterday = table.read_text()
    metaferry.sync(bucket.job)
    good = bucket.documents()
    spoil(table)
    bad = metaferry.sync(bucket.job)
    assert min(bad.documents.update, bad.documents.delete) > 0, bad.stopped
    assert bucket.documents() != good
    table.write_text(yesterday)
    back = metaferry.sync(bucket.job)
    assert (back.exit_code, back.documents.update, back.documents.create) == (
        0,
        bad.documents.update,
        bad.documents.delete,
    )
    assert bucket.documents() == good


def test_the_versions_of_the_bucket(bucket: Bucket, tmp_path: Path) -> None:
    """What is newer than the bad run's start is deleted; the state folder stays, and does no harm."""
    table = bucket.dataset.images_table
    yesterday = table.read_text()
    metaferry.sync(bucket.job)
    good, before = bucket.documents(), {(each["Key"], each["VersionId"]) for each in bucket.versions()}
    spoil(table)
    # The page goes by whole seconds, as `started` does: the runs are of two of them.
    last = max(each["LastModified"] for each in bucket.versions())
    while datetime.now(UTC).replace(microsecond=0) <= last:
        os.sched_yield()
    bad = metaferry.sync(bucket.job)
    started = datetime.fromisoformat(bad.started)
    newer = [each for each in bucket.versions() if (each["Key"], each["VersionId"]) not in before]
    assert all(each["LastModified"] >= started for each in newer)
    assert len(newer) == bad.documents.update + bad.documents.delete
    run_the_page(bucket, bad.started, tmp_path)
    assert bucket.documents() == good
    assert {(each["Key"], each["VersionId"]) for each in bucket.versions()} == before
    table.write_text(yesterday)
    after = metaferry.sync(bucket.job)
    assert (after.changes, after.documents.keep) == (0, len(good) - 1)
    assert bucket.documents() == good
