"""Chained URLs of fsspec are refused wherever a URL is given, and a path that holds `::` is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import metaferry
from metaferry import Job, JobError, UsageError
from metaferry.media.frames.urls import split_url
from metaferry.storage.factory import open_adapter
from metaferry.urls import is_chained

CHAINED = [
    "zip://a.csv::s3://b/x.zip",
    "zip://*.csv::/data/x.zip",
    "simplecache::s3://b/a.csv",
    "filecache::zip://a::https://me:hunter2@h/x.zip",
    "simplecache::/data/a.csv",
    "ZIP://a.csv::file:///x.zip",
]
PLAIN = [
    "/data/a::b/c.csv",
    "a::b.csv",
    "/data/a::s3://b",
    "s3://b/a::b/c",
    "s3://b/a::b::c/d",
    "https://[::1]/a",
]


@pytest.mark.parametrize("url", CHAINED)
@pytest.mark.parametrize("key", ["input", "lightly", "state", "sources[0].table", "media.inventory"])
def test_a_chained_url_is_a_fault_of_its_key(key: str, url: str) -> None:
    mapping: dict[str, Any] = {
        "input": "s3://b",
        "sources": [{"table": "/t.csv", "file_name": "k", "metadata": {"a": "a"}}],
        "media": {},
    }
    with pytest.raises(JobError) as caught:
        Job.from_mapping(mapping, overrides=[f"{key}={url}"])
    text = str(caught.value)
    assert f"--set {key}" in text
    assert "is a chained URL, which is not supported: unpack the archive, or name the object itself" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("url", CHAINED)
def test_a_chained_url_is_no_storage_and_no_video(url: str) -> None:
    for refuse in (open_adapter, split_url):
        with pytest.raises(UsageError, match="is a chained URL") as caught:
            refuse(url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", CHAINED)
@pytest.mark.parametrize("what", ["out", "plan", "finish", "frames", "schema"])
def test_a_chained_url_of_a_call_is_one_usage_error(tmp_path: Path, what: str, url: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_bytes(b"x")
    (tmp_path / "t.csv").write_text("file_name,n\na.png,1\n")
    mapping: dict[str, Any] = {"input": "data", "sources": [{"table": "t.csv"}]}

    def job(**more: Any) -> Job:
        return Job.from_mapping({**mapping, **more}, base=tmp_path)

    calls = {
        "out": lambda: metaferry.plan(job(), out=url),
        "plan": lambda: metaferry.sync(job(), plan=url),
        "finish": lambda: metaferry.finish(url),
        "frames": lambda: list(metaferry.count_frames([url])),
        "schema": lambda: metaferry.plan(job(schema=url)),
    }
    with pytest.raises(UsageError, match="is a chained URL") as caught:
        calls[what]()
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "data/.lightly").exists()


@pytest.mark.parametrize("url", PLAIN)
def test_what_merely_holds_two_colons_is_none(url: str) -> None:
    assert not is_chained(url)


def test_a_relative_path_with_two_colons_is_relative_to_the_job(tmp_path: Path) -> None:
    mapping = {"input": "a::b", "sources": [{"table": "t.csv", "file_name": "k", "metadata": {"a": "a"}}]}
    assert Job.from_mapping(mapping, base=tmp_path).input.url == str(tmp_path / "a::b")
