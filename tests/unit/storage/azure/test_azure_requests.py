"""A put to Azure over a connection of our own: signed as Microsoft's library would, and by whom it would."""

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
from metaferry.storage.azure import config as fast_azure
from metaferry.storage.azure.adapter import AzureAdapter
from metaferry.storage.azure.config import AzureConfig, Bearer
from metaferry.storage.azure.requests import Anonymous, AzureEndpoint, AzureRequestCodec, SharedKey
from metaferry.storage.errors import Failure, classify
from metaferry.storage.factory import open_adapter
from metaferry.storage.http.client import Refused
from metaferry.storage.http.options import UnsupportedOption
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition

NOW = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
KEY = base64.b64encode(b"hunter2-the-account-key").decode()
MD5 = base64.b64encode(hashlib.md5(b"{}").digest()).decode()


def taken_apart(request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Target, headers and body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    method, target, version = first.split(" ")
    assert (method, version) == ("PUT", "HTTP/1.1")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert len(headers) == len(lines), "no header comes twice"
    return target, headers, body


@given(
    url=st.sampled_from(["https://acc.blob.core.windows.net/fleet", "http://127.0.0.1:1/acc/fleet"]),
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40),
    data=st.binary(max_size=40),
    only_if=st.sampled_from([ANYTHING, ABSENT, "0x8DE2A5B1C2D3E4F"]),
)
def test_the_signature_is_the_librarys(url: str, key: str, data: bytes, only_if: Precondition) -> None:
    place = AzureEndpoint(url, "", "2025-11-05")
    codec = AzureRequestCodec(place, SharedKey("acc", KEY), now=lambda: NOW)
    target, headers, body = taken_apart(codec.request(key, data, "application/json", only_if))
    sent = headers.pop("Authorization")
    origin = url.rpartition("/acc/")[0] or url.removesuffix("/fleet")
    request: Any = HttpRequest("PUT", origin + target, headers=headers)
    SharedKeyCredentialPolicy("acc", KEY).on_request(
        PipelineRequest(request, PipelineContext(None))  # type: ignore[arg-type] # no transport, no yarl
    )
    assert sent == request.headers["Authorization"]
    # What the library signs of it was looked at; that it is what was meant is looked at here.
    assert body == data
    assert headers["Content-Length"] == str(len(data))
    assert headers["Content-MD5"] == headers["x-ms-blob-content-md5"]
    assert base64.b64decode(headers["Content-MD5"]) == hashlib.md5(data).digest()
    assert headers["x-ms-date"] == "Mon, 23 Nov 2026 01:02:03 GMT"
    assert headers["x-ms-version"] == "2025-11-05"
    assert headers["x-ms-blob-content-type"] == "application/json"
    assert headers.get("If-None-Match") == ("*" if only_if is ABSENT else None)
    assert headers.get("If-Match") == (f'"{only_if}"' if isinstance(only_if, str) else None)


def test_the_date_is_of_this_second() -> None:
    now, clock = [NOW], [0.0]
    codec = AzureRequestCodec(
        AzureEndpoint("https://h/c", "", "v"), Anonymous(), now=lambda: now[0], clock=lambda: clock[0]
    )

    def date() -> str:
        return taken_apart(codec.request("a", b"", "k", ANYTHING))[1]["x-ms-date"]

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


class Credential:
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
    credential = Credential()
    bearer = Bearer(credential, now=lambda: credential.now)
    codec = AzureRequestCodec(AzureEndpoint("https://h/c", "", "v"), bearer)

    def said() -> str:
        return taken_apart(codec.request("a", b"", "k", ANYTHING))[1]["Authorization"]

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
    credential = Credential()
    credential.error = error
    with pytest.raises(Refused) as caught:
        Bearer(credential).lines("", "")
    assert classify(caught.value.failure) is kind
    credential.error = None
    assert Bearer(credential).lines("", "").startswith("Authorization: Bearer ")


