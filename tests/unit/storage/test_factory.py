"""From a URL to an adapter: which one, with what, and what people get to read of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metaferry.errors import StorageError, UsageError
from metaferry.storage.azure.adapter import AzureAdapter
from metaferry.storage.factory import open_adapter, open_storage
from metaferry.storage.fsspec_adapter import FsspecAdapter
from metaferry.storage.gcs.adapter import GcsAdapter
from metaferry.storage.io.portal import Portal
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import Adapter, Storage
from metaferry.storage.s3.adapter import S3Adapter
from metaferry.storage.s3.client import file_system
from metaferry.urls import SCHEMES, azure_location, redact, split_bucket, split_scheme


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/data/x", LocalAdapter),
        ("relative/x", LocalAdapter),
        ("file:///data/x", LocalAdapter),
        ("file:/data/x", LocalAdapter),
        ("local:///data/x", LocalAdapter),
        ("memory://x/y", MemoryAdapter),
        ("s3://b/p", S3Adapter),
        ("S3://b", S3Adapter),
        ("s3a://b/p", S3Adapter),
        ("gs://b/p", GcsAdapter),
        ("gcs://b/p", GcsAdapter),
        ("az://c/p", AzureAdapter),
        ("abfs://c@account.dfs.core.windows.net/p", AzureAdapter),
        ("abfss://c@account.dfs.core.windows.net/p", AzureAdapter),
        ("https://account.blob.core.windows.net/c/p", AzureAdapter),
        ("https://example.org/p", FsspecAdapter),
        ("ftp://host/p", FsspecAdapter),
        ("github://x/y", FsspecAdapter),
    ],
)
def test_each_url_has_its_adapter(url: str, expected: type) -> None:
    adapter = open_adapter(url, transport="fsspec")
    assert type(adapter) is expected
    assert open_adapter(url).url == adapter.url
    assert isinstance(adapter, Adapter)
    assert adapter.url == redact(url)


def test_what_is_opened_is_a_storage(tmp_path: Path) -> None:
    storage: Storage = open_storage(str(tmp_path))
    assert storage.url == str(tmp_path)
    assert (storage.capabilities.conditional, storage.capabilities.atomic) == (True, True)


@pytest.mark.parametrize(
    ("url", "message", "advice"),
    [
        ("s4://b", "no file system is known for s4://", ""),
        ("gss://b", "gss://", "gs://"),
        ("sftpp://h/x", "sftpp://", "sftp://"),
        ("dropbox://x", "needs the Python package dropboxdrivefs", ""),
        ("s3://", "there is no bucket", "s3://bucket/prefix/"),
        ("s3:///key", "there is no bucket", ""),
        ("gs://b/a/../c", "empty, `.` or `..` segment", ""),
        ("az://c/a//b", "empty, `.` or `..` segment", ""),
        ("s3://key:hunter2@b/p", "there is no bucket", ""),
    ],
)
def test_what_cannot_be_opened_says_why(url: str, message: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_adapter(url)
    assert message in str(caught.value)
    assert advice in caught.value.advice
    assert "hunter2" not in str(caught.value) + caught.value.advice


def test_options_where_there_are_none() -> None:
    with pytest.raises(UsageError, match="endpoint_url") as caught:
        open_adapter("/data", {"endpoint_url": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/2026", "b", "2026/"),
        ("s3://b/2026/", "b", "2026/"),
        ("s3://b/a b/100%/x#y?z", "b", "a b/100%/x#y?z/"),
    ],
)
def test_a_prefix_is_taken_as_it_stands(url: str, bucket: str, prefix: str) -> None:
    assert split_bucket(split_scheme(url)[1], url) == (bucket, prefix)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("c/p", ("c", "p/", {})),
        ("c@acc.dfs.core.windows.net/p/q", ("c", "p/q/", {"account_name": "acc"})),
        (
            "c@acc.dfs.core.chinacloudapi.cn/p",
            ("c", "p/", {"account_name": "acc", "account_host": "acc.blob.core.chinacloudapi.cn"}),
        ),
        ("acc.blob.core.windows.net/c/p", ("c", "p/", {"account_name": "acc"})),
        (
            "acc.blob.core.windows.net/c?sv=1&sig=x",
            ("c", "", {"account_name": "acc", "sas_token": "sv=1&sig=x"}),
        ),
    ],
)
def test_the_ways_to_name_a_container(rest: str, expected: Any) -> None:
    assert azure_location(rest, "az://…") == expected


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://fleet/2026/", "s3://fleet/2026/"),
        ("sftp://me:hunter2@host/p", "sftp://host/p"),
        ("sftp://me@host/p", "sftp://host/p"),
        ("abfs://c@acc.dfs.core.windows.net/p", "abfs://c@acc.dfs.core.windows.net/p"),
        ("az://c/p?sv=1&sig=hunter2", "az://c/p"),
        ("https://acc.blob.core.windows.net/c?sig=hunter2", "https://acc.blob.core.windows.net/c"),
        ("s3://b/k?X-Amz-Signature=hunter2", "s3://b/k"),
        ("s3://b/what?really", "s3://b/what?really"),
        ("/data/a?b", "/data/a?b"),
        ("http://me:hun/ter2@host/p", "http://***@host/p"),
        ("http://me:hun?ter2@host/p", "http://***@host/p"),
        ("http://me:hunter2@ter/x@host/p", "http://***@host/p"),
        ("http://me:hun", "http://***"),
        ("http://host:9000/p", "http://host:9000/p"),
        ("https://[::1]:9000/p", "https://[::1]:9000/p"),
        ("https://cdn.example.org/@scope/x.csv", "https://cdn.example.org/@scope/x.csv"),
        ("zip://a.csv::https://me:hunter2@h/x.zip?sig=1", "zip://a.csv::https://h/x.zip"),
        ("simplecache::s3://b/a@b/k", "simplecache::s3://b/a@b/k"),
        ("s3://b/a@b:c/k", "s3://b/a@b:c/k"),
        ("s3://arn:aws:s3:eu-1:1:accesspoint/a@b", "s3://arn:aws:s3:eu-1:1:accesspoint/a@b"),
        ("/jobs/http:/me:hunter2@host/p", "/jobs/http:/***@host/p"),
        (" HTTP://me:hunter2@host/p", " http://host/p"),
    ],
)
def test_what_people_see_of_a_url(url: str, shown: str) -> None:
    assert redact(url) == shown


CANARIES = {
    "s3": ("s3://b/p", {"key": "CANARYKEY", "secret": "CANARYSECRET", "token": "CANARYTOKEN"}),
    "gcs": ("gs://b/p", {"token": {"client_secret": "CANARY", "type": "authorized_user"}}),
    "azure": ("az://c/p", {"account_name": "a", "account_key": "Q0FOQVJZ", "sas_token": "sig=CANARY"}),
    "azure-sas": ("az://c/p?sig=CANARY", {"connection_string": "AccountKey=CANARY;BlobEndpoint=nonsense"}),
    "generic": ("ftp://me:CANARY@127.0.0.1:1/p", {"password": "CANARY"}),
}


@pytest.mark.parametrize("name", CANARIES)
def test_no_credential_is_ever_shown(name: str, portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, an error, its advice, its chain, nor our log, on every operation."""
    url, options = CANARIES[name]
    if name in ("s3", "gcs"):  # nobody listens there
        options = {**options, "endpoint_url": "http://CANARY:CANARY@127.0.0.1:9"}
    storage = open_storage(url, options, retry_for=0.0)
    shown = [repr(storage), str(storage), repr(storage.adapter), str(vars(storage)), storage.url]

    async def pages() -> None:
        async for _ in storage.list():
            pass

    with caplog.at_level(logging.DEBUG, logger="metaferry"):
        for work in (storage.read("x"), storage.put("x", b""), storage.delete("x"), pages()):
            with pytest.raises(StorageError) as caught:
                portal.run(work)
            error: BaseException | None = caught.value
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__ or caught.value.__context__ is None
            shown += [str(error), repr(error), caught.value.advice, str(vars(caught.value))]
    portal.run(storage.close())
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("metaferry")]
    assert not [text for text in shown + ours if "CANARY" in text or "Q0FOQVJZ" in text]


