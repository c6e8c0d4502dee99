"""Stores that speak S3 with an accent: tags in other forms, and conditions that do not hold what they say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.images import COUNT, NAMES, Images
from metaferry.job.model import Job
from metaferry.lightly.names import document_path
from servers.datasource import FreshDatasource
from servers.s3 import FastS3
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers


@pytest.fixture
def world(fresh_datasource: FreshDatasource, fast_s3_server: FastS3, tmp_path: Path) -> Iterator[Images]:
    url, options = fresh_datasource("fast_s3")
    yield Images("fast_s3", url, options, fast_s3_server, tmp_path)
    fast_s3_server.reset()


def values(world: Images) -> set[int]:
    found = world.server.objects(world.bucket, world.prefix + ".lightly/metadata/shots/")
    assert len(found) == COUNT
    return {json.loads(data)["metadata"]["n"] for data in found.values()}


def is_unlocked(world: Images) -> bool:
    return not any("lease" in key or "probe" in key for key in world.state())


def lives_a_life(world: Images, **changes: Any) -> list[str]:
    """Create, keep, update, keep, delete: as on any store. The codes of all findings."""
    codes: set[str] = set()
    first = world.sync(**changes)
    assert (first.exit_code, first.documents.create) == (0, COUNT)
    assert is_unlocked(world)
    again = world.sync(**changes)
    assert (again.exit_code, again.changes, again.documents.keep) == (0, 0, COUNT)
    world.value = 2
    third = world.sync(**changes)
    assert (third.exit_code, third.documents.update, third.documents.conflict) == (0, COUNT, 0)
    assert values(world) == {2}
    assert world.sync(**changes).changes == 0
    world.names = NAMES[1:]
    last = world.sync(policy={"delete": "orphans"}, **changes)
    assert (last.exit_code, last.documents.delete, last.changes) == (0, 1, 1)
    assert document_path(NAMES[0]) not in world.documents()
    assert is_unlocked(world)
    for report in (first, again, third, last):
        assert "document.foreign" not in report.findings
        assert "document.conflict" not in report.findings
        codes.update(str(code) for code in report.findings)
    return sorted(codes)


FORMS = ("plain", "none", "upper", "weak", "bare")
#: How listings show tags, and how answers do; by which client, where it has a way of its own to read them.
TAGS = [(listed, answered, "auto") for listed in FORMS for answered in FORMS if answered != "none"]
TAGS += [(form, form, client) for form in ("upper", "weak", "bare") for client in ("auto", "fsspec")]


@pytest.mark.parametrize(("listed", "answered", "transport"), TAGS)
def test_tags_in_any_form_are_recognised(world: Images, listed: str, answered: str, transport: str) -> None:
    world.server.set(tags={"listed": listed, "answered": answered})
    codes = lives_a_life(world, transport=transport)
    assert codes == ["document.orphan", "schema.changed"]


def test_a_plan_sees_what_a_sync_sees_where_listings_have_no_tags(world: Images) -> None:
    world.server.set(tags={"listed": "none"})
    assert world.sync().exit_code == 0
    source = {"table": str(world.table), "file_name": "file_name"}
    job = {"input": world.url, "storage": {"s3": world.options}, "sources": [source]}
    assert metaferry.plan(Job.from_mapping(job)).changes == 0


def test_another_form_in_listings_than_puts_answer(world: Images) -> None:
    """An opaque tag in listings that no put or read ever shows."""
    find = r"<ETag>&quot;([0-9a-f]{32})&quot;</ETag>"
    world.server.add(
        Fault("edit", "GET", r"list-type=2", times=10**6, find=find, put=r"<ETag>&quot;v2.\\1&quot;</ETag>")
    )
    assert lives_a_life(world) == ["document.orphan", "schema.changed"]


UNMET = {"status": 412, "code": "PreconditionFailed"}
NEVER = {"status": 405, "code": "MethodNotAllowed"}
BARE = {"status": 405, "body": b""}
UNKNOWN = {"status": 501, "code": "NotImplemented"}


ACCENTS = [
    (answer, methods, "auto")
    for answer in (UNMET, NEVER, BARE, UNKNOWN)
    for methods in ("PUT", "DELETE", "PUT|DELETE")
]
ACCENTS += [(answer, "PUT|DELETE", client) for answer in (UNMET, BARE) for client in ("auto", "fsspec")]


@pytest.mark.parametrize(("answer", "methods", "transport"), ACCENTS)
def test_a_store_that_replaces_nothing_by_its_tag_gets_its_updates(
    world: Images, caplog: pytest.LogCaptureFixture, answer: dict[str, Any], methods: str, transport: str
) -> None:
    world.server.add(Fault("status", methods, having="If-Match", times=10**6, **answer))
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        codes = lives_a_life(world, transport=transport)
    told = [record.getMessage() for record in caplog.records if "before each write" in record.getMessage()]
    if methods == "DELETE" and answer is not UNMET:
        assert told == [], "the delete is simply made without it"
    else:
        assert "storage.no_conditions" in codes
        assert len(told) >= 1


def test_creating_is_still_conditional_there(world: Images) -> None:
    world.server.add(Fault("status", "PUT", having="If-Match", times=10**6, **UNMET))
    world.sync()
    created = world.server.add(Fault("wait", "PUT", r"later", having="If-None-Match", times=10**6))
    world.names = [*NAMES, "later.png"]
    world.server.seed(world.bucket, [world.prefix + "later.png"])
    assert world.sync().documents.create == 1
    assert world.server.used(created) == 1


def test_it_is_told_once_a_run_and_asked_once_in_a_month(
    world: Images, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.add(Fault("status", "PUT", having="If-Match", times=10**6, **UNMET))
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        first = world.sync()
    told = [record for record in caplog.records if "by ETag" in record.getMessage()]
    assert len(told) == 1
    assert first.findings["storage.no_conditions"] == 1
    before = len(world.server.log("PUT", "probe"))
    assert before >= 4
    second = world.sync()
    assert second.findings["storage.no_conditions"] == 1
    assert len(world.server.log("PUT", "probe")) == before


def test_several_processes_know_it_too(world: Images) -> None:
    world.server.add(Fault("status", "PUT", having="If-Match", times=10**6, **UNMET))
    assert world.sync(workers=2).exit_code == 0
    world.value = 2
    report = world.sync(workers=2)
    assert (report.exit_code, report.documents.update, report.documents.conflict) == (0, COUNT, 0)
    assert values(world) == {2}


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
def test_puts_answered_with_wrong_tags_are_told_and_read_back(
    world: Images, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    wrong = Fault(
        "edit", "PUT", times=10**6, find=r'"[0-9a-f]{32}"', put='"0123456789abcdef0123456789abcdef"'
    )
    world.server.add(wrong)
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        report = world.sync(transport=transport)
    assert (report.exit_code, report.documents.create, report.documents.conflict) == (0, COUNT, 0)
    assert "wrong ETags" in caplog.text
    assert values(world) == {1}
    assert report.requests.get >= COUNT
    assert world.sync(transport=transport).changes == 0


@pytest.mark.parametrize("transport", ["auto", "fsspec"])
def test_a_bucket_with_kms_costs_a_few_reads(world: Images, transport: str) -> None:
    world.server.set(kms=True)
    report = world.sync(transport=transport)
    assert (report.exit_code, report.documents.create) == (0, COUNT)
    assert report.requests.get < COUNT
    assert world.sync(transport=transport).changes == 0
