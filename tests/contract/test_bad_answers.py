"""Answers that are none are named as what they are."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from metaferry.errors import StorageError
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.datasource import FreshDatasource
from servers.s3 import FastS3
from servers.s3_rules import Fault


@pytest.mark.servers
@pytest.mark.parametrize("body", [b"<ListBucketResult><IsTruncated>fal", b"<html>login", b"no XML"])
def test_a_page_that_is_cut_is_no_500(
    fresh_datasource: FreshDatasource, fast_s3_server: FastS3, body: bytes
) -> None:
    url, options = fresh_datasource("fast_s3")
    fast_s3_server.add(Fault("status", "GET", times=1000, status=200, body=body))
    with Portal() as portal:
        storage = open_storage(url, options, retry_for=0.0)

        async def listed() -> None:
            async for _ in storage.list():
                pass

        with pytest.raises(StorageError) as caught:
            portal.run(listed())
        portal.run(storage.close())
    fast_s3_server.reset()
    assert "500" not in caught.value.message
    assert "BadAnswer" in caught.value.message


class _Loop(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def loop() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Loop)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_redirection_without_end_is_no_missing_file(loop: str) -> None:
    with Portal() as portal:
        storage = open_storage(loop, {}, retry_for=0.0)
        with pytest.raises(StorageError, match="too many redirects") as caught:
            portal.run(storage.read("t.csv"))
        portal.run(storage.close())
    assert "check the URL" in caught.value.advice
