"""A put to Google Cloud Storage over a connection of our own: who makes it, and what the answer says."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.auth.exceptions import RefreshError, TransportError
from google.oauth2.credentials import Credentials

from metaferry.errors import Corrupt, Denied, Expired, Unavailable
from metaferry.storage.errors import Failure, classify
from metaferry.storage.gcs.client import file_system
from metaferry.storage.gcs.config import GcsConfig, GcsRequestCodec
from metaferry.storage.http.client import Refused
from metaferry.storage.http.options import UnsupportedOption
from metaferry.storage.protocol import ABSENT, ANYTHING

ANON = {"token": "anon", "project": "fleet", "endpoint_url": "http://127.0.0.1:1/base"}
MD5 = base64.b64encode(hashlib.md5(b"{}").digest()).decode()


class Renewed(Credentials):  # type: ignore[misc] # google-auth is not typed
    """Access tokens that are good for an hour; `error` is what a renewal meets."""

    def __init__(self) -> None:
        super().__init__(None)
        self.error: Exception | None = None
        self.renewals = 0

    def refresh(self, request: object) -> None:
        self.renewals += 1
        if self.error is not None:
            raise self.error
        self.token = f"t0k3n-{self.renewals}"
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)


def codec_of(options: dict[str, Any], clock: list[float] | None = None) -> GcsRequestCodec:
    now = clock or [0.0]
    return GcsRequestCodec(file_system(options), "fleet", clock=lambda: now[0])


def head_of(codec: GcsRequestCodec, only_if: Any = ANYTHING) -> tuple[str, dict[str, str]]:
    request = codec.request("data/a.json", b"{}", "application/json", only_if)
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "no header comes twice"
    assert headers["Content-Length"] == str(len(body))
    assert first.startswith("POST ")
    assert first.endswith(" HTTP/1.1")
    return first.split(" ")[1], headers


def test_where_a_put_goes() -> None:
    target, headers = head_of(codec_of(ANON))
    assert target == "/base/upload/storage/v1/b/fleet/o?uploadType=multipart"
    assert headers["Host"] == "127.0.0.1:1"
    assert "authorization" not in {name.lower() for name in headers}
    assert head_of(codec_of(ANON), ABSENT)[0].endswith("&ifGenerationMatch=0")
    assert head_of(codec_of(ANON), "1700")[0].endswith("&ifGenerationMatch=1700")
    paid = codec_of({**ANON, "requester_pays": "a b"})
    assert head_of(paid)[0].endswith("o?uploadType=multipart&userProject=a+b")


def test_the_access_token_is_looked_at_once_a_second_and_renewed_in_time() -> None:
    credentials, clock = Renewed(), [0.0]
    codec = codec_of({"token": credentials, "project": "fleet"}, clock)

    def said() -> str:
        return head_of(codec)[1]["authorization"]

    assert [said(), said()] == ["Bearer t0k3n-1"] * 2
    credentials.expiry -= timedelta(minutes=58)  # gcsfs renews five minutes before the end
    clock[0] = 0.9
    assert said() == "Bearer t0k3n-1"
    clock[0] = 1.0
    assert said() == "Bearer t0k3n-2"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RefreshError("hunter2"), Expired),
        (RefreshError("hunter2", {"error": "invalid_grant"}), Expired),
        (RefreshError("hunter2", {"error": "invalid_client"}), Denied),
        (RefreshError("hunter2", {"error": "hunter2"}), Expired),
        (RefreshError("No access token in response.", {"hunter2": 1}), Unavailable),
        (RefreshError("busy", retryable=True), Unavailable),
        (TransportError("no net", retryable=True), Unavailable),
        (TransportError("reset"), Unavailable),
        (TypeError("string indices must be integers"), Unavailable),
        (ConnectionError("no net"), Unavailable),
    ],
)
def test_where_no_token_can_be_had(error: Exception, kind: type[Exception]) -> None:
    credentials = Renewed()
    credentials.error = error
    with pytest.raises(Refused) as caught:
        head_of(codec_of({"token": credentials, "project": "fleet"}))
    assert classify(caught.value.failure) is kind
    assert "hunter2" not in str(caught.value)


def test_a_token_with_a_line_break_is_not_sent() -> None:
    credentials = Credentials("a\r\nX-Evil: 1")
    with pytest.raises(Refused) as caught:
        head_of(codec_of({"token": credentials, "project": "fleet"}))
    assert classify(caught.value.failure) is Denied


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"session_kwargs": {"trust_env": True}}, "session_kwargs"),
        ({"token": "/no/such/file.json"}, "its options"),
        ({"access": "everything"}, "its options"),
    ],
)
def test_what_gcsfs_does_otherwise_is_left_to_it(
    more: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_net(*_: Any, **__: Any) -> Any:
        raise OSError("no net")

    monkeypatch.setattr("gcsfs.credentials.requests.get", no_net)  # it asks what a bare token is good for
    with pytest.raises(UnsupportedOption, match=reason):
        GcsConfig("fleet", "", {**ANON, **more}).sockets(timeout=1.0)


def test_nobody_has_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def found_nothing(self: Any, method: Any = None) -> None:
        self.credentials = None

    monkeypatch.setattr("gcsfs.credentials.GoogleCredentials.connect", found_nothing)
    with pytest.raises(UnsupportedOption, match="credentials"):
        GcsConfig("fleet", "", {**ANON, "token": None}).sockets(timeout=1.0)


# -- answers


KEY = "data/a.json"


def answer(**resource: Any) -> bytes:
    resource = {"kind": "storage#object", "name": KEY, "size": "2", **resource}
    body = json.dumps(resource).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


def test_the_generation_of_an_object_that_was_made() -> None:
    codec = codec_of(ANON)
    whole = answer(generation="1700", md5Hash=MD5)
    assert codec.quick(whole, KEY, b"{}") == "1700"
    for n in range(len(whole)):
        assert codec.quick(whole[:n], KEY, b"{}") is None, "cut off"
    assert codec.quick(whole + b"more", KEY, b"{}") is None


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (answer(generation="1700", md5Hash="AAAA"), "md5Hash"),
        (answer(md5Hash=MD5), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, name="data/b.json"), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, size="3"), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, kind="storage#bucket"), "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<p>log in</p>\n", "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "BadAnswer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "BadAnswer"),
    ],
)
def test_an_object_that_is_something_else_is_noticed(found: bytes, code: str) -> None:
    with pytest.raises(Refused) as caught:
        codec_of(ANON).quick(found, KEY, b"{}")
    assert (caught.value.failure.code, classify(caught.value.failure)) == (code, Corrupt)


def test_a_redirection_is_left_to_the_library_that_follows_it() -> None:
    config = GcsConfig("fleet", "", ANON)
    assert config.fallback_reason(Failure(307)) == "a redirection"
    assert config.fallback_reason(Failure(404, "notFound")) is None
    assert config.fallback_reason(Failure(code="Timeout")) is None
