"""A Google Cloud Storage server in memory: the JSON API as far as a datasource needs it.

Uploads (media and multipart), preconditions on generations, byte order with startOffset, endOffset
and paging, md5Hash, ranged downloads, deletes, and the errors as the real service words them. No
emulator on the package index knows preconditions, and conditional writes are what keeps two runs
from overwriting each other.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import uuid
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from servers.background import http_server

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o(?:/([^/]+))?\Z")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o\Z")


@dataclass(slots=True)
class _Object:
    data: bytes
    generation: int
    content_type: str
    updated: str

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()


class _Refused(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass
class GcsServer:
    """`deny` makes every request answer 401 or 403; `buckets` are the objects, by bucket and key."""

    endpoint: str = ""
    deny: int | None = None
    buckets: dict[str, dict[str, _Object]] = field(default_factory=dict)
    generation: int = 1_700_000_000_000_000
    corrupt: bool = False  # downloads have one byte flipped, and nothing says so

    @property
    def options(self) -> dict[str, Any]:
        return {"token": "anon", "project": "tests", "endpoint_url": self.endpoint}

    def new_bucket(self) -> str:
        name = f"metaferry-{uuid.uuid4().hex[:12]}"
        self.buckets[name] = {}
        return name

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        try:
            if self.deny == 401:
                raise _Refused(401, "authError", "Invalid Credentials")
            if self.deny is not None:
                raise _Refused(self.deny, "forbidden", "caller does not have storage.objects access")
            return self._answer(request, body)
        except _Refused as refused:
            media = request.query.get("alt") == "media"
            if media:  # downloads are answered in plain text
                return web.Response(status=refused.status, text=refused.message)
            error = {"domain": "global", "reason": refused.reason, "message": refused.message}
            content = {"error": {"code": refused.status, "message": refused.message, "errors": [error]}}
            return web.json_response(content, status=refused.status)

    def _answer(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        path = request.rel_url.raw_path
        if request.method == "POST" and (match := _UPLOAD.match(path)):
            return self._upload(request, unquote(match[1]), body)
        match = _OBJECT.match(path)
        if match is None:
            raise _Refused(404, "notFound", "Not Found")
        objects = self._bucket(unquote(match[1]))
        if match[2] is None:
            return self._list(request, objects)
        key = unquote(match[2])
        found = objects.get(key)
        if found is None:
            raise _Refused(404, "notFound", f"No such object: {match[1]}/{key}")
        self._require(request, found)
        if request.method == "DELETE":
            del objects[key]
            return web.Response(status=204)
        if request.query.get("alt") == "media":
            return self._download(request, found)
        return web.json_response(_resource(key, found))

    def _bucket(self, name: str) -> dict[str, _Object]:
        if name not in self.buckets:
            raise _Refused(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[name]

    def _require(self, request: web.BaseRequest, found: _Object | None) -> None:
        wanted = request.query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            message = "At least one of the pre-conditions you specified did not hold."
            raise _Refused(412, "conditionNotMet", message)

    def _upload(self, request: web.BaseRequest, bucket: str, body: bytes) -> web.StreamResponse:
        objects = self._bucket(bucket)
        if request.query["uploadType"] == "multipart":
            resource, content_type, data = _parts(request.headers["Content-Type"], body)
        else:
            resource = {"name": request.query["name"]}
            content_type, data = request.headers.get("Content-Type", ""), body
        key = resource["name"]
        self._require(request, objects.get(key))
        self.generation += 1
        stored = _Object(data, self.generation, content_type, _now())
        if resource.get("md5Hash") not in (None, stored.md5):
            message = f'Provided MD5 hash "{resource["md5Hash"]}" doesn\'t match calculated MD5 hash'
            raise _Refused(400, "invalid", message)
        objects[key] = stored
        return web.json_response(_resource(key, stored))

    def _list(self, request: web.BaseRequest, objects: dict[str, _Object]) -> web.StreamResponse:
        query = request.query
        prefix = query.get("prefix", "").encode()
        start = max(prefix, query.get("startOffset", "").encode())
        if "pageToken" in query:
            start = base64.urlsafe_b64decode(query["pageToken"]) + b"\0"
        end = query.get("endOffset", "").encode()
        delimiter = query.get("delimiter", "").encode()
        folders: list[bytes] = []
        keys = sorted(key.encode() for key in objects)
        names: list[bytes] = []
        more = False
        for key in keys[bisect_left(keys, start) :]:
            if not key.startswith(prefix) or (end and key >= end):
                break
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (b"", b"", b"")
            if found and folders[-1:] == [prefix + head + found]:
                continue
            if len(names) + len(folders) == int(query.get("maxResults", "1000")):
                more = True
                break
            if found:
                folders.append(prefix + head + found)
            else:
                names.append(key)
        content: dict[str, Any] = {"kind": "storage#objects"}
        if names:
            content["items"] = [_resource(name.decode(), objects[name.decode()]) for name in names]
        if folders:
            content["prefixes"] = [folder.decode() for folder in folders]
        if more:
            last = max([*names[-1:], *(folder + b"\xff" for folder in folders[-1:])])
            content["nextPageToken"] = base64.urlsafe_b64encode(last).decode()
        return web.json_response(content)

    def _download(self, request: web.BaseRequest, found: _Object) -> web.StreamResponse:
        data, size = found.data, len(found.data)
        headers = {
            "x-goog-generation": str(found.generation),
            "x-goog-hash": f"md5={found.md5}",
            "Content-Type": found.content_type,
        }
        status = 200
        if "Range" in request.headers:
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers["Range"])
            assert match is not None, request.headers["Range"]
            start = int(match[1])
            if start >= size:
                raise _Refused(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
            data = data[start : int(match[2]) + 1 if match[2] else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
            status = 206
        if self.corrupt and data:
            data = bytes([data[0] ^ 1]) + data[1:]
        return web.Response(status=status, body=data, headers=headers)


@contextlib.contextmanager
def gcs() -> Iterator[GcsServer]:
    server = GcsServer()
    with http_server(server.handle) as endpoint:
        server.endpoint = endpoint
        yield server


def _resource(key: str, found: _Object) -> dict[str, str]:
    return {
        "kind": "storage#object",
        "name": key,
        "size": str(len(found.data)),
        "generation": str(found.generation),
        "md5Hash": found.md5,
        "contentType": found.content_type,
        "updated": found.updated,
    }


def _parts(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    boundary = b"--" + content_type.partition("boundary=")[2].strip("'\"").encode()
    start = body.index(boundary) + len(boundary) + 2
    middle = body.index(b"\r\n" + boundary, start)
    end = body.rindex(b"\r\n" + boundary + b"--")
    _, _, resource = body[start:middle].partition(b"\r\n\r\n")
    head, _, data = body[middle + len(boundary) + 4 : end].partition(b"\r\n\r\n")
    return json.loads(resource), head.partition(b":")[2].strip().decode(), data


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
