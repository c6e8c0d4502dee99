"""What `metaferry policy` prints: enough for a whole life of a datasource, and nothing in it idle.

On S3 a server that enforces IAM policies says so: with every printed right taken away in turn, a run is
refused. For Google Cloud Storage and Azure it is `test_policies_enforced.py`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.rights import BUCKETS
from e2e.test_policies import Aws, change, job_of, whole_life
from e2e.world import World
from metaferry.errors import MetaferryError
from servers.ministack import make_bucket, ministack
from servers.proxy import proxy

pytestmark = pytest.mark.servers

POLICY = {"max_rejects": "100%", "unmatched": "report", "delete": "orphans", "max_delete": "100%"}


@pytest.fixture(scope="module")
def aws(portal: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with ministack(auth=True) as server:
        for bucket in BUCKETS:
            make_bucket(server.endpoint, server.key, server.secret, bucket)
        yield Aws(server, portal, tmp_path_factory.mktemp("aws"))


def printed(cloud: Any, **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = metaferry.policy(job_of(cloud, {}, **more), cloud=cloud).document
    return document


def life(aws: Aws, options: dict[str, Any]) -> None:
    """The whole life of a datasource, with a rollback of its first run in the end."""
    whole_life("aws", options, partial(change, "aws", aws.server.options, aws.portal))
    job = job_of("aws", options, policy=POLICY, backup="30d", keep_runs=1)
    change("aws", aws.server.options, aws.portal, b"city street", b"tunnel")
    ran = metaferry.sync(job)
    assert (ran.exit_code, ran.documents.update > 0) == (0, True)
    assert metaferry.rollback(job, ran.run_id, apply=True).exit_code == 0


def refusals(aws: Aws, run: Any) -> tuple[int, str]:
    """How many requests the server refused while it ran, and what ended it."""
    with proxy(aws.server.endpoint) as recorder:
        options = json.loads(json.dumps(aws.options).replace(aws.server.endpoint, recorder.endpoint))
        try:
            run(aws, options)
            ended = ""
        except (MetaferryError, AssertionError) as error:
            ended = str(error) or type(error).__name__
        return sum(each.status in (401, 403) for each in recorder.requests), ended


WHOLE = printed("aws", policy=POLICY, backup="30d")


def test_the_printed_policy_is_enough_for_everything(aws: Aws) -> None:
    aws.fresh()
    aws.allow(WHOLE)
    assert refusals(aws, life) == (0, "")


def without_each(policy: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The policy without one action on one resource, or one prefix of a listing, in turn."""
    for at, statement in enumerate(policy["Statement"]):
        prefixes = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", [])
        for action in statement["Action"]:
            for resource in statement["Resource"]:
                others = [
                    {**statement, "Sid": "OtherResources", "Resource": [each]}
                    for each in statement["Resource"]
                    if each != resource
                ]
                actions = [each for each in statement["Action"] if each != action]
                rest = [{**statement, "Action": actions, "Resource": [resource]}] if actions else []
                kept = [each for n, each in enumerate(policy["Statement"]) if n != at]
                for n, each in enumerate(made := [*copy.deepcopy(others), *rest]):
                    made[n] = {**each, "Sid": f"Rest{at}x{n}"}
                yield f"{action} on {resource}", {**policy, "Statement": [*kept, *made]}
        assert len(prefixes) <= 1


@pytest.mark.parametrize(
    ("right", "policy"), list(without_each(WHOLE)), ids=[r for r, _ in without_each(WHOLE)]
)
def test_without_any_one_right_a_run_is_refused(aws: Aws, right: str, policy: dict[str, Any]) -> None:
    aws.fresh()
    aws.allow(policy)
    refused, ended = refusals(aws, life)
    assert (refused > 0, ended != "") == (True, True), right


def images_only(cloud: str, options: dict[str, Any], **more: Any) -> metaferry.Job:
    """A job that deletes nothing and looks into no video."""
    job = job_of(cloud, options, **more)
    return job.model_copy(update={"sources": job.sources[:1]})


def test_a_job_that_deletes_nothing_gets_no_right_to_delete_documents(aws: Aws) -> None:
    policy = metaferry.policy(images_only("aws", {})).document
    text = json.dumps([each for each in policy["Statement"] if "s3:DeleteObject" in each["Action"]])
    assert ".metaferry/*" in text
    assert ".lightly" not in text
    assert "arn:aws:s3:::fleet/" not in json.dumps(policy)  # no media is read

    def run(_: Aws, options: dict[str, Any]) -> None:
        job = images_only("aws", options, policy={"max_rejects": "100%"}, keep_runs=1, verify="all")
        assert metaferry.sync(job).documents.create == 12
        change("aws", aws.server.options, aws.portal, b"city street", b"market")
        assert metaferry.sync(job).documents.update > 0

    aws.fresh()
    aws.allow(policy)
    assert refusals(aws, run) == (0, "")


# -- the command


def test_the_document_alone_is_on_stdout_and_the_reasons_beside_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.job = {"input": "s3://fleet/2026", "sources": [{"table": "labels.csv"}]}
    world.write_job()
    ran = world.run("policy", "job.yaml", "--cloud", "aws")
    assert ran.code == 0
    assert set(json.loads(ran.out)) == {"Version", "Statement"}
    assert "s3:PutObject on arn:aws:s3:::fleet/2026/.lightly/metadata/*: documents and schema.json" in ran.err
    assert f"not in this policy: {tmp_path}/labels.csv" in ran.err
    report = world.run("policy", "job.yaml", "--format", "json", "-q").report
    assert set(report) == {"cloud", "document", "rights", "other_locations"}
    assert report["document"] == json.loads(ran.out)
    wrong = world.run("policy", "job.yaml", "--cloud", "gcp")
    assert (wrong.code, "this job uses nothing of gcp" in wrong.err) == (2, True)
