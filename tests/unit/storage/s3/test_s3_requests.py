"""s3fs's options in obstore's words, and the names of those that cannot be said."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import UsageError
from metaferry.storage.factory import open_adapter
from metaferry.storage.http.options import UnsupportedOption, client_options
from metaferry.storage.http.storage import FastAdapter
from metaferry.storage.s3.adapter import S3Adapter
from metaferry.storage.s3.config import S3Config, s3_config
from metaferry.storage.s3.credentials import Credentials

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


def translated(bucket: str = "fleet", **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """obstore's config and client options."""
    config, network = S3Config(bucket, "", {**KEYS, **options}, concurrency=7)._to_options()
    return config, client_options(network, timeout=60.0)


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
    config, client = translated(**options)
    assert config["endpoint"] == config["aws_endpoint_url_s3"] == endpoint
    assert config["virtual_hosted_style_request"] is True
    assert config["region"] == (region or "us-east-1")
    assert client["allow_http"] is endpoint.startswith("http:")
    assert config["skip_signature"] is bool(options.get("anon"))


def test_a_bucket_with_dots_is_addressed_by_path() -> None:
    config, _ = translated("fleet.2026", client_kwargs={"region_name": "eu-west-1"})
    assert config["endpoint"] == "https://s3.eu-west-1.amazonaws.com/fleet.2026"


def test_encryption_payment_and_checksums() -> None:
    config, _ = translated(
        s3_additional_kwargs={
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "k",
            "BucketKeyEnabled": True,
        },
        requester_pays=True,
    )
    assert config["server_side_encryption"] == "aws:kms"
    assert config["sse_kms_key_id"] == "k"
    assert config["sse_bucket_key_enabled"] == "true"
    assert config["request_payer"] is True
    assert config["checksum_algorithm"] == "SHA256"
    plain, _ = translated(config_kwargs={"request_checksum_calculation": "when_required"})
    assert "checksum_algorithm" not in plain
    assert plain["unsigned_payload"] is False  # the signed hash of the body is what is verified
    assert plain["request_payer"] is False


def test_times_connections_and_certificates(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"-----BEGIN CERTIFICATE-----")
    settings = {"connect_timeout": 3, "read_timeout": 4.5, "max_pool_connections": 2}
    _, client = translated(config_kwargs=settings, client_kwargs={"verify": str(bundle)})
    assert (client["connect_timeout"], client["read_timeout"], client["timeout"]) == (
        "3000ms",
        "4500ms",
        "60000ms",
    )
    assert client["pool_max_idle_per_host"] == "14"
    assert client["http1_only"] is True
    assert client["root_certificate"] == b"-----BEGIN CERTIFICATE-----"
    assert client["allow_invalid_certificates"] is False
    _, client = translated(client_kwargs={"verify": False})
    assert client["allow_invalid_certificates"] is True
    assert "root_certificate" not in client
    _, client = translated()
    assert b"BEGIN CERTIFICATE" in client["root_certificate"]  # what botocore itself trusts


def test_a_profile_gives_region_endpoint_and_bundle(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"-----BEGIN CERTIFICATE-----")
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = eu-central-1\nendpoint_url = https://s3.lab\n"
        f"ca_bundle = {tmp_path}/ca.pem\ns3 =\n    addressing_style = virtual\n"
    )
    config, network = S3Config("fleet", "", {"profile": "lab"}, concurrency=7)._to_options()
    assert (config["endpoint"], config["region"]) == ("https://fleet.s3.lab", "eu-central-1")
    assert network.trusted == f"{tmp_path}/ca.pem"
    with pytest.raises(UnsupportedOption, match="profile"):
        S3Config("fleet", "", {"profile": "none"}, concurrency=7)._to_options()


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"cache_regions": True}, "cache_regions"),
    ({"session": object()}, "session"),
    ({"made_up": 1}, "made_up"),
    ({"client_kwargs": {"api_version": "2006-03-01"}}, "client_kwargs.api_version"),
    ({"config_kwargs": {"client_cert": "hunter2"}}, "config_kwargs.client_cert"),
    ({"config_kwargs": {"proxies_config": {}}}, "config_kwargs.proxies_config"),
    ({"s3_additional_kwargs": {"ACL": "private"}}, "s3_additional_kwargs.ACL"),
    ({"s3_additional_kwargs": {"SSECustomerKey": "hunter2"}}, "s3_additional_kwargs.SSECustomerKey"),
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
    with pytest.raises(UsageError, match=name.replace(".", r"\.")) as caught:
        open_adapter("s3://fleet/x", {**KEYS, **options}, transport="obstore")
    assert "hunter2" not in str(caught.value)
    caplog.clear()
    assert type(open_adapter("s3://fleet/x", {**KEYS, **options}, transport="fsspec")) is S3Adapter
    assert not caplog.records


LATE: list[tuple[dict[str, Any], str]] = [
    ({"config_kwargs": {"signature_version": "s3"}}, "signature_version"),
    ({"profile": "nobody"}, "profile"),
    ({"client_kwargs": {"verify": "/no/such/bundle.pem"}}, "verify"),
    ({"config_kwargs": {"proxies": {"https": "socks5://127.0.0.1:1"}}}, "proxies"),
    ({"endpoint_url": "not a url"}, "client_kwargs or config_kwargs"),
]


@pytest.mark.parametrize(("options", "name"), LATE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_found_out_with_the_first_request_is_asked_for_in_advance_when_obstore_is(
    options: dict[str, Any], name: str
) -> None:
    assert type(open_adapter("s3://fleet/x", {**KEYS, **options})) is FastAdapter
    with pytest.raises(UsageError, match=name):
        open_adapter("s3://fleet/x", {**KEYS, **options}, transport="obstore")


@pytest.mark.parametrize(
    "name", ["AWS_SERVER_SIDE_ENCRYPTION", "AWS_SSE_KMS_KEY_ID", "AWS_SSE_CUSTOMER_KEY_BASE64"]
)
def test_a_variable_that_only_obstore_reads_is_in_the_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "aws:kms")
    with pytest.raises(UsageError, match=name):
        open_adapter("s3://fleet/x", KEYS, transport="obstore")


@pytest.mark.parametrize("bucket", ["fleet--use1-az4--x-s3", "arn:aws:s3:eu-west-1:1:accesspoint"])
def test_buckets_of_another_kind_are_left_to_s3fs(bucket: str) -> None:
    assert isinstance(s3_config(bucket, "", KEYS, concurrency=1), UnsupportedOption)


@pytest.mark.parametrize("url", ["gs://fleet/x", "az://fleet/x"])
def test_a_store_that_could_not_check_a_put_is_never_written_through_obstore(url: str) -> None:
    assert not isinstance(open_adapter(url), FastAdapter)
    with pytest.raises(UsageError, match="could not check"):
        open_adapter(url, transport="obstore")


def test_another_scheme_has_one_way_only() -> None:
    assert type(open_adapter("memory://x/y", transport="obstore")).__name__ == "MemoryAdapter"


def test_nothing_shows_a_secret() -> None:
    adapter = open_adapter("s3://fleet/x", KEYS)
    assert "hunter2" not in repr(adapter) + repr(vars(adapter)["_config"])
    assert repr(Credentials(lambda: None, {"aws_secret_access_key": "hunter2"})) == "Credentials(…)"


def test_credentials_that_expire_say_so_and_are_asked_for_again() -> None:
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
    assert first["expires_at"] == datetime(2999, 1, 1, tzinfo=UTC)
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
