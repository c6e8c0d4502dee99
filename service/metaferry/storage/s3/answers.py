"""Checks and parses answers of S3: pages, levels, parts of objects, ETags. Pure functions.

botocore accepts any XML as an answer and any status below 300 as success, so answers that are not the
store's own are marked before botocore parses them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_plus

from metaferry.storage.answers import BadAnswer, blob_of_range, require, require_names
from metaferry.storage.errors import REDIRECTS, Failure
from metaferry.storage.facts.model import Described, ObjectFacts
from metaferry.storage.facts.texts import facts_of_headers, tags_of_xml
from metaferry.storage.http.exchange import error_code
from metaferry.storage.keys import entity_tag, is_marker
from metaferry.storage.protocol import Blob, DescribedEntry, Entry, Level, Page
from metaferry.storage.s3.listing import LISTED, Listed

#: The key in botocore's answer for why it is not the store's; no name of the service begins like this.
FOREIGN: Final = "MetaferryForeign"

#: With which some stores answer that an object has no tags, and AWS that a bucket has none.
NO_TAGS: Final = frozenset({"NoSuchTagSet", "NoSuchTagSetError"})

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_MD5S: Final = re.compile(r"[0-9a-f]*")
_ROOT: Final = re.compile(rb"\s*(?:<\?[^>]*\?>\s*|<!--.*?-->\s*)*<(?:\w+:)?ListBucketResult[\s>/]", re.DOTALL)
_BOM: Final = b"\xef\xbb\xbf"
#: The statuses of success of each operation. Answers to deletes and puts have no body.
_STATUSES: Final = {
    "ListObjectsV2": range(200, 201),
    "HeadObject": range(200, 201),
    "GetObject": (200, 206),
    "PutObject": range(200, 300),
    "DeleteObject": range(200, 300),
}


def mark_foreign(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Handles botocore's `before-parse.s3.*`: notes under `FOREIGN` why an answer is not the store's own."""
    status, body = response_dict["status_code"], response_dict["body"]
    name = operation_model.name
    if status in REDIRECTS:
        _require_region(name, response_dict["headers"], body, status)
    if status >= 300 or name not in _STATUSES:
        return
    reason = ""
    if status not in _STATUSES[name]:
        reason = "an unexpected status"
    elif name == "ListObjectsV2" and not _ROOT.match(body.removeprefix(_BOM)):
        reason = "no listing"
    elif name in ("PutObject", "DeleteObject") and body.strip():
        reason = "an unexpected body"
    if reason:
        customized_response_dict[FOREIGN] = reason
        if isinstance(body, bytes):
            response_dict["body"] = b""


def _require_region(name: str, headers: Mapping[str, str], body: Any, status: int) -> None:
    """Raises `BadAnswer` where botocore would look for the region of the bucket in vain, and without end."""
    if "x-amz-bucket-region" in headers or (isinstance(body, bytes) and error_code(body)):
        return
    if "location" in headers or name == "HeadBucket":
        raise BadAnswer("a redirect", Failure(status))


def require_own(answer: Mapping[str, Any], method: str) -> None:
    """Raises `BadAnswer` for one that is not the store's own."""
    if FOREIGN in answer:
        raise BadAnswer(answer[FOREIGN])
    if method == "head_object":
        require(answer.get("ETag") or answer.get("LastModified"), "neither ETag nor time")
        require("ContentLength" in answer, "no size")


def page_of(answer: Mapping[str, Any], wanted: str, skip: int, *, facts: bool = False) -> Page:
    """A page of the keys that begin with `wanted`; a path is a key without its first `skip` characters."""
    truncated, token = _rest(answer, wanted)
    entries, left_out = _entries(answer, wanted, skip, (), facts=facts)
    return Page(entries, token if truncated else None, left_out)


def level_of(answer: Mapping[str, Any], wanted: str, skip: int, *, facts: bool = False) -> Level | None:
    """None where the level takes more than one page."""
    truncated, _ = _rest(answer, wanted)
    if truncated:
        return None
    found = answer.get("CommonPrefixes", ())
    try:
        folders = [each["Prefix"] for each in found]
    except (KeyError, TypeError):
        raise BadAnswer("a common prefix without a name") from None
    entries, _ = _entries(answer, wanted, skip, folders, facts=facts)
    return Level(entries, [folder[skip:] for folder in folders])


