"""Puts from threads to each object store: what arrives there, and who is asked to do it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.pairs import Pair, paired
from contract.subjects import pages_of
from metaferry.errors import Conflict, Corrupt, Denied, NotFound, Unavailable, Unsupported
from metaferry.progress import Silent
from metaferry.runs.in_place import read_in_place
from metaferry.storage.factory import Transport
from metaferry.storage.http.adapter import HttpAdapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT, Batched
from metaferry.storage.retry.storage import Retrying
from metaferry.storage.waits import Drain
from servers.azurite import ACCOUNT, KEY, options_for
from servers.datasource import FreshDatasource
from servers.proxy import Rule

pytestmark = pytest.mark.servers


@pytest.fixture(params=["s3", "gcs", "azure"])
def pair(request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal) -> Iterator[Pair]:
    with paired(request.param, request, fresh_datasource, portal) as pair:
        yield pair


#: Headers of one client or one moment.
OWN = {
    "user-agent",
    "accept",
    "accept-encoding",
    "connection",
    "authorization",
    "x-ms-date",
    "x-ms-client-request-id",
    "x-ms-return-client-request-id",
}


@pytest.mark.parametrize("pair", ["gcs", "azure"], indirect=True)  # on S3 they send other checksums
@pytest.mark.parametrize("only_if", [None, "absent", "token"])
def test_a_thread_says_what_the_library_says(pair: Pair, only_if: str | None) -> None:
    said = []
    for transport in ("fsspec", "auto"):
        adapter = pair.adapter(transport)
        token = pair.run(adapter.put("a/é b+%.json", b"old")).token if only_if == "token" else None
        more: dict[str, Any] = {} if only_if is None else {"only_if": token or ABSENT}
        pair.tap.seen.clear()
        if transport == "auto":
            pair.put(adapter, "a/é b+%.json", b'{"a": 1}', **more)
        else:
            pair.run(adapter.put("a/é b+%.json", b'{"a": 1}', **more))
        (request,) = pair.tap.seen
        headers = {
            name.lower(): value.replace(token, "TOKEN") if token else value
            for name, value in request.headers.items()
            if name.lower() not in OWN
        }
        target = request.raw_path.replace(token, "TOKEN") if token else request.raw_path
        said.append((request.method, target, headers, pair.tap.bodies[-1]))
        pair.run(adapter.delete("a/é b+%.json"))
    assert said[0] == said[1]


def test_what_a_thread_wrote_is_listed_and_replaced_by_the_library(pair: Pair) -> None:
    adapter = pair.adapter()
    assert isinstance(adapter, HttpAdapter)
    assert isinstance(adapter, Batched)
    put_result = pair.put(adapter, "a/é.json", b'{"a": 1}')
    transports: tuple[Transport, ...] = ("fsspec", "auto")
    for transport in transports:
        ((entry,),) = pair.run(pages_of(pair.adapter(transport)))
        assert (entry.path, entry.token, entry.md5) == ("a/é.json", put_result.token, put_result.md5)
    assert put_result.md5 == hashlib.md5(b'{"a": 1}').hexdigest()
    second = pair.run(pair.adapter("fsspec").put("a/é.json", b"2", only_if=entry.token))
    third = pair.put(adapter, "a/é.json", b"3", only_if=second.token)
    with pytest.raises(Conflict):
        pair.put(adapter, "a/é.json", b"4", only_if=second.token)
    assert pair.run(adapter.read("a/é.json", version=third.token)).data == b"3"


def test_many_threads_share_few_connections(pair: Pair) -> None:
    adapter = pair.adapter()

    def batch(number: int) -> dict[str, str]:
        names = [f"doc-{number:02}-{n:02}.json" for n in range(20)]
        md5 = hashlib.md5(b"{}").hexdigest()
        met = adapter.put_batch([(name, b"{}", ABSENT, md5) for name in names], ended=lambda: False)
        return dict(zip(names, met, strict=True))

    with ThreadPoolExecutor(8) as threads:
        written = {name: token for part in threads.map(batch, range(16)) for name, token in part.items()}
    listed = {entry.path: entry.token for page in pair.run(pages_of(adapter)) for entry in page}
    assert listed == written
    assert pair.wire.count(pair.method) == 320  # one request each, and no more
    # One each, and those of the listing.
    assert len(pair.tap.peers) <= 8 + 1


def test_a_batch_goes_on_after_one_that_failed(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "there.json", b"theirs")
    keys = ["a.json", "a//b.json", "there.json", "d/e.json", "dots/../x.json"]
    md5 = hashlib.md5(b"{}").hexdigest()
    met = adapter.put_batch([(key, b"{}", ABSENT, md5) for key in keys], ended=lambda: False)
    left = type(None)  # to `put`: clients encode such keys in different ways, or resolve them
    assert [type(each) for each in met] == [str, left, Conflict, str, left]
    for n in (0, 3):
        assert pair.run(adapter.read(keys[n])).token == met[n]
    pair.run(adapter.put(keys[1], b"{}", only_if=ABSENT))
    with pytest.raises(Unsupported):
        pair.run(adapter.put(keys[4], b"{}", only_if=ABSENT))
    listed = sorted(entry.path for page in pair.run(pages_of(adapter)) for entry in page)
    assert listed == ["a.json", "a//b.json", "d/e.json", "there.json"]


def test_a_replacement_of_what_is_gone_is_a_conflict(pair: Pair) -> None:
    adapter = pair.adapter()
    put_result = pair.put(adapter, "a.json", b"1")
    pair.run(adapter.delete("a.json"))
    with pytest.raises(Conflict) as caught:
        pair.put(adapter, "a.json", b"2", only_if=put_result.token)
    with pytest.raises(Conflict) as by_library:
        pair.run(pair.adapter("fsspec").put("a.json", b"2", only_if=put_result.token))
    assert str(caught.value) == str(by_library.value)
    assert pair.run(pages_of(adapter)) == [[]]


@pytest.mark.parametrize("pair", ["gcs", "azure"], indirect=True)  # for S3, test_s3_wire has it
def test_a_body_that_changes_on_its_way_is_refused_by_the_store(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.tap.spoil = lambda body: body.replace(b'"day"', b'"dax"')
    with pytest.raises(Corrupt):
        pair.put(adapter, "a.json", b'{"scene": "day"}')
    pair.tap.spoil = None
    assert pair.run(pages_of(adapter)) == [[]]


def test_a_missing_bucket_is_named(pair: Pair) -> None:
    pair.lose_bucket()
    for only_if in (ABSENT, "1700"):
        with pytest.raises(NotFound) as caught:
            pair.put(pair.adapter(), "a.json", b"{}", only_if=only_if)
        assert caught.value.path == ""


def test_a_put_ends_by_itself(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpAdapter, "timeout", 0.3)
    adapter = pair.adapter()
    pair.wire.add(Rule("wait", pair.method, seconds=15.0))
    with pytest.raises(Unavailable):
        pair.put(adapter, "a.json", b"{}")


def test_renewed_credentials_and_closed_adapters(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "a.json", b"1")
    before = len(pair.tap.peers)
    pair.run(adapter.renew())
    pair.put(adapter, "b.json", b"2")
    assert len(pair.tap.peers) == before + 1  # a new connection, with new credentials
    pair.run(adapter.close())
    pair.run(adapter.close())


# -- who may, on Azure


@pytest.fixture
def azure(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, portal: Portal
) -> Iterator[Pair]:
    with paired("azure", request, fresh_datasource, portal) as pair:
        yield pair


def with_sas(pair: Pair, rights: str) -> dict[str, Any]:
    from azure.storage.blob import generate_container_sas

    container = pair.url.removeprefix("az://").partition("/")[0]
    sas = generate_container_sas(
        ACCOUNT, container, KEY, permission=rights, expiry=datetime.now(UTC) + timedelta(hours=1)
    )
    endpoint = f"BlobEndpoint={pair.wire.endpoint}/{ACCOUNT}"
    return {"connection_string": f"{endpoint};SharedAccessSignature={sas}"}


def test_a_signature_for_a_container(azure: Pair) -> None:
    adapter = azure.adapter(**with_sas(azure, "racwdl"))
    azure.put(adapter, "a/é b.json", b"1", only_if=ABSENT)
    azure.run(adapter.put("b.json", b"2"))
    assert [entry.path for entry in azure.run(pages_of(adapter))[0]] == ["a/é b.json", "b.json"]
    reader = azure.adapter(**with_sas(azure, "rl"))
    with pytest.raises(Denied) as caught:
        azure.put(reader, "c.json", b"3")
    assert "sig" not in str(caught.value)


def test_a_wrong_key(azure: Pair) -> None:
    adapter = azure.adapter(**options_for(azure.wire.endpoint, "aHVudGVyMg=="))
    with pytest.raises(Denied) as caught:
        azure.put(adapter, "a.json", b"1")
    assert caught.value.status == 403


def test_a_batch_of_reads_is_what_the_library_reads(pair: Pair) -> None:
    adapter = pair.adapter()
    bodies = {f"doc-{n:02}.json": b"x" * n for n in range(1, 40)}
    for name, data in bodies.items():
        pair.put(adapter, name, data)
    reads = [(name, len(data)) for name, data in bodies.items()]
    found = adapter.read_batch(reads, ended=lambda: False)
    assert [blob.data for blob in found if blob is not None] == list(bodies.values())
    assert found[-1] == pair.run(pair.adapter("fsspec").read("doc-39.json"))


def test_a_batch_of_reads_leaves_what_needs_more_to_the_library(pair: Pair) -> None:
    adapter = pair.adapter()
    pair.put(adapter, "a.json", b"{}")
    pair.run(pair.adapter("fsspec").put("empty.json", b""))
    pair.wire.add(Rule("status", method="GET", key="busy"))
    pair.put(adapter, "busy.json", b"{}")
    names = ["gone.json", "a.json", "empty.json", "busy.json", "a//b.json", "a.json"]
    found = adapter.read_batch([(name, 10) for name in names], ended=lambda: False)
    assert [None if blob is None else blob.data for blob in found] == [None, b"{}", None, None, None, b"{}"]
    assert list(adapter.read_batch([(name, 10) for name in names], ended=lambda: True)) == [None] * 6


def test_documents_in_place_are_read_whole_and_what_failed_again(pair: Pair, portal: Portal) -> None:
    storage = Retrying(pair.adapter())
    adapter = pair.adapter()
    for n in range(70):
        pair.put(adapter, f"{n:02}.json", b"%d" % n * 30)
    pair.put(adapter, "longer.json", b"y" * 300)
    pair.run(pair.adapter("fsspec").put("empty.json", b""))
    pair.wire.add(Rule("status", method="GET", key="07.json"))
    rows = [
        *((f"{n:02}.json", len(b"%d" % n * 30)) for n in range(70)),
        ("longer.json", 20),
        ("empty.json", 0),
    ]
    found = dict(read_in_place(storage, portal, [*rows, ("gone.json", 5)], Silent()))
    assert found.pop("gone.json") is None
    assert (found.pop("longer.json"), found.pop("empty.json")) == (b"y" * 300, b"")
    assert found == {f"{n:02}.json": b"%d" % n * 30 for n in range(70)}
    assert storage.requests.get >= 73
    storage.drained_by(Drain())
    assert not storage.reads_directly
