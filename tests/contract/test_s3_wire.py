"""What goes over the wire to S3, seen at the server: headers, checksums, connections, pages."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from contract.subjects import TRANSPORTS, ByThreads, Lane, keys_of, pages_of
from metaferry.errors import Corrupt, StorageError, Unavailable
from metaferry.storage.factory import open_adapter
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.proxy import Rule, Tap, proxy

pytestmark = pytest.mark.servers


@pytest.fixture(params=["fsspec", "loop", "threads"])
def lane(request: pytest.FixtureRequest) -> Lane:
    chosen: Lane = request.param
    return chosen


def opened(url: str, options: dict[str, Any], lane: Lane) -> Any:
    adapter = open_adapter(url, options, transport=TRANSPORTS[lane], concurrency=8)
    return ByThreads(adapter) if lane == "threads" else adapter


def flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


@pytest.fixture(params=["s3", "seaweedfs"])
def store(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, lane: Lane, portal: Portal
) -> Iterator[tuple[Any, Tap]]:
    url, options = fresh_datasource(request.param)
    upstream = request.getfixturevalue(f"{request.param}_server").endpoint
    with proxy(upstream) as control:
        tap = Tap(control)
        adapter = opened(url, {**options, "endpoint_url": control.endpoint}, lane)
        yield adapter, tap
        portal.run(adapter.close())


def test_a_put_is_one_plain_signed_request(store: tuple[Any, Tap], portal: Portal, lane: Lane) -> None:
    adapter, tap = store
    data = b'{"scene": "day"}'
    portal.run(adapter.put("a.json", data))
    (sent,) = tap.seen
    assert "Expect" not in sent.headers  # a round trip, and a wait without a limit
    assert sent.headers.get("Transfer-Encoding") is None
    assert "Content-Encoding" not in sent.headers
    assert sent.headers["Content-Length"] == str(len(data))
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    checksum = "x-amz-checksum-crc32" if lane == "fsspec" else "x-amz-checksum-sha256"
    assert checksum in sent.headers
    assert checksum in sent.headers["Authorization"]  # signed with the rest


def test_a_body_that_changed_on_its_way_is_refused(
    fresh_datasource: FreshDatasource, seaweedfs_server: Any, portal: Portal, lane: Lane
) -> None:
    url, options = fresh_datasource("seaweedfs")
    with proxy(seaweedfs_server.endpoint) as control:
        tap = Tap(control)
        adapter = opened(url, {**options, "endpoint_url": control.endpoint}, lane)
        tap.spoil = flipped
        with pytest.raises(StorageError) as caught:
            portal.run(adapter.put("a.json", b'{"scene": "day"}'))
        assert type(caught.value) in (Corrupt, Unavailable) or caught.value.status in (400, 403)
        tap.spoil = None
        assert portal.run(keys_of(adapter)) == []
        portal.run(adapter.close())


def test_connections_are_as_many_as_the_concurrency_and_kept(
    store: tuple[Any, Tap], portal: Portal, lane: Lane
) -> None:
    adapter, tap = store

    async def write() -> None:
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            async with gate:
                await adapter.put(f"{number}.json", b"{}")

        await asyncio.gather(*map(one, range(160)))

    portal.run(write())
    assert len(tap.peers) <= 8 + 2  # one may be replaced, none is opened for each request


def test_no_other_event_loop_is_put_in_place() -> None:
    assert "uvloop" not in sys.modules


PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>{}
<EncodingType>url</EncodingType><Contents><Key>data/2026/a%0Ab.json</Key><ETag>&quot;x&quot;</ETag>
<Size>{}</Size><LastModified>2026-11-23T03:31:41.000Z</LastModified></Contents></ListBucketResult>"""


@pytest.mark.parametrize("strange", ["", "<!-- not plain: botocore reads this one -->"])
def test_a_page_is_the_same_whoever_reads_it(store: tuple[Any, Tap], portal: Portal, strange: str) -> None:
    adapter, tap = store
    body = PAGE.format(strange, 7).encode()
    tap.control.add(Rule("status", "GET", status=200, body=body, headers={"Content-Type": "application/xml"}))
    ((entry,),) = portal.run(pages_of(adapter))
    assert (entry.path, entry.size, entry.token, entry.md5) == ("a\nb.json", 7, "x", None)
    assert entry.mtime == 1795404701.0


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>InternalError</Code><Message>m</Message></Error>",
        b"<Error><Code>SlowDown</Code></Error>",
        PAGE.format("", "7</Size><Size>8").encode(),
        PAGE.format("", "seven").encode(),
        PAGE.replace("<Size>{}</Size>", "").format("").encode(),
        PAGE.format("", 7).encode()[:-30],
        b"",
    ],
    ids=["error", "slow-down", "twice", "no-number", "missing", "cut", "empty"],
)
def test_a_page_that_is_none_is_no_empty_page(store: tuple[Any, Tap], portal: Portal, body: bytes) -> None:
    adapter, tap = store
    tap.control.add(Rule("status", "GET", status=200, body=body))
    with pytest.raises(StorageError) as caught:
        portal.run(adapter.list_page(""))
    assert caught.value.retryable
