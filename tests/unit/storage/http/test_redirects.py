"""Where a redirect may lead a request: the decision alone."""

from __future__ import annotations

from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from metaferry.storage.azure import client as azure
from metaferry.storage.gcs import client as gcs
from metaferry.storage.http.redirects import BoundTo, target, without_host
from metaferry.storage.s3 import client as s3

HERE = "http://store.example/fleet/a.json?x=1"
TLS = "https://store.example/fleet/a.json"


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        (HERE, "http://other.example/b", "http://other.example/b"),
        (HERE, "//other.example/b?c=%2Fd#e", "http://other.example/b?c=%2Fd"),
        (HERE, "/b%20c", "http://store.example/b%20c"),
        (HERE, "https://other.example:8443/b", "https://other.example:8443/b"),
        (TLS, "https://other.example/b", "https://other.example/b"),
        (TLS, "http://store.example/fleet/a.json", None),
        (TLS, "ftp://store.example/fleet/a.json", None),
        (TLS, "file:///etc/passwd", None),
        (HERE, "http://user:secret@other.example/b", None),
        (HERE, "http://other.example:99999/b", None),
        (HERE, "http://[::1/b", None),
        (HERE, "http://other.example/b c", None),
        (HERE, "http://other.example/\xe9", None),
        (HERE, "http://other.example/b\tc", None),
        (HERE, "", None),
        (HERE, None, None),
    ],
)
def test_what_a_request_without_credentials_may_follow(
    url: str, location: str | None, expected: str | None
) -> None:
    assert target("PUT", url, 307, location, BoundTo.NOTHING) == expected


@pytest.mark.parametrize(
    ("url", "location", "of_host", "of_url"),
    [
        (HERE, "http://other.example/fleet/a.json?x=1", False, False),
        (HERE, "http://store.example.evil.example/fleet/a.json?x=1", False, False),
        (HERE, "http://store.example:8080/fleet/a.json?x=1", False, False),
        (HERE, "https://store.example:8443/fleet/a.json?x=1", False, False),
        (HERE, "https://store.example/fleet/a.json?x=1", True, True),
        (HERE, "http://STORE.example:80/fleet/a.json?x=1", True, True),
        (HERE, "/fleet/a.json", True, False),
        (HERE, "/fleet/b.json?x=1", True, False),
        (TLS, "https://store.example:443/fleet/a.json", True, True),
        (TLS, "https://store.example:80/fleet/a.json", False, False),
    ],
)
def test_credentials_stay_with_their_host_and_signatures_with_their_path(
    url: str, location: str, of_host: bool, of_url: bool
) -> None:
    assert (target("PUT", url, 308, location, BoundTo.HOST) is not None) is of_host
    assert (target("PUT", url, 308, location, BoundTo.URL) is not None) is of_url


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 404])
def test_what_is_no_redirect(status: int) -> None:
    assert target("GET", HERE, status, "/b", BoundTo.NOTHING) is None


@pytest.mark.parametrize(
    ("method", "followed"), [("GET", True), ("HEAD", True), ("PUT", False), ("POST", False)]
)
def test_another_resource_is_only_read(method: str, followed: bool) -> None:
    assert (target(method, HERE, 303, "/b", BoundTo.NOTHING) is not None) is followed


def test_the_client_names_another_host_itself() -> None:
    assert without_host(["Host: a", "host:b", "hosts: c", "X-Host: d"]) == ["hosts: c", "X-Host: d"]


SAS = "BlobEndpoint=https://acc.blob.example/;SharedAccessSignature=sv=1&sig=x"
ACCOUNT = "BlobEndpoint=https://acc.blob.example/;AccountName=acc;AccountKey=a2V5"


@pytest.mark.parametrize(
    ("store", "options", "expected"),
    [
        ("s3", {"key": "a", "secret": "b"}, BoundTo.URL),
        ("s3", {}, BoundTo.URL),
        ("s3", {"anon": True}, BoundTo.NOTHING),
        ("s3", {"anon": True, "config_kwargs": {"client_cert": "c.pem"}}, BoundTo.HOST),
        ("s3", {"anon": True, "s3_additional_kwargs": {"SSECustomerKey": "k"}}, BoundTo.HOST),
        ("gcs", {"token": "anon"}, BoundTo.NOTHING),
        ("gcs", {"token": "anon", "session_kwargs": {"trust_env": True}}, BoundTo.NOTHING),
        ("gcs", {"token": "anon", "session_kwargs": {"headers": {"X-Key": "k"}}}, BoundTo.HOST),
        ("gcs", {"token": Credentials("t")}, BoundTo.HOST),
        ("azure", {"connection_string": ACCOUNT}, BoundTo.URL),
        ("azure", {"connection_string": SAS}, BoundTo.HOST),
        ("azure", {"account_name": "acc", "sas_token": "sv=1&sig=x"}, BoundTo.HOST),
        ("azure", {"account_name": "acc", "anon": True}, BoundTo.NOTHING),
    ],
)
def test_what_the_credentials_of_each_store_are_good_for(
    store: str, options: dict[str, Any], expected: BoundTo
) -> None:
    if store == "s3":
        found = s3.bound_to(options)
    elif store == "gcs":
        found = gcs.bound_to(gcs.file_system({"project": "p", **options}))
    else:
        found = azure.bound_to(azure.file_system(options))
    assert found is expected
