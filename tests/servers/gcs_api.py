"""The JSON API of Google Cloud Storage as the server of the tests speaks it, and what object_store asks of
the XML API: listings and reads, which are those of S3.

Uploads in one request (media and multipart), preconditions on generations, listings with startOffset,
endOffset, delimiter and `fields`, md5Hash, ranged downloads, deletes, and errors as the service words
them; access tokens as its token servers give them (`token_servers.py`). Resumable uploads, copies and
versions are refused, never half done.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from servers.messages import Reply, Request
from servers.s3_api import Api as S3Api
from servers.s3_objects import Bucket, Listed, Stored, before
from servers.s3_rules import Behaviour
from servers.token_servers import TokenServers

_OBJECT: Final = re.compile(r"/(?:download/)?storage/v1/b/([^/?]+)/o(?:/([^/?]*))?(?:\?(.*))?\Z", re.DOTALL)
_UPLOAD: Final = re.compile(r"/upload/storage/v1/b/([^/?]+)/o(?:\?(.*))?\Z", re.DOTALL)
#: The XML API names the bucket first, and a bucket of this server begins so.
_XML: Final = re.compile(r"/metaferry(?:-|%2D)", re.IGNORECASE)
_NAME: Final = re.compile(rb'"name":\s*("(?:[^"\\]|\\.)*")')
_FIELD: Final = re.compile(r"(\w+)(?:\(([^)]*)\))?")
_UNMET: Final = "At least one of the pre-conditions you specified did not hold."

#: Parameters of a request that are understood here.
_KNOWN: Final = {"alt", "fields", "ifGenerationMatch", "maxResults", "name", "pageToken", "prefix"} | {
    *("prettyPrint", "startOffset", "endOffset", "delimiter", "uploadType", "userProject", "projection")
}

#: The word for an error whose test gave none.
_REASONS: Final = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    412: "conditionNotMet",
}


class Refused(Exception):
    """An error of the JSON API."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.message = status, reason, message


