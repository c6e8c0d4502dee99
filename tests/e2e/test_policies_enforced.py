"""The least rights on Google Cloud Storage and Azure, as printed and in deploy/policies, and enforced.

Both are enough for a whole life of a datasource, and nothing in them is idle. Without any one right a run is
refused with one error that names it, and goes on once it is granted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import metaferry
from e2e.enforced import Cloud, Enforcing, enforcing, is_allowed
from e2e.rights import (
    BUCKETS,
    OUTPUT,
    POLICIES,
    Grant,
    azure_grants,
    gcs_grants,
    printed_azure_grants,
    printed_gcs_grants,
)
from e2e.test_policies import SCHEMES, change, documents_in, job_file, job_of, seed, whole_life
from e2e.world import World
from metaferry.storage.factory import open_storage
from metaferry.storage.io.portal import Portal
from servers.azurite import AzureServer

pytestmark = pytest.mark.servers

POLICY = {"max_rejects": "100%", "unmatched": "report", "delete": "orphans", "max_delete": "100%"}


def printed(cloud: Cloud, job: metaferry.Job | None = None) -> list[Grant]:
    document = metaferry.policy(job or job_of(cloud, {}, policy=POLICY), cloud=cloud).document
    return list((printed_gcs_grants if cloud == "gcp" else printed_azure_grants)(document))


def static(cloud: Cloud) -> list[Grant]:
    folder = POLICIES / cloud
    return list(gcs_grants(folder) if cloud == "gcp" else azure_grants(folder))


@dataclass
class Place:
    """The emulator of one cloud, and how it is put back."""

    store: Enforcing
    portal: Portal
    folder: Path

    @property
    def change(self) -> Any:
        return partial(change, self.store.cloud, self.store.open_options, self.portal)

    def fresh(self) -> None:
        """The buckets as they were before the first run."""
        scheme = SCHEMES[self.store.cloud]
        for bucket in BUCKETS:
            storage = open_storage(f"{scheme}://{bucket}", self.store.open_options)
            for entry in [each for page in self.portal.iterate(storage.list("")) for each in page]:
                self.portal.run(storage.delete(entry.path))
            self.portal.run(storage.close())
        seed(self.store.cloud, self.store.open_options, self.folder, self.portal)

    def documents(self) -> int:
        """How many there are, with schema.json."""
        return documents_in(self.store.cloud, self.store.open_options, self.portal)

    def exit_codes(self) -> list[int]:
        """What the reports of all runs say."""
        storage = open_storage(f"{SCHEMES[self.store.cloud]}://{OUTPUT}", self.store.open_options)
        entries = [
            each for page in self.portal.iterate(storage.list("2026/.metaferry/runs/")) for each in page
        ]
        reports = [each.path for each in entries if each.path.endswith("/run.json")]
        found = [json.loads(self.portal.run(storage.read(path)).data)["exit_code"] for path in reports]
        self.portal.run(storage.close())
        return found


@pytest.fixture(scope="module")
def gcp_place(portal: Portal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with enforcing("gcp", None) as store:
        yield Place(store, portal, tmp_path_factory.mktemp("gcp"))


@pytest.fixture(scope="module")
def azure_place(
    own_azure_server: AzureServer, portal: Portal, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    with enforcing("azure", own_azure_server) as store:
        yield Place(store, portal, tmp_path_factory.mktemp("azure"))


@pytest.fixture(params=["gcp", "azure"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


def test_a_whole_life_is_never_refused_and_needs_every_right(place: Place) -> None:
    """Under the printed policy and that of the files at once."""
    place.fresh()
    policies = (printed(place.store.cloud), static(place.store.cloud))
    place.store.allow(*policies)
    whole_life(place.store.cloud, place.store.options, place.change)
    assert place.store.refused == []
    assert len(place.store.needs) > 50
    for given in policies:
        without = {each: [other for other in given if other != each] for each in given}
        idle = [
            each
            for each, others in without.items()
            if all(is_allowed(need, others) for need in place.store.needs)
        ]
        assert idle == []


def rights(cloud: Cloud) -> list[Any]:
    return [
        pytest.param(cloud, each, id=f"{cloud}-{short(each)}-{each.bucket}/{each.prefix or ''}")
        for each in printed(cloud)
    ]


def short(right: Grant) -> str:
    """The part of a permission that messages name too."""
    return right.permission.removeprefix("Microsoft.Storage/storageAccounts/blobServices/")


@pytest.mark.parametrize(("place", "right"), [*rights("gcp"), *rights("azure")], indirect=["place"])
def test_without_any_one_right_a_run_is_refused_and_names_it(
    place: Place, right: Grant, tmp_path: Path
) -> None:
    cloud, store = place.store.cloud, place.store
    place.fresh()
    store.allow([each for each in printed(cloud) if each != right])
    world = World(tmp_path, job_file(cloud, store.options, policy=POLICY))
    world.write_job()
    ran, done = world.run("sync", "job.yaml"), 0
    if ran.code == 0:  # what only replaces and deletes comes into it with the second run
        place.change(b"city street", b"market")
        ran, done = world.run("sync", "job.yaml"), 1
    assert ran.code == 1
    assert re.fullmatch(
        rf"(?:error: {SCHEMES[cloud]}://{right.bucket}/\S* access denied \(403.*)\n(?:advice: .*)\n", ran.err
    )
    assert short(right) in ran.err
    assert {each.permission for each in store.refused} == {right.permission}
    assert [each for each in place.exit_codes() if each == 0] == [0] * done
    assert place.documents() == (22 if done else 0)

    found = metaferry.doctor(job_of(cloud, store.options, policy=POLICY))
    remedies = [check.remedy for check in found.checks if check.status == "fail"]
    assert remedies
    assert [each for each in remedies if short(right) not in each] == []

    if right.bucket != OUTPUT:  # nothing was begun
        return
    store.allow(printed(cloud))
    metaferry.unlock(job_of(cloud, store.options, policy=POLICY))
    assert world.run("sync", "job.yaml").code == 0
    assert place.documents() == 22 - done


def test_single_objects_and_a_state_folder_elsewhere(place: Place) -> None:
    """Conditions on one key, and documents that nobody may delete but for a probe."""
    cloud, store = place.store.cloud, place.store
    place.fresh()
    file = job_file(cloud, store.options, state=f"{SCHEMES[cloud]}://warehouse/state")
    job = metaferry.Job.from_mapping({**file, "sources": file["sources"][:1]})
    given = printed(cloud, job)
    assert any(grant.exact for grant in given) == (cloud == "gcp")  # Azure lists under the right to read
    store.allow(given)
    assert metaferry.sync(job).documents.create == 12
    place.change(b"city street", b"market")
    assert metaferry.sync(job, plan=metaferry.plan(job, keep=True).report_url).documents.update > 0
    assert store.refused == []
    assert [check for check in metaferry.doctor(job).checks if check.status == "fail"] == []
    # It tried the media, which no run of this job reads, and settings of the bucket.
    services = "Microsoft.Storage/storageAccounts/blobServices/"
    tried = {"gcp": {"storage.objects.get", "storage.buckets.get"}}
    tried["azure"] = {f"{services}read", f"{services}containers/read"}
    assert {each.permission for each in store.refused} == tried[cloud]
