"""The S3 server of the tests does what it says: other tests stand on it.

Asked with the vendor's own client where that speaks of it, over a plain connection where not.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servers.proxy import Rule
from servers.s3 import FastS3
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers


class Wire:
    """One kept connection to one new bucket."""

    def __init__(self, server: FastS3) -> None:
        self.server, self.bucket = server, server.new_bucket()
        self.connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=30)

    def ask(self, method: str, key: str, body: bytes = b"", **headers: str) -> tuple[int, Any, bytes]:
        """Status, headers, body. In the names of headers `_` stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self.connection.request(method, f"/{self.bucket}/{key}", body or None, named)
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()  # opened anew by the next request
            raise

    def put(self, key: str, body: bytes = b"{}", **headers: str) -> int:
        return self.ask("PUT", key, body, **headers)[0]


@pytest.fixture
def wire(fast_s3_server: FastS3) -> Iterator[Wire]:
    fast_s3_server.reset()
    wire = Wire(fast_s3_server)
    yield wire
    wire.connection.close()
    fast_s3_server.reset()


@pytest.fixture
def client(wire: Wire) -> Iterator[Any]:
    import botocore.config
    import botocore.session

    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=wire.server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=wire.server.key,
        aws_secret_access_key=wire.server.secret,
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}
        ),
    )
    yield client
    client.close()


# -- the protocol


def test_the_vendors_client_writes_reads_lists_and_deletes(wire: Wire, client: Any) -> None:
    bucket = wire.bucket
    data = bytes(range(256)) * 40
    put = client.put_object(Bucket=bucket, Key="a b/ü+%&.bin", Body=data, Metadata={"by": "us"})
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = client.get_object(Bucket=bucket, Key="a b/ü+%&.bin")
    with got["Body"] as body:
        assert (body.read(), got["Metadata"]) == (data, {"by": "us"})
    got = client.get_object(Bucket=bucket, Key="a b/ü+%&.bin", Range="bytes=-7")
    with got["Body"] as body:
        assert (body.read(), got["ContentRange"]) == (
            data[-7:],
            f"bytes {len(data) - 7}-{len(data) - 1}/10240",
        )
    head = client.head_object(Bucket=bucket, Key="a b/ü+%&.bin")
    assert (head["ContentLength"], head["ETag"]) == (len(data), put["ETag"])
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert [(each["Key"], each["Size"], each["ETag"]) for each in listed] == [
        ("a b/ü+%&.bin", len(data), put["ETag"])
    ]
    done = client.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "a b/ü+%&.bin"}, {"Key": "gone"}]}
    )
    assert [each["Key"] for each in done["Deleted"]] == ["a b/ü+%&.bin", "gone"]
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert client.get_bucket_location(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert bucket in [each["Name"] for each in client.list_buckets()["Buckets"]]


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_listings_are_in_byte_order_page_by_page(wire: Wire, client: Any, version: str) -> None:
    keys = ["a", "a!", "a.b", "a/b", "a/c/d", "a/c/e", "a0", "b/x&<>\n", "z", "é", "\uffee", "😀"]
    wire.server.seed(wire.bucket, reversed(keys))
    assert keys == sorted(keys, key=str.encode)

    def everything(**more: Any) -> list[str]:
        paginator = client.get_paginator(version)
        pages = list(paginator.paginate(Bucket=wire.bucket, PaginationConfig={"PageSize": 2}, **more))
        return [
            *(each["Key"] for page in pages for each in page.get("Contents", [])),
            *(each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])),
        ]

    assert everything() == keys
    assert everything(Prefix="a/") == ["a/b", "a/c/d", "a/c/e"]
    assert everything(Delimiter="/") == [*(key for key in keys if "/" not in key), "a/", "b/"]
    assert everything(Prefix="a/", Delimiter="/") == ["a/b", "a/c/"]
    after = {"Marker" if version == "list_objects" else "StartAfter": "a.b"}
    assert everything(**after) == keys[3:]
    client.delete_object(Bucket=wire.bucket, Key="a/b")
    client.put_object(Bucket=wire.bucket, Key="a+", Body=b"")
    assert everything() == sorted([*keys[:3], *keys[4:], "a+"], key=str.encode)
    assert wire.server.empty(wire.bucket, "a") == 7
    assert everything() == keys[7:]


