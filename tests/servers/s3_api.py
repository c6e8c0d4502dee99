"""The S3 protocol as the server of the tests speaks it: a parsed request in, a reply out.

Path-style addresses; puts, ranged gets, heads, deletes, listings of both versions, conditions,
checksums and the streaming bodies of newer clients. Any signature is taken. Whatever is left out
(multipart, copies, versions, access lists) is refused as `NotImplemented`, never half done.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from servers.messages import Reply, Request
from servers.s3_objects import Bucket, Listed, Stored
from servers.s3_rules import Behaviour, tag_as

_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_XMLNS: Final = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_SPECIAL: Final = re.compile(r"[<>&\"\x00-\x1f]")
_QUOTE: Final = {'"': "&quot;"} | {chr(n): f"&#{n};" for n in range(32)}

#: Parts of a query that say nothing about what is wanted: names of operations, presigned signatures.
_BY_THE_WAY: Final = re.compile(r"x-id|X-Amz-.*", re.IGNORECASE)
_KEPT: Final = ("content-type", "cache-control", "content-encoding", "content-disposition")


class Refused(Exception):
    """An S3 error."""

    def __init__(self, status: int, code: str, message: str = "", **more: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more


class Api:
    """The buckets of one server. `clock` gives the time as listings have it."""

    busy: Final = (503, "SlowDown")
    common: Final = {"Server": "metaferry-tests", "x-amz-request-id": "0"}

    def __init__(self, behaviour: Behaviour, clock: Callable[[], str]) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._behaviour = behaviour
        self._clock = clock
        self._written = 0

    def answer(self, request: Request, *, ignore: str = "") -> Reply:
        """Does what is asked for; `ignore` names a header to be overlooked."""
        try:
            if ignore:
                request.headers.pop(ignore.lower(), None)
            self._authorize(request)
            return self._dispatch(request)
        except Refused as refused:
            return error_reply(refused, request)

    def refusal(self, request: Request, status: int, code: str, message: str) -> Reply:
        return error_reply(Refused(status, code, message), request)

    def key(self, request: Request) -> str:
        return unquote(request.target) if "%" in request.target else request.target

    def stored(self, data: bytes) -> Stored:
        return Stored(data, hashlib.md5(data).hexdigest(), self._clock(), {})

    def _dispatch(self, request: Request) -> Reply:
        path, _, query = request.target.partition("?")
        name, _, key = path[1:].partition("/")
        try:
            if "%" in path:
                name, key = unquote(name, errors="strict"), unquote(key, errors="strict")
        except UnicodeDecodeError:
            raise Refused(400, "InvalidURI", "Couldn't parse the specified URI.") from None
        asked = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
        if not name:
            return self._list_buckets(request)
        if not key:
            return self._of_bucket(request, name, asked)
        if len(key.encode()) > 1024:
            raise Refused(400, "KeyTooLongError", "Your key is too long")
        if request.method == "GET" and set(asked) == {"tagging"}:
            return self._tagging(self._bucket(name), key)
        if any(not _BY_THE_WAY.fullmatch(each) for each in asked) or "x-amz-copy-source" in request.headers:
            raise Refused(501, "NotImplemented", f"not by this server: {request.method} {query}")
        bucket = self._bucket(name)
        match request.method:
            case "PUT":
                return self._put(request, bucket, key)
            case "GET" | "HEAD":
                return self._get(request, bucket, key)
            case "DELETE":
                return self._delete(request, bucket, key)
        raise Refused(405, "MethodNotAllowed", "The specified method is not allowed")

    def _authorize(self, request: Request) -> None:
        if self._behaviour.expired:
            credential = re.search(
                r"Credential=([^/,]+)/", unquote(request.target) + request.headers.get("authorization", "")
            )
            if credential and credential[1] in self._behaviour.expired:
                raise Refused(400, "ExpiredToken", "The provided token has expired.")

    # -- buckets

    def _list_buckets(self, request: Request) -> Reply:
        if request.method != "GET":
            raise Refused(405, "MethodNotAllowed", "The specified method is not allowed")
        names = "".join(
            f"<Bucket><Name>{_text(name)}</Name><CreationDate>{self._clock()}</CreationDate></Bucket>"
            for name in sorted(self.buckets)
        )
        owner = "<Owner><ID>tests</ID><DisplayName>tests</DisplayName></Owner>"
        body = f"<ListAllMyBucketsResult {_XMLNS}>{owner}<Buckets>{names}</Buckets></ListAllMyBucketsResult>"
        return _xml(body, "ListBuckets")

    def _of_bucket(self, request: Request, name: str, asked: dict[str, str]) -> Reply:
        match request.method:
            case "PUT" if not asked:
                if name in self.buckets:
                    raise Refused(409, "BucketAlreadyOwnedByYou", "You own it already.")
                self.buckets[name] = Bucket()
                return Reply(200, {"Location": f"/{name}"}, operation="CreateBucket")
            case "HEAD":
                self._bucket(name)
                return Reply(200, {"x-amz-bucket-region": "us-east-1"}, operation="HeadBucket")
            case "DELETE":
                if len(self._bucket(name)):
                    raise Refused(409, "BucketNotEmpty", "The bucket is not empty")
                del self.buckets[name]
                return Reply(204, operation="DeleteBucket")
            case "GET" if "location" in asked:
                self._bucket(name)
                return _xml(f"<LocationConstraint {_XMLNS}></LocationConstraint>", "GetBucketLocation")
            case "GET" if not set(asked) & {
                "versioning",
                "versions",
                "uploads",
                "acl",
                "policy",
                "lifecycle",
            }:
                return self._list(self._bucket(name), name, asked)
            case "POST" if "delete" in asked:
                return self._delete_many(request, self._bucket(name))
        raise Refused(501, "NotImplemented", f"not by this server: {request.method} {sorted(asked)}")

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist", BucketName=name)
        return self.buckets[name]

    def _list(self, bucket: Bucket, name: str, asked: dict[str, str]) -> Reply:
        second = asked.get("list-type") == "2"
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("start-after" if second else "marker", "")
        if second and "continuation-token" in asked:
            try:
                after = self._behaviour.behind(asked["continuation-token"])
            except ValueError:
                raise Refused(400, "InvalidArgument", "The continuation token is incorrect") from None
        try:
            count = min(1000, int(asked.get("max-keys", "1000")))
        except ValueError:
            raise Refused(400, "InvalidArgument", "Provided max-keys not an integer") from None
        if count < 0:
            raise Refused(400, "InvalidArgument", "Argument maxKeys must be an integer >= 0")
        count = self._behaviour.entries(count)
        page = bucket.page(prefix, delimiter, after, count) if count else Listed([], [], None)
        encode: Callable[[str], str] = quote if asked.get("encoding-type") == "url" else _text
        head = f"<Name>{name}</Name><Prefix>{encode(prefix)}</Prefix><MaxKeys>{count}</MaxKeys>"
        if delimiter:
            head += f"<Delimiter>{encode(delimiter)}</Delimiter>"
        if encode is quote:
            head += "<EncodingType>url</EncodingType>"
        head += f"<IsTruncated>{'true' if page.last is not None else 'false'}</IsTruncated>"
        if second:
            head += f"<KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>"
            if "start-after" in asked:
                head += f"<StartAfter>{encode(asked['start-after'])}</StartAfter>"
            if page.last is not None:
                token = _text(self._behaviour.page_token(page.last))
                head += f"<NextContinuationToken>{token}</NextContinuationToken>"
        else:
            head += f"<Marker>{encode(after)}</Marker>"
            if page.last is not None:
                head += f"<NextMarker>{encode(page.last)}</NextMarker>"
        form = self._behaviour.tags["listed"]
        contents = "".join(
            [
                f"<Contents><Key>{encode(key)}</Key><LastModified>{each.modified}</LastModified>"
                f"{_tag_element(each.tag, form)}<Size>{len(each.data)}</Size>"
                f"<StorageClass>{each.kept.get('x-amz-storage-class', 'STANDARD')}</StorageClass></Contents>"
                for key, each in page.objects
            ]
        )
        rolled = "".join(
            f"<CommonPrefixes><Prefix>{encode(each)}</Prefix></CommonPrefixes>" for each in page.prefixes
        )
        body = f"<ListBucketResult {_XMLNS}>{head}{contents}{rolled}</ListBucketResult>"
        return _xml(body, "ListObjectsV2" if second else "ListObjects")

    def _delete_many(self, request: Request, bucket: Bucket) -> Reply:
        _verify(request.headers, request.body)
        try:
            wanted = ElementTree.fromstring(request.body)
        except ElementTree.ParseError:
            raise Refused(400, "MalformedXML", "The XML you provided was not well-formed") from None
        quiet = wanted.findtext("{*}Quiet") == "true"
        done = []
        for each in wanted.iter():
            if each.tag.rpartition("}")[2] != "Object":
                continue
            key, tag = each.findtext("{*}Key") or "", each.findtext("{*}ETag")
            found = bucket.get(key)
            if tag is not None and found is not None and found.tag != tag.strip('"'):
                code = "<Code>PreconditionFailed</Code><Message>no match</Message>"
                done.append(f"<Error><Key>{_text(key)}</Key>{code}</Error>")
                continue
            if found is not None:
                bucket.delete(key)
            if not quiet:
                done.append(f"<Deleted><Key>{_text(key)}</Key></Deleted>")
        return _xml(f"<DeleteResult {_XMLNS}>{''.join(done)}</DeleteResult>", "DeleteObjects")

    # -- objects

    def _tagging(self, bucket: Bucket, key: str) -> Reply:
        found = bucket.get(key)
        if found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        tags = "".join(
            f"<Tag><Key>{_text(name)}</Key><Value>{_text(value)}</Value></Tag>"
            for name, value in found.tags.items()
        )
        return _xml(f"<Tagging {_XMLNS}><TagSet>{tags}</TagSet></Tagging>", "GetObjectTagging")

    def _put(self, request: Request, bucket: Bucket, key: str) -> Reply:
        headers = request.headers
        data = request.body
        if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            data, trailer = _unchunked(data, headers)
            headers = headers | trailer
        kept = _verify(headers, data)
        self._require(headers, bucket.get(key))
        self._written += 1
        md5 = hashlib.md5(data)
        if self._behaviour.kms:
            # As with a key of the customer's: 32 hex digits, and others for the same bytes again.
            md5.update(b"%d" % self._written)
        tag = md5.hexdigest()
        answer = self._behaviour.tag_header(tag) | kept
        for name in _KEPT:
            if name in headers:
                kept[name] = headers[name]
        for name, value in headers.items():
            if name.startswith("x-amz-meta-"):
                kept[name] = value
        tags = dict(parse_qsl(headers.get("x-amz-tagging", ""), keep_blank_values=True))
        bucket.put(key, Stored(data, tag, self._clock(), kept, tags))
        return Reply(200, answer, operation="PutObject")

    def _require(self, headers: dict[str, str], found: Stored | None) -> None:
        """The conditions of a write, as the real service words their failure."""
        match, none_match = headers.get("if-match"), headers.get("if-none-match")
        if (match is None and none_match is None) or self._behaviour.conditions == "ignore":
            return
        if self._behaviour.conditions == "refuse" or none_match not in (None, "*"):
            raise Refused(
                501, "NotImplemented", "A header you provided implies functionality not implemented"
            )
        message = "At least one of the pre-conditions you specified did not hold"
        if none_match is not None and found is not None:
            raise Refused(412, "PreconditionFailed", message, Condition="If-None-Match")
        if match is not None:
            if found is None:
                raise Refused(404, "NoSuchKey", "The specified key does not exist.")
            if not self._behaviour.same_tag(match, found.tag):
                raise Refused(412, "PreconditionFailed", message, Condition="If-Match")

    def _get(self, request: Request, bucket: Bucket, key: str) -> Reply:
        found = bucket.get(key)
        if found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.", Key=key)
        headers, data = request.headers, found.data
        operation = "GetObject" if request.method == "GET" else "HeadObject"
        answer = self._behaviour.tag_header(found.tag) | {"Last-Modified": _http_date(found.modified)}
        answer |= {"Accept-Ranges": "bytes"} | found.kept
        if (match := headers.get("if-match")) and not self._behaviour.same_tag(match, found.tag):
            message = "At least one of the pre-conditions you specified did not hold"
            raise Refused(412, "PreconditionFailed", message, Condition="If-Match")
        if (none := headers.get("if-none-match")) and self._behaviour.same_tag(none, found.tag):
            return Reply(304, answer, operation=operation)
        status = 200
        if span := re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", "")):
            start, end = _span(span[1], span[2], len(data))
            answer["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data, status = data[start:end], 206
            for name in [name for name in answer if name.startswith("x-amz-checksum-")]:
                del answer[name]  # it speaks of the whole
        if request.method == "HEAD":
            return Reply(status, answer, b"", operation, len(data))
        return Reply(status, answer, data, operation)

    def _delete(self, request: Request, bucket: Bucket, key: str) -> Reply:
        found = bucket.get(key)
        self._require(request.headers, found)
        if found is not None:
            bucket.delete(key)
        return Reply(204, operation="DeleteObject")


def error_reply(refused: Refused, request: Request) -> Reply:
    """The XML of an error; a HEAD gets none."""
    if request.method == "HEAD":
        return Reply(refused.status, operation="Head")
    more = "".join(f"<{name}>{_text(value)}</{name}>" for name, value in refused.more.items())
    code = f"<Code>{refused.code}</Code><Message>{_text(refused.message)}</Message>"
    path = _text(unquote(request.target.partition("?")[0]))
    body = f"<Error>{code}<Resource>{path}</Resource>{more}<RequestId>0</RequestId></Error>"
    reply = _xml(body, request.method.capitalize())
    reply.status = refused.status
    return reply


def _xml(body: str, operation: str) -> Reply:
    return Reply(200, {"Content-Type": "application/xml"}, (_XML + body).encode(), operation)


def _tag_element(tag: str, form: str) -> str:
    shown = tag_as(tag, form)
    return f"<ETag>{_text(shown)}</ETag>" if shown else ""


def _text(value: str) -> str:
    return escape(value, _QUOTE) if _SPECIAL.search(value) else value


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Start and end of a byte range of something that large."""
    if first:
        start, end = int(first), min(size, int(last) + 1) if last else size
    else:
        start, end = max(0, size - int(last or "0")), size
    if start >= end:
        raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
    return start, end


