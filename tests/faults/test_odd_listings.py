"""Listings that contradict themselves, over the wire: made again, and never believed.

The server is the one for Google Cloud Storage, with pages that are changed before they are sent. The
orphans of what a listing does not show would be deleted, so what is looked at is what is left in place.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from metaferry.errors import Inconsistent
from metaferry.job.model import Job
from metaferry.runs.deps import RuntimeDeps
from metaferry.runs.run import plan, sync
from metaferry.storage.listing import checked_pages as pages
from servers.background import http_server
from servers.gcs import GcsServer

pytestmark = pytest.mark.servers

#: Changes one page, given its query, before it is sent.
Change = Callable[[dict[str, Any], dict[str, str]], None]

MEDIA: Final = [f"{n:03d}.png" for n in range(40)]
PAGE: Final = 7


class OddPages:
    """Stands before the server, and counts the listings.

    `change` is applied to every page until it changed `times` of them; `replace` may answer in its place.
    """

    def __init__(self, upstream: GcsServer) -> None:
        self.upstream = upstream
        self.endpoint = ""
        self.change: Change | None = None
        self.replace: Callable[[dict[str, str]], dict[str, Any] | None] = lambda query: None
        self.times = 10**9
        self.lists = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        query = dict(request.query)
        listing = request.method == "GET" and re.search(r"/b/[^/]+/o$", request.path) is not None
        if listing:
            self.lists += 1
            query["maxResults"] = str(PAGE)
            given = self.replace(query)
            if given is not None:
                return web.json_response(given)
        address = URL(self.upstream.endpoint + request.rel_url.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, address, params=query, data=body or None, headers=headers
            ) as answer,
        ):
            content = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            if not listing or self.change is None or self.times <= 0:
                return web.Response(status=answer.status, body=content, headers=kept)
        page = json.loads(content)
        self.change(page, query)
        self.times -= page != json.loads(content)
        return web.json_response(page)


_HOP: Final = frozenset({"connection", "transfer-encoding", "content-length", "host", "keep-alive"})


@pytest.fixture
def server(gcs_server: GcsServer) -> Iterator[OddPages]:
    server = OddPages(gcs_server)
    with http_server(server.handle) as endpoint:
        server.endpoint = endpoint
        yield server


class Site:
    """A bucket with media whose documents were written in a first run, and small pages."""

    def __init__(self, server: OddPages, root: Path) -> None:
        self.server = server
        self.bucket = server.upstream.new_bucket()
        server.upstream.seed(self.bucket, MEDIA)
        rows = "".join(f"{name},{n}\n" for n, name in enumerate(MEDIA))
        (root / "t.csv").write_text(f"file_name,x\n{rows}")
        self.job = Job.from_mapping(
            {
                "input": f"gs://{self.bucket}",
                "storage": {"gs": {**server.upstream.options, "endpoint_url": server.endpoint}},
                "sources": [{"table": str(root / "t.csv")}],
                "policy": {"delete": "orphans", "max_delete": "100%"},
                "retry_for": 2,
            }
        )
        self.world = RuntimeDeps()

    @property
    def documents(self) -> list[str]:
        return sorted(self.server.upstream.objects(self.bucket, ".lightly/metadata/"))


@pytest.fixture
def site(server: OddPages, tmp_path: Path) -> Site:
    site = Site(server, tmp_path)
    report = sync(site.job, deps=site.world)
    assert report.documents.create == len(MEDIA)
    assert len(site.documents) == len(MEDIA) + 1
    return site


def names_twice(content: dict[str, Any], query: dict[str, str]) -> None:
    content["items"] = [*content.get("items", ()), *content.get("items", ())[:1]]


def says_it_all_again(content: dict[str, Any], query: dict[str, str]) -> None:
    """A later page is the first one once more; what would have been there is lost."""
    media = [item for item in content.get("items", ()) if item["name"].endswith(".png")]
    if media and media[0]["name"] != MEDIA[0]:
        for item, name in zip(media, MEDIA, strict=False):
            item["name"] = name


def goes_round(content: dict[str, Any], query: dict[str, str]) -> None:
    """The token of the page itself is given for the next one."""
    if "pageToken" in query:
        content["nextPageToken"] = query["pageToken"]


CONTRADICTIONS: Final[dict[str, Change]] = {
    "a key twice in a page": names_twice,
    "the first page again": says_it_all_again,
    "a token seen before": goes_round,
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_listing_that_contradicts_itself_is_made_again_and_nothing_is_deleted(
    site: Site, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = site.documents
    caplog.set_level(logging.INFO)
    site.server.change, site.server.times = CONTRADICTIONS[name], 1
    report = sync(site.job, deps=site.world)
    assert site.server.times == 0
    assert "contradicts itself" in caplog.text or "listed again" in caplog.text
    assert (report.exit_code, report.documents.keep, report.documents.delete) == (0, len(MEDIA), 0)
    assert (report.media.images, report.sources[0].used) == (len(MEDIA), len(MEDIA))
    assert site.documents == before


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_one_that_stays_so_fails_after_three_listings(site: Site, name: str) -> None:
    before = site.documents
    site.server.change, site.server.lists = CONTRADICTIONS[name], 0
    with pytest.raises(Inconsistent) as caught:
        sync(site.job, deps=site.world)
    assert "contradicts itself" in str(caught.value)
    assert site.documents == before
    # The state, and all else in many chains and in one, each at most three times, in few pages.
    assert site.server.lists <= 4 * 3 * (2 * len(MEDIA) // PAGE + 10)


def test_pages_without_end_that_name_nothing_are_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_EMPTY", 50)
    before = site.documents
    server = site.server

    def endless(query: dict[str, str]) -> dict[str, Any] | None:
        if query.get("prefix", "").startswith(".metaferry"):
            return None
        number = int(query.get("pageToken", "x0").removeprefix("x"))
        return {"kind": "storage#objects", "nextPageToken": f"x{number + 1}"}

    server.replace = endless
    server.lists = 0
    with pytest.raises(Inconsistent, match="empty pages in a row"):
        sync(site.job, deps=site.world)
    assert site.documents == before
    assert 3 * 50 <= server.lists <= 3 * 50 * 3


def test_an_empty_page_with_a_new_token_is_in_order(site: Site) -> None:
    def first_nothing(query: dict[str, str]) -> dict[str, Any] | None:
        token = query.get("pageToken", "")
        if "delimiter" in query:
            return None
        if not token.startswith("empty"):
            return {"kind": "storage#objects", "nextPageToken": f"empty:0:{token}"}
        _, number, behind = token.split(":", 2)
        if int(number) < 20:
            return {"kind": "storage#objects", "nextPageToken": f"empty:{int(number) + 1}:{behind}"}
        query["pageToken"] = behind
        if not behind:
            del query["pageToken"]
        return None

    site.server.replace = first_nothing
    report = plan(site.job, deps=site.world)
    assert (report.documents.keep, report.changes, report.media.images) == (len(MEDIA), 0, len(MEDIA))


def test_the_order_of_keys_is_no_fault(site: Site) -> None:
    def backwards(content: dict[str, Any], query: dict[str, str]) -> None:
        content.get("items", []).reverse()

    site.server.change = backwards
    report = sync(site.job, deps=site.world)
    assert (report.exit_code, report.documents.keep, report.documents.delete) == (0, len(MEDIA), 0)


def test_versions_of_some_entries_only_are_no_listing(site: Site) -> None:
    before = site.documents

    def without(content: dict[str, Any], query: dict[str, str]) -> None:
        for item in content.get("items", ())[:1]:
            del item["generation"]

    site.server.change = without
    with pytest.raises(Exception, match="BadAnswer"):
        sync(site.job, deps=site.world)
    assert site.documents == before
