"""The least rights in deploy/policies: enough for everything metaferry does, and nothing in them idle.

Here on S3, by a server that enforces IAM policies. For Google Cloud Storage and Azure it is
`test_policies_enforced.py`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

import metaferry
from e2e.rights import (
    BELOW,
    BUCKETS,
    OUTPUT,
    POLICIES,
    Grant,
    Need,
    azure_grants,
    gcs_grants,
    s3_grants,
    s3_needs,
)
from metaferry.demo import make_dataset
from metaferry.errors import Denied
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.ministack import S3Server, make_bucket, ministack
from servers.proxy import proxy

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]

SCHEMES = {"aws": "s3", "gcp": "gs", "azure": "az"}


def job_of(cloud: str, options: dict[str, Any], **more: Any) -> metaferry.Job:
    return metaferry.Job.from_mapping(job_file(cloud, options, **more))


def job_file(cloud: str, options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The job file of an overlay, on an emulator, with sources for images and for frames."""
    mapping = yaml.safe_load((ROOT / f"deploy/kustomize/overlays/{cloud}/cloud/job.yaml").read_text())
    scheme = mapping["input"].partition("://")[0]
    mapping["storage"] = {scheme: options}
    images, frames = dict(mapping["sources"][0]), dict(mapping["sources"][0])
    images["table"] = images["table"].replace("*.parquet", "images.csv")
    frames |= {"file_name": "video", "frame": "frame_idx"}
    return {**mapping, "sources": [images, frames], **more}


def seed(cloud: str, options: dict[str, Any], folder: Path, portal: Portal) -> None:
    """Twelve images and a short video with their tables, as whoever owns the buckets puts them there."""
    dataset = make_dataset(folder / "demo")
    frames = folder / "frames.parquet"
    shutil.copy(dataset.frames_table, frames)
    scheme = SCHEMES[cloud]
    files = {
        f"fleet/2026/{path.relative_to(dataset.media).as_posix()}": path for path in media_of(dataset.media)
    }
    files |= {"warehouse/labels/images.csv": dataset.images_table, "warehouse/labels/frames.parquet": frames}
    for bucket in BUCKETS:
        storage = open_storage(f"{scheme}://{bucket}", options)
        for name, path in files.items():
            if name.startswith(f"{bucket}/"):
                portal.run(storage.put(name.partition("/")[2], path.read_bytes()))
        portal.run(storage.close())


def media_of(media: Path) -> list[Path]:
    return [*sorted((media / "images").rglob("*.png")), media / "videos/rear/2026-05-14_0930.webm"]


def whole_life(cloud: str, options: dict[str, Any], change: Callable[[bytes, bytes], None]) -> None:
    """Everything that metaferry does to a datasource, once."""
    policy = {"max_rejects": "100%", "unmatched": "report", "delete": "orphans", "max_delete": "100%"}
    job = job_of(cloud, options, policy=policy)
    first = metaferry.sync(job)
    assert (first.exit_code, first.documents.create) == (0, 12 + 9)
    again = metaferry.sync(job)
    assert (again.changes, again.documents.keep) == (0, 12 + 9)

    change(b"city street", b"market")
    # At a URL of the manifests first, which is made again where it lies by default.
    assert metaferry.plan(job, out=manifest_plan(cloud), shards=2).shards == 2
    assert metaferry.plan(job, out=manifest_plan(cloud), shards=2).shards == 2
    kept = metaferry.plan(job, keep=True, shards=2)
    assert kept.shards == 2
    plan = kept.report_url
    for index in range(2):
        assert metaferry.sync(job, plan=plan, shard_index=index, num_shards=2).exit_code == 0
    finished = metaferry.finish(plan, job=job)
    assert finished.exit_code == 0
    assert finished.documents.update > 0
    assert finished.documents.delete == 1

    # The reports of all runs before it go, and the ledger becomes one piece.
    change(b"market", b"city street")
    last = metaferry.sync(job_of(cloud, options, policy=policy, keep_runs=1, verify="all"))
    assert (last.exit_code, last.documents.update) == (0, finished.documents.update)
    metaferry.unlock(job)


# -- S3, where the server enforces it


