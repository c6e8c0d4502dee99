"""A document that may not be touched fails alone; what would meet every document ends the run at once."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.images import COUNT, NAMES, Images
from metaferry.errors import Denied, Expired, NotFound, StorageError
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA, document_path
from metaferry.planning.formats import RunReport
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.azurite import AzureServer
from servers.datasource import FreshDatasource
from servers.steering import Steered

pytestmark = pytest.mark.servers

SERVERS = {"fast_s3": "fast_s3_server", "gcs": "gcs_server", "fast_azure": "fast_azure_server"}


@pytest.fixture(params=list(SERVERS))
def world(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, tmp_path: Path
) -> Iterator[Images]:
    url, options = fresh_datasource(request.param)
    server: Steered = request.getfixturevalue(SERVERS[request.param])
    yield Images(request.param, url, options, server, tmp_path)
    server.reset()


def only(*kinds: str) -> Any:
    return pytest.mark.parametrize("world", kinds, indirect=True)


HELD = "Object 'b/shots/007.json' is under active %s hold and cannot be deleted, overwritten or archived"
#: By store: what it answers for a document that is protected, and a word of the advice.
PROTECTED = [
    ("fast_s3", 400, "ObjectLocked", "no", "lock"),
    ("gcs", 403, "forbidden", HELD % "Temporary", "hold"),
    ("gcs", 403, "forbidden", HELD % "Event-Based", "hold"),
    ("gcs", 403, "retentionPolicyNotMet", "is subject to retention", "retention"),
    ("fast_azure", 412, "LeaseIdMissing", "no", "lease"),
    ("fast_azure", 409, "BlobImmutableDueToPolicy", "no", "immutability"),
    ("fast_azure", 409, "BlobArchived", "no", "restore"),
    ("fast_azure", 409, "InvalidBlobType", "no", "page blob"),
    # What could also be everybody's.
    ("fast_s3", 403, "AccessDenied", "no", "s3:PutObject"),
    ("gcs", 403, "forbidden", "no access", "storage.objects.create"),
    ("fast_azure", 403, "AuthorizationPermissionMismatch", "no", "blobs/write"),
    # What nobody knows yet is not tried for minutes.
    ("fast_s3", 409, "SomethingNew", "no", ""),
    ("gcs", 409, "conflict", "no", ""),
    ("fast_azure", 409, "SomethingNew", "no", ""),
]


@pytest.mark.parametrize(
    ("world", "status", "code", "message", "advice"),
    PROTECTED,
    indirect=["world"],
    ids=[f"{kind}-{code}-{advice}" for kind, _, code, _, advice in PROTECTED],
)
@pytest.mark.parametrize("transport", ["auto", "fsspec"])
def test_a_protected_document_fails_alone(
    world: Images, status: int, code: str, message: str, advice: str, transport: str
) -> None:
    target = document_path(NAMES[7])
    rule = world.refuse(target, status, code, message)
    report = world.sync(transport=transport)
    assert (report.exit_code, report.documents.create, report.documents.failed) == (3, COUNT - 1, 1)
    [failed] = [each for each in report.finding_examples if each.code == "document.failed"]
    assert failed.target == target
    assert advice in failed.advice
    assert world.server.used(rule) == 1, "it is not tried again"
    # Nothing stands in its place that schema.json would make wrong. What is not known may pass.
    schema = set() if code in ("SomethingNew", "conflict") else {SCHEMA}
    assert world.documents() == {document_path(name) for name in NAMES} - {target} | schema
    world.server.clear()
    report = world.sync()
    assert (report.exit_code, report.documents.create, report.documents.keep) == (0, 1, COUNT - 1)
    assert SCHEMA in world.documents()


HOLDS = {
    "fast_s3": (400, "ObjectLocked", "no"),
    "gcs": (403, "retentionPolicyNotMet", "no"),
    "fast_azure": (412, "LeaseIdMissing", "no"),
}


def _entry(kind: str) -> dict[str, Any]:
    return {"name": "n", "path": "n", "defaultValue": None, "valueDataType": kind}


@pytest.mark.parametrize("divided", [False, True], ids=["whole", "in shards"])
def test_schema_waits_for_a_protected_document_only_where_it_would_make_it_wrong(
    world: Images, tmp_path: Path, divided: bool
) -> None:
    assert world.sync(schema=[_entry("NUMERIC_INT")]).exit_code == 0
    target = document_path(NAMES[7])
    world.refuse(target, *HOLDS[world.kind])

    def sync(number: int, kind: str, expression: str) -> RunReport:
        world.value = number
        with world.table.open("w") as file:
            csv.writer(file).writerows([("file_name", "n"), *((name, number) for name in world.names)])
        mapping = {
            "input": world.url,
            "storage": {world.url.partition(":")[0]: world.options},
            "sources": [{"table": str(world.table), "file_name": "file_name", "metadata": {"n": expression}}],
            "schema": [_entry(kind)],
            "retry_for": 20,
        }
        job = Job.from_mapping(mapping)
        if not divided:
            return metaferry.sync(job)
        plan = str(tmp_path / f"plan-{number}")
        assert metaferry.plan(job, out=plan, shards=2).stopped == ""
        for index in range(2):
            metaferry.sync(job, plan=plan, shard_index=index, num_shards=2)
        return metaferry.finish(plan, job=job)

    report = sync(2, "CATEGORICAL_STRING", "n::VARCHAR")
    assert (report.exit_code, report.documents.failed, report.schema.written) == (3, 1, False)
    assert report.findings["schema.misfit"] == 1
    report = sync(3, "NUMERIC_FLOAT", "n")
    assert (report.exit_code, report.documents.failed, report.schema.written) == (3, 1, True)
    assert "schema.misfit" not in report.findings


def test_a_protected_orphan_stays_alone(world: Images) -> None:
    status, code, message = {
        "fast_s3": (403, "AccessDenied", "no"),
        "gcs": (403, "retentionPolicyNotMet", "no"),
        "fast_azure": (412, "LeaseIdMissing", "no"),
    }[world.kind]
    assert world.sync().exit_code == 0
    gone = NAMES[:4]
    world.names = NAMES[4:]
    world.refuse(document_path(NAMES[2]), status, code, message, method="DELETE")
    report = world.sync(policy={"delete": "orphans"})
    assert (report.exit_code, report.documents.delete, report.findings["document.failed"]) == (3, 3, 1)
    left = {document_path(name) for name in gone} & world.documents()
    assert left == {document_path(NAMES[2])}


def test_a_protected_schema_fails_alone(world: Images) -> None:
    status, code, message = {
        "fast_s3": (403, "AccessDenied", "no"),
        "gcs": (403, "forbidden", HELD % "Temporary"),
        "fast_azure": (409, "BlobImmutableDueToPolicy", "no"),
    }[world.kind]
    world.refuse(SCHEMA, status, code, message)
    report = world.sync()
    assert (report.exit_code, report.documents.create, report.schema.written) == (3, COUNT, False)
    assert report.findings["document.failed"] == 1
    world.server.clear()
    assert world.sync().exit_code == 0
    assert SCHEMA in world.documents()


#: By store: what stops everybody, and what it is.
FOR_ALL: list[tuple[str, int, str, type[StorageError]]] = [
    ("fast_s3", 403, "InvalidAccessKeyId", Denied),
    ("fast_s3", 403, "RequestTimeTooSkewed", Expired),
    ("fast_s3", 400, "ExpiredToken", Expired),
    ("fast_s3", 404, "NoSuchBucket", NotFound),
    ("gcs", 401, "authError", Expired),
    ("fast_azure", 403, "AuthenticationFailed", Denied),
    ("fast_azure", 404, "ContainerNotFound", NotFound),
    ("fast_azure", 409, "ContainerBeingDeleted", NotFound),
]


@pytest.mark.parametrize(
    ("world", "status", "code", "kind"),
    FOR_ALL,
    indirect=["world"],
    ids=[f"{store}-{code}" for store, _, code, _ in FOR_ALL],
)
def test_what_concerns_everybody_ends_the_run_at_once(
    world: Images, status: int, code: str, kind: type[StorageError]
) -> None:
    rule = world.refuse(r"\.lightly/metadata/shots", status, code)
    with pytest.raises(kind) as caught:
        world.sync()
    assert caught.value.advice
    assert world.server.used(rule) <= 2, "once more with renewed credentials at most"
    assert world.documents() == set()


@only("fast_s3")
def test_a_policy_on_a_folder_stops_no_other_folder(world: Images) -> None:
    """The folder is the first of the plan, and holds half of it."""
    world.names = [f"a/{n:03d}.png" for n in range(300)] + [f"b/{n:03d}.png" for n in range(300)]
    world.server.seed(world.bucket, [world.prefix + name for name in world.names])
    world.refuse(r"\.lightly/metadata/a/", 403, "AccessDenied")
    report = world.sync()
    assert (report.exit_code, report.documents.create, report.documents.failed) == (3, 300, 300)
    written = {document_path(name) for name in world.names if name.startswith("b/")}
    assert world.documents() == {*written, SCHEMA}


def test_a_missing_right_is_told_after_a_few_documents(world: Images) -> None:
    code = {"fast_s3": "AccessDenied", "gcs": "forbidden", "fast_azure": "AuthorizationFailure"}[world.kind]
    rule = world.refuse(r"\.lightly/metadata/", 403, code)
    with pytest.raises(Denied) as caught:
        world.sync()
    assert "the credentials need" in caught.value.advice
    assert world.server.used(rule) <= 20
    assert world.documents() == set()


def test_a_leased_blob_as_the_vendors_own_server_has_it(
    fresh_datasource: FreshDatasource, azure_server: AzureServer, portal: Portal, tmp_path: Path
) -> None:
    from azure.storage.blob.aio import BlobServiceClient

    url, options = fresh_datasource("azure")
    container, _, prefix = url.partition("://")[2].partition("/")
    storage = open_storage(url, options)
    for name in NAMES[:6]:
        portal.run(storage.put(name, b"media"))
    portal.run(storage.put(document_path(NAMES[3]), b"{}"))
    portal.run(storage.close())

    async def lease() -> None:
        async with BlobServiceClient.from_connection_string(options["connection_string"]) as client:
            blob = client.get_blob_client(container, prefix + document_path(NAMES[3]))
            await blob.acquire_lease()

    asyncio.run(lease())
    table = tmp_path / "rows.csv"
    table.write_text("file_name,n\n" + "".join(f"{name},1\n" for name in NAMES[:6]))
    source = {"table": str(table), "file_name": "file_name"}
    report = metaferry.sync(Job.from_mapping({"input": url, "storage": {"az": options}, "sources": [source]}))
    assert (report.exit_code, report.documents.create, report.documents.failed) == (3, 5, 1)
    [failed] = [each for each in report.finding_examples if each.code == "document.failed"]
    assert failed.target == document_path(NAMES[3])
    assert "412 LeaseIdMissing" in failed.message
    assert "whoever holds it" in failed.advice


@only("fast_s3", "fast_azure")
def test_an_archived_video_is_one_finding(world: Images) -> None:
    status, code = {"fast_s3": (403, "InvalidObjectState"), "fast_azure": (409, "BlobArchived")}[world.kind]
    world.server.seed(world.bucket, [world.prefix + "cold.mp4"])
    rule = world.refuse(r"/cold\.mp4", status, code, method="GET")
    with world.table.open("w") as file:
        csv.writer(file).writerows([("file_name", "frame", "n"), ("cold.mp4", 0, 1), (NAMES[0], None, 1)])
    source = {"table": str(world.table), "file_name": "file_name", "frame": "frame"}
    report = world.sync_of(source, policy={"max_rejects": 1})
    assert (report.exit_code, report.documents.create) == (3, 1)
    assert report.findings["media.unproved"] == 2, "the video, and its row among the rejects"
    [unproved] = [each for each in report.finding_examples if each.media == "cold.mp4"]
    assert "the object is archived" in unproved.message
    assert world.server.used(rule) == 1
