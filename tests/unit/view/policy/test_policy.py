"""Which rights a job needs, from the job alone; and how each cloud has them written down."""

from __future__ import annotations

import json
from typing import Any

import pytest

import metaferry
from metaferry import Job
from metaferry.errors import UsageError
from metaferry.view.policy.accesses import Access, accesses_of
from metaferry.view.policy.azure import BLOBS, azure_policy


def a_job(**more: Any) -> Job:
    given = {"input": "s3://media/x", "lightly": "s3://out/y", "sources": [{"table": "s3://tables/t.csv"}]}
    return Job.from_mapping({**given, **more})


def what(job: Job) -> set[tuple[str, str, str | None, bool]]:
    return {(each.bucket, each.verb, each.prefix, each.exact) for each in accesses_of(job)[0]}


OUT = {
    ("tables", "list", "t.csv", True),
    ("tables", "read", "t.csv", True),
    ("out", "list", None, False),
    ("out", "read", "y/.lightly/metadata/", False),
    ("out", "write", "y/.lightly/metadata/", False),
    ("out", "read", "y/.metaferry/", False),
    ("out", "write", "y/.metaferry/", False),
    ("out", "delete", "y/.metaferry/", False),
}


def test_a_job_of_images_reads_no_media_and_deletes_no_document() -> None:
    assert what(a_job()) == OUT | {("media", "list", "x/", False)}


DELETE = ("out", "delete", "y/.lightly/metadata/", False)
READ = ("media", "read", "x/", False)


@pytest.mark.parametrize(
    ("more", "added"),
    [
        ({"policy": {"delete": "orphans"}}, {DELETE}),
        ({"backup": "30d"}, {DELETE}),
        ({"sources": [{"table": "s3://tables/t.csv", "frame": "f"}]}, {DELETE, READ}),
        (
            {"tables": {"t": "s3://tables/t.csv"}, "sources": [{"query": "SELECT a AS file_name FROM t"}]},
            {DELETE, READ},
        ),
        (
            {"sources": [{"table": "s3://tables/t.csv"}, {"object": {"tags": True}}]},
            {DELETE, READ, ("media", "tags", "x/", False)},
        ),
        ({"schema": "s3://tables/schema.json"}, {("tables", "read", "schema.json", True)}),
        (
            {"sources": [{"table": "s3://tables/t.csv"}, {"table": "s3://tables/a/b-*.csv"}]},
            {("tables", "list", "a/b-", False), ("tables", "read", "a/b-", False)},
        ),
    ],
)
def test_what_a_key_of_the_job_adds(more: dict[str, Any], added: set[Any]) -> None:
    assert what(a_job(**more)) == OUT | {("media", "list", "x/", False)} | added


def test_an_inventory_takes_the_place_of_the_listing() -> None:
    found = what(a_job(media={"inventory": "s3://reports/fleet"}))
    assert ("media", "list", "x/", False) not in found
    assert {("reports", "list", "fleet/", False), ("reports", "read", "fleet/", False)} <= found


def test_a_state_folder_elsewhere_has_rights_of_its_own() -> None:
    found = what(a_job(state="s3://state/z"))
    assert {each for each in found if each[0] == "state"} == {
        ("state", "list", None, False),
        *(("state", verb, "z/", False) for verb in ("read", "write", "delete")),
    }
    # Whether the store honours conditions is then found out with a key beside the documents.
    assert ("out", "delete", "y/.lightly/metadata/.metaferry-probe-", False) in found


def test_what_one_right_covers_is_not_said_twice() -> None:
    job = a_job(input="s3://out/y", sources=[{"table": "s3://out/y/t.csv", "frame": "f"}])
    found = what(job)
    assert {each for each in found if each[1] in ("list", "read")} == {
        ("out", "list", None, False),
        ("out", "read", "y/", False),
    }
    (reading,) = [each for each in accesses_of(job)[0] if each.verb == "read"]
    assert "frames of videos are counted; the tables; schema.json" in reading.why


