"""Requests to Azure: signed as Microsoft's library would, and by whom it would; and what the answers mean."""

from __future__ import annotations

import base64
import hashlib
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.rest import HttpRequest
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
from hypothesis import given
from hypothesis import strategies as st

from metaferry.errors import Corrupt, Expired, Unavailable
from metaferry.storage.answers import Refused
from metaferry.storage.azure import config as fast_azure
from metaferry.storage.azure.adapter import AzureAdapter
from metaferry.storage.azure.config import AzureConfig, Bearer
from metaferry.storage.azure.requests import AzureEndpoint, AzureRequests, Credential, SharedKey
from metaferry.storage.errors import Failure, classify
from metaferry.storage.factory import open_adapter
from metaferry.storage.http.exchange import Answer, Request
from metaferry.storage.http.network import UnsupportedOption
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition

NOW = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
KEY = base64.b64encode(b"hunter2-the-account-key").decode()
MD5 = base64.b64encode(hashlib.md5(b"{}").digest()).decode()


def taken_apart(request: Request) -> tuple[str, dict[str, str]]:
    """Target and headers."""
    target = request.url.partition("://")[2].partition("/")[2]
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in request.headers)}
    assert len(headers) == len(request.headers), "no header comes twice"
    return f"/{target}", headers


def librarys(url: str, request: Request) -> str:
    """What Microsoft's own library signs a request like this one with."""
    _, headers = taken_apart(request)
    headers.pop("Authorization")
    if request.body:  # as the client sends it
        headers["Content-Length"] = str(len(request.body))
    asked: Any = HttpRequest(request.method, request.url, headers=headers)
    SharedKeyCredentialPolicy("acc", KEY).on_request(
        PipelineRequest(asked, PipelineContext(None))  # type: ignore[arg-type] # no transport, no yarl
    )
    return str(asked.headers["Authorization"])


@given(
    url=st.sampled_from(["https://acc.blob.core.windows.net/fleet", "http://127.0.0.1:1/acc/fleet"]),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40),
    data=st.binary(max_size=40),
    only_if=st.sampled_from([ANYTHING, ABSENT, "0x8DE2A5B1C2D3E4F"]),
)
def test_the_signature_is_the_librarys(url: str, key: str, data: bytes, only_if: Precondition) -> None:
    endpoint = AzureEndpoint(url, "", "2025-11-05")
    codec = AzureRequests(endpoint, SharedKey("acc", KEY), now=lambda: NOW)
    request = codec.put(key, data, "application/json", only_if)
    _, headers = taken_apart(request)
    assert headers["Authorization"] == librarys(url, request)
    # What the library signs of it was looked at; that it is what was meant is looked at here.
    assert (request.method, request.body) == ("PUT", data)
    assert headers["Content-MD5"] == headers["x-ms-blob-content-md5"]
    assert base64.b64decode(headers["Content-MD5"]) == hashlib.md5(data).digest()
    assert headers["x-ms-date"] == "Mon, 23 Nov 2026 01:02:03 GMT"
    assert headers["x-ms-version"] == "2025-11-05"
    assert headers["x-ms-blob-content-type"] == "application/json"
    assert headers.get("If-None-Match") == ("*" if only_if is ABSENT else None)
    assert headers.get("If-Match") == (f'"{only_if}"' if isinstance(only_if, str) else None)


@given(
    url=st.sampled_from(["https://acc.blob.core.windows.net/fleet", "http://127.0.0.1:1/acc/fleet"]),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40),
    start=st.integers(0, 1 << 40),
    size=st.one_of(st.none(), st.integers(1, 1 << 40)),
    version=st.sampled_from([None, "0x8DE2A5B1C2D3E4F"]),
)
def test_reads_and_deletes_are_signed_as_the_library_would(
    url: str, key: str, start: int, size: int | None, version: str | None
) -> None:
    codec = AzureRequests(AzureEndpoint(url, "", "2025-11-05"), SharedKey("acc", KEY), now=lambda: NOW)
    end = None if size is None else start + size
    for request in (codec.read(key, start, end, version), codec.delete(key)):
        _, headers = taken_apart(request)
        assert headers["Authorization"] == librarys(url, request)
        if request.method == "GET":
            assert headers["x-ms-range"] == f"bytes={start}-{'' if end is None else end - 1}"
            assert headers.get("If-Match") == (None if version is None else f'"{version}"')