def test_secrets_are_in_no_representation() -> None:
    place = AzureEndpoint("https://h/c", "sv=1&sig=hunter2", "v")
    assert "hunter2" not in repr(place)
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
    sockets = AzureConfig("fleet", "data/", options).sockets(timeout=1.0)
    target, headers, _ = taken_apart(sockets._codec.request("data/a.json", b"{}", "k", ANYTHING))
    return target, headers


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
    sockets = AzureConfig("fleet", "", options).sockets(timeout=1.0)
    assert isinstance(sockets._codec, AzureRequestCodec)
    assert isinstance(sockets._codec._put_credential, Bearer)
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
        AzureConfig("fleet", "", options).sockets(timeout=1.0)
    plain.sync_credential = None  # one that the caller made, for event loops alone
    with pytest.raises(UnsupportedOption, match="kind of credential"):
        AzureConfig("fleet", "", options).sockets(timeout=1.0)


def test_what_the_library_does_otherwise_is_left_to_it(
    no_proxy: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(UnsupportedOption, match="credential"):
        AzureConfig("fleet", "", {"account_name": "acc", "credential": Credential()})
    options = string("https://acc.blob.core.windows.net", *ACCOUNT)
    no_proxy.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UnsupportedOption, match="proxy"):
        AzureConfig("fleet", "", options)
    adapter = open_adapter("az://fleet", options)
    assert isinstance(adapter, AzureAdapter)  # its puts may be divided among processes
    assert "through fsspec alone, on account of a proxy" in caplog.text
    no_proxy.setenv("no_proxy", "blob.core.windows.net")
    AzureConfig("fleet", "", options).sockets(timeout=1.0)
    no_proxy.delenv("https_proxy")
    for wrong in ({"connection_string": "none"}, string("https://h", "AccountName=a", "AccountKey=a")):
        with pytest.raises(UnsupportedOption) as caught:
            AzureConfig("fleet", "", wrong).sockets(timeout=1.0)
        assert "none;" not in str(caught.value)


# -- answers


@pytest.fixture
def codec() -> AzureRequestCodec:
    return AzureRequestCodec(AzureEndpoint("https://h/c", "", "v"), Anonymous())


HEAD = b'HTTP/1.1 201 Created\r\nETag: "0x8D"\r\nContent-MD5: %b\r\n' % MD5.encode()


@pytest.mark.parametrize(
    "end", [b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
def test_the_tag_of_a_blob_that_was_made(codec: AzureRequestCodec, end: bytes) -> None:
    assert codec.quick(HEAD + end, "a", b"{}") == "0x8D"
    for n in range(len(HEAD + end)):
        assert codec.quick((HEAD + end)[:n], "a", b"{}") is None, "cut off"


def test_a_blob_that_holds_something_else_is_noticed(codec: AzureRequestCodec) -> None:
    with pytest.raises(Refused) as caught:
        codec.quick(HEAD + b"Content-Length: 0\r\n\r\n", "a", b"{ }")
    assert classify(caught.value.failure) is Corrupt
    with pytest.raises(Refused) as caught:
        codec.token({"content-type": "text/html"}, b"<p>log in</p>", "a", b"{}")
    assert (caught.value.failure.code, classify(caught.value.failure)) == ("BadAnswer", Corrupt)
    with pytest.raises(Refused) as caught:
        codec.token({"etag": '"1"'}, b"<p>log in</p>", "a", b"{}")
    assert (caught.value.failure.code, classify(caught.value.failure)) == ("BadAnswer", Corrupt)


def test_a_refusal_has_the_services_word(codec: AzureRequestCodec) -> None:
    headers = {"x-ms-error-code": "ServerBusy", "retry-after": "3"}
    assert codec.failure(503, headers, b"") == Failure(503, "ServerBusy", 3.0)
    body = b'<?xml version="1.0"?><Error><Code>Md5Mismatch</Code></Error>'
    assert codec.failure(400, {}, body) == Failure(400, "Md5Mismatch")


def test_a_first_challenge_is_left_to_the_library() -> None:
    """The service may want a token of another directory, which it names; the SDK gets it."""
    config = AzureConfig("fleet", "", {})
    codec = AzureRequestCodec(AzureEndpoint("https://h/c", "", "v"), Bearer(Credential()))
    refused = codec.failure(401, {"x-ms-error-code": "InvalidAuthenticationInfo"}, b"")
    assert "challenge" in (config.fallback_reason(refused) or "")
    codec.token({"etag": '"1"'}, b"", "a", b"{}")
    refused = codec.failure(401, {"x-ms-error-code": "InvalidAuthenticationInfo"}, b"")
    assert config.fallback_reason(refused) is None
    assert classify(refused) is Expired
    assert config.fallback_reason(Failure(307)) == "a redirection"
