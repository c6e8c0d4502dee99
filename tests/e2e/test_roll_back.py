"""Going back after a bad table, in the two ways of docs/operations.md."""

from __future__ import annotations

from datetime import datetime
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

        self.name = server.new_bucket()
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


def test_the_versions_of_the_bucket(bucket: Bucket) -> None:
    """What is newer than the bad run's start is deleted; the state folder stays, and does no harm."""
    table = bucket.dataset.images_table
    yesterday = table.read_text()
    metaferry.sync(bucket.job)
    good, before = bucket.documents(), {(each["Key"], each["VersionId"]) for each in bucket.versions()}
    spoil(table)
    bad = metaferry.sync(bucket.job)
    started = datetime.fromisoformat(bad.started)
    newer = [each for each in bucket.versions() if (each["Key"], each["VersionId"]) not in before]
    assert all(each["LastModified"] >= started for each in newer)
    assert len(newer) == bad.documents.update + bad.documents.delete
    for each in newer:
        bucket.client.delete_object(Bucket=bucket.name, Key=each["Key"], VersionId=each["VersionId"])
    assert bucket.documents() == good
    table.write_text(yesterday)
    after = metaferry.sync(bucket.job)
    assert (after.changes, after.documents.keep) == (0, len(good) - 1)
    assert bucket.documents() == good
