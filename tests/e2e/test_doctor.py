"""What `doctor` finds where one right is missing, on servers that refuse it; nothing is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import metaferry
from metaferry.cli.show.view.doctor import doctor_lines
from metaferry.view.doctor.model import Check, Doctor, Status
from servers.datasource import FreshDatasource
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers

#: The scheme, the fixture, and the code of a missing right.
STORES = {
    "fast_s3": ("s3", "AccessDenied"),
    "gcs": ("gs", "forbidden"),
    "fast_azure": ("az", "AuthorizationPermissionMismatch"),
}


@dataclass
class World:
    kind: str
    server: Any
    bucket: str
    job: metaferry.Job
    code: str

    def refuse(self, method: str, key: str) -> None:
        """Answers as a store does whose policy does not allow such a request."""
        self.server.add(Fault("status", method, key, times=10_000, status=403, code=self.code))

    def names(self) -> set[str]:
        return set(self.server.objects(self.bucket))


@pytest.fixture(params=list(STORES))
def world(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, tmp_path: Path
) -> Iterator[World]:
    url, options = fresh_datasource(request.param)
    server = request.getfixturevalue(f"{request.param}_server")
    yield make_world(request.param, url, options, server, tmp_path)
    server.reset()


def make_world(kind: str, url: str, options: dict[str, Any], server: Any, folder: Path) -> World:
    scheme, code = STORES[kind]
    bucket = url.partition("://")[2].partition("/")[0]
    server.put(bucket, "data/2026/a.png", b"x" * 100)
    table = folder / "labels.csv"
    table.write_text("file_name,frame,scene\na.png,,day\n")
    job = metaferry.Job.from_mapping(
        {
            "input": url,
            "storage": {scheme: options},
            "sources": [{"table": str(table), "frame": "frame"}],
            "policy": {"delete": "orphans"},
        }
    )
    return World(kind, server, bucket, job, code)


def failures(found: Doctor) -> list[Check]:
    return [check for check in found.checks if check.status is Status.FAIL]


def only(found: Doctor, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def test_with_all_rights_nothing_fails_and_nothing_is_left_behind(world: World) -> None:
    before = world.names()
    world.server.clear()
    found = metaferry.doctor(world.job)
    assert (failures(found), found.exit_code) == ([], 0)
    for name in ("write in the state folder", "conditional writes", "write documents", "delete documents"):
        assert only(found, name).status is Status.OK
    assert only(found, "MD5 in listings").status is Status.OK
    assert only(found, "clock").status is Status.OK
    assert "p95" in only(found, "latency").measured
    assert world.names() == before
    written = [str(each) for each in world.server.log("PUT|POST|DELETE")]
    assert written
    assert all("/.metaferry/doctor/" in each or ".metaferry-doctor-" in each for each in written)


def test_read_only_writes_nothing(world: World) -> None:
    world.server.clear()
    found = metaferry.doctor(world.job, read_only=True)
    assert found.exit_code == 0
    assert world.server.log("PUT|POST|DELETE") == []
    assert only(found, "write documents").measured == "--read-only"
    assert "reads" in only(found, "latency").measured


#: Of each store: what is refused (method and key), the check that fails, and what its remedy names.
RIGHTS: dict[str, list[tuple[str, str, str, str, str]]] = {
    "fast_s3": [
        ("GET", "list-type", "list media", "s3:ListBucket", "arn:aws:s3:::BUCKET"),
        ("GET", r"a\.png", "read media", "s3:GetObject", "arn:aws:s3:::BUCKET/data/2026/*"),
        ("DELETE", r"\.metaferry/", "delete in the state folder", "s3:DeleteObject", "2026/.metaferry/*"),
        ("PUT", r"\.metaferry/", "write in the state folder", "s3:PutObject", "2026/.metaferry/*"),
        ("GET|HEAD", r"^[^?]*\.metaferry/", "read after write", "s3:GetObject", "2026/.metaferry/*"),
        ("PUT", r"\.lightly/", "write documents", "s3:PutObject", "2026/.lightly/metadata/*"),
        ("DELETE", r"\.lightly/", "delete documents", "s3:DeleteObject", "2026/.lightly/metadata/*"),
        ("GET|HEAD", r"\.lightly/", "schema.json", "s3:GetObject", "2026/.lightly/metadata/*"),
    ],
    "gcs": [
        ("GET", r"/o\?", "list media", "storage.objects.list", "projects/_/buckets/BUCKET"),
        ("GET", r"a\.png", "read media", "storage.objects.get", "buckets/BUCKET/objects/data/2026/*"),
        (
            "DELETE",
            r"\.metaferry/",
            "delete in the state folder",
            "storage.objects.delete",
            "2026/.metaferry/",
        ),
        ("POST", r"\.metaferry/", "write in the state folder", "storage.objects.create", "2026/.metaferry/"),
        ("GET", r"/o/.*\.metaferry/", "read after write", "storage.objects.get", "2026/.metaferry/"),
        ("POST", r"\.lightly/", "write documents", "storage.objects.create", "2026/.lightly/metadata/"),
        ("DELETE", r"\.lightly/", "delete documents", "storage.objects.delete", "2026/.lightly/metadata/"),
    ],
    "fast_azure": [
        ("GET", "comp=list", "list media", "containers/blobs/read", "container BUCKET"),
        ("GET|HEAD", r"a\.png", "read media", "containers/blobs/read", "blobs below data/2026/"),
        (
            "DELETE",
            r"\.metaferry/",
            "delete in the state folder",
            "containers/blobs/delete",
            "2026/.metaferry/",
        ),
        ("PUT", r"\.metaferry/", "write in the state folder", "containers/blobs/write", "2026/.metaferry/"),
        ("PUT", r"\.lightly/", "write documents", "containers/blobs/write", "2026/.lightly/metadata/"),
        ("DELETE", r"\.lightly/", "delete documents", "containers/blobs/delete", "2026/.lightly/metadata/"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "method", "key", "name", "action", "resource"),
    [(kind, *row) for kind, rows in RIGHTS.items() for row in rows],
)
def test_each_right_that_is_missing_is_one_failure_with_its_name(
    fresh_datasource: FreshDatasource,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    kind: str,
    method: str,
    key: str,
    name: str,
    action: str,
    resource: str,
) -> None:
    url, options = fresh_datasource(kind)
    server = request.getfixturevalue(f"{kind}_server")
    world = make_world(kind, url, options, server, tmp_path)
    before = world.names()
    world.refuse(method, key)
    try:
        found = metaferry.doctor(world.job)
    finally:
        server.reset()
    (failure,) = failures(found)
    assert failure.name == name
    assert action in failure.remedy
    assert resource.replace("BUCKET", world.bucket) in failure.remedy
    assert found.exit_code == 1
    assert world.names() == before


def test_the_right_to_delete_documents_is_a_warning_where_the_policy_never_does(world: World) -> None:
    world.refuse("DELETE", r"\.lightly/")
    job = world.job.model_copy(update={"policy": world.job.policy.model_copy(update={"delete": "never"})})
    found = metaferry.doctor(job)
    assert found.exit_code == 0
    assert only(found, "delete documents").status is Status.WARN


@pytest.mark.parametrize(
    ("query", "name", "action"),
    [
        ("versioning", "versioning", "s3:GetBucketVersioning"),
        ("lifecycle", "lifecycle", "s3:GetLifecycleConfiguration"),
        ("encryption", "encryption", "s3:GetEncryptionConfiguration"),
    ],
)
def test_a_setting_that_may_not_be_read_is_skipped_with_the_right(
    fresh_datasource: FreshDatasource,
    fast_s3_server: Any,
    tmp_path: Path,
    query: str,
    name: str,
    action: str,
) -> None:
    url, options = fresh_datasource("fast_s3")
    world = make_world("fast_s3", url, options, fast_s3_server, tmp_path)
    world.refuse("GET", rf"\?{query}")
    try:
        found = metaferry.doctor(world.job, read_only=True)
    finally:
        fast_s3_server.reset()
    check = only(found, name)
    assert check.status is Status.SKIPPED
    assert action in check.measured
    assert f"arn:aws:s3:::{world.bucket}" in check.measured


@pytest.mark.parametrize("conditions", ["ignore", "refuse"])
def test_without_conditional_writes_no_document_is_tried(
    fresh_datasource: FreshDatasource, fast_s3_server: Any, tmp_path: Path, conditions: str
) -> None:
    url, options = fresh_datasource("fast_s3")
    world = make_world("fast_s3", url, options, fast_s3_server, tmp_path)
    before = world.names()
    fast_s3_server.set(conditions=conditions)
    try:
        found = metaferry.doctor(world.job)
        tried = fast_s3_server.log("PUT|DELETE", r"\.lightly/")
    finally:
        fast_s3_server.reset()
    assert only(found, "conditional writes").status is Status.WARN
    assert only(found, "write documents").status is Status.SKIPPED
    assert "conditions" in only(found, "write documents").measured
    assert (tried, world.names()) == ([], before)


def test_kms_is_seen_in_the_listing(
    fresh_datasource: FreshDatasource, fast_s3_server: Any, tmp_path: Path
) -> None:
    url, options = fresh_datasource("fast_s3")
    world = make_world("fast_s3", url, options, fast_s3_server, tmp_path)
    fast_s3_server.set(kms=True)
    try:
        check = only(metaferry.doctor(world.job), "MD5 in listings")
    finally:
        fast_s3_server.reset()
    assert check.status is Status.WARN


def test_what_a_killed_run_left_is_removed_by_the_next(world: World) -> None:
    """The keys of a process that is gone, and of a name that no run gives."""
    from metaferry.runs.lease.record import machine

    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    pid = int(gone.stdout)
    before = world.names()
    left = f"{machine() or 'unknown'}-{pid}-{'0' * 16}/probe.json"
    theirs = f"elsewhere-{pid}-{'0' * 16}/probe.json"
    for name in (left, theirs, "probe.json"):
        world.server.put(world.bucket, f"data/2026/.metaferry/doctor/{name}", b"{}")
    metaferry.doctor(world.job)
    # Another machine's run may be under way: its keys stay for ten minutes.
    assert world.names() == before | {f"data/2026/.metaferry/doctor/{theirs}"}


def test_wrong_credentials_are_one_failure_and_the_rest_is_skipped(
    fresh_datasource: FreshDatasource, fast_s3_server: Any, tmp_path: Path
) -> None:
    url, options = fresh_datasource("fast_s3")
    world = make_world("fast_s3", url, options, fast_s3_server, tmp_path)
    fast_s3_server.add(Fault("status", times=10_000, status=403, code="InvalidAccessKeyId"))
    try:
        found = metaferry.doctor(world.job)
    finally:
        fast_s3_server.reset()
    (failure,) = failures(found)
    assert failure.name == "list media"
    assert only(found, "write in the state folder").measured == "the store refuses the credentials"
    assert only(found, "table").status is Status.OK
    shown = "\n".join(str(line) for line in doctor_lines(found))
    assert options["secret"] not in shown
    assert options["secret"] not in json.dumps(found.to_dict())