class GcsApi:
    """The buckets of one server. `now` gives the time as objects have it. The tag is the generation."""

    busy: Final = (429, "rateLimitExceeded")
    common: Final = {"Server": "UploadServer", "X-GUploader-UploadID": "0"}

    def __init__(self, behaviour: Behaviour, now: Callable[[], str]) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._behaviour = behaviour
        self._now = now
        self._generation = 1_700_000_000_000_000
        self._tokens = TokenServers(behaviour)
        self._xml = S3Api(behaviour, now)
        self._xml.buckets = self.buckets

    def key(self, request: Request) -> str:
        target = unquote(request.target) if "%" in request.target else request.target
        if not request.target.startswith("/upload/"):
            return target
        path, mark, query = target.partition("?")
        if "uploadType=media" in query:
            return f"{path}/{dict(parse_qsl(request.target.partition('?')[2])).get('name', '')}{mark}{query}"
        name = _NAME.search(request.body)
        return f"{path}/{json.loads(name[1])}{mark}{query}" if name else target

    def stored(self, data: bytes) -> Stored:
        return self._stored(data, "application/octet-stream")

    def answer(self, request: Request, *, ignore: str = "") -> Reply:
        if ignore:
            request.headers.pop(ignore.lower(), None)
        try:
            return self._tokens.answer(request) or self._dispatch(request)
        except Refused as refused:
            return self.refusal(request, refused.status, refused.reason, refused.message)

    def refusal(self, request: Request, status: int, code: str, message: str) -> Reply:
        if request.method == "GET" and "alt=media" in request.target:  # downloads are answered in plain text
            return Reply(status, {"Content-Type": "text/html; charset=UTF-8"}, message.encode(), "Refused")
        reason = code or _REASONS.get(status, "backendError")
        error = {"message": message, "domain": "global", "reason": reason}
        reply = _json({"error": {"code": status, "message": message, "errors": [error]}}, "Refused")
        reply.status = status
        return reply

    def _dispatch(self, request: Request) -> Reply:
        self._authorize(request)
        upload = _UPLOAD.match(request.target)
        found = upload or _OBJECT.match(request.target)
        if found is None and request.method in ("GET", "HEAD") and _XML.match(request.target):
            return self._xml.answer(request)
        if found is None:
            raise Refused(404, "notFound", "Not Found")
        query = dict(parse_qsl(found[found.re.groups] or "", keep_blank_values=True))
        if unknown := query.keys() - _KNOWN:
            raise Refused(501, "notImplemented", f"not by this server: {sorted(unknown)}")
        bucket = self._bucket(unquote(found[1]))
        if upload and request.method == "POST":
            return self._upload(request, bucket, query)
        if upload or (found[2] is None and request.method != "GET"):
            raise Refused(405, "methodNotAllowed", "The specified method is not allowed")
        if found[2] is None:
            return self._list(bucket, query)
        key = unquote(found[2])
        stored = bucket.get(key)
        if stored is None:
            raise Refused(404, "notFound", f"No such object: {found[1]}/{key}")
        _require(query, stored)
        match request.method:
            case "DELETE":
                bucket.delete(key)
                return Reply(204, operation="DeleteObject")
            case "GET" if query.get("alt") == "media":
                return self._download(request, stored)
            case "GET":
                return _json(_selected(_resource(key, stored), query.get("fields")), "GetObject")
        raise Refused(501, "notImplemented", f"not by this server: {request.method}")

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given in self._behaviour.expired or not (self._behaviour.anonymous or self._tokens.gave(given)):
            raise Refused(401, "authError", "Invalid Credentials")

    def _bucket(self, name: str) -> Bucket:
        if name not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[name]

    def _upload(self, request: Request, bucket: Bucket, query: dict[str, str]) -> Reply:
        match query.get("uploadType"):
            case "multipart":
                resource, kind, data = _parts(request.headers.get("content-type", ""), request.body)
            case "media":
                resource = {"name": query.get("name")}
                kind, data = request.headers.get("content-type", ""), request.body
            case other:
                raise Refused(501, "notImplemented", f"not by this server: uploadType={other}")
        key = resource.get("name")
        if not isinstance(key, str) or not 0 < len(key.encode()) <= 1024:
            raise Refused(400, "invalid", "The object name is missing or too long.")
        _require(query, bucket.get(key))
        stored = self._stored(data, resource.get("contentType") or kind)
        if resource.get("md5Hash") not in (None, stored.kept["md5Hash"]):
            message = f'Provided MD5 hash "{resource["md5Hash"]}" doesn\'t match calculated MD5 hash'
            raise Refused(400, "invalid", message)
        bucket.put(key, stored)
        return _json(_selected(_resource(key, stored), query.get("fields")), "PutObject")

    def _stored(self, data: bytes, kind: str) -> Stored:
        self._generation += 1
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        return Stored(data, str(self._generation), self._now(), {"md5Hash": md5, "contentType": kind})

    def _list(self, bucket: Bucket, query: dict[str, str]) -> Reply:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        # `page` begins behind a key, startOffset with one.
        after = before(query["startOffset"]) if query.get("startOffset") else ""
        if "pageToken" in query:
            try:
                after = self._behaviour.behind(query["pageToken"])
            except ValueError:
                raise Refused(400, "invalid", "Invalid page token") from None
        count = self._behaviour.entries(min(1000, int(query.get("maxResults", "1000"))))
        page = bucket.page(prefix, delimiter, after, count)
        if end := query.get("endOffset", ""):
            objects = [each for each in page.objects if each[0] < end]
            prefixes = [each for each in page.prefixes if each < end]
            whole = len(objects) + len(prefixes) == len(page.objects) + len(page.prefixes)
            page = Listed(objects, prefixes, page.last if whole else None)
        content: dict[str, Any] = {"kind": "storage#objects"}
        if page.last is not None:
            content["nextPageToken"] = self._behaviour.page_token(page.last)
        if page.prefixes:
            content["prefixes"] = page.prefixes
        wanted = query.get("fields")
        if page.objects:
            content["items"] = [_resource(*each) for each in page.objects]
        return _json(_selected(content, wanted), "ListObjects")

    def _download(self, request: Request, found: Stored) -> Reply:
        data, size, status = found.data, len(found.data), 200
        headers = {
            "x-goog-generation": found.tag,
            "x-goog-hash": f"md5={found.kept['md5Hash']}",
            "x-goog-stored-content-length": str(size),
            "Content-Type": found.kept["contentType"],
        }
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start = int(span[1])
            if start >= size:
                raise Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
            data = data[start : int(span[2]) + 1 if span[2] else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
            status = 206
        return Reply(status, headers, data, "GetObject")


def _require(query: dict[str, str], found: Stored | None) -> None:
    wanted = query.get("ifGenerationMatch")
    if wanted is not None and wanted != (found.tag if found else "0"):
        raise Refused(412, "conditionNotMet", _UNMET)


def _resource(key: str, found: Stored) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "name": key,
        "size": str(len(found.data)),
        "generation": found.tag,
        "updated": found.modified,
        "etag": f"E{found.tag}=",
        "storageClass": "STANDARD",
        **found.kept,
    }


def _selected(content: dict[str, Any], fields: str | None) -> dict[str, Any]:
    """What `fields` asks for: names, and names of what is inside of them."""
    if fields is None:
        return content
    kept: dict[str, Any] = {}
    for name, inside in _fields(fields):
        value = content.get(name)
        if name in content and not inside:
            kept[name] = value
        elif isinstance(value, list):
            kept[name] = [{each: item[each] for each in inside if each in item} for item in value]
    return kept


@cache
def _fields(text: str) -> list[tuple[str, list[str]]]:
    return [(name, inside.split(",") if inside else []) for name, inside in _FIELD.findall(text)]


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    """Resource, type and content of a multipart upload."""
    try:
        boundary = b"--" + content_type.partition("boundary=")[2].strip("'\"").encode()
        start = body.index(boundary) + len(boundary) + 2
        middle = body.index(b"\r\n" + boundary, start)
        end = body.rindex(b"\r\n" + boundary + b"--")
        _, _, resource = body[start:middle].partition(b"\r\n\r\n")
        head, _, data = body[middle + len(boundary) + 4 : end].partition(b"\r\n\r\n")
        return json.loads(resource), head.partition(b":")[2].strip().decode(), data
    except ValueError:
        raise Refused(400, "badContent", "Malformed multipart body.") from None


def _json(content: dict[str, Any], operation: str) -> Reply:
    body = json.dumps(content, ensure_ascii=False).encode()
    return Reply(200, {"Content-Type": "application/json; charset=UTF-8"}, body, operation)