def test_the_users_options_reach_the_library_and_ours_win() -> None:
    options = {
        "key": "k",
        "endpoint_url": "http://127.0.0.1:9",
        "client_kwargs": {"region_name": "eu-central-1"},
        "config_kwargs": {
            "read_timeout": 7,
            "max_pool_connections": 3,
            "retries": {"max_attempts": 9},
            "s3": {"addressing_style": "path"},
        },
        "requester_pays": True,
        "s3_additional_kwargs": {"ServerSideEncryption": "AES256"},
        "use_listings_cache": True,
    }
    before = repr(options)
    fs = file_system(options, 50)
    assert repr(options) == before
    assert (fs.key, fs.endpoint_url, fs.client_kwargs) == (
        "k",
        "http://127.0.0.1:9",
        {"region_name": "eu-central-1"},
    )
    assert fs.req_kw == {"RequestPayer": "requester"}
    assert fs.s3_additional_kwargs == {"ServerSideEncryption": "AES256"}
    ours = fs.config_kwargs.pop("http_session_cls")  # follows no redirects
    assert ours.__mro__[1].__name__ == "AIOHTTPSession"
    assert fs.config_kwargs == {
        "read_timeout": 7,
        "connect_timeout": 10,
        "max_pool_connections": 50,
        "retries": {"total_max_attempts": 1},
        "s3": {"addressing_style": "path"},
    }
    assert fs.retries == 1
    assert fs.dircache.use_listings_cache is False
    assert file_system(options, 50) is not fs


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://b", {"no_such_option": 1}),
        ("s3://b", {"endpoint_url": "nonsense"}),
        ("s3://b", {"key": "a", "username": "b"}),
        ("gs://b", {"token": "/no/such/file.json"}),
        ("gs://b", {"access": "everything"}),
        ("az://c", {"connection_string": "nonsense"}),
        ("az://c", {"no_such_option": 1}),
    ],
)
def test_options_that_a_library_refuses(url: str, options: dict[str, Any], portal: Portal) -> None:
    storage = open_storage(url, options, retry_for=0.0)
    with pytest.raises(StorageError) as caught:
        portal.run(storage.read("x"))
    portal.run(storage.close())
    assert caught.value.code == "InvalidOptions"
    assert "options for this location" in caught.value.advice


