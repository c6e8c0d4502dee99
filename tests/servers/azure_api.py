"""Azure Blob Storage as the server of the tests speaks it: one account, addressed by path.

Put Blob, ranged Get Blob, properties, Delete Blob and List Blobs (with a delimiter, metadata and
folders of a hierarchical account), conditions, MD5s, and errors as the service words them. Whoever
asks has to say who they are (a shared key, an access token, a SAS), but signatures are not verified:
Azurite is there for that. Blocks, leases, snapshots and versions are refused, never half done.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from servers.messages import Reply, Request
from servers.s3_objects import Bucket, Stored, before
from servers.s3_rules import Behaviour
from servers.token_servers import TokenServers

_XML: Final = '<?xml version="1.0" encoding="utf-8"?>'
_SAS: Final = re.compile(r"[?&]sig=[^&]")
#: What cannot stand in XML 1.0, not even as a reference: such names are listed encoded.
_UNSPEAKABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_UNMET: Final = "The condition specified using HTTP conditional header(s) is not met."

#: Parameters that change what a request does, as far as they are understood here.
_KNOWN: Final = {"restype", "comp", "prefix", "delimiter", "maxresults", "marker", "include", "timeout"} | {
    "startFrom"
}
_OF_SAS: Final = {"sv", "ss", "srt", "sp", "se", "st", "spr", "sig", "sip", "sr", "si", "sdd"} | {
    *("skoid", "sktid", "skt", "ske", "sks", "skv")
}


class Refused(Exception):
    """An error of the service."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class AzureApi:
    """The containers of one account. `now` gives the time, as ISO 8601 has it."""

    busy: Final = (503, "ServerBusy")
    common: Final = {"Server": "Blob-tests", "x-ms-request-id": "0", "x-ms-version": "2021-12-02"}

    def __init__(self, behaviour: Behaviour, now: Callable[[], str]) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._behaviour = behaviour
        self._now = now
        self._written = 0x8DC_0000_0000_0000
        self._tokens = TokenServers(behaviour)

    def key(self, request: Request) -> str:
        return unquote(request.target) if "%" in request.target else request.target

    def stored(self, data: bytes) -> Stored:
        return self._stored(data, {})

    def answer(self, request: Request, *, ignore: str = "") -> Reply:
        if ignore:
            request.headers.pop(ignore.lower(), None)
        try:
            return self._tokens.answer(request) or self._dispatch(request)
        except Refused as refused:
            return self.refusal(request, refused.status, refused.code, refused.message)

    def refusal(self, request: Request, status: int, code: str, message: str) -> Reply:
        headers = {"Content-Type": "application/xml", "x-ms-error-code": code}
        text = f"{message}\nRequestId:0\nTime:{self._now()}"
        body = f"{_XML}<Error><Code>{code}</Code><Message>{_text(text)}</Message></Error>"
        return Reply(status, headers, b"" if request.method == "HEAD" else body.encode(), "Refused")

    def _dispatch(self, request: Request) -> Reply:
        path, _, query = request.target.partition("?")
        self._authorize(request, query)
        asked = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        if unknown := asked.keys() - _KNOWN - _OF_SAS:
            raise Refused(501, "NotImplemented", f"not by this server: {sorted(unknown)}")
        _, _, name = path[1:].partition("/")  # behind the account
        container, _, key = name.partition("/")
        container, key = unquote(container), unquote(key)
        if not key:
            return self._of_container(request, container, asked)
        bucket = self._bucket(container)
        if request.method == "GET" and asked.get("comp") == "tags":
            return self._tags(bucket, key)
        if "comp" in asked or "x-ms-copy-source" in request.headers:
            raise Refused(501, "NotImplemented", f"not by this server: {query}")
        match request.method:
            case "PUT":
                return self._put(request, bucket, key)
            case "GET" | "HEAD":
                return self._get(request, bucket, key)
            case "DELETE":
                return self._delete(request, bucket, key)
        raise Refused(405, "UnsupportedHttpVerb", "The resource doesn't support specified Http Verb.")

    def _authorize(self, request: Request, query: str) -> None:
        given = request.headers.get("authorization", "")
        token = given.removeprefix("Bearer ")
        if token in self._behaviour.expired or any(each in query for each in self._behaviour.expired):
            if token == given:
                raise Refused(403, "AuthenticationFailed", "Server failed to authenticate the request.")
            raise Refused(401, "InvalidAuthenticationInfo", "Lifetime validation failed.")
        if token != given:
            if not self._tokens.gave(token):
                raise Refused(401, "InvalidAuthenticationInfo", "IDX10511: Signature validation failed.")
        elif not given.startswith("SharedKey ") and not _SAS.search("?" + query):
            raise Refused(401, "NoAuthenticationInformation", "Server failed to authenticate the request.")

    # -- containers

    def _of_container(self, request: Request, name: str, asked: dict[str, str]) -> Reply:
        if asked.get("restype") != "container":
            raise Refused(
                400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid."
            )
        match request.method, asked.get("comp"):
            case "PUT", None:
                if name in self.buckets:
                    raise Refused(409, "ContainerAlreadyExists", "The specified container already exists.")
                self.buckets[name] = Bucket()
                return Reply(201, {"ETag": '"0x8DC"'}, operation="CreateContainer")
            case "GET" | "HEAD", None:
                self._bucket(name)
                return Reply(200, {"ETag": '"0x8DC"'}, operation="GetContainer")
            case "GET", "list":
                return self._list(self._bucket(name), name, asked)
        raise Refused(501, "NotImplemented", f"not by this server: {request.method} {sorted(asked)}")

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise Refused(404, "ContainerNotFound", "The specified container does not exist.")
        return self.buckets[name]

    def _list(self, bucket: Bucket, name: str, asked: dict[str, str]) -> Reply:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        try:
            after = before(asked["startFrom"]) if asked.get("startFrom") else ""
            after = self._behaviour.behind(asked["marker"]) if asked.get("marker") else after
        except ValueError:
            raise Refused(400, "InvalidQueryParameterValue", "marker") from None
        count = self._behaviour.entries(min(5000, int(asked.get("maxresults", "5000"))))
        page = bucket.page(prefix, delimiter, after, count)
        form = self._behaviour.tags["listed"]
        included = asked.get("include", "").split(",")
        blobs = "".join([_blob(key, each, form, included) for key, each in page.objects])
        rolled = "".join(f"<BlobPrefix>{_name(each)}</BlobPrefix>" for each in page.prefixes)
        head = f'<EnumerationResults ServiceEndpoint="http://tests/" ContainerName="{_text(name)}">'
        head += f"<Prefix>{_text(prefix)}</Prefix><MaxResults>{count}</MaxResults>"
        marker = "" if page.last is None else _text(self._behaviour.page_token(page.last))
        tail = f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
        tail = f"<NextMarker>{marker}</NextMarker></EnumerationResults>"
        body = f"{_XML}{head}<Blobs>{blobs}{rolled}</Blobs>{tail}"
        return Reply(200, {"Content-Type": "application/xml"}, body.encode(), "ListBlobs")

    # -- blobs

    def _tags(self, bucket: Bucket, key: str) -> Reply:
        found = bucket.get(key)
        if found is None:
            raise Refused(404, "BlobNotFound", "The specified blob does not exist.")
        return Reply(
            200, {"Content-Type": "application/xml"}, f"{_XML}{_tag_set(found)}".encode(), "GetBlobTags"
        )

    def _put(self, request: Request, bucket: Bucket, key: str) -> Reply:
        headers, data = request.headers, request.body
        if headers.get("x-ms-blob-type") != "BlockBlob":
            raise Refused(400, "InvalidHeaderValue", "The value for one of the HTTP headers is not valid.")
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        if headers.get("content-md5", md5) != md5:
            raise Refused(400, "Md5Mismatch", "The MD5 value specified in the request did not match.")
        self._require(headers, bucket.get(key))
        kept = {"Content-Type": headers.get("x-ms-blob-content-type", "application/octet-stream")}
        kept["Content-MD5"] = headers.get("x-ms-blob-content-md5", md5)
        kept |= {name: value for name, value in headers.items() if name.startswith("x-ms-meta-")}
        stored = self._stored(data, kept)
        stored.tags = dict(parse_qsl(headers.get("x-ms-tags", ""), keep_blank_values=True))
        bucket.put(key, stored)
        answer = self._behaviour.tag_header(stored.tag)
        answer |= {"Last-Modified": _http_date(stored.modified), "Content-MD5": md5}
        return Reply(201, answer, operation="PutBlob")

    def _stored(self, data: bytes, kept: dict[str, str]) -> Stored:
        self._written += 1
        if not kept:
            md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
            kept = {"Content-Type": "application/octet-stream", "Content-MD5": md5}
        return Stored(data, f"0x{self._written:X}", self._now(), kept)

    def _require(self, headers: dict[str, str], found: Stored | None) -> None:
        match, none_match = headers.get("if-match"), headers.get("if-none-match")
        if self._behaviour.conditions == "ignore" or (match is None and none_match is None):
            return
        if self._behaviour.conditions == "refuse":
            raise Refused(501, "NotImplemented", "The requested operation is not implemented.")
        if none_match == "*" and found is not None:
            raise Refused(409, "BlobAlreadyExists", "The specified blob already exists.")
        if none_match not in (None, "*") and found and self._behaviour.same_tag(none_match or "", found.tag):
            raise Refused(412, "ConditionNotMet", _UNMET)
        if match is not None and (found is None or not self._behaviour.same_tag(match, found.tag)):
            raise Refused(412, "ConditionNotMet", _UNMET)

    def _get(self, request: Request, bucket: Bucket, key: str) -> Reply:
        found, headers = bucket.get(key), request.headers
        if found is None:
            raise Refused(404, "BlobNotFound", "The specified blob does not exist.")
        if (match := headers.get("if-match")) and not self._behaviour.same_tag(match, found.tag):
            raise Refused(412, "ConditionNotMet", _UNMET)
        answer = self._behaviour.tag_header(found.tag) | found.kept
        answer |= {"Last-Modified": _http_date(found.modified), "x-ms-blob-type": "BlockBlob"}
        answer |= {"Accept-Ranges": "bytes", "x-ms-server-encrypted": "true"}
        data, size = found.data, len(found.data)
        if request.method == "HEAD":
            return Reply(200, answer, b"", "GetProperties", size)
        span = headers.get("x-ms-range") or headers.get("range", "")
        if not span:
            return Reply(200, answer, data, "GetBlob")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", span)
        if asked is None or int(asked[1]) >= size:
            raise Refused(416, "InvalidRange", "The range specified is invalid for the current size.")
        start = int(asked[1])
        data = data[start : int(asked[2]) + 1 if asked[2] else None]
        answer["x-ms-blob-content-md5"] = answer.pop("Content-MD5")  # it speaks of the whole
        answer["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
        return Reply(206, answer, data, "GetBlob")

    def _delete(self, request: Request, bucket: Bucket, key: str) -> Reply:
        found = bucket.get(key)
        if found is None and "if-match" not in request.headers:
            raise Refused(404, "BlobNotFound", "The specified blob does not exist.")
        self._require(request.headers, found)
        if found is not None:
            bucket.delete(key)
        return Reply(202, {"x-ms-delete-type-permanent": "true"}, operation="DeleteBlob")


def _blob(key: str, found: Stored, form: str, included: list[str]) -> str:
    tag = {"none": "", "upper": found.tag.upper(), "weak": f'W/"{found.tag}"'}.get(form, found.tag)
    tag = f"<Etag>{_text(tag)}</Etag>" if tag else ""
    folder = found.kept.get("x-ms-meta-hdi_isfolder") == "true"
    kind = "<ResourceType>directory</ResourceType>" if folder else ""
    metadata = ""
    if "metadata" in included:
        pairs = [(name[10:], value) for name, value in found.kept.items() if name.startswith("x-ms-meta-")]
        inside = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in pairs)
        metadata = f"<Metadata>{inside}</Metadata>"
    tags = _tag_set(found) if "tags" in included and found.tags else ""
    tier = found.kept.get("x-ms-access-tier", "Hot")
    return (
        f"<Blob>{_name(key)}<Properties><Last-Modified>{_http_date(found.modified)}</Last-Modified>{tag}{kind}"
        f"<Content-Length>{len(found.data)}</Content-Length>"
        f"<Content-Type>{_text(found.kept['Content-Type'])}</Content-Type>"
        f"<Content-MD5>{found.kept['Content-MD5']}</Content-MD5><BlobType>BlockBlob</BlobType>"
        f"<AccessTier>{tier}</AccessTier><LeaseStatus>unlocked</LeaseStatus>"
        "<LeaseState>available</LeaseState>"
        f"<ServerEncrypted>true</ServerEncrypted></Properties>{metadata}{tags}<OrMetadata /></Blob>"
    )


def _tag_set(found: Stored) -> str:
    pairs = "".join(
        f"<Tag><Key>{_text(name)}</Key><Value>{_text(value)}</Value></Tag>"
        for name, value in found.tags.items()
    )
    return f"<Tags><TagSet>{pairs}</TagSet></Tags>"


def _name(name: str) -> str:
    if _UNSPEAKABLE.search(name):
        return f'<Name Encoded="true">{quote(name)}</Name>'
    return f"<Name>{_text(name)}</Name>"


def _text(value: str) -> str:
    return escape(value, {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


@lru_cache(1024)
def _http_date(modified: str) -> str:
    return format_datetime(datetime.fromisoformat(modified), usegmt=True)