def test_the_date_is_of_this_second() -> None:
    now, clock = [NOW], [0.0]
    codec = AzureRequests(
        AzureEndpoint("https://h/c", "", "v"), Credential(), now=lambda: now[0], clock=lambda: clock[0]
    )

    def date() -> str:
        return taken_apart(codec.put("a", b"", "k", ANYTHING))[1]["x-ms-date"]

    assert date() == "Mon, 23 Nov 2026 01:02:03 GMT"
    now[0] += timedelta(seconds=7)
    clock[0] = 0.9
    assert date().endswith("01:02:03 GMT")
    clock[0] = 1.0
    assert date().endswith("01:02:10 GMT")


# -- who signs


class Token(NamedTuple):
    token: str
    expires_on: int


class Tokens:
    """As azure-identity's: tokens that are good for an hour."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = NOW
        self.error: Exception | None = None

    def get_token(self, scope: str) -> Token:
        self.asked.append(scope)
        if self.error is not None:
            raise self.error
        return Token(f"t0k3n-{len(self.asked)}", int(self.now.timestamp()) + 3600)


def test_an_access_token_is_renewed_before_it_ends() -> None:
    credential = Tokens()
    bearer = Bearer(credential, now=lambda: credential.now)
    codec = AzureRequests(AzureEndpoint("https://h/c", "", "v"), bearer)

    def said() -> str:
        return taken_apart(codec.put("a", b"", "k", ANYTHING))[1]["Authorization"]

    assert [said(), said()] == ["Bearer t0k3n-1"] * 2
    credential.now += timedelta(minutes=54)
    assert said() == "Bearer t0k3n-1"
    credential.now += timedelta(minutes=2)
    assert said() == "Bearer t0k3n-2"
    assert credential.asked == ["https://storage.azure.com/.default"] * 2
    assert "t0k3n" not in repr(bearer)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClientAuthenticationError("no hunter2"), Expired),
        (ServiceRequestError("no net"), Unavailable),
        (ConnectionError("no net"), Unavailable),
    ],
)
def test_where_no_token_can_be_had(error: Exception, kind: type[Exception]) -> None:
    credential = Tokens()
    credential.error = error
    with pytest.raises(Refused) as caught:
        Bearer(credential).authorization("", "")
    assert classify(caught.value.failure) is kind
    credential.error = None
    (line,) = Bearer(credential).authorization("", "")
    assert line.startswith("Authorization: Bearer ")


def test_secrets_are_in_no_representation() -> None:
    endpoint = AzureEndpoint("https://h/c", "sv=1&sig=hunter2", "v")
    assert "hunter2" not in repr(endpoint)
    assert KEY not in repr(SharedKey("acc", KEY))


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def string(endpoint: str, *more: str) -> dict[str, str]:
    return {"connection_string": ";".join((f"BlobEndpoint={endpoint}", *more))}


ACCOUNT = ("AccountName=acc", f"AccountKey={KEY}")


def said_to(options: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Target and headers of a put."""
    requests = AzureConfig("fleet", "data/", options, concurrency=1).open().requests
    request = requests.put("data/a.json", b"{}", "k", ANYTHING)
    target, headers = taken_apart(request)
    return target, {"Host": request.url.partition("://")[2].partition("/")[0], **headers}


def test_a_key_signs(no_proxy: pytest.MonkeyPatch) -> None:
    for options in (
        string("https://acc.blob.core.windows.net", *ACCOUNT),
        {"account_name": "acc", "account_key": KEY},
    ):
        target, headers = said_to(options)
        assert (target, headers["Host"]) == ("/fleet/data/a.json", "acc.blob.core.windows.net")
        assert headers["Authorization"].startswith("SharedKey acc:")


def test_a_signature_in_the_query_is_sent_as_it_is(no_proxy: pytest.MonkeyPatch) -> None:
    sas = "sv=2025-11-05&sp=racwdl&sig=ab%2Bcd%3D"
    for options in (
        string("https://acc.blob.core.windows.net", f"SharedAccessSignature={sas}"),
        {"account_name": "acc", "sas_token": sas},
        {"account_name": "acc", "credential": sas},
    ):
        target, headers = said_to(options)
        assert target == f"/fleet/data/a.json?{sas}"
        assert "Authorization" not in headers


def test_nobody_signs_nothing(no_proxy: pytest.MonkeyPatch) -> None:
    target, headers = said_to({"account_name": "acc", "anon": True})
    assert target == "/fleet/data/a.json"
    assert "Authorization" not in headers


