"""fsspec's options in the words of object_store and of Iceberg's library; one without an equivalent is
refused."""

from __future__ import annotations

from typing import Any

import pytest

from metaferry.errors import JobError
from metaferry.tables.readers.lake.iceberg import newest_metadata
from metaferry.tables.readers.lake.options import for_iceberg, for_object_store

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
    assert for_iceberg("s3a", S3, "x") == {
        "s3.access-key-id": "id",
        "s3.secret-access-key": "word",
        "s3.session-token": "session",
        "s3.endpoint": "http://127.0.0.1:9000",
        "s3.region": "eu-central-1",
    }
    assert for_object_store("s3", {}, "x") == {}
    assert for_object_store("s3", {"anon": True}, "x") == {"AWS_SKIP_SIGNATURE": "true"}
    assert for_iceberg("s3", {"anon": True}, "x") == {"s3.anonymous": "true"}
    virtual = {"config_kwargs": {"s3": {"addressing_style": "virtual"}}}
    assert for_object_store("s3", virtual, "x") == {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}
    assert for_iceberg("s3", virtual, "x") == {"s3.force-virtual-addressing": "true"}


def test_options_of_google_and_azure() -> None:
    account = {"account_name": "fleet", "account_key": "word"}
    assert for_object_store("gs", {"token": "/key.json", "project": "p"}, "x") == {
        "GOOGLE_SERVICE_ACCOUNT": "/key.json"
    }
    assert for_object_store("gs", {"token": {"a": 1}}, "x") == {"GOOGLE_SERVICE_ACCOUNT_KEY": '{"a": 1}'}
    assert for_object_store("gcs", {"token": "google_default"}, "x") == {}
    assert for_iceberg("gs", {"token": "/key.json"}, "x") == {"gcs.oauth2.token": "/key.json"}
    assert for_object_store("abfs", account, "x") == {
        "AZURE_STORAGE_ACCOUNT_NAME": "fleet",
        "AZURE_STORAGE_ACCOUNT_KEY": "word",
    }
    assert for_iceberg("az", account, "x") == {"adls.account-name": "fleet", "adls.account-key": "word"}


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