def test_opening_loads_only_its_own_library() -> None:
    """A run on S3 pays for no Google or Azure import; opening a folder pays for none."""
    heavy = ["s3fs", "gcsfs", "adlfs", "aiobotocore", "azure", "aiohttp", "pyarrow", "duckdb"]
    script = (
        "import sys; from metaferry.storage.factory import open_storage; "
        "open_storage(sys.argv[1]); "
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    for url, allowed in (("/data", set()), ("memory://x", set()), ("gs://b", {"gcsfs", "aiohttp"})):
        out = subprocess.run(
            [sys.executable, "-c", script, url],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        assert set(out.stdout.split()) <= allowed, url


def test_every_scheme_of_ours_opens() -> None:
    for scheme in SCHEMES:
        assert open_adapter(f"{scheme}://bucket/prefix" if scheme else "folder")


@pytest.mark.parametrize("url", ["s3://b", "gs://b", "az://c"])
def test_redirects_are_allowed_by_a_boolean(url: str) -> None:
    assert open_adapter(url, {"follow_redirects": True}, transport="fsspec").url == url
    with pytest.raises(UsageError, match="follow_redirects should be true or false"):
        open_adapter(url, {"follow_redirects": "yes"})


@pytest.mark.parametrize("url", ["https://example.org/p", "/tmp/p", "memory://p"])
def test_redirects_are_no_matter_of_other_file_systems(url: str) -> None:
    with pytest.raises(UsageError, match="follow_redirects"):
        open_adapter(url, {"follow_redirects": True})
