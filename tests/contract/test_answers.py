"""Answers that are not whole, or of somebody in between: asked again, then an error; never a short listing,
an object of no bytes, or a delete that was not made. What is normal of each store stays so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from contract.test_wire import LISTING, Wire, wire  # noqa: F401 - a fixture
from metaferry.errors import Corrupt, StorageError
from servers.proxy import Rule

pytestmark = pytest.mark.servers

LOGIN: Final = b"<!DOCTYPE html><html><body>Please log in.</body></html>"

S3_PAGE: Final = """<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>{}</ListBucketResult>"""
S3_ENTRY: Final = """<Contents><Key>{}</Key><ETag>{}</ETag><Size>2</Size>
<LastModified>2026-11-23T03:31:41.000Z</LastModified></Contents>"""
AZURE_PAGE: Final = """<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://x/"
ContainerName="c"><MaxResults>5000</MaxResults><Blobs>{}</Blobs>{}</EnumerationResults>"""
AZURE_ENTRY: Final = """<Blob><Name>{}</Name><Properties><Last-Modified>Mon, 23 Nov 2026 03:31:41 GMT
</Last-Modified>{}<Content-Length>2</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"""


def gcs_page(**more: Any) -> bytes:
    return json.dumps({"kind": "storage#objects", **more}).encode()


def gcs_item(**more: Any) -> dict[str, Any]:
    item = {"name": "elsewhere", "size": "2", "generation": "7", "updated": "2026-11-23T03:31:41Z", **more}
    return {name: value for name, value in item.items() if value is not None}


def s3_page(*parts: str) -> bytes:
    return S3_PAGE.format("".join(parts)).encode()


def azure_page(entries: str, marker: str = "<NextMarker/>") -> bytes:
    return AZURE_PAGE.format(entries, marker).encode()


#: By store and what is wrong with it: status and body of a page.
ANYWHERE: Final = {
    "a login page": (200, LOGIN),
    "nothing": (200, b""),
    "no content": (204, b""),
    "not modified": (304, b""),
}
PAGES: Final = {
    "s3": {
        "no token": (200, s3_page("<IsTruncated>true</IsTruncated>")),
        "an empty token": (
            200,
            s3_page("<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>"),
        ),
        "no word of the end": (200, s3_page()),
        "another document": (200, s3_page("<IsTruncated>false</IsTruncated>").replace(b"ListB", b"ListB2")),
        "another folder": (
            200,
            s3_page("<IsTruncated>false</IsTruncated>", S3_ENTRY.format("elsewhere/x.png", "&quot;t&quot;")),
        ),
        "entries that were lost": (200, s3_page("<IsTruncated>false</IsTruncated><KeyCount>9</KeyCount>")),
        "another prefix": (200, s3_page("<IsTruncated>false</IsTruncated><Prefix>other/</Prefix>")),
    },
    "gcs": {
        "an error": (200, b'{"error": {"code": 500, "message": "backend error"}}'),
        "an empty object": (200, b"{}"),
        "a list": (200, b"[]"),
        "null": (200, b"null"),
        "an empty token": (200, gcs_page(nextPageToken="")),
        "a token that is none": (200, gcs_page(nextPageToken=7)),
        "an object": (200, json.dumps({"kind": "storage#object"}).encode()),
        "no size": (200, gcs_page(items=[gcs_item(size=None)])),
        "no name": (200, gcs_page(items=[gcs_item(name=None)])),
        "no generation": (200, gcs_page(items=[gcs_item(generation=None)])),
        "another folder": (200, gcs_page(items=[gcs_item()])),
        "no items": (200, gcs_page(items={"a": 1})),
    },
    "azure": {
        "no marker": (200, azure_page("", "")),
        "cut before the marker": (200, azure_page("").partition(b"<NextMarker")[0]),
        "another document": (200, azure_page("").replace(b"EnumerationResults", b"Results")),
        "no tag": (200, azure_page(AZURE_ENTRY.format("elsewhere", ""))),
        "another folder": (200, azure_page(AZURE_ENTRY.format("elsewhere", "<Etag>0x8D</Etag>"))),
        "an error": (200, b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"),
    },
}
CASES: Final = [
    pytest.param((kind, "fsspec"), status, body, id=f"{kind}-{name}")
    for kind, cases in PAGES.items()
    for name, (status, body) in {**ANYWHERE, **cases}.items()
]


def spoil(on: Wire, method: str, status: int, body: bytes, *, times: int = 1, **more: Any) -> Rule:
    headers = more.pop("headers", {"Content-Type": "text/html"})
    rule = Rule("status", method, times=times, status=status, body=body, headers=headers, **more)
    return on.proxy.add(rule)


def listed(on: Wire, storage: Any, prefix: str = "") -> list[str]:
    return sorted(entry.path for page in on.portal.iterate(storage.list(prefix)) for entry in page)


@pytest.mark.parametrize(("wire", "status", "body"), CASES, indirect=["wire"])
def test_a_page_that_is_none_is_asked_for_again_and_ends_no_listing(
    wire: Wire,  # noqa: F811
    status: int,
    body: bytes,
) -> None:
    """Listings are made by the fsspec adapter, whatever else there is."""
    kind = wire.kind
    storage = wire.storage(page_size=3, retry_for=60.0)
    for number in range(7):
        wire.portal.run(storage.put(f"a/{number}.json", b"{}"))
    everything = listed(wire, storage)
    assert len(everything) == 7
    rule = spoil(wire, "GET", status, body, key=LISTING[kind])
    assert listed(wire, storage) == everything
    assert rule.used == 1
    spoil(wire, "GET", status, body, key=LISTING[kind])
    level = wire.portal.run(storage.list_level(""))
    assert level is not None
    assert (level.folders, level.entries) == (["a/"], [])
    stubborn = wire.storage(page_size=3, retry_for=0.5)
    spoil(wire, "GET", status, body, key=LISTING[kind], times=10_000)
    for work in (lambda: listed(wire, stubborn), lambda: wire.portal.run(stubborn.list_level(""))):
        with pytest.raises(Corrupt) as caught:
            work()
        assert caught.value.code == "BadAnswer"
        assert "log in" not in str(caught.value)


def test_what_is_normal_of_a_listing_stays_so(wire: Wire) -> None:  # noqa: F811
    """No objects, a last page that is full, and a page without objects between others."""
    storage = wire.storage(page_size=3, retry_for=0.0)
    assert listed(wire, storage) == []
    names = [f"{number}.json" for number in range(6)]
    for name in names:
        wire.portal.run(storage.put(name, b"{}"))
    assert listed(wire, storage) == names
    assert listed(wire, storage, "nothing/") == []


READS: Final = {
    "nothing": (200, b"", {}),
    "no content": (204, b"", {}),
    "not modified": (304, b"", {}),
    "a login page": (200, LOGIN, {"Content-Type": "text/html"}),
}


@pytest.mark.parametrize(("start", "end"), [(0, None), (2, None), (2, 5), (0, 100)])
@pytest.mark.parametrize("case", READS)
def test_an_object_that_is_not_there_is_none_of_no_bytes(
    wire: Wire,  # noqa: F811
    case: str,
    start: int,
    end: int | None,
) -> None:
    status, body, headers = READS[case]
    storage = wire.storage()
    token = wire.portal.run(storage.put("rows.jsonl", b"0123456789")).token
    for version in (None, token):
        rule = spoil(wire, "GET", status, body, key="rows.jsonl", headers=headers)
        blob = wire.portal.run(storage.read("rows.jsonl", start, end, version=version))
        assert (blob.data, blob.size, blob.token) == (b"0123456789"[start:end], 10, token)
        assert rule.used == 1
    stubborn = wire.storage(retry_for=0.3)
    spoil(wire, "GET", status, body, key="rows.jsonl", headers=headers, times=10_000)
    with pytest.raises(StorageError) as caught:
        wire.portal.run(stubborn.read("rows.jsonl", start, end))
    assert caught.value.retryable
    assert "BadAnswer" in str(caught.value) or wire.lane != "fsspec"


def versioned(kind: str, token: str) -> dict[str, str]:
    """The headers by which a store says which version it sends."""
    if kind == "gcs":
        return {"x-goog-generation": token}
    return {"ETag": f'"{token}"', "Last-Modified": "Mon, 23 Nov 2026 03:31:41 GMT"}


@pytest.mark.parametrize("part", ["bytes 3-5/10", "bytes 2-4/*", "bytes 2-9/10", None])
def test_another_part_than_was_asked_for_is_none(wire: Wire, part: str | None) -> None:  # noqa: F811
    storage = wire.storage()
    token = wire.portal.run(storage.put("rows.jsonl", b"0123456789")).token
    headers = versioned(wire.kind, token) | ({"Content-Range": part} if part else {})
    rule = spoil(wire, "GET", 206, b"abc", key="rows.jsonl", headers=headers)
    blob = wire.portal.run(storage.read("rows.jsonl", 2, 5, version=token))
    assert (blob.data, rule.used) == (b"234", 1)


def test_another_version_than_was_asked_for_is_none(wire: Wire) -> None:  # noqa: F811
    storage = wire.storage()
    token = wire.portal.run(storage.put("rows.jsonl", b"0123456789")).token
    headers = versioned(wire.kind, "4711") | {"Content-Range": "bytes 2-4/10"}
    rule = spoil(wire, "GET", 206, b"abc", key="rows.jsonl", headers=headers)
    blob = wire.portal.run(storage.read("rows.jsonl", 2, 5, version=token))
    assert (blob.data, blob.token, rule.used) == (b"234", token, 1)


PUTS: Final = {
    "a login page": (200, LOGIN, {"Content-Type": "text/html"}),
    "nothing": (200, b"", {}),
    "no content": (204, b"", {}),
    "an object": (200, b"{}", {"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("case", PUTS)
def test_a_put_is_done_when_the_store_says_so(wire: Wire, case: str) -> None:  # noqa: F811
    status, body, headers = PUTS[case]
    storage = wire.storage()
    rule = spoil(wire, wire.put, status, body, headers=headers)
    put_result = wire.portal.run(storage.put("doc.json", b'{"a": 1}'))
    blob = wire.portal.run(storage.read("doc.json"))
    assert (blob.data, blob.token, rule.used) == (b'{"a": 1}', put_result.token, 1)


def done(wire: Wire) -> Callable[[], bool]:  # noqa: F811
    return lambda: listed(wire, wire.storage()) == []


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_delete_is_no_login_page(wire: Wire, status: int) -> None:  # noqa: F811
    storage = wire.storage()
    gone = done(wire)
    for conditional in (False, True):
        token = wire.portal.run(storage.put("doc.json", b"{}")).token
        rule = spoil(wire, "DELETE", status, LOGIN if status != 204 else b"")
        if status == 204:  # cannot have a text: it is taken for done
            wire.portal.run(storage.delete("doc.json"))
            assert rule.used == 1
            assert not gone()
            continue
        if conditional:
            wire.portal.run(storage.delete("doc.json", only_if=token))
        else:
            wire.portal.run(storage.delete("doc.json"))
        assert rule.used == 1
        assert gone()


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_delete_is_done_by_any_status_of_success_without_a_text(
    wire: Wire,  # noqa: F811
    status: int,
) -> None:
    storage = wire.storage(retry_for=0.0)
    wire.portal.run(storage.put("doc.json", b"{}"))
    rule = spoil(wire, "DELETE", status, b"", headers={})
    wire.portal.run(storage.delete("doc.json"))
    assert (rule.used, wire.proxy.count("DELETE")) == (1, 1)
