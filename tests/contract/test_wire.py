"""Faults on the wire, between the real libraries and real servers: what is retried, what is settled.

The proxy counts at the server; nothing here trusts the client's own word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from contract.subjects import TRANSPORTS, ByThreads, Lane
from metaferry.errors import Conflict, Denied, Throttled, Unavailable
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT
from metaferry.storage.retry.storage import Retrying
from servers.datasource import FreshDatasource
from servers.proxy import Proxy, Rule, proxy

pytestmark = pytest.mark.servers

#: How each library writes: method and path of a put of `key`, of a read and of a listing.
PUT = {"s3": "PUT", "gcs": "POST", "azure": "PUT"}
LISTING = {"s3": r"list-type=2", "gcs": r"/b/[^/]+/o\?", "azure": r"comp=list"}


@dataclass
class Wire:
    kind: str
    url: str
    options: dict[str, Any]
    proxy: Proxy
    portal: Portal
    opened: list[Retrying]
    lane: Lane

    def storage(self, **more: Any) -> Retrying:
        if self.lane == "threads":
            more["wrap"] = ByThreads
        storage = open_storage(
            self.url, self.options, transport=TRANSPORTS[self.lane], **{"retry_for": 60.0, **more}
        )
        self.opened.append(storage)
        return storage

    def spoil(self, action: Any, method: str, **more: Any) -> Rule:
        return self.proxy.add(Rule(action, method=method, **more))

    @property
    def put(self) -> str:
        return PUT[self.kind]

    def puts(self, *, done: bool | None = None) -> int:
        return self.proxy.count(self.put, done=done)


@pytest.fixture(
    params=[(kind, lane) for kind in ("s3", "gcs", "azure") for lane in ("fsspec", "loop", "threads")],
    ids=lambda param: param[0] if param[1] == "fsspec" else "-".join(param),
)
def wire(request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal) -> Iterator[Wire]:
    kind, lane = request.param
    url, options = fresh_datasource(kind)
    upstream = request.getfixturevalue(f"{kind}_server").endpoint
    with proxy(upstream) as control:
        if kind == "azure":
            options = {"connection_string": options["connection_string"].replace(upstream, control.endpoint)}
        else:
            options = {**options, "endpoint_url": control.endpoint}
        wire = Wire(kind, url, options, control, portal, [], lane)
        yield wire
        for storage in wire.opened:
            portal.run(storage.close())


def test_a_request_is_one_request(wire: Wire) -> None:
    """No probe, no second try, nothing but what was asked for; also on the first use of a client."""
    storage = wire.storage()
    wire.portal.run(storage.put("a.json", b"{}"))
    wire.portal.run(storage.put("b.json", b"{}", only_if=ABSENT))
    wire.portal.run(storage.read("a.json", 0, 1))
    assert len(list(wire.portal.iterate(storage.list()))) == 1
    wire.portal.run(storage.delete("a.json"))
    assert [each.status // 100 for each in wire.proxy.requests] == [2] * 5
    counted = storage.requests
    assert (counted.put, counted.get, counted.list, counted.delete, counted.retries) == (2, 1, 1, 1, 0)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_failure_is_tried_again(wire: Wire, status: int) -> None:
    wire.spoil("status", wire.put, status=status, times=2)
    storage = wire.storage()
    wire.portal.run(storage.put("a.json", b"{}"))
    assert (wire.puts(), wire.puts(done=True)) == (3, 1)  # no library tried by itself
    assert (storage.requests.put, storage.requests.retries) == (3, 2)
    assert storage.requests.throttled == (2 if status == 429 else 0)
    assert wire.portal.run(storage.read("a.json")).data == b"{}"


def test_a_store_that_stays_down_is_given_up(wire: Wire) -> None:
    wire.spoil("status", wire.put, status=503, times=10_000)
    wire.spoil("status", "GET|HEAD", status=503, times=10_000)
    storage = wire.storage(retry_for=2.0)
    with pytest.raises((Unavailable, Throttled)) as caught:
        wire.portal.run(storage.put("a.json", b"{}"))
    assert caught.value.status == 503
    assert wire.puts() == storage.requests.put > 1


def test_a_refusal_is_not_tried_again(wire: Wire) -> None:
    wire.spoil("status", wire.put, status=403, times=100)
    storage = wire.storage()
    with pytest.raises(Denied):
        wire.portal.run(storage.put("a.json", b"{}"))
    assert wire.puts() == 1


def test_a_lost_answer_to_a_create_is_our_own(wire: Wire) -> None:
    wire.spoil("lose", wire.put)
    storage = wire.storage()
    put_result = wire.portal.run(storage.put("lease.json", b"mine", only_if=ABSENT))
    blob = wire.portal.run(storage.read("lease.json"))
    assert (blob.data, blob.token) == (b"mine", put_result.token)
    assert wire.puts(done=True) == 2  # done, lost, and refused the second time
    with pytest.raises(Conflict):
        wire.portal.run(storage.put("lease.json", b"another's", only_if=ABSENT))
    assert wire.portal.run(storage.read("lease.json")).data == b"mine"


def test_a_lost_answer_to_a_replacement_is_our_own(wire: Wire) -> None:
    storage = wire.storage()
    old = wire.portal.run(storage.put("doc.json", b"old"))
    wire.spoil("lose", wire.put)
    new = wire.portal.run(storage.put("doc.json", b"new", only_if=old.token))
    blob = wire.portal.run(storage.read("doc.json"))
    assert (blob.data, blob.token) == (b"new", new.token)
    with pytest.raises(Conflict):
        wire.portal.run(storage.put("doc.json", b"stale", only_if=old.token))
    assert wire.portal.run(storage.read("doc.json")).data == b"new"


def test_a_lost_answer_over_a_kept_connection(wire: Wire) -> None:
    """aiohttp sends a PUT again by itself when a kept connection breaks: a conflict on the first
    attempt that we know of may be our own."""
    storage = wire.storage(concurrency=1)
    wire.portal.run(storage.put("warm.json", b"{}"))
    wire.spoil("lose", wire.put)
    put_result = wire.portal.run(storage.put("lease.json", b"mine", only_if=ABSENT))
    assert wire.portal.run(storage.read("lease.json")).token == put_result.token


def test_a_lost_answer_to_a_delete_is_success(wire: Wire) -> None:
    storage = wire.storage()
    put_result = wire.portal.run(storage.put("doc.json", b"old"))
    wire.spoil("lose", "DELETE")
    wire.portal.run(storage.delete("doc.json", only_if=put_result.token))
    assert list(wire.portal.iterate(storage.list())) == []


def test_a_connection_that_breaks_before_anything_is_done(wire: Wire) -> None:
    wire.spoil("drop", wire.put, times=2)
    storage = wire.storage()
    wire.portal.run(storage.put("a.json", b"{}", only_if=ABSENT))
    assert wire.puts(done=True) == 1


def test_a_page_that_failed_is_not_skipped(wire: Wire) -> None:
    storage = wire.storage(page_size=10)
    for number in range(35):
        wire.portal.run(storage.put(f"k{number:02}", b"{}"))
    wire.proxy.clear()
    listing = LISTING[wire.kind]
    pages = wire.portal.iterate(storage.list(), ahead=1)
    listed = [entry.path for entry in next(pages)]
    wire.spoil("status", "GET", key=listing, status=503, times=2)
    wire.spoil("truncate", "GET", key=listing)
    for page in pages:
        listed += [entry.path for entry in page]
    assert listed == [f"k{number:02}" for number in range(35)]
    assert wire.proxy.count("GET", listing) >= 6


def test_a_read_that_breaks_off_is_read_again(wire: Wire) -> None:
    storage = wire.storage()
    data = hashlib.sha512(b"x").digest() * 2000
    put_result = wire.portal.run(storage.put("v.mp4", data))
    wire.spoil("truncate", "GET")
    blob = wire.portal.run(storage.read("v.mp4", 1000, 100_000, version=put_result.token))
    assert blob.data == data[1000:100_000]


def test_a_slow_store_is_waited_for_and_a_dead_one_is_not(wire: Wire) -> None:
    from metaferry.storage.retry.attempts import Policy

    inner = wire.storage().adapter
    storage = Retrying(inner, Policy(retry_for=90.0, deadline=3.0))
    wire.portal.run(inner.put("warm.json", b"{}"))  # the client is made without a deadline
    wire.spoil("wait", wire.put, seconds=0.2)
    wire.portal.run(storage.put("a.json", b"{}"))
    assert storage.requests.retries == 0
    wire.spoil("wait", wire.put, seconds=60.0)
    wire.portal.run(storage.put("b.json", b"{}"))
    assert storage.requests.retries == 1
