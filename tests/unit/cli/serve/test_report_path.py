"""`serve --report`: the page of the last run over HTTP, and nothing of it without the flag."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metaferry.cli.serve.status import Status
from metaferry.cli.serve.web import http_server


def status() -> Status:
    return Status("fleet", "1", lambda: datetime(2026, 11, 23, tzinfo=UTC), lambda: 0.0)


def refused(url: str) -> str:
    with pytest.raises(urllib.error.HTTPError) as found, urllib.request.urlopen(url, timeout=30):
        pass
    with found.value as answer:
        assert answer.code == 404
        return str(answer.read().decode())


def test_the_page_is_there_once_a_run_has_left_it(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    with http_server(status(), "127.0.0.1", 0, page) as address:
        assert "no run has left a page yet" in refused(f"{address}/report")
        page.write_text("<!doctype html>", encoding="utf-8")
        with urllib.request.urlopen(f"{address}/report", timeout=30) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert answer.read() == b"<!doctype html>"


def test_without_the_flag_there_is_no_page() -> None:
    with http_server(status(), "127.0.0.1", 0) as address:
        assert "/healthz" in refused(f"{address}/report")
