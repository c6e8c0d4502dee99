"""Requests to Google Cloud Storage: who makes them, what they say, and what the answers mean."""

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
from metaferry.storage.answers import BadAnswer, Refused
from metaferry.storage.errors import classify
from metaferry.storage.gcs.client import file_system
from metaferry.storage.gcs.config import GcsConfig
from metaferry.storage.gcs.requests import GcsRequests
from metaferry.storage.http.exchange import Answer, Request
from metaferry.storage.http.network import UnsupportedOption
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


def codec_of(options: dict[str, Any], clock: list[float] | None = None) -> GcsRequests:
    now = clock or [0.0]
    return GcsRequests(file_system(options), "fleet", clock=lambda: now[0])


def headers_of(request: Request) -> dict[str, str]:
    headers = dict(line.split(": ", 1) for line in request.headers)
    assert len(headers) == len(request.headers), "no header comes twice"
    return headers


def head_of(codec: GcsRequests, only_if: Any = ANYTHING) -> tuple[str, dict[str, str]]:
    request = codec.put("data/a.json", b"{}", "application/json", only_if)
    assert request.method == "POST"
    return request.url, headers_of(request)


def test_where_a_put_goes() -> None:
    target, headers = head_of(codec_of(ANON))
    assert target == "http://127.0.0.1:1/base/upload/storage/v1/b/fleet/o?uploadType=multipart"
    assert "authorization" not in {name.lower() for name in headers}
    assert head_of(codec_of(ANON), ABSENT)[0].endswith("&ifGenerationMatch=0")
    assert head_of(codec_of(ANON), "1700")[0].endswith("&ifGenerationMatch=1700")
    paid = codec_of({**ANON, "requester_pays": "a b"})
    assert head_of(paid)[0].endswith("o?uploadType=multipart&userProject=a+b")


def test_where_reads_and_deletes_go() -> None:
    codec = codec_of(ANON)
    read = codec.read("data/é #1.mp4", 5, 9, "1700")
    where = "http://127.0.0.1:1/base/storage/v1/b/fleet/o/data%2F%C3%A9%20%231.mp4"
    assert (read.method, read.url) == ("GET", f"{where}?alt=media&ifGenerationMatch=1700")
    assert (headers_of(read)["Range"], headers_of(read)["Accept-Encoding"]) == ("bytes=5-8", "gzip")
    delete = codec_of({**ANON, "requester_pays": "p"}).delete("data/é #1.mp4")
    assert (delete.method, delete.url) == ("DELETE", f"{where}?userProject=p")


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
        ({"session_kwargs": {"read_bufsize": 1}}, "session_kwargs.read_bufsize"),
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
        GcsConfig("fleet", "", {**ANON, **more}, concurrency=1).open()


def test_nobody_has_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def found_nothing(self: Any, method: Any = None) -> None:
        self.credentials = None

    monkeypatch.setattr("gcsfs.credentials.GoogleCredentials.connect", found_nothing)
    with pytest.raises(UnsupportedOption, match="credentials"):
        GcsConfig("fleet", "", {**ANON, "token": None}, concurrency=1).open()


# -- answers


KEY = "data/a.json"


def answer(body: bytes | None = None, **resource: Any) -> Answer:
    resource = {"kind": "storage#object", "name": KEY, "size": "2", **resource}
    lines = (b"HTTP/1.1 200 OK\r\n", b"Content-Type: application/json\r\n", b"\r\n")
    return Answer(200, lines, json.dumps(resource).encode() if body is None else body)


def test_the_generation_of_an_object_that_was_made() -> None:
    assert codec_of(ANON).stored(answer(generation="1700", md5Hash=MD5), KEY, b"{}").token == "1700"


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (answer(generation="1700", md5Hash="AAAA"), "md5Hash"),
        (answer(md5Hash=MD5), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, name="data/b.json"), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, size="3"), "BadAnswer"),
        (answer(generation="1700", md5Hash=MD5, kind="storage#bucket"), "BadAnswer"),
        (answer(b"<p>log in</p>\n"), "BadAnswer"),
        (answer(b"[]"), "BadAnswer"),
        (answer(b""), "BadAnswer"),
    ],
)
def test_an_object_that_is_something_else_is_noticed(found: Answer, code: str) -> None:
    with pytest.raises((Refused, BadAnswer)) as caught:
        codec_of(ANON).stored(found, KEY, b"{}")
    assert (caught.value.failure.code, classify(caught.value.failure)) == (code, Corrupt)
