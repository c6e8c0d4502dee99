"""How S3 is reached with s3fs's options, and the names of those that only s3fs understands."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from metaferry.storage.factory import open_adapter
from metaferry.storage.http.adapter import HttpAdapter
from metaferry.storage.http.exchange import Answer
from metaferry.storage.http.network import Network, UnsupportedOption
from metaferry.storage.s3.adapter import S3Adapter
from metaferry.storage.s3.config import S3Config
from metaferry.storage.s3.credentials import Credentials
from metaferry.storage.s3.requests import S3Requests
from metaferry.storage.s3.signature import Endpoint

KEYS = {"key": "AKIDEXAMPLE", "secret": "s3cr3t-hunter2"}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def opened(bucket: str = "fleet", **options: Any) -> tuple[Endpoint, Network]:
    """Where requests go and how."""
    found = S3Config(bucket, "", {**KEYS, **options}, concurrency=7).open()
    assert isinstance(found.requests, S3Requests)
    return found.requests._endpoint, found.client._network


@pytest.mark.parametrize(
    ("options", "endpoint", "region"),
    [
        ({}, "https://fleet.s3.amazonaws.com", "us-east-1"),
        (
            {"client_kwargs": {"region_name": "eu-west-1"}},
            "https://fleet.s3.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            {"client_kwargs": {"region_name": "cn-north-1"}},
            "https://fleet.s3.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        (
            {"config_kwargs": {"region_name": "eu-west-1", "s3": {"addressing_style": "path"}}},
            "https://s3.eu-west-1.amazonaws.com/fleet",
            "eu-west-1",
        ),
        (
            {"config_kwargs": {"use_dualstack_endpoint": True, "region_name": "eu-west-1"}},
            "https://fleet.s3.dualstack.eu-west-1.amazonaws.com",
            "eu-west-1",
        ),
        (
            {"config_kwargs": {"use_fips_endpoint": True, "region_name": "us-east-2"}},
            "https://fleet.s3-fips.us-east-2.amazonaws.com",
            "us-east-2",
        ),
        ({"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/fleet", "us-east-1"),
        ({"endpoint_url": "http://h:9000/base/"}, "http://h:9000/base/fleet", "us-east-1"),
        ({"client_kwargs": {"endpoint_url": "https://s3.example.org"}}, "https://s3.example.org/fleet", None),
        (
            {
                "endpoint_url": "https://s3.example.org",
                "config_kwargs": {"s3": {"addressing_style": "virtual"}},
            },
            "https://fleet.s3.example.org",
            None,
        ),
        ({"use_ssl": False}, "http://fleet.s3.amazonaws.com", "us-east-1"),
        ({"anon": True, "endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/fleet", None),
    ],
)
def test_requests_go_where_botocore_would_send_them(
    options: dict[str, Any], endpoint: str, region: str | None
) -> None:
    asked, network = opened(**options)
    assert asked.url == network.endpoint == endpoint
    assert asked.region == (region or "us-east-1")
    assert asked.signed is not bool(options.get("anon"))


def test_a_bucket_with_dots_is_addressed_by_path() -> None:
    endpoint, _ = opened("fleet.2026", client_kwargs={"region_name": "eu-west-1"})
    assert endpoint.url == "https://s3.eu-west-1.amazonaws.com/fleet.2026"


def test_an_access_point_is_addressed_as_one() -> None:
    endpoint, _ = opened("arn:aws:s3:eu-west-1:123456789012:accesspoint:fleet")
    assert endpoint.url == "https://fleet-123456789012.s3-accesspoint.eu-west-1.amazonaws.com"
    assert endpoint.region == "eu-west-1"


def test_each_kind_of_request_has_the_headers_that_it_knows() -> None:
    endpoint, _ = opened(
        s3_additional_kwargs={
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "k",
            "BucketKeyEnabled": True,
            "StorageClass": "STANDARD_IA",
            "ACL": "private",
            "Metadata": {"team": "fleet"},
        },
        requester_pays=True,
    )
    pays = {"x-amz-request-payer": "requester"}
    assert endpoint.headers == {
        "PUT": {
            "x-amz-acl": "private",
            "x-amz-meta-team": "fleet",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "k",
            "x-amz-server-side-encryption-bucket-key-enabled": "true",
            "x-amz-storage-class": "STANDARD_IA",
            **pays,
        },
        "GET": pays,
        "HEAD": pays,
        "DELETE": pays,
        "tagging": pays,
    }
    assert endpoint.checksum
    plain, _ = opened(config_kwargs={"request_checksum_calculation": "when_required"})
    assert not plain.checksum  # the signed hash of the body is what is verified
    assert plain.headers == {"PUT": {}, "GET": {}, "HEAD": {}, "DELETE": {}, "tagging": {}}


def test_a_key_of_the_customers_goes_with_puts_and_reads() -> None:
    endpoint, _ = opened(s3_additional_kwargs={"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32})
    names = {f"x-amz-server-side-encryption-customer-{name}" for name in ("algorithm", "key", "key-md5")}
    assert [set(endpoint.headers[method]) for method in ("PUT", "GET", "HEAD")] == [names] * 3
    assert not endpoint.headers["DELETE"]
    key = endpoint.headers["PUT"]["x-amz-server-side-encryption-customer-key"]
    assert key not in repr(endpoint)


def test_times_connections_and_certificates(tmp_path: Path) -> None:
    bundle, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    for path in (bundle, key):
        path.write_bytes(b"-----BEGIN CERTIFICATE-----")
    settings = {"connect_timeout": 3, "read_timeout": 4.5, "max_pool_connections": 2}
    _, network = opened(config_kwargs=settings, client_kwargs={"verify": str(bundle)})
    assert (network.connect, network.read, network.concurrency) == (3, 4.5, 7)
    assert (network.trusted, network.verify) == (str(bundle), True)
    _, network = opened(client_kwargs={"verify": False})
    assert (network.trusted, network.verify) == (None, False)
    _, network = opened(client_kwargs={"verify": str(tmp_path)})
    assert network.trusted == str(tmp_path)  # a folder, as OpenSSL has them
    _, network = opened()
    assert network.trusted is not None  # what botocore itself trusts
    _, network = opened(config_kwargs={"client_cert": (str(bundle), str(key))})
    assert (network.certificate, network.private_key) == (str(bundle), str(key))
    _, network = opened(config_kwargs={"client_cert": str(bundle)})
    assert (network.certificate, network.private_key) == (str(bundle), None)


def test_a_proxy_is_boto_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert opened()[1].proxy == "http://127.0.0.1:1"
    given = {"config_kwargs": {"proxies": {"https": "user:hunter2@127.0.0.1:2"}}}
    network = opened(**given)[1]
    assert network.proxy == "http://user:hunter2@127.0.0.1:2"
    assert "hunter2" not in repr(network)


# -- redirections


def region_in(status: int, region: str) -> Answer:
    lines = (b"HTTP/1.1 301 Moved\r\n", f"x-amz-bucket-region: {region}\r\n".encode(), b"\r\n")
    return Answer(status, lines, b"<Error><Code>PermanentRedirect</Code></Error>")


def test_a_bucket_of_another_region_is_asked_there() -> None:
    config = S3Config("fleet", "", KEYS, concurrency=7)
    config.open()
    assert config.changes_region(region_in(301, "eu-west-1"))
    requests = config.open().requests
    assert isinstance(requests, S3Requests)
    assert requests._endpoint.url == "https://fleet.s3.eu-west-1.amazonaws.com"
    assert requests._endpoint.region == "eu-west-1"
    assert not config.changes_region(region_in(301, "eu-west-1"))  # it was asked there


def test_a_named_host_stays_the_same() -> None:
    config = S3Config("fleet", "", {**KEYS, "endpoint_url": "https://s3.lab"}, concurrency=7)
    config.open()
    assert config.changes_region(region_in(400, "eu-west-1"))
    requests = config.open().requests
    assert isinstance(requests, S3Requests)
    assert (requests._endpoint.url, requests._endpoint.region) == ("https://s3.lab/fleet", "eu-west-1")


@pytest.mark.parametrize(
    ("status", "region"),
    [(301, "cn-north-1"), (301, ""), (301, "evil.example.org/"), (301, "us-east-1"), (404, "eu-west-1")],
)
def test_another_partition_and_what_is_no_region_are_not_followed(status: int, region: str) -> None:
    config = S3Config("fleet", "", KEYS, concurrency=7)
    config.open()
    assert not config.changes_region(region_in(status, region))


@pytest.mark.parametrize("allowed", [True, False])
def test_only_what_is_no_answer_of_s3_is_a_redirect_of_http(allowed: bool) -> None:
    config = S3Config("fleet", "", KEYS, concurrency=7, follow_redirects=allowed)
    location = (b"HTTP/1.1 307 Moved\r\n", b"Location: http://store.lab/x\r\n", b"\r\n")
    assert config.follows(Answer(307, location, b"<html>")) is allowed
    assert not config.follows(Answer(307, location, b"<Error><Code>TemporaryRedirect</Code></Error>"))
    assert not config.follows(region_in(301, "eu-west-1"))
    assert not config.follows(Answer(200, location, b""))


def test_a_profile_gives_region_endpoint_and_bundle(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = eu-central-1\nendpoint_url = https://s3.lab\n"
        f"ca_bundle = {tmp_path}/ca.pem\ns3 =\n    addressing_style = virtual\n"
    )
    endpoint, network = opened(key=None, secret=None, profile="lab")
    assert (endpoint.url, endpoint.region) == ("https://fleet.s3.lab", "eu-central-1")
    assert network.trusted == f"{tmp_path}/ca.pem"
    with pytest.raises(UnsupportedOption, match="profile"):
        S3Config("fleet", "", {"profile": "none"}, concurrency=7).open()


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"cache_regions": True}, "cache_regions"),
    ({"session": object()}, "session"),
    ({"made_up": 1}, "made_up"),
    ({"client_kwargs": {"api_version": "2006-03-01"}}, "client_kwargs.api_version"),
    ({"config_kwargs": {"proxies_config": {}}}, "config_kwargs.proxies_config"),
    ({"s3_additional_kwargs": {"ChecksumAlgorithm": "hunter2"}}, "s3_additional_kwargs.ChecksumAlgorithm"),
    ({"config_kwargs": {"read_timeout": None}}, "config_kwargs.read_timeout"),
    ({"client_kwargs": {"aws_access_key_id": "hunter2"}}, "client_kwargs.aws_access_key_id"),
    ({"secret": None}, "key without secret"),
]


@pytest.mark.parametrize(
    ("options", "name"), UNKNOWN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_be_said_exactly_is_named_and_left_to_s3fs(
    options: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="metaferry"):
        adapter = open_adapter("s3://fleet/x", {**KEYS, **options})
    assert type(adapter) is S3Adapter
    (record,) = caplog.records
    assert name in record.getMessage()
    assert "hunter2" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="metaferry"):
        assert type(open_adapter("s3://fleet/x", {**KEYS, **options}, transport="fsspec")) is S3Adapter
    assert "transport: fsspec" in caplog.text


LATE: list[tuple[dict[str, Any], str]] = [
    ({"config_kwargs": {"signature_version": "s3"}}, "signature_version"),
    ({"config_kwargs": {"client_cert": "/no/such/file.pem"}}, "client_cert"),
    ({"profile": "nobody"}, "profile"),
    ({"client_kwargs": {"verify": "/no/such/bundle.pem"}}, "verify"),
    ({"config_kwargs": {"proxies": {"https": "socks5://127.0.0.1:1"}}}, "proxies"),
    ({"endpoint_url": "not a url"}, "client_kwargs or config_kwargs"),
]


@pytest.mark.parametrize(("options", "name"), LATE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_found_out_with_the_first_request_is_left_to_s3fs_too(
    options: dict[str, Any], name: str
) -> None:
    assert isinstance(open_adapter("s3://fleet/x", {**KEYS, **options}), HttpAdapter)
    with pytest.raises(UnsupportedOption, match=name):
        S3Config("fleet", "", {**KEYS, **options}, concurrency=1).open()


def test_directory_buckets_are_left_to_s3fs() -> None:
    with pytest.raises(UnsupportedOption, match="kind of bucket"):
        S3Config("fleet--use1-az4--x-s3", "", KEYS, concurrency=1)


def test_another_scheme_has_one_way_only() -> None:
    assert type(open_adapter("memory://x/y", transport="auto")).__name__ == "MemoryAdapter"


def test_nothing_shows_a_secret() -> None:
    adapter = open_adapter("s3://fleet/x", KEYS)
    assert "hunter2" not in repr(adapter) + repr(vars(adapter)["_config"]) + repr(opened(token="hunter2"))
    assert repr(Credentials(lambda: None, {"aws_secret_access_key": "hunter2"})) == "Credentials(…)"


def test_credentials_that_expire_are_renewed() -> None:
    from botocore.credentials import RefreshableCredentials

    def fetch() -> dict[str, str]:
        return {
            "access_key": f"key-{len(fetched)}",
            "secret_key": "s",
            "token": "t",
            "expiry_time": "2999-01-01T00:00:00Z",
        }

    fetched: list[int] = []

    class Session:
        def get_credentials(self) -> Any:
            fetched.append(1)
            return RefreshableCredentials.create_from_metadata(fetch(), fetch, "test")

    found = Credentials(Session, {})
    first = found()
    assert first["access_key_id"] == "key-1"
    assert found() == first
    assert fetched == [1]


def test_a_lookup_that_fails_is_remembered_by_kind_only() -> None:
    from botocore.exceptions import CredentialRetrievalError

    from metaferry.errors import Denied

    class Session:
        def get_credentials(self) -> Any:
            raise CredentialRetrievalError(provider="x", error_msg="hunter2")

    found = Credentials(Session, {})
    with pytest.raises(LookupError) as caught:
        found()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert found.failure is not None
    assert (found.failure.kind, found.failure.code) == (Denied, "NoCredentials")
