"""The signature of a request is the one that botocore itself would have made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from metaferry.storage.answers import Refused
from metaferry.storage.http.exchange import Request
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition, is_plain
from metaferry.storage.s3.requests import ANONYMOUS, S3Requests
from metaferry.storage.s3.signature import Endpoint, NoCredentials, Signer

NOW = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "s3cr3t-hunter2", "token": None}


def taken_apart(request: Request) -> tuple[str, dict[str, str]]:
    """The path of the address, and the headers."""
    path = request.url.partition("://")[2].partition("/")[2]
    headers = dict(line.split(":", 1) for line in request.headers)
    assert len(headers) == len(request.headers), "no header comes twice"
    assert all(line.isascii() and line.isprintable() for line in request.headers)
    return f"/{path}", headers


def botocores(
    endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str], keys: Mapping[str, Any]
) -> str:
    """The Authorization of a request like this one."""
    url = endpoint.url.partition("://")
    request = AWSRequest(method, f"{url[0]}://{headers['host']}{path}", headers=dict(headers))
    credentials = Credentials(keys["access_key_id"], keys["secret_access_key"], keys["token"])
    signer = S3SigV4Auth(credentials, "s3", endpoint.region)
    request.context["timestamp"] = headers["x-amz-date"]
    string = signer.string_to_sign(request, signer.canonical_request(request))
    scope = f"{keys['access_key_id']}/{signer.credential_scope(request)}"
    names = signer.signed_headers(signer.headers_to_sign(request))
    signature = signer.signature(string, request)
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"


ENDPOINTS = [
    Endpoint("https://fleet.s3.eu-west-1.amazonaws.com", "eu-west-1"),
    Endpoint("https://fleet.s3.amazonaws.com:443", "us-east-1", checksum=False),
    Endpoint("http://127.0.0.1:9000/base/fleet", "us-east-1", {"PUT": {"x-amz-request-payer": "requester"}}),
    Endpoint(
        "http://minio:80/fleet",
        "x",
        {
            method: {
                "cache-control": "max-age=60, private",
                "x-amz-acl": "private",
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:1:key/a b",
                "x-amz-server-side-encryption-bucket-key-enabled": "true",
                "x-amz-tagging": "a=100%25&b=%(host)s",
            }
            for method in ("PUT", "GET", "DELETE")
        },
    ),
]


KEY_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=40)


def requests_of(endpoint: Endpoint, keys: Mapping[str, Any] = KEYS) -> S3Requests:
    return S3Requests(endpoint, Signer(endpoint, lambda: keys, now=lambda: NOW))


@given(
    endpoint=st.sampled_from(ENDPOINTS),
    key=KEY_NAMES,
    data=st.binary(max_size=40),
    only_if=st.sampled_from([ANYTHING, ABSENT, "0123456789abcdef0123456789abcdef", "tag-2!#$%&'*+/=?~"]),
    token=st.sampled_from([None, "FwoGZXIvYXdzE//////////wEaD=="]),
)
def test_a_put_is_signed_as_botocore_would(
    endpoint: Endpoint, key: str, data: bytes, only_if: Precondition, token: str | None
) -> None:
    keys = {**KEYS, "token": token}
    request = requests_of(endpoint, keys).put(key, data, "application/json", only_if)
    path, headers = taken_apart(request)
    assert (request.method, request.body) == ("PUT", data)
    sent = headers.pop("authorization")
    assert sent == botocores(endpoint, "PUT", path, headers, keys)
    # What botocore signs of it was looked at; that it is what was meant is looked at here.
    assert headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
    assert ("x-amz-checksum-sha256" in headers) is endpoint.checksum
    assert headers["x-amz-date"] == "20261123T010203Z"
    assert headers.get("x-amz-security-token") == token
    assert headers.get("if-none-match") == ("*" if only_if is ABSENT else None)
    assert headers.get("if-match") == (f'"{only_if}"' if isinstance(only_if, str) else None)
    assert endpoint.headers.get("PUT", {}).items() <= headers.items()


@given(
    endpoint=st.sampled_from(ENDPOINTS),
    key=KEY_NAMES,
    start=st.integers(0, 1 << 40),
    size=st.one_of(st.none(), st.integers(1, 1 << 40)),
    version=st.sampled_from([None, "0123456789abcdef0123456789abcdef"]),
    token=st.sampled_from([None, "FwoGZXIvYXdzE//////////wEaD=="]),
)
def test_reads_and_deletes_are_signed_as_botocore_would(
    endpoint: Endpoint, key: str, start: int, size: int | None, version: str | None, token: str | None
) -> None:
    keys = {**KEYS, "token": token}
    requests, end = requests_of(endpoint, keys), None if size is None else start + size
    for request in (requests.read(key, start, end, version), requests.delete(key), requests.head(key)):
        path, headers = taken_apart(request)
        assert headers.pop("authorization") == botocores(endpoint, request.method, path, headers, keys)
        assert request.body == b""
        if request.method == "GET":
            assert headers["range"] == f"bytes={start}-{'' if end is None else end - 1}"
            assert headers.get("if-match") == (None if version is None else f'"{version}"')
        assert endpoint.headers.get(request.method, {}).items() <= headers.items()


@given(key=st.text(st.characters(codec="utf-8", exclude_characters="?#"), min_size=1, max_size=40))
def test_a_key_is_spelled_as_botocore_spells_it(key: str) -> None:
    from botocore.utils import percent_encode

    request = requests_of(ENDPOINTS[2]).put(key, b"", "x/y", ANYTHING)
    assert taken_apart(request)[0] == "/base/fleet/" + percent_encode(key, safe="/~")


def test_a_usual_port_is_not_named() -> None:
    hosts = []
    for endpoint in ENDPOINTS:
        request = requests_of(endpoint).put("a", b"", "x/y", ANYTHING)
        hosts.append(taken_apart(request)[1]["host"])
    assert hosts == [
        "fleet.s3.eu-west-1.amazonaws.com",
        "fleet.s3.amazonaws.com",
        "127.0.0.1:9000",
        "minio",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-server-side-encryption", "a  b"),
        ("x-amz-server-side-encryption", " a"),
        ("x-amz-server-side-encryption", "a\r\nb: c"),
        ("x-amz-server-side-encryption", "schlüssel"),
        ("x-amz-server-side-encryption", ""),
    ],
)
def test_headers_that_would_not_arrive_as_they_are_signed_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        Endpoint("https://h", "r", {"PUT": {name: value}})


def test_tokens_that_no_header_can_hold_are_known() -> None:
    assert is_plain(ANYTHING)
    assert is_plain(ABSENT)
    assert is_plain("0123-4")
    assert not any(is_plain(token) for token in ("", 'a"b', "a b", "a\r\nx: y", "é", "a\x00"))


def test_time_and_credentials_are_looked_at_once_a_second() -> None:
    clock, asked = [0.0], []

    def credentials() -> dict[str, Any]:
        asked.append(clock[0])
        return {**KEYS, "access_key_id": f"key-{clock[0]}"}

    signer = Signer(ENDPOINTS[0], credentials, clock=lambda: clock[0])
    for clock[0] in (0.0, 0.5, 0.9, 1.0, 1.5, 2.5):
        _, headers = taken_apart(S3Requests(ENDPOINTS[0], signer).delete("a"))
        assert f"Credential=key-{asked[-1]}/" in headers["authorization"]
    assert asked == [0.0, 1.0, 2.5]


def test_without_credentials_nothing_is_signed() -> None:
    def nobody() -> dict[str, Any]:
        raise NoCredentials

    with pytest.raises(Refused) as caught:
        S3Requests(ENDPOINTS[0], Signer(ENDPOINTS[0], nobody)).put("a", b"", "x/y", ANYTHING)
    assert caught.value.failure is ANONYMOUS


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_request_for_tags_is_signed_with_its_query(endpoint: Endpoint) -> None:
    path, headers = taken_apart(requests_of(endpoint).tags("a/b c.jpg"))
    assert path.endswith("a/b%20c.jpg?tagging")
    authorization = headers.pop("authorization")
    assert authorization == botocores(endpoint, "GET", path, headers, KEYS)


def test_who_is_anonymous_signs_nothing() -> None:
    endpoint = replace(ENDPOINTS[0], signed=False)
    _, headers = taken_apart(requests_of(endpoint).put("a", b"{}", "x/y", ABSENT))
    assert headers.keys() == {"content-type", "host", "if-none-match", "x-amz-checksum-sha256"}


def test_no_secret_is_shown() -> None:
    signer = Signer(ENDPOINTS[0], lambda: KEYS)
    S3Requests(ENDPOINTS[0], signer).delete("a")
    assert "hunter2" not in repr(signer) + repr(signer._signing_time) + str(vars(signer))
