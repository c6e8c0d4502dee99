"""The least rights as docs/storage.md writes them: one bucket for all, on a server that enforces them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.rights import POLICIES, gcs_grants
from metaferry import Job
from metaferry.errors import Denied
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.ministack import S3Server, make_bucket, ministack

TEXT = (Path(__file__).parents[2] / "docs/storage.md").read_text()


def documented() -> dict[str, Any]:
    (block,) = [each for each in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL) if "Statement" in each]
    policy: dict[str, Any] = json.loads(block)
    return policy


class Bucket:
    """The bucket of the policy on a server, with four images, a table, and the keys that it is about."""

    def __init__(self, server: S3Server, portal: Portal) -> None:
        self.server, self.portal, self.keys = server, portal, dict[str, str]()
        make_bucket(server.endpoint, server.key, server.secret, "fleet")

    def put(self, key: str, data: bytes) -> None:
        storage = open_storage("s3://fleet", self.server.options)
        self.portal.run(storage.put(key, data))
        self.portal.run(storage.close())

    def label(self, scene: str) -> None:
        rows = "".join(f"images/{name}.png,{scene}\n" for name in "abcd")
        self.put("2026/labels.csv", f"name,scene\n{rows}".encode())

    def allow(self, policy: dict[str, Any]) -> None:
        import botocore.config
        import botocore.session

        iam = botocore.session.get_session().create_client(
            "iam",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.server.key,
            aws_secret_access_key=self.server.secret,
            config=botocore.config.Config(proxies={}),
        )
        try:
            if not self.keys:
                iam.create_user(UserName="metaferry")
                key = iam.create_access_key(UserName="metaferry")["AccessKey"]
                self.keys = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
            iam.put_user_policy(UserName="metaferry", PolicyName="p", PolicyDocument=json.dumps(policy))
        finally:
            iam.close()

    def job(self, **more: Any) -> Job:
        return Job.from_mapping(
            {
                "input": "s3://fleet/2026",
                "sources": [{"table": "s3://fleet/2026/labels.csv", "file_name": "name"}],
                "storage": {"s3": {**self.server.options, **self.keys}},
                **more,
            }
        )


@pytest.fixture(scope="module")
def bucket(portal: Portal) -> Iterator[Bucket]:
    with ministack(auth=True) as server:
        found = Bucket(server, portal)
        for name in "abcd":
            found.put(f"2026/images/{name}.png", b"any bytes")
        found.label("city")
        found.allow(documented())
        yield found


@pytest.mark.servers
def test_the_documented_policy_is_enough_for_everything(bucket: Bucket) -> None:
    job = bucket.job(backup={"keep": "30d"}, keep_runs=1)
    assert metaferry.sync(job).documents.create == 4
    bucket.label("market")
    plan = metaferry.plan(job, keep=True, shards=2).report_url
    for index in range(2):
        assert metaferry.sync(job, plan=plan, shard_index=index, num_shards=2).exit_code == 0
    finished = metaferry.finish(plan, job=job)
    assert (finished.exit_code, finished.documents.update) == (0, 4)
    assert metaferry.rollback(job, finished.run_id, apply=True).exit_code == 0
    metaferry.unlock(job)


@pytest.mark.servers
def test_a_plan_beside_the_state_folder_is_denied(bucket: Bucket) -> None:
    with pytest.raises(Denied, match="s3://fleet"):
        metaferry.plan(bucket.job(), out="s3://fleet/plans/1")


@pytest.mark.servers
@pytest.mark.parametrize("folder", ["2026/.lightly/metadata/*", "2026/.metaferry/*"])
def test_each_folder_of_the_policy_is_needed(bucket: Bucket, folder: str) -> None:
    policy = documented()
    for statement in policy["Statement"]:
        if isinstance(statement["Resource"], list):
            statement["Resource"] = [each for each in statement["Resource"] if not each.endswith(folder)]
    bucket.label("tunnel")
    bucket.allow(policy)
    try:
        with pytest.raises(Denied):
            metaferry.sync(bucket.job())
    finally:
        bucket.allow(documented())


def test_the_rights_of_google_and_azure_are_those_of_the_files() -> None:
    google, azure = (
        re.search(rf"## {name}\n(.*?)\n## ", TEXT, re.DOTALL)
        for name in ("Google Cloud Storage", "Azure Blob Storage")
    )
    assert google
    assert azure
    rights = {grant.permission for grant in gcs_grants(POLICIES / "gcp")}
    assert rights == set(re.findall(r"`(storage\.objects\.\w+)`", google[1]))
    actions = json.loads((POLICIES / "azure/role.json").read_text())["DataActions"]
    named = {f"containers/blobs/{action.rpartition('/')[2]}" for action in actions}
    assert named == set(re.findall(r"`(containers/blobs/\w+)`", azure[1]))