def test_an_access_token_is_sent_over_tls_only(no_proxy: pytest.MonkeyPatch) -> None:
    options = {"account_name": "acc", "client_id": "c", "client_secret": "s", "tenant_id": "t"}
    requests = AzureConfig("fleet", "", options, concurrency=1).open().requests
    assert isinstance(requests, AzureRequests)
    assert isinstance(requests._credential, Bearer)
    client = fast_azure.file_system(options)
    plain = SimpleNamespace(
        service_client=SimpleNamespace(
            credential=client.credential,
            get_container_client=lambda _: SimpleNamespace(
                get_blob_client=lambda name: SimpleNamespace(url=f"http://h/fleet/{name}"), api_version="v"
            ),
        ),
        sync_credential=client.sync_credential,
    )
    no_proxy.setattr(fast_azure, "file_system", lambda _: plain)
    with pytest.raises(UnsupportedOption, match="without TLS"):
        AzureConfig("fleet", "", options, concurrency=1).open()
    plain.sync_credential = None  # one that the caller made, for event loops alone
    with pytest.raises(UnsupportedOption, match="kind of credential"):
        AzureConfig("fleet", "", options, concurrency=1).open()


def test_what_the_library_does_otherwise_is_left_to_it(
    no_proxy: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(UnsupportedOption, match="credential"):
        AzureConfig("fleet", "", {"account_name": "acc", "credential": Tokens()}, concurrency=1)
    adapter = open_adapter("az://fleet", {"account_name": "acc", "credential": Tokens()})
    assert isinstance(adapter, AzureAdapter)  # its puts may be divided among processes
    assert "through fsspec alone, on account of credential" in caplog.text
    for wrong in ({"connection_string": "none"}, string("https://h", "AccountName=a", "AccountKey=a")):
        with pytest.raises(UnsupportedOption) as caught:
            AzureConfig("fleet", "", wrong, concurrency=1).open()
        assert "none;" not in str(caught.value)


def test_a_proxy_of_the_environment_is_used(no_proxy: pytest.MonkeyPatch) -> None:
    options = string("https://acc.blob.core.windows.net", *ACCOUNT)

    def proxy() -> str | None:
        return AzureConfig("fleet", "", options, concurrency=1).open().client._network.proxy

    assert proxy() is None
    no_proxy.setenv("https_proxy", "http://127.0.0.1:9")
    assert proxy() == "http://127.0.0.1:9"
    no_proxy.setenv("no_proxy", "blob.core.windows.net")
    assert proxy() is None


# -- answers


@pytest.fixture
def codec() -> AzureRequests:
    return AzureRequests(AzureEndpoint("https://h/c", "", "v"), Credential())


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    lines = [f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items()]
    return Answer(status, (b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n"), body)


def test_the_tag_of_a_blob_that_was_made(codec: AzureRequests) -> None:
    assert codec.stored(answer(201, ETag='"0x8D"', Content_MD5=MD5), "a", b"{}").token == "0x8D"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (answer(201, ETag='"0x8D"', Content_MD5="AAAA"), "Content-MD5"),
        (answer(201, b"<p>log in</p>", Content_Type="text/html"), "BadAnswer"),
        (answer(201, b"<p>log in</p>", ETag='"1"'), "BadAnswer"),
    ],
)
def test_a_blob_that_holds_something_else_is_noticed(codec: AzureRequests, found: Answer, code: str) -> None:
    with pytest.raises(Refused) as caught:
        codec.stored(found, "a", b"{}")
    assert (caught.value.failure.code, classify(caught.value.failure)) == (code, Corrupt)


def test_a_refusal_has_the_services_word(codec: AzureRequests) -> None:
    refused = answer(503, x_ms_error_code="ServerBusy", Retry_After="3")
    assert codec.failure(refused) == Failure(503, "ServerBusy", 3.0)
    body = b'<?xml version="1.0"?><Error><Code>Md5Mismatch</Code></Error>'
    assert codec.failure(answer(400, body)) == Failure(400, "Md5Mismatch")


def test_a_first_challenge_is_left_to_the_library() -> None:
    """The service may want a token of another directory, which it names; the SDK gets it."""
    config = AzureConfig("fleet", "", {}, concurrency=1)
    codec = AzureRequests(AzureEndpoint("https://h/c", "", "v"), Bearer(Tokens()))
    refused = codec.failure(answer(401, x_ms_error_code="InvalidAuthenticationInfo"))
    assert "challenge" in (config.fallback_reason(refused) or "")
    codec.stored(answer(201, ETag='"1"'), "a", b"{}")
    refused = codec.failure(answer(401, x_ms_error_code="InvalidAuthenticationInfo"))
    assert config.fallback_reason(refused) is None
    assert classify(refused) is Expired
