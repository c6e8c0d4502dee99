"""Who may not, whose key is wrong, and what a store turns out not to be able to do."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterator
from typing import Any, Final

import pytest

from metaferry.errors import Conflict, Corrupt, Denied, Expired, StorageError, Unsupported
from metaferry.storage.capability_probe import Honoured
from metaferry.storage.factory import Transport, open_adapter, open_storage
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import ABSENT
from metaferry.storage.retry.storage import Retrying
from servers.azurite import options_for as azure_options
from servers.datasource import FreshDatasource
from servers.gcs import GcsServer
from servers.ministack import S3Server
from servers.proxy import Proxy, Rule, proxy
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers

#: The two ways in which S3 is spoken to.
BOTH: Final[tuple[Transport, ...]] = ("fsspec", "auto")


async def first_page(storage: Retrying) -> None:
    async for _ in storage.list():
        return


def operations(storage: Retrying) -> dict[str, Coroutine[Any, Any, Any]]:
    return {
        "listing": first_page(storage),
        "reading": storage.read("there.json"),
        "writing": storage.put("there.json", b"{}"),
        "deleting": storage.delete("there.json"),
    }


def refused(
    url: str,
    options: dict[str, Any],
    portal: Portal,
    kind: type[StorageError],
    transport: Transport = "fsspec",
) -> list[Any]:
    """Every operation is refused with `kind`, at the first attempt; the errors."""
    storage = open_storage(url, options, retry_for=60.0, transport=transport)
    errors = []
    for doing, work in operations(storage).items():
        with pytest.raises(kind) as caught:
            portal.run(work)
        assert doing in str(caught.value)
        assert caught.value.advice
        errors.append(caught.value)
    assert storage.requests.retries == (0 if kind is Denied else 4)  # one renewal each
    portal.run(storage.close())
    return errors


@pytest.mark.parametrize("transport", BOTH)
@pytest.mark.parametrize("wrong", ["key", "secret"])
def test_a_wrong_key_on_s3(
    fresh_datasource: FreshDatasource, portal: Portal, wrong: str, transport: Transport
) -> None:
    url, options = fresh_datasource("seaweedfs")
    errors = refused(url, {**options, wrong: "hunter2"}, portal, Denied, transport)
    assert {error.status for error in errors} == {403}
    assert "hunter2" not in "".join(str(error) + error.advice for error in errors)


@pytest.mark.parametrize("transport", BOTH)
def test_nobody_on_s3(fresh_datasource: FreshDatasource, portal: Portal, transport: Transport) -> None:
    url, options = fresh_datasource("seaweedfs")
    anonymous = {name: value for name, value in options.items() if name not in ("key", "secret")}
    refused(url, {**anonymous, "anon": True}, portal, Denied, transport)


def test_a_wrong_key_on_azure(fresh_datasource: FreshDatasource, portal: Portal, azure_server: Any) -> None:
    url, _ = fresh_datasource("azure")
    errors = refused(url, azure_options(azure_server.endpoint, "aHVudGVyMg=="), portal, Denied)
    assert {error.status for error in errors} == {403}


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (401, Expired)])
def test_a_refusal_on_gcs(
    fresh_datasource: FreshDatasource,
    portal: Portal,
    gcs_server: GcsServer,
    status: int,
    kind: type[StorageError],
) -> None:
    url, options = fresh_datasource("gcs")
    code = {401: "authError", 403: "forbidden"}[status]
    gcs_server.add(Fault("status", times=99, status=status, code=code))
    try:
        errors = refused(url, options, portal, kind)
    finally:
        gcs_server.reset()
    assert {error.status for error in errors} == {status}


def test_gcs_never_becomes_nobody_by_itself(
    fresh_datasource: FreshDatasource, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gcsfs falls back to anonymous when it finds no credentials; we say that there are none."""
    from gcsfs.credentials import GoogleCredentials

    def found_nothing(self: Any, method: Any = None) -> None:
        self.credentials = None

    monkeypatch.setattr(GoogleCredentials, "connect", found_nothing)
    url, options = fresh_datasource("gcs")
    storage = open_storage(url, {**options, "token": None}, retry_for=0.0)
    with pytest.raises(Denied) as caught:
        portal.run(storage.read("x"))
    assert caught.value.code == "NoCredentials"
    portal.run(storage.close())