def _verify(headers: dict[str, str], data: bytes) -> dict[str, str]:
    """Compares every checksum that came along; answers those that are kept with the object."""
    given = headers.get("content-md5")
    if given is not None and given != base64.b64encode(hashlib.md5(data).digest()).decode():
        raise Refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    given = headers.get("x-amz-content-sha256", "")
    if len(given) == 64 and given != hashlib.sha256(data).hexdigest():
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise Refused(400, "XAmzContentSHA256Mismatch", message)
    kept = {}
    for name, value in headers.items():
        if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-algorithm":
            algorithm = name.removeprefix("x-amz-checksum-")
            if algorithm not in _CHECKSUMS:
                raise Refused(501, "NotImplemented", f"not by this server: {name}")
            if value != base64.b64encode(_CHECKSUMS[algorithm](data)).decode():
                message = f"The {algorithm.upper()} you specified did not match the calculated checksum."
                raise Refused(400, "BadDigest", message)
            kept[name] = value
    return kept


def _crc32c(data: bytes) -> bytes:
    import google_crc32c

    value: int = google_crc32c.value(data)
    return value.to_bytes(4, "big")


_CHECKSUMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": _crc32c,
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def _unchunked(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """The data of an `aws-chunked` body, and its trailing headers. Signatures of chunks are not read."""
    parts, at = [], 0
    try:
        while True:
            line = body.index(b"\r\n", at)
            size = int(body[at:line].partition(b";")[0], 16)
            at = line + 2
            if size == 0:
                break
            if body[at + size : at + size + 2] != b"\r\n":
                raise ValueError("a chunk ends elsewhere")
            parts.append(body[at : at + size])
            at += size + 2
    except ValueError:
        raise Refused(400, "IncompleteBody", "The request body terminated unexpectedly") from None
    data = b"".join(parts)
    if headers.get("x-amz-decoded-content-length", str(len(data))) != str(len(data)):
        raise Refused(400, "IncompleteBody", "You did not provide the number of bytes specified")
    trailer = {}
    for line in body[at:].split(b"\r\n"):
        name, mark, value = line.decode("latin-1").partition(":")
        if mark and name != "x-amz-trailer-signature":
            trailer[name.strip().lower()] = value.strip()
    missing = set(filter(None, headers.get("x-amz-trailer", "").split(","))) - set(trailer)
    if missing:
        raise Refused(400, "MalformedTrailerError", f"The trailer is missing: {', '.join(sorted(missing))}")
    return data, trailer


def _http_date(modified: str) -> str:
    from datetime import datetime
    from email.utils import format_datetime

    return format_datetime(datetime.fromisoformat(modified), usegmt=True)
