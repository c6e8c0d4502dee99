"""Every fault over the wire on every store, each under a whole `sync`, and what may be left then.

A datasource as an earlier run left it, since when media went and came and rows changed; one run under the
fault, one without it, one more. The command is the real one, and so are the clients; only the stores are
in memory. Each store has a file of tests (`test_store_matrix_s3.py` and so on), for a worker takes whole
files. `pytest tests/faults -k store_matrix --store-matrix` shows the rows as a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from faults.clouds import Cloud, Ran, furnish, has_canary
from faults.rows import FOR_GOOD, PASSING, READS, WRITES, Row
from faults.rows_listings import LISTINGS
from faults.rows_refusals import REFUSALS, TOKENS
from servers.steering import Steered

ROWS = [*PASSING, *FOR_GOOD, *LISTINGS, *READS, *WRITES, *REFUSALS, *TOKENS]
SERVERS = {
    "s3": "fast_s3_server",
    "gcs": "gcs_server",
    "azure": "fast_azure_server",
    "azure-identity": "secure_azure_server",
}

#: Seconds that a run may take, however badly it goes.
BOUND = 150.0

Tree = Mapping[str, bytes]


@dataclass(frozen=True)
class Furnished:
    """A store as each row finds it; `before`, and what a clean run makes of it under each policy."""

    cloud: Cloud
    before: Tree
    clean: Mapping[str, Tree]


class FurnishedStores(dict[str, Furnished]):
    """By store, furnished when first asked for."""

    def __init__(self, request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._request, self._folders = request, folders

    def __missing__(self, kind: str) -> Furnished:
        server: Steered = self._request.getfixturevalue(SERVERS[kind])
        server.reset()
        cloud = furnish(kind, server, self._folders.mktemp(kind))
        before, clean = cloud.objects(), {}
        for delete in ("never", "orphans"):
            server.restore(cloud.bucket)
            ran = sync(cloud, delete)
            assert ran.code == 0, ran.err
            clean[delete] = cloud.objects()
        assert len(clean["never"]) - len(clean["orphans"]) == 4
        self[kind] = Furnished(cloud, before, clean)
        return self[kind]


def cells(*kinds: str) -> list[object]:
    """The parameters of these stores' tests: store, row, policy of deletes."""
    return [
        pytest.param(kind, row, delete, id=f"{row}-{kind}-{delete}")
        for row in ROWS
        for kind in kinds
        for delete in row.delete
        if kind in row.stores
    ]


def check_cell(
    site: Furnished, kind: str, row: Row, delete: str, record: Callable[[str, object], None]
) -> None:
    """One row on one store; `record` is pytest's `record_property`."""
    cloud, before, clean = site.cloud, site.before, site.clean[delete]
    server = cloud.server
    server.reset()
    server.restore(cloud.bucket)
    if row.stays:  # as if it had been so from the start
        server.control(empty={"bucket": cloud.bucket, "prefix": "data/.metaferry/traits.json"})
    # Pages are short, so that there are several of each listing.
    server.set(page_size=10, **row.settings)
    faults = [server.add(fault) for fault in row.faults(cloud)]
    first = sync(cloud, delete, **row.job)
    used = sum(map(server.used, faults))
    record("cell", [row.name, kind, delete, first.code, round(first.seconds, 1), used])
    assert used or not row.met, "the fault was not met"
    _nothing_is_lost(before, clean, cloud.objects())
    _said_well(cloud, first)
    assert first.code in row.codes, first.err
    if first.code == 0:
        assert cloud.objects() == clean
    if not row.stays:
        server.reset()
    second = sync(cloud, delete, **row.job)
    assert second.code == 0, second.err
    assert cloud.objects() == clean
    _said_well(cloud, second)
    if row.stays:
        server.clear()
        for fault in row.faults(cloud):
            server.add(fault)
    else:
        server.clear()
    third = sync(cloud, delete, **row.job)
    assert third.code == 0, third.err
    assert cloud.objects() == clean
    if row.settles:
        assert cloud.writes() == 0
        assert third.report is not None
        assert third.report["documents"]["create"] == third.report["documents"]["update"] == 0


#: How a run may end on each store, and where all that can be said is looked through for secrets.
ENDS: Final = {
    "well": Row("", lambda _: []),
    "in a storm": PASSING[0],
    "throttled for good": FOR_GOOD[0],
    "all is refused": REFUSALS[1],
    "expired for good": REFUSALS[2],
}


def check_no_secret(cloud: Cloud, row: Row) -> None:
    """Runs that end as `row` says, with a log for people and one for machines; neither has a secret."""
    server = cloud.server
    server.reset()
    server.restore(cloud.bucket)
    for fault in row.faults(cloud):
        server.add(fault)
    for arguments in (("-vv",), ("-vv", "--log-format", "json")):
        ran = sync(cloud, "orphans", *arguments, **row.job)
        assert ran.code in row.codes, ran.err
        assert has_canary(ran.out + ran.err + cloud.everything_kept()) == []


def sync(cloud: Cloud, delete: str, *arguments: str, **job: object) -> Ran:
    """The command, with its report as JSON."""
    policy = {"delete": delete, "max_delete": "100%"}
    return cloud.sync("--format", "json", *arguments, **{"policy": policy, **job})


def _nothing_is_lost(before: Tree, clean: Tree, after: Tree) -> None:
    """Whatever became of the run: each document is as it was or as it has to be, and none is gone that
    has to be there."""
    for key, data in after.items():
        assert data in (before.get(key), clean.get(key)), f"{key} is {data!r}"
    lost = {key for key in before.keys() - after.keys() if key in clean}
    assert lost == set()


def _said_well(cloud: Cloud, ran: Ran) -> None:
    """No traceback, no secret; in time; and the report adds up."""
    assert "Traceback" not in ran.err, ran.err
    assert "this is a bug" not in ran.err, ran.err
    assert has_canary(ran.out + ran.err + cloud.everything_kept()) == []
    assert ran.seconds < BOUND
    if ran.report is None:
        assert ran.code in (1, 5, 11, 143), ran.err
        return
    documents = ran.report["documents"]
    done = ("create", "update", "keep", "failed", "conflict", "deferred")
    assert sum(documents[name] for name in done) == 44
    for source in ran.report["sources"]:
        parts = ("used", "rejected", "unmatched", "excluded", "filtered", "repeated")
        assert source["read"] == sum(source[name] for name in parts) == 45
    if documents["failed"] or documents["conflict"] or documents["deferred"]:
        assert ran.code != 0
