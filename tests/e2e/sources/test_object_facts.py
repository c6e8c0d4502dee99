"""What stores say of objects besides their bytes, from the bucket to the documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.sources.pages import documents, jobs_of
from e2e.world import Ran, World
from servers.s3_rules import Fault
from servers.steering import Steered

pytestmark = pytest.mark.servers

#: Content type, user metadata and tags of the objects below data/.
OBJECTS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    "cam=07/day=2026-05-01/a.jpg": ("image/jpeg", {"site": "Bern", "cam": "07"}, {"split": "train"}),
    "cam=__HIVE_DEFAULT_PARTITION__/b.png": ("image/png", {}, {}),
    "c%3D/x=a%20b/c.mp4": ("video/mp4", {"site": "Zug"}, {"split": "val", "checked": ""}),
}
A, B, C = "cam=07/day=2026-05-01/a", "cam=__HIVE_DEFAULT_PARTITION__/b", "c%3D/x=a%20b/c"

#: The key of a source that wants all but what no test can know.
WANTED = {
    "content_type": "content_type",
    "storage_class": "storage_class",
    "metadata": "metadata",
    "tags": "tags",
    "folders": "folders",
}


class Fleet(World):
    """Objects in a bucket, and documents in the local folder `data`."""

    def __init__(self, root: Path, kind: str, server: Steered) -> None:
        super().__init__(root)
        self.kind, self.server = kind, server
        self.bucket = server.new_bucket()
        for key, (content_type, metadata, tags) in OBJECTS.items():
            self.add(key, content_type, metadata, tags)
        self.data.mkdir()
        self.server.clear()

    def add(self, key: str, content_type: str, metadata: dict[str, Any], tags: dict[str, str]) -> None:
        key = f"data/{key}"
        self.server.put(self.bucket, key, b"media")
        if self.kind == "gcs":
            self.server.describe(self.bucket, key, {"contentType": content_type, "metadata": metadata})
            return
        prefix, name = (
            ("x-amz-meta-", "content-type") if self.kind == "s3" else ("x-ms-meta-", "Content-Type")
        )
        kept = {name: content_type, **{f"{prefix}{each}": value for each, value in metadata.items()}}
        self.server.describe(self.bucket, key, kept, tags)

    def wants(self, asked: dict[str, Any], metadata: dict[str, str] | None = None, **more: Any) -> None:
        scheme = {"s3": "s3", "gcs": "gs", "azure": "az"}[self.kind]
        source = {"object": asked, "file_name": "file_name", "metadata": metadata or WANTED}
        self.job = {
            "input": {"url": f"{scheme}://{self.bucket}/data/", "options": self.server.options},
            "lightly": "data",
            "sources": [source],
            "retry_for": 0,
            **more,
        }
        self.write_job()

    def sync(self, *arguments: str, code: int = 0) -> Ran:
        ran = self.run("sync", "job.yaml", "--format", "json", *arguments)
        assert ran.code == code, ran.err + ran.out
        return ran

    def asked(self) -> dict[str, int]:
        """Requests for single objects since the server forgot all."""
        counts = self.server.state()["counts"]
        names = ("HeadObject", "GetObjectTagging", "GetProperties", "GetBlobTags", "GetObject")
        return {name: counts[name] for name in names if counts.get(name)}


@pytest.fixture(params=["s3", "gcs", "azure"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    name = {"s3": "fast_s3", "gcs": "gcs", "azure": "fast_azure"}[request.param]
    server = request.getfixturevalue(f"{name}_server")
    yield Fleet(tmp_path, request.param, server)
    server.reset()


ONLY_S3 = pytest.mark.parametrize("fleet", ["s3"], indirect=True)

FOLDERS: dict[str, dict[str, Any]] = {
    A: {"folders": {"cam": "07", "day": "2026-05-01"}},
    B: {},
    C: {"folders": {"x": "a b"}},
}


def test_each_object_has_all_that_was_asked_for(fleet: Fleet) -> None:
    fleet.wants({"headers": True, "tags": True})
    ran = fleet.sync()
    tier = "Hot" if fleet.kind == "azure" else "STANDARD"
    expected: dict[str, dict[str, Any]] = {}
    for path, (content_type, metadata, tags) in zip((A, B, C), OBJECTS.values(), strict=True):
        expected[path] = {"content_type": content_type, "storage_class": tier, **FOLDERS[path]}
        if metadata:
            expected[path]["metadata"] = metadata
        if tags and fleet.kind != "gcs":
            expected[path]["tags"] = tags
    assert documents(fleet) == expected
    each = {"s3": {"HeadObject": 3, "GetObjectTagging": 3}, "gcs": {}, "azure": {}}[fleet.kind]
    assert fleet.asked() == each
    assert ran.report["requests"]["tags"] == (3 if fleet.kind == "s3" else 0)
    assert ("media.no_facts" in ran.report["findings"]) == (fleet.kind == "gcs")


def test_the_second_run_makes_no_request_an_object(fleet: Fleet) -> None:
    fleet.wants({"headers": True, "tags": True})
    fleet.sync()
    made = documents(fleet)
    fleet.server.clear()
    counts = fleet.sync().report["documents"]
    assert (counts["keep"], counts["create"], counts["update"]) == (3, 0, 0)
    assert (fleet.asked(), documents(fleet)) == ({}, made)


def test_what_is_not_asked_for_costs_nothing_and_is_unknown(fleet: Fleet) -> None:
    fleet.wants({})
    fleet.sync()
    assert fleet.asked() == {}
    found = documents(fleet)[A]
    assert found["folders"] == {"cam": "07", "day": "2026-05-01"}
    assert "tags" not in found
    assert ("metadata" in found) == (fleet.kind != "s3")


@ONLY_S3
def test_only_columns_that_are_used_are_asked_for(fleet: Fleet) -> None:
    fleet.wants({"headers": True, "tags": True}, {"split": "tags.split"})
    fleet.sync()
    assert documents(fleet) == {A: {"split": "train"}, B: {}, C: {"split": "val"}}
    assert fleet.asked() == {"GetObjectTagging": 3}


@ONLY_S3
def test_an_object_that_was_written_again_is_asked_about_again(fleet: Fleet) -> None:
    fleet.wants({"headers": True}, {"site": "metadata.site"})
    fleet.sync()
    fleet.server.put(fleet.bucket, "data/new.jpg", b"media")
    # The same bytes under the same ETag, with other metadata, as a copy onto itself leaves it.
    changed = {"x-amz-meta-site": "Chur"}
    fleet.server.describe(fleet.bucket, f"data/{C}.mp4", changed, modified="2027-01-01T00:00:00.000Z")
    fleet.server.clear()
    fleet.sync()
    assert documents(fleet) == {A: {"site": "Bern"}, B: {}, C: {"site": "Chur"}, "new": {}}
    assert fleet.asked() == {"HeadObject": 2}


@ONLY_S3
def test_tags_that_changed_alone_are_seen_by_a_fresh_run(fleet: Fleet) -> None:
    fleet.wants({"tags": True}, {"split": "tags.split"})
    fleet.sync()
    key = f"data/{C}.mp4"
    fleet.server.describe(fleet.bucket, key, tags={"split": "test"})  # nothing else tells of it
    fleet.sync()
    assert documents(fleet)[C] == {"split": "val"}
    fleet.sync("--set", "sources[0].object.fresh=true")
    assert documents(fleet)[C] == {"split": "test"}
    fleet.server.clear()
    fleet.sync()
    assert (documents(fleet)[C], fleet.asked()) == ({"split": "test"}, {})


@ONLY_S3
def test_a_prefix_asks_about_its_objects_alone(fleet: Fleet) -> None:
    fleet.wants({"headers": True}, {"site": "metadata.site"})
    fleet.sync("--prefix", "cam=07/")
    assert (fleet.asked(), documents(fleet)) == ({"HeadObject": 1}, {A: {"site": "Bern"}})
    fleet.server.clear()
    fleet.sync()
    assert fleet.asked() == {"HeadObject": 2}


@ONLY_S3
def test_a_store_without_tags_is_asked_once(fleet: Fleet) -> None:
    for n in range(30):
        fleet.server.put(fleet.bucket, f"data/more/{n}.jpg", b"1")
    fleet.server.add(Fault("status", key=r"\?tagging", status=501, code="NotImplemented", times=1_000))
    fleet.wants({"tags": True}, {"split": "tags.split", "kind": "kind"}, concurrency=1)
    ran = fleet.sync()
    assert documents(fleet)[A] == {"kind": "image"}
    assert ran.report["requests"]["tags"] == 1
    (finding,) = [f for f in ran.report["finding_examples"] if f["code"] == "media.no_facts"]
    assert finding["message"].startswith("tags: the store has no tags")


@ONLY_S3
def test_a_missing_right_is_one_clear_error(fleet: Fleet) -> None:
    fleet.server.add(Fault("status", key=r"\?tagging", status=403, code="AccessDenied", times=1_000))
    fleet.wants({"tags": True})
    ran = fleet.run("sync", "job.yaml")
    assert ran.code == 1
    assert "s3:GetObjectTagging" in ran.err
    assert ran.err.count("access denied") == 1
    assert not (fleet.data / ".lightly").exists()


@ONLY_S3
def test_an_object_that_is_gone_by_now_stays_unknown(fleet: Fleet) -> None:
    fleet.server.add(Fault("status", "HEAD", key=r"a\.jpg", status=404, times=10))
    fleet.wants({"headers": True}, {"site": "metadata.site", "size": "size"})
    fleet.sync()
    assert documents(fleet)[A] == {"size": 5}
    assert documents(fleet)[C] == {"size": 5, "site": "Zug"}


@ONLY_S3
def test_a_run_that_is_cut_off_keeps_what_it_was_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.server.add(Fault("status", "HEAD", key=r"c\.mp4|/m/2", status=403, times=1_000))
    fleet.wants({"headers": True}, {"site": "metadata.site"}, concurrency=1)
    assert fleet.run("sync", "job.yaml").code == 1
    fleet.server.clear()
    fleet.sync()
    # `c%3D/…` comes first: it was refused, and nothing behind it was told.
    assert fleet.asked() == {"HeadObject": 3}


def test_names_that_differ_in_case_have_one_spelling(fleet: Fleet) -> None:
    if fleet.kind == "gcs":
        fleet.add("z.jpg", "image/jpeg", {"SITE": "Thun", "site": "no"}, {})
    else:
        fleet.add("z.jpg", "image/jpeg", {"site": "Thun"}, {})
    fleet.wants({"headers": True}, {"metadata": "metadata"})
    fleet.sync()
    assert documents(fleet)["z"] == {"metadata": {"site": "Thun"}}


def test_hostile_metadata_is_text_or_named_in_a_finding(fleet: Fleet) -> None:
    long = "x" * 7_000
    fleet.add("h.jpg", "image/jpeg", {"long": long}, {})
    if fleet.kind == "gcs":
        fleet.add("u.jpg", "image/jpeg", {"日本": "東京\n\u0007", "nul": "a\0b", "a.b[0]": "v"}, {})
        unicode = {"日本": "東京\n\u0007", "a_b_0_": "v"}
        count = 1
    elif fleet.kind == "s3":
        hostile = {"city": "=?UTF-8?B?5p2x5Lqs?=", "bad": "=?UTF-8?B?/w==?=", "a.b": "v"}
        fleet.add("u.jpg", "image/jpeg", hostile, {})
        fleet.server.describe(fleet.bucket, "data/h.jpg", {"x-amz-missing-meta": "2"})
        unicode, count = {"city": "東京", "a_b": "v"}, 3
    else:
        fleet.add("u.jpg", "image/jpeg", {"city": "=?UTF-8?B?5p2x5Lqs?="}, {})
        unicode, count = {"city": "東京"}, 0
    fleet.wants({"headers": True}, {"metadata": "metadata", "n": "metadata.long"})
    ran = fleet.sync()
    found = documents(fleet)
    assert found["u"] == {"metadata": unicode}
    assert found["h"]["n"] == long
    examples = [f for f in ran.report["finding_examples"] if f["code"] == "media.metadata_unreadable"]
    assert len(examples) == (count > 0)
    for each in examples:
        assert each["message"].startswith(f"{count} pair{'s' if count > 1 else ''} of user metadata of")


@ONLY_S3
def test_metadata_that_is_not_utf_8_is_named_where_a_library_cannot_read_it(fleet: Fleet) -> None:
    fleet.server.describe(fleet.bucket, f"data/{C}.mp4", {"x-amz-meta-site": "Zürich"})  # sent as Latin-1
    fleet.wants({"headers": True}, {"site": "metadata.site", "size": "size"}, transport="fsspec")
    ran = fleet.sync()
    assert documents(fleet) == {A: {"site": "Bern", "size": 5}, B: {"size": 5}, C: {"size": 5}}
    (told,) = [f for f in ran.report["finding_examples"] if f["code"] == "media.metadata_unreadable"]
    assert f"{C}.mp4" in told["message"]
    fleet.sync("--set", "transport=auto")  # libcurl hands on the bytes
    assert documents(fleet)[C] == {"site": "Zürich", "size": 5}


def test_tables_shows_them_without_a_run(fleet: Fleet) -> None:
    fleet.wants({"headers": True, "tags": True})
    ran = fleet.run("tables", "job.yaml", "--format", "json")
    assert ran.code == 0, ran.err
    (table,) = json.loads(ran.out)["tables"]
    (relation,) = table["relations"]
    types = {column["name"]: column["type"] for column in relation["columns"]}
    assert "site" in types["metadata"]
    assert not any(fleet.data.iterdir())


def test_a_plan_is_priced_without_what_its_sync_finds_kept(fleet: Fleet) -> None:
    fleet.wants(
        {"headers": True, "tags": True}, prices={"put": 5, "list": 5, "get": 1, "tags": 1, "delete": 0}
    )
    planned = fleet.run("plan", "job.yaml", "--format", "json").report
    fleet.server.clear()
    report = fleet.sync().report
    assert fleet.asked() == {}
    mine = [
        next(each["requests"] for each in one["price"]["stores"] if each["name"] != "local files")
        for one in (planned, report)
    ]
    assert mine[0] == mine[1]


@ONLY_S3
def test_requests_end_where_they_alone_cost_more_than_the_limit(fleet: Fleet) -> None:
    fleet.server.seed(fleet.bucket, [f"data/{n:02d}.jpg" for n in range(40)])
    limit = {"prices": {"put": 0, "list": 0, "get": 1_000, "delete": 0}, "policy": {"max_cost": 5}}
    fleet.wants({"headers": True}, {"site": "metadata.site", "kind": "kind"}, concurrency=1, **limit)
    ran = fleet.run("sync", "job.yaml")
    assert ran.code == 5
    assert "8 requests for metadata or tags of objects cost about $8.00, and policy.max_cost is 5" in ran.err
    assert fleet.asked() == {"HeadObject": 8}
    assert not (fleet.data / ".lightly").exists()
    fleet.server.clear()
    fleet.sync("--set", "policy.max_cost=10000")
    assert fleet.asked() == {"HeadObject": 43 - 8}


@ONLY_S3
def test_the_job_of_the_page_with_requests(fleet: Fleet) -> None:
    *_, job = jobs_of("object.md")
    assert job["input"].startswith("s3://")
    fleet.wants({}, sources=job["sources"])
    fleet.sync()
    assert documents(fleet) == {
        A: {"site": "Bern", "split": "train", "type": "image/jpeg"},
        B: {"type": "image/png"},
        C: {"site": "Zug", "split": "val", "type": "video/mp4"},
    }


def test_doctor_tries_the_right_to_tags_only_where_a_job_asks_for_them(fleet: Fleet) -> None:
    def checked() -> dict[str, dict[str, Any]]:
        return {
            check["name"]: check
            for check in fleet.run("doctor", "job.yaml", "--format", "json").report["checks"]
        }

    fleet.wants({"headers": True})
    assert "read tags of media" not in checked()
    fleet.wants({"tags": True})
    status = "skipped" if fleet.kind == "gcs" else "ok"
    assert checked()["read tags of media"]["status"] == status
    if fleet.kind == "gcs":
        return
    code = "AccessDenied" if fleet.kind == "s3" else "AuthorizationPermissionMismatch"
    fleet.server.add(Fault("status", "GET", key="[?]tagging|comp=tags", status=403, code=code, times=100))
    refused = checked()["read tags of media"]
    right = "s3:GetObjectTagging" if fleet.kind == "s3" else "containers/blobs/tags/read"
    assert (refused["status"], right in refused["remedy"]) == ("fail", True)
