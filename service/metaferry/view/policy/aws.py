"""A policy of AWS IAM. Pure.

Actions and their resources: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html;
keys of KMS: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from metaferry.errors import UsageError
from metaferry.view.policy.accesses import Access
from metaferry.view.policy.model import Right

_ACTIONS: Final = {
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
    "tags": "s3:GetObjectTagging",
}
#: What a put needs beyond s3:PutObject, by the option of `s3_additional_kwargs` that asks for it.
_WITH: Final = {
    "ACL": "s3:PutObjectAcl",
    "GrantFullControl": "s3:PutObjectAcl",
    "GrantRead": "s3:PutObjectAcl",
    "GrantReadACP": "s3:PutObjectAcl",
    "GrantWriteACP": "s3:PutObjectAcl",
    "Tagging": "s3:PutObjectTagging",
    "ObjectLockMode": "s3:PutObjectRetention",
    "ObjectLockRetainUntilDate": "s3:PutObjectRetention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold",
}


def aws_policy(
    accesses: Sequence[Access], options: Mapping[str, Any], reading: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[Right]]:
    """The policy, and its rights one by one. `options` are s3fs's of what is written, `reading` of all."""
    partition = _partition([options, *reading])
    rights = [*_listings(accesses, partition), *_objects(accesses, options, partition)]
    statements = [*_list_statements(rights, accesses), *_object_statements(rights)]
    keys, key_condition = _keys(options, partition)
    for action, why in (("kms:GenerateDataKey", "documents are encrypted"), ("kms:Decrypt", "and read")):
        rights += [Right(action, key, f"{why} with this key") for key in keys]
    if keys:
        statement = {"Sid": "Key", "Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"]}
        statements.append({**statement, "Resource": keys, **key_condition})
    return {"Version": "2012-10-17", "Statement": statements}, rights


def _listings(accesses: Sequence[Access], partition: str) -> Iterator[Right]:
    for each in accesses:
        if each.verb == "list":
            resource = _bucket(each, partition)
            yield Right("s3:ListBucket", resource + each.below, each.why)


def _objects(accesses: Sequence[Access], options: Mapping[str, Any], partition: str) -> Iterator[Right]:
    extra = options.get("s3_additional_kwargs") or {}
    for each in accesses:
        if each.verb == "list":
            continue
        key = _escaped(each.prefix or "") + ("" if each.exact else "*")
        resource = f"{_bucket(each, partition)}/{key}"
        yield Right(_ACTIONS[each.verb], resource, each.why)
        if each.verb == "write":
            more = {action: name for name, action in _WITH.items() if extra.get(name) is not None}
            for action, name in more.items():
                yield Right(action, resource, f"the option {name}")


def _list_statements(rights: Sequence[Right], accesses: Sequence[Access]) -> Iterator[dict[str, Any]]:
    """One statement a bucket: with the prefixes that may be listed, or without any condition."""
    patterns: dict[str, list[str]] = {}
    resources: dict[str, str] = {}
    listings = [each for each in accesses if each.verb == "list"]
    for right, each in zip((r for r in rights if r.permission == "s3:ListBucket"), listings, strict=True):
        resources[each.bucket] = right.resource.partition(" ")[0]
        pattern = _escaped(each.prefix or "") + ("" if each.exact else "*")
        patterns.setdefault(each.bucket, []).append(pattern)
    for number, (bucket, below) in enumerate(patterns.items(), 1):
        statement: dict[str, Any] = {
            "Sid": f"List{number}",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [resources[bucket]],
        }
        if "*" not in below:
            statement["Condition"] = {"StringLike": {"s3:prefix": below}}
        yield statement


def _object_statements(rights: Sequence[Right]) -> Iterator[dict[str, Any]]:
    """One statement for all resources that the same actions are allowed on."""
    actions: dict[str, list[str]] = {}
    for right in rights:
        if right.permission != "s3:ListBucket":
            actions.setdefault(right.resource, []).append(right.permission)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for resource, allowed in actions.items():
        grouped.setdefault(tuple(dict.fromkeys(allowed)), []).append(resource)
    for number, (allowed_here, resources) in enumerate(grouped.items(), 1):
        yield {
            "Sid": f"Objects{number}",
            "Effect": "Allow",
            "Action": list(allowed_here),
            "Resource": resources,
        }


def _keys(options: Mapping[str, Any], partition: str) -> tuple[list[str], dict[str, Any]]:
    """The KMS key that the options name, as a resource, and the condition for an alias."""
    extra = options.get("s3_additional_kwargs") or {}
    key = extra.get("SSEKMSKeyId")
    if not isinstance(key, str) or not key:
        return [], {}
    alias = key.rpartition(":")[2] if key.startswith("arn:") else key
    if alias.startswith("alias/"):
        return ["*"], {"Condition": {"StringEquals": {"kms:RequestAlias": alias}}}
    return [key if key.startswith("arn:") else f"arn:{partition}:kms:*:*:key/{key}"], {}


def _bucket(each: Access, partition: str) -> str:
    if each.bucket.startswith("arn:"):
        raise UsageError(
            f"s3://{each.bucket} is an access point, which has a policy of its own",
            advice="name the bucket: the rights on it are the same",
        )
    return f"arn:{partition}:s3:::{each.bucket}"


def _partition(options: Sequence[Mapping[str, Any]]) -> str:
    for each in options:
        region = str((each.get("client_kwargs") or {}).get("region_name") or "")
        if region.startswith("cn-"):
            return "aws-cn"
        if region.startswith("us-gov-"):
            return "aws-us-gov"
    return "aws"


def _escaped(key: str) -> str:
    """A key in a pattern of IAM, where three characters have a meaning of their own."""
    return re.sub(r"[*?$]", lambda found: f"${{{found[0]}}}", key)