def test_every_checksum_is_compared(wire: Wire) -> None:
    data = b'{"speed": 3}'
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    right = {
        "x_amz_checksum_crc32": crc,
        "Content_MD5": md5,
        "x_amz_content_sha256": hashlib.sha256(data).hexdigest(),
    }
    for name, value in right.items():
        assert wire.put("right", data, **{name: value}) == 200
        status, _, body = wire.ask("PUT", "wrong", b"other bytes", **{name: value})
        code = b"XAmzContentSHA256Mismatch" if "sha256" in name else b"BadDigest"
        assert (status, code in body) == (400, True), name
    assert wire.server.objects(wire.bucket) == {"right": data}


def test_streaming_bodies_are_taken_apart(wire: Wire) -> None:
    crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    chunks = b"3;chunk-signature=0\r\nhel\r\n2\r\nlo\r\n0\r\n"
    streaming = {
        "x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x_amz_decoded_content_length": "5",
        "x_amz_trailer": "x-amz-checksum-crc32",
    }
    assert wire.put("a", chunks + f"x-amz-checksum-crc32:{crc}\r\n\r\n".encode(), **streaming) == 200
    assert wire.put("b", chunks + b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", **streaming) == 400
    assert wire.put("c", chunks + b"\r\n", **streaming) == 400, "the trailer is missing"
    assert wire.put("d", chunks[:12], **streaming) == 400, "cut off"
    assert wire.server.objects(wire.bucket) == {"a": b"hello"}


def test_conditions(wire: Wire) -> None:
    assert wire.put("a", b"1", If_None_Match="*") == 200
    status, _, body = wire.ask("PUT", "a", b"2", If_None_Match="*")
    assert (status, b"<Condition>If-None-Match</Condition>" in body) == (412, True)
    tag = f'"{hashlib.md5(b"1").hexdigest()}"'
    assert wire.put("a", b"2", If_Match=tag) == 200
    status, _, body = wire.ask("PUT", "a", b"3", If_Match=tag)
    assert (status, b"<Condition>If-Match</Condition>" in body) == (412, True)
    assert wire.put("gone", b"3", If_Match=tag) == 404
    assert wire.ask("DELETE", "a", If_Match=tag)[0] == 412
    assert wire.ask("GET", "a", If_Match=tag)[0] == 412
    wire.server.set(conditions="refuse")
    assert wire.put("a", b"3", If_None_Match="*") == 501
    wire.server.set(conditions="ignore")
    assert wire.put("a", b"3", If_None_Match="*") == 200
    assert wire.server.objects(wire.bucket) == {"a": b"3"}


def test_what_it_does_not_know_is_refused(wire: Wire) -> None:
    for method, key in (("POST", "a?uploads"), ("PUT", "a?tagging"), ("GET", "?versions"), ("GET", "a?acl")):
        status, _, body = wire.ask(method, key)
        assert (status, b"NotImplemented" in body) == (501, True), key
    assert wire.put("b", b"", x_amz_copy_source="/x/y") == 501
    with pytest.raises(ValueError, match="no setting speed"):
        wire.server.set(speed=3)


# -- how it is spoiled


def test_rules_of_the_proxy_and_more(wire: Wire) -> None:
    server = wire.server
    number = server.add(Rule("status", "PUT", r"/a\.json", body=b"busy", headers={"Retry-After": "7"}))
    assert wire.put("b.json") == 200
    status, headers, body = wire.ask("PUT", "a.json", b"{}")
    assert (status, headers["Retry-After"], body) == (503, "7", b"busy")
    assert (wire.put("a.json"), server.used(number)) == (200, 1)
    server.add(Fault("status", "GET", status=403, code="AccessDenied"))
    assert b"<Code>AccessDenied</Code>" in wire.ask("GET", "a.json")[2]
    server.add(Fault("drop", "PUT"))
    with pytest.raises((OSError, http.client.HTTPException)):
        wire.put("dropped")
    server.add(Fault("lose", "PUT"))
    with pytest.raises((OSError, http.client.HTTPException)):
        wire.put("lost")
    assert sorted(server.objects(wire.bucket)) == ["a.json", "b.json", "lost"]
    server.add(Fault("truncate", "GET"))
    with pytest.raises(http.client.IncompleteRead):
        wire.ask("GET", "a.json")
    server.add(Fault("ignore", "PUT", having="If-None-Match"))
    assert wire.put("a.json", b"[]", If_None_Match="*") == 200
    server.add(Fault("flip", "GET"))
    assert wire.ask("GET", "a.json")[2] == b"[\\"
    server.add(Fault("flip", "PUT"))
    assert (
        wire.put("c.json", b"{}", Content_MD5=base64.b64encode(hashlib.md5(b"{}").digest()).decode()) == 400
    )
    puts = [(key.rpartition("/")[2], status, done) for _, _, key, status, done in server.log("PUT")]
    assert puts == [
        ("b.json", 200, True),
        ("a.json", 503, False),
        ("a.json", 200, True),
        ("dropped", 0, False),
        ("lost", 200, True),
        ("a.json", 200, True),
        ("c.json", 400, True),
    ]


def test_chance_comes_from_a_seed(wire: Wire) -> None:
    runs = []
    for _ in range(2):
        wire.server.clear()
        wire.server.add(Fault("status", "PUT", times=1000, chance=0.3, seed=5))
        runs.append([wire.put(f"{n}") for n in range(40)])
    assert runs[0] == runs[1]
    assert 4 < runs[0].count(503) < 22


def test_delays_hold_nobody_else_up(wire: Wire) -> None:
    wire.server.add(Fault("wait", "PUT", "/slow$", seconds=4.0))
    wire.server.add(Fault("slow", "GET", seconds=0.5))
    other = Wire(wire.server)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(wire.put, "slow")
        while wire.server.state()["most_under_way"] == 0:
            pass
        assert other.put("other") == 200
        assert not slow.done()
        assert [other.put(f"{n}") for n in range(20)] == [200] * 20
        assert slow.result() == 200
    start = time.monotonic()
    assert wire.ask("GET", "slow")[2] == b"{}"
    assert time.monotonic() - start >= 0.2, "a lower bound only: its pauses"
    other.connection.close()
    wire.server.set(latency_ms=100)
    start = time.monotonic()
    assert wire.put("a") == 200
    assert time.monotonic() - start >= 0.1


def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    wire.server.add(Fault("wait", "GET", "/0$", seconds=0.3))
    wire.server.seed(wire.bucket, ["0"], b"first")
    wire.server.seed(wire.bucket, ["1"], b"second")
    wire.connection.connect()
    for n in range(2):
        wire.connection.sock.sendall(f"GET /{wire.bucket}/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    said = b""
    while b"second" not in said:
        more = wire.connection.sock.recv(65536)
        assert more, said
        said += more
    assert said.index(b"first") < said.index(b"second")


def test_keys_expire_and_are_renewed(wire: Wire, client: Any) -> None:
    from botocore.exceptions import ClientError

    wire.server.expire("metaferry")
    with pytest.raises(ClientError) as caught:
        client.list_objects_v2(Bucket=wire.bucket)
    assert caught.value.response["Error"]["Code"] == "ExpiredToken"
    wire.server.renew("metaferry")
    assert client.list_objects_v2(Bucket=wire.bucket)["KeyCount"] == 0


def test_tags_that_are_no_md5(wire: Wire) -> None:
    wire.server.set(kms=True)
    tags = [wire.ask("PUT", "a", b"same")[1]["ETag"] for _ in range(2)]
    assert len(set(tags)) == 2
    for tag in tags:
        assert len(bytes.fromhex(tag.strip('"'))) == 16
        assert tag != f'"{hashlib.md5(b"same").hexdigest()}"'


def test_a_cap_on_the_rate(wire: Wire) -> None:
    wire.server.set(cap={"rate": 50, "method": "PUT", "retry_after": 1})
    answers = [wire.ask("PUT", f"{n}", b"{}") for n in range(120)]
    refused = [headers["Retry-After"] for status, headers, _ in answers if status == 503]
    assert refused == ["1"] * len(refused)
    assert refused
    begun = [at for at, _, _, _, done in wire.server.log("PUT") if done]
    assert len(begun) == 120 - len(refused)
    assert all(later - first >= 0.999 for first, later in zip(begun, begun[50:], strict=False))
    assert sum(wire.server.state()["accepted"].values()) == len(begun)


def test_a_cap_on_what_is_under_way(wire: Wire) -> None:
    wire.server.set(cap={"concurrency": 2}, latency_ms=300)
    wires = [Wire(wire.server) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        statuses = list(pool.map(lambda each: each.put("a"), wires))
    assert 2 <= statuses.count(200) < 5
    assert wire.server.state()["most_under_way"] == 2
    for each in wires:
        each.connection.close()