def test_a_flipped_byte_from_gcs_is_noticed(
    fresh_datasource: FreshDatasource, portal: Portal, gcs_server: GcsServer
) -> None:
    url, options = fresh_datasource("gcs")
    adapter = open_adapter(url, options)
    portal.run(adapter.put("doc.json", b'{"scene": "day"}'))
    gcs_server.add(Fault("flip", "GET", times=99))
    try:
        with pytest.raises(Corrupt):
            portal.run(adapter.read("doc.json"))
    finally:
        gcs_server.reset()
    portal.run(adapter.close())


@pytest.fixture(params=["fsspec", "auto"])
def s3_wire(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, s3_server: S3Server, portal: Portal
) -> Iterator[tuple[Retrying, Proxy]]:
    url, options = fresh_datasource("s3")
    with proxy(s3_server.endpoint) as control:
        options = {**options, "endpoint_url": control.endpoint}
        storage = open_storage(url, options, retry_for=10.0, transport=request.param)
        yield storage, control
        portal.run(storage.close())


NOT_IMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>A header implies ...</Message></Error>"
INVALID = b"<Error><Code>InvalidArgument</Code><Message>If-None-Match</Message></Error>"


@pytest.mark.parametrize(("status", "body"), [(501, NOT_IMPLEMENTED), (501, b""), (400, INVALID)])
def test_a_store_without_conditional_writes_is_found_out_once(
    s3_wire: tuple[Retrying, Proxy],
    portal: Portal,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
) -> None:
    storage, control = s3_wire
    for header in ("If-None-Match", "If-Match"):
        control.add(Rule("status", "PUT|DELETE", having=header, times=99, status=status, body=body))
    assert storage.capabilities.conditional
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        put_result = portal.run(storage.put("a.json", b"1", only_if=ABSENT))
        assert not storage.capabilities.conditional
        assert storage.capabilities.listing_md5
        # Best effort from here on: checked just before.
        with pytest.raises(Conflict):
            portal.run(storage.put("a.json", b"2", only_if=ABSENT))
        new = portal.run(storage.put("a.json", b"3", only_if=put_result.token))
        with pytest.raises(Conflict):
            portal.run(storage.put("a.json", b"4", only_if=put_result.token))
        with pytest.raises(Conflict):
            portal.run(storage.delete("a.json", only_if=put_result.token))
        portal.run(storage.delete("a.json", only_if=new.token))
    assert caplog.text.count("no conditional writes") == 1
    assert control.count("PUT", done=False) == 1  # the header was tried once, and never again


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_store_that_ignores_conditions_is_found_out_by_asking(
    s3_wire: tuple[Retrying, Proxy], portal: Portal, ignoring: bool
) -> None:
    storage, control = s3_wire
    if ignoring:
        for header in ("If-None-Match", "If-Match"):
            control.add(Rule("ignore", "PUT", having=header, times=99))
    found = portal.run(storage.probe_conditions(".metaferry/probe"))
    assert found == Honoured(not ignoring, not ignoring, True)
    assert storage.capabilities.conditional is not ignoring
    assert list(portal.iterate(storage.list())) == []
    put_result = portal.run(storage.put("a.json", b"1", only_if=ABSENT))
    with pytest.raises(Conflict):
        portal.run(storage.put("a.json", b"2", only_if=ABSENT))
    portal.run(storage.put("a.json", b"3", only_if=put_result.token))
    with pytest.raises(Conflict):
        portal.run(storage.put("a.json", b"4", only_if=put_result.token))
    assert portal.run(storage.read("a.json")).data == b"3"


def test_another_complaint_is_not_taken_for_a_missing_feature(
    s3_wire: tuple[Retrying, Proxy], portal: Portal
) -> None:
    storage, control = s3_wire
    control.add(Rule("status", "PUT", times=99, status=400, body=INVALID))
    with pytest.raises(Unsupported):
        portal.run(storage.put("a.json", b"1", only_if=ABSENT))
    assert storage.capabilities.conditional


def test_a_put_answered_with_a_wrong_tag_is_read_back(
    s3_wire: tuple[Retrying, Proxy], portal: Portal
) -> None:
    """Our bytes are there, and under their MD5: only the answer was wrong."""
    storage, control = s3_wire
    portal.run(storage.put("a.json", b"1"))
    assert storage.capabilities.listing_md5
    tag = "0123456789abcdef0123456789abcdef"
    control.add(Rule("status", "PUT", status=200, headers={"ETag": f'"{tag}"'}))
    put_result = portal.run(storage.put("a.json", b"1"))
    assert (put_result.token, put_result.md5) == ("c4ca4238a0b923820dcc509a6f75849b",) * 2
    assert storage.capabilities.listing_md5