def blob_of(status: int, headers: Mapping[str, str], data: bytes, start: int, end: int | None) -> Blob:
    """What a read of `[start, end)` brought; names of headers in small letters."""
    tag = tag_of(headers)
    # Every store tells one of them of an object, and nobody else does of nothing.
    require(tag or headers.get("last-modified"), "neither ETag nor time")
    size = str(len(data))
    require(status != 200 or headers.get("content-length", size) == size, "the wrong number of bytes")
    return blob_of_range(status, headers, data, tag, start, end)


def described(headers: Mapping[str, str]) -> Described:
    """The facts in the answer to a HEAD; names of headers in small letters."""
    tag = tag_of(headers)
    require(tag or headers.get("last-modified"), "neither ETag nor time")
    return Described(
        tag, facts_of_headers(headers, "x-amz-meta-", etag=tag, class_header="x-amz-storage-class")
    )


def tags_in(body: bytes) -> dict[str, str]:
    """The tags in the answer to a GetObjectTagging. Raises `BadAnswer`."""
    tags = tags_of_xml(body)
    require(tags is not None, "no tags")
    return tags or {}


def tag_of(headers: Mapping[str, str]) -> str:
    """The token of an object; "" where the store tells none."""
    return entity_tag(headers.get("etag", ""))


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Whether an object that was put is encrypted with a key that makes its tag no MD5."""
    kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:")
    return kms or "x-amz-server-side-encryption-customer-algorithm" in headers


def _rest(answer: Mapping[str, Any], wanted: str) -> tuple[bool, str | None]:
    """Whether more pages come, and the token of the next."""
    require("IsTruncated" in answer, "no NextMarker")
    truncated, token = bool(answer["IsTruncated"]), answer.get("NextContinuationToken")
    require(token or not truncated, "a page that is not the last one, without a token of the next")
    echoed = answer.get("Prefix")  # some stores encode it, some do not
    require(echoed in (None, wanted) or echoed == unquote_plus(wanted), "another prefix")
    return truncated, token


def _entries(
    answer: Mapping[str, Any], wanted: str, skip: int, folders: Sequence[str], *, facts: bool
) -> tuple[list[Entry], int]:
    """The objects of a page, and how many that are none were left out."""
    # With keys of a customer's a tag may look like an MD5 and be none. That it equals the MD5 of
    # what is wanted proves that this is in place all the same; that it differs proves nothing.
    keys, sizes, tags, mtimes, classes = _listed(answer)
    # Some stores count fewer than they name; one that counts more has lost some on the way.
    require(answer.get("KeyCount", 0) <= len(keys) + len(folders), "fewer keys than KeyCount")
    require_names(keys, wanted)
    require_names(folders, wanted)
    paths = [key[skip:] for key in keys]
    # In large steps: this is done 100 million times.
    alike = _MD5S.fullmatch("".join(tags)) is not None and set(map(len, tags)) == {32}
    if not alike:
        tags = list(map(entity_tag, tags))
    proofs = tags if alike else [tag if _MD5.fullmatch(tag) else None for tag in tags]
    entries = list(map(Entry._make, zip(paths, sizes, tags, proofs, mtimes, strict=True)))
    if facts:
        entries = [
            DescribedEntry.of(entry, ObjectFacts(etag=entry.token or None, storage_class=name or None))
            for entry, name in zip(entries, classes or [""] * len(entries), strict=True)
        ]
    if "" in paths or 0 in sizes:
        entries = [entry for entry in entries if not is_marker(entry.path, entry.size)]
    return entries, len(keys) - len(entries)


def _listed(answer: Mapping[str, Any]) -> Listed:
    """The keys of a page, from our own reading of it or from botocore's."""
    if LISTED in answer:
        listed: Listed = answer[LISTED]
        return listed
    items = answer.get("Contents", ())
    try:
        return Listed(
            [item["Key"] for item in items],
            [item["Size"] for item in items],
            [entity_tag(item.get("ETag") or "") for item in items],
            [item["LastModified"].timestamp() for item in items],
            [str(item.get("StorageClass") or "") for item in items],
        )
    except (KeyError, TypeError, AttributeError):  # half an entry would hide an object, or show one
        raise BadAnswer("an entry without name, size or time") from None
