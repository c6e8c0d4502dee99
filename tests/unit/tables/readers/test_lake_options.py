"""fsspec's options in the words of object_store; one without an equivalent is refused."""

from __future__ import annotations

from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.lake.iceberg import newest_metadata
from metaferry.tables.readers.lake.options import for_object_store

S3 = {
    "key": "id",
    "secret": "word",
    "token": "session",
    "endpoint_url": "http://127.0.0.1:9000",
    "client_kwargs": {"region_name": "eu-central-1"},
    "config_kwargs": {"s3": {"addressing_style": "path"}},
}


def test_options_of_s3() -> None:
    assert for_object_store("s3", S3, "x") == {
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "word",
        "AWS_SESSION_TOKEN": "session",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "AWS_REGION": "eu-central-1",
        "AWS_ALLOW_HTTP": "true",
    }
    assert for_object_store("s3", {}, "x") == {}
    assert for_object_store("s3", {"anon": True}, "x") == {"AWS_SKIP_SIGNATURE": "true"}
    virtual = {"config_kwargs": {"s3": {"addressing_style": "virtual"}}}
    assert for_object_store("s3", virtual, "x") == {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}


def test_options_of_google_and_azure() -> None:
    account = {"account_name": "fleet", "account_key": "word"}
    assert for_object_store("gs", {"token": "/key.json", "project": "p"}, "x") == {
        "GOOGLE_SERVICE_ACCOUNT": "/key.json"
    }
    assert for_object_store("gs", {"token": {"a": 1}}, "x") == {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"a": 1}'}
    assert for_object_store("gcs", {"token": "google_default"}, "x") == {}
    assert for_object_store("abfs", account, "x") == {
        "AZURE_STORAGE_ACCOUNT_NAME": "fleet",
        "AZURE_STORAGE_ACCOUNT_KEY": "word",
    }
    assert for_object_store("gs", {"token": "anon", "endpoint_url": "http://127.0.0.1:9"}, "x") == {
        "GOOGLE_SKIP_SIGNATURE": "true",
        "GOOGLE_BASE_URL": "http://127.0.0.1:9",
        "allow_http": "true",
    }
    assert for_object_store("az", {**account, "account_host": "fleet.blob.local"}, "x") == {
        "AZURE_STORAGE_ACCOUNT_NAME": "fleet",
        "AZURE_STORAGE_ACCOUNT_KEY": "word",
        "AZURE_STORAGE_ENDPOINT": "https://fleet.blob.local",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "DefaultEndpointsProtocol=https;AccountName=fleet;AccountKey=a=b==;EndpointSuffix=core.local",
            {"ACCOUNT_KEY": "a=b==", "ENDPOINT": "https://fleet.blob.core.local"},
        ),
        (
            "BlobEndpoint=https://fleet.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D",
            {"SAS_KEY": "sv=1&sig=x%3D", "ENDPOINT": "https://fleet.blob.core.windows.net"},
        ),
    ],
)
def test_a_connection_string_of_azure_has_its_parts(text: str, expected: dict[str, str]) -> None:
    found = for_object_store("az", {"connection_string": text}, "x")
    named = {f"AZURE_STORAGE_{name}": value for name, value in expected.items()}
    assert found == {"AZURE_STORAGE_ACCOUNT_NAME": "fleet", **named}


def test_a_connection_string_may_be_that_of_the_emulator() -> None:
    emulator = for_object_store("az", {"connection_string": "UseDevelopmentStorage=true"}, "x")
    assert emulator == {"AZURE_STORAGE_USE_EMULATOR": "true"}
    plain = "BlobEndpoint=http://127.0.0.1:1/acc;AccountName=acc;AccountKey=a"
    assert for_object_store("az", {"connection_string": plain}, "x")["allow_http"] == "true"


@pytest.mark.parametrize(
    ("scheme", "options", "name"),
    [
        ("s3", {"profile": "other"}, "profile"),
        ("s3", {"client_kwargs": {"verify": "/ca.pem"}}, "verify"),
        ("s3", {"config_kwargs": {"proxies": {"https": "http://proxy"}}}, "config_kwargs"),
        ("gs", {"token": "ya29.something"}, "token"),
        ("az", {"connection_string": "AccountName=a"}, "connection_string"),
        ("sftp", {"password": "word"}, "password"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused_by_its_name(
    scheme: str, options: dict[str, Any], name: str
) -> None:
    with pytest.raises(JobError, match=f"the option {name} has no equivalent") as found:
        for_object_store(scheme, options, "tables.d.delta")
    assert found.value.place == f"tables.d.delta.options.{name}"
    assert "something" not in str(found.value)


def test_the_newest_metadata_file_is_the_one_with_the_highest_number() -> None:
    names = ["00009-b.metadata.json", "00010-a.metadata.json", "snap-1.avro", "00002-z.metadata.json"]
    assert newest_metadata(f"t/metadata/{name}" for name in names) == "t/metadata/00010-a.metadata.json"
    assert newest_metadata(["v9.metadata.json", "v10.metadata.json"]) == "v10.metadata.json"
    assert newest_metadata(["version-hint.text"]) == ""
