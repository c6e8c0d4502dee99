"""The price of a plan against the requests that reach a server, and the limit on what a run may cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import metaferry
from metaferry.job.model import Job
from metaferry.planning.price.model import LOCAL, Requests
from servers.s3 import FastS3

pytestmark = pytest.mark.servers

#: No requests of a lease that a slow machine makes more of.
LONG_LEASE = {"lease_for": 3600, "retry_for": 60}
PRICES = {"put": 5.0, "list": 5.0, "get": 0.4, "delete": 0}  # dear, so that a few puts cost money


@dataclass
class Fleet:
    """Images in a bucket, and a local table of them."""

    server: FastS3
    bucket: str
    root: Path

    def job(self, **changes: Any) -> Job:
        mapping: dict[str, Any] = {
            "input": {"url": f"s3://{self.bucket}/data/", "options": self.server.options},
            "sources": [{"table": str(self.root / "labels.csv"), "file_name": "name"}],
            "prices": PRICES,
            **LONG_LEASE,
            **changes,
        }
        return Job.from_mapping(mapping)

    def label(self, *rows: str) -> None:
        (self.root / "labels.csv").write_text("\n".join(("name,scene", *rows)) + "\n")

    def asked(self) -> Requests:
        """What reached the server since it forgot all; a HEAD is billed as a GET."""
        kinds: list[str] = []
        for _, method, path, _, _ in self.server.log():
            if path.startswith("/_control"):
                continue
            kinds.append("list" if "list-type=2" in path else "get" if method == "HEAD" else method.lower())
        return Requests(**{kind: kinds.count(kind) for kind in ("list", "get", "put", "delete")})


@pytest.fixture
def fleet(fast_s3_server: FastS3, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(fast_s3_server, fast_s3_server.new_bucket(), tmp_path)
    fast_s3_server.seed(fleet.bucket, [f"data/i{n}.png" for n in range(4)])
    fleet.label("i0.png,city", "i1.png,road", "i2.png,road")
    yield fleet
    fast_s3_server.reset()


def test_a_plan_tells_the_requests_of_its_sync(fleet: Fleet) -> None:
    """New documents; nothing to do; an update, an orphan that is deleted, and all of it read back."""

    def both(**changes: Any) -> metaferry.RunReport:
        job = fleet.job(**changes)
        planned = metaferry.plan(job).price
        fleet.server.clear()
        report = metaferry.sync(job)
        assert (report.exit_code, report.requests.retries) == (0, 0)
        assert planned.requests == report.price.requests == fleet.asked()
        assert planned.amount == report.price.amount
        return report

    assert both().documents.create == 3
    assert both().changes == 0
    fleet.label("i0.png,city", "i1.png,tunnel", "i3.png,city")
    report = both(policy={"delete": "orphans", "max_delete": "100%"}, verify="all")
    assert (report.documents.create, report.documents.update, report.documents.delete) == (1, 1, 1)
    assert report.verified.read == 2
    # A new entry and no other findings: the state folder remembers what was inferred.
    (fleet.root / "labels.csv").write_text("name,scene,speed\ni0.png,city,4\n")
    assert both().schema.added == ("speed",)


def test_a_plan_tells_the_requests_of_a_backup(fleet: Fleet) -> None:
    job = fleet.job(backup={"keep": "30d"}, policy={"delete": "orphans", "max_delete": "100%"})
    tables = (
        ("i0.png,city", "i1.png,road"),
        ("i0.png,city", "i1.png,tunnel", "i3.png,city"),
        ("i0.png,city",),
        ("i0.png,city",),
    )
    for rows in tables:
        fleet.label(*rows)
        planned = metaferry.plan(job)
        fleet.server.clear()
        report = metaferry.sync(job)
        assert (report.exit_code, report.requests.retries) == (0, 0)
        assert planned.price.requests == report.price.requests == fleet.asked()
        assert planned.backup == report.backup
        assert report.backup.documents == report.documents.update + report.documents.delete


def test_a_plan_of_a_rollback_tells_its_requests(fleet: Fleet) -> None:
    job = fleet.job(backup={"keep": "30d"}, policy={"delete": "orphans", "max_delete": "100%"})
    metaferry.sync(job)
    (fleet.root / "labels.csv").write_text("name,scene,speed\ni0.png,tunnel,4\ni3.png,city,5\n")
    run = metaferry.sync(job)
    assert (run.documents.create, run.documents.update, run.documents.delete) == (1, 1, 2)
    planned = metaferry.rollback(job, run.run_id)
    fleet.server.clear()
    report = metaferry.rollback(job, run.run_id, apply=True)
    assert report.exit_code == 0
    asked = fleet.asked()
    assert report.price.requests == asked
    # The plan does not look into the ledger, of which there may be several pieces.
    assert planned.planned == planned.price.requests == asked - Requests(get=1)


def test_the_requests_of_a_report_are_told_by_store(fleet: Fleet) -> None:
    report = metaferry.sync(fleet.job())
    assert [store.name for store in report.stores] == [LOCAL, f"s3://{fleet.bucket}"]
    assert sum(store.requests.put for store in report.stores) == report.requests.put
    assert sum(store.requests.get for store in report.stores) == report.requests.get
    assert report.price.stores == report.stores


def test_a_run_that_would_cost_too_much_stops_before_its_first_write(fleet: Fleet) -> None:
    job = fleet.job(policy={"max_cost": 0.02})
    planned = metaferry.plan(job)
    assert planned.exit_code == 5
    assert planned.stopped.startswith("its requests would cost about $0.")
    assert planned.stopped.endswith(", and policy.max_cost is 0.02")
    report = metaferry.sync(job)
    assert (report.exit_code, report.documents.deferred) == (5, 3)
    assert report.stopped.endswith(", and policy.max_cost is 0.02")
    assert fleet.server.count(fleet.bucket, "data/.lightly/") == 0
    enough = float(planned.advice.rpartition("=")[2])
    assert metaferry.sync(fleet.job(policy={"max_cost": enough})).documents.create == 3
    # Nothing is to be written: there is nothing to stop.
    assert metaferry.sync(fleet.job(policy={"max_cost": 0})).exit_code == 0


def test_a_limit_without_prices_stops(fleet: Fleet) -> None:
    report = metaferry.sync(fleet.job(prices=None, policy={"max_cost": 100}))
    assert report.exit_code == 5
    assert f"what a put to s3://{fleet.bucket} costs is not known" in report.stopped
    assert report.price.amount is None


def test_a_kept_plan_carries_its_price_and_its_limit(fleet: Fleet, tmp_path: Path) -> None:
    dear = fleet.job(policy={"max_cost": 0.01})
    metaferry.plan(dear, out=tmp_path / "dear")
    with pytest.raises(metaferry.SafetyStop, match=r"policy\.max_cost is 0\.01"):
        metaferry.sync(dear, plan=tmp_path / "dear")
    planned = metaferry.plan(fleet.job(), out=tmp_path / "plan")
    assert planned.price.amount is not None
    fleet.server.clear()
    first = metaferry.sync(fleet.job(), plan=tmp_path / "plan", shard_index=0, num_shards=1)
    assert first.price.requests.put >= 3
    report = metaferry.finish(tmp_path / "plan", job=fleet.job())
    assert report.documents.create == 3
    # What the plan, its shards and the end asked for: documents, lease, markers and report.
    planned_puts = sum(store.requests.put for store in planned.stores if store.name != LOCAL)
    assert report.price.requests.put <= fleet.asked().put + planned_puts
    assert report.price.requests.put >= 3 + 1 + 1
    assert sum(store.requests.put for store in report.stores) == report.requests.put
