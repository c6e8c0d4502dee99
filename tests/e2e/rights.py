"""The rights that a policy file grants, and those that requests need, in one form for three clouds.

A grant is a permission on the objects of one bucket below a prefix. For a listing, `prefix` None is
one without any condition. Only what the files in deploy/policies and `metaferry policy` use is understood:
anything else is a ValueError, so that a policy is never taken for less than it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml

from servers.proxy import Request

POLICIES = Path(__file__).parents[2] / "deploy/policies"

#: Where the policies say that metaferry may write.
OUTPUT = "fleet-lightly"
BELOW = ("2026/.lightly/metadata/", "2026/.metaferry/")
BUCKETS = ("fleet", "warehouse", OUTPUT)


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """What one request asks for. `key` is the object, or the prefix that is listed; None is no prefix."""

    permission: str
    bucket: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Grant:
    """`prefix` "" is every key; None (of a listing) also holds where the request names no prefix.

    `exact`: only the key, or the listing, that is `prefix` itself.
    """

    permission: str
    bucket: str
    prefix: str | None
    exact: bool = False

    def allows(self, need: Need) -> bool:
        if (self.permission, self.bucket) != (need.permission, need.bucket):
            return False
        if self.exact:
            return need.key == self.prefix
        return self.prefix is None or (need.key is not None and need.key.startswith(self.prefix))


# -- S3


def s3_grants(policy: dict[str, Any]) -> Iterator[Grant]:
    for statement in policy["Statement"]:
        if (
            set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}
            or statement["Effect"] != "Allow"
        ):
            raise ValueError(f"not understood: {statement}")
        prefixes = _s3_prefixes(statement.get("Condition", {}))
        for action in _many(statement["Action"]):
            for resource in _many(statement["Resource"]):
                bucket, slash, pattern = resource.removeprefix("arn:aws:s3:::").partition("/")
                if bool(slash) == (action == "s3:ListBucket"):
                    raise ValueError(f"{action} is not a right on {resource}")
                for prefix in [_start(pattern)] if slash else prefixes:
                    yield Grant(action, bucket, prefix)


def _s3_prefixes(condition: dict[str, Any]) -> list[str | None]:
    match condition:
        case {} if not condition:
            return [None]
        case {"StringLike": {"s3:prefix": patterns, **rest}, **others} if not rest and not others:
            return [_start(pattern) for pattern in _many(patterns)]
    raise ValueError(f"not understood: {condition}")


def s3_needs(requests: Iterable[Request]) -> Iterator[Need]:
    """S3 answers 404 only to those who may list the bucket, without a prefix to judge by; 403 to others."""
    actions = {
        "GET": "s3:GetObject",
        "HEAD": "s3:GetObject",
        "PUT": "s3:PutObject",
        "DELETE": "s3:DeleteObject",
    }
    for request in requests:
        path, _, query = request.key.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        if key:
            yield Need(actions[request.method], bucket, key)
            if request.status == 404:
                yield Need("s3:ListBucket", bucket, None)
        elif request.method == "GET" and "list-type=2" in query:
            yield Need("s3:ListBucket", bucket, parse_qs(query).get("prefix", [None])[0])
        else:
            raise ValueError(f"not understood: {request}")


# -- Google Cloud Storage


def gcs_grants(folder: Path) -> Iterator[Grant]:
    reader, writer, condition = (
        yaml.safe_load((folder / name).read_text())
        for name in ("reader.yaml", "writer.yaml", "writer-condition.yaml")
    )
    for permission in reader["includedPermissions"]:
        for bucket in BUCKETS:
            yield Grant(permission, bucket, None)
    for term in condition["expression"].split(" || "):
        match = re.fullmatch(
            r'resource\.name\.startsWith\("projects/_/buckets/([^/"]+)/objects/([^"]+)"\)', term
        )
        if match is None:
            raise ValueError(f"not understood: {term}")
        for permission in writer["includedPermissions"]:
            yield Grant(permission, match[1], match[2])


def printed_gcs_grants(document: dict[str, Any]) -> Iterator[Grant]:
    """Those of what `metaferry policy --cloud gcp` prints."""
    form = r'(\.startsWith\(| == )"{}([^"\\]*)"\)?'
    listed = r'api\.getAttribute\("storage\.googleapis\.com/objectListPrefix", ""\)' + form.format("")
    for binding in document["bindings"]:
        bucket = binding["bucket"].removeprefix("gs://")
        named = r"resource\.name" + form.format(f"projects/_/buckets/{bucket}/objects/")
        for permission in document["roles"][binding["role"]]["includedPermissions"]:
            if "condition" not in binding:
                yield Grant(permission, bucket, None)
                continue
            for term in binding["condition"]["expression"].split(" || "):
                match = re.fullmatch(listed if permission == "storage.objects.list" else named, term)
                if match is None:
                    raise ValueError(f"not understood, for {permission}: {term}")
                yield Grant(permission, bucket, match[2], match[1] == " == ")


def gcs_needs(method: str, target: str, exists: Callable[[str, str], bool]) -> Iterator[Need]:
    """To replace an object is to create and to delete one; and it is missing only for those who may list.

    Google documents the latter for reads; deletes are taken to be alike, which asks for more.
    `exists` says whether a bucket has a key.
    """
    path, _, query = target.partition("?")
    if (match := re.fullmatch(r"/storage/v1/b/([^/]+)", path)) and method == "GET":
        yield Need("storage.buckets.get", match[1], None)
        return
    match = re.fullmatch(r"/(upload/|download/)?storage/v1/b/([^/]+)/o(?:/(.+))?", path)
    if match is None or method not in ("GET", "POST", "DELETE"):
        raise ValueError(f"not understood: {method} {target}")
    bucket, key = match[2], match[3]
    if key is None:
        yield Need("storage.objects.list", bucket, parse_qs(query).get("prefix", [""])[0])
    elif method == "POST":
        yield Need("storage.objects.create", bucket, key)
        if exists(bucket, key):
            yield Need("storage.objects.delete", bucket, key)
    else:
        yield Need("storage.objects.delete" if method == "DELETE" else "storage.objects.get", bucket, key)
        if not exists(bucket, key):
            yield Need("storage.objects.list", bucket, "")


# -- Azure Blob Storage

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"


def azure_grants(folder: Path) -> Iterator[Grant]:
    """The custom role on the Lightly container under its condition; the built-in reader on the others."""
    role = json.loads((folder / "role.json").read_text())
    text = re.sub(r"\s+", " ", (folder / "condition.txt").read_text())
    unless = re.findall(r"!\(ActionMatches\{'([^']+)'\}\)", text)
    starts = re.findall(r"@Resource\[" + _BLOBS.rstrip("/") + r":path\] StringStartsWith '([^']+)'", text)
    form = "( ( {} ) OR ( {} ) )".format(
        " AND ".join(f"!(ActionMatches{{'{action}'}})" for action in unless),
        " OR ".join(f"@Resource[{_BLOBS.rstrip('/')}:path] StringStartsWith '{start}'" for start in starts),
    )
    if text.strip() != form or role["Actions"] or role["NotActions"] or role["NotDataActions"]:
        raise ValueError(f"not understood: {text}")
    for action in role["DataActions"]:
        for prefix in starts if action in unless else [None]:
            yield Grant(action, OUTPUT, prefix)
    for bucket in BUCKETS:
        if bucket != OUTPUT:
            yield Grant(f"{_BLOBS}read", bucket, None)


def printed_azure_grants(document: dict[str, Any]) -> Iterator[Grant]:
    """Those of what `metaferry policy --cloud azure` prints."""
    path = rf"@Resource\[{_BLOBS.rstrip('/')}:path\] StringStartsWith '([^']*)'"
    for assignment in document["assignments"]:
        container = assignment["scope"].rpartition("/")[2]
        only: dict[str, list[str]] = {}
        for clause in filter(None, assignment.get("condition", "").split(" AND ")):
            found = re.fullmatch(r"\(!\(ActionMatches\{'([^']+)'\}\) OR \((.*)\)\)", clause)
            terms = [re.fullmatch(path, term) for term in found[2].split(" OR ")] if found else [None]
            if found is None or None in terms:
                raise ValueError(f"not understood: {clause}")
            only[found[1]] = [term[1] for term in terms if term]
        for action in document["roles"][assignment["role"]]["DataActions"]:
            for prefix in only.get(action, [None]):
                yield Grant(action, container, prefix)


def azure_needs(method: str, target: str) -> Iterator[Need]:
    kinds = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "delete"}
    path, _, query = target.partition("?")
    _, container, key = _split(path)
    asked = {name: values[0] for name, values in parse_qs(query).items() if name != "timeout"}
    kind, comp = asked.get("restype"), asked.get("comp")
    if key and not asked:
        yield Need(_BLOBS + kinds[method], container, key)
    elif method == "GET" and not key and comp == "list" and container:
        yield Need(f"{_BLOBS}read", container, asked.get("prefix", ""))
    elif method == "GET" and key and asked == {"comp": "tags"}:
        yield Need(f"{_BLOBS}tags/read", container, key)
    elif method in ("GET", "HEAD") and not key and (kind, comp) == ("container", None):
        yield Need(_BLOBS.removesuffix("blobs/") + "read", container, None)
    elif method == "GET" and not container and (kind, comp) == ("service", "properties"):
        yield Need(_BLOBS.removesuffix("containers/blobs/") + "read", "", None)
    else:
        raise ValueError(f"not understood: {method} {target}")


def _split(path: str) -> tuple[str, str, str]:
    account, _, rest = path.lstrip("/").partition("/")
    container, _, key = rest.partition("/")
    return account, container, key


# -- helpers


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _start(pattern: str) -> str:
    """`2026/*` as a prefix; a pattern of any other form is not understood."""
    if not pattern.endswith("*") or re.search(r"[*?$]", pattern[:-1]):
        raise ValueError(f"not understood: {pattern}")
    return pattern[:-1]
