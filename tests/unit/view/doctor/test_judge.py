"""What each measurement is judged to be: status, words and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from metaferry.errors import Conflict, Denied, MetaferryError, StorageError, Unavailable
from metaferry.runs.lease.record import LeaseRecord
from metaferry.storage.capability_probe import Honoured
from metaferry.view.doctor import judge
from metaferry.view.doctor.machine import Scratch, proxies
from metaferry.view.doctor.model import Check, Doctor, Measured, Status
from metaferry.view.doctor.rights import Need, StoreLocation, missing_right
from metaferry.view.doctor.store import Listing, is_living
from metaferry.view.doctor.tables import TableFacts

S3 = StoreLocation("s3", "s3://fleet/2026", "fleet", "2026/")
GCS = StoreLocation("gcs", "gs://fleet/2026", "fleet", "2026/")
AZURE = StoreLocation("azure", "az://fleet/2026", "fleet", "2026/")
LOCAL = StoreLocation("local", "/data/fleet")

DENIED = Denied("access denied", status=403, code="AccessDenied", advice="")
WRONG_KEY = Denied("unknown key", status=403, code="InvalidAccessKeyId", advice="check the key")


@pytest.mark.parametrize(
    ("place", "need", "key", "words"),
    [
        (S3, "list", "", "grant s3:ListBucket on arn:aws:s3:::fleet"),
        (S3, "put", ".metaferry/", "grant s3:PutObject on arn:aws:s3:::fleet/2026/.metaferry/*"),
        (S3, "versioning", "", "grant s3:GetBucketVersioning on arn:aws:s3:::fleet"),
        (
            GCS,
            "overwrite",
            ".metaferry/",
            "grant storage.objects.create and storage.objects.delete on "
            "projects/_/buckets/fleet/objects/2026/.metaferry/*",
        ),
        (GCS, "lifecycle", "", "grant storage.buckets.get on projects/_/buckets/fleet"),
        (
            AZURE,
            "delete",
            ".lightly/metadata/",
            "grant Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete (role Storage Blob "
            "Data Contributor; `d` in a SAS) on container fleet, blobs below 2026/.lightly/metadata/",
        ),
        (LOCAL, "put", ".metaferry/", "let the user of this process write to /data/fleet/.metaferry/"),
        (LOCAL, "list", "", "let the user of this process read and enter /data/fleet"),
    ],
)
def test_the_right_that_is_missing(place: StoreLocation, need: Need, key: str, words: str) -> None:
    assert missing_right(place, need, key) == words


def test_a_missing_right_is_told_from_wrong_credentials() -> None:
    assert judge.is_missing_right(DENIED)
    assert not judge.is_missing_right(WRONG_KEY)
    assert judge.blocks(DENIED) == ""
    assert judge.blocks(WRONG_KEY) == "the store refuses the credentials"
    assert judge.blocks(Unavailable("down")) == "the store did not answer as it should"
    assert judge.failed("list media", S3, WRONG_KEY, "list").remedy == "check the key"
    assert judge.failed("list media", S3, Conflict("odd"), "list").remedy  # never without any


@pytest.mark.parametrize(
    ("page", "status"),
    [
        (Listing(3, 2, "a.png", more=False), Status.OK),
        (Listing(1000, 0, None, more=True), Status.OK),
        (Listing(3, 0, None, more=False), Status.WARN),
    ],
)
def test_a_place_without_media_is_a_warning(page: Listing, status: Status) -> None:
    assert judge.media(S3, Measured(page)).status is status


@pytest.mark.parametrize(
    ("place", "found", "status"),
    [
        (S3, "equal", Status.OK),
        (S3, "other", Status.WARN),
        (S3, "none", Status.WARN),
        (LOCAL, "none", Status.OK),
    ],
)
def test_md5_in_listings(place: StoreLocation, found: str, status: Status) -> None:
    assert judge.md5(place, Measured(found)).status is status


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (Honoured(True, True), Status.OK, "are refused"),
        (Honoured(True, False), Status.WARN, "replacing is not"),
        (Honoured(False, False), Status.WARN, "ignored by the store"),
    ],
)
def test_conditional_writes(found: Honoured, status: Status, words: str) -> None:
    check = judge.conditional_writes(S3, Measured(found))
    assert (check.status, words in check.measured) == (status, True)


@pytest.mark.parametrize(
    ("ahead", "status"),
    [(0.4, Status.OK), (-29, Status.OK), (31, Status.WARN), (-600, Status.WARN), (901, Status.FAIL)],
)
def test_the_clock(ahead: float, status: Status) -> None:
    check = judge.clock(S3, Measured(ahead))
    assert check.status is status
    assert bool(check.remedy) is (status is not Status.OK)


def test_the_clock_says_which_way() -> None:
    assert judge.clock(S3, Measured(61.0)).measured == "61 s ahead of the store's"
    assert judge.clock(S3, Measured(-61.0)).measured == "61 s behind the store's"


def test_latency_is_put_into_documents() -> None:
    check = judge.latency(S3, Measured([0.02] * 19 + [0.2]), 64, writes=True)
    assert check.measured == (
        "p50 20 ms, p95 200 ms of 20 writes; 1,000,000 documents at concurrency 64: at least 5 min"
    )
    assert judge.latency(S3, Measured([1.0] * 20), 64, writes=True).status is Status.WARN


@pytest.mark.parametrize(
    ("found", "policy", "status"),
    [
        (Measured(True), "orphans", Status.OK),
        (Measured(False), "orphans", Status.FAIL),
        (Measured(False), "never", Status.WARN),
        (Measured(skipped="--read-only"), "orphans", Status.SKIPPED),
    ],
)
def test_deletes_are_needed_where_the_policy_deletes(
    found: Measured[bool], policy: str, status: Status
) -> None:
    check = judge.delete_documents(S3, ".lightly/metadata/", found, policy=policy)
    assert check.status is status
    assert ("s3:DeleteObject" in check.remedy) is (status in (Status.FAIL, Status.WARN))


HOLDER = LeaseRecord(holder="1", run_id="r", user="anna", host="node-7", pid=4711, lease_for=60.0)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (None, Status.OK),
        ((HOLDER, 12.0, False), Status.OK),
        ((HOLDER, None, False), Status.OK),
        ((HOLDER, 61.0, False), Status.WARN),
        ((HOLDER, 12.0, True), Status.WARN),
    ],
)
def test_a_stuck_lease_is_a_warning_with_the_command(found: Any, status: Status) -> None:
    check = judge.lease(S3, Measured(found), "job.yaml")
    assert check.status is status
    assert ("metaferry unlock job.yaml" in check.remedy) is (status is Status.WARN)
    if found is not None:
        assert "anna@node-7" in check.measured


def test_a_schema_with_faults_fails() -> None:
    check = judge.schema(S3, Measured((3, ["line 2, column 5: a comma is missing"])), ".lightly/metadata/")
    assert (check.status, check.measured) == (Status.FAIL, "1 fault: line 2, column 5: a comma is missing")
    assert judge.schema(S3, Measured((1, [])), "").measured == "valid, 1 entry"
    assert judge.schema(S3, Measured(None), "").status is Status.OK


def test_tables() -> None:
    facts = TableFacts(2, 1_234, rows=10, columns=(("file_name", "VARCHAR"), ("speed", "DOUBLE")))
    assert judge.table("labels", Measured(facts)).measured == (
        "2 files, 1 kB, 10 rows: file_name VARCHAR, speed DOUBLE"
    )
    assert (
        judge.table("labels", Measured(TableFacts(1, 10, 9, malformed=1, columns=()))).status is Status.WARN
    )
    failed = judge.table("labels", Measured(error=MetaferryError("no such column", advice="name another")))
    assert (failed.status, failed.remedy) == (Status.FAIL, "name another")


@pytest.mark.parametrize(
    ("found", "rows", "status"),
    [
        (Scratch("/tmp", 64_000_000_000, True), 3_000_000, Status.OK),
        (Scratch("/tmp", 1_900_000_000, True), 3_000_000, Status.WARN),
        (Scratch("/tmp", 10_000_000, True), 1_000, Status.OK),
        (Scratch("/tmp", 10_000_000, True), None, Status.WARN),
        (Scratch("/tmp", 0, False), 1_000, Status.FAIL),
    ],
)
def test_scratch_space_against_the_need(found: Scratch, rows: int | None, status: Status) -> None:
    assert judge.scratch(found, rows).status is status


def test_one_row_is_one_row() -> None:
    assert judge.scratch(Scratch("/tmp", 64_000_000_000, True), 1).measured.endswith(" for 1 row")


def test_a_proxy_is_shown_without_its_password() -> None:
    found = proxies(
        {
            "HTTPS_PROXY": "http://anna:hunter2@proxy:3128",
            "http_proxy": "anna:hunter2@proxy:3128",
            "NO_PROXY": "localhost,.internal",
        }
    )
    assert not [each for each in found if "hunter2" in each or "anna" in each]
    assert "no_proxy=localhost,.internal" in found
    assert len([each for each in found if "proxy:3128" in each]) == 2


def test_keys_of_a_process_that_may_be_under_way_are_kept() -> None:
    assert is_living(f"m1-1-{'0' * 16}/probe.json", "m1")  # process 1 is there, whoever may signal it
    assert is_living(f"other-1-{'0' * 16}/probe.json", "m1")
    assert not is_living(f"m1-{2**40}-{'0' * 16}/probe.json", "m1")
    assert not is_living("anything else", "m1")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.OK, Status.SKIPPED], 0),
        ([Status.OK, Status.WARN], 0),
        ([Status.WARN, Status.FAIL, Status.OK], 1),
    ],
)
def test_only_a_failure_is_exit_code_1(statuses: list[Status], code: int) -> None:
    found = Doctor("job.yaml", False, [Check("a", status, "x") for status in statuses])
    assert found.exit_code == code
    assert found.to_dict()["exit_code"] == code
    assert sum(found.to_dict()["counts"].values()) == len(statuses)


def test_every_error_of_a_store_has_words_and_a_remedy() -> None:
    for kind in StorageError.__subclasses__():
        check = judge.failed("write documents", S3, kind("what happened", status=403), "put", "x/")
        assert check.status is Status.FAIL
        assert check.measured
        assert check.remedy