def test_locations_of_other_stores_are_named() -> None:
    job = a_job(lightly="gs://out/y", sources=[{"table": "https://host/t.csv"}])
    for cloud, others in (("aws", ("gs://out", "https://host/t.csv")), ("gcp", ("s3://media",))):
        found = metaferry.policy(job, cloud=cloud)  # type: ignore[arg-type]
        assert found.other_locations[: len(others)] == others
    with pytest.raises(UsageError, match="this job uses aws and gcp") as caught:
        metaferry.policy(job)
    assert "--cloud aws" in caught.value.advice
    with pytest.raises(UsageError, match="uses nothing of azure") as caught:
        metaferry.policy(job, cloud="azure")
    assert "--cloud aws" in caught.value.advice


def test_a_local_job_needs_no_policy() -> None:
    job = Job.from_mapping({"input": "/data", "sources": [{"table": "/t.csv"}]})
    with pytest.raises(UsageError, match="uses none of aws, gcp and azure"):
        metaferry.policy(job)


def statements(**more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = metaferry.policy(a_job(**more), cloud="aws").document["Statement"]
    return found


@pytest.mark.parametrize(
    ("key", "resource", "condition"),
    [
        ("arn:aws:kms:eu-west-1:1:key/k", "arn:aws:kms:eu-west-1:1:key/k", None),
        ("k-1", "arn:aws:kms:*:*:key/k-1", None),
        ("alias/a", "*", {"StringEquals": {"kms:RequestAlias": "alias/a"}}),
        ("arn:aws:kms:eu-west-1:1:alias/a", "*", {"StringEquals": {"kms:RequestAlias": "alias/a"}}),
    ],
)
def test_a_key_of_kms_that_the_job_names(key: str, resource: str, condition: Any) -> None:
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    (statement,) = [
        each for each in statements(storage={"s3": {"s3_additional_kwargs": extra}}) if each["Sid"] == "Key"
    ]
    assert statement["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert statement["Resource"] == [resource]
    assert statement.get("Condition") == condition


def test_options_of_a_put_that_need_a_right_of_their_own() -> None:
    extra = {"ACL": "bucket-owner-full-control", "Tagging": "a=b", "ObjectLockMode": "GOVERNANCE"}
    found = statements(storage={"s3": {"s3_additional_kwargs": extra}})
    actions = {action for each in found for action in each["Action"]}
    assert {"s3:PutObjectAcl", "s3:PutObjectTagging", "s3:PutObjectRetention"} <= actions
    plain = {action for each in statements() for action in each["Action"]}
    assert plain == {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}


@pytest.mark.parametrize(("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-east-1", "aws-us-gov")])
def test_other_partitions_of_aws(region: str, partition: str) -> None:
    found = statements(storage={"s3": {"client_kwargs": {"region_name": region}}})
    assert {resource.split(":")[1] for each in found for resource in each["Resource"]} == {partition}


def test_characters_with_a_meaning_are_written_as_themselves() -> None:
    text = json.dumps(statements(input="s3://media/a*b?$c"))
    assert "a${*}b${?}${$}c/*" in text
    google = metaferry.policy(a_job(lightly='gs://out/a"b'), cloud="gcp").document
    expressions = [each["condition"]["expression"] for each in google["bindings"] if "condition" in each]
    assert expressions
    assert all(r'objects/a\"b/.metaferry/")' in each for each in expressions)
    with pytest.raises(UsageError, match="cannot hold the path"):
        metaferry.policy(a_job(lightly="az://out/a'b"), cloud="azure")


def test_a_listing_of_one_key_has_no_wildcard() -> None:
    (listing,) = [each for each in statements() if "arn:aws:s3:::tables" in each["Resource"]]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["t.csv"]}}


def test_an_access_point_has_a_policy_of_its_own() -> None:
    with pytest.raises(UsageError, match="is an access point"):
        metaferry.policy(a_job(input="s3://arn:aws:s3:eu-west-1:1:accesspoint"), cloud="aws")


def test_a_long_condition_of_google_is_taken_apart() -> None:
    sources = [{"table": f"gs://tables/{n:02}/t.csv"} for n in range(30)]
    job = a_job(input="gs://media/x", lightly="gs://out/y", sources=sources)
    document = metaferry.policy(job, cloud="gcp").document
    read = [each for each in document["bindings"] if each["bucket"] == "gs://tables"]
    assert [each["condition"]["expression"].count("||") for each in read] == [11, 11, 5] * 2


