"""The whole job over the wire, on every kind of store: what is written, what is asked, what goes wrong.

A proxy before each server counts what reaches it and spoils it where a test says so.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.oracle import expected_documents, job_mapping
from e2e.stores import DOCUMENT, LostOnce, Store, denied, meanwhile, storm
from e2e.world import Ran, World
from metaferry.apply.refusals import FEW
from metaferry.demo import DemoDataset, make_dataset
from metaferry.job.model import Job
from metaferry.lightly.names import SCHEMA
from metaferry.planning.formats import RunReport
from servers.azurite import options_for
from servers.datasource import FreshDatasource
from servers.gcs import GcsServer
from servers.proxy import Rule
from servers.s3_rules import Fault

pytestmark = pytest.mark.servers

#: A part of the demonstration that is quick to sync: 12 images, a video of 9 frames and one of 10.
CLIP = "videos/front/2026-05-14_0930.mp4"  # 10 frames: two digits
SHORT = "videos/rear/2026-05-14_0930.webm"  # 9 frames: one
SMALL = {"include": ["images/**", CLIP, SHORT]}
SMALL_DOCUMENTS = 12 + 2 + 10 + 9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DemoDataset:
    return make_dataset(tmp_path_factory.mktemp("demo"))


#: One server for each way of speaking to a store, where the fault is in the words and not in the server.
SPOKEN = ["s3", "gcs", "azure"]


def upload(store: Store, dataset: DemoDataset, *, all_of_it: bool = False) -> None:
    names = [*dataset.images, *(dataset.videos if all_of_it else (CLIP, SHORT))]
    store.put_all({name: (dataset.media / name).read_bytes() for name in names})


def job(store: Store, dataset: DemoDataset, **changes: Any) -> dict[str, Any]:
    """A job over the small part, that gives up on a request after some seconds."""
    mapping = job_mapping(dataset, store.url, store.options)
    return mapping | {"media": SMALL, "retry_for": 20, **changes}


def sync(store: Store, dataset: DemoDataset, **changes: Any) -> RunReport:
    return metaferry.sync(Job.from_mapping(job(store, dataset, **changes)))


def expected(dataset: DemoDataset) -> dict[str, bytes]:
    """The documents of the small part."""
    stems = ("images/", CLIP.rpartition(".")[0], SHORT.rpartition(".")[0])
    below = tuple(f".lightly/metadata/{stem}" for stem in stems)
    return {key: body for key, body in expected_documents(dataset).items() if key.startswith(below)}


def is_right(tree: dict[str, bytes], documents: dict[str, bytes]) -> None:
    """The tree is these documents byte by byte and a schema.json, all of it JSON that any reader takes."""
    tree = dict(tree)
    schema = _strict(tree.pop(SCHEMA))
    assert tree == documents
    assert {entry["path"] for entry in schema} >= {"scene", "weather.temperature", "speed_kmh"}
    for body in tree.values():
        assert set(_strict(body)) >= {"type", "metadata"}


def _strict(body: bytes) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


# -- as it should be


def test_the_demonstration_twice(store: Store, dataset: DemoDataset) -> None:
    """Tables read from the store as well: gzip CSV, Parquet, JSON lines."""
    upload(store, dataset, all_of_it=True)
    store.put("tables/images.csv.gz", gzip.compress(dataset.images_table.read_bytes()))
    store.put("tables/frames.parquet", dataset.frames_table.read_bytes())
    store.put("tables/videos.jsonl", dataset.videos_table.read_bytes())
    mapping = job_mapping(dataset, store.url, store.options)
    for source, name in zip(
        mapping["sources"], ("images.csv.gz", "videos.jsonl", "frames.parquet"), strict=True
    ):
        source["table"] = {"url": f"{store.url}tables/{name}", "options": store.options}
    wanted = expected_documents(dataset)

    report = metaferry.sync(Job.from_mapping(mapping))
    assert (report.exit_code, report.stopped) == (0, "")
    assert (report.documents.create, report.frames.counted) == (len(wanted), len(dataset.videos))
    assert [source.used for source in report.sources] == [12, 4, dataset.frame_rows]
    is_right(store.documents(), wanted)
    writes = store.writes()
    assert [each.method in ("PUT", "POST") and each.status < 300 for each in writes] == [True] * len(writes)
    assert len(writes) == len(wanted) + 1
    assert writes[-1].key.partition("?")[0].endswith(SCHEMA)

    store.proxy.clear()
    report = metaferry.sync(Job.from_mapping(mapping))
    assert (report.exit_code, report.changes, report.documents.keep) == (0, 0, len(wanted))
    assert store.writes() == []
    # What it costs: listings, the tables, the frame counts and schema.json; no document is read.
    assert [each.key.partition("?")[0].endswith(SCHEMA) for each in store.reads()] == [True]
    requests = report.requests
    assert (requests.put, requests.delete, requests.retries) == (2, 1, 0), "run.json and the lease alone"
    assert requests.get <= 2 * 3 + 4, (
        "tables once or twice, frame counts, schema.json, traits.json, the lease"
    )
    assert requests.list <= 6
    # S3 looks at an object before it deletes just that version of it: a get more.
    assert len(store.proxy.requests) == requests.list + requests.get + requests.put + requests.delete


def test_documents_in_a_bucket_of_their_own(
    store: Store, dataset: DemoDataset, fresh_datasource: FreshDatasource
) -> None:
    upload(store, dataset)
    apart = store.beside(fresh_datasource(store.kind)[0])
    try:
        report = sync(store, dataset, lightly={"url": apart.url, "options": apart.options})
        assert report.exit_code == 0
        is_right(apart.documents(), expected(dataset))
        assert store.documents() == {}
        assert apart.bucket in report.report_url
        assert [
            each for each in store.proxy.requests if each.method != "GET" and store.bucket in each.key
        ] == []
    finally:
        apart.close()


def test_a_re_encoded_video_and_orphans(store: Store, dataset: DemoDataset) -> None:
    upload(store, dataset)
    assert sync(store, dataset).exit_code == 0
    # The clip is now the same length as the short one, and one image is gone.
    store.put(CLIP, (dataset.media / "videos/front/2026-05-14_0801.mp4").read_bytes())
    store.delete(dataset.images[0])
    stem = CLIP.rpartition(".")[0]
    report = sync(store, dataset)
    tree = store.documents()
    assert report.exit_code == 0
    assert report.findings["document.stale"] == 10
    assert report.findings["document.orphan"] == 1
    assert (report.documents.create, report.documents.delete) == (10, 10)
    assert f".lightly/metadata/{stem}-0009-mp4.json" in tree
    assert f".lightly/metadata/{stem}-09-mp4.json" not in tree
    gone = f".lightly/metadata/{dataset.images[0].rpartition('.')[0]}.json"
    assert gone in tree
    report = sync(store, dataset, policy={"delete": "orphans"})
    assert (report.exit_code, report.documents.delete) == (0, 1)
    assert store.documents().keys() == tree.keys() - {gone}


# -- what may not be done


def command(store: Store, dataset: DemoDataset, tmp_path: Path, **changes: Any) -> tuple[World, Ran]:
    """The job as a file, through the command."""
    world = World(tmp_path, job(store, dataset, **changes))
    world.write_job()
    return world, world.run("sync", "job.yaml")


def wrong_credentials(store: Store) -> dict[str, Any]:
    if store.vendor == "s3":
        return {**store.options, "secret": "canary-secret-0815"}
    if store.kind == "azure":
        return options_for(store.proxy.endpoint, "Y2FuYXJ5LXNlY3JldC0wODE1")
    assert isinstance(store.server, GcsServer)
    store.server.add(Fault("status", times=99, status=403, code="forbidden"))
    return store.options


@pytest.mark.parametrize("store", ["seaweedfs", "gcs", "azure"], indirect=True)
def test_wrong_credentials(store: Store, dataset: DemoDataset, tmp_path: Path) -> None:
    upload(store, dataset)
    try:
        options = wrong_credentials(store)
        _, ran = command(store, dataset, tmp_path, input={"url": store.url, "options": options})
    finally:
        if isinstance(store.server, GcsServer):
            store.server.reset()
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("error: ") == 1
    assert f"{store.url.rstrip('/')}" in ran.err
    assert "access denied (403" in ran.err
    assert "advice: " in ran.err
    for secret in ("canary-secret", "Y2FuYXJ5", "Signature=", "AccountKey"):
        assert secret not in ran.err
    assert store.writes() == []
    assert len(store.proxy.requests) <= 3, "refused once, not tried again"
    assert store.documents() == {}


def test_a_missing_bucket_is_named(store: Store, dataset: DemoDataset, tmp_path: Path) -> None:
    url = store.url.replace(store.bucket, "metaferry-nowhere")
    _, ran = command(store, dataset, tmp_path, input={"url": url, "options": store.options})
    assert (ran.code, ran.out) == (1, "")
    kind = "container" if store.kind == "azure" else "bucket"
    assert f"there is no such {kind}" in ran.err
    assert "metaferry-nowhere" in ran.err
    assert f"never creates a {kind}" in ran.err
    assert store.writes() == []


@pytest.mark.parametrize("what", [DOCUMENT, r"^[^?]*\.(lightly|metaferry)/"], ids=["documents", "everything"])
def test_writing_is_denied(store: Store, dataset: DemoDataset, tmp_path: Path, what: str) -> None:
    upload(store, dataset)
    rule = store.spoil(denied(store.vendor, what))
    _, ran = command(store, dataset, tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("error: ") == 1
    assert "access denied (403" in ran.err
    assert "the credentials need" in ran.err
    assert rule.used <= FEW, "after a few documents, since it could be those alone"
    assert store.documents() == {}
    store.proxy.clear()
    assert sync(store, dataset).exit_code == 0
    is_right(store.documents(), expected(dataset))


# -- what passes


@pytest.mark.parametrize("store", SPOKEN, indirect=True)
def test_a_storm_of_503(store: Store, dataset: DemoDataset) -> None:
    upload(store, dataset)
    rule = store.spoil(storm(store.vendor, rate=0.3, seed=4))
    report = sync(store, dataset, concurrency=16)
    assert (report.exit_code, report.stopped) == (0, "")
    assert rule.used > 0
    assert report.requests.retries >= rule.used
    is_right(store.documents(), expected(dataset))
    # Nothing was written that was not wanted, and nothing twice.
    done = [each.key.partition("?")[0] for each in store.writes() if each.done]
    assert len(done) == len(set(done)) == SMALL_DOCUMENTS + 1
    store.proxy.clear()
    assert sync(store, dataset).changes == 0


@pytest.mark.parametrize("store", SPOKEN, indirect=True)
def test_lost_replies_are_not_conflicts_with_ourselves(store: Store, dataset: DemoDataset) -> None:
    upload(store, dataset)
    rule = store.spoil(LostOnce(DOCUMENT, times=12))
    report = sync(store, dataset, concurrency=8)
    assert rule.used == 12
    assert (report.exit_code, report.documents.conflict, report.documents.failed) == (0, 0, 0)
    assert report.documents.create == SMALL_DOCUMENTS
    is_right(store.documents(), expected(dataset))
    store.proxy.clear()
    report = sync(store, dataset)
    assert (report.changes, report.findings.get("document.modified_externally")) == (0, None)


@pytest.mark.parametrize("store", SPOKEN, indirect=True)
def test_listings_that_break_off_are_asked_again(store: Store, dataset: DemoDataset) -> None:
    upload(store, dataset)
    rule = store.spoil(Rule("truncate", "GET", r"(list-type=2|/o\?|comp=list)", times=2))
    report = sync(store, dataset)
    assert rule.used == 2
    assert report.exit_code == 0
    assert report.requests.retries >= 2
    is_right(store.documents(), expected(dataset))


# -- somebody else


def test_what_somebody_else_wrote_meanwhile_is_planned_again_and_named(
    store: Store, dataset: DemoDataset
) -> None:
    upload(store, dataset)
    theirs = b'{"by": "somebody else"}'
    target = f".lightly/metadata/{dataset.images[3].rpartition('.')[0]}.json"
    store.spoil(meanwhile(DOCUMENT, lambda: store.put(target, theirs)))
    report = sync(store, dataset)
    assert (report.exit_code, report.documents.create) == (0, SMALL_DOCUMENTS)
    [foreign] = [f for f in report.finding_examples if f.code == "document.modified_externally"]
    assert foreign.target == target
    assert (report.findings["document.modified_externally"], report.schema.written) == (1, True)
    is_right(store.documents(), expected(dataset))
    assert sync(store, dataset).changes == 0


def test_an_update_and_a_delete_meet_somebody_else(store: Store, dataset: DemoDataset) -> None:
    upload(store, dataset)
    assert sync(store, dataset).exit_code == 0
    theirs = b'{"by": "somebody else"}'
    updated = f".lightly/metadata/{dataset.images[0].rpartition('.')[0]}.json"
    removed = f".lightly/metadata/{dataset.images[1].rpartition('.')[0]}.json"
    store.put(updated, b"{}")
    store.delete(dataset.images[1])

    def act() -> None:
        store.put(updated, theirs)
        store.put(removed, theirs)

    store.proxy.clear()
    store.spoil(meanwhile(DOCUMENT, act))
    report = sync(store, dataset, policy={"delete": "orphans"})
    tree = store.documents()
    assert report.exit_code == 3
    assert (report.documents.update, report.documents.conflict, report.documents.delete) == (1, 0, 0)
    # The update is wanted whatever they wrote; the orphan that somebody writes to is left alone.
    assert report.findings["document.modified_externally"] == 2  # once in the plan, and once more in the run
    assert report.findings["document.conflict"] == 1
    assert (tree[updated], tree[removed]) == (expected(dataset)[updated], theirs)
    assert sync(store, dataset, policy={"delete": "orphans"}).exit_code == 0
    wanted = expected(dataset)
    del wanted[removed]
    is_right(store.documents(), wanted)