@dataclass
class Aws:
    """A server with the three buckets, the role's keys, and the policy in force."""

    server: S3Server
    portal: Portal
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        import botocore.config
        import botocore.session

        return botocore.session.get_session().create_client(
            service,
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.server.key,
            aws_secret_access_key=self.server.secret,
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def allow(self, policy: dict[str, Any]) -> None:
        """What the role may do from now on."""
        iam = self.client("iam")
        try:
            if not self.keys:
                iam.create_user(UserName="metaferry")
                key = iam.create_access_key(UserName="metaferry")["AccessKey"]
                self.keys = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
            iam.put_user_policy(UserName="metaferry", PolicyName="p", PolicyDocument=json.dumps(policy))
        finally:
            iam.close()

    @property
    def options(self) -> dict[str, Any]:
        return {**self.server.options, **self.keys}

    def fresh(self) -> None:
        """The buckets as they were before the first run."""
        s3 = self.client("s3")
        try:
            for bucket in BUCKETS:
                pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
                for key in [entry["Key"] for page in pages for entry in page.get("Contents", ())]:
                    s3.delete_object(Bucket=bucket, Key=key)
        finally:
            s3.close()
        seed("aws", self.server.options, self.folder, self.portal)


@pytest.fixture(scope="module")
def aws(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with ministack(auth=True) as server:
        for bucket in BUCKETS:
            make_bucket(server.endpoint, server.key, server.secret, bucket)
        yield Aws(server, portal, tmp_path_factory.mktemp("aws"))


POLICY: dict[str, Any] = json.loads((POLICIES / "aws/policy.json").read_text())


@pytest.mark.parametrize(
    ("url", "operation"),
    [
        ("s3://fleet", "write"),
        ("s3://fleet", "delete"),
        ("s3://fleet-lightly", "write"),
        ("s3://fleet-lightly", "read"),
        ("s3://fleet-lightly", "delete"),
        ("s3://warehouse", "read"),
        ("s3://warehouse", "list"),
    ],
)
def test_the_policy_allows_nothing_else(aws: Aws, url: str, operation: str) -> None:
    aws.allow(POLICY)
    storage = open_storage(url, aws.options, retry_for=0)
    work = {
        "read": lambda: storage.read("2026/.lightly/other.json"),
        "write": lambda: storage.put("2026/images/harz/cam_front_0001.png", b"x"),
        "delete": lambda: storage.delete("2026/images/harz/cam_front_0001.png"),
        "list": lambda: first_page(storage),
    }
    with pytest.raises(Denied):
        aws.portal.run(work[operation]())
    aws.portal.run(storage.close())


async def first_page(storage: Any) -> None:
    async for _ in storage.list("other/"):
        return


@pytest.mark.parametrize("sid", [statement["Sid"] for statement in POLICY["Statement"]])
def test_without_a_statement_nothing_is_written(aws: Aws, sid: str) -> None:
    kept = [statement for statement in POLICY["Statement"] if statement["Sid"] != sid]
    aws.fresh()
    aws.allow({**POLICY, "Statement": kept})
    with pytest.raises(Denied):
        metaferry.sync(job_of("aws", aws.options))
    assert documents_in("aws", aws.server.options, aws.portal) == 0


# -- what was asked for, held against the file


@dataclass(frozen=True)
class Asked:
    grants: list[Grant]
    needs: list[Need]


@pytest.fixture(scope="module")
def asked(aws: Aws, portal: Portal) -> Asked:
    """What the policy grants, and what the requests of a whole life under it needed."""
    aws.fresh()
    aws.allow(POLICY)
    with proxy(aws.server.endpoint) as recorder:
        recorded = json.loads(json.dumps(aws.options).replace(aws.server.endpoint, recorder.endpoint))
        whole_life("aws", recorded, partial(change, "aws", aws.server.options, portal))
        assert recorder.count() > 0
        assert [each for each in recorder.requests if each.status in (401, 403)] == []
        return Asked(
            list(s3_grants(POLICY)), list(s3_needs([each for each in recorder.requests if each.done]))
        )


def test_every_request_is_allowed(asked: Asked) -> None:
    refused = {need for need in asked.needs if not any(grant.allows(need) for grant in asked.grants)}
    assert refused == set()
    assert len(asked.needs) > 50


def test_every_grant_is_needed(asked: Asked) -> None:
    """Each of them is the only one that allows some request."""
    idle = [
        grant
        for grant in asked.grants
        if not any(
            grant.allows(need) and not any(other.allows(need) for other in asked.grants if other != grant)
            for need in asked.needs
        )
    ]
    assert idle == []


@pytest.mark.parametrize(
    "grants",
    [s3_grants(POLICY), gcs_grants(POLICIES / "gcp"), azure_grants(POLICIES / "azure")],
    ids=["aws", "gcp", "azure"],
)
def test_nothing_but_documents_and_state_may_be_changed(grants: Iterator[Grant]) -> None:
    reads = re.compile(r"s3:(List|Get)|storage\.objects\.(list|get)|.*/read")
    writing = [grant for grant in grants if not reads.match(grant.permission)]
    assert {(grant.bucket, grant.prefix) for grant in writing} == {(OUTPUT, prefix) for prefix in BELOW}


def test_every_plan_that_is_documented_lies_where_it_may() -> None:
    """Those of the docs, the manifests and the DAGs, all of which are about these buckets."""
    texts = [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").rglob("*.yaml"),
        *(ROOT / "service/metaferry/airflow/example_dags").glob("*.py"),
        ROOT / "README.md",
    ]
    below = tuple(f"{OUTPUT}/{prefix}" for prefix in BELOW)
    found = [
        (path.name, url)
        for path in texts
        for url in re.findall(r"[a-z0-9]+://(\S*plans?/\S*)", path.read_text())
    ]
    assert len(found) >= len(SCHEMES)
    assert [each for each in found if not each[1].startswith(below)] == []


# -- helpers


def manifest_plan(cloud: str) -> str:
    """Where the backfill of an overlay keeps its plan."""
    overlay = ROOT / f"deploy/kustomize/overlays/{cloud}/backfill/kustomization.yaml"
    (generator,) = yaml.safe_load(overlay.read_text())["configMapGenerator"]
    given = dict(literal.split("=", 1) for literal in generator["literals"])
    return given["PLAN_URL"]


def change(cloud: str, options: dict[str, Any], portal: Portal, before: bytes, after: bytes) -> None:
    """One image is gone, and some rows say something else."""
    scheme = SCHEMES[cloud]
    media, tables = (open_storage(f"{scheme}://{bucket}", options) for bucket in ("fleet", "warehouse"))
    portal.run(media.delete("2026/images/harz/cam_front_0001.png"))
    table = portal.run(tables.read("labels/images.csv")).data
    portal.run(tables.put("labels/images.csv", table.replace(before, after)))
    for storage in (media, tables):
        portal.run(storage.close())


def documents_in(cloud: str, options: dict[str, Any], portal: Portal) -> int:
    storage = open_storage(f"{SCHEMES[cloud]}://{OUTPUT}", options)
    found = sum(len(page) for page in portal.iterate(storage.list("2026/.lightly/")))
    portal.run(storage.close())
    return found


# -- doctor, under the policy of the files


def test_doctor_is_content_with_the_policy_and_leaves_nothing(aws: Aws) -> None:
    aws.fresh()
    aws.allow(POLICY)
    found = metaferry.doctor(job_of("aws", aws.options))
    assert [(check.name, check.measured) for check in found.checks if check.status == "fail"] == []
    shown = {check.name: check for check in found.checks}
    assert "s3:GetBucketVersioning" in shown["versioning"].measured
    assert documents_in("aws", aws.server.options, aws.portal) == 0


@pytest.mark.parametrize("action", ["s3:PutObject", "s3:DeleteObject"])
def test_doctor_names_the_action_that_the_policy_lacks(aws: Aws, action: str) -> None:
    statements = [
        {**each, "Action": [name for name in each["Action"] if name != action]}
        if isinstance(each["Action"], list)
        else each
        for each in POLICY["Statement"]
    ]
    aws.fresh()
    aws.allow({**POLICY, "Statement": statements})
    found = metaferry.doctor(job_of("aws", aws.options))
    failed = [check.remedy for check in found.checks if check.status == "fail"]
    assert failed
    assert all(f"grant {action} on arn:aws:s3:::fleet-lightly/2026/" in remedy for remedy in failed)
