"""The servers of Google Cloud Storage and Azure in memory, asked as the wire has it.

What the vendors' clients do with them is in the contract suite (`gcs` and `fast_azure`); here is what no
client of ours asks for, and what they do to requests where a test wants it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from servers.gcs import GcsServer
from servers.s3_rules import Fault
from servers.steering import Steered

pytestmark = pytest.mark.servers


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """One of them with an empty bucket; requests as somebody who may."""

    server: Steered
    bucket: str

    @property
    def gcs(self) -> bool:
        return isinstance(self.server, GcsServer)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"{self.server.endpoint}{path}", data=body, method=method)
        for name, value in ({} if self.gcs else {"Authorization": "SharedKey a:b"} | {} | given).items():
            request.add_header(name, value)
        for name, value in given.items():
            request.add_header(name, value)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def put(self, key: str, data: bytes, query: str = "", **headers: str) -> Answer:
        if self.gcs:
            path = f"/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={key}{query}"
            return self.ask("POST", path, data, **headers)
        return self.ask("PUT", f"/acc/{self.bucket}/{key}", data, x_ms_blob_type="BlockBlob", **headers)

    def get(self, key: str, **headers: str) -> Answer:
        path = f"/storage/v1/b/{self.bucket}/o/{key}?alt=media" if self.gcs else f"/acc/{self.bucket}/{key}"
        return self.ask("GET", path, **headers)

    def list(self, query: str = "") -> Answer:
        if self.gcs:
            return self.ask("GET", f"/storage/v1/b/{self.bucket}/o?{query}")
        return self.ask("GET", f"/acc/{self.bucket}?restype=container&comp=list&{query}")


@pytest.fixture(params=["gcs", "fast_azure"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    server: Steered = request.getfixturevalue(f"{request.param}_server")
    server.reset()
    yield Wire(server, server.new_bucket())
    server.reset()


def test_errors_are_worded_as_the_service_words_them(wire: Wire) -> None:
    wire.put("a", b"1")
    if wire.gcs:
        error = wire.put("a", b"2", "&ifGenerationMatch=0")
        assert (error.status, error.json["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")
        assert wire.get("b").body.startswith(b"No such object: ")
        wrong = json.dumps({"name": "c", "md5Hash": base64.b64encode(b"0" * 16).decode()}).encode()
        body = b"--x\r\nA: b\r\n\r\n" + wrong + b"\r\n--x\r\nContent-Type: t/t\r\n\r\ndata\r\n--x--\r\n"
        path = f"/upload/storage/v1/b/{wire.bucket}/o?uploadType=multipart"
        refused = wire.ask("POST", path, body, Content_Type="multipart/related; boundary=x")
        assert (refused.status, "MD5 hash" in refused.json["error"]["message"]) == (400, True)
        assert wire.list("versions=true").status == 501
    else:
        for headers, status, code in (
            ({"If_None_Match": "*"}, 409, "BlobAlreadyExists"),
            ({"If_Match": '"0x1"'}, 412, "ConditionNotMet"),
            ({"Content_MD5": base64.b64encode(b"0" * 16).decode()}, 400, "Md5Mismatch"),
            ({"Authorization": ""}, 401, "NoAuthenticationInformation"),
            ({"Authorization": "Bearer guessed"}, 401, "InvalidAuthenticationInfo"),
        ):
            error = wire.put("a", b"2", **headers)
            assert (error.status, error.headers["x-ms-error-code"]) == (status, code)
            assert f"<Code>{code}</Code>".encode() in error.body
        assert wire.ask("PUT", f"/acc/{wire.bucket}/a?comp=lease", b"").status == 501
        assert wire.ask("GET", f"/acc/{wire.bucket}/a?sig=x", Authorization="").body == b"1"
    assert wire.server.objects(wire.bucket) == {"a": b"1"}


def test_pages_with_odd_tokens_and_folders(wire: Wire) -> None:
    wire.server.seed(wire.bucket, ["a/1", "a/2", "b", "c/1", "d"], b"x")
    wire.server.set(odd_pages=True)
    answer = wire.list("delimiter=/&maxResults=2&maxresults=2" if wire.gcs else "delimiter=/&maxresults=2")
    if wire.gcs:
        answer = wire.list("delimiter=/&maxResults=2")
        assert answer.json["prefixes"] == ["a/"]
        assert '<"é>' in answer.json["nextPageToken"]
        assert wire.list("pageToken=wrong").status == 400
    else:
        assert b"<BlobPrefix><Name>a/</Name>" in answer.body
        assert "&lt;&quot;é&gt;</NextMarker>".encode() in answer.body
        assert wire.list("marker=wrong").status == 400
        assert b"<NextMarker></NextMarker>" in wire.list("delimiter=/").body  # the last one: empty, but there


def test_answers_are_edited_and_replaced(wire: Wire) -> None:
    wire.put("k", b"one")
    server = wire.server
    md5 = base64.b64encode(hashlib.md5(b"two").digest()).decode()
    name = "md5Hash" if wire.gcs else "Content-MD5"
    number = server.add(Fault("edit", "PUT|POST", find=f'({name}"?: "?)[^"]*', put=r"\1AAAA"))
    answer = wire.put("k", b"two")
    assert "AAAA" in (answer.body.decode() if wire.gcs else answer.headers["Content-MD5"])
    assert md5 not in f"{answer.body!r}{answer.headers}"
    server.add(Fault("replace", "PUT|POST", status=200, body=b"<html>@@</html>"))
    answer = wire.put("k", b"three")
    assert (answer.status, answer.body) == (200, b"<html>1</html>")
    assert server.objects(wire.bucket) == {"k": b"three"}
    server.add(Fault("edit", "GET", times=9, find=r"(?i)^(?:x-goog-generation|etag): .*", put=""))
    assert {"x-goog-generation", "ETag"} & wire.get("k").headers.keys() == set()
    assert server.used(number) == 1


def test_each_key_is_spoiled_once(wire: Wire) -> None:
    method = "POST" if wire.gcs else "PUT"
    wire.server.add(Fault("status", method, key=r"/(a|b)(\?|$)", times=99, code="busy", once_each=True))
    statuses = [wire.put(key, b"1").status // 100 for key in ("a", "a", "b", "c", "a", "b")]
    assert statuses == [5, 2, 5, 2, 2, 2]


def test_a_bucket_is_kept_and_restored(wire: Wire) -> None:
    wire.put("a", b"1")
    before = wire.list().body
    wire.server.keep(wire.bucket)
    wire.put("a", b"2")
    wire.put("b", b"3")
    wire.server.restore(wire.bucket)
    assert wire.list().body == before
    assert wire.server.objects(wire.bucket) == {"a": b"1"}


def test_access_tokens_are_given_and_expire(wire: Wire) -> None:
    wire.server.set(anonymous=False)
    wire.put("a", b"1")
    path = "/token" if wire.gcs else "/msi/token?resource=https://storage.azure.com"
    token = wire.ask("POST" if wire.gcs else "GET", path).json["access_token"]
    assert wire.get("a", Authorization="Bearer other").status == 401
    assert wire.put("a", b"2", Authorization=f"Bearer {token}").status in (200, 201)
    wire.server.expire(token)
    assert wire.get("a", Authorization=f"Bearer {token}").status == 401
    wire.server.renew()
    assert wire.get("a", Authorization=f"Bearer {token}").body == b"2"


def test_tags_in_another_form(fast_azure_server: Any) -> None:
    wire = Wire(fast_azure_server, fast_azure_server.new_bucket())
    plain = wire.put("a", b"1").headers["ETag"]
    for form, shown in (("upper", plain.upper()), ("weak", f"W/{plain}"), ("bare", plain.strip('"'))):
        wire.server.set(tags={"answered": form})
        assert wire.get("a").headers["ETag"] == shown
    wire.server.set(tags={"answered": "none", "listed": "none"})
    assert "ETag" not in wire.get("a").headers
    assert b"<Etag>" not in wire.list().body
    wire.server.reset()