def test_the_account_of_azure_is_in_the_scope_where_the_job_names_it() -> None:
    def scopes(**more: Any) -> set[str]:
        job = a_job(
            input="az://media/x", lightly="az://out/y", sources=[{"table": "az://tables/t.csv"}], **more
        )
        return {each["scope"].split("/")[8] for each in metaferry.policy(job).document["assignments"]}

    assert scopes() == {"ACCOUNT"}
    assert scopes(storage={"az": {"account_name": "fleet"}}) == {"fleet"}


def test_a_right_to_tags_on_azure_is_one_on_the_media_alone() -> None:
    shared = [
        Access("azure", "media", "read", "", "frames"),
        Access("azure", "media", "tags", "", "tags"),
        Access("azure", "tables", "read", "", "the tables"),
    ]
    document, _ = azure_policy(shared)
    actions = {role["Name"]: role["DataActions"] for role in document["roles"].values()}
    of = {each["scope"].rpartition("/")[2]: actions[each["role"]] for each in document["assignments"]}
    assert f"{BLOBS}/tags/read" in of["media"]
    assert of["tables"] == [f"{BLOBS}/read"]


def test_roles_of_azure_with_one_name_have_the_same_rights() -> None:
    account = "fleet"

    def roles(*accesses: tuple[str, str, str]) -> dict[str, Any]:
        """The definitions by name, whose assignments each have the actions of their own container."""
        asked = [
            Access("azure", bucket, verb, prefix, "it", account=account) for bucket, verb, prefix in accesses
        ]
        document, rights = azure_policy(asked)
        for one in document["assignments"]:
            place = f"container {one['scope'].rpartition('/')[2]}"
            needed = {right.permission for right in rights if right.resource.split(",")[0] == place}
            assert set(document["roles"][one["role"]]["DataActions"]) == needed, place
        assert {name: role["Name"] for name, role in document["roles"].items()} == {
            name: name for name in document["roles"]
        }
        return document["roles"]

    first = roles(
        ("media", "read", ""), ("out", "write", "a/"), ("state", "write", "s/"), ("state", "delete", "s/")
    )
    assert len(first) == 3, "a right that one container needs is not given on another"
    second = roles(("out", "write", "b/"), ("out", "delete", "b/"))
    assert not first.keys() & second.keys(), "a second job with other rights on a container of the first"
    assert (
        roles(("out", "write", "c/"))["metaferry write on fleet/out"] == first["metaferry write on fleet/out"]
    )
    account = "lab"
    assert not first.keys() & roles(("media", "read", "")).keys(), "a container of the same name elsewhere"


def test_no_secret_of_a_job_is_in_it() -> None:
    secret = "canary-secret-0815"
    job = a_job(
        storage={"s3": {"key": "k", "secret": secret}}, sources=[{"table": f"https://u:{secret}@h/t.csv"}]
    )
    assert secret not in json.dumps(metaferry.policy(job).to_dict())


def test_tags_have_a_right_of_their_own_where_a_job_asks_for_them() -> None:
    def permissions(scheme: str, **asked: bool) -> set[str]:
        job = Job.from_mapping(
            {"input": f"{scheme}://media/x", "lightly": f"{scheme}://out/y", "sources": [{"object": asked}]}
        )
        return {right.permission for right in metaferry.policy(job).rights}

    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    for scheme, right in (("s3", "s3:GetObjectTagging"), ("az", f"{blobs}/tags/read"), ("gs", "")):
        plain = permissions(scheme)
        assert permissions(scheme, headers=True) == plain
        assert permissions(scheme, tags=True) - plain == ({right} if right else set())
    job = Job.from_mapping(
        {"input": "az://media/x", "lightly": "out", "sources": [{"object": {"tags": True}}]}
    )
    role = metaferry.policy(job).document["roles"]["metaferry read, tags/read on ACCOUNT/media"]
    assert role["DataActions"] == [f"{blobs}/read", f"{blobs}/tags/read"]
    assert "writes" not in role["Description"]
