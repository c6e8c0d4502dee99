"""What a store says of objects besides their bytes, over the wire and in every way it is spoken to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.subjects import TRANSPORTS, Lane
from metaferry.errors import Corrupt, Denied, NotFound, Unsupported
from metaferry.storage.factory import open_storage
from metaferry.storage.facts.model import ObjectFacts
from metaferry.storage.io.portal import Portal
from metaferry.storage.protocol import DescribedEntry, Entry, Storage
from metaferry.storage.retry.storage import Retrying
from servers.datasource import FreshDatasource
from servers.described import put_described
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers

S3 = ("s3", "fast_s3", "seaweedfs")
#: Those whose user metadata keep the case of their names.
KEEPS_CASE = ("gcs", "azure")


@pytest.fixture(params=["fsspec", "loop"])
def lane(request: pytest.FixtureRequest) -> Lane:
    chosen: Lane = request.param
    return chosen


class World:
    """A datasource with `a.jpg`, which has metadata and tags, and `b.png`, which has none."""

    def __init__(self, kind: str, url: str, options: dict[str, Any], server: Any, lane: Lane) -> None:
        self.kind, self.url, self.options, self.server, self.lane = kind, url, options, server, lane
        self._open: list[Retrying] = []
        self.put("a.jpg", metadata={"Cam": "07", "site": "Zürich" if kind == "gcs" else "Bern"}, tags=TAGS)
        self.put("b.png", content_type="image/png")

    def put(self, key: str, **more: Any) -> None:
        steered = self.server if self.kind == "gcs" else None
        put_described(self.url, self.options, key, server=steered, **more)

    def storage(self, **more: Any) -> Retrying:
        opened = open_storage(
            self.url, self.options, transport=TRANSPORTS[self.lane], **{"retry_for": 0, **more}
        )
        self._open.append(opened)
        return opened

    def close(self, portal: Portal) -> None:
        for each in self._open:
            portal.run(each.close())


TAGS = {"split": "train", "team": "a/b c+d"}


@pytest.fixture(params=["s3", "fast_s3", "seaweedfs", "gcs", "azure", "fast_azure"])
def world(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, lane: Lane, portal: Portal
) -> Iterator[World]:
    url, options = fresh_datasource(request.param)
    world = World(request.param, url, options, request.getfixturevalue(f"{request.param}_server"), lane)
    yield world
    world.close(portal)


async def entries_of(storage: Storage) -> list[Entry]:
    return [entry async for page in storage.list() for entry in page]


def facts_by_path(entries: list[Entry]) -> dict[str, ObjectFacts]:
    described = [entry for entry in entries if isinstance(entry, DescribedEntry)]
    assert len(described) == len(entries)
    return {entry.path: entry.facts for entry in described}


def test_a_listing_that_nobody_asked_for_facts_has_plain_entries(world: World, portal: Portal) -> None:
    entries = portal.run(entries_of(world.storage()))
    assert [type(entry) for entry in entries] == [Entry, Entry]


def test_a_listing_has_what_the_store_lists_for_free(world: World, portal: Portal) -> None:
    storage = world.storage()
    plain = portal.run(entries_of(world.storage()))
    storage.facts.list_facts(tags=True)
    entries = portal.run(entries_of(storage))
    assert [tuple(entry) for entry in entries] == [tuple(entry) for entry in plain]
    found = facts_by_path(entries)
    a, b = found["a.jpg"], found["b.png"]
    assert a.etag
    assert b.etag
    if world.kind != "gcs":  # there the version is the generation
        assert [entry.token for entry in entries] == [a.etag, b.etag]
    if world.kind in S3:
        assert (a.content_type, a.metadata, a.tags, a.storage_class) == (None, None, None, "STANDARD")
        return
    assert (a.content_type, b.content_type) == ("image/jpeg", "image/png")
    assert a.storage_class == ("STANDARD" if world.kind == "gcs" else "Hot")
    if world.kind == "gcs":
        assert (a.metadata, b.metadata) == ({"Cam": "07", "site": "Zürich"}, {})
        assert (a.tags, storage.facts.has_tags) == (None, False)
    else:
        name = "Cam" if world.kind in KEEPS_CASE else "cam"
        assert (a.metadata, b.metadata) == ({name: "07", "site": "Bern"}, {})
        assert (a.tags, b.tags) == (TAGS, {})
    assert storage.requests.get == storage.requests.tags == 0


def test_what_a_listing_lacks_can_be_asked_for_one_object(world: World, portal: Portal) -> None:
    storage = world.storage()
    a, _ = portal.run(entries_of(storage))
    described = portal.run(storage.facts.describe("a.jpg"))
    assert described.token == a.token
    name = "Cam" if world.kind in KEEPS_CASE else "cam"
    site = "Zürich" if world.kind == "gcs" else "Bern"
    assert described.facts.metadata == {name: "07", "site": site}
    assert described.facts.content_type == "image/jpeg"
    assert portal.run(storage.facts.describe("b.png")).facts.metadata == {}
    assert storage.requests.get == 2
    if world.kind == "gcs":
        assert not storage.facts.has_tags
        return
    assert portal.run(storage.facts.tags("a.jpg")) == TAGS
    assert portal.run(storage.facts.tags("b.png")) == {}
    assert (storage.requests.get, storage.requests.tags, storage.requests.tags_failed) == (2, 2, 0)


def test_an_object_that_is_gone_is_not_found(world: World, portal: Portal) -> None:
    storage = world.storage()
    with pytest.raises(NotFound) as caught:
        portal.run(storage.facts.describe("gone.jpg"))
    assert caught.value.path == "gone.jpg"
    if storage.facts.has_tags:
        with pytest.raises(NotFound):
            portal.run(storage.facts.tags("gone.jpg"))


def test_names_of_objects_reach_the_store_as_they_are(world: World, portal: Portal) -> None:
    path = "b+c %7E/ü&x=1?versionId=2#/日本 (1).jpg"
    if world.kind in ("s3", "azure"):
        path = path.replace("?versionId=2", "")  # the emulators read it as a query
    world.put(path, metadata={"n": "1"}, tags={} if world.kind == "gcs" else {"t": "2"})
    storage = world.storage()
    assert portal.run(storage.facts.describe(path)).facts.metadata == {"n": "1"}
    if storage.facts.has_tags:
        assert portal.run(storage.facts.tags(path)) == {"t": "2"}


#: Of those servers that can be told to fail.
WITH_TAGS = pytest.mark.parametrize("steered", ["fast_s3", "fast_azure"], indirect=True)
OF_S3 = pytest.mark.parametrize("steered", ["fast_s3"], indirect=True)
OF_AZURE = pytest.mark.parametrize("steered", ["fast_azure"], indirect=True)


@pytest.fixture(params=["fast_s3", "gcs", "fast_azure"])
def steered(
    request: pytest.FixtureRequest, fresh_datasource: FreshDatasource, lane: Lane, portal: Portal
) -> Iterator[World]:
    url, options = fresh_datasource(request.param)
    server = request.getfixturevalue(f"{request.param}_server")
    world = World(request.param, url, options, server, lane)
    yield world
    world.close(portal)
    server.reset()


def test_requests_for_facts_are_retried_and_counted(steered: World, portal: Portal) -> None:
    storage = steered.storage(retry_for=60, sleep=_no_sleep)
    steered.server.add(Fault("status", key=r"a\.jpg", times=2, status=503))
    assert portal.run(storage.facts.describe("a.jpg")).facts.content_type == "image/jpeg"
    assert (storage.requests.get, storage.requests.get_failed, storage.requests.retries) == (3, 2, 2)
    if storage.facts.has_tags:
        steered.server.add(Fault("status", key=r"a\.jpg\?.*tag", times=1, status=500))
        assert portal.run(storage.facts.tags("a.jpg")) == TAGS
        assert (storage.requests.tags, storage.requests.tags_failed) == (2, 1)


async def _no_sleep(seconds: float) -> None:
    return None


@WITH_TAGS
def test_tags_that_may_not_be_read_are_an_error_that_names_the_right(steered: World, portal: Portal) -> None:
    storage = steered.storage()
    code = "AccessDenied" if steered.kind == "fast_s3" else "AuthorizationPermissionMismatch"
    right = "s3:GetObjectTagging" if steered.kind == "fast_s3" else "containers/blobs/tags/read"
    steered.server.add(Fault("status", key=r"a\.jpg\?.*tag", status=403, code=code))
    with pytest.raises(Denied) as caught:
        portal.run(storage.facts.tags("a.jpg"))
    assert "when reading the tags of" in caught.value.message
    assert right in caught.value.advice


@WITH_TAGS
@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (405, "MethodNotAllowed")])
def test_a_store_without_tags_says_so(steered: World, portal: Portal, status: int, code: str) -> None:
    storage = steered.storage()
    steered.server.add(Fault("status", key=r"a\.jpg\?.*tag", status=status, code=code))
    with pytest.raises(Unsupported):
        portal.run(storage.facts.tags("a.jpg"))


@OF_S3
@pytest.mark.parametrize("code", ["NoSuchTagSet", "NoSuchTagSetError"])
def test_an_error_that_there_are_no_tags_is_no_error(steered: World, portal: Portal, code: str) -> None:
    steered.server.add(Fault("status", key=r"a\.jpg\?.*tag", status=404, code=code))
    assert portal.run(steered.storage().facts.tags("a.jpg")) == {}


@WITH_TAGS
@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"", b"{}", b"<Tagging"])
def test_another_page_is_never_taken_for_an_object_without_tags(
    steered: World, portal: Portal, body: bytes
) -> None:
    storage = steered.storage()
    steered.server.add(Fault("status", key=r"a\.jpg\?.*tag", status=200, body=body))
    with pytest.raises(Corrupt):
        portal.run(storage.facts.tags("a.jpg"))


@OF_AZURE
def test_a_listing_names_the_right_that_its_tags_take(steered: World, portal: Portal) -> None:
    storage = steered.storage()
    storage.facts.list_facts(tags=True)
    steered.server.add(
        Fault("status", key="comp=list.*tags", status=403, code="AuthorizationPermissionMismatch")
    )
    with pytest.raises(Denied) as caught:
        portal.run(entries_of(storage))
    assert "containers/blobs/tags/read" in caught.value.advice


@OF_AZURE
def test_an_account_without_tags_is_listed_without_them(
    steered: World, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    storage = steered.storage()
    storage.facts.list_facts(tags=True)
    steered.server.add(
        Fault("status", key="comp=list.*tags", status=400, code="FeatureNotSupported", times=10)
    )
    found = facts_by_path(portal.run(entries_of(storage)))
    assert (found["a.jpg"].tags, found["a.jpg"].metadata) == (None, {"cam": "07", "site": "Bern"})
    assert caplog.text.count("have no tags") == 1
    assert len(facts_by_path(portal.run(entries_of(storage)))) == 2


#: Headers as a store may answer, and the value that they mean; None: left out and counted.
HOSTILE = [
    ("plain", "plain"),
    ("caf\u00c3\u00a9", "café"),  # bare UTF-8
    ("=?UTF-8?B?WsO8cmljaA==?=", "Zürich"),
    ("=?UTF-8?Q?Z=C3=BCrich?= and =?UTF-8?Q?_more?=", "Zürich and  more"),
    ("=?no-such-charset?B?Wsw=?=", None),
    ("=?UTF-8?B?/w==?=", None),  # no UTF-8
    ("=?x", "=?x"),
    ("x" * 2000, "x" * 2000),
]


@pytest.mark.parametrize(("header", "meant"), HOSTILE)
def test_hostile_user_metadata_is_text_or_counted(
    fresh_datasource: FreshDatasource,
    fast_s3_server: Any,
    lane: Lane,
    portal: Portal,
    header: str,
    meant: str | None,
) -> None:
    url, options = fresh_datasource("fast_s3")
    bucket = url.removeprefix("s3://").partition("/")[0]
    key = url.removeprefix("s3://").partition("/")[2]
    key = f"{key.rstrip('/')}/a.jpg".lstrip("/")
    fast_s3_server.put(bucket, key, b"media")
    fast_s3_server.describe(bucket, key, {"x-amz-meta-v": header, "x-amz-missing-meta": "2"})
    storage = open_storage(url, options, transport=TRANSPORTS[lane], retry_for=0)
    facts = portal.run(storage.facts.describe("a.jpg")).facts
    assert facts.metadata == ({} if meant is None else {"v": meant})
    assert facts.unreadable == 2 + (meant is None)
    portal.run(storage.close())
