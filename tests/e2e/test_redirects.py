"""A store that sends every request on to another host, and a job that allows it or does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import metaferry
from contract.subjects import keys_of
from metaferry.errors import Unsupported
from metaferry.job.model import Job
from metaferry.storage.factory import open_adapter
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.scripted import Server

pytestmark = pytest.mark.servers


@pytest.fixture
def datasource(fresh_datasource: FreshDatasource, portal: Portal) -> tuple[str, dict[str, Any]]:
    """Anonymous, as an emulator lets everybody write; with one image."""
    url, options = fresh_datasource("gcs")
    adapter = open_adapter(url, options)
    portal.run(adapter.put("shots/1.png", b"png"))
    portal.run(adapter.close())
    return url, options


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_whole_sync_is_redirected_where_the_job_allows_it(
    datasource: tuple[str, dict[str, Any]], portal: Portal, tmp_path: Path, transport: str, allowed: bool
) -> None:
    url, options = datasource
    assert options["token"] == "anon"

    def elsewhere(head: bytes, body: bytes) -> bytes:
        where = options["endpoint_url"].encode() + head.split(b" ", 2)[1]
        return b"HTTP/1.1 308 Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where

    server = Server(elsewhere)
    moved = {**options, "endpoint_url": f"http://127.0.0.1:{server.port}"}
    table = tmp_path / "t.csv"
    table.write_text("file_name,scene\nshots/1.png,day\n", encoding="utf-8")
    job = {
        "input": url,
        "storage": {"gs": {**moved, "follow_redirects": True} if allowed else moved},
        "transport": transport,
        "sources": [{"table": str(table), "file_name": "file_name", "metadata": {"scene": "scene"}}],
        "retry_for": 20,
    }
    adapter = open_adapter(url, options)
    if allowed:
        report = metaferry.sync(Job.from_mapping(job))
        assert (report.exit_code, report.documents.create) == (0, 1)
        document = portal.run(adapter.read(".lightly/metadata/shots/1.json")).data
        assert json.loads(document)["metadata"] == {"scene": "day"}
    else:
        with pytest.raises(Unsupported, match="redirects to an address that is not followed") as caught:
            metaferry.sync(Job.from_mapping(job))
        assert "follow_redirects" in caught.value.advice
        assert portal.run(keys_of(adapter)) == ["shots/1.png"]
    portal.run(adapter.close())
    server.close()
